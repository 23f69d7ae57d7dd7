//! Frames of one receive queue that come in at several workers: no write undoes one that came later.
//!
//! Where workers share a queue each has a socket of its own on it, and what brings a frame there puts it into
//! the ring of its *receiver* ([`crate::shard::Place::receiver`]): the owner of its sectors, or, if they have
//! several owners, the home of the LUN. Each ring keeps the order in which frames came, but a write in one
//! ring may be taken in long before an earlier one in another ring. Commands that initiators have under way
//! together may be done in any order. But an initiator that has sent a write again, and has had its answer
//! from the first copy, may send a newer write of the same sectors; then the second copy lies in one ring and
//! the newer write in another one. That can be only where one of the two touches sectors of several owners:
//! it is in the ring of the home, the other one in that of an owner, from whom the home borrows
//! (`super::loan`).
//!
//! A worker *looks* at a queue when it asks the kernel how far its ring is filled, which it does only when it
//! has taken everything of the look before. A *round* of a worker ends when it has taken in what it found;
//! how many have ended each tells the others. Before a look a worker reads the rounds of the others. So:
//!
//! * what a look finds came after the look before it, and therefore after all that other workers had taken in
//!   when that one read their rounds. A loan carries that number of rounds; an owner that has taken in a
//!   write that overlaps, in that round or since, cannot tell which of the two came first. It says so with
//!   its grant, and the command of the home is dropped;
//! * an owner that takes in a write and has, since the look before the one that found it, lent sectors
//!   that overlap, cannot tell either: the write is dropped.
//!
//! Invariants:
//! * of two writes of a shared queue that overlap, the one that came first never takes its place in the order
//!   of a sector after the other one: it is there before, or dropped and counted (`stale_writes`);
//! * what was dropped was not answered, and the initiator sends it again: a look later nothing speaks against
//!   it;
//! * what is remembered is bounded; what was forgotten counts as overlapping.

use super::PortIndex;
use crate::ids::LunNumber;
use crate::order::Extent;
use crate::shard::{WORKERS_MAX, WorkerIndex};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};

/// Writes that a worker remembers: all that it takes in while another one is held up for some milliseconds.
pub(super) const WRITES_MAX: usize = 4096;

/// Loans that a worker remembers: those between two of its looks.
const LENT_MAX: usize = 256;

/// For each worker how many of its rounds have ended.
pub type Rounds = [u64; WORKERS_MAX as usize];

/// Sectors of a LUN.
#[derive(Clone, Copy, Debug)]
struct Sectors {
    lun: LunNumber,
    lba: u64,
    end: u64,
}

impl Sectors {
    fn overlap(&self, other: &Self) -> bool {
        self.lun == other.lun && self.lba < other.end && other.lba < self.end
    }
}

/// The looks at a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    /// The number of the last look, and of the one before it; and the rounds that were read before each.
    last: (u64, Rounds),
    before: (u64, Rounds),
}

/// What a worker remembers of writes that came by shared queues.
#[derive(Debug)]
pub(super) struct Arrivals {
    ports: Vec<Looks>,
    /// How often it has looked at any of them.
    looks: u64,
    /// How many of its rounds have ended, and whether it has taken in a write since.
    round: u64,
    has_written: bool,
    /// The last writes of sectors that it may have to lend, in the order in which they were taken in, each
    /// with its round: a ring.
    writes: Vec<(u64, Sectors)>,
    /// Where the next one goes, and the round of the last one that was forgotten.
    next: usize,
    forgotten: Option<u64>,
    /// Loans, each with the look that it came after.
    lent: Vec<(u64, Sectors)>,
}

impl Arrivals {
    /// For so many ports; with none shared, nothing is ever remembered.
    pub(super) fn new(ports: usize, is_any_shared: bool) -> Self {
        let room = |entries| if is_any_shared { entries } else { 0 };
        Self {
            ports: vec![Looks::default(); ports],
            looks: 0,
            round: 0,
            has_written: false,
            writes: Vec::with_capacity(room(WRITES_MAX)),
            next: 0,
            forgotten: None,
            lent: Vec::with_capacity(room(LENT_MAX)),
        }
    }

    /// A port is another one, or gone: it was never looked at. What comes by it counts as having come before
    /// all that is remembered, until it was looked at twice.
    pub(super) fn begin_anew(&mut self, port: PortIndex) {
        let index = usize::from(port.0);
        if index == self.ports.len() {
            self.ports.push(Looks::default());
        } else {
            self.ports[index] = Looks::default();
        }
    }

    /// A look at a queue, before which these rounds were read.
    pub(super) fn looked(&mut self, port: PortIndex, rounds: &Rounds) {
        self.looks += 1;
        let looks = &mut self.ports[usize::from(port.0)];
        looks.before = looks.last;
        looks.last = (self.looks, *rounds);
        if !self.lent.is_empty() {
            self.forget_lent();
        }
    }

    /// Loans that every frame that is still to come came after.
    #[cold]
    fn forget_lent(&mut self) {
        let oldest = self.ports.iter().filter(|looks| looks.last.0 > 0);
        let oldest = oldest.map(|looks| looks.before.0).min().unwrap_or(0);
        self.lent.retain(|(look, _)| *look >= oldest);
    }

    /// What was found is taken in; the number of rounds, if it has changed.
    pub(super) fn end_round(&mut self) -> Option<u64> {
        std::mem::take(&mut self.has_written).then(|| {
            self.round += 1;
            self.round
        })
    }

    /// How many rounds of a worker had surely ended when what a port gives now came.
    pub(super) fn since(&self, port: PortIndex, worker: WorkerIndex) -> u64 {
        self.ports[usize::from(port.0)].before.1[usize::from(worker.0)]
    }

    /// Takes in a write of sectors that the home may want to borrow; false if it is to be dropped.
    pub(super) fn take_in(&mut self, port: PortIndex, lun: LunNumber, lba: u64, end: u64) -> bool {
        let sectors = Sectors { lun, lba, end };
        let before = self.ports[usize::from(port.0)].before.0;
        let is_undoing = |(look, lent): &(u64, Sectors)| *look >= before && lent.overlap(&sectors);
        let is_undoing = self.lent.iter().any(is_undoing);
        #[cfg(feature = "planted")]
        let is_undoing = is_undoing && !planted::is(Bug::ArrivalIgnored);
        if is_undoing {
            return false;
        }
        self.has_written = true;
        let entry = (self.round, sectors);
        if self.writes.len() < WRITES_MAX {
            self.writes.push(entry);
        } else {
            let place = &mut self.writes[self.next];
            self.forgotten = Some(place.0);
            *place = entry;
            self.next = (self.next + 1) % WRITES_MAX;
        }
        true
    }

    /// Lends sectors to a command that came when `since` rounds of this worker had ended; false if a write
    /// may have come after it.
    pub(super) fn lend(&mut self, lun: LunNumber, extent: &Extent, since: u64) -> bool {
        let (lba, end) = (extent.lba, extent.end());
        let sectors = Sectors { lun, lba, end };
        if self.forgotten.is_some_and(|round| round >= since) || self.lent.len() == LENT_MAX {
            return false;
        }
        let (last, first) = self.writes.split_at(self.next);
        let newest_first = last.iter().rev().chain(first.iter().rev());
        let mut recent = newest_first.take_while(|(round, _)| *round >= since);
        let is_undoing = recent.any(|(_, write)| write.overlap(&sectors));
        #[cfg(feature = "planted")]
        let is_undoing = is_undoing && !planted::is(Bug::ArrivalIgnored);
        if is_undoing {
            return false;
        }
        self.lent.push((self.looks, sectors));
        true
    }
}
