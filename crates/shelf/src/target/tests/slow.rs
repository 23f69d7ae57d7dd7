//! Drives that are slow, or do not answer at all.

use super::super::{Action, Operation, Report};
use super::rig::{Rig, ata, outcome, view, write};
use crate::admin::DriveSlot;
use crate::patience::Stage;
use crate::plane::LunView;
use raid::Level;

const REDUNDANT: [(Level, u8); 4] = [
    (Level::Raid1, 3),
    (Level::Raid10, 4),
    (Level::Raid5, 4),
    (Level::Raid6, 5),
];

fn without(level: Level, members: u8, member: u16) -> LunView {
    let mut view = view(0, level, members);
    view.parts[0].members[usize::from(member)] = None;
    view
}

fn hangs(rig: &Rig) -> usize {
    let hangs = |event: &&Action| matches!(event, Action::Report(Report::MemberHangs { .. }));
    rig.events.iter().filter(hangs).count()
}

fn errors(rig: &Rig) -> usize {
    let errors = |event: &&Action| matches!(event, Action::Report(Report::MemberError { .. }));
    rig.events.iter().filter(errors).count()
}

fn content(lba: u64) -> Vec<u8> {
    let sector = |sector: u64| [u8::try_from(sector % 251).unwrap(); 512];
    (lba..lba + 16).flat_map(sector).collect()
}

fn filled(level: Level, members: u8) -> Rig {
    let mut rig = Rig::new([view(0, level, members)]);
    for lba in (0..512).step_by(16) {
        assert_eq!(outcome(&rig.write(lba, &content(lba))), (0x40, 0));
    }
    rig
}

#[test]
fn a_late_read_is_done_another_way_and_nobody_is_blamed() {
    for (level, members) in REDUNDANT {
        for slow in 0..u16::from(members) {
            let mut rig = filled(level, members);
            let drives = rig.drives.clone();
            let before = *rig.target.counters();
            for lba in (0..512).step_by(16) {
                rig.deliver(0, &ata(0x24, 0x40, lba, 16, &[]));
                rig.drain_without(slow, Stage::Late);
                let (_, reply) = rig.sent.pop().expect("an answer");
                assert_eq!(outcome(&reply), (0x40, 0), "{level} {slow} {lba}");
                assert!(reply[36..] == content(lba), "{level} {slow} {lba}");
            }
            let after = rig.target.counters();
            assert_eq!(after.blocks_repaired, before.blocks_repaired);
            assert_eq!(after.drive_read_errors, before.drive_read_errors);
            assert_eq!((hangs(&rig), errors(&rig)), (0, 0));
            assert!(rig.drives == drives, "nothing was written");
        }
    }
}

#[test]
fn a_write_does_without_the_old_content_of_a_late_member() {
    for (level, members) in [(Level::Raid5, 4), (Level::Raid6, 5)] {
        for slow in 0..u16::from(members) {
            let mut rig = filled(level, members);
            rig.attach(view(0, level, members));
            // Reads of old content are late, writes are not.
            rig.deliver(0, &write(40, &[0xab; 1024]));
            loop {
                let busy = rig.step();
                let late = rig
                    .pending
                    .iter()
                    .position(|io| io.drive.0 == slow && rig.target.may_abandon(io, Stage::Late));
                match late {
                    Some(index) => rig.abandon(index, Stage::Late),
                    None if !rig.pending.is_empty() => rig.complete(0),
                    None if !busy => break,
                    None => {}
                }
            }
            assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x40, 0));
            // Parity fits: each member can be done without.
            for lost in 0..u16::from(members) {
                rig.attach(without(level, members, lost));
                let reply = rig.read(40, 2);
                assert!(
                    reply[36..].iter().all(|byte| *byte == 0xab),
                    "{level} {lost}"
                );
                assert!(rig.read(32, 8)[36..] == content(32)[..4096]);
            }
        }
    }
}

#[test]
fn without_another_way_a_read_is_waited_for_and_in_the_end_told() {
    let views = [
        view(0, Level::Raid0, 2),
        without(Level::Raid1, 2, 0),
        without(Level::Raid5, 3, 0),
    ];
    for view in views {
        let level = view.parts[0].geometry.level();
        let mut rig = Rig::new([view]);
        rig.deliver(0, &ata(0x24, 0x40, 0, 1, &[]));
        rig.step();
        for stage in [Stage::Late, Stage::Suspect, Stage::Overdue] {
            assert!(!rig.target.may_abandon(&rig.pending[0], stage), "{level}");
        }
        while !rig.pending.is_empty() {
            assert!(rig.target.may_abandon(&rig.pending[0], Stage::Hopeless));
            rig.abandon(0, Stage::Hopeless);
            rig.step();
        }
        assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x41, 0x40), "{level}");
        assert_eq!(rig.target.commands_in_flight(), 0);
    }
}

#[test]
fn a_write_that_hangs_waits_for_the_administration_and_goes_on_without_the_member() {
    for (level, members) in REDUNDANT {
        for hung in 0..u16::from(members) {
            let mut rig = filled(level, members);
            for lba in (0..512).step_by(16) {
                rig.deliver(0, &write(lba, &[0x77; 8192]));
                rig.drain_without(hung, Stage::Suspect);
                let is_held = !rig.pending.is_empty();
                rig.drain_without(hung, Stage::Overdue);
                if is_held {
                    assert!(rig.sent.is_empty(), "not before it is recorded");
                    assert!(hangs(&rig) > 0);
                    rig.attach(without(level, members, hung));
                    rig.drain();
                }
                assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x40, 0), "{level}");
                rig.attach(view(0, level, members));
                assert_eq!(errors(&rig), 0);
                rig.events.clear();
            }
            rig.attach(without(level, members, hung));
            for lba in (0..512).step_by(16) {
                let reply = rig.read(lba, 16);
                assert!(
                    reply[36..].iter().all(|byte| *byte == 0x77),
                    "{level} {hung}"
                );
            }
        }
    }
}

#[test]
fn a_write_of_the_last_copy_is_waited_for_and_in_the_end_a_write_fault() {
    let mut rig = Rig::new([without(Level::Raid1, 2, 0)]);
    rig.deliver(0, &write(0, &[1; 512]));
    assert!(!rig.target.may_abandon(&rig.pending[0], Stage::Overdue));
    rig.abandon(0, Stage::Hopeless);
    assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x61, 0x04));
    assert_eq!((hangs(&rig), errors(&rig)), (0, 1));
}

#[test]
fn while_mirrors_may_differ_only_the_administration_lets_another_be_read() {
    for (level, members) in REDUNDANT {
        let mut unsynced = view(0, level, members);
        unsynced.parts[0].mirrors_unsynced = true;
        let mut rig = filled(level, members);
        rig.attach(unsynced.clone());
        rig.target.set_suspect(DriveSlot(0), true);
        // The first sector lies on the first member in all these layouts, or not at all.
        let lba = if level == Level::Raid6 { 64 } else { 0 };
        rig.deliver(0, &ata(0x24, 0x40, lba, 1, &[]));
        rig.step();
        let hung = rig.pending[0].drive.0;
        assert!(!rig.target.may_abandon(&rig.pending[0], Stage::Suspect));
        assert!(rig.target.may_abandon(&rig.pending[0], Stage::Overdue));
        rig.abandon(0, Stage::Overdue);
        rig.drain();
        assert!(rig.sent.is_empty());
        assert_eq!(hangs(&rig), 1);
        // The member is kept, for whatever reason: asked once more.
        rig.attach(unsynced.clone());
        assert_eq!(rig.pending[0].drive.0, hung);
        rig.abandon(0, Stage::Overdue);
        unsynced.parts[0].members[usize::from(hung)] = None;
        unsynced.parts[0].mirrors_unsynced = false;
        rig.attach(unsynced);
        rig.drain();
        assert!(
            rig.sent.pop().unwrap().1[36..] == content(lba)[..512],
            "{level}"
        );
    }
}

#[test]
fn reads_go_round_slow_drives_while_they_can() {
    for (level, members) in REDUNDANT {
        for slow in 0..u16::from(members) {
            let mut rig = filled(level, members);
            rig.target.set_suspect(DriveSlot(slow), true);
            for lba in (0..512).step_by(16) {
                rig.deliver(0, &ata(0x24, 0x40, lba, 16, &[]));
                while rig.step() || !rig.pending.is_empty() {
                    if !rig.pending.is_empty() {
                        assert_ne!(rig.pending[0].drive.0, slow, "{level}");
                        rig.complete(0);
                    }
                }
                let (_, reply) = rig.sent.pop().unwrap();
                assert!(reply[36..] == content(lba), "{level} {slow} {lba}");
            }
            // What nobody else gives is read from it after all.
            let mut view = view(0, level, members);
            let lost = (u16::from(members) / 2 + slow) % u16::from(members);
            view.parts[0].members[usize::from(lost)] = None;
            rig.attach(view);
            for lba in (0..512).step_by(16) {
                assert!(
                    rig.read(lba, 16)[36..] == content(lba),
                    "{level} {slow} {lba}"
                );
            }
            assert_eq!(rig.target.counters().blocks_repaired, 0);
        }
    }
}

#[test]
fn a_copy_that_was_passed_over_is_asked_when_the_others_fail() {
    let mut rig = filled(Level::Raid1, 2);
    for slow in [0, 1] {
        rig.target.set_suspect(DriveSlot(slow), true);
        rig.broken_reads = [1 - slow].into();
        for lba in [0, 100, 400] {
            assert_eq!(outcome(&rig.read(lba, 4)), (0x40, 0));
        }
        rig.target.set_suspect(DriveSlot(slow), false);
    }
    rig.broken_reads = [0, 1].into();
    rig.target.set_suspect(DriveSlot(0), true);
    assert_eq!(outcome(&rig.read(0, 4)), (0x41, 0x40));
}

#[test]
fn a_flush_of_a_drive_that_hangs_waits_for_the_administration() {
    let mut rig = filled(Level::Raid1, 2);
    rig.deliver(0, &ata(0xea, 0x40, 0, 0, &[]));
    assert_eq!(rig.pending[0].operation, Operation::Flush);
    rig.drain_without(1, Stage::Overdue);
    assert_eq!(hangs(&rig), 1);
    rig.attach(without(Level::Raid1, 2, 1));
    rig.drain();
    assert_eq!(outcome(&rig.sent.pop().unwrap().1), (0x40, 0));
}
