//! All drives of a worker, through one io_uring.
//!
//! Takes the [`Io`]s of the target and gives them back with their result. Memory drives are done at
//! once; files and disks go through the ring, at most [`IN_FLIGHT_MAX`] at a time, the rest waiting
//! in order.
//!
//! Invariants:
//! * every submitted `Io` is given back exactly once;
//! * writes of drives for which durability costs a flush go through a [`GroupCommit`], and zeroes always
//!   do ([`zeroes`]);
//! * a write is given back as done only when all its bytes are durable;
//! * a short or interrupted transfer is done again from its start, a few times, before it fails;
//! * a drive is given up only when the kernel is done with all of its I/O, abandoned or not ([`plug`]);
//! * an I/O that was [abandoned](Executor::abandon) is told once more when the kernel is done with it;
//!   until then its buffer lies elsewhere.
//!
//! Budget (`corebench stages execute`): 1000 ns, 1200 instructions.

use crate::SECTOR_BYTES;
mod plug;
mod zeroes;

pub use plug::{DriveRoom, NewDrive, Removal, RemovedDrive};

use crate::buffers::Place;
use crate::commit::{Failures, FlushIndex, GroupCommit};
use crate::drive::{Drive, Medium};
use crate::page::PAGE_BYTES;
use crate::uring::{self, Loan, Range, Ring, StableMemory, Transfer};
use crate::zeroing::Zeroing;
use shelf::admin::DriveSlot;
use shelf::patience::IoTicket;
use shelf::target::{
    BUFFER_SECTORS, BufferIndex, BufferPlan, Io, Memory, Operation, PAGE_SECTORS, RECORD_SECTORS,
    Span, Work,
};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

// Direct I/O wants every buffer to begin at a page.
const _: () = assert!((BUFFER_SECTORS * SECTOR_BYTES).is_multiple_of(PAGE_BYTES));
const _: () = assert!((PAGE_SECTORS * SECTOR_BYTES).is_multiple_of(PAGE_BYTES));
const _: () = assert!((RECORD_SECTORS * SECTOR_BYTES).is_multiple_of(PAGE_BYTES));

/// Entries of the submission queue.
const QUEUE_ENTRIES: u32 = 1024;

/// I/Os handed to the kernel at a time; the completion queue holds them all.
const IN_FLIGHT_MAX: usize = 2048;

/// Of these, how many are expected to be zeroes for one drive.
const ZEROES_IN_FLIGHT: usize = 64;

/// How often a short transfer is tried.
const ATTEMPTS_MAX: u8 = 8;

/// For how long it is worth polling after the last event while drives have I/O, instead of sleeping: what
/// flash needs for a write and a flush. A sleep costs more than it saves: with one after 50 µs a durable
/// write at depth 1 took 200 µs at the median, without any 115 µs. Where a drive is slower this adds a few
/// hundredths of a CPU.
pub const DRIVE_SPIN: Duration = Duration::from_micros(250);

/// Why the executor could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The kernel does not have the io_uring that is needed.
    #[error("io_uring with SINGLE_ISSUER and DEFER_TASKRUN is needed (Linux 6.1 or newer): {0}")]
    Ring(#[source] io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Home {
    /// Registered file of this index.
    File(u32),
    Ram,
    Null,
}

/// An I/O that was taken, and who waits for it.
#[derive(Clone, Copy)]
struct Job {
    ticket: IoTicket,
    io: Io,
    attempts: u8,
    is_abandoned: bool,
    /// Flushes of its drive that had failed when it was taken.
    began: Failures,
    /// For zeroes: the way that is tried, if that is not the way of the drive yet.
    zeroing: Option<Zeroing>,
    /// How many sectors of zeroes have been written.
    zeroed: u32,
}

/// What is in the kernel's hands under a token.
#[derive(Clone, Copy)]
enum Pending {
    Io(Job),
    /// The flush of a group commit.
    Commit(DriveSlot, FlushIndex),
}

/// How an I/O ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// All of it was done; a write is durable.
    Done,
    /// Not all of it was.
    Failed,
    /// Not all of it was, and nothing says that it was the drive that refused it: it may have been pulled.
    Unreached,
    /// It was abandoned, and nobody waits for it.
    Unwanted,
}

/// An I/O that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished {
    /// As it was taken.
    pub ticket: IoTicket,
    /// The I/O.
    pub io: Io,
    /// How it ended.
    pub ending: Ending,
}

/// A drive, where its I/O goes, and how its writes become durable.
#[derive(Debug)]
struct Entry {
    drive: Arc<Drive>,
    home: Home,
    group: GroupCommit,
    /// Writes go through the group, too: they are not durable by themselves (FUA, or no volatile cache).
    is_grouped: bool,
    /// Its reads and writes are polled for.
    is_polled: bool,
}

/// The drives of a worker and the buffers of its commands.
pub struct Executor {
    ring: Ring,
    /// By slot; as long as there may be slots.
    drives: Vec<Option<Entry>>,
    /// Places in the ring's table of files that are empty.
    free_files: Vec<u32>,
    pending: Box<[Option<(Pending, Place)>]>,
    free: Vec<u16>,
    waiting: VecDeque<Pending>,
    /// Writes that wait for a group commit.
    committing: usize,
    /// Reads of memory drives into buffers that the kernel is filling elsewhere.
    deferred: VecDeque<(IoTicket, Io)>,
    done: VecDeque<Finished>,
    /// Drives that turned out not to do zeroes as was thought.
    fallbacks: VecDeque<DriveSlot>,
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
        let pages = Self::buffer_bytes(plan).div_ceil(PAGE_BYTES);
        let memory = uring::zeroed(pages).map_err(ExecutorError::Ring)?;
        Self::with_memory(
            drives,
            DriveRoom::for_drives(drives),
            plan,
            Box::new(memory),
        )
    }

    /// Bytes of memory that the buffers of a plan take.
    #[must_use]
    pub fn buffer_bytes(plan: BufferPlan) -> usize {
        uring::buffer_bytes(plan)
    }

    /// As [`Executor::new`], with room for drives to come, and with the buffers in this memory, zeroed, of
    /// [`Executor::buffer_bytes`].
    ///
    /// # Errors
    /// When the kernel refuses the ring.
    ///
    /// # Panics
    /// If the memory is too small or begins within a page.
    pub fn with_memory(
        drives: &[(DriveSlot, Arc<Drive>)],
        room: DriveRoom,
        plan: BufferPlan,
        memory: Box<dyn StableMemory>,
    ) -> Result<Self, ExecutorError> {
        let files = room.files();
        let is_polling = drives.iter().any(|(_, drive)| drive.is_polled());
        // -1 is an empty place.
        let empty = vec![-1; files as usize];
        let ring = Ring::new(QUEUE_ENTRIES, plan, memory, &empty, is_polling)
            .map_err(ExecutorError::Ring)?;
        let Ok(in_flight_max) = u16::try_from(IN_FLIGHT_MAX) else {
            unreachable!("fits")
        };
        let mut executor = Self {
            ring,
            drives: (0..room.slots.max(1)).map(|_| None).collect(),
            free_files: (0..files).rev().collect(),
            pending: vec![None; IN_FLIGHT_MAX].into(),
            free: (0..in_flight_max).rev().collect(),
            waiting: VecDeque::with_capacity(4 * IN_FLIGHT_MAX),
            committing: 0,
            deferred: VecDeque::with_capacity(IN_FLIGHT_MAX),
            done: VecDeque::with_capacity(4 * IN_FLIGHT_MAX),
            fallbacks: VecDeque::new(),
        };
        for (slot, drive) in drives {
            let added = executor.add(NewDrive::new(*slot, Arc::clone(drive)));
            added.map_err(ExecutorError::Ring)?;
        }
        Ok(executor)
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

    /// Lends some of a buffer to whoever sends it from where it lies: until [`Executor::take_back`] nothing
    /// may be done with those bytes but to read them.
    ///
    /// # Panics
    /// If the buffer is being filled.
    pub fn lend(&mut self, span: &Span) -> Loan {
        self.ring.lend(span)
    }

    /// Takes back what was lent.
    pub fn take_back(&mut self, loan: &Loan) {
        self.ring.take_back(loan);
    }

    /// How many I/Os were polled for, since the start.
    #[must_use]
    pub const fn polled_ios(&self) -> u64 {
        self.ring.polled_ios()
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

    /// Whether drives have I/O: results may be there any moment.
    #[must_use]
    pub const fn waits_for_drives(&self) -> bool {
        self.ring.total_in_flight() > 0
    }

    /// Whether results come that nothing will tell of: they are found by [`Executor::kick`].
    #[must_use]
    pub const fn is_polling(&self) -> bool {
        self.ring.is_polling()
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
    pub fn submit(&mut self, ticket: IoTicket, io: Io) {
        let is_idle = self.ring.is_idle(io.buffer);
        let Some(entry) = self.entry(io.drive) else {
            self.finish(ticket, io, Ending::Failed);
            return;
        };
        let began = entry.group.failures();
        match entry.home {
            Home::Ram if io.operation == Operation::Read && !is_idle => {
                self.deferred.push_back((ticket, io));
            }
            Home::Ram => {
                let drive = Arc::clone(&entry.drive);
                let ending = if self.memory_io(&drive, &io) {
                    Ending::Done
                } else {
                    Ending::Failed
                };
                self.finish(ticket, io, ending);
            }
            Home::Null => {
                let is_inside = io.sector + u64::from(io.sectors) <= entry.drive.size_sectors();
                let ending = if is_inside {
                    Ending::Done
                } else {
                    Ending::Failed
                };
                self.finish(ticket, io, ending);
            }
            Home::File(_) => self.start_or_wait(Pending::Io(Job {
                ticket,
                io,
                attempts: 0,
                is_abandoned: false,
                began,
                zeroing: None,
                zeroed: 0,
            })),
        }
    }

    fn finish(&mut self, ticket: IoTicket, io: Io, ending: Ending) {
        self.done.push_back(Finished { ticket, io, ending });
    }

    /// Nobody waits for an I/O any longer: its buffer may be used as if it were over. It is told as
    /// [`Ending::Unwanted`] when it is. False when there is no spare buffer, or it is over already; then
    /// it is told as ever.
    pub fn abandon(&mut self, ticket: IoTicket) -> bool {
        if ticket == IoTicket::NONE {
            return false;
        }
        let is_it = |job: &Job| job.ticket == ticket && !job.is_abandoned;
        let position = self
            .pending
            .iter()
            .position(|pending| matches!(pending, Some((Pending::Io(job), _)) if is_it(job)));
        if let Some(token) = position {
            return self.abandon_started(token);
        }
        let is_waiting = |pending: &Pending| matches!(pending, Pending::Io(job) if is_it(job));
        if let Some(index) = self.waiting.iter().position(is_waiting) {
            if let Some(Pending::Io(job)) = self.waiting.remove(index) {
                self.finish(ticket, job.io, Ending::Unwanted);
            }
            return true;
        }
        self.abandon_landed(ticket)
    }

    /// The kernel has it: it keeps the buffer.
    fn abandon_started(&mut self, token: usize) -> bool {
        let Some((Pending::Io(job), place)) = self.pending[token] else {
            return false;
        };
        let io = job.io;
        if transfer(&io, false).is_some() && self.ring.place(io.buffer) == place {
            let pending = &self.pending;
            let is_filling = |sector: usize| {
                pending.iter().flatten().any(|(other, at)| match other {
                    Pending::Io(Job { io, .. }) => {
                        *at == place && io.operation == Operation::Read && covers(io, sector)
                    }
                    Pending::Commit(..) => false,
                })
            };
            if !self.ring.move_away(io.buffer, is_filling) {
                return false;
            }
        }
        if let Some((Pending::Io(job), _)) = &mut self.pending[token] {
            job.is_abandoned = true;
        }
        self.submit_deferred();
        true
    }

    /// The kernel uses none of a span. It may use the rest of the buffer, as when a read is of two RAIDs, and
    /// one of them gives its part sooner.
    fn expect_free(&self, span: &Span) {
        if self.ring.is_idle(span.buffer) {
            return;
        }
        let place = self.ring.place(span.buffer);
        let (start, end) = (span.start_sector, span.start_sector + span.sectors);
        let is_used = self.pending.iter().flatten().any(|(other, at)| {
            let Pending::Io(Job { io, .. }) = other else {
                return false;
            };
            let is_transfer = transfer(io, false).is_some();
            let overlaps = io.offset_sectors < end && start < io.offset_sectors + io.sectors;
            is_transfer && *at == place && overlaps
        });
        assert!(!is_used, "{span:?} is in use by the kernel");
    }

    /// It waits for a flush: its buffer is free.
    fn abandon_landed(&mut self, ticket: IoTicket) -> bool {
        for entry in self.drives.iter_mut().flatten() {
            if let Some(io) = entry.group.forget(ticket) {
                self.committing -= 1;
                self.finish(ticket, io, Ending::Unwanted);
                return true;
            }
        }
        false
    }

    /// A buffer may have become idle; what is still not is deferred again.
    fn submit_deferred(&mut self) {
        for _ in 0..self.deferred.len() {
            if let Some((ticket, io)) = self.deferred.pop_front() {
                self.submit(ticket, io);
            }
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
            Operation::WriteZeroes => ram.zero(io.sector, range.len()),
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
            Pending::Io(job) => job.io.drive,
            Pending::Commit(drive, _) => *drive,
        };
        let Some(Entry {
            home: Home::File(file),
            drive,
            is_grouped,
            is_polled,
            ..
        }) = self.entry(drive)
        else {
            unreachable!("only file I/O is started")
        };
        let (file, is_grouped, is_polled) = (*file, *is_grouped, *is_polled);
        let mut pending = pending;
        if let Pending::Io(job) = &mut pending
            && job.io.operation == Operation::WriteZeroes
        {
            job.zeroing = job.zeroing.max(Some(drive.zeroing()));
        }
        let user_data = u64::from(token);
        // A flush is of no buffer, but that does no harm.
        let buffer = match &pending {
            Pending::Io(job) => job.io.buffer,
            Pending::Commit(..) => BufferIndex(0),
        };
        let place = self.ring.place(buffer);
        let pushed = match &pending {
            Pending::Io(job) if job.zeroing.is_some() => self.push_zeroes(job, file, user_data),
            Pending::Io(Job { io, .. }) => match transfer(io, is_grouped) {
                Some(transfer) => {
                    let range = Range {
                        is_polled,
                        ..range(io, file)
                    };
                    self.ring.push(transfer, &range, user_data)
                }
                None => self.ring.push_flush(file, user_data),
            },
            Pending::Commit(..) => self.ring.push_flush(file, user_data),
        };
        if pushed.is_err() {
            self.free.push(token);
            return false;
        }
        if let Pending::Io(job) = &pending
            && job.io.operation == Operation::Write
            && let Some(entry) = self.entry(job.io.drive)
        {
            entry.group.begins();
        }
        self.pending[usize::from(token)] = Some((pending, place));
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

    /// Flushes a drive if writes have landed on it and another flush may be under way.
    fn commit(&mut self, drive: DriveSlot) {
        let group = self.entry(drive).map(|entry| &mut entry.group);
        if let Some(flush) = group.and_then(GroupCommit::begin_flush) {
            self.start_or_wait(Pending::Commit(drive, flush));
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

    /// A drive whose way to zeroes was found not to work, and what is done with it instead; each is told
    /// once.
    pub fn next_fallback(&mut self) -> Option<(DriveSlot, Zeroing)> {
        let slot = self.fallbacks.pop_front()?;
        self.entry(slot).map(|entry| (slot, entry.drive.zeroing()))
    }

    /// Gives back one finished I/O.
    pub fn next_result(&mut self) -> Option<Finished> {
        loop {
            if let Some(result) = self.done.pop_front() {
                return Some(result);
            }
            let Some((token, result)) = self.ring.reap() else {
                self.commit_all();
                return None;
            };
            let landed = self.landed(token, result);
            self.submit_deferred();
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
    fn landed(&mut self, token: u64, result: i32) -> Option<Finished> {
        let Ok(token) = u16::try_from(token) else {
            unreachable!("our own token")
        };
        let Some((pending, place)) = self.pending[usize::from(token)].take() else {
            unreachable!("a completion of nothing")
        };
        self.free.push(token);
        match pending {
            Pending::Io(job) => self.io_landed(job, place, result),
            Pending::Commit(drive, flush) => {
                self.committed(drive, flush, result);
                None
            }
        }
    }

    fn io_landed(&mut self, job: Job, place: Place, result: i32) -> Option<Finished> {
        let Job { ticket, io, .. } = job;
        let over = |ending| Some(Finished { ticket, io, ending });
        if let Some(transfer) = transfer(&io, false) {
            if io.operation == Operation::Read && !job.is_abandoned {
                let (start, sectors) = (io.offset_sectors as usize, io.sectors as usize);
                self.ring.carry_over(place, io.buffer, start, sectors);
            }
            self.ring.landed(transfer, place);
        }
        if io.operation == Operation::Write
            && let Some(entry) = self.entry(io.drive)
        {
            entry.group.ends();
        }
        if job.is_abandoned {
            return over(Ending::Unwanted);
        }
        if io.operation == Operation::WriteZeroes {
            return self.zeroes_landed(job, result);
        }
        let expected = i32::try_from(io.sectors as usize * SECTOR_BYTES).unwrap_or(i32::MAX);
        if result == expected {
            let is_write = io.operation == Operation::Write;
            return match self.entry(io.drive) {
                Some(entry) if is_write && entry.is_grouped => self.commits(&job),
                _ => over(Ending::Done),
            };
        }
        let again = result >= 0 || matches!(-result, libc::EAGAIN | libc::EINTR);
        if again && job.attempts + 1 < ATTEMPTS_MAX {
            self.start_again(Job {
                attempts: job.attempts + 1,
                ..job
            });
            return None;
        }
        over(self.failure(io.drive, result))
    }

    /// How an I/O of a drive ended that failed with this result of the kernel's.
    fn failure(&self, drive: DriveSlot, result: i32) -> Ending {
        let entry = self.drives.get(usize::from(drive.0));
        let entry = entry.and_then(Option::as_ref);
        let is_device = entry.is_some_and(|entry| entry.drive.is_device());
        if is_device && !is_word_of_drive(-result) {
            Ending::Unreached
        } else {
            Ending::Failed
        }
    }

    /// A write has landed, and waits for a flush.
    fn commits(&mut self, job: &Job) -> Option<Finished> {
        let Job {
            ticket, io, began, ..
        } = *job;
        if let Some(entry) = self.entry(io.drive)
            && entry.group.landed(ticket, io, began)
        {
            self.committing += 1;
            return None;
        }
        // A flush has failed meanwhile; why, whoever it covered was told.
        let ending = self.failure(io.drive, 0);
        Some(Finished { ticket, io, ending })
    }

    /// Goes on with an I/O before those that wait.
    fn start_again(&mut self, job: Job) {
        let pending = Pending::Io(job);
        if !self.start(pending) {
            self.waiting.push_front(pending);
        }
    }

    /// A group commit is over: gives back what it covered.
    fn committed(&mut self, drive: DriveSlot, flush: FlushIndex, result: i32) {
        let failure = self.failure(drive, result);
        let slot = self
            .drives
            .get_mut(usize::from(drive.0))
            .and_then(Option::as_mut);
        let Some(group) = slot.map(|entry| &mut entry.group) else {
            unreachable!("a commit of no drive")
        };
        let (is_durable, covered) = group.flush_ended(flush, result == 0);
        let ending = if is_durable { Ending::Done } else { failure };
        for (ticket, io) in covered {
            self.committing -= 1;
            self.done.push_back(Finished { ticket, io, ending });
        }
    }
}

impl Memory for Executor {
    fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>) {
        for output in outputs {
            self.expect_free(output);
        }
        self.ring.compute(inputs, outputs, work);
    }
}

/// How an I/O on a buffer is done. With group commit a write need not be durable by itself.
fn transfer(io: &Io, is_grouped: bool) -> Option<Transfer> {
    match io.operation {
        Operation::Read => Some(Transfer::Read),
        Operation::Write if is_grouped => Some(Transfer::Write),
        Operation::Write => Some(Transfer::WriteDurable),
        Operation::WriteZeroes | Operation::Flush => None,
    }
}

/// Whether the kernel gives this error for what a drive has said of an I/O, e.g. that a sector cannot be read
/// (Linux block/blk-core.c has the list). All others may come of a drive that is not there any more.
const fn is_word_of_drive(errno: i32) -> bool {
    matches!(
        errno,
        libc::ENODATA | libc::EREMOTEIO | libc::EILSEQ | libc::EBADE | libc::EOPNOTSUPP
    )
}

/// Whether an I/O concerns a sector of its buffer.
const fn covers(io: &Io, sector: usize) -> bool {
    let start = io.offset_sectors as usize;
    sector >= start && sector < start + io.sectors as usize
}

fn range(io: &Io, file: u32) -> Range {
    Range {
        file,
        is_polled: false,
        file_offset_bytes: io.sector * SECTOR_BYTES as u64,
        buffer: io.buffer,
        buffer_offset_bytes: io.offset_sectors as usize * SECTOR_BYTES,
        bytes: io.sectors as usize * SECTOR_BYTES,
    }
}

#[cfg(test)]
mod tests;
