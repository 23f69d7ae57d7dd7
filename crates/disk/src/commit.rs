//! Group commit: many writes, one flush.
//!
//! For drives on which a durable write costs a flush of the whole drive (a volatile cache without
//! FUA, or a file): writes are done without, and acknowledged after a flush that began when they had
//! landed. While flushes are under way, the writes that land gather for the next one, so that its cost
//! is shared by as many as there are.
//!
//! Two flushes may be under way. The kernel does one at a time, but has the second at hand when the
//! first is over: the drive does not wait for this process to be told and to ask again. The second waits
//! until half as many writes have landed as are under way, so that groups are large when writes pile up.
//!
//! A lone write is no RWF_DSYNC write, although that would be one trip instead of two: on a file the
//! kernel has it flushed by a thread that is bound to the CPU of the interrupt, and takes its turn there
//! behind whatever else runs: 4 ms at the median with two busy CPUs, where a flush by io_uring took 0.2.
//!
//! Invariants:
//! * a write is given back as done only after a flush that was submitted after it had landed, and that did
//!   not fail;
//! * a flush that fails fails all writes that began before it was over: the kernel may tell of an error
//!   only once, and a later flush says nothing of what this one has lost;
//! * at most [`FLUSHES_MAX`] flushes of a drive are under way.

use shelf::patience::IoTicket;
use shelf::target::Io;

/// Flushes of a drive that may be under way.
pub(crate) const FLUSHES_MAX: usize = 2;

/// How many flushes of a drive had failed at some time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Failures(u32);

/// Which of the flushes that may be under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlushIndex(usize);

/// A flush that may be under way.
#[derive(Debug, Default)]
struct Flush {
    is_under_way: bool,
    /// What had landed when it began.
    covered: Vec<(IoTicket, Io)>,
    /// When it began.
    failures: Failures,
}

/// The writes of one drive that are on their way to being durable.
#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    /// Landed, and not covered by a flush yet.
    landed: Vec<(IoTicket, Io)>,
    flushes: [Flush; FLUSHES_MAX],
    failures: Failures,
    /// Writes that the kernel has.
    under_way: usize,
}

impl GroupCommit {
    /// Room for `ios` writes.
    pub(crate) fn new(ios: usize) -> Self {
        Self {
            landed: Vec::with_capacity(ios),
            flushes: std::array::from_fn(|_| Flush {
                covered: Vec::with_capacity(ios),
                ..Flush::default()
            }),
            failures: Failures::default(),
            under_way: 0,
        }
    }

    /// Whether no write waits for a flush, none is under way, and no flush is.
    pub(crate) fn is_empty(&self) -> bool {
        let mut flushes = self.flushes.iter();
        self.landed.is_empty() && self.under_way == 0 && flushes.all(|flush| !flush.is_under_way)
    }

    /// A write is being submitted.
    pub(crate) const fn begins(&mut self) {
        self.under_way += 1;
    }

    /// The kernel is done with a write, whatever came of it.
    pub(crate) const fn ends(&mut self) {
        self.under_way -= 1;
    }

    /// To be noted when a write begins, for [`Self::landed`].
    pub(crate) const fn failures(&self) -> Failures {
        self.failures
    }

    /// A write has landed in the drive's cache. False when a flush has failed since it began: then nobody
    /// knows where it is, and it has failed, too.
    pub(crate) fn landed(&mut self, ticket: IoTicket, io: Io, began: Failures) -> bool {
        let is_known = began == self.failures;
        if is_known {
            self.landed.push((ticket, io));
        }
        is_known
    }

    /// A write is not waited for any longer: gives it back, if it is one of these.
    pub(crate) fn forget(&mut self, ticket: IoTicket) -> Option<Io> {
        let covered = self.flushes.iter_mut().map(|flush| &mut flush.covered);
        std::iter::once(&mut self.landed)
            .chain(covered)
            .find_map(|ios| {
                let index = ios.iter().position(|(known, _)| *known == ticket)?;
                Some(ios.swap_remove(index).1)
            })
    }

    /// If a flush is to be submitted now it begins: it covers what has landed.
    pub(crate) fn begin_flush(&mut self) -> Option<FlushIndex> {
        if self.landed.is_empty() {
            return None;
        }
        let index = self.flushes.iter().position(|flush| !flush.is_under_way)?;
        let is_second = self.flushes.iter().any(|flush| flush.is_under_way);
        if is_second && 2 * self.landed.len() < self.under_way {
            return None;
        }
        let flush = &mut self.flushes[index];
        std::mem::swap(&mut self.landed, &mut flush.covered);
        flush.is_under_way = true;
        flush.failures = self.failures;
        Some(FlushIndex(index))
    }

    /// A flush is over: whether what is given back now is durable. After a failure that is also what has
    /// landed meanwhile.
    pub(crate) fn flush_ended(
        &mut self,
        FlushIndex(index): FlushIndex,
        ok: bool,
    ) -> (bool, impl Iterator<Item = (IoTicket, Io)> + '_) {
        let flush = &mut self.flushes[index];
        let is_durable = ok && flush.failures == self.failures;
        let mut lost = 0;
        if !ok {
            self.failures.0 = self.failures.0.wrapping_add(1);
            lost = self.landed.len();
        }
        flush.is_under_way = false;
        let lost = self.landed.drain(..lost);
        (is_durable, flush.covered.drain(..).chain(lost))
    }
}

#[cfg(test)]
mod tests;
