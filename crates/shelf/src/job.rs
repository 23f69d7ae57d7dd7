//! Long work on the whole of one drive: erasing it, and testing its surface. Sans-I/O: whoever has the drive
//! asks a [`Job`] what to do next, does it, and tells how it ended.
//!
//! | job | what it goes over | ends with |
//! | --- | --- | --- |
//! | erase | zeroes everywhere: the end of the drive, then from its beginning | the mark, if all was zeroed |
//! | read test | reads everything | |
//! | write test | writes a pattern everywhere, then compares all of it | the mark, if all was right |
//! | condition | reads everything; what cannot be read is then written with zeroes (`mend`) | |
//! | extract | copies another drive onto it, its beginning last (`extract`) | the place of the mark, copied |
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
//! * a copy writes nowhere but on its own drive, and there each sector once: with what was read, or zeroes;
//! * after an end nothing is asked for.

mod bad;
mod extract;
mod mend;
mod pace;

pub use bad::{BAD_RANGES_MAX, BadSectors};
pub use extract::Extract;
pub use pace::Pace;

use crate::ids::DriveSlot;
use extract::Copying;
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
    /// Copies another drive onto it.
    Extract(Extract),
}

impl JobKind {
    /// One over the whole drive.
    pub const CONDITION: Self = Self::Condition { first_sector: 0 };

    /// A copy of whichever drive, to ask with whether a job is one.
    pub const EXTRACT: Self = Self::Extract(Extract::of(DriveSlot(0)));

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Erase => "erase",
            Self::ReadTest => "read test",
            Self::WriteTest => "write test",
            Self::Condition { .. } => "condition",
            Self::Extract(_) => "extract",
        }
    }

    /// The drive that it copies.
    #[must_use]
    pub const fn source(self) -> Option<DriveSlot> {
        match self {
            Self::Extract(extract) => Some(extract.source),
            Self::Erase | Self::ReadTest | Self::WriteTest | Self::Condition { .. } => None,
        }
    }

    /// The drive that it copies, if that is no member.
    #[must_use]
    pub fn foreign_source(self) -> Option<DriveSlot> {
        match self {
            Self::Extract(extract) if extract.element.is_some() => None,
            kind => kind.source(),
        }
    }

    /// Whether it takes a drive from everybody else: as the one that it is on, or the one that it copies.
    #[must_use]
    pub fn concerns(self, own: DriveSlot, drive: DriveSlot) -> bool {
        own == drive || self.source() == Some(drive)
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
            Self::Extract(_) => Some(Work::Extract),
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
    /// They are to be read from the drive that is copied, and kept for the next step.
    Fetch,
    /// They are to hold what was fetched in the step before.
    Store,
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
    /// Of a copy: where one that goes on with it is to begin. Everything before that is copied, durably.
    pub resume_sector: Option<u64>,
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
    /// Sectors of a step.
    step_sectors: u64,
    /// Of a copy: what is read in large steps only, before anything is dealt with that such a step failed.
    is_bulk: bool,
}

impl Pass {
    const fn of(kind: StepKind, range: Range<u64>) -> Self {
        Self {
            kind,
            range,
            is_of_success: false,
            step_sectors: match kind {
                StepKind::Flush => 0,
                StepKind::Zero => ZERO_SECTORS,
                _ => TRANSFER_SECTORS as u64,
            },
            is_bulk: false,
        }
    }

    const fn flush() -> Self {
        Self::of(StepKind::Flush, 0..0)
    }
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
    /// What a copy is doing.
    copying: Option<Copying>,
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

/// What a job goes over, in order. `sectors` are those of its drive; of a copy those of the drive that is
/// copied.
fn passes(kind: JobKind, sectors: u64, unit: Unit) -> Vec<Pass> {
    let mark = mark_range(sectors);
    let of = Pass::of;
    let on_success = |kind, range| Pass {
        is_of_success: true,
        ..of(kind, range)
    };
    let around = |kind| [of(kind, 0..mark.start), of(kind, mark.end..sectors)];
    let mut passes = Vec::new();
    match kind {
        JobKind::ReadTest => passes.push(of(StepKind::Read, 0..sectors)),
        JobKind::Condition { first_sector } => {
            let first = first_sector.min(sectors) / BLOCK_SECTORS * BLOCK_SECTORS;
            passes.push(of(StepKind::Read, first..sectors));
        }
        JobKind::Erase => {
            let tail = sectors.saturating_sub(TAIL_SECTORS).max(mark.end);
            passes.push(of(StepKind::Zero, tail..sectors));
            passes.push(of(StepKind::Zero, 0..mark.start));
            passes.push(of(StepKind::Zero, mark.end..tail));
            passes.push(Pass::flush());
        }
        JobKind::WriteTest => {
            passes.extend(around(StepKind::Write));
            passes.push(Pass::flush());
            passes.extend(around(StepKind::Compare));
        }
        JobKind::Extract(extract) => return extract.passes(sectors, unit),
    }
    if kind.work().is_some() && !mark.is_empty() {
        passes.push(on_success(StepKind::Zero, mark));
        passes.push(on_success(StepKind::Flush, 0..0));
    }
    passes
}

impl Job {
    /// A job on a drive of so many sectors, which takes whole units. A copy goes over as many sectors as the
    /// drive that is copied has.
    #[must_use]
    pub fn new(kind: JobKind, drive_sectors: u64, unit: Unit) -> Self {
        let passes = passes(kind, drive_sectors, unit);
        let total_sectors = passes.iter().map(|pass| pass.range.end - pass.range.start);
        let copying = match kind {
            JobKind::Extract(extract) => Some(Copying::new(extract, drive_sectors)),
            _ => None,
        };
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
                resume_sector: copying.as_ref().map(Copying::resume_sector),
                ..Progress::default()
            },
            copying,
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
        let copying = self.copying.as_ref().filter(|_| self.probes.is_empty());
        let kind = match (pass.kind, copying) {
            (StepKind::Fetch, Some(copying)) => copying.next_kind(),
            (kind, _) => kind,
        };
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
        let most = pass.step_sectors;
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
            (StepKind::Flush, _) => {
                self.note_flushed();
                self.next_pass();
            }
            (_, end) if self.copying.is_some() => self.copied(step, end, took),
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
        if !self.divide(step) && self.note_bad(step) {
            self.advance(step.sectors);
            self.doubt(step.sectors);
        }
    }

    /// A step that failed is to be done again in smaller ones, unless there are none.
    fn divide(&mut self, step: Step) -> bool {
        let unit = u64::from(self.unit.sectors());
        let is_divided = step.sectors > unit;
        if is_divided {
            let piece = if step.sectors > SMALL_SECTORS {
                SMALL_SECTORS
            } else {
                unit
            };
            self.pieces
                .push((step.sector..step.sector + step.sectors, piece));
        }
        is_divided
    }

    /// Notes what is bad. With too much of that the job ends, and this is false.
    fn note_bad(&mut self, step: Step) -> bool {
        let mut bad = step.sector..step.sector + step.sectors;
        let has_room = bad.all(|sector| self.progress.bad.add(sector));
        if !has_room {
            let places = BAD_RANGES_MAX;
            let text = format!("it is bad at {places} places and more; the rest was not looked at");
            self.finish(JobEnd::Failed(text));
        }
        has_room
    }

    /// So many more sectors have failed on end: perhaps nothing works any more.
    fn doubt(&mut self, sectors: u64) {
        self.failed_on_end += sectors;
        if self.failed_on_end < PROBE_AFTER {
            return;
        }
        self.failed_on_end = 0;
        let range = match &self.copying {
            Some(copying) => copying.all(),
            None => self.passes[self.pass].range.clone(),
        };
        let middle = self.unit.floor(range.start.midpoint(range.end));
        let unit = u64::from(self.unit.sectors());
        // The last one is tried first.
        self.probes = vec![range.start, middle, range.end - unit];
        let last_read = self.copying.as_ref().and_then(Copying::last_read);
        self.probes.extend(last_read);
        self.probes.dedup();
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
        self.take_up_deferred();
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
        let is_timed = matches!(
            step.kind,
            StepKind::Read | StepKind::Compare | StepKind::Fetch
        );
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

/// The drive that a job copies, as whoever carries the job out reads it.
pub trait JobSource: Send {
    /// Fills `buffer`, which begins at a page of memory and is whole sectors of the drive, from `sector` on.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> StepEnd;
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
