//! Which worker owns what: every sector of a LUN has one owner, who alone orders the commands that touch it.
//!
//! * A part with parity is owned as a whole by the *home* of its LUN, since its redo log has one sequencer;
//!   the sectors of other parts are spread in groups of [`GROUP_SECTORS`] of the LUN.
//! * The home also does what has no sectors of its own, runs the passes over members, and does commands that
//!   touch sectors of several workers. It borrows those of the others (`crate::target::loan`).
//!
//! Invariants:
//! * the owners of a range depend on the numbers of LUN and sectors, the number of workers, and whether parts
//!   that begin before its end have parity. No change of a view that is served changes any of these;
//! * a range that is empty, or beyond the end, belongs to the home.

use crate::ids::LunNumber;
use crate::plane::LunView;
use raid::Geometry;

/// Sectors of a group: 1 MiB, so that a stream stays with its owner for a while, and streams and random
/// commands use all workers.
pub const GROUP_SECTORS: u64 = 2048;

/// Most workers.
pub const WORKERS_MAX: u8 = 16;

/// Which worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerIndex(pub u8);

/// Some of the workers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WorkerSet(u16);

impl WorkerSet {
    /// Just one.
    #[must_use]
    pub const fn of(worker: WorkerIndex) -> Self {
        Self(1 << worker.0)
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These but for one.
    #[must_use]
    pub const fn without(self, worker: WorkerIndex) -> Self {
        Self(self.0 & !(1 << worker.0))
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn contains(self, worker: WorkerIndex) -> bool {
        self.0 >> worker.0 & 1 == 1
    }

    /// The worker, if it is just one.
    #[must_use]
    pub fn only(self) -> Option<WorkerIndex> {
        let first = u8::try_from(self.0.trailing_zeros()).ok()?;
        (self.0.count_ones() == 1).then_some(WorkerIndex(first))
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = WorkerIndex> {
        (0..WORKERS_MAX)
            .map(WorkerIndex)
            .filter(move |worker| self.contains(*worker))
    }
}

/// The place of a worker among all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its own index.
    pub own: WorkerIndex,
    /// How many there are, at most [`WORKERS_MAX`].
    pub workers: u8,
    /// Sectors of a group: [`GROUP_SECTORS`], but where groups are to be crossed often.
    pub group_sectors: u64,
}

impl Place {
    /// The only worker.
    pub const ALONE: Self = Self {
        own: WorkerIndex(0),
        workers: 1,
        group_sectors: GROUP_SECTORS,
    };

    /// One of several.
    #[must_use]
    pub const fn among(own: WorkerIndex, workers: u8) -> Self {
        Self {
            own,
            workers,
            group_sectors: GROUP_SECTORS,
        }
    }

    /// Whether there is no other worker.
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.workers == 1
    }

    /// The home of a LUN.
    #[must_use]
    pub const fn home(self, lun: LunNumber) -> WorkerIndex {
        WorkerIndex(lun.get() % self.workers)
    }

    /// Whether this worker is the home of a LUN.
    #[must_use]
    pub const fn is_home(self, lun: LunNumber) -> bool {
        self.home(lun).0 == self.own.0
    }

    /// Who is to receive a command of these sectors where the workers share a receive queue; what has none,
    /// home. `spread_sectors` is of the view: [`spread_sectors`]. What brings frames to sockets does the
    /// same.
    #[must_use]
    pub fn receiver(
        self,
        lun: LunNumber,
        spread_sectors: u64,
        lba: u64,
        sectors: u64,
    ) -> WorkerIndex {
        let end = lba.saturating_add(sectors);
        let home = self.home(lun);
        if sectors == 0 || end > spread_sectors {
            return home;
        }
        self.of_groups(lun, lba, end).only().unwrap_or(home)
    }

    /// Who owns sectors of a range.
    #[must_use]
    pub fn owners(self, view: &LunView, lba: u64, sectors: u64) -> WorkerSet {
        let home = WorkerSet::of(self.home(view.lun));
        let end = lba.checked_add(sectors);
        let Some(end) = end.filter(|end| *end <= view.capacity_sectors && sectors > 0) else {
            return home;
        };
        let mut owners = WorkerSet::default();
        let mut part_start = 0;
        for part in &view.parts {
            let part_end = part_start + part.geometry.capacity_sectors();
            let (first, behind) = (lba.max(part_start), end.min(part_end));
            if first < behind {
                owners = owners.with(if part.geometry.parity_count() > 0 {
                    home
                } else {
                    self.of_groups(view.lun, first, behind)
                });
            }
            part_start = part_end;
        }
        if owners.is_empty() { home } else { owners }
    }

    /// The owners of the groups of a range that is not empty.
    fn of_groups(self, lun: LunNumber, lba: u64, end: u64) -> WorkerSet {
        let (first, last) = (lba / self.group_sectors, (end - 1) / self.group_sectors);
        let workers = u64::from(self.workers);
        let last = last.min(first + workers - 1);
        (first..=last).fold(WorkerSet::default(), |owners, group| {
            let index = (group + u64::from(lun.get())) % workers;
            owners.with(WorkerSet(1 << index))
        })
    }
}

/// How many sectors of a LUN, from its first, are spread among the workers where they share a receive queue:
/// all before the first part with parity. Frames of the others come in at the home, which hands them on.
#[must_use]
pub fn spread_sectors(view: &LunView) -> u64 {
    let parts = view.parts.iter().map(|part| &part.geometry);
    let spread = parts.take_while(|geometry| geometry.parity_count() == 0);
    let sectors: u64 = spread.map(Geometry::capacity_sectors).sum();
    sectors.min(view.capacity_sectors)
}

#[cfg(test)]
mod tests;
