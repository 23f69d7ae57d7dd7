//! What becomes of the sectors that a [`super::JobKind::Condition`] could not read: they are read once more,
//! those that still cannot be read are written with zeroes, and read back.
//!
//! It goes from place to place, each within one aligned block of [`BLOCK_SECTORS`], which is the unit of the
//! medium of today's drives: such a block is written as a whole where none of it can be read, since a drive
//! would have to read it to write a part of it. Drives that take nothing smaller get whole units.
//!
//! Invariants:
//! * a sector is written only after two reads of it have failed, at different times: the one of the pass over
//!   the whole drive, and one after that pass;
//! * a sector counts as written anew when it was flushed and read back; until then it is bad.

use super::{BLOCK_SECTORS, BadSectors, JobEnd, Progress, Step, StepEnd, StepKind};
use raid::Unit;
use std::ops::Range;

/// Places on end that cannot be written before the drive is given up.
const HOPELESS_AFTER: u32 = 32;

/// What is done with some sectors of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// They are read once more.
    Confirm,
    /// They are written with zeroes.
    Rewrite,
    /// What was written is made durable.
    Flush,
    /// They are read back.
    Verify,
}

/// The places to deal with, and the one that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mend {
    /// What the drive takes at least.
    unit: Unit,
    /// Every bad sector before this one was dealt with.
    cursor: u64,
    /// Sectors of the place that is under way.
    place_sectors: u64,
    /// What is to be done with it; the last one is next.
    acts: Vec<(Act, Range<u64>)>,
    /// What of it could not be read again.
    unreadable: Vec<u64>,
    /// Whether anything of it reads back.
    has_mended: bool,
    /// Places on end of which nothing did.
    hopeless: u32,
}

impl Mend {
    /// Begins with the first bad sector. `None` when there is none.
    pub(super) fn begin(bad: &BadSectors, unit: Unit) -> Option<Self> {
        let mut mend = Self {
            unit,
            cursor: 0,
            place_sectors: 0,
            acts: Vec::new(),
            unreadable: Vec::new(),
            has_mended: false,
            hopeless: 0,
        };
        mend.next_place(bad).then_some(mend)
    }

    /// What to do next.
    pub(super) fn next(&self) -> Option<Step> {
        let (act, range) = self.acts.last()?;
        Some(Step {
            kind: match act {
                Act::Confirm | Act::Verify => StepKind::Read,
                Act::Rewrite => StepKind::Rewrite,
                Act::Flush => StepKind::Flush,
            },
            sector: range.start,
            sectors: range.end - range.start,
        })
    }

    /// The step has ended. `None` while there is more to do, else how all of it ended.
    pub(super) fn ended(&mut self, end: StepEnd, progress: &mut Progress) -> Option<JobEnd> {
        let (act, range) = self.acts.pop()?;
        match (act, end) {
            (_, StepEnd::Gone(reason)) => return Some(JobEnd::Failed(reason)),
            (Act::Flush, StepEnd::Failed(reason)) => {
                return Some(JobEnd::Failed(format!("a flush failed: {reason}")));
            }
            (_, StepEnd::Failed(reason)) => self.failed(act, range, reason, progress),
            // It could be read after all: nothing is lost.
            (Act::Confirm, StepEnd::Done) => progress.bad.remove(range),
            (Act::Verify, StepEnd::Done) => {
                self.has_mended = true;
                progress.bad.remove(range.clone());
                let mut sectors = range;
                if !sectors.all(|sector| progress.rewritten.add(sector)) {
                    let text = "so many places were written anew that the others are left for the next time";
                    return Some(JobEnd::Failed(text.to_owned()));
                }
            }
            (Act::Rewrite | Act::Flush, StepEnd::Done) => {}
        }
        self.go_on(progress)
    }

    fn failed(&mut self, act: Act, range: Range<u64>, reason: String, progress: &mut Progress) {
        progress.last_reason = Some(reason);
        let unit = u64::from(self.unit.sectors());
        if range.end - range.start > unit {
            let starts = (0..(range.end - range.start).div_ceil(unit)).rev();
            let starts = starts.map(|number| range.start + number * unit);
            let units = starts.map(|start| (act, start..(start + unit).min(range.end)));
            self.acts.extend(units);
        } else if act == Act::Confirm {
            self.unreadable.extend(range);
        }
    }

    /// Goes on to writing when all of the place was read, and to the next place when that was read back.
    fn go_on(&mut self, progress: &mut Progress) -> Option<JobEnd> {
        if !self.acts.is_empty() {
            return None;
        }
        if !self.unreadable.is_empty() {
            self.plan_writes();
            return None;
        }
        progress.done_sectors += self.place_sectors;
        if std::mem::take(&mut self.has_mended) {
            self.hopeless = 0;
        }
        if self.hopeless >= HOPELESS_AFTER {
            let text =
                format!("{HOPELESS_AFTER} places on end could not be written: replace the drive");
            return Some(JobEnd::Failed(text));
        }
        (!self.next_place(&progress.bad)).then_some(JobEnd::Complete)
    }

    /// What could not be read is written, flushed and read back, run by run.
    fn plan_writes(&mut self) {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for sector in std::mem::take(&mut self.unreadable) {
            match runs.last_mut() {
                Some(run) if run.end == sector => run.end += 1,
                _ => runs.push(sector..sector + 1),
            }
        }
        // The last one is next.
        let verify = runs.iter().rev().map(|run| (Act::Verify, run.clone()));
        self.acts.extend(verify);
        self.acts.push((Act::Flush, 0..0));
        self.acts
            .extend(runs.into_iter().map(|run| (Act::Rewrite, run)));
        // Until something of it reads back.
        self.hopeless += 1;
    }

    /// Turns to the next place with bad sectors. Whether there is one.
    fn next_place(&mut self, bad: &BadSectors) -> bool {
        let cursor = self.cursor;
        let Some(run) = bad.ranges().iter().find(|run| run.end > cursor) else {
            return false;
        };
        let start = run.start.max(cursor);
        let end = run.end.min((start / BLOCK_SECTORS + 1) * BLOCK_SECTORS);
        self.cursor = end;
        self.place_sectors = end - start;
        self.acts.push((Act::Confirm, start..end));
        true
    }
}
