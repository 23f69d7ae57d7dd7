//! Passes over the mirrors.

use super::super::{Action, Operation, PassEvent, Report};
use super::rig::{Rig, ata, outcome, view, write};
use crate::plane::{LunView, SyncKind, SyncView};
use proptest::prelude::*;
use raid::Level;
use raid::record::ScrubRepair;

/// Mirrors that may differ, with a pass to be run from `start_lba`.
fn unsynced(level: Level, members: u8, pass: u64, start_lba: u64) -> LunView {
    let mut wanted = view(0, level, members);
    wanted.parts[0].mirrors_unsynced = true;
    wanted.parts[0].sync = Some(SyncView {
        pass,
        start_lba,
        kind: SyncKind::Resync,
        regions: None,
        repair: ScrubRepair::Report,
        noted: 0,
    });
    wanted
}

/// All mirrors in sync but one member that is being rebuilt.
fn rebuilding(member: usize, pass: u64) -> LunView {
    let mut wanted = view(0, Level::Raid10, 4);
    wanted.parts[0].members[member].as_mut().unwrap().in_sync = false;
    wanted.parts[0].sync = Some(SyncView {
        pass,
        start_lba: 0,
        kind: SyncKind::Resync,
        regions: None,
        repair: ScrubRepair::Report,
        noted: 0,
    });
    wanted
}

fn step(rig: &mut Rig) -> bool {
    let mut actions = Vec::new();
    let any = rig.target.sync_step(&mut actions);
    rig.absorb(actions);
    any
}

/// Runs the pass to its end.
fn run(rig: &mut Rig) {
    while step(rig) || !rig.pending.is_empty() {
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

/// Fills the data of each drive with a value of its own.
fn fill_differently(rig: &mut Rig) {
    for (drive, value) in rig.drives.iter_mut().zip(1u8..) {
        drive[256 * 512..(256 + 1024) * 512].fill(value);
    }
}

#[test]
fn a_resync_makes_mirrors_equal_to_what_clients_read() {
    for (level, members, pairs) in [
        (Level::Raid1, 3, vec![(0, 1), (0, 2)]),
        (Level::Raid10, 4, vec![(0, 2), (1, 3)]),
    ] {
        let mut rig = Rig::new([unsynced(level, members, 7, 0)]);
        fill_differently(&mut rig);
        let before = rig.read(100, 16);
        run(&mut rig);
        assert_eq!(ended(&rig), [(7, true)], "{level}");
        for (one, other) in pairs {
            assert!(
                rig.drives[one] == rig.drives[other],
                "{level}: {one} {other}"
            );
        }
        assert!(
            rig.read(100, 16) == before,
            "what a client read once it reads again"
        );
        assert_eq!(rig.target.commands_in_flight(), 0);
        assert!(rig.target.sync_progress().is_empty());
        assert!(
            !step(&mut rig),
            "a pass that has ended does not begin again"
        );
        rig.attach(unsynced(level, members, 7, 0));
        assert!(!step(&mut rig), "not even when its view is attached again");
    }
}

#[test]
fn a_pass_goes_on_from_where_it_is_told() {
    let mut rig = Rig::new([unsynced(Level::Raid1, 2, 1, 512)]);
    fill_differently(&mut rig);
    assert_eq!(rig.target.sync_progress()[0].done_sectors, 512);
    run(&mut rig);
    let differs = |sector: usize| {
        let place = (256 + sector) * 512;
        rig.drives[0][place] != rig.drives[1][place]
    };
    assert!(differs(0) && differs(511) && !differs(512) && !differs(1023));
}

#[test]
fn a_member_that_is_rebuilt_is_written_and_never_read() {
    let mut rig = Rig::new([rebuilding(2, 3)]);
    fill_differently(&mut rig);
    rig.write(8, &[9; 512]);
    for lba in (0..1024).step_by(16) {
        let reply = rig.read(lba, 1);
        assert!(
            reply[36] == 1 || reply[36] == 2 || reply[36] == 4,
            "{}",
            reply[36]
        );
    }
    run(&mut rig);
    assert_eq!(ended(&rig), [(3, true)]);
    assert!(rig.drives[0] == rig.drives[2]);
    assert!(
        rig.drives[1] != rig.drives[3],
        "the other pair is not touched"
    );
}

#[test]
fn what_cannot_be_read_leaves_a_pass_incomplete_unless_a_copy_can() {
    let mut rig = Rig::new([rebuilding(2, 3)]);
    rig.broken_reads = [0].into();
    run(&mut rig);
    assert_eq!(ended(&rig), [], "it waits until that is noted");
    let mut over = rebuilding(2, 3);
    over.parts[0].sync = None;
    rig.attach(over);
    run(&mut rig);
    assert_eq!(ended(&rig), [], "the administration has ended it");
    assert_eq!(rig.target.commands_in_flight(), 0);

    let mut rig = Rig::new([unsynced(Level::Raid1, 2, 4, 0)]);
    fill_differently(&mut rig);
    rig.broken_reads = [0].into();
    run(&mut rig);
    assert_eq!(ended(&rig), [(4, true)]);
    assert!(
        rig.drives[0] == rig.drives[1],
        "the copy that could be read went to all"
    );
}

#[test]
fn a_member_that_fails_under_a_pass_is_dealt_with_like_any_other() {
    let mut rig = Rig::new([unsynced(Level::Raid1, 3, 5, 0)]);
    fill_differently(&mut rig);
    rig.broken_writes = [1].into();
    step(&mut rig);
    rig.drain();
    assert!(
        rig.events
            .iter()
            .any(|event| matches!(event, Action::Report(Report::MemberError { .. })))
    );
    let mut without = unsynced(Level::Raid1, 3, 6, 0);
    without.parts[0].members[1] = None;
    rig.attach(without);
    run(&mut rig);
    assert_eq!(ended(&rig), [(6, true)]);
    assert!(rig.drives[0] == rig.drives[2]);
    assert_eq!(rig.target.commands_in_flight(), 0);
}

#[test]
fn clients_come_first() {
    let mut rig = Rig::new([unsynced(Level::Raid1, 2, 1, 0)]);
    rig.deliver(0, &ata(0x24, 0x40, 900, 1, &[]));
    step(&mut rig);
    let steps = rig
        .pending
        .iter()
        .filter(|io| io.sector < 256 + 900)
        .count();
    assert_eq!(steps, 4);
    rig.drain();
}

#[test]
fn an_offline_lun_has_no_pass() {
    let mut rig = Rig::new([unsynced(Level::Raid1, 2, 1, 0)]);
    step(&mut rig);
    assert!(!rig.pending.is_empty());
    rig.events.clear();
    rig.detach(0);
    assert!(rig.events.is_empty(), "steps in flight are waited for");
    rig.drain();
    assert!(matches!(rig.events[..], [Action::Settled { .. }]));
    assert!(!step(&mut rig));
}

proptest! {
    #[test]
    fn client_writes_beside_a_pass_are_never_lost_and_mirrors_end_equal(
        writes in prop::collection::vec((0u64..2030, 1u8..17, any::<u8>()), 1..60),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 300),
        changes in prop::collection::vec(0usize..60, 0..4),
        rebuild in any::<bool>(),
    ) {
        let wanted = if rebuild { rebuilding(3, 2) } else { unsynced(Level::Raid10, 4, 2, 0) };
        let mut rig = Rig::new([wanted.clone()]);
        fill_differently(&mut rig);
        let mut model: Vec<Option<u8>> = vec![None; 2048];
        let mut picks = picks.into_iter().cycle();
        for (number, (lba, count, value)) in writes.into_iter().enumerate() {
            let place = usize::try_from(lba).unwrap();
            model[place..place + usize::from(count)].fill(Some(value));
            rig.deliver(0, &write(lba, &vec![value; usize::from(count) * 512]));
            step(&mut rig);
            if changes.contains(&number) {
                rig.attach(wanted.clone());
            }
            while rig.pending.len() > 6 {
                let pick = picks.next().unwrap().index(rig.pending.len());
                rig.complete(pick);
            }
        }
        run(&mut rig);
        prop_assert_eq!(ended(&rig), [(2, true)]);
        prop_assert!(rig.sent.iter().all(|(_, reply)| outcome(reply) == (0x40, 0)));
        prop_assert!(rig.drives[1] == rig.drives[3]);
        if !rebuild {
            prop_assert!(rig.drives[0] == rig.drives[2]);
        }
        for (lba, expected) in (0u64..).zip(&model) {
            if let Some(expected) = expected {
                let reply = rig.read(lba, 1);
                prop_assert!(reply[36..].iter().all(|byte| byte == expected), "sector {}", lba);
            }
        }
        prop_assert!(rig.pending.iter().all(|io| io.operation != Operation::Write));
    }
}

/// A write of the very sectors, and bytes, of a step is not that step sent again.
#[test]
fn a_write_beside_a_step_of_the_same_range_is_no_duplicate() {
    let mut rig = Rig::new([unsynced(Level::Raid1, 3, 7, 0)]);
    while step(&mut rig) {}
    let steps: Vec<(u64, usize)> = rig
        .pending
        .iter()
        .map(|io| (io.sector - 256, usize::try_from(io.sectors).unwrap()))
        .collect();
    assert!(!steps.is_empty());
    // They hold zeros then, which they are to write.
    for _ in &steps {
        rig.complete(0);
    }
    for (lba, sectors) in steps {
        rig.deliver(0, &write(lba, &vec![0; sectors * 512]));
    }
    assert_eq!(rig.target.counters().duplicates, 0);
    let admitted = rig.target.counters().writes;
    assert!(admitted > 0);
    run(&mut rig);
    assert_eq!(rig.sent.len() as u64, admitted);
    assert_eq!(ended(&rig), [(7, true)]);
}
