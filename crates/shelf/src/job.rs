//! Long work on the whole of one drive: erasing it, and testing its surface. Sans-I/O: whoever has the drive
//! asks a [`Job`] what to do next, does it, and tells how it ended.
//!
//! | job | what it goes over | ends with |
//! | --- | --- | --- |
//! | erase | zeroes everywhere: the end of the drive, then from its beginning | the mark, if all was zeroed |
//! | read test | reads everything | |
//! | write test | writes a pattern everywhere, then compares all of it | the mark, if all was right |
//! | condition | reads everything; what cannot be read is then written with zeroes (`mend`) | |
//!
//! What fails in a large step is done again in smaller ones, down to a sector of the drive, so that what is
//! bad is known by the sector. Where [`PROBE_AFTER`] sectors fail on end, other places of the drive are
//! tried: if none of them works either the drive is gone, and the job ends.
//!
//! Invariants:
//! * jobs that destroy leave the mark ([`raid::drive_record::Mark`]) in its place until everything else was
//!   done and flushed; if a sector was not, the mark stays;
//! * every sector is counted once in each pass, whether it was good or bad;
//! * a condition writes nothing before it has read everything, and nothing that can be read;
//! * after an end nothing is asked for.

mod bad;
mod mend;
mod pace;

pub use bad::{BAD_RANGES_MAX, BadSectors};
pub use pace::Pace;

use mend::Mend;
use raid::Unit;
use raid::drive_record::Work;
use raid::layout::{DEVICE_SECTORS_MIN, SUPERBLOCK_SECTOR, SUPERBLOCK_SECTORS};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Sectors of a step that moves data: 1 MiB.
pub const TRANSFER_SECTORS: usize = 2048;

/// Sectors of a step that zeroes: 8 MiB, as those of TRIM.
const ZERO_SECTORS: u64 = 16_384;

/// Sectors of a step after a larger one failed; then single ones, if the drive has such.
const SMALL_SECTORS: u64 = BLOCK_SECTORS;

/// Sectors of what the medium of a drive writes without reading: 4 KiB.
pub const BLOCK_SECTORS: u64 = 8;

/// Sectors at the end of a drive that an erase begins with: copies of partition tables and superblocks of
/// others lie there.
const TAIL_SECTORS: u64 = 2048;

/// Sectors that fail on end before it is asked whether the drive is there at all.
pub const PROBE_AFTER: u64 = 256;

/// Slow places that are remembered.
const SLOWEST: usize = 3;

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum JobKind {
    /// Overwrites the drive with zeroes.
    Erase,
    /// Reads it.
    ReadTest,
    /// Writes it, and reads that back.
    WriteTest,
    /// Reads it, and writes zeroes over what cannot be read.
    Condition {
        /// Where it begins; what is before that is left alone. Rounded down to [`BLOCK_SECTORS`].
        first_sector: u64,
    },
}

impl JobKind {
    /// One over the whole drive.
    pub const CONDITION: Self = Self::Condition { first_sector: 0 };

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::ReadTest => "read test",
            Self::WriteTest => "write test",
            Self::Condition { .. } => "condition",
        }
    }

    /// Whether the other one is the same work, wherever that begins.
    #[must_use]
    pub fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// Whether nobody else may have the drive meanwhile: it is written.
    #[must_use]
    pub const fn takes_drive(self) -> bool {
        !matches!(self, Self::ReadTest)
    }

    /// What it destroys the drive for; `None` if what is on it stays.
    #[must_use]
    pub const fn work(self) -> Option<Work> {
        match self {
            Self::Erase => Some(Work::Erase),
            Self::ReadTest | Self::Condition { .. } => None,
            Self::WriteTest => Some(Work::WriteTest),
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is to be done with some sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// They are to read as zeroes.
    Zero,
    /// They are to hold [`fill_pattern`].
    Write,
    /// They are to be written with zeroes, not deallocated: a drive puts what it is given elsewhere if its
    /// place is bad.
    Rewrite,
    /// They are to be read.
    Read,
    /// They are to be read, and hold [`fill_pattern`].
    Compare,
    /// What was written is to be durable.
    Flush,
}

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// First sector.
    pub sector: u64,
    /// How many; 0 for a flush.
    pub sectors: u64,
}

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StepEnd {
    /// All of it was done.
    Done,
    /// It was not, and why.
    Failed(String),
    /// The drive is not there any more.
    Gone(String),
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobEnd {
    /// It went over everything. What was bad is in its [`Progress`].
    Complete,
    /// Somebody stopped it.
    Stopped,
    /// The drive does not work, or is gone.
    Failed(String),
}

/// A place that took long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlowPlace {
    /// First sector.
    pub sector: u64,
    /// How long [`TRANSFER_SECTORS`] took there.
    pub took: Duration,
}

/// How far a job is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Sectors that are done, in all passes.
    pub done_sectors: u64,
    /// Sectors of all passes.
    pub total_sectors: u64,
    /// What was bad.
    pub bad: BadSectors,
    /// What could not be read, was written with zeroes, and can be read now.
    pub rewritten: BadSectors,
    /// The last reason that was given for what was bad.
    pub last_reason: Option<String>,
    /// The slowest places, the slowest first.
    pub slowest: Vec<SlowPlace>,
    /// How it ended.
    pub end: Option<JobEnd>,
}

/// A run of steps over sectors in order.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pass {
    kind: StepKind,
    range: Range<u64>,
    /// Only if nothing was bad before.
    is_of_success: bool,
}

/// A job: what to do next, and how far it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    kind: JobKind,
    /// What the drive takes at least.
    unit: Unit,
    passes: Vec<Pass>,
    /// The pass that is under way.
    pass: usize,
    /// The first sector of it that is not begun.
    cursor: u64,
    /// What of a step that failed is to be done again, in pieces of so many sectors; the innermost last.
    pieces: Vec<(Range<u64>, u64)>,
    /// Places to try before the drive is given up.
    probes: Vec<u64>,
    failed_on_end: u64,
    /// After the passes of a condition: what is done about what was bad.
    mend: Option<Mend>,
    progress: Progress,
}

/// Sectors of the place of the mark on a drive of so many; none on one that is too small to be a member,
/// where nobody would look for it.
#[must_use]
pub fn mark_range(drive_sectors: u64) -> Range<u64> {
    if drive_sectors < DEVICE_SECTORS_MIN {
        0..0
    } else {
        SUPERBLOCK_SECTOR..SUPERBLOCK_SECTOR + SUPERBLOCK_SECTORS
    }
}

/// What a write test writes: bytes that depend on the number of the sector, so that one that lands elsewhere
/// is noticed.
pub fn fill_pattern(sector: u64, bytes: &mut [u8]) {
    for (number, sector_bytes) in (sector..).zip(bytes.chunks_mut(512)) {
        let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut word = seed;
        for chunk in sector_bytes.chunks_mut(8) {
            word = word.rotate_left(7).wrapping_add(seed);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Job {
    /// A job on a drive of so many sectors, which takes whole units.
    #[must_use]
    pub fn new(kind: JobKind, drive_sectors: u64, unit: Unit) -> Self {
        let mark = mark_range(drive_sectors);
        let of = |kind, range| Pass {
            kind,
            range,
            is_of_success: false,
        };
        let flush = || of(StepKind::Flush, 0..0);
        let on_success = |kind, range| Pass {
            kind,
            range,
            is_of_success: true,
        };
        let around = |kind| [of(kind, 0..mark.start), of(kind, mark.end..drive_sectors)];
        let mut passes = Vec::new();
        match kind {
            JobKind::ReadTest => passes.push(of(StepKind::Read, 0..drive_sectors)),
            JobKind::Condition { first_sector } => {
                let first = first_sector.min(drive_sectors) / BLOCK_SECTORS * BLOCK_SECTORS;
                passes.push(of(StepKind::Read, first..drive_sectors));
            }
            JobKind::Erase => {
                let tail = drive_sectors.saturating_sub(TAIL_SECTORS).max(mark.end);
                passes.push(of(StepKind::Zero, tail..drive_sectors));
                passes.push(of(StepKind::Zero, 0..mark.start));
                passes.push(of(StepKind::Zero, mark.end..tail));
                passes.push(flush());
            }
            JobKind::WriteTest => {
                passes.extend(around(StepKind::Write));
                passes.push(flush());
                passes.extend(around(StepKind::Compare));
            }
        }
        if kind.work().is_some() && !mark.is_empty() {
            passes.push(on_success(StepKind::Zero, mark));
            passes.push(on_success(StepKind::Flush, 0..0));
        }
        let total_sectors = passes.iter().map(|pass| pass.range.end - pass.range.start);
        let mut job = Self {
            kind,
            unit,
            pass: 0,
            cursor: passes[0].range.start,
            pieces: Vec::new(),
            probes: Vec::new(),
            failed_on_end: 0,
            mend: None,
            progress: Progress {
                total_sectors: total_sectors.sum(),
                ..Progress::default()
            },
            passes,
        };
        job.skip_what_is_done();
        job
    }

    /// What it does.
    #[must_use]
    pub const fn kind(&self) -> JobKind {
        self.kind
    }

    /// How far it is.
    #[must_use]
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What to do next; `None` after the end.
    #[must_use]
    pub fn next(&self) -> Option<Step> {
        if self.progress.end.is_some() {
            return None;
        }
        if let Some(mend) = &self.mend {
            return mend.next();
        }
        let pass = self.passes.get(self.pass)?;
        let kind = pass.kind;
        let of = |sector, sectors| {
            Some(Step {
                kind,
                sector,
                sectors,
            })
        };
        if let Some(sector) = self.probes.last() {
            return of(*sector, self.unit.sectors().into());
        }
        if let Some((range, piece)) = self.pieces.last() {
            return of(range.start, (range.end - range.start).min(*piece));
        }
        let most = match kind {
            StepKind::Flush => 0,
            StepKind::Zero => ZERO_SECTORS,
            StepKind::Write | StepKind::Rewrite | StepKind::Read | StepKind::Compare => {
                TRANSFER_SECTORS as u64
            }
        };
        of(self.cursor, (pass.range.end - self.cursor).min(most))
    }

    /// The step that [`Job::next`] gave has ended, after so long.
    pub fn ended(&mut self, end: StepEnd, took: Duration) {
        let Some(step) = self.next() else {
            return;
        };
        if let Some(mend) = &mut self.mend {
            if let Some(end) = mend.ended(end, &mut self.progress) {
                self.finish(end);
            }
            return;
        }
        if let StepEnd::Gone(reason) = end {
            return self.finish(JobEnd::Failed(reason));
        }
        if !self.probes.is_empty() {
            return self.probed(end);
        }
        match (step.kind, end) {
            (StepKind::Flush, StepEnd::Failed(reason)) => {
                return self.finish(JobEnd::Failed(format!("a flush failed: {reason}")));
            }
            (StepKind::Flush, _) => self.next_pass(),
            (_, StepEnd::Failed(reason)) => self.step_failed(step, reason),
            (_, _) => {
                self.note_time(step, took);
                self.failed_on_end = 0;
                self.advance(step.sectors);
            }
        }
        self.skip_what_is_done();
    }

    /// It ends before the next step.
    pub fn stop(&mut self) {
        if self.progress.end.is_none() {
            self.finish(JobEnd::Stopped);
        }
    }

    fn finish(&mut self, end: JobEnd) {
        self.progress.end = Some(end);
    }

    fn step_failed(&mut self, step: Step, reason: String) {
        self.progress.last_reason = Some(reason);
        let unit = u64::from(self.unit.sectors());
        if step.sectors > unit {
            let piece = if step.sectors > SMALL_SECTORS {
                SMALL_SECTORS
            } else {
                unit
            };
            self.pieces
                .push((step.sector..step.sector + step.sectors, piece));
            return;
        }
        let mut bad = step.sector..step.sector + step.sectors;
        if !bad.all(|sector| self.progress.bad.add(sector)) {
            let places = BAD_RANGES_MAX;
            let text = format!("it is bad at {places} places and more; the rest was not looked at");
            return self.finish(JobEnd::Failed(text));
        }
        self.failed_on_end += step.sectors;
        self.advance(step.sectors);
        if self.failed_on_end >= PROBE_AFTER {
            self.failed_on_end = 0;
            let range = &self.passes[self.pass].range;
            let middle = self.unit.floor(range.start.midpoint(range.end));
            // The last one is tried first.
            self.probes = vec![range.start, middle, range.end - unit];
            self.probes.dedup();
        }
    }

    /// One of the places that were tried answers, or none does.
    fn probed(&mut self, end: StepEnd) {
        let StepEnd::Failed(reason) = end else {
            self.probes.clear();
            return self.skip_what_is_done();
        };
        self.probes.pop();
        if self.probes.is_empty() {
            self.finish(JobEnd::Failed(format!("nothing works any more: {reason}")));
        }
    }

    /// So many sectors are dealt with.
    fn advance(&mut self, sectors: u64) {
        self.progress.done_sectors += sectors;
        match self.pieces.last_mut() {
            Some((range, _)) => range.start += sectors,
            None => self.cursor += sectors,
        }
        // What is done of a piece is done of the step that it is of.
        while let Some((range, _)) = self.pieces.pop_if(|(range, _)| range.is_empty()) {
            match self.pieces.last_mut() {
                Some((outer, _)) => outer.start = range.end,
                None => self.cursor = range.end,
            }
        }
    }

    fn next_pass(&mut self) {
        self.pass += 1;
        if let Some(pass) = self.passes.get(self.pass) {
            self.cursor = pass.range.start;
        }
    }

    /// Goes on to the next pass that has something to do, or ends.
    fn skip_what_is_done(&mut self) {
        while self.progress.end.is_none() && self.probes.is_empty() {
            let Some(pass) = self.passes.get(self.pass) else {
                return self.passes_are_over();
            };
            let is_over = pass.kind != StepKind::Flush && self.cursor >= pass.range.end;
            if pass.is_of_success && self.progress.bad.sectors() > 0 {
                self.progress.total_sectors -= pass.range.end - pass.range.start;
            } else if !is_over {
                return;
            }
            self.next_pass();
        }
    }

    fn passes_are_over(&mut self) {
        if let JobKind::Condition { .. } = self.kind {
            self.mend = Mend::begin(&self.progress.bad, self.unit);
        }
        match &self.mend {
            Some(_) => self.progress.total_sectors += self.progress.bad.sectors(),
            None => self.finish(JobEnd::Complete),
        }
    }

    fn note_time(&mut self, step: Step, took: Duration) {
        let is_timed = matches!(step.kind, StepKind::Read | StepKind::Compare);
        if !is_timed || step.sectors < TRANSFER_SECTORS as u64 {
            return;
        }
        let slowest = &mut self.progress.slowest;
        let place = slowest.partition_point(|known| known.took >= took);
        if place < SLOWEST {
            let sector = step.sector;
            slowest.insert(place, SlowPlace { sector, took });
            slowest.truncate(SLOWEST);
        }
    }
}

/// What is told of a job that somebody carries out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct JobReport {
    /// How far it is.
    pub progress: Progress,
    /// For how long it runs, or ran.
    pub elapsed: Duration,
    /// For how long its drive has not answered.
    pub silent: Duration,
    /// How the drive is zeroed, in words.
    pub way: Option<String>,
}

/// A job in the hands of whoever carries it out. Nothing here waits for the drive but [`JobHandle::join`].
pub trait JobHandle: Send {
    /// How far it is.
    fn report(&self) -> JobReport;

    /// How fast it may go, from the next step on.
    fn set_pace(&mut self, pace: Pace);

    /// Asks it to end after the step that is under way.
    fn stop(&mut self);

    /// Waits for its end, so long at most; whether it has come.
    fn join(&mut self, limit: Duration) -> bool;
}

#[cfg(test)]
mod tests;
