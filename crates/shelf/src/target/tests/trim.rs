//! TRIM.

use super::super::Target;
use super::super::{Action, BufferPlan, Io, Operation, PortIndex, PortView, Purpose, Report};
use super::rig::{Arena, PORT_MAC, Rig, ata, lun, outcome, view, write};
use crate::access::Access;
use crate::ids::DriveSlot;
use crate::plane::{LunView, RegionsView};
use ata::trim::Entry;
use proptest::prelude::*;
use raid::Level;
use raid::geometry::Geometry;
use raid::record::{AccessRecord, Station};
use raid::regions::{RegionIndex, RegionMap, RegionSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A TRIM of ranges: first sector, sectors.
pub(super) fn trim(ranges: &[(u64, u16)]) -> Vec<u8> {
    let entries = ranges.iter().map(|&(lba, sectors)| Entry { lba, sectors });
    let mut data: Vec<u8> = entries.flat_map(Entry::encode).collect();
    data.resize(data.len().next_multiple_of(512).max(512), 0);
    with_feature(
        ata(
            0x06,
            0x41,
            0,
            u8::try_from(data.len() / 512).unwrap(),
            &data,
        ),
        1,
    )
}

fn with_feature(mut request: Vec<u8>, feature: u8) -> Vec<u8> {
    request[25] = feature;
    request
}

/// The LUNs that have it.
fn views() -> Vec<LunView> {
    vec![
        view(0, Level::Jbod, 1),
        view(0, Level::Raid0, 3),
        view(0, Level::Raid1, 3),
        view(0, Level::Raid10, 4),
        joined(),
    ]
}

/// A LUN of two parts, of which the second one has mirrors.
fn joined() -> LunView {
    let mut wanted = view(0, Level::Raid0, 2);
    let mut second = view(0, Level::Raid10, 4).parts.remove(0);
    for (drive, member) in (2..).zip(&mut second.members) {
        member.as_mut().unwrap().drive = DriveSlot(drive);
    }
    wanted.capacity_sectors += second.geometry.capacity_sectors();
    wanted.parts.push(second);
    wanted
}

fn fill(rig: &mut Rig, view: &LunView) {
    for lba in (0..view.capacity_sectors).step_by(16) {
        assert_eq!(outcome(&rig.write(lba, &[7; 8192])), (0x40, 0));
    }
}

/// The content of the LUN, by the first byte of each sector; its copies must agree.
fn content(rig: &Rig, view: &LunView) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in &view.parts {
        let capacity = u32::try_from(part.geometry.capacity_sectors()).unwrap();
        for segment in part.geometry.segments(0, capacity) {
            let copies = segment.mirrors.into_iter();
            let copies = copies.filter_map(|member| part.members[usize::from(member)]);
            let copy = |member: crate::plane::MemberView| {
                let first = (member.data_offset_sectors + segment.member_sector) * 512;
                let first = usize::try_from(first).unwrap();
                let drive = &rig.drives[usize::from(member.drive.0)];
                drive[first..first + segment.sectors as usize * 512].to_vec()
            };
            let copies: Vec<Vec<u8>> = copies.map(copy).collect();
            assert!(copies.windows(2).all(|pair| pair[0] == pair[1]));
            bytes.extend(copies[0].chunks(512).map(|sector| {
                assert!(
                    sector.iter().all(|byte| *byte == sector[0]),
                    "a torn sector"
                );
                sector[0]
            }));
        }
    }
    bytes
}

#[test]
fn row_103_ranges_read_as_zeroes_and_nothing_else_changes() {
    for view in views() {
        let level = view.parts[0].geometry.level();
        let mut rig = Rig::new([view.clone()]);
        fill(&mut rig, &view);
        let end = view.capacity_sectors - 1;
        // Among them one that overlaps, one that touches, and one that says nothing.
        let reply = rig.ask_one(&trim(&[
            (3, 90),
            (200, 8),
            (50, 60),
            (110, 1),
            (end, 1),
            (5, 0),
        ]));
        assert_eq!((reply.len(), outcome(&reply)), (60, (0x40, 0)), "{level}");
        let zeroed = |lba: u64| (3..111).contains(&lba) || (200..208).contains(&lba) || lba == end;
        for (lba, byte) in (0..).zip(content(&rig, &view)) {
            assert_eq!(byte == 0, zeroed(lba), "{level}: {lba}");
        }
        let reply = rig.read(100, 16);
        assert!(reply[36..36 + 11 * 512].iter().all(|byte| *byte == 0));
        assert!(reply[36 + 11 * 512..].iter().all(|byte| *byte == 7));
        let counters = rig.target.counters();
        assert_eq!((counters.trims, counters.trimmed_bytes), (1, 117 * 512));
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

#[test]
fn row_103_what_cannot_be_done_is_refused_and_changes_nothing() {
    let jbod = view(0, Level::Jbod, 1);
    let mut rig = Rig::new([jbod.clone()]);
    fill(&mut rig, &jbod);
    let good = trim(&[(0, 8)]);
    let short = good[..36 + 511].to_vec();
    let blocks = |count: u8| {
        let mut request = good.clone();
        request.resize(36 + 3 * 512, 0);
        request[26] = count;
        request
    };
    for request in [
        short,
        blocks(0),
        blocks(3),
        with_feature(good.clone(), 0),
        with_feature(good.clone(), 3),
    ] {
        assert_eq!(outcome(&rig.ask_one(&request)), (0x41, 0x04));
    }
    for beyond in [(1024, 1), (1023, 2), (0, 1025), (0xffff_ffff_ffff, 0xffff)] {
        let reply = rig.ask_one(&trim(&[(0, 8), beyond]));
        assert_eq!(outcome(&reply), (0x41, 0x10), "{beyond:?}");
    }
    for nothing in [&[][..], &[(5000, 0)]] {
        assert_eq!(outcome(&rig.ask_one(&trim(nothing))), (0x40, 0));
    }
    assert!(content(&rig, &jbod).iter().all(|byte| *byte == 7));
    for (level, members) in [(Level::Raid5, 3), (Level::Raid6, 4)] {
        let mut rig = Rig::new([view(0, level, members)]);
        assert_eq!(outcome(&rig.ask_one(&good)), (0x41, 0x04));
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
    assert_eq!(rig.target.commands_in_flight(), 0);
    assert_eq!(rig.target.counters().trims, 0);
}

#[test]
fn row_103_it_is_a_change_for_access_and_is_never_of_several_luns() {
    let with_access = |record: &AccessRecord| LunView {
        access: Access::of(record),
        ..view(0, Level::Raid1, 2)
    };
    let others = vec![Station([2, 0, 0, 0, 0, 8])];
    let reserved = AccessRecord {
        reserved: others.clone(),
        ..AccessRecord::default()
    };
    let read_only = AccessRecord {
        read_only: true,
        ..AccessRecord::default()
    };
    let masked = AccessRecord {
        masks: others,
        ..AccessRecord::default()
    };
    let mut rig = Rig::new([with_access(&reserved)]);
    let reply = rig.ask_one(&trim(&[(0, 8)]));
    assert_eq!((reply[14] & 0x04, reply[15]), (0x04, 6));
    rig.attach(with_access(&read_only));
    assert_eq!(outcome(&rig.ask_one(&trim(&[(0, 8)]))), (0x41, 0x04));
    rig.attach(with_access(&masked));
    assert_eq!(rig.ask(&trim(&[(0, 8)])), Vec::<Vec<u8>>::new());
    rig.attach(with_access(&AccessRecord::default()));
    let mut wildcard = trim(&[(0, 8)]);
    wildcard[18] = 0xff;
    assert_eq!(rig.ask(&wildcard), Vec::<Vec<u8>>::new());
    assert_eq!(rig.target.counters().wildcard_writes, 1);
    assert_eq!(rig.target.counters().trims, 0);
    // What waits is refused when a reservation shuts it out.
    rig.deliver(0, &write(0, &[1; 512]));
    rig.deliver(0, &trim(&[(0, 8)]));
    rig.attach(with_access(&reserved));
    rig.drain();
    let replies: Vec<u8> = rig.sent.drain(..).map(|(_, reply)| reply[15]).collect();
    assert_eq!(replies, [0, 6]);
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn the_same_trim_sent_again_is_done_once() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    let request = trim(&[(0, 8), (32, 8)]);
    let mut again = request.clone();
    again[20..24].copy_from_slice(&77_u32.to_be_bytes());
    rig.deliver(0, &request);
    let pending = rig.pending.len();
    rig.deliver(0, &again);
    assert_eq!((pending, rig.pending.len()), (2, 2));
    rig.drain();
    let (_, reply) = rig.sent.pop().unwrap();
    assert_eq!(reply[20..24], 77_u32.to_be_bytes(), "the newest tag");
    assert!(rig.sent.is_empty());
    let counters = rig.target.counters();
    assert_eq!((counters.trims, counters.duplicates), (2, 1));
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn a_lun_takes_only_so_many_at_a_time() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    for lba in 0..5 {
        rig.deliver(0, &trim(&[(lba * 8, 8)]));
    }
    assert_eq!(rig.target.counters().no_buffer, 1);
    rig.drain();
    assert_eq!(rig.sent.len(), 4);
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn a_member_that_fails_in_between_is_done_without() {
    let whole = view(0, Level::Raid10, 4);
    let mut without = whole.clone();
    without.parts[0].members[2] = None;
    let mut rig = Rig::new([whole.clone()]);
    fill(&mut rig, &whole);
    rig.deliver(0, &trim(&[(0, 8), (64, 8)]));
    rig.complete(0);
    rig.complete(0);
    rig.broken_writes = [2].into();
    rig.drain();
    assert!(rig.sent.is_empty(), "nobody has given the member up yet");
    let failed = |event: &Action| match event {
        Action::Report(Report::MemberError { io, .. }) => Some((io.member, io.operation)),
        _ => None,
    };
    let failed: Vec<_> = rig.events.iter().filter_map(failed).collect();
    assert_eq!(failed, [(2, Operation::WriteZeroes)]);
    rig.attach(without.clone());
    rig.drain();
    let (_, reply) = rig.sent.pop().unwrap();
    assert_eq!(outcome(&reply), (0x40, 0));
    for (lba, byte) in (0..).zip(content(&rig, &without)) {
        assert_eq!(byte == 0, (0..8).contains(&lba) || (64..72).contains(&lba));
    }
}

#[test]
fn without_redundancy_a_failure_is_a_write_fault() {
    let mut rig = Rig::new([view(0, Level::Raid0, 2)]);
    rig.broken_writes = [1].into();
    assert_eq!(outcome(&rig.ask_one(&trim(&[(0, 8)]))), (0x40, 0));
    assert_eq!(
        outcome(&rig.ask_one(&trim(&[(0, 40), (64, 8)]))),
        (0x61, 0x04)
    );
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn a_twin_is_trimmed_too() {
    let mut wanted = view(0, Level::Raid1, 2);
    let part = &mut wanted.parts[0];
    part.twins = vec![part.members[1], None];
    part.twins[0].as_mut().unwrap().drive = DriveSlot(7);
    let mut rig = Rig::new([wanted]);
    rig.drives[7].fill(5);
    rig.deliver(0, &trim(&[(1, 4)]));
    let purposes: Vec<_> = rig
        .pending
        .iter()
        .map(|io| (io.drive.0, io.purpose))
        .collect();
    let own = Purpose::Member;
    assert_eq!(purposes, [(0, own), (7, Purpose::Twin), (1, own)]);
    rig.drain();
    let zeroes = rig.drives[7].iter().filter(|byte| **byte == 0).count();
    assert_eq!(zeroes, 4 * 512);
}

#[test]
fn noted_sectors_are_off_the_list_before_it_is_answered() {
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    rig.note_bad(0, &[(3, 2)]);
    rig.deliver(0, &trim(&[(0, 8), (32, 8)]));
    rig.drain();
    assert!(rig.sent.is_empty());
    assert_eq!(rig.target.counters().mend_waits, 1);
    rig.settle_bad(&[]);
    rig.drain();
    let (_, reply) = rig.sent.pop().unwrap();
    assert_eq!(outcome(&reply), (0x40, 0));
    assert!(rig.read(0, 8)[36..].iter().all(|byte| *byte == 0));
}

fn with_regions(ready: &[u32]) -> LunView {
    let mut wanted = view(0, Level::Raid10, 4);
    let map = RegionMap::new(&wanted.parts[0].geometry, 6).unwrap();
    let mut set = RegionSet::empty(map.regions());
    for region in ready {
        set.insert(RegionIndex(*region));
    }
    let ready = Arc::new(set);
    wanted.parts[0].regions = Some(RegionsView { map, ready });
    wanted
}

#[test]
fn each_step_waits_for_the_bits_of_its_regions() {
    let mut rig = Rig::new([with_regions(&[0])]);
    rig.deliver(0, &trim(&[(0, 8), (10 * 64, 64 * 8)]));
    rig.complete(0);
    rig.complete(0);
    let wanted = |event: Action| match event {
        Action::Report(Report::WantRegions { group, .. }) => Some(group.0),
        _ => None,
    };
    let wanted: Vec<u32> = rig.events.drain(..).filter_map(wanted).collect();
    assert_eq!(wanted, [8, 16], "of the second step, that goes over both");
    assert!(rig.pending.is_empty());
    let answer = |rig: &mut Rig, regions, ready| {
        let mut actions = Vec::new();
        rig.target
            .regions_ready(lun(0), 0, regions, ready, &mut actions);
        rig.absorb(actions);
    };
    answer(&mut rig, 8..16, true);
    assert!(rig.pending.is_empty());
    answer(&mut rig, 16..24, true);
    assert!(!rig.pending.is_empty());
    // While it is under way none of its regions is taken back.
    let mut all = RegionSet::empty(
        RegionMap::new(&with_regions(&[]).parts[0].geometry, 6)
            .unwrap()
            .regions(),
    );
    for region in 0..20 {
        all.insert(RegionIndex(region));
    }
    let mut taken = Vec::new();
    for _ in 0..4 {
        let idle = rig.target.take_idle_regions(lun(0), 0, &all);
        taken.extend(idle.iter().map(|region| region.0));
    }
    assert!(taken.contains(&0) && taken.contains(&18), "{taken:?}");
    assert!(
        !taken.iter().any(|region| (10..18).contains(region)),
        "{taken:?}"
    );
    rig.drain();
    assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x40, 0));
    // A bit that cannot be made durable is a fault.
    rig.deliver(0, &trim(&[(0, 8), (30 * 64, 8)]));
    answer(&mut rig, 0..8, true);
    rig.drain();
    answer(&mut rig, 24..32, false);
    assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x61, 0x04));
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn one_that_is_cut_between_two_steps_is_not_answered() {
    let online = view(0, Level::Raid1, 2);
    let mut rig = Rig::new([online.clone()]);
    fill(&mut rig, &online);
    rig.deliver(0, &trim(&[(0, 8), (64, 8)]));
    rig.deliver(0, &write(64, &[9; 512]));
    rig.attach(LunView {
        online: false,
        ..online.clone()
    });
    rig.drain();
    assert_eq!(rig.sent.len(), 1, "the write that waited for it");
    assert!(
        rig.events
            .iter()
            .any(|event| matches!(event, Action::Settled { .. }))
    );
    let bytes = content(&rig, &online);
    assert_eq!((bytes[0], bytes[8], bytes[64], bytes[65]), (0, 7, 9, 7));
    assert_eq!(rig.target.commands_in_flight(), 0);
}

/// A target with a LUN that is too large for drives in memory.
struct Large {
    target: Target,
    memory: Arena,
    capacity_sectors: u64,
}

impl Large {
    /// 12 TiB in mirrors.
    fn new() -> Self {
        let mut wanted = view(0, Level::Raid10, 4);
        wanted.parts[0].geometry = Geometry::new(Level::Raid10, 4, 128, 13_000_000_000).unwrap();
        let capacity_sectors = wanted.parts[0].geometry.capacity_sectors();
        wanted.capacity_sectors = capacity_sectors;
        let plan = BufferPlan {
            commands: 32,
            pages: 0,
            records: 0,
        };
        let port = PortView::single(PORT_MAC, 9000);
        let mut target = Target::new(&[port], plan);
        target.attach(Arc::new(wanted), &mut Vec::new());
        Self {
            target,
            memory: Arena::new(plan),
            capacity_sectors,
        }
    }

    /// A request arrives. Gives the I/O that it begins.
    fn ask(&mut self, request: &[u8]) -> Vec<Io> {
        let mut actions = Vec::new();
        let port = PortIndex(0);
        let admitted = self
            .target
            .receive(port, request, request.len(), &mut actions);
        let admitted = admitted.unwrap();
        self.memory.fill(&admitted, &request[admitted.offset..]);
        let command = admitted.command;
        self.target.filled(command, &mut self.memory, &mut actions);
        self.follow(actions).0
    }

    /// I/O is done. Gives what follows, and whether there was an answer.
    fn complete(&mut self, ios: &[Io]) -> (Vec<Io>, bool) {
        let mut actions = Vec::new();
        for io in ios {
            self.target.complete(io, true, &mut actions);
        }
        self.follow(actions)
    }

    fn follow(&mut self, actions: Vec<Action>) -> (Vec<Io>, bool) {
        let (mut ios, mut is_answered) = (Vec::new(), false);
        for action in actions {
            match action {
                Action::Io(io) => ios.push(io),
                Action::Reply(reply) => {
                    self.target.sent(reply.command.unwrap());
                    is_answered = true;
                }
                other => panic!("{other:?}"),
            }
        }
        (ios, is_answered)
    }
}

/// What is in flight at a time is little, and all of it is done.
#[test]
fn a_long_one_goes_in_steps_and_holds_up_nobody() {
    let mut large = Large::new();
    let start = large.capacity_sectors - 70_000;
    let mut ios = large.ask(&trim(&[(start + 1, 0xfff0), (start + 0xfff1, 1000)]));
    let mut done: BTreeMap<u16, Vec<(u64, u64)>> = BTreeMap::new();
    let mut steps = 0;
    loop {
        steps += 1;
        // One run of each member; a step that begins within a stripe may have two.
        assert!(ios.len() <= 8, "{ios:?}");
        for io in &ios {
            assert!(io.operation == Operation::WriteZeroes && io.sectors <= 8192 + 128);
            let range = io.range();
            done.entry(io.drive.0)
                .or_default()
                .push((range.sector, range.end()));
        }
        // Somebody else's write is done meanwhile.
        let others = large.ask(&write(start - 16, &[1; 512]));
        assert_eq!(others.len(), 2);
        assert!(large.complete(&others).1);
        let (next, is_answered) = large.complete(&ios);
        assert_eq!(next.is_empty(), is_answered);
        if is_answered {
            break;
        }
        ios = next;
    }
    assert!((5..=6).contains(&steps), "{steps} steps");
    for (drive, runs) in done {
        let total: u64 = runs.iter().map(|(first, end)| end - first).sum();
        let is_whole = runs.windows(2).all(|pair| pair[0].1 == pair[1].0);
        assert!(is_whole, "drive {drive}: {runs:?}");
        assert!(
            total.abs_diff((0xfff0 + 1000) / 2) <= 128,
            "drive {drive}: {total}"
        );
    }
    assert_eq!(large.target.commands_in_flight(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u8),
    Trim(Vec<(u64, u16)>),
    /// Does one of the I/Os that are pending.
    Complete(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..600_u64, 0..200_u16);
    prop_oneof![
        3 => (0..800_u64, 1..=16_u8).prop_map(|(lba, sectors)| Step::Write(lba, sectors)),
        1 => prop::collection::vec(range, 0..70).prop_map(Step::Trim),
        6 => any::<prop::sample::Index>().prop_map(Step::Complete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever order the drives answer in, it is as if commands were done in the order in which they came.
    #[test]
    fn writes_and_trims_are_done_in_arrival_order(
        steps in prop::collection::vec(step(), 1..60),
        which in 0..5_usize,
    ) {
        let wanted = views().swap_remove(which);
        let mut rig = Rig::new([wanted.clone()]);
        let mut model = vec![0; usize::try_from(wanted.capacity_sectors).unwrap()];
        let mut asked = 0;
        for (number, step) in (1_u8..).zip(steps) {
            // What found no room, or is one that is under way.
            let not_done = |rig: &Rig| {
                let counters = rig.target.counters();
                counters.no_buffer + counters.duplicates
            };
            let before = not_done(&rig);
            match step {
                Step::Write(lba, sectors) => {
                    rig.deliver(0, &write(lba, &vec![number; usize::from(sectors) * 512]));
                    if not_done(&rig) == before {
                        let first = usize::try_from(lba).unwrap();
                        model[first..first + usize::from(sectors)].fill(number);
                        asked += 1;
                    }
                }
                Step::Trim(ranges) => {
                    rig.deliver(0, &trim(&ranges));
                    if not_done(&rig) == before {
                        for (lba, sectors) in ranges {
                            let first = usize::try_from(lba).unwrap();
                            model[first..first + usize::from(sectors)].fill(0);
                        }
                        asked += 1;
                    }
                }
                Step::Complete(index) if !rig.pending.is_empty() => {
                    let index = index.index(rig.pending.len());
                    rig.complete(index);
                }
                Step::Complete(_) => {}
            }
        }
        rig.drain();
        prop_assert_eq!(rig.sent.len(), asked);
        prop_assert!(rig.sent.iter().all(|(_, reply)| outcome(reply) == (0x40, 0)));
        prop_assert_eq!(content(&rig, &wanted), model);
        prop_assert_eq!(rig.target.commands_in_flight(), 0);
    }
}
