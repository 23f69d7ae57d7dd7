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

use shelf::patience::IoTicket;
use shelf::target::Io;

/// The writes of one drive that are on their way to being durable.
#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    /// Landed, and not covered by a flush yet.
    landed: Vec<(IoTicket, Io)>,
    /// Covered by the flush that is under way.
    covered: Vec<(IoTicket, Io)>,
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
    pub(crate) fn landed(&mut self, ticket: IoTicket, io: Io) {
        self.landed.push((ticket, io));
    }

    /// A write is not waited for any longer: gives it back, if it is one of these.
    pub(crate) fn forget(&mut self, ticket: IoTicket) -> Option<Io> {
        [&mut self.landed, &mut self.covered]
            .into_iter()
            .find_map(|ios| {
                let index = ios.iter().position(|(known, _)| *known == ticket)?;
                Some(ios.swap_remove(index).1)
            })
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
    pub(crate) fn flush_ended(&mut self) -> impl Iterator<Item = (IoTicket, Io)> + '_ {
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
        group.landed(IoTicket(1), write(1));
        group.landed(IoTicket(2), write(2));
        assert!(group.wants_flush());
        group.flush_begins();
        group.landed(IoTicket(3), write(3));
        assert!(!group.wants_flush(), "one at a time");
        assert_eq!(
            group
                .flush_ended()
                .map(|(_, io)| io.buffer.0)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(group.landed.len(), 1);
        assert!(group.wants_flush());
        group.flush_begins();
        assert_eq!(
            group
                .flush_ended()
                .map(|(_, io)| io.buffer.0)
                .collect::<Vec<_>>(),
            [3]
        );
        assert!(!group.wants_flush());
    }

    #[test]
    fn a_write_that_nobody_waits_for_is_not_given_back() {
        let mut group = GroupCommit::default();
        group.landed(IoTicket(1), write(1));
        group.landed(IoTicket(2), write(2));
        group.flush_begins();
        group.landed(IoTicket(3), write(3));
        assert_eq!(group.forget(IoTicket(2)), Some(write(2)));
        assert_eq!(group.forget(IoTicket(3)), Some(write(3)));
        assert_eq!(group.forget(IoTicket(4)), None);
        assert_eq!(
            group
                .flush_ended()
                .map(|(ticket, _)| ticket.0)
                .collect::<Vec<_>>(),
            [1]
        );
        assert!(!group.wants_flush());
    }
}
