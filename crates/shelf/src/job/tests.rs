//! Jobs on a drive in memory that may be bad in places.

use super::*;
use std::collections::BTreeSet;

mod extract;

const MIB: u64 = 2048;

/// A drive of which it is known what was last done to each sector.
struct Surface {
    last: Vec<Option<StepKind>>,
    flushed: usize,
    bad: BTreeSet<u64>,
    steps: Vec<Step>,
    gone_after: Option<usize>,
}

impl Surface {
    fn new(sectors: u64) -> Self {
        Self {
            last: vec![None; usize::try_from(sectors).unwrap()],
            flushed: 0,
            bad: BTreeSet::new(),
            steps: Vec::new(),
            gone_after: None,
        }
    }

    fn act(&mut self, step: Step) -> StepEnd {
        self.steps.push(step);
        if self
            .gone_after
            .is_some_and(|steps| self.steps.len() > steps)
        {
            return StepEnd::Gone("No such device".to_owned());
        }
        let range = step.sector..step.sector + step.sectors;
        if self.bad.range(range.clone()).next().is_some() {
            return StepEnd::Failed("Input/output error".to_owned());
        }
        for sector in range {
            self.last[usize::try_from(sector).unwrap()] = Some(step.kind);
        }
        if step.kind == StepKind::Flush {
            self.flushed = self.steps.len();
        }
        StepEnd::Done
    }

    fn run(&mut self, job: &mut Job) {
        while let Some(step) = job.next() {
            let end = self.act(step);
            job.ended(end, Duration::from_millis(step.sector / MIB));
            assert!(job.progress().done_sectors <= job.progress().total_sectors);
        }
    }

    /// Where the mark is, if there is one.
    fn mark(&self) -> &[Option<StepKind>] {
        &self.last[8..16]
    }
}

fn run(kind: JobKind, sectors: u64, bad: &[u64]) -> (Surface, Job) {
    let mut surface = Surface::new(sectors);
    surface.bad.extend(bad);
    let mut job = Job::new(kind, sectors, Unit::SECTOR);
    surface.run(&mut job);
    (surface, job)
}

#[test]
fn an_erase_zeroes_everything_and_the_mark_last() {
    for sectors in [1, 100, 2047, 2048, 2049, 5 * MIB + 3, 20 * MIB] {
        let (surface, job) = run(JobKind::Erase, sectors, &[]);
        let zeroed = |kind: &Option<StepKind>| *kind == Some(StepKind::Zero);
        assert!(surface.last.iter().all(zeroed), "{sectors}");
        let progress = job.progress();
        assert_eq!(progress.end, Some(JobEnd::Complete));
        assert_eq!(
            (progress.done_sectors, progress.total_sectors),
            (sectors, sectors)
        );
        if sectors >= 2048 {
            let [.., flush, mark, last] = surface.steps.as_slice() else {
                panic!("{:?}", surface.steps)
            };
            assert_eq!((flush.kind, last.kind), (StepKind::Flush, StepKind::Flush));
            assert_eq!((mark.sector, mark.sectors), (8, 8));
            let covers_mark = |step: &&Step| step.sector < 16 && step.sector + step.sectors > 8;
            assert_eq!(surface.steps.iter().filter(covers_mark).count(), 1);
            let first = surface.steps[0];
            assert!(first.sector + first.sectors == sectors, "the tail first");
        }
    }
}

#[test]
fn what_cannot_be_zeroed_is_known_by_the_sector_and_the_mark_stays() {
    let bad = [0, 17, 18, 5000, 8 * MIB - 1];
    let (surface, job) = run(JobKind::Erase, 8 * MIB, &bad);
    let progress = job.progress();
    assert_eq!(progress.end, Some(JobEnd::Complete));
    assert_eq!(
        progress.bad.ranges(),
        [0..1, 17..19, 5000..5001, 16383..16384]
    );
    assert_eq!(progress.last_reason.as_deref(), Some("Input/output error"));
    assert_eq!(progress.done_sectors, progress.total_sectors);
    assert!(
        surface.mark().iter().all(Option::is_none),
        "it was not touched"
    );
    let untouched = (0..).zip(&surface.last).filter(|(_, last)| last.is_none());
    let untouched: Vec<u64> = untouched.map(|(sector, _)| sector).collect();
    let all: Vec<u64> = bad
        .into_iter()
        .chain(8..16)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(untouched, all, "all else is zeroed");
}

#[test]
fn a_read_test_reads_everything_once_and_writes_nothing() {
    let (surface, job) = run(JobKind::ReadTest, 4 * MIB + 5, &[3000]);
    assert!(surface.steps.iter().all(|step| step.kind == StepKind::Read));
    assert_eq!(
        job.progress().bad.ranges(),
        std::slice::from_ref(&(3000..3001))
    );
    assert_eq!(job.progress().done_sectors, 4 * MIB + 5);
    let slow: Vec<u64> = job
        .progress()
        .slowest
        .iter()
        .map(|place| place.sector)
        .collect();
    assert_eq!(
        slow,
        [3 * MIB, 2 * MIB, 0],
        "what was read in one piece, by its time"
    );
}

#[test]
fn a_write_test_writes_all_before_it_compares() {
    let (surface, job) = run(JobKind::WriteTest, 3 * MIB, &[]);
    let flush = surface
        .steps
        .iter()
        .position(|step| step.kind == StepKind::Flush);
    let (before, after) = surface.steps.split_at(flush.unwrap());
    assert!(before.iter().all(|step| step.kind == StepKind::Write));
    let [rest @ .., mark, _] = &after[1..] else {
        panic!()
    };
    assert!(rest.iter().all(|step| step.kind == StepKind::Compare));
    assert_eq!((mark.kind, mark.sector), (StepKind::Zero, 8));
    let progress = job.progress();
    assert_eq!(progress.total_sectors, 2 * (3 * MIB - 8) + 8);
    assert_eq!(progress.done_sectors, progress.total_sectors);
    // A sector that cannot be written fails in both passes, and is one.
    let (_, job) = run(JobKind::WriteTest, 3 * MIB, &[100]);
    assert_eq!(job.progress().bad.sectors(), 1);
}

#[test]
fn a_drive_that_does_nothing_any_more_ends_its_job_and_a_large_scratch_does_not() {
    let all: Vec<u64> = (2 * MIB..8 * MIB).collect();
    let (surface, job) = run(JobKind::ReadTest, 8 * MIB, &all);
    assert_eq!(
        job.progress().end,
        Some(JobEnd::Complete),
        "its beginning can be read"
    );
    assert_eq!(job.progress().bad.sectors(), 6 * MIB);
    assert!(
        surface
            .steps
            .iter()
            .any(|step| step.sector == 0 && step.sectors == 1),
        "probed"
    );
    let everything: Vec<u64> = (0..8 * MIB).collect();
    for kind in [JobKind::ReadTest, JobKind::Erase, JobKind::WriteTest] {
        let (surface, job) = run(kind, 8 * MIB, &everything);
        let Some(JobEnd::Failed(reason)) = &job.progress().end else {
            panic!("{kind}: {:?}", job.progress().end)
        };
        assert_eq!(reason, "nothing works any more: Input/output error");
        assert!(
            surface.steps.len() < 400,
            "{kind}: it does not go on for hours"
        );
    }
}

#[test]
fn a_drive_that_is_gone_ends_its_job_at_once() {
    let mut surface = Surface::new(8 * MIB);
    surface.gone_after = Some(2);
    let mut job = Job::new(JobKind::ReadTest, 8 * MIB, Unit::SECTOR);
    surface.run(&mut job);
    assert_eq!(
        job.progress().end,
        Some(JobEnd::Failed("No such device".to_owned()))
    );
    assert_eq!(job.progress().done_sectors, 2 * MIB);
}

#[test]
fn one_that_is_stopped_asks_for_nothing_more() {
    let mut job = Job::new(JobKind::Erase, 8 * MIB, Unit::SECTOR);
    job.ended(StepEnd::Done, Duration::ZERO);
    job.stop();
    assert_eq!(job.next(), None);
    job.ended(StepEnd::Gone("late".to_owned()), Duration::ZERO);
    assert_eq!(job.progress().end, Some(JobEnd::Stopped));
}

#[test]
fn a_flush_that_fails_ends_an_erase() {
    let mut job = Job::new(JobKind::Erase, 4 * MIB, Unit::SECTOR);
    while let Some(step) = job.next() {
        let end = match step.kind {
            StepKind::Flush => StepEnd::Failed("Input/output error".to_owned()),
            _ => StepEnd::Done,
        };
        job.ended(end, Duration::ZERO);
    }
    let end = job.progress().end.clone();
    assert_eq!(
        end,
        Some(JobEnd::Failed(
            "a flush failed: Input/output error".to_owned()
        ))
    );
}

#[test]
fn every_sector_has_a_pattern_of_its_own() {
    let mut two = [0; 1024];
    fill_pattern(7, &mut two);
    let mut second = [0; 512];
    fill_pattern(8, &mut second);
    assert_eq!(two[512..], second);
    assert_ne!(two[..512], second);
    let mut first = [0; 512];
    fill_pattern(0, &mut first);
    assert!(first.iter().any(|byte| *byte != 0));
}

/// A drive that cannot be read in places until they are written, and in some not even then.
struct Worn {
    unreadable: BTreeSet<u64>,
    stays_bad: BTreeSet<u64>,
    /// Reads of the whole drive that are over when these can be read after all.
    recovers: BTreeSet<u64>,
    /// A block of the medium is written as a whole, or not at all, if it cannot be read.
    block: u64,
    written: BTreeSet<u64>,
    steps: Vec<Step>,
}

impl Worn {
    fn new(unreadable: impl IntoIterator<Item = u64>) -> Self {
        Self {
            unreadable: unreadable.into_iter().collect(),
            stays_bad: BTreeSet::new(),
            recovers: BTreeSet::new(),
            block: 1,
            written: BTreeSet::new(),
            steps: Vec::new(),
        }
    }

    fn is_bad(&self, sector: u64) -> bool {
        self.unreadable.contains(&sector) || self.stays_bad.contains(&sector)
    }

    fn act(&mut self, step: Step) -> StepEnd {
        self.steps.push(step);
        let range = step.sector..step.sector + step.sectors;
        let failed = || StepEnd::Failed("Medium error".to_owned());
        match step.kind {
            StepKind::Read if range.clone().any(|sector| self.is_bad(sector)) => return failed(),
            StepKind::Rewrite => {
                let block = |sector: u64| sector / self.block * self.block;
                let mut blocks = block(range.start)..range.end.next_multiple_of(self.block);
                let is_read_for_that =
                    |sector: &u64| !range.contains(sector) && self.is_bad(*sector);
                if blocks.any(|sector| is_read_for_that(&sector)) {
                    return failed();
                }
                for sector in range {
                    assert!(self.is_bad(sector), "only what cannot be read is written");
                    self.unreadable.remove(&sector);
                    self.written.insert(sector);
                }
            }
            StepKind::Read | StepKind::Flush => {}
            kind => panic!("a condition never does that: {kind:?}"),
        }
        StepEnd::Done
    }

    fn run(&mut self, sectors: u64) -> Job {
        self.run_by(sectors, Unit::SECTOR)
    }

    fn run_by(&mut self, sectors: u64, unit: Unit) -> Job {
        let mut job = Job::new(JobKind::CONDITION, sectors, unit);
        while let Some(step) = job.next() {
            if step.sector + step.sectors < self.steps.last().map_or(0, |last| last.sector) {
                let recovers = std::mem::take(&mut self.recovers);
                self.unreadable.retain(|sector| !recovers.contains(sector));
            }
            let end = self.act(step);
            job.ended(end, Duration::from_millis(1));
            let progress = job.progress();
            assert!(progress.done_sectors <= progress.total_sectors);
        }
        job
    }
}

fn listed(sectors: &BadSectors) -> Vec<u64> {
    sectors.ranges().iter().cloned().flatten().collect()
}

#[test]
fn a_drive_that_can_be_read_is_not_written() {
    let mut worn = Worn::new([]);
    let job = worn.run(5 * MIB + 3);
    assert_eq!(job.progress().end, Some(JobEnd::Complete));
    assert!(worn.steps.iter().all(|step| step.kind == StepKind::Read));
    assert_eq!(job.progress().done_sectors, 5 * MIB + 3);
}

#[test]
fn what_cannot_be_read_is_written_once_flushed_and_read_back() {
    for block in [1, 8] {
        let whole = 800..808;
        let alone = if block == 1 {
            vec![5, 6, 9, 4095]
        } else {
            vec![]
        };
        let all: BTreeSet<u64> = alone.into_iter().chain(whole).chain(4096..4112).collect();
        let mut worn = Worn::new(all.iter().copied());
        worn.block = block;
        let job = worn.run(5 * MIB + 3);
        let progress = job.progress();
        assert_eq!(progress.end, Some(JobEnd::Complete), "{block}");
        assert_eq!(progress.done_sectors, progress.total_sectors);
        assert_eq!(progress.bad.sectors(), 0);
        assert!(listed(&progress.rewritten).iter().eq(&all), "{block}");
        assert_eq!(worn.written, all);
        let first = worn
            .steps
            .iter()
            .position(|step| step.kind == StepKind::Rewrite);
        let read: u64 = worn.steps[..first.unwrap()]
            .iter()
            .map(|step| step.sector + step.sectors)
            .max()
            .unwrap();
        assert_eq!(read, 5 * MIB + 3, "all was read before");
        let of_block = worn.steps.iter().filter(|step| step.sector == 800);
        let kinds: Vec<_> = of_block.map(|step| (step.kind, step.sectors)).collect();
        let mended = [
            (StepKind::Read, 8),
            (StepKind::Read, 1),
            (StepKind::Rewrite, 8),
            (StepKind::Read, 8),
        ];
        assert!(kinds.ends_with(&mended), "{kinds:?}");
        let rewrites = worn
            .steps
            .windows(2)
            .filter(|two| two[0].kind == StepKind::Rewrite);
        for two in rewrites {
            assert!(matches!(two[1].kind, StepKind::Flush | StepKind::Rewrite));
        }
    }
}

#[test]
fn a_drive_of_large_sectors_is_read_and_written_by_them() {
    let mut worn = Worn::new((800..808).chain(4096..4112));
    worn.stays_bad.extend(5000..5008);
    worn.block = 8;
    let job = worn.run_by(5 * MIB, Unit::BLOCK);
    let progress = job.progress();
    assert_eq!(progress.end, Some(JobEnd::Complete));
    let all: Vec<u64> = (800..808).chain(4096..4112).collect();
    assert_eq!(listed(&progress.rewritten), all);
    assert_eq!(listed(&progress.bad), Vec::from_iter(5000..5008));
    for step in &worn.steps {
        assert_eq!((step.sector % 8, step.sectors % 8), (0, 0), "{step:?}");
    }
}

#[test]
fn what_can_be_read_the_second_time_is_not_written() {
    let mut worn = Worn::new([100, 101, 102, 5000]);
    worn.recovers.extend([100, 102]);
    let job = worn.run(8 * MIB);
    let progress = job.progress();
    assert_eq!(progress.end, Some(JobEnd::Complete));
    assert_eq!(listed(&progress.rewritten), [101, 5000]);
    assert_eq!(progress.bad.sectors(), 0);
    assert_eq!(worn.written, BTreeSet::from([101, 5000]));
}

#[test]
fn what_is_bad_after_it_was_written_stays_bad() {
    let mut worn = Worn::new([40, 41, 42]);
    worn.stays_bad.extend([41, 9000]);
    let job = worn.run(8 * MIB);
    let progress = job.progress();
    assert_eq!(progress.end, Some(JobEnd::Complete));
    assert_eq!(listed(&progress.rewritten), [40, 42]);
    assert_eq!(listed(&progress.bad), [41, 9000]);
    assert_eq!(progress.last_reason.as_deref(), Some("Medium error"));
}

#[test]
fn a_drive_that_takes_no_writes_is_given_up() {
    let mut worn = Worn::new([]);
    worn.stays_bad.extend((0..100).map(|place| place * 64));
    let job = worn.run(8 * MIB);
    let gave_up = "32 places on end could not be written: replace the drive".to_owned();
    assert_eq!(job.progress().end, Some(JobEnd::Failed(gave_up)));
    assert_eq!(job.progress().bad.sectors(), 100);
    // Now and then one is well.
    let mut worn = Worn::new(
        (0..100)
            .map(|place| place * 64)
            .filter(|sector| sector % 1920 == 0),
    );
    worn.stays_bad.extend(
        (0..100)
            .map(|place| place * 64)
            .filter(|sector| sector % 1920 > 0),
    );
    let job = worn.run(8 * MIB);
    assert_eq!(job.progress().end, Some(JobEnd::Complete));
}

#[test]
fn a_drive_that_cannot_be_read_at_all_is_not_written() {
    let mut worn = Worn::new(0..8 * MIB);
    let job = worn.run(8 * MIB);
    assert!(matches!(job.progress().end, Some(JobEnd::Failed(_))));
    assert!(worn.written.is_empty());
}

#[test]
fn a_flush_that_fails_or_a_drive_that_is_gone_ends_a_condition() {
    for gone in [false, true] {
        let mut worn = Worn::new([77]);
        let mut job = Job::new(JobKind::CONDITION, 4 * MIB, Unit::SECTOR);
        while let Some(step) = job.next() {
            let reason = "no".to_owned();
            let end = match step.kind {
                StepKind::Flush if gone => StepEnd::Gone(reason),
                StepKind::Flush => StepEnd::Failed(reason),
                _ => worn.act(step),
            };
            job.ended(end, Duration::ZERO);
        }
        let told = if gone { "no" } else { "a flush failed: no" };
        let progress = job.progress();
        assert_eq!(progress.end, Some(JobEnd::Failed(told.to_owned())));
        assert_eq!(listed(&progress.bad), [77], "it may not be durable");
    }
}
