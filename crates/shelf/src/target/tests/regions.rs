//! Writes and the bits of their regions.

use super::super::{Action, Io, IoOwner, Operation, PassEvent, Report};
use super::rig::{Rig, ata, lun, outcome, view, write};
use crate::plane::{LunView, RegionsView, SyncView};
use proptest::prelude::*;
use raid::Level;
use raid::record::ScrubRepair;
use raid::regions::{RegionIndex, RegionMap, RegionSet};
use std::sync::Arc;

/// 64 sectors a region.
const SHIFT: u32 = 6;

fn with_regions(level: Level, members: u8, ready: &[u32]) -> LunView {
    let mut wanted = view(0, level, members);
    let map = RegionMap::new(&wanted.parts[0].geometry, SHIFT).unwrap();
    let mut set = RegionSet::empty(map.regions());
    for region in ready {
        set.insert(RegionIndex(*region));
    }
    let ready = Arc::new(set);
    wanted.parts[0].regions = Some(RegionsView { map, ready });
    wanted
}

/// The groups that were asked for.
fn wanted(rig: &Rig) -> Vec<u32> {
    let group = |event: &Action| match event {
        Action::Report(Report::WantRegions { group, .. }) => Some(group.0),
        _ => None,
    };
    rig.events.iter().filter_map(group).collect()
}

fn answer(rig: &mut Rig, regions: std::ops::Range<u32>, ready: bool) {
    let mut actions = Vec::new();
    rig.target
        .regions_ready(lun(0), 0, regions, ready, &mut actions);
    rig.absorb(actions);
}

/// Takes back what was not written for a while.
fn sweep(rig: &mut Rig, candidates: &[u32]) -> Vec<u32> {
    let map = with_regions(Level::Raid10, 4, &[]).parts[0].regions.clone();
    let mut set = RegionSet::empty(map.unwrap().map.regions());
    for region in candidates {
        set.insert(RegionIndex(*region));
    }
    let idle = rig.target.take_idle_regions(lun(0), 0, &set);
    idle.iter().map(|region| region.0).collect()
}

#[test]
fn a_write_waits_until_the_bit_of_its_region_is_durable() {
    let mut rig = Rig::new([with_regions(Level::Raid10, 4, &[0])]);
    assert_eq!(outcome(&rig.write(0, &[1; 512])), (0x40, 0));
    assert!(wanted(&rig).is_empty());
    // Two writes to one group, one to another, one over the border of both.
    for lba in [9 * 64, 10 * 64, 20 * 64, 16 * 64 - 1] {
        rig.deliver(0, &write(lba, &[2; 1024]));
    }
    rig.drain();
    assert_eq!(wanted(&rig), [8, 16], "each group once");
    assert_eq!(rig.sent.len(), 0);
    assert_eq!(rig.target.counters().region_waits, 4);
    answer(&mut rig, 8..16, true);
    rig.drain();
    assert_eq!(rig.sent.len(), 2, "the third touches both groups");
    answer(&mut rig, 16..24, true);
    rig.drain();
    assert_eq!(rig.sent.len(), 4);
    assert!(
        rig.sent
            .iter()
            .all(|(_, reply)| outcome(reply) == (0x40, 0))
    );
    assert_eq!(wanted(&rig), [8, 16]);
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn reads_and_flushes_do_not_wait() {
    let mut rig = Rig::new([with_regions(Level::Raid1, 2, &[])]);
    assert_eq!(outcome(&rig.read(100, 4)), (0x40, 0));
    assert_eq!(outcome(&rig.ask_one(&ata(0xe7, 0, 0, 0, &[]))), (0x40, 0));
}

#[test]
fn a_write_whose_bit_cannot_be_written_is_a_fault_and_touches_nothing() {
    let mut rig = Rig::new([with_regions(Level::Raid1, 2, &[])]);
    rig.deliver(0, &write(0, &[3; 512]));
    rig.deliver(0, &write(9 * 64, &[3; 512]));
    answer(&mut rig, 0..8, false);
    assert_eq!(rig.sent.len(), 1, "the other waits on");
    assert_ne!(outcome(&rig.sent[0].1).0 & 1, 0, "an error status");
    assert!(rig.pending.is_empty());
    rig.deliver(0, &write(0, &[3; 512]));
    assert_eq!(wanted(&rig), [0, 8, 0], "asked for anew");
    answer(&mut rig, 0..16, true);
    rig.drain();
    assert_eq!(rig.sent.len(), 3);
    rig.events.clear();
    rig.detach(0);
    assert!(
        matches!(
            rig.events[..],
            [Action::Settled {
                mirrors_differ: false,
                is_log_pending: false,
                ..
            }]
        ),
        "{:?}",
        rig.events
    );
}

/// The administration waits for a change of view with its lock held, and answers no writes meanwhile.
#[test]
fn writes_that_wait_hold_up_no_change() {
    let wanted_view = with_regions(Level::Raid1, 2, &[]);
    let mut rig = Rig::new([wanted_view.clone()]);
    rig.deliver(0, &write(0, &[4; 512]));
    rig.deliver(0, &write(0, &[5; 512]));
    rig.events.clear();
    rig.attach(wanted_view.clone());
    assert!(matches!(rig.events[..], [Action::Settled { .. }]));
    rig.events.clear();
    rig.detach(0);
    assert!(matches!(rig.events[..], [Action::Settled { .. }]));
    assert!(rig.sent.is_empty() && rig.pending.is_empty());
    assert_eq!(rig.target.counters().commands_dropped, 2);
    assert_eq!(rig.target.commands_in_flight(), 0);
    // Late answers concern nobody; the write that is sent again asks again.
    answer(&mut rig, 0..8, true);
    rig.attach(wanted_view);
    rig.events.clear();
    rig.deliver(0, &write(0, &[4; 512]));
    assert_eq!(wanted(&rig), [0]);
}

#[test]
fn regions_are_given_back_when_they_were_not_written_for_two_calls() {
    let mut rig = Rig::new([with_regions(Level::Raid10, 4, &[0, 1, 2, 3])]);
    let all = [0, 1, 2, 3];
    assert!(sweep(&mut rig, &all).is_empty());
    rig.write(64, &[1; 512]);
    assert!(sweep(&mut rig, &all).is_empty());
    assert_eq!(sweep(&mut rig, &all[..3]), [0, 2], "of those asked for");
    assert_eq!(
        sweep(&mut rig, &all),
        [0, 1, 2, 3],
        "told again until it is known"
    );
    rig.deliver(0, &write(2 * 64, &[1; 512]));
    assert_eq!(wanted(&rig), [0]);
    answer(&mut rig, 0..8, true);
    for _ in 0..5 {
        let idle = sweep(&mut rig, &all);
        assert!(!idle.contains(&2), "a write is under way");
    }
    rig.drain();
    assert!(!sweep(&mut rig, &all).contains(&2));
    assert!(sweep(&mut rig, &all).contains(&2));
}

#[test]
fn nothing_is_given_back_when_mirrors_differ() {
    let mut rig = Rig::new([with_regions(Level::Raid10, 4, &[0, 1])]);
    rig.broken_writes = [0, 2].into();
    rig.deliver(0, &write(0, &[1; 512]));
    rig.drain();
    // Both members of the pair fail; the last of them is kept.
    let mut without = with_regions(Level::Raid10, 4, &[0, 1]);
    without.parts[0].members[0] = None;
    rig.attach(without);
    rig.drain();
    assert_eq!(rig.sent.len(), 1);
    for _ in 0..5 {
        assert!(sweep(&mut rig, &[0, 1]).is_empty());
    }
}

#[test]
fn a_pass_goes_over_the_regions_that_it_concerns() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid10, 4)] {
        let mut wanted = with_regions(level, members, &[2, 9, 10]);
        let regions = wanted.parts[0].regions.clone().unwrap();
        wanted.parts[0].mirrors_unsynced = true;
        wanted.parts[0].sync = Some(SyncView {
            kind: crate::plane::SyncKind::Resync,
            pass: 1,
            start_lba: 0,
            regions: Some(Arc::clone(&regions.ready)),
            repair: ScrubRepair::Report,
            noted: 0,
        });
        let mut rig = Rig::new([wanted.clone()]);
        let progress = rig.target.sync_progress()[0];
        assert_eq!((progress.done_sectors, progress.total_sectors), (0, 3 * 64));
        for (drive, value) in rig.drives.iter_mut().zip(1u8..) {
            drive[256 * 512..].fill(value);
        }
        loop {
            let mut actions = Vec::new();
            let any = rig.target.sync_step(&mut actions);
            rig.absorb(actions);
            if !any && rig.pending.is_empty() {
                break;
            }
            rig.drain();
        }
        assert!(rig.events.iter().any(|event| matches!(
            event,
            Action::Report(Report::Pass {
                event: PassEvent::Ended { complete: true },
                ..
            })
        )));
        let geometry = wanted.parts[0].geometry;
        for lba in 0..geometry.capacity_sectors() {
            let segment = geometry.segments(lba, 1).next().unwrap();
            let copies: Vec<u8> = segment
                .mirrors
                .into_iter()
                .map(|member| {
                    let place = usize::try_from(256 + segment.member_sector).unwrap() * 512;
                    rig.drives[usize::from(member)][place]
                })
                .collect();
            let region = RegionIndex(u32::try_from(lba >> SHIFT).unwrap());
            let is_equal = copies.windows(2).all(|pair| pair[0] == pair[1]);
            assert_eq!(
                is_equal,
                regions.ready.contains(region),
                "{level} sector {lba}"
            );
        }
    }
}

/// What the administration does, in a model: bits on the disk, and requests for them that wait.
struct Bits {
    durable: RegionSet,
    asked: Vec<u32>,
}

impl Bits {
    /// No write goes out to a region whose bit is not durable.
    fn check(&self, rig: &Rig, level: Level) {
        let is_data =
            |io: &&Io| io.operation == Operation::Write && !matches!(io.owner, IoOwner::Group(_));
        for io in rig.pending.iter().filter(is_data) {
            // Column of the element, chunks of 32 sectors, data from sector 256 on.
            let member = io.sector - 256;
            let counted = match level {
                Level::Raid10 => (member / 32 * 2 + u64::from(io.member % 2)) * 32 + member % 32,
                _ => member,
            };
            let last = counted + u64::from(io.sectors) - 1;
            for region in counted >> SHIFT..=last >> SHIFT {
                let region = RegionIndex(u32::try_from(region).unwrap());
                assert!(self.durable.contains(region), "{io:?}");
            }
        }
    }

    fn listen(&mut self, rig: &mut Rig) {
        self.asked.extend(wanted(rig));
        rig.events.clear();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u8),
    Answer(prop::sample::Index),
    Sweep,
    Complete(prop::sample::Index),
    Attach,
    Fail(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u64..1000, 1_u8..17).prop_map(|(lba, count)| Step::Write(lba, count)),
        3 => any::<prop::sample::Index>().prop_map(Step::Answer),
        2 => Just(Step::Sweep),
        8 => any::<prop::sample::Index>().prop_map(Step::Complete),
        1 => Just(Step::Attach),
        1 => (0_u16..4).prop_map(Step::Fail),
    ]
}

proptest! {
    #[test]
    fn no_write_is_ever_ahead_of_its_bit(
        steps in prop::collection::vec(step(), 1..150),
        shape in prop::sample::select(vec![
            (Level::Raid1, 2), (Level::Raid10, 4), (Level::Raid5, 4), (Level::Raid6, 4),
        ]),
    ) {
        let (level, members) = shape;
        let view = with_regions(level, members, &[]);
        let map = view.parts[0].regions.as_ref().unwrap().map;
        let mut bits = Bits { durable: RegionSet::empty(map.regions()), asked: Vec::new() };
        let mut rig = Rig::new([view.clone()]);
        let mut written: u8 = 0;
        for step in steps {
            match step {
                Step::Write(lba, count) if rig.target.commands_in_flight() < 20 => {
                    // Of other bytes than any before: else it may be one of these, sent again.
                    written += 1;
                    rig.deliver(0, &write(lba, &vec![written; usize::from(count) * 512]));
                }
                Step::Answer(pick) if !bits.asked.is_empty() => {
                    let first = bits.asked.remove(pick.index(bits.asked.len()));
                    let end = (first + 8).min(map.regions());
                    for region in first..end {
                        bits.durable.insert(RegionIndex(region));
                    }
                    answer(&mut rig, first..first + 8, true);
                }
                Step::Sweep => {
                    let idle = rig.target.take_idle_regions(lun(0), 0, &bits.durable);
                    bits.durable.remove_all(&idle);
                    bits.check(&rig, level);
                }
                Step::Complete(pick) if !rig.pending.is_empty() => {
                    let index = pick.index(rig.pending.len());
                    rig.complete(index);
                }
                Step::Fail(drive) => {
                    // It fails once; the view that answers has it again.
                    rig.broken_writes = [drive].into();
                    if !rig.pending.is_empty() {
                        rig.complete(0);
                    }
                    rig.broken_writes.clear();
                    rig.attach(view.clone());
                }
                Step::Attach => rig.attach(view.clone()),
                _ => {}
            }
            rig.step();
            bits.listen(&mut rig);
            bits.check(&rig, level);
        }
        for _ in 0..50 {
            rig.drain();
            bits.listen(&mut rig);
            for first in std::mem::take(&mut bits.asked) {
                answer(&mut rig, first..first + 8, true);
            }
            rig.attach(view.clone());
        }
        prop_assert_eq!(rig.sent.len(), usize::from(written));
        prop_assert_eq!(rig.target.commands_in_flight(), 0);
    }
}
