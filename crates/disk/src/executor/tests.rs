//! I/O on files, memory and pipes.

use super::*;
use crate::DriveSpec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shelf::target::{IoOwner, Purpose};
use std::io::{Read, Write};

pub(super) fn io(operation: Operation, command: u16, drive: u16, sector: u64, sectors: u32) -> Io {
    Io {
        owner: IoOwner::Command(command),
        buffer: BufferIndex(command),
        operation,
        drive: DriveSlot(drive),
        sector,
        sectors,
        offset_sectors: 0,
        part: 0,
        member: 0,
        purpose: Purpose::Member,
        attempt: 0,
    }
}

pub(super) fn plan(commands: u16) -> BufferPlan {
    BufferPlan {
        commands,
        pages: 0,
        records: 0,
    }
}

pub(super) fn wait(executor: &mut Executor, count: usize) -> Vec<Finished> {
    let mut results = Vec::new();
    while results.len() < count {
        executor.kick().unwrap();
        while let Some(result) = executor.next_result() {
            results.push(result);
        }
    }
    results
}

pub(super) fn is_done(result: &Finished) -> bool {
    result.ending == Ending::Done
}

fn drives() -> (tempfile::NamedTempFile, Vec<(DriveSlot, Arc<Drive>)>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    let path = DriveSpec::Path(file.path().into());
    let ram = DriveSpec::Ram {
        size_bytes: 64 << 20,
    };
    let open = |spec: &DriveSpec| Arc::new(Drive::open(spec).unwrap());
    (
        file,
        vec![(DriveSlot(0), open(&path)), (DriveSlot(3), open(&ram))],
    )
}

#[test]
fn files_and_memory_give_back_what_was_written() {
    let (_file, drives) = drives();
    let mut executor = Executor::new(&drives, plan(64)).unwrap();
    for drive in [0, 3] {
        for command in 0..32u16 {
            executor
                .buffer_mut(BufferIndex(command))
                .fill(command.to_le_bytes()[0] + 1);
            executor.submit(
                IoTicket::NONE,
                io(
                    Operation::Write,
                    command,
                    drive,
                    u64::from(command) * 16,
                    16,
                ),
            );
        }
        assert!(wait(&mut executor, 32).iter().all(is_done));
        executor.submit(IoTicket::NONE, io(Operation::Flush, 0, drive, 0, 0));
        assert!(is_done(&wait(&mut executor, 1)[0]));
        for command in 32..64u16 {
            executor.submit(
                IoTicket::NONE,
                io(
                    Operation::Read,
                    command,
                    drive,
                    u64::from(command - 32) * 16,
                    16,
                ),
            );
        }
        assert!(wait(&mut executor, 32).iter().all(is_done));
        for command in 32..64u16 {
            let expected = (command - 32).to_le_bytes()[0] + 1;
            assert!(
                executor.buffer(BufferIndex(command))[..8192]
                    .iter()
                    .all(|byte| *byte == expected)
            );
        }
    }
}

/// The network alone is measured with it: no memory is touched.
#[test]
fn a_null_drive_takes_everything_and_leaves_buffers_alone() {
    let size_bytes = 1 << 20;
    let drive = Drive::open(&DriveSpec::Null { size_bytes }).unwrap();
    assert!(drive.is_volatile());
    let mut executor = Executor::new(&[(DriveSlot(0), Arc::new(drive))], plan(2)).unwrap();
    executor.buffer_mut(BufferIndex(0)).fill(7);
    for operation in [
        Operation::Write,
        Operation::Read,
        Operation::WriteZeroes,
        Operation::Flush,
    ] {
        executor.submit(IoTicket::NONE, io(operation, 0, 0, 2032, 16));
    }
    assert!(wait(&mut executor, 4).iter().all(is_done));
    assert!(
        executor
            .buffer(BufferIndex(0))
            .iter()
            .all(|byte| *byte == 7)
    );
    executor.submit(IoTicket::NONE, io(Operation::Read, 0, 0, 2033, 16));
    assert!(!is_done(&wait(&mut executor, 1)[0]), "beyond its end");
}

#[test]
fn more_io_than_the_ring_holds_waits_and_is_all_done() {
    let (_file, drives) = drives();
    let mut executor = Executor::new(&drives, plan(16)).unwrap();
    for number in 0..5000u64 {
        executor.submit(IoTicket::NONE, io(Operation::Write, 0, 0, number % 1000, 1));
    }
    let results = wait(&mut executor, 5000);
    assert_eq!(results.len(), 5000);
    assert!(results.iter().all(is_done));
    assert_eq!(executor.in_flight(), 0);
}

#[test]
fn what_lies_beyond_a_drive_or_on_no_drive_fails() {
    let (_file, drives) = drives();
    let mut executor = Executor::new(&drives, plan(4)).unwrap();
    executor.submit(IoTicket::NONE, io(Operation::Read, 0, 7, 0, 1));
    executor.submit(IoTicket::NONE, io(Operation::Read, 1, 3, 1 << 40, 1));
    executor.submit(IoTicket::NONE, io(Operation::Read, 2, 0, 1 << 30, 1));
    assert!(
        wait(&mut executor, 3)
            .iter()
            .all(|result| result.ending == Ending::Failed)
    );
}

#[test]
fn one_command_may_read_from_files_and_memory() {
    let (_file, drives) = drives();
    let mut executor = Executor::new(&drives, plan(4)).unwrap();
    let second = Io {
        offset_sectors: 8,
        ..io(Operation::Read, 0, 3, 0, 8)
    };
    executor.buffer_mut(BufferIndex(1)).fill(7);
    executor.submit(IoTicket::NONE, io(Operation::Write, 1, 3, 0, 8));
    executor.submit(IoTicket::NONE, io(Operation::Read, 0, 0, 0, 8));
    executor.submit(IoTicket::NONE, second);
    assert!(wait(&mut executor, 3).iter().all(is_done));
    assert!(
        executor.buffer(BufferIndex(0))[..4096]
            .iter()
            .all(|byte| *byte == 0)
    );
    assert!(
        executor.buffer(BufferIndex(0))[4096..8192]
            .iter()
            .all(|byte| *byte == 7)
    );
}

/// A read of two RAIDs: one gives its part from memory while the kernel still reads the other one's.
#[test]
fn a_part_of_a_buffer_is_computed_while_another_is_being_filled() {
    let (_file, drives) = drives();
    let mut executor = Executor::new(&drives, plan(4)).unwrap();
    executor.buffer_mut(BufferIndex(1)).fill(7);
    executor.submit(IoTicket::NONE, io(Operation::Read, 0, 0, 0, 8));
    executor.kick().unwrap();
    let span = |buffer, start_sector| Span {
        buffer: BufferIndex(buffer),
        start_sector,
        sectors: 8,
    };
    let copy = |executor: &mut Executor, start_sector| {
        executor.compute(&[span(1, 0)], &[span(0, start_sector)], &mut |read, out| {
            out[0].copy_from_slice(read[0]);
        });
    };
    copy(&mut executor, 8);
    let overlapping = std::panic::AssertUnwindSafe(|| copy(&mut executor, 7));
    assert!(std::panic::catch_unwind(overlapping).is_err());
    assert!(wait(&mut executor, 1).iter().all(is_done));
    let buffer = executor.buffer(BufferIndex(0));
    assert!(buffer[..4096].iter().all(|byte| *byte == 0));
    assert!(buffer[4096..8192].iter().all(|byte| *byte == 7));
}

#[test]
fn results_end_a_wait_for_the_poll_descriptor() {
    let (_file, drives) = drives();
    let mut executor = Executor::new(&drives, plan(4)).unwrap();
    for sector in 0..50 {
        executor.submit(IoTicket::NONE, io(Operation::Write, 0, 0, sector * 64, 16));
        executor.kick().unwrap();
        let mut results = 0;
        while results == 0 {
            let mut fds = [PollFd::from_borrowed_fd(executor.poll_fd(), PollFlags::IN)];
            let timeout = Timespec {
                tv_sec: 10,
                tv_nsec: 0,
            };
            assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1, "nobody woke us");
            executor.woke();
            executor.kick().unwrap();
            results += std::iter::from_fn(|| executor.next_result()).count();
        }
    }
}

/// A drive that answers reads when something is written to the other end of a pipe, and writes when
/// there is room in it.
pub(super) fn pipe() -> (std::fs::File, Arc<Drive>, std::fs::File) {
    let (out, into) = std::io::pipe().unwrap();
    let into = std::fs::File::from(std::os::fd::OwnedFd::from(into));
    let out = std::fs::File::from(std::os::fd::OwnedFd::from(out));
    let reads = Arc::new(Drive::of_file(
        out.try_clone().unwrap(),
        1 << 20,
        Zeroing::Write,
    ));
    (into, reads, out)
}

pub(super) fn turn(executor: &mut Executor) -> Vec<Finished> {
    executor.kick().unwrap();
    std::iter::from_fn(|| executor.next_result()).collect()
}

#[test]
fn a_read_that_is_not_waited_for_never_reaches_the_buffer() {
    let (mut into, drive, _out) = pipe();
    let mut executor = Executor::new(&[(DriveSlot(0), drive)], plan(2)).unwrap();
    let read = io(Operation::Read, 0, 0, 0, 8);
    executor.buffer_mut(BufferIndex(0)).fill(1);
    executor.submit(IoTicket(5), read);
    assert_eq!(turn(&mut executor), []);
    assert!(executor.abandon(IoTicket(5)));
    assert!(!executor.abandon(IoTicket(5)), "once");
    assert!(
        executor.buffer(BufferIndex(0))[8 * 512..]
            .iter()
            .all(|byte| *byte == 1)
    );
    executor.buffer_mut(BufferIndex(0)).fill(2);
    into.write_all(&[9; 8 * 512]).unwrap();
    let results = wait(&mut executor, 1);
    let unwanted = Finished {
        ticket: IoTicket(5),
        io: read,
        ending: Ending::Unwanted,
    };
    assert_eq!(results, [unwanted]);
    assert!(
        executor
            .buffer(BufferIndex(0))
            .iter()
            .all(|byte| *byte == 2)
    );
    assert_eq!(executor.in_flight(), 0);
}

#[test]
fn a_write_that_is_not_waited_for_lands_as_it_was() {
    let (mut into, _, mut out) = pipe();
    // What a pipe holds.
    into.write_all(&vec![0; 1 << 16]).unwrap();
    let drive = Arc::new(Drive::of_file(into, 1 << 20, Zeroing::Write));
    let mut executor = Executor::new(&[(DriveSlot(0), drive)], plan(2)).unwrap();
    executor.buffer_mut(BufferIndex(1)).fill(1);
    executor.submit(IoTicket(5), io(Operation::Write, 1, 0, 0, 8));
    assert_eq!(turn(&mut executor), []);
    assert!(executor.abandon(IoTicket(5)));
    assert!(
        executor
            .buffer(BufferIndex(1))
            .iter()
            .all(|byte| *byte == 1)
    );
    executor.buffer_mut(BufferIndex(1)).fill(2);
    out.read_exact(&mut vec![0; 1 << 16]).unwrap();
    assert_eq!(wait(&mut executor, 1)[0].ending, Ending::Unwanted);
    let mut landed = [0; 8 * 512];
    out.read_exact(&mut landed).unwrap();
    assert!(landed.iter().all(|byte| *byte == 1));
}

#[test]
fn other_reads_of_the_buffer_arrive_in_its_new_place() {
    let (mut first_into, first, _out) = pipe();
    let (mut second_into, second, _out) = pipe();
    let ram = Arc::new(
        Drive::open(&DriveSpec::Ram {
            size_bytes: 1 << 20,
        })
        .unwrap(),
    );
    let drives = [
        (DriveSlot(0), first),
        (DriveSlot(1), second),
        (DriveSlot(2), ram),
    ];
    let mut executor = Executor::new(&drives, plan(2)).unwrap();
    executor.buffer_mut(BufferIndex(1)).fill(7);
    executor.submit(IoTicket(9), io(Operation::Write, 1, 2, 0, 8));
    assert_eq!(wait(&mut executor, 1)[0].ending, Ending::Done);
    for (drive, offset_sectors) in [(0, 0), (1, 8), (2, 16)] {
        let read = Io {
            offset_sectors,
            ..io(Operation::Read, 0, drive, 0, 8)
        };
        executor.submit(IoTicket(drive), read);
    }
    assert_eq!(turn(&mut executor), [], "memory waits for the kernel");
    assert!(executor.abandon(IoTicket(0)));
    assert_eq!(wait(&mut executor, 1)[0].ticket, IoTicket(2));
    second_into.write_all(&[5; 8 * 512]).unwrap();
    assert_eq!(wait(&mut executor, 1)[0].ticket, IoTicket(1));
    let buffer = executor.buffer(BufferIndex(0));
    assert!(buffer[8 * 512..16 * 512].iter().all(|byte| *byte == 5));
    assert!(buffer[16 * 512..].iter().all(|byte| *byte == 7));
    first_into.write_all(&[9; 8 * 512]).unwrap();
    assert_eq!(wait(&mut executor, 1)[0].ending, Ending::Unwanted);
    assert!(
        executor.buffer(BufferIndex(0))[..16 * 512]
            .iter()
            .all(|byte| *byte != 9)
    );
}

#[test]
fn without_a_spare_buffer_an_io_is_waited_for() {
    let (mut into, drive, _out) = pipe();
    let mut executor = Executor::new(&[(DriveSlot(0), drive)], plan(1)).unwrap();
    for ticket in 0..2 {
        executor.submit(IoTicket(ticket), io(Operation::Read, 0, 0, 0, 1));
        assert_eq!(turn(&mut executor), []);
        assert_eq!(executor.abandon(IoTicket(ticket)), ticket == 0);
    }
    into.write_all(&[9; 1024]).unwrap();
    let results = wait(&mut executor, 2);
    for over in results {
        let is_abandoned = over.ticket == IoTicket(0);
        assert_eq!(over.ending == Ending::Unwanted, is_abandoned);
    }
    // It is there again.
    executor.submit(IoTicket(2), io(Operation::Read, 0, 0, 0, 1));
    assert_eq!(turn(&mut executor), []);
    assert!(executor.abandon(IoTicket(2)));
    into.write_all(&[9; 512]).unwrap();
    wait(&mut executor, 1);
}

#[test]
fn dropping_with_io_in_flight_waits_for_it() {
    let (_file, drives) = drives();
    let mut executor = Executor::new(&drives, plan(64)).unwrap();
    for command in 0..64 {
        executor.submit(
            IoTicket::NONE,
            io(Operation::Read, command, 0, u64::from(command), 16),
        );
    }
    executor.kick().unwrap();
}

/// The kernel's errors, as its block layer gives them for what drives and their drivers say.
#[test]
fn what_a_drive_has_said_is_told_from_what_a_missing_one_gives() {
    for errno in [libc::ENODATA, libc::EREMOTEIO, libc::EILSEQ, libc::EBADE] {
        assert!(is_word_of_drive(errno), "{errno}");
    }
    // Of a device that has no capacity any more writes are beyond its end.
    for errno in [
        0,
        libc::EIO,
        libc::ENODEV,
        libc::ENXIO,
        libc::ENOLINK,
        libc::ETIMEDOUT,
        libc::ENOSPC,
    ] {
        assert!(!is_word_of_drive(errno), "{errno}");
    }
}
