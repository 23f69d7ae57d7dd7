//! Copies of drives in memory, of which some sectors cannot be read.

use super::*;

/// What is on a sector of the new drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Old,
    Copied,
    Zeroed,
}

struct Pair {
    unreadable: BTreeSet<u64>,
    /// They can be read from this many attempts on.
    recovers: BTreeSet<u64>,
    unwritable: Option<u64>,
    /// The old drive is gone after so many steps.
    gone_after: Option<usize>,
    held: Vec<Held>,
    /// The same, as it was when it was flushed last.
    durable: Vec<Held>,
    fetched: Option<Range<u64>>,
    steps: Vec<Step>,
}

impl Pair {
    fn new(sectors: u64, unreadable: impl IntoIterator<Item = u64>) -> Self {
        let held = vec![Held::Old; usize::try_from(sectors).unwrap()];
        Self {
            unreadable: unreadable.into_iter().collect(),
            recovers: BTreeSet::new(),
            unwritable: None,
            gone_after: None,
            durable: held.clone(),
            held,
            fetched: None,
            steps: Vec::new(),
        }
    }

    fn act(&mut self, step: Step) -> StepEnd {
        self.steps.push(step);
        let range = step.sector..step.sector + step.sectors;
        let steps = self.steps.len();
        if self.gone_after.is_some_and(|after| steps > after) {
            return StepEnd::Gone("No such device".to_owned());
        }
        match step.kind {
            StepKind::Fetch => {
                self.fetched = None;
                if self.unreadable.range(range.clone()).next().is_some() {
                    self.unreadable
                        .retain(|sector| !self.recovers.contains(sector));
                    return StepEnd::Failed("Medium error".to_owned());
                }
                self.fetched = Some(range);
            }
            StepKind::Store | StepKind::Rewrite => {
                if self
                    .unwritable
                    .is_some_and(|sector| range.contains(&sector))
                {
                    return StepEnd::Failed("Write error".to_owned());
                }
                let held = if step.kind == StepKind::Store {
                    assert_eq!(self.fetched.take(), Some(range.clone()), "what was fetched");
                    Held::Copied
                } else {
                    let mut lost = range.clone();
                    assert!(lost.all(|sector| self.unreadable.contains(&sector)));
                    Held::Zeroed
                };
                for sector in range {
                    let place = &mut self.held[usize::try_from(sector).unwrap()];
                    assert_eq!(*place, Held::Old, "sector {sector} is written once");
                    *place = held;
                }
            }
            StepKind::Flush => self.durable = self.held.clone(),
            kind => panic!("a copy never does that: {kind:?}"),
        }
        StepEnd::Done
    }

    fn run(&mut self, extract: Extract, unit: Unit) -> Job {
        let sectors = self.held.len() as u64;
        let mut job = Job::new(JobKind::Extract(extract), sectors, unit);
        let from = usize::try_from(extract.first_sector.max(16)).unwrap();
        let mut checked = from;
        while let Some(step) = job.next() {
            let (begin, end) = (step.sector, step.sector + step.sectors);
            assert!(unit.divides(begin) && unit.divides(end), "{step:?}");
            if (8..16).contains(&begin) && step.kind != StepKind::Fetch {
                // The mark goes when everything else is there, durably; its first sector last, in one write.
                let others = |sector: &u64| !(8..16).contains(sector);
                let mut others = (extract.first_sector.max(16)..sectors).filter(others);
                let is_durable =
                    |sector: u64| self.durable[usize::try_from(sector).unwrap()] != Held::Old;
                assert!(others.all(is_durable), "{step:?}");
                let is_first = begin == 8;
                let rest = if is_first { end..16 } else { 0..8 };
                assert!(!is_first || rest.clone().all(is_durable), "{step:?}");
                assert!(!is_first || step.sectors == u64::from(unit.sectors()));
            }
            let ended = self.act(step);
            job.ended(ended, Duration::from_millis(1));
            let progress = job.progress();
            assert!(progress.done_sectors <= progress.total_sectors);
            let resume = usize::try_from(progress.resume_sector.unwrap()).unwrap();
            let copied = &self.durable[checked..resume.max(checked)];
            assert!(copied.iter().all(|held| *held != Held::Old), "{resume}");
            checked = resume.max(checked);
        }
        job
    }
}

const ALL: Extract = Extract {
    source: DriveSlot(7),
    first_sector: 0,
    passes_over: true,
    element: None,
};

/// A sector of one drive in the place of which the new one has zeroes.
fn zeroed(pair: &Pair) -> Vec<u64> {
    let held = (0_u64..).zip(&pair.held);
    let zeroed = held.filter(|(_, held)| **held == Held::Zeroed);
    zeroed.map(|(sector, _)| sector).collect()
}

#[test]
fn a_drive_that_can_be_read_is_copied_and_the_mark_goes_last() {
    for unit in [Unit::SECTOR, Unit::BLOCK] {
        for sectors in [MIB, 5 * MIB + 8, 1030 * MIB] {
            let mut pair = Pair::new(sectors, []);
            let job = pair.run(Extract::of(DriveSlot(7)), unit);
            let progress = job.progress();
            assert_eq!(progress.end, Some(JobEnd::Complete));
            assert_eq!(
                (progress.done_sectors, progress.total_sectors),
                (sectors, sectors)
            );
            assert_eq!(progress.resume_sector, Some(sectors));
            assert!(pair.durable.iter().all(|held| *held == Held::Copied));
        }
    }
}

#[test]
fn what_cannot_be_read_is_put_off_and_then_zeroed_by_the_sector() {
    let lost = [0, 8, 12, 40, 41, 5000, 5001, 9 * MIB - 1];
    let mut pair = Pair::new(9 * MIB, lost);
    pair.unreadable.insert(5007);
    pair.recovers.insert(5007);
    let job = pair.run(ALL, Unit::SECTOR);
    let progress = job.progress();
    assert_eq!(progress.end, Some(JobEnd::Complete));
    assert_eq!(progress.done_sectors, progress.total_sectors);
    assert_eq!(
        listed(&progress.bad),
        lost,
        "but for the one that could be read the second time"
    );
    assert_eq!(zeroed(&pair), lost);
    assert!(pair.durable.iter().all(|held| *held != Held::Old));
    assert_eq!(progress.last_reason.as_deref(), Some("Medium error"));
    // What can be read is copied before anything is read again.
    let again = |step: &Step| step.kind == StepKind::Fetch && step.sectors < 100;
    let first_again = pair.steps.iter().position(again).unwrap();
    let stored = pair.steps[..first_again].iter();
    let stored: u64 = stored
        .filter(|step| step.kind == StepKind::Store)
        .map(|step| step.sectors)
        .sum();
    assert_eq!(
        stored,
        9 * MIB - 16 - 3 * 2048 + 16,
        "all but three steps, of which one is shorter"
    );
}

#[test]
fn a_copy_of_a_member_leaves_the_mark() {
    let element = Some(crate::ids::ElementId {
        lun: crate::ids::LunNumber::new(3).unwrap(),
        part: 0,
        member: 0,
    });
    let mut pair = Pair::new(5 * MIB, [9, 77]);
    let job = pair.run(Extract { element, ..ALL }, Unit::SECTOR);
    let progress = job.progress();
    assert_eq!(progress.end, Some(JobEnd::Complete));
    assert_eq!(progress.done_sectors, 5 * MIB - 8);
    assert_eq!(listed(&progress.bad), [77]);
    for (sector, held) in (0_u64..).zip(&pair.durable) {
        assert_eq!(*held == Held::Old, (8..16).contains(&sector), "{sector}");
    }
}

#[test]
fn large_sectors_are_copied_and_lost_as_a_whole() {
    let lost: Vec<u64> = (8..16).chain(4096..4104).collect();
    let mut pair = Pair::new(9 * MIB, lost.clone());
    let job = pair.run(ALL, Unit::BLOCK);
    assert_eq!(job.progress().end, Some(JobEnd::Complete));
    assert_eq!(listed(&job.progress().bad), lost);
    assert_eq!(zeroed(&pair), lost);
}

#[test]
fn it_ends_at_the_first_sector_that_cannot_be_read_unless_it_is_to_go_on() {
    let mut pair = Pair::new(9 * MIB, [5003, 9000]);
    let job = pair.run(Extract::of(DriveSlot(7)), Unit::SECTOR);
    let end = "sector 5003 cannot be read: Medium error; with -f it goes on past such sectors";
    assert_eq!(job.progress().end, Some(JobEnd::Failed(end.to_owned())));
    assert_eq!(listed(&job.progress().bad), [5003]);
    assert_eq!(pair.held[5002], Held::Copied);
    assert!(
        pair.held[..16].iter().all(|held| *held == Held::Old),
        "the mark stays"
    );
}

/// A copy that is stopped in its second chunk.
fn stopped(pair: &mut Pair, sectors: u64) -> Job {
    let mut job = Job::new(JobKind::Extract(ALL), sectors, Unit::SECTOR);
    while let Some(step) = job.next() {
        let end = pair.act(step);
        job.ended(end, Duration::ZERO);
        if step.sector > (1 << 21) + 5000 {
            job.stop();
        }
    }
    job
}

#[test]
fn one_that_was_stopped_goes_on_where_all_is_durable() {
    let sectors = 3 << 21;
    let mut pair = Pair::new(sectors, [100]);
    let job = stopped(&mut pair, sectors);
    assert_eq!(
        job.progress().resume_sector,
        Some(16),
        "what was put off counts"
    );
    let mut pair = Pair::new(sectors, []);
    let job = stopped(&mut pair, sectors);
    let resume = job.progress().resume_sector.unwrap();
    assert_eq!(resume, 1 << 21);
    // Power is cut: only what was flushed is there.
    let mut again = Pair::new(sectors, []);
    let on = Extract {
        first_sector: resume,
        ..ALL
    };
    let job = again.run(on, Unit::SECTOR);
    assert_eq!(job.progress().end, Some(JobEnd::Complete));
    let both = pair.durable.iter().zip(&again.durable);
    for (first, second) in both {
        let copies = [first, second].map(|held| usize::from(*held == Held::Copied));
        assert_eq!(copies[0] + copies[1], 1, "once, by the one or the other");
    }
}

#[test]
fn a_new_drive_that_cannot_be_written_ends_it() {
    let mut pair = Pair::new(9 * MIB, []);
    pair.unwritable = Some(7000);
    let job = pair.run(ALL, Unit::SECTOR);
    let JobEnd::Failed(reason) = job.progress().end.clone().unwrap() else {
        panic!("it cannot be complete");
    };
    assert!(
        reason.starts_with("the new drive cannot be written at sector "),
        "{reason}"
    );
    assert_eq!(pair.held[8], Held::Old);
}

#[test]
fn a_large_place_that_is_lost_does_not_end_it_while_the_rest_can_be_read() {
    let lost = 3 * MIB..6 * MIB;
    let mut pair = Pair::new(9 * MIB, lost.clone());
    let job = pair.run(ALL, Unit::SECTOR);
    assert_eq!(job.progress().end, Some(JobEnd::Complete));
    assert_eq!(job.progress().bad.ranges(), [lost]);
    // When nothing works any more it ends.
    let mut pair = Pair::new(9 * MIB, 0..9 * MIB);
    let job = pair.run(ALL, Unit::SECTOR);
    assert!(matches!(job.progress().end, Some(JobEnd::Failed(_))));
    assert_eq!(pair.held[8], Held::Old);
    let mut pair = Pair::new(9 * MIB, []);
    pair.gone_after = Some(4);
    let job = pair.run(ALL, Unit::SECTOR);
    let gone = JobEnd::Failed("No such device".to_owned());
    assert_eq!(job.progress().end, Some(gone));
}

#[test]
fn more_places_than_can_be_put_off_are_dealt_with_when_they_are_met() {
    let sectors = 8400 * MIB;
    let mut job = Job::new(JobKind::Extract(ALL), sectors, Unit::BLOCK);
    // Every second step cannot be read the first time.
    let (mut tried, mut done) = (BTreeSet::new(), 0);
    while let Some(step) = job.next() {
        let is_odd = step.sector / 2048 % 2 == 1;
        let fails = step.kind == StepKind::Fetch && is_odd && tried.insert(step.sector / 2048);
        if step.kind == StepKind::Store {
            done += step.sectors;
        }
        job.ended(
            if fails {
                StepEnd::Failed("no".to_owned())
            } else {
                StepEnd::Done
            },
            Duration::ZERO,
        );
    }
    assert_eq!(job.progress().end, Some(JobEnd::Complete));
    assert_eq!((done, job.progress().done_sectors), (sectors, sectors));
}
