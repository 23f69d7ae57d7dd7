//! Zeroes on files of several kinds, on memory, and on what does not answer.

use super::super::tests::{io, is_done, pipe, plan, turn, wait};
use super::super::{Ending, Executor};
use crate::zeroing::Zeroing;
use crate::{Drive, DriveSpec};
use shelf::admin::DriveSlot;
use shelf::patience::IoTicket;
use shelf::target::{BufferIndex, Io, Operation};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

const SECTORS: u32 = 16 << 11;
const BYTES: usize = SECTORS as usize * 512;

fn zeroes(sector: u32, sectors: u32) -> Io {
    io(Operation::WriteZeroes, 0, 0, sector.into(), sectors)
}

fn executor(drive: &Arc<Drive>) -> Executor {
    Executor::new(&[(DriveSlot(0), Arc::clone(drive))], plan(2)).unwrap()
}

/// A drive on a file of sevens, in memory or on a disk.
fn full(file: &File, zeroing: Zeroing) -> Arc<Drive> {
    file.write_all_at(&vec![7; BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let file = file.try_clone().unwrap();
    Arc::new(Drive::of_file(file, SECTORS.into(), zeroing))
}

fn memory_file() -> File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    File::from(rustix::fs::memfd_create("zeroes", flags).unwrap())
}

/// Ranges that begin and end anywhere: one, short; all but the ends, longer than what is written at a time.
fn zero_and_check(drive: &Arc<Drive>, file: &File) {
    let mut executor = executor(drive);
    let mut expected = vec![7; BYTES];
    for (sector, sectors) in [(3, 2), (1001, 13_334), (SECTORS - 1, 1)] {
        executor.submit(IoTicket::NONE, zeroes(sector, sectors));
        assert!(is_done(&wait(&mut executor, 1)[0]));
        let start = sector as usize * 512;
        expected[start..start + sectors as usize * 512].fill(0);
        let mut bytes = vec![1; expected.len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == expected, "{sector}+{sectors}");
    }
    assert_eq!(executor.in_flight(), 0);
    assert_eq!(file.metadata().unwrap().len(), BYTES as u64);
}

#[test]
fn holes_are_punched_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    full(file.as_file(), Zeroing::Write);
    let before = file.as_file().metadata().unwrap().blocks();
    let drive = Arc::new(Drive::open(&DriveSpec::Path(file.path().into())).unwrap());
    assert_eq!(drive.zeroing(), Zeroing::Deallocate);
    zero_and_check(&drive, file.as_file());
    let after = file.as_file().metadata().unwrap().blocks();
    assert!(
        before - after >= 13_334 - 16,
        "{before} blocks, {after} after it"
    );
    assert_eq!(drive.zeroing(), Zeroing::Deallocate);
}

#[test]
fn a_file_is_zeroed_in_every_way() {
    for zeroing in [Zeroing::Deallocate, Zeroing::ZeroRange, Zeroing::Write] {
        let file = tempfile::tempfile().unwrap();
        zero_and_check(&full(&file, zeroing), &file);
    }
}

/// A file in memory has holes, but no zeroed ranges.
#[test]
fn what_the_file_system_cannot_do_is_written() {
    let file = memory_file();
    let drive = full(&file, Zeroing::Deallocate);
    zero_and_check(&drive, &file);
    assert_eq!(drive.zeroing(), Zeroing::Deallocate);
    let drive = full(&file, Zeroing::ZeroRange);
    let mut executor = executor(&drive);
    for sector in [0, 8] {
        executor.submit(IoTicket::NONE, zeroes(sector, 8));
    }
    assert!(wait(&mut executor, 2).iter().all(is_done));
    let told = (DriveSlot(0), Zeroing::Write);
    assert_eq!(executor.next_fallback(), Some(told));
    assert_eq!(executor.next_fallback(), None);
    zero_and_check(&full(&file, Zeroing::ZeroRange), &file);
    assert_eq!(drive.zeroing(), Zeroing::Write, "it is known from then on");
}

#[test]
fn memory_is_zeroed() {
    let size_bytes = BYTES as u64;
    let drive = Arc::new(Drive::open(&DriveSpec::Ram { size_bytes }).unwrap());
    let mut executor = executor(&drive);
    executor.buffer_mut(BufferIndex(0)).fill(7);
    let places = [0, 99, 100, 16_000, 29_999, 30_000, SECTORS - 1];
    for sector in places {
        executor.submit(IoTicket::NONE, io(Operation::Write, 0, 0, sector.into(), 1));
    }
    // Among them whole regions of it.
    executor.submit(IoTicket::NONE, zeroes(100, 29_900));
    wait(&mut executor, places.len() + 1);
    for sector in places {
        executor.submit(IoTicket::NONE, io(Operation::Read, 1, 0, sector.into(), 1));
        assert!(is_done(&wait(&mut executor, 1)[0]));
        let is_zero = executor.buffer(BufferIndex(1))[..512] == [0; 512];
        assert_eq!(is_zero, (100..30_000).contains(&sector), "{sector}");
    }
    executor.submit(IoTicket::NONE, zeroes(SECTORS - 1, 2));
    assert_eq!(wait(&mut executor, 1)[0].ending, Ending::Failed);
}

#[test]
fn what_cannot_be_written_fails() {
    let file = tempfile::NamedTempFile::new().unwrap();
    full(file.as_file(), Zeroing::Write);
    // Neither a hole nor a write is possible through it.
    let read_only = File::open(file.path()).unwrap();
    let drive = Arc::new(Drive::of_file(
        read_only,
        SECTORS.into(),
        Zeroing::Deallocate,
    ));
    let mut executor = executor(&drive);
    executor.submit(IoTicket(3), zeroes(0, 8));
    let over = wait(&mut executor, 1)[0];
    assert_eq!((over.ticket, over.ending), (IoTicket(3), Ending::Failed));
}

/// Zeroes that are not waited for: nothing more of them is begun, and their buffer is free at once.
#[test]
fn zeroes_that_are_not_waited_for_go_no_further() {
    let (mut into, _, mut out) = pipe();
    into.write_all(&vec![9; 1 << 16]).unwrap();
    let drive = Arc::new(Drive::of_file(into, 1 << 20, Zeroing::Write));
    let mut executor = executor(&drive);
    let long = zeroes(0, 10_000);
    executor.submit(IoTicket(5), long);
    assert_eq!(turn(&mut executor), []);
    assert!(executor.abandon(IoTicket(5)));
    executor.buffer_mut(BufferIndex(0)).fill(2);
    out.read_exact(&mut vec![0; 1 << 16]).unwrap();
    // The kernel goes on as the pipe is emptied.
    rustix::io::ioctl_fionbio(&out, true).unwrap();
    let mut landed = Vec::new();
    let mut ended = Vec::new();
    while ended.is_empty() {
        ended.extend(turn(&mut executor));
        let mut some = [1; 4096];
        let bytes = out.read(&mut some).unwrap_or(0);
        landed.extend_from_slice(&some[..bytes]);
    }
    assert!(landed.iter().all(|byte| *byte == 0));
    assert!(landed.len() <= 512 * 512, "{} bytes", landed.len());
    assert_eq!((ended.len(), ended[0].ending), (1, Ending::Unwanted));
    assert_eq!(executor.in_flight(), 0);
}
