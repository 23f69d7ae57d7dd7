//! The io_uring of a worker and the buffers that it reads and writes: the unsafe file of this crate.
//!
//! Invariants that make the safe functions sound:
//! * buffers are one piece of memory that lives, at one address, as long as the ring
//!   ([`StableMemory`]), which alone uses it; [`Ring`] waits for all I/O in flight before it frees them;
//! * a range handed to the kernel lies inside one buffer (checked in [`Ring::push`]);
//! * while the kernel may write a buffer nobody else touches it, and while it may read it nobody
//!   writes it: [`Ring::buffer`] and [`Ring::buffer_mut`] check the counts of I/O in flight;
//! * bytes that are [lent](Ring::lend) are as if the kernel was reading them;
//! * a buffer whose I/O is not waited for any longer moves to another place ([`Ring::move_away`]): what
//!   the kernel still reads or writes is nobody else's until it is done ([`Buffers`]);
//! * what goes to the polled ring is of the same buffers and files, under the same counts;
//! * files are registered, and kept open by their owner ([`crate::Executor`]) for as long as they are.
//!
//! JUSTIFICATION: asynchronous direct I/O needs memory that the kernel owns for a while; a bare probe
//! reached 95,000 8 KiB reads a second at 23 % of a core with it, ten times a synchronous target.
#![allow(unsafe_code)]

use crate::SECTOR_BYTES;
use crate::buffers::{Buffers, Place};
use crate::page::{PAGE_BYTES, Pages};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::getpid;
use rustix::thread::{CpuSet, sched_getaffinity};
use shelf::target::{BufferIndex, BufferPlan, Span, Work};
use stable_deref_trait::StableDeref;
use std::fmt;
use std::io;
use std::ops::DerefMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;

/// Kernel threads for I/O that cannot be done without blocking.
const BLOCKING_MAX: u32 = 256;

/// Most zeroes that are written at a time.
pub(crate) const ZEROES_SECTORS: u32 = 512;
const ZEROES_BYTES: usize = ZEROES_SECTORS as usize * SECTOR_BYTES;

/// Entries that are handed to the kernel without waiting for the end of the turn: the drive begins with
/// them, while the call is shared by enough of them. On a drive that does one thing at a time, 64 reads of
/// 8 KiB under way took 525 to 600 µs each with whole turns, 450 with 4, 410 with 1.
const BATCH: usize = 4;

/// The registered region of the buffers, and that of zeroes.
const BUFFERS: u16 = 0;
const ZEROES: u16 = 1;

/// Memory for buffers: bytes that begin at a page and stay where they are when their owner moves.
pub trait StableMemory: DerefMut<Target = [u8]> + StableDeref + Send {}

impl<M: DerefMut<Target = [u8]> + StableDeref + Send> StableMemory for M {}

// SAFETY: the bytes are on the heap, and stay there when the box moves.
unsafe impl StableDeref for Pages {}

/// Bytes that somebody else reads for a while: [`Ring::lend`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loan {
    place: Place,
    /// Which bytes of the memory of all buffers.
    pub bytes: std::ops::Range<usize>,
}

/// What the kernel is asked to do with a range of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transfer {
    /// Fill it from the file.
    Read,
    /// Write it to the file.
    Write,
    /// Write it to the file; complete when durable.
    WriteDurable,
}

/// A range of a buffer and of a registered file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    /// Index of the registered file.
    pub(crate) file: u32,
    /// The file's drive has poll queues, and these are to be used.
    pub(crate) is_polled: bool,
    /// Where in the file.
    pub(crate) file_offset_bytes: u64,
    /// Which buffer.
    pub(crate) buffer: BufferIndex,
    /// Where in the buffer.
    pub(crate) buffer_offset_bytes: usize,
    /// How much.
    pub(crate) bytes: usize,
}

/// The submission queue has no room: submit, and push again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

/// An io_uring with the buffers that it works on.
pub(crate) struct Ring {
    ring: IoUring,
    /// For reads and writes of drives with poll queues: nothing tells when they are done, the kernel looks
    /// when it is entered. Nothing else may go there.
    polled: Option<IoUring>,
    /// Of all I/O in flight, what is in the polled ring.
    polled_total: usize,
    /// What was in it since the start.
    polled_ios: u64,
    /// The memory of the buffers, and where it lies.
    memory: Box<dyn StableMemory>,
    base: NonNull<u8>,
    /// What zeroes are written from; nobody ever writes it.
    zeroes: Pages,
    buffers: Buffers,
    total: usize,
    /// Signalled by the kernel when completions are due. Polling the ring itself would not do: with
    /// DEFER_TASKRUN a completion is posted only when this thread enters the kernel, and until then
    /// nothing wakes whoever polls the ring.
    due: OwnedFd,
}

// SAFETY: the address is that of memory that the ring owns, which may be sent itself.
unsafe impl Send for Ring {}

/// A ring whose completions are looked for.
fn polled_ring(entries: u32, files: &[RawFd]) -> io::Result<IoUring> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_iopoll()
        .setup_cqsize(entries * 4)
        .build(entries)?;
    ring.submitter().register_files(files)?;
    Ok(ring)
}

/// Where the kernel's threads for I/O that blocks, flushes above all, may run: wherever the process may.
/// They would inherit the one CPU to which this thread is pinned, and which it keeps busy.
///
/// That CPU is not left out: where all are busy a thread that wakes there gets it soon, as it belongs to the
/// same process, while elsewhere it takes its turn (a write at depth 1, both CPUs busy: 0.5 ms against 4 ms
/// at the median).
fn cpus_for_blocking() -> io::Result<libc::cpu_set_t> {
    let process = sched_getaffinity(Some(getpid()))?;
    // SAFETY: a set of CPUs is plain integers.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| process.is_set(*cpu)) {
        // SAFETY: `cpu` is below the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut cpus) };
    }
    Ok(cpus)
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("in_flight", &self.total)
            .finish_non_exhaustive()
    }
}

/// Bytes that the buffers of a plan take, spare ones included.
pub(crate) fn buffer_bytes(plan: BufferPlan) -> usize {
    Buffers::total_sectors_of(plan) * SECTOR_BYTES
}

/// Memory of the heap.
pub(crate) fn zeroed(pages: usize) -> io::Result<Pages> {
    Pages::new_zeroed(pages).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

impl Ring {
    /// A ring of `entries`, with buffers as planned in this memory, and these files registered by their
    /// index; with a second one that is polled, if wanted. The calling thread must be the one that uses it.
    pub(crate) fn new(
        entries: u32,
        plan: BufferPlan,
        mut memory: Box<dyn StableMemory>,
        files: &[RawFd],
        is_polling: bool,
    ) -> io::Result<Self> {
        let buffers = Buffers::new(plan);
        let base = NonNull::from(&mut **memory).cast::<u8>();
        assert!(
            memory.len() >= buffer_bytes(plan) && base.addr().get().is_multiple_of(PAGE_BYTES),
            "memory that is too small, or begins within a page"
        );
        let mut zeroes = zeroed(ZEROES_BYTES / PAGE_BYTES)?;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(entries * 4)
            .build(entries)?;
        ring.submitter().register_files(files)?;
        // Files that cannot be read without blocking occupy a kernel thread for each I/O: one that hangs must
        // not take them all.
        ring.submitter()
            .register_iowq_max_workers(&mut [BLOCKING_MAX, 0])?;
        ring.submitter().register_iowq_aff(&cpus_for_blocking()?)?;
        let due = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        ring.submitter().register_eventfd(due.as_raw_fd())?;
        let regions = [&mut **memory, &mut *zeroes].map(|bytes| libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        });
        // SAFETY: the regions are those of `memory` and `zeroes`, which `Ring` owns, which stay where they
        // are, and which it frees only after all I/O is done (`Drop`).
        unsafe { ring.submitter().register_buffers(&regions) }?;
        let polled = is_polling
            .then(|| polled_ring(entries, files))
            .transpose()?;
        if let Some(polled) = &polled {
            // SAFETY: as above.
            unsafe { polled.submitter().register_buffers(&regions) }?;
        }
        Ok(Self {
            ring,
            base,
            polled,
            polled_total: 0,
            polled_ios: 0,
            memory,
            zeroes,
            buffers,
            total: 0,
            due,
        })
    }

    /// The memory of all buffers. What the kernel is writing of it nobody looks at.
    fn memory(&self) -> &[u8] {
        // SAFETY: `base` and the length are of `memory`, which stays where it is and is used through them
        // alone; `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.memory.len()) }
    }

    /// The same, to be written.
    fn memory_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `memory`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.memory.len()) }
    }

    /// Lends bytes of a buffer to somebody who reads them, until [`Ring::take_back`].
    ///
    /// # Panics
    /// If a read into the buffer is in flight.
    pub(crate) fn lend(&mut self, span: &Span) -> Loan {
        self.expect_filled(span.buffer);
        let place = self.buffers.place(span.buffer);
        self.buffers.in_flight_mut(place).writes += 1;
        Loan {
            place,
            bytes: self.buffers.bytes_of(span),
        }
    }

    /// Nobody reads lent bytes any more.
    pub(crate) fn take_back(&mut self, loan: &Loan) {
        self.landed(Transfer::Write, loan.place);
    }

    /// The bytes of a buffer that the kernel is not writing.
    ///
    /// # Panics
    /// If a read into it is in flight.
    pub(crate) fn buffer(&self, buffer: BufferIndex) -> &[u8] {
        self.expect_filled(buffer);
        &self.memory()[self.bytes_of(self.buffers.place(buffer))]
    }

    /// Where a place lies in the memory.
    fn bytes_of(&self, place: Place) -> std::ops::Range<usize> {
        let sectors = self.buffers.sectors_of(place);
        sectors.start * SECTOR_BYTES..sectors.end * SECTOR_BYTES
    }

    fn expect_filled(&self, buffer: BufferIndex) {
        let reads = self.buffers.in_flight(self.buffers.place(buffer)).reads;
        assert_eq!(reads, 0, "{buffer:?} is being filled");
    }

    fn expect_idle(&self, buffer: BufferIndex) {
        assert!(self.is_idle(buffer), "{buffer:?} is in use by the kernel");
    }

    /// Computes over buffers. Whoever asks for it has seen that the kernel uses none of the outputs.
    ///
    /// # Panics
    /// If a read into an input is in flight.
    pub(crate) fn compute(&mut self, inputs: &[Span], outputs: &[Span], work: Work<'_>) {
        for input in inputs {
            self.expect_filled(input.buffer);
        }
        let place = |span: &Span| self.buffers.bytes_of(span);
        // SAFETY: as in `memory_mut`; spelt out, since `place` borrows another field of `self`.
        let arena =
            unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.memory.len()) };
        shelf::target::compute_in(arena, place, inputs, outputs, work);
    }

    /// Gives a buffer another place, so that the kernel keeps the one it is using. Sectors for which
    /// `is_filling` are not copied: the kernel may be writing them. False when there is no spare place.
    pub(crate) fn move_away(
        &mut self,
        buffer: BufferIndex,
        is_filling: impl Fn(usize) -> bool,
    ) -> bool {
        let Some((old, new)) = self.buffers.move_away(buffer) else {
            return false;
        };
        let (old_sectors, new_start) = (
            self.buffers.sectors_of(old),
            self.buffers.sectors_of(new).start,
        );
        for sector in (0..old_sectors.len()).filter(|sector| !is_filling(*sector)) {
            self.copy_sectors(old_sectors.start + sector, new_start + sector, 1);
        }
        self.buffers.release(old);
        true
    }

    /// Copies what a read has put into a place that its buffer has left meanwhile.
    pub(crate) fn carry_over(
        &mut self,
        from: Place,
        buffer: BufferIndex,
        start: usize,
        len: usize,
    ) {
        let to = self.buffers.place(buffer);
        if to != from {
            let from = self.buffers.sectors_of(from).start + start;
            let to = self.buffers.sectors_of(to).start + start;
            self.copy_sectors(from, to, len);
        }
    }

    fn copy_sectors(&mut self, from: usize, to: usize, sectors: usize) {
        let bytes = from * SECTOR_BYTES..(from + sectors) * SECTOR_BYTES;
        self.memory_mut().copy_within(bytes, to * SECTOR_BYTES);
    }

    /// Where a buffer lies now.
    pub(crate) fn place(&self, buffer: BufferIndex) -> Place {
        self.buffers.place(buffer)
    }

    /// The bytes of a buffer that the kernel does not use at all.
    ///
    /// # Panics
    /// If any I/O on it is in flight.
    pub(crate) fn buffer_mut(&mut self, buffer: BufferIndex) -> &mut [u8] {
        self.expect_idle(buffer);
        let bytes = self.bytes_of(self.buffers.place(buffer));
        &mut self.memory_mut()[bytes]
    }

    /// Whether no I/O on a buffer is in flight.
    pub(crate) fn is_idle(&self, buffer: BufferIndex) -> bool {
        let counts = self.buffers.in_flight(self.buffers.place(buffer));
        counts.reads == 0 && counts.writes == 0
    }

    /// How many I/Os were pushed and not yet reaped.
    pub(crate) const fn total_in_flight(&self) -> usize {
        self.total
    }

    /// Queues a transfer.
    ///
    /// # Panics
    /// If the range leaves its buffer, or another I/O in flight forbids it: reads want the buffer for
    /// themselves in their range's sense, writes want no read in it.
    pub(crate) fn push(
        &mut self,
        transfer: Transfer,
        range: &Range,
        user_data: u64,
    ) -> Result<(), QueueFull> {
        let end = range.buffer_offset_bytes.checked_add(range.bytes);
        let at = self.buffers.place(range.buffer);
        let buffer = self.bytes_of(at);
        assert!(
            end.is_some_and(|end| end <= buffer.len()),
            "{range:?} leaves its buffer"
        );
        let counts = self.buffers.in_flight(at);
        match transfer {
            Transfer::Read => assert_eq!(counts.writes, 0, "{range:?} is being written from"),
            Transfer::Write | Transfer::WriteDurable => {
                assert_eq!(counts.reads, 0, "{range:?} is being filled");
            }
        }
        let start = buffer.start + range.buffer_offset_bytes;
        let place = self.memory_mut()[start..].as_mut_ptr();
        let Ok(bytes) = u32::try_from(range.bytes) else {
            unreachable!("a buffer is small")
        };
        let file = types::Fixed(range.file);
        let entry = match transfer {
            Transfer::Read => opcode::ReadFixed::new(file, place, bytes, BUFFERS)
                .offset(range.file_offset_bytes)
                .build(),
            Transfer::Write | Transfer::WriteDurable => {
                let durable = transfer == Transfer::WriteDurable;
                opcode::WriteFixed::new(file, place, bytes, BUFFERS)
                    .offset(range.file_offset_bytes)
                    .rw_flags(if durable { libc::RWF_DSYNC } else { 0 })
                    .build()
            }
        };
        let entry = entry.user_data(user_data);
        if range.is_polled {
            self.push_polled(&entry)?;
        } else {
            self.push_entry(&entry)?;
        }
        let counts = self.buffers.in_flight_mut(at);
        match transfer {
            Transfer::Read => counts.reads += 1,
            Transfer::Write | Transfer::WriteDurable => counts.writes += 1,
        }
        Ok(())
    }

    /// Queues a flush of everything written to a file before.
    pub(crate) fn push_flush(&mut self, file: u32, user_data: u64) -> Result<(), QueueFull> {
        let entry = opcode::Fsync::new(types::Fixed(file))
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        self.push_entry(&entry.user_data(user_data))
    }

    /// Queues a `fallocate` of a range of a file.
    pub(crate) fn push_fallocate(
        &mut self,
        file: u32,
        (offset_bytes, bytes): (u64, u64),
        mode: i32,
        user_data: u64,
    ) -> Result<(), QueueFull> {
        let entry = opcode::Fallocate::new(types::Fixed(file), bytes)
            .offset(offset_bytes)
            .mode(mode)
            .build();
        self.push_entry(&entry.user_data(user_data))
    }

    /// Queues a write of zeroes, at most [`ZEROES_SECTORS`]; not durable by itself.
    ///
    /// # Panics
    /// If it is longer.
    pub(crate) fn push_zeroes(
        &mut self,
        file: u32,
        offset_bytes: u64,
        bytes: usize,
        user_data: u64,
    ) -> Result<(), QueueFull> {
        let source = self.zeroes[..bytes].as_ptr();
        let Ok(bytes) = u32::try_from(bytes) else {
            unreachable!("zeroes are few")
        };
        let entry = opcode::WriteFixed::new(types::Fixed(file), source, bytes, ZEROES)
            .offset(offset_bytes)
            .build();
        self.push_entry(&entry.user_data(user_data))
    }

    fn push_entry(&mut self, entry: &squeue::Entry) -> Result<(), QueueFull> {
        // SAFETY: the entry refers to a registered file and to memory that outlives it (module
        // invariants; the ranges were checked by the callers).
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| QueueFull)?;
        self.total += 1;
        hand_over(&mut self.ring);
        Ok(())
    }

    fn push_polled(&mut self, entry: &squeue::Entry) -> Result<(), QueueFull> {
        let Some(polled) = &mut self.polled else {
            unreachable!("a drive that is polled has a ring for it")
        };
        // SAFETY: as in `push_entry`; files and buffers are registered with this ring, too.
        let pushed = unsafe { polled.submission().push(entry) };
        pushed.map_err(|_| QueueFull)?;
        hand_over(polled);
        self.total += 1;
        self.polled_total += 1;
        self.polled_ios += 1;
        Ok(())
    }

    /// Puts a file into an empty place of the table, or, with -1, empties a place. I/O that the kernel has of
    /// a file that leaves goes on with it.
    pub(crate) fn set_file(&mut self, place: u32, file: RawFd) -> io::Result<()> {
        if let Some(polled) = &self.polled {
            polled.submitter().register_files_update(place, &[file])?;
        }
        let updated = self.ring.submitter().register_files_update(place, &[file]);
        if updated.is_err()
            && let Some(polled) = &self.polled
        {
            // In neither of the two, or in both.
            polled.submitter().register_files_update(place, &[-1])?;
        }
        updated.map(drop)
    }

    /// Whether there is a ring that is polled.
    pub(crate) const fn has_polled_ring(&self) -> bool {
        self.polled.is_some()
    }

    /// I/O that was polled for, since the start.
    pub(crate) const fn polled_ios(&self) -> u64 {
        self.polled_ios
    }

    /// Whether I/O is in flight whose end nothing tells: it is found by [`Ring::submit`] only.
    pub(crate) const fn is_polling(&self) -> bool {
        self.polled_total > 0
    }

    /// Hands queued entries to the kernel and lets it run completions that are due. Never blocks.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        if self.total == 0 {
            return Ok(());
        }
        if let Some(polled) = self.polled.as_mut().filter(|_| self.polled_total > 0) {
            // The kernel looks once at what is in flight.
            unless_busy(polled.submit())?;
        }
        let queue = self.ring.submission();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(());
        }
        drop(queue);
        unless_busy(self.ring.submit())
    }

    /// Takes one completion: its user data and its result, bytes or a negated errno. The caller must
    /// pass the transfer to [`Ring::landed`].
    pub(crate) fn reap(&mut self) -> Option<(u64, i32)> {
        // Nothing is the kernel's: its ring need not be looked at.
        if self.total == 0 {
            return None;
        }
        let polled = self.polled.as_mut().filter(|_| self.polled_total > 0);
        let entry = if let Some(entry) = polled.and_then(|ring| ring.completion().next()) {
            self.polled_total -= 1;
            entry
        } else {
            self.ring.completion().next()?
        };
        self.total -= 1;
        Some((entry.user_data(), entry.result()))
    }

    /// The kernel is done with a transfer that began at this place.
    pub(crate) fn landed(&mut self, transfer: Transfer, place: Place) {
        let counts = self.buffers.in_flight_mut(place);
        match transfer {
            Transfer::Read => counts.reads -= 1,
            Transfer::Write | Transfer::WriteDurable => counts.writes -= 1,
        }
        self.buffers.release(place);
    }

    /// Readable when completions may be due, until [`Ring::clear_due`].
    pub(crate) fn due_fd(&self) -> BorrowedFd<'_> {
        self.due.as_fd()
    }

    /// Forgets past signals. To be called before [`Ring::submit`], so that none is lost.
    pub(crate) fn clear_due(&self) {
        let mut count = [0; 8];
        // It fails only when there was no signal.
        let _ = rustix::io::read(&self.due, &mut count);
    }
}

/// Hands queued entries to the kernel when they are enough, and leaves completions alone: whoever takes
/// these in a loop and pushes more would otherwise never come to the end of it.
fn hand_over(ring: &mut IoUring) {
    let queued = ring.submission().len();
    if queued < BATCH {
        return;
    }
    let Ok(entries) = u32::try_from(queued) else {
        unreachable!("the queue is small")
    };
    // SAFETY: it only makes the kernel take entries that were checked when they were queued.
    let handed = unsafe {
        ring.submitter()
            .enter::<libc::sigset_t>(entries, 0, 0, None)
    };
    // What is left is handed over by `Ring::submit`, which also tells when the ring is broken.
    drop(handed);
}

/// Busy: completions must be reaped first. Interrupted: the next turn does it.
fn unless_busy(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc::EBUSY | libc::EAGAIN | libc::EINTR)
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

impl Drop for Ring {
    /// Waits for all I/O in flight: until then the kernel may write the buffers.
    fn drop(&mut self) {
        while self.total > 0 {
            let polled = self.polled.as_ref().filter(|_| self.polled_total > 0);
            match polled.unwrap_or(&self.ring).submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(_) => {
                    // The ring is broken: better leak the buffers than free them under the kernel.
                    if let Some(empty) = Pages::new_zeroed(0) {
                        std::mem::forget(std::mem::replace(&mut self.memory, Box::new(empty)));
                    }
                    if let Some(empty) = Pages::new_zeroed(0) {
                        std::mem::forget(std::mem::replace(&mut self.zeroes, empty));
                    }
                    return;
                }
            }
            while self.reap().is_some() {}
        }
    }
}
