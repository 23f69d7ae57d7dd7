//! A copy of a drive onto another one: what a drive that fails still gives, first, and what it does not give
//! at once, after that.
//!
//! 1. Large steps go over everything behind the place of the mark, with a flush after each GiB. One that
//!    cannot be read is put off, so that a bad place, at which a drive may take seconds for each sector,
//!    does not keep the rest from being copied while the drive lasts.
//! 2. What was put off is read by blocks and then by sectors; zeroes take the place of what cannot be read.
//! 3. The first sectors: without them nobody takes the drive for anything.
//! 4. The place of the mark, but for its first sector, with what the old drive has there; when that is
//!    durable, that sector too, in one write.
//!
//! A copy of a member that takes its place leaves the mark: in its place goes a superblock of its own, which
//! the administration writes.
//!
//! A copy that does not go on past what cannot be read ends with the first such sector, and puts nothing off.
//!
//! Invariants:
//! * the mark stays until everything else is durable, so that half a copy is never taken for a whole one;
//! * what lies before [`super::Progress::resume_sector`] is copied and durable, or was counted as bad;
//! * what could not be read reads as zeroes on the new drive, and is listed.

use super::{BLOCK_SECTORS, Job, JobEnd, Pass, SMALL_SECTORS, Step, StepEnd, StepKind, mark_range};
use crate::ids::{DriveSlot, ElementId};
use raid::Unit;
use std::ops::Range;
use std::time::Duration;

/// Sectors between two flushes: 1 GiB.
const CHUNK_SECTORS: u64 = 1 << 21;

/// Places that are put off at most; with more of them each is dealt with when it is met.
const DEFERRED_MAX: usize = 4096;

/// What is copied, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Extract {
    /// The old drive.
    pub source: DriveSlot,
    /// Where the copy begins: what is before that was copied already, but for the first sectors, which come
    /// last. Rounded down to [`BLOCK_SECTORS`].
    pub first_sector: u64,
    /// Goes on past sectors that cannot be read.
    pub passes_over: bool,
    /// The element that the old drive is, and the new one is to be. The administration says so; who asks
    /// for a copy leaves it out.
    pub element: Option<ElementId>,
}

impl Extract {
    /// A copy of all of a drive, which ends where that cannot be read.
    #[must_use]
    pub const fn of(source: DriveSlot) -> Self {
        Self {
            source,
            first_sector: 0,
            passes_over: false,
            element: None,
        }
    }

    /// The first sector of the large part of a drive of so many that is to be copied.
    fn first(self, sectors: u64) -> u64 {
        let first = self.first_sector / BLOCK_SECTORS * BLOCK_SECTORS;
        first.clamp(mark_range(sectors).end, sectors)
    }

    /// What it goes over.
    pub(super) fn passes(self, sectors: u64, unit: Unit) -> Vec<Pass> {
        let mark = mark_range(sectors);
        let fetch = |range| Pass::of(StepKind::Fetch, range);
        let bulk = |pass| Pass {
            is_bulk: true,
            ..pass
        };
        let mut passes = Vec::new();
        let mut first = self.first(sectors);
        while first < sectors {
            let end = sectors.min((first / CHUNK_SECTORS + 1) * CHUNK_SECTORS);
            passes.push(bulk(fetch(first..end)));
            passes.push(bulk(Pass::flush()));
            first = end;
        }
        let last = mark.start..mark.end.min(mark.start + u64::from(unit.sectors()));
        passes.push(fetch(0..mark.start));
        if self.element.is_some() {
            passes.push(Pass::flush());
            return passes;
        }
        passes.push(fetch(last.end..mark.end));
        passes.push(Pass::flush());
        passes.push(fetch(last));
        passes.push(Pass::flush());
        passes
    }
}

/// What a copy is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Copying {
    extract: Extract,
    /// Of the drive that is copied.
    sectors: u64,
    /// What is next for the sectors that are under way: to be fetched, stored, or written with zeroes.
    next: StepKind,
    /// What could not be read in large steps, in order and apart.
    deferred: Vec<Range<u64>>,
    /// Where the last step began that could be read.
    last_read: Option<u64>,
}

impl Copying {
    pub(super) const fn new(extract: Extract, sectors: u64) -> Self {
        Self {
            extract,
            sectors,
            next: StepKind::Fetch,
            deferred: Vec::new(),
            last_read: None,
        }
    }

    /// What is next for the sectors that are under way.
    pub(super) const fn next_kind(&self) -> StepKind {
        self.next
    }

    /// All sectors of the drive that is copied.
    pub(super) const fn all(&self) -> Range<u64> {
        0..self.sectors
    }

    /// A sector that could be read a while ago.
    pub(super) const fn last_read(&self) -> Option<u64> {
        self.last_read
    }

    /// Where a copy would have to begin that is not begun.
    pub(super) fn resume_sector(&self) -> u64 {
        self.extract.first(self.sectors)
    }

    /// Puts sectors off, if there is room to remember that.
    fn defer(&mut self, range: Range<u64>) -> bool {
        let has_room = self.deferred.len() < DEFERRED_MAX;
        match self.deferred.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if has_room => self.deferred.push(range),
            _ => return false,
        }
        true
    }
}

impl Job {
    /// A step of a copy has ended.
    pub(super) fn copied(&mut self, step: Step, end: StepEnd, took: Duration) {
        match (step.kind, end) {
            (StepKind::Fetch, StepEnd::Failed(reason)) => return self.not_fetched(step, reason),
            (_, StepEnd::Failed(reason)) => {
                let sector = step.sector;
                let text = format!("the new drive cannot be written at sector {sector}: {reason}");
                return self.finish(JobEnd::Failed(text));
            }
            (StepKind::Fetch, _) => {
                self.note_time(step, took);
                if let Some(copying) = &mut self.copying {
                    copying.next = StepKind::Store;
                    copying.last_read = Some(step.sector);
                }
                return;
            }
            (..) => {}
        }
        if let Some(copying) = &mut self.copying {
            copying.next = StepKind::Fetch;
        }
        self.advance(step.sectors);
        match step.kind {
            StepKind::Rewrite => self.doubt(step.sectors),
            _ => self.failed_on_end = 0,
        }
    }

    /// The old drive did not give some sectors.
    fn not_fetched(&mut self, step: Step, reason: String) {
        let is_bulk = self.passes[self.pass].is_bulk && self.pieces.is_empty();
        let Some(copying) = &mut self.copying else {
            return;
        };
        let passes_over = copying.extract.passes_over;
        let range = step.sector..step.sector + step.sectors;
        if is_bulk && passes_over && copying.defer(range.clone()) {
            self.progress.last_reason = Some(reason);
            self.cursor = range.end;
            return;
        }
        self.progress.last_reason = Some(reason.clone());
        if self.divide(step) || !self.note_bad(step) {
            return;
        }
        if passes_over {
            if let Some(copying) = &mut self.copying {
                copying.next = StepKind::Rewrite;
            }
            return;
        }
        let sector = step.sector;
        self.finish(JobEnd::Failed(format!(
            "sector {sector} cannot be read: {reason}; with -f it goes on past such sectors"
        )));
    }

    /// What was written is durable.
    pub(super) fn note_flushed(&mut self) {
        let Some(before) = self.pass.checked_sub(1) else {
            return;
        };
        let is_bulk = self.passes[self.pass].is_bulk;
        if let Some(copying) = self.copying.as_ref().filter(|_| is_bulk) {
            let first = copying.deferred.first().map(|range| range.start);
            let end = self.passes[before].range.end;
            self.progress.resume_sector = Some(first.unwrap_or(end).min(end));
        }
    }

    /// After what can be read in large steps comes what was put off.
    pub(super) fn take_up_deferred(&mut self) {
        let is_over = !self.passes.get(self.pass).is_some_and(|pass| pass.is_bulk);
        let Some(copying) = self.copying.as_mut().filter(|_| is_over) else {
            return;
        };
        let deferred = std::mem::take(&mut copying.deferred);
        if deferred.is_empty() {
            return;
        }
        let end = copying.sectors;
        let again = deferred.into_iter().map(|range| Pass {
            step_sectors: SMALL_SECTORS,
            ..Pass::of(StepKind::Fetch, range)
        });
        // The flush after them makes durable all that lies before the end.
        let none = Pass::of(StepKind::Fetch, end..end);
        let flush = Pass {
            is_bulk: true,
            ..Pass::flush()
        };
        let again: Vec<Pass> = again.chain([none, flush]).collect();
        self.passes.splice(self.pass..self.pass, again);
    }
}
