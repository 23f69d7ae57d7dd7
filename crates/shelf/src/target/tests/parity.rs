//! Parts with parity: what is read is what was written, whatever is lost, and parity matches.

use super::super::{Action, Io, IoOwner, Operation, PassEvent, Report};
use super::rig::{Rig, ata, outcome, view, write};
use crate::plane::{LunView, SyncKind, SyncView};
use proptest::prelude::*;
use raid::parity::{Verdict, check_parity};
use raid::record::ScrubRepair;
use raid::{Geometry, Level};

/// Where the members' data begins on their drives, and its length.
const DATA_OFFSET: usize = 256;
const MEMBER_SECTORS: usize = 1024;

fn geometry(view: &LunView) -> Geometry {
    view.parts[0].geometry
}

fn member_sector(rig: &Rig, element: u8, sector: usize) -> &[u8] {
    let start = (DATA_OFFSET + sector) * 512;
    &rig.drives[usize::from(element)][start..start + 512]
}

/// Member sectors whose parity does not match.
fn mismatches(rig: &Rig, geometry: &Geometry, sectors: usize) -> Vec<usize> {
    let mismatch = |sector: &usize| {
        let row = geometry.row_of(*sector as u64);
        let layout = geometry.row_layout(row).unwrap();
        let data: Vec<&[u8]> = (0..layout.columns())
            .map(|column| member_sector(rig, layout.data(column), *sector))
            .collect();
        let p = member_sector(rig, layout.p(), *sector);
        let q = layout.q().map(|q| member_sector(rig, q, *sector));
        check_parity(&data, p, q).unwrap() != Verdict::Consistent
    };
    (0..sectors).filter(mismatch).collect()
}

fn without(mut view: LunView, elements: &[usize]) -> LunView {
    for element in elements {
        view.parts[0].members[*element] = None;
    }
    view
}

/// Levels with the number of members that may be lost.
fn levels() -> impl Strategy<Value = (Level, u8, usize)> {
    prop_oneof![
        Just((Level::Raid5, 3, 1)),
        Just((Level::Raid5, 5, 1)),
        Just((Level::Raid6, 4, 2)),
        Just((Level::Raid6, 7, 2)),
    ]
}

fn count(rig: &Rig, operation: Operation) -> usize {
    let is_such = |io: &&Io| io.operation == operation;
    rig.pending.iter().filter(is_such).count()
}

/// What was in memory is not any more.
fn forget(rig: &mut Rig, view: &LunView) {
    rig.detach(0);
    rig.attach(view.clone());
}

/// A value for each sector of a write.
fn stamped(lba: u64, sectors: u64, version: u8) -> Vec<u8> {
    (lba..lba + sectors)
        .flat_map(|sector| {
            let low = sector.to_le_bytes()[0];
            [low ^ version; 512]
        })
        .collect()
}

#[test]
fn a_whole_stripe_reads_nothing_and_matches() {
    for (level, members) in [(Level::Raid5, 5), (Level::Raid6, 6)] {
        let view = view(0, level, members);
        let geometry = geometry(&view);
        let mut rig = Rig::new([view]);
        // Two rows of four chunks of 32 sectors; a stream is known by its second write.
        for lba in (0..256).step_by(16) {
            rig.deliver(0, &write(lba, &stamped(lba, 16, 1)));
        }
        let mut reads = 0;
        let mut writes = 0;
        while rig.step() || !rig.pending.is_empty() {
            while let Some(io) = rig.pending.first() {
                reads += usize::from(io.operation == Operation::Read);
                writes += usize::from(io.operation == Operation::Write);
                rig.complete(0);
            }
        }
        let counters = *rig.target.counters();
        assert_eq!(rig.sent.len(), 16);
        assert_eq!(counters.rmw_writes, 0, "{level}: {counters:?}");
        assert_eq!(counters.full_stripe_writes, 4, "{level}: {counters:?}");
        // One group of the log for all four slices.
        assert_eq!((reads, writes), (0, 5 * usize::from(members)), "{level}");
        assert_eq!(mismatches(&rig, &geometry, 64), Vec::<usize>::new());
    }
}

#[test]
fn a_small_write_reads_old_data_and_parity_only() {
    let view = view(0, Level::Raid6, 8);
    let geometry = geometry(&view);
    let mut rig = Rig::new([view]);
    rig.deliver(0, &write(5, &[7; 512]));
    rig.step();
    assert_eq!(count(&rig, Operation::Read), 3);
    rig.drain();
    assert_eq!(rig.target.counters().rmw_writes, 1);
    assert_eq!(mismatches(&rig, &geometry, 64), Vec::<usize>::new());
    rig.sent.clear();
    // Old data and parity are in memory now.
    rig.deliver(0, &write(5, &[8; 512]));
    rig.step();
    assert_eq!(count(&rig, Operation::Read), 0);
    rig.drain();
    assert_eq!(mismatches(&rig, &geometry, 64), Vec::<usize>::new());
    assert!(rig.read(5, 1)[36..].iter().all(|byte| *byte == 8));
}

#[test]
fn more_losses_than_parities_are_an_error_of_what_is_concerned() {
    let view = view(0, Level::Raid5, 4);
    let mut rig = Rig::new([view.clone()]);
    rig.write(0, &stamped(0, 16, 3));
    forget(&mut rig, &view);
    rig.broken_reads = [0, 1].into();
    assert_eq!(outcome(&rig.read(0, 16)), (0x41, 0x40));
    // Chunk 2 lies on drive 2.
    assert_eq!(outcome(&rig.read(64, 16)), (0x40, 0));
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn a_block_that_cannot_be_read_is_computed_and_written_anew() {
    let view = view(0, Level::Raid5, 4);
    let mut rig = Rig::new([view.clone()]);
    rig.write(0, &stamped(0, 16, 3));
    forget(&mut rig, &view);
    rig.broken_reads = [0].into();
    let before = rig.drives[0].clone();
    rig.drives[0].fill(0xdd);
    let reply = rig.read(0, 16);
    assert_eq!(outcome(&reply), (0x40, 0));
    assert!(reply[36..] == stamped(0, 16, 3));
    let place = DATA_OFFSET * 512..(DATA_OFFSET + 16) * 512;
    assert!(rig.drives[0][place.clone()] == before[place]);
    assert_eq!(rig.target.counters().blocks_repaired, 1);
}

#[test]
fn a_write_that_a_member_fails_is_answered_when_that_is_recorded() {
    for lost in 0..4_u16 {
        let healthy = view(0, Level::Raid5, 4);
        let mut rig = Rig::new([healthy.clone()]);
        rig.write(0, &stamped(0, 16, 1));
        rig.broken_writes = [lost].into();
        let before = rig.target.commands_in_flight();
        let replies = rig.ask(&write(8, &stamped(8, 16, 2)));
        let is_concerned = rig
            .events
            .iter()
            .any(|event| matches!(event, Action::Report(Report::MemberError { .. })));
        assert_eq!(replies.is_empty(), is_concerned, "drive {lost}");
        rig.sent.clear();
        rig.attach(without(healthy, &[usize::from(lost)]));
        rig.drain();
        assert_eq!(rig.target.commands_in_flight(), before);
        rig.broken_reads = [lost].into();
        let reply = rig.read(0, 16);
        assert!(reply[36..36 + 4096] == stamped(0, 8, 1), "drive {lost}");
        assert!(reply[36 + 4096..] == stamped(8, 8, 2), "drive {lost}");
    }
}

#[test]
fn a_write_that_waits_for_a_decision_when_the_lun_goes_is_not_answered() {
    for lost in 0..4 {
        let mut rig = Rig::new([view(0, Level::Raid5, 4)]);
        rig.broken_writes = [lost].into();
        rig.ask(&write(8, &stamped(8, 16, 2)));
        let answered = rig.sent.len();
        rig.detach(0);
        rig.drain();
        assert_eq!(rig.target.commands_in_flight(), 0);
        assert_eq!(rig.sent.len(), answered, "drive {lost}");
        let settled = |event: &Action| matches!(event, Action::Settled { .. });
        assert!(rig.events.iter().any(settled));
    }
}

/// A write that a member fails when its record is in the log, on its way home; the other homes are written.
/// Gives the sector of its record on the first drive of the round.
fn fail_on_the_way_home(rig: &mut Rig, frame: &[u8], lost: u16) -> (u16, u64) {
    rig.deliver(0, frame);
    let is_home =
        |io: &Io| io.operation == Operation::Write && matches!(io.owner, IoOwner::Slice(_));
    let mut record = None;
    while !rig.pending.iter().any(is_home) {
        let is_record = |io: &&Io| matches!(io.owner, IoOwner::Group(_));
        let found = rig.pending.iter().find(is_record);
        record = record.or(found.map(|io| (io.drive.0, io.sector)));
        if !rig.pending.is_empty() {
            rig.complete(0);
        }
        rig.step();
    }
    rig.broken_writes = [lost].into();
    rig.drain();
    rig.broken_writes.clear();
    record.expect("there is a log")
}

/// The content of a round whose home writes were cut short is in the log alone: it is not written over,
/// however many writes that were under way are done, or cut, before the LUN is gone.
#[test]
fn what_is_cut_on_its_way_home_stays_in_the_log() {
    let mut rig = Rig::new([view(0, Level::Raid5, 4)]);
    let record = fail_on_the_way_home(&mut rig, &write(8, &stamped(8, 4, 2)), 0);
    // They overlap, so that each has a group of its own: more than the log has places for.
    for value in 0..24 {
        rig.deliver(0, &write(40, &[value; 512]));
    }
    // Overlaps with what was cut: done after it, that is, never.
    rig.deliver(0, &write(9, &[0xaa; 512]));
    rig.deliver(0, &ata(0x24, 0x40, 10, 1, &[]));
    rig.sent.clear();
    rig.detach(0);
    while rig.step() || !rig.pending.is_empty() {
        if let Some(io) = rig.pending.first() {
            let is_over = (io.drive.0, io.sector) == record && io.operation == Operation::Write;
            assert!(!is_over, "{io:?}");
            rig.complete(0);
        }
    }
    assert_eq!(rig.target.commands_in_flight(), 0);
    let settled = rig.events.iter().any(|event| {
        matches!(
            event,
            Action::Settled {
                mirrors_differ: false,
                is_log_pending: true,
                ..
            }
        )
    });
    assert!(settled, "{:?}", rig.events);
    let is_error = |(_, reply): &(_, Vec<u8>)| outcome(reply).0 & 0x21 != 0;
    assert!(!rig.sent.iter().any(is_error), "nothing is wrong");
}

/// A LUN is let go with the answer to its last write. What its slices were is not to be used twice when
/// it, or another one, is served afterwards.
#[test]
fn a_lun_that_went_offline_under_writes_is_served_again() {
    let view = view(0, Level::Raid5, 4);
    let mut rig = Rig::new([view.clone()]);
    for round in 0..4 {
        for lba in (0..64).step_by(16) {
            rig.deliver(0, &write(lba, &stamped(lba, 4, round)));
        }
        rig.detach(0);
        rig.drain();
        rig.attach(view.clone());
        // More slices than there are pages for.
        for lba in (0..3072).step_by(48) {
            rig.write(lba, &stamped(lba, 2, round));
        }
        for lba in (0..3072).step_by(48) {
            assert!(
                rig.read(lba, 2)[36..] == stamped(lba, 2, round),
                "LBA {lba}"
            );
        }
    }
}

#[test]
fn what_was_cut_goes_on_when_the_lun_is_served_after_all() {
    for lost in [0_u16, 3] {
        let healthy = view(0, Level::Raid5, 4);
        let mut rig = Rig::new([healthy.clone()]);
        rig.write(0, &stamped(0, 16, 1));
        rig.write(40, &stamped(40, 16, 1));
        fail_on_the_way_home(&mut rig, &write(8, &stamped(8, 4, 2)), lost);
        // Something else is in flight, so that the LUN is not gone yet.
        rig.deliver(0, &write(200, &[1; 512]));
        while rig.pending.is_empty() {
            rig.step();
        }
        rig.detach(0);
        rig.attach(without(healthy.clone(), &[usize::from(lost)]));
        rig.drain();
        assert_eq!(rig.target.commands_in_flight(), 0);
        forget(&mut rig, &without(healthy, &[usize::from(lost)]));
        rig.broken_reads = [lost].into();
        let reply = rig.read(0, 16);
        assert!(
            reply[36 + 4096..36 + 6144] == stamped(8, 4, 2),
            "drive {lost}"
        );
        assert!(reply[36..36 + 4096] == stamped(0, 8, 1), "drive {lost}");
        let other = rig.read(40, 16);
        assert!(other[36..] == stamped(40, 16, 1), "drive {lost}");
    }
}

#[test]
fn of_several_reads_those_are_given_that_can_be() {
    let healthy = view(0, Level::Raid5, 4);
    let mut rig = Rig::new([healthy.clone()]);
    // The first slice of all three data chunks of the first row: drives 0, 1 and 2.
    for lba in [0, 32, 64] {
        rig.write(lba, &stamped(lba, 16, 5));
    }
    rig.attach(without(healthy.clone(), &[0]));
    forget(&mut rig, &without(healthy, &[0]));
    rig.broken_reads = [1].into();
    rig.sent.clear();
    for lba in [0, 32, 64] {
        rig.deliver(0, &ata(0x24, 0x40, lba, 16, &[]));
    }
    rig.drain();
    let mut outcomes: Vec<_> = rig.sent.iter().map(|(_, reply)| outcome(reply)).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, [(0x40, 0), (0x41, 0x40), (0x41, 0x40)]);
}

#[test]
fn a_write_that_nobody_takes_over_is_answered_with_a_fault() {
    let degraded = without(view(0, Level::Raid5, 3), &[0]);
    let mut rig = Rig::new([degraded]);
    rig.broken_writes = [1, 2].into();
    let reply = rig.write(0, &[1; 512]);
    assert_eq!(outcome(&reply).0 & 0x21, 0x21, "{:02x?}", &reply[24..30]);
    assert_eq!(rig.target.commands_in_flight(), 0);
    rig.detach(0);
    let settled = rig.events.iter().any(|event| {
        matches!(
            event,
            Action::Settled {
                mirrors_differ: true,
                ..
            }
        )
    });
    assert!(settled, "parity may not match, and somebody must know");
}

fn run_pass(rig: &mut Rig) {
    loop {
        let mut actions = Vec::new();
        let any = rig.target.sync_step(&mut actions);
        rig.absorb(actions);
        if !any && rig.pending.is_empty() && !rig.step() {
            return;
        }
        rig.drain();
    }
}

fn ended(rig: &Rig) -> Vec<(u64, bool)> {
    let end = |event: &Action| match event {
        Action::Report(Report::Pass {
            pass,
            event: PassEvent::Ended { complete },
            ..
        }) => Some((*pass, *complete)),
        _ => None,
    };
    rig.events.iter().filter_map(end).collect()
}

#[test]
fn a_resync_makes_parity_match_and_leaves_data_alone() {
    for (level, members) in [(Level::Raid5, 4), (Level::Raid6, 5)] {
        let mut wanted = view(0, level, members);
        wanted.parts[0].mirrors_unsynced = true;
        wanted.parts[0].sync = Some(SyncView {
            pass: 3,
            start_lba: 0,
            kind: SyncKind::Resync,
            regions: None,
            repair: ScrubRepair::Report,
            noted: 0,
        });
        let geometry = geometry(&wanted);
        let mut rig = Rig::new([wanted]);
        for (drive, value) in rig.drives.iter_mut().zip(3_u8..) {
            drive.fill(value.wrapping_mul(37));
        }
        let before = rig.read(700, 16);
        run_pass(&mut rig);
        assert_eq!(ended(&rig), [(3, true)]);
        assert_eq!(
            mismatches(&rig, &geometry, MEMBER_SECTORS),
            Vec::<usize>::new()
        );
        assert!(rig.read(700, 16) == before);
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

#[test]
fn a_rebuild_writes_what_the_member_would_hold() {
    for lost in [vec![0], vec![3], vec![1, 4], vec![0, 2]] {
        let healthy = view(0, Level::Raid6, 6);
        let mut rig = Rig::new([healthy.clone()]);
        let capacity = geometry(&healthy).capacity_sectors();
        for lba in (0..capacity).step_by(16) {
            rig.write(lba, &stamped(lba, 16, 9));
        }
        let before = rig.drives.clone();
        let mut wanted = healthy;
        for element in &lost {
            rig.drives[*element].fill(0xdd);
            wanted.parts[0].members[*element].as_mut().unwrap().in_sync = false;
        }
        wanted.parts[0].sync = Some(SyncView {
            pass: 4,
            start_lba: 0,
            kind: SyncKind::Resync,
            regions: None,
            repair: ScrubRepair::Report,
            noted: 0,
        });
        rig.attach(wanted);
        rig.drain();
        run_pass(&mut rig);
        assert_eq!(ended(&rig), [(4, true)]);
        let data = DATA_OFFSET * 512..(DATA_OFFSET + MEMBER_SECTORS) * 512;
        for (drive, was) in rig.drives.iter().zip(&before) {
            assert!(drive[data.clone()] == was[data.clone()]);
        }
    }
}

/// The last command of a LUN that is let go is answered when its round ends: the slice was taken out of
/// memory at that, and then put into the list of idle ones all the same. Whoever looked for an idle slice
/// next went round in that list for ever.
#[test]
fn a_lun_is_let_go_with_the_last_round() {
    for is_repair in [false, true] {
        let mut rig = Rig::new([view(0, Level::Raid5, 4)]);
        rig.write(0, &[7; 8192]);
        rig.detach(0);
        rig.attach(view(0, Level::Raid5, 4));
        if is_repair {
            rig.bad_sectors = [(0, 256), (1, 256), (2, 256), (3, 256)].into();
            rig.bad_sectors.retain(|(drive, _)| *drive == 1);
            rig.deliver(0, &ata(0x24, 0x40, 0, 16, &[]));
        } else {
            rig.deliver(0, &write(0, &[8; 512]));
        }
        rig.detach(0);
        rig.drain();
        rig.target.stripes.check();
        let is_settled = |event: &Action| matches!(event, Action::Settled { .. });
        assert!(rig.events.iter().any(is_settled));
        rig.attach(view(0, Level::Raid5, 4));
        rig.bad_sectors.clear();
        for lba in (0..512).step_by(16) {
            rig.write(lba, &stamped(lba, 16, 9));
        }
        rig.target.stripes.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn under_any_load_parity_matches_and_any_loss_is_made_good(
        (level, members, losses) in levels(),
        steps in prop::collection::vec((0_u64..400, 1_u8..17, any::<u8>()), 1..60),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        unsynced in any::<bool>(),
        first_lost in any::<prop::sample::Index>(),
    ) {
        let mut wanted = view(0, level, members);
        wanted.parts[0].mirrors_unsynced = unsynced;
        wanted.parts[0].sync = unsynced.then_some(SyncView {
            pass: 1,
            start_lba: 0,
            kind: SyncKind::Resync,
            regions: None,
            repair: ScrubRepair::Report,
            noted: 0,
        });
        let geometry = geometry(&wanted);
        let mut rig = Rig::new([wanted.clone()]);
        let mut model = vec![0_u8; 512 * 512];
        let mut picks = picks.into_iter().cycle();
        for (lba, count, version) in steps {
            let data = stamped(lba, u64::from(count), version);
            let start = usize::try_from(lba).unwrap() * 512;
            model[start..start + data.len()].copy_from_slice(&data);
            rig.deliver(0, &ata(0x34, 0x41, lba, count, &data));
            let mut actions = Vec::new();
            rig.target.sync_step(&mut actions);
            rig.absorb(actions);
            rig.step();
            if !rig.pending.is_empty() {
                let pick = picks.next().unwrap().index(rig.pending.len());
                rig.complete(pick);
            }
            if rig.target.commands_in_flight() > 20 {
                rig.drain();
            }
        }
        rig.drain();
        if unsynced {
            run_pass(&mut rig);
            prop_assert_eq!(ended(&rig), vec![(1, true)]);
        }
        prop_assert_eq!(rig.target.commands_in_flight(), 0);
        prop_assert_eq!(mismatches(&rig, &geometry, MEMBER_SECTORS), Vec::<usize>::new());
        let lost: Vec<usize> = (0..losses)
            .map(|number| (first_lost.index(usize::from(members)) + number) % usize::from(members))
            .collect();
        wanted.parts[0].mirrors_unsynced = false;
        wanted.parts[0].sync = None;
        rig.attach(without(wanted, &lost));
        for element in lost {
            rig.drives[element].fill(0xdd);
        }
        for lba in (0..416_u64).step_by(16) {
            let reply = rig.read(lba, 16);
            let start = usize::try_from(lba).unwrap() * 512;
            prop_assert!(reply[36..] == model[start..start + 8192], "at {}", lba);
        }
    }

    #[test]
    fn members_that_fail_one_after_the_other_lose_nothing(
        (level, members, losses) in levels(),
        steps in prop::collection::vec((0_u64..300, 1_u8..17, any::<u8>()), 10..60),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        failing in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40), 2),
    ) {
        let mut wanted = view(0, level, members);
        let mut rig = Rig::new([wanted.clone()]);
        let mut model = vec![0_u8; 512 * 512];
        let mut picks = picks.into_iter().cycle();
        let mut failed = Vec::new();
        for (number, (lba, count, version)) in steps.into_iter().enumerate() {
            for (which, _) in failing.iter().take(losses).filter(|(_, when)| *when == number) {
                let drive = u16::try_from(which.index(usize::from(members))).unwrap();
                rig.broken_writes.insert(drive);
                rig.broken_reads.insert(drive);
            }
            let data = stamped(lba, u64::from(count), version);
            let start = usize::try_from(lba).unwrap() * 512;
            model[start..start + data.len()].copy_from_slice(&data);
            rig.deliver(0, &ata(0x34, 0x41, lba, count, &data));
            rig.step();
            for _ in 0..3 {
                if !rig.pending.is_empty() {
                    let pick = picks.next().unwrap().index(rig.pending.len());
                    rig.complete(pick);
                }
            }
            // The administration answers now and then.
            if number % 4 == 3 || rig.target.commands_in_flight() > 20 {
                rig.drain();
                let members: Vec<usize> = rig.events.drain(..).filter_map(|event| match event {
                    Action::Report(Report::MemberError { io, .. }) if io.operation == Operation::Write => Some(io.member.into()),
                    _ => None,
                }).collect();
                failed.extend(members);
                wanted = without(wanted, &failed);
                rig.attach(wanted.clone());
                rig.drain();
            }
        }
        for _ in 0..3 {
            rig.drain();
            for event in rig.events.drain(..).collect::<Vec<_>>() {
                if let Action::Report(Report::MemberError { io, .. }) = event && io.operation == Operation::Write {
                    failed.push(usize::from(io.member));
                }
            }
            wanted = without(wanted, &failed);
            rig.attach(wanted.clone());
        }
        rig.drain();
        prop_assert_eq!(rig.target.commands_in_flight(), 0);
        for (_, reply) in &rig.sent {
            prop_assert_eq!(outcome(reply), (0x40, 0));
        }
        for lba in (0..320_u64).step_by(16) {
            let reply = rig.read(lba, 16);
            let start = usize::try_from(lba).unwrap() * 512;
            prop_assert!(reply[36..] == model[start..start + 8192], "at {}", lba);
        }
    }
}

#[test]
fn a_lun_let_go_with_the_last_answer_of_a_slice_leaves_nothing_behind() {
    let whole = view(0, Level::Raid5, 4);
    let degraded = without(whole.clone(), &[1]);
    let mut rig = Rig::new([whole]);
    rig.write(0, &stamped(0, 16, 3));
    rig.write(32, &stamped(32, 16, 3));
    for _ in 0..3 {
        forget(&mut rig, &degraded);
        rig.sent.clear();
        // The chunk of the lost member: a slice gives it, and with the answer the LUN is gone.
        rig.deliver(0, &ata(0x24, 0x40, 32, 16, &[]));
        rig.detach(0);
        rig.drain();
        assert_eq!(rig.sent.len(), 1);
        assert_eq!(rig.sent[0].1[36..36 + 16 * 512], stamped(32, 16, 3));
    }
    // As many slices as there are, each with content of its own.
    rig.attach(degraded);
    for version in 1..4 {
        for lba in (0..2048).step_by(16) {
            assert_eq!(
                outcome(&rig.write(lba, &stamped(lba, 16, version))),
                (0x40, 0)
            );
        }
        for lba in (0..2048).step_by(16) {
            assert_eq!(rig.read(lba, 16)[36..], stamped(lba, 16, version));
        }
    }
}

#[test]
fn a_port_without_room_holds_up_no_slice() {
    let whole = view(0, Level::Raid5, 4);
    let mut rig = Rig::new([whole.clone()]);
    rig.write(32, &stamped(32, 16, 3));
    forget(&mut rig, &without(whole, &[1]));
    rig.sent.clear();
    // Sent from the page of the slice, if there were room.
    rig.port_is_full = true;
    rig.deliver(0, &ata(0x24, 0x40, 32, 16, &[]));
    rig.drain();
    assert!(rig.sent.is_empty());
    // The next write of the slice does not wait for that, nor does it change what is to be sent.
    rig.deliver(0, &write(32, &stamped(32, 16, 4)));
    rig.drain();
    assert!(rig.pending.is_empty());
    rig.send_kept();
    assert_eq!(rig.sent.len(), 2);
    assert_eq!(rig.sent[0].1[36..], stamped(32, 16, 3));
    assert_eq!(outcome(&rig.sent[1].1), (0x40, 0));
    assert_eq!(rig.read(32, 16)[36..], stamped(32, 16, 4));
    assert_eq!(rig.target.commands_in_flight(), 0);
}

/// The parity of a slice is noted as bad, as recovery does with a stripe that is neither old nor new, and as
/// many data chunks are lost as there are parities.
fn torn_stripe(level: Level, members: u8, lost: &[usize]) -> (Rig, LunView) {
    let whole = view(0, level, members);
    let layout = geometry(&whole).row_layout(0).unwrap();
    let mut rig = Rig::new([whole.clone()]);
    let degraded = without(whole, lost);
    rig.attach(degraded.clone());
    forget(&mut rig, &degraded);
    for element in [Some(layout.p()), layout.q()].into_iter().flatten() {
        for sector in 0..16 {
            let place = (u16::from(element), (DATA_OFFSET + sector) as u64);
            rig.bad_sectors.insert(place);
        }
    }
    (rig, degraded)
}

#[test]
fn a_torn_stripe_is_whole_again_when_all_that_is_lost_of_it_is_written_at_once() {
    let (fault, fine) = (0x21, (0x40, 0));
    // Data chunks of the first row lie on drives 0, 1, … of a RAID 5, and on 1, 2, … of a RAID 6.
    let (mut rig, view) = torn_stripe(Level::Raid5, 4, &[1]);
    assert_eq!(outcome(&rig.read(32, 1)), (0x41, 0x40));
    assert_eq!(outcome(&rig.read(0, 1)), fine);
    // What is lost would be computed from this and the parity of something else.
    assert_eq!(outcome(&rig.write(0, &[1; 512])).0 & fault, fault);
    assert_eq!(outcome(&rig.write(32, &[2; 512])), fine);
    rig.bad_sectors
        .retain(|(_, sector)| *sector != DATA_OFFSET as u64);
    forget(&mut rig, &view);
    assert!(rig.read(32, 1)[36..].iter().all(|byte| *byte == 2));
    assert_eq!(outcome(&rig.write(0, &[3; 512])), fine);
    assert!(rig.read(32, 1)[36..].iter().all(|byte| *byte == 2));
    // The next sector is as it was.
    assert_eq!(outcome(&rig.read(33, 1)), (0x41, 0x40));

    let (mut rig, view) = torn_stripe(Level::Raid6, 5, &[2, 3]);
    assert_eq!(outcome(&rig.write(32, &[2; 512])).0 & fault, fault);
    assert_eq!(outcome(&rig.write(64, &[2; 512])).0 & fault, fault);
    rig.sent.clear();
    rig.deliver(0, &write(32, &[4; 512]));
    rig.deliver(0, &write(64, &[5; 512]));
    rig.drain();
    assert!(rig.sent.iter().all(|(_, reply)| outcome(reply) == fine));
    rig.bad_sectors
        .retain(|(_, sector)| *sector != DATA_OFFSET as u64);
    forget(&mut rig, &view);
    assert!(rig.read(32, 1)[36..].iter().all(|byte| *byte == 4));
    assert!(rig.read(64, 1)[36..].iter().all(|byte| *byte == 5));
}
