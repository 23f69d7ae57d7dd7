//! All drives of a worker, through one io_uring.
//!
//! Takes the [`Io`]s of the target and gives them back with their result. Memory drives are done at
//! once; files and disks go through the ring, at most [`IN_FLIGHT_MAX`] at a time, the rest waiting
//! in order.
//!
//! Invariants:
//! * every submitted `Io` is given back exactly once;
//! * writes of drives for which durability costs a flush go through a [`GroupCommit`];
//! * a write is given back as done only when all its bytes are durable;
//! * a short or interrupted transfer is done again from its start, a few times, before it fails.

use crate::SECTOR_BYTES;
use crate::commit::GroupCommit;
use crate::drive::{Drive, Medium};
use crate::page::PAGE_BYTES;
use crate::uring::{Range, Ring, Transfer};
use shelf::admin::DriveSlot;
use shelf::target::{
    BUFFER_SECTORS, BufferIndex, BufferPlan, Io, Memory, Operation, PAGE_SECTORS, RECORD_SECTORS,
    Span, Work,
};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

// Direct I/O wants every buffer to begin at a page.
const _: () = assert!((BUFFER_SECTORS * SECTOR_BYTES).is_multiple_of(PAGE_BYTES));
const _: () = assert!((PAGE_SECTORS * SECTOR_BYTES).is_multiple_of(PAGE_BYTES));
const _: () = assert!((RECORD_SECTORS * SECTOR_BYTES).is_multiple_of(PAGE_BYTES));

/// Entries of the submission queue.
const QUEUE_ENTRIES: u32 = 1024;

/// I/Os handed to the kernel at a time; the completion queue holds them all.
const IN_FLIGHT_MAX: usize = 2048;

/// How often a short transfer is tried.
const ATTEMPTS_MAX: u8 = 8;

/// Why the executor could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The kernel does not have the io_uring that is needed.
    #[error("io_uring with SINGLE_ISSUER and DEFER_TASKRUN is needed (Linux 6.1 or newer): {0}")]
    Ring(#[source] io::Error),
}

#[derive(Clone, Copy)]
enum Place {
    /// Registered file of this index.
    File(u32),
    Ram,
}

/// What is in the kernel's hands under a token.
#[derive(Clone, Copy)]
enum Pending {
    Io {
        io: Io,
        attempts: u8,
    },
    /// The flush of a group commit.
    Commit(DriveSlot),
}

/// A drive, where its I/O goes, and how its writes become durable.
struct Entry {
    drive: Arc<Drive>,
    place: Place,
    /// Without one, each write is durable by itself (FUA, or no volatile cache).
    group: Option<GroupCommit>,
}

/// The drives of a worker and the buffers of its commands.
pub struct Executor {
    ring: Ring,
    drives: Vec<Option<Entry>>,
    pending: Box<[Option<Pending>]>,
    free: Vec<u16>,
    waiting: VecDeque<Pending>,
    /// Writes that wait for a group commit.
    committing: usize,
    /// Reads of memory drives into buffers that the kernel is filling elsewhere.
    deferred: VecDeque<Io>,
    done: VecDeque<(Io, bool)>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Executor {
    /// An executor for these drives with buffers as planned. Must be made by the thread that uses it.
    ///
    /// # Errors
    /// When the kernel refuses the ring.
    pub fn new(
        drives: &[(DriveSlot, Arc<Drive>)],
        plan: BufferPlan,
    ) -> Result<Self, ExecutorError> {
        let mut table: Vec<Option<Entry>> = Vec::new();
        let mut files = Vec::new();
        for (slot, drive) in drives {
            let index = usize::from(slot.0);
            if table.len() <= index {
                table.resize_with(index + 1, || None);
            }
            let place = match drive.medium() {
                Medium::Ram(_) => Place::Ram,
                Medium::File(file) => {
                    let Ok(index) = u32::try_from(files.len()) else {
                        unreachable!("u16 slots")
                    };
                    files.push(file.as_raw_fd());
                    Place::File(index)
                }
            };
            let group = (!drive.writes_durably()).then(|| GroupCommit::new(IN_FLIGHT_MAX));
            table[index] = Some(Entry {
                drive: Arc::clone(drive),
                place,
                group,
            });
        }
        if files.is_empty() {
            // The kernel refuses an empty table; -1 is an empty place in it.
            files.push(-1);
        }
        let ring = Ring::new(QUEUE_ENTRIES, plan, &files).map_err(ExecutorError::Ring)?;
        let Ok(in_flight_max) = u16::try_from(IN_FLIGHT_MAX) else {
            unreachable!("fits")
        };
        Ok(Self {
            ring,
            drives: table,
            pending: vec![None; IN_FLIGHT_MAX].into(),
            free: (0..in_flight_max).rev().collect(),
            waiting: VecDeque::with_capacity(4 * IN_FLIGHT_MAX),
            committing: 0,
            deferred: VecDeque::with_capacity(IN_FLIGHT_MAX),
            done: VecDeque::with_capacity(4 * IN_FLIGHT_MAX),
        })
    }

    /// A buffer, for filling it or reading it.
    ///
    /// # Panics
    /// If I/O on it is in flight.
    pub fn buffer_mut(&mut self, buffer: BufferIndex) -> &mut [u8] {
        self.ring.buffer_mut(buffer)
    }

    /// A buffer, for reading it.
    ///
    /// # Panics
    /// If it is being filled.
    #[must_use]
    pub fn buffer(&self, buffer: BufferIndex) -> &[u8] {
        self.ring.buffer(buffer)
    }

    /// Some of a buffer, for reading it.
    ///
    /// # Panics
    /// If it is being filled, or is not so long.
    #[must_use]
    pub fn span(&self, span: &Span) -> &[u8] {
        let start = span.start_sector as usize * SECTOR_BYTES;
        &self.buffer(span.buffer)[start..][..span.sectors as usize * SECTOR_BYTES]
    }

    /// How many I/Os are submitted and not given back.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ring.total_in_flight()
            + self.waiting.len()
            + self.committing
            + self.deferred.len()
            + self.done.len()
    }

    /// Whether results are there already: then nobody should sleep.
    #[must_use]
    pub fn has_results(&self) -> bool {
        !self.done.is_empty()
    }

    /// Readable when results may be there, until [`Executor::woke`].
    #[must_use]
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.ring.due_fd()
    }

    /// To be called after waiting for [`Executor::poll_fd`] and before the next [`Executor::kick`].
    pub fn woke(&self) {
        self.ring.clear_due();
    }

    fn entry(&mut self, drive: DriveSlot) -> Option<&mut Entry> {
        self.drives
            .get_mut(usize::from(drive.0))
            .and_then(Option::as_mut)
    }

    /// Takes an I/O. It starts with the next [`Executor::kick`] at the latest.
    pub fn submit(&mut self, io: Io) {
        let is_idle = self.ring.is_idle(io.buffer);
        let Some(entry) = self.entry(io.drive) else {
            self.done.push_back((io, false));
            return;
        };
        match entry.place {
            Place::Ram if io.operation == Operation::Read && !is_idle => {
                self.deferred.push_back(io);
            }
            Place::Ram => {
                let drive = Arc::clone(&entry.drive);
                let ok = self.memory_io(&drive, &io);
                self.done.push_back((io, ok));
            }
            Place::File(_) => self.start_or_wait(Pending::Io { io, attempts: 0 }),
        }
    }

    fn start_or_wait(&mut self, pending: Pending) {
        if !self.waiting.is_empty() || !self.start(pending) {
            self.waiting.push_back(pending);
        }
    }

    fn memory_io(&mut self, drive: &Drive, io: &Io) -> bool {
        let Medium::Ram(ram) = drive.medium() else {
            return false;
        };
        if io.sector + u64::from(io.sectors) > drive.size_sectors() {
            return false;
        }
        let start = io.offset_sectors as usize * SECTOR_BYTES;
        let range = start..start + io.sectors as usize * SECTOR_BYTES;
        match io.operation {
            Operation::Read => ram.read(io.sector, &mut self.ring.buffer_mut(io.buffer)[range]),
            Operation::Write => ram.write(io.sector, &self.ring.buffer(io.buffer)[range]),
            Operation::Flush => {}
        }
        true
    }

    /// Pushes an I/O into the ring; false when there is no room.
    fn start(&mut self, pending: Pending) -> bool {
        let Some(token) = self.free.pop() else {
            return false;
        };
        let drive = match &pending {
            Pending::Io { io, .. } => io.drive,
            Pending::Commit(drive) => *drive,
        };
        let Some(Entry {
            place: Place::File(file),
            group,
            ..
        }) = self.entry(drive)
        else {
            unreachable!("only file I/O is started")
        };
        let (file, is_grouped) = (*file, group.is_some());
        let user_data = u64::from(token);
        let pushed = match &pending {
            Pending::Io { io, .. } => match transfer(io, is_grouped) {
                Some(transfer) => self.ring.push(transfer, &range(io, file), user_data),
                None => self.ring.push_flush(file, user_data),
            },
            Pending::Commit(_) => self.ring.push_flush(file, user_data),
        };
        if pushed.is_err() {
            self.free.push(token);
            return false;
        }
        self.pending[usize::from(token)] = Some(pending);
        true
    }

    fn start_waiting(&mut self) {
        while let Some(pending) = self.waiting.front().copied() {
            if !self.start(pending) {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Flushes a drive if writes have landed on it and no flush is under way.
    fn commit(&mut self, drive: DriveSlot) {
        let group = self.entry(drive).and_then(|entry| entry.group.as_mut());
        if let Some(group) = group.filter(|group| group.wants_flush()) {
            group.flush_begins();
            self.start_or_wait(Pending::Commit(drive));
        }
    }

    /// Hands everything to the kernel. Never blocks.
    ///
    /// # Errors
    /// When the ring is broken; then no I/O will complete any more.
    pub fn kick(&mut self) -> io::Result<()> {
        self.start_waiting();
        self.ring.submit()
    }

    /// Gives back one finished I/O and whether all of it was done.
    pub fn next_result(&mut self) -> Option<(Io, bool)> {
        loop {
            if let Some(result) = self.done.pop_front() {
                return Some(result);
            }
            let Some((token, result)) = self.ring.reap() else {
                self.commit_all();
                return None;
            };
            let landed = self.landed(token, result);
            // A buffer may have become idle; what is still not is deferred again.
            for _ in 0..self.deferred.len() {
                if let Some(io) = self.deferred.pop_front() {
                    self.submit(io);
                }
            }
            if landed.is_some() {
                return landed;
            }
        }
    }

    /// Everything that has landed was seen: flushes what waits, so that one flush covers it all.
    fn commit_all(&mut self) {
        if self.committing == 0 {
            return;
        }
        for slot in 0..self.drives.len() {
            if let Ok(slot) = u16::try_from(slot) {
                self.commit(DriveSlot(slot));
            }
        }
        // Nobody may call `kick` before the next sleep. If it fails, `kick` will too, and tell.
        drop(self.ring.submit());
    }

    /// What a completion means; `None` when nothing is to be given back for it now.
    fn landed(&mut self, token: u64, result: i32) -> Option<(Io, bool)> {
        let Ok(token) = u16::try_from(token) else {
            unreachable!("our own token")
        };
        let Some(pending) = self.pending[usize::from(token)].take() else {
            unreachable!("a completion of nothing")
        };
        self.free.push(token);
        match pending {
            Pending::Io { io, attempts } => self.io_landed(io, attempts, result),
            Pending::Commit(drive) => {
                self.committed(drive, result == 0);
                None
            }
        }
    }

    fn io_landed(&mut self, io: Io, attempts: u8, result: i32) -> Option<(Io, bool)> {
        if let Some(transfer) = transfer(&io, false) {
            self.ring.landed(transfer, io.buffer);
        }
        let expected = i32::try_from(io.sectors as usize * SECTOR_BYTES).unwrap_or(i32::MAX);
        if result == expected {
            let group = self.entry(io.drive).and_then(|entry| entry.group.as_mut());
            let Some(group) = group.filter(|_| io.operation == Operation::Write) else {
                return Some((io, true));
            };
            group.landed(io);
            self.committing += 1;
            return None;
        }
        let again = result >= 0 || matches!(-result, libc::EAGAIN | libc::EINTR);
        if again && attempts + 1 < ATTEMPTS_MAX {
            let pending = Pending::Io {
                io,
                attempts: attempts + 1,
            };
            if !self.start(pending) {
                self.waiting.push_front(pending);
            }
            return None;
        }
        Some((io, false))
    }

    /// A group commit is over: gives back what it covered.
    fn committed(&mut self, drive: DriveSlot, ok: bool) {
        let slot = self
            .drives
            .get_mut(usize::from(drive.0))
            .and_then(Option::as_mut);
        let Some(group) = slot.and_then(|entry| entry.group.as_mut()) else {
            unreachable!("a commit of a drive that has none")
        };
        for io in group.flush_ended() {
            self.committing -= 1;
            self.done.push_back((io, ok));
        }
    }
}

impl Memory for Executor {
    fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>) {
        self.ring.compute(inputs, outputs, work);
    }
}

/// How an I/O is done. With group commit a write need not be durable by itself.
fn transfer(io: &Io, is_grouped: bool) -> Option<Transfer> {
    match io.operation {
        Operation::Read => Some(Transfer::Read),
        Operation::Write if is_grouped => Some(Transfer::Write),
        Operation::Write => Some(Transfer::WriteDurable),
        Operation::Flush => None,
    }
}

fn range(io: &Io, file: u32) -> Range {
    Range {
        file,
        file_offset_bytes: io.sector * SECTOR_BYTES as u64,
        buffer: io.buffer,
        buffer_offset_bytes: io.offset_sectors as usize * SECTOR_BYTES,
        bytes: io.sectors as usize * SECTOR_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DriveSpec;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use shelf::target::{IoOwner, Purpose};

    fn io(operation: Operation, command: u16, drive: u16, sector: u64, sectors: u32) -> Io {
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

    fn plan(commands: u16) -> BufferPlan {
        BufferPlan {
            commands,
            pages: 0,
            records: 0,
        }
    }

    fn wait(executor: &mut Executor, count: usize) -> Vec<(Io, bool)> {
        let mut results = Vec::new();
        while results.len() < count {
            executor.kick().unwrap();
            while let Some(result) = executor.next_result() {
                results.push(result);
            }
        }
        results
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
                executor.submit(io(
                    Operation::Write,
                    command,
                    drive,
                    u64::from(command) * 16,
                    16,
                ));
            }
            assert!(wait(&mut executor, 32).iter().all(|(_, ok)| *ok));
            executor.submit(io(Operation::Flush, 0, drive, 0, 0));
            assert!(wait(&mut executor, 1)[0].1);
            for command in 32..64u16 {
                executor.submit(io(
                    Operation::Read,
                    command,
                    drive,
                    u64::from(command - 32) * 16,
                    16,
                ));
            }
            assert!(wait(&mut executor, 32).iter().all(|(_, ok)| *ok));
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

    #[test]
    fn more_io_than_the_ring_holds_waits_and_is_all_done() {
        let (_file, drives) = drives();
        let mut executor = Executor::new(&drives, plan(16)).unwrap();
        for number in 0..5000u64 {
            executor.submit(io(Operation::Write, 0, 0, number % 1000, 1));
        }
        let results = wait(&mut executor, 5000);
        assert_eq!(results.len(), 5000);
        assert!(results.iter().all(|(_, ok)| *ok));
        assert_eq!(executor.in_flight(), 0);
    }

    #[test]
    fn what_lies_beyond_a_drive_or_on_no_drive_fails() {
        let (_file, drives) = drives();
        let mut executor = Executor::new(&drives, plan(4)).unwrap();
        executor.submit(io(Operation::Read, 0, 7, 0, 1));
        executor.submit(io(Operation::Read, 1, 3, 1 << 40, 1));
        executor.submit(io(Operation::Read, 2, 0, 1 << 30, 1));
        assert!(wait(&mut executor, 3).iter().all(|(_, ok)| !ok));
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
        executor.submit(io(Operation::Write, 1, 3, 0, 8));
        executor.submit(io(Operation::Read, 0, 0, 0, 8));
        executor.submit(second);
        assert!(wait(&mut executor, 3).iter().all(|(_, ok)| *ok));
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

    #[test]
    fn results_end_a_wait_for_the_poll_descriptor() {
        let (_file, drives) = drives();
        let mut executor = Executor::new(&drives, plan(4)).unwrap();
        for sector in 0..50 {
            executor.submit(io(Operation::Write, 0, 0, sector * 64, 16));
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

    #[test]
    fn dropping_with_io_in_flight_waits_for_it() {
        let (_file, drives) = drives();
        let mut executor = Executor::new(&drives, plan(64)).unwrap();
        for command in 0..64 {
            executor.submit(io(Operation::Read, command, 0, u64::from(command), 16));
        }
        executor.kick().unwrap();
    }
}
