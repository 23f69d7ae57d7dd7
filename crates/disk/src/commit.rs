//! Group commit: many writes, one flush.
//!
//! For drives on which a durable write costs a flush of the whole drive (a volatile cache without
//! FUA, or a file): writes are done without, and acknowledged after a flush that began when they had
//! landed. While a flush is under way, the writes that land gather for the next one, so that its cost
//! is shared by as many as there are.
//!
//! Invariants:
//! * a write is given back as done only after a flush that was submitted after it had landed;
//! * a flush that fails fails all writes that waited for it;
//! * at most one flush of a drive is under way.

use shelf::target::Io;

/// The writes of one drive that are on their way to being durable.
#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    /// Landed, and not covered by a flush yet.
    landed: Vec<Io>,
    /// Covered by the flush that is under way.
    covered: Vec<Io>,
    is_flushing: bool,
}

impl GroupCommit {
    /// Room for `ios` writes.
    pub(crate) fn new(ios: usize) -> Self {
        Self {
            landed: Vec::with_capacity(ios),
            covered: Vec::with_capacity(ios),
            is_flushing: false,
        }
    }

    /// A write has landed in the drive's cache.
    pub(crate) fn landed(&mut self, io: Io) {
        self.landed.push(io);
    }

    /// Whether a flush is to be submitted now.
    pub(crate) fn wants_flush(&self) -> bool {
        !self.is_flushing && !self.landed.is_empty()
    }

    /// A flush is being submitted: it covers what has landed.
    pub(crate) fn flush_begins(&mut self) {
        assert!(self.wants_flush(), "a second flush, or one of nothing");
        std::mem::swap(&mut self.landed, &mut self.covered);
        self.is_flushing = true;
    }

    /// The flush is over; what it covered is as durable as it was successful.
    pub(crate) fn flush_ended(&mut self) -> impl Iterator<Item = Io> + '_ {
        self.is_flushing = false;
        self.covered.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shelf::admin::DriveSlot;
    use shelf::target::{BufferIndex, IoOwner, Operation, Purpose};

    fn write(command: u16) -> Io {
        Io {
            owner: IoOwner::Command(command),
            buffer: BufferIndex(command),
            operation: Operation::Write,
            drive: DriveSlot(0),
            sector: 0,
            sectors: 1,
            offset_sectors: 0,
            part: 0,
            member: 0,
            purpose: Purpose::Member,
            attempt: 0,
        }
    }

    #[test]
    fn what_lands_during_a_flush_waits_for_the_next_one() {
        let mut group = GroupCommit::default();
        assert!(!group.wants_flush());
        group.landed(write(1));
        group.landed(write(2));
        assert!(group.wants_flush());
        group.flush_begins();
        group.landed(write(3));
        assert!(!group.wants_flush(), "one at a time");
        assert_eq!(
            group
                .flush_ended()
                .map(|io| io.buffer.0)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(group.landed.len(), 1);
        assert!(group.wants_flush());
        group.flush_begins();
        assert_eq!(
            group
                .flush_ended()
                .map(|io| io.buffer.0)
                .collect::<Vec<_>>(),
            [3]
        );
        assert!(!group.wants_flush());
    }
}
