//! Scrubs: what differs is counted and named, and nothing is written but what could not be read.

use super::super::{Action, PassEvent, Report};
use super::rig::{Rig, outcome, view, write};
use crate::plane::{LunView, SyncKind, SyncView};
use raid::Level;
use raid::record::ScrubRepair;

/// Where the members' data begins on their drives.
const DATA_OFFSET: usize = 256;

fn checked(level: Level, members: u8) -> LunView {
    repairing(level, members, ScrubRepair::Report)
}

fn repairing(level: Level, members: u8, repair: ScrubRepair) -> LunView {
    let mut wanted = view(0, level, members);
    wanted.parts[0].sync = Some(SyncView {
        pass: 5,
        start_lba: 0,
        kind: SyncKind::Check,
        regions: None,
        repair,
        noted: 0,
    });
    wanted
}

/// Runs the pass to its end; whether it was complete.
fn run(rig: &mut Rig) -> bool {
    loop {
        let mut actions = Vec::new();
        let any = rig.target.sync_step(&mut actions);
        rig.absorb(actions);
        if !any && rig.pending.is_empty() && !rig.step() {
            break;
        }
        rig.drain();
    }
    let end = rig.events.iter().find_map(|event| match event {
        Action::Report(Report::Pass {
            event: PassEvent::Ended { complete },
            ..
        }) => Some(*complete),
        _ => None,
    });
    assert_eq!(rig.target.commands_in_flight(), 0);
    end.expect("a pass comes to its end")
}

/// The last count, and who was named.
fn found(rig: &Rig) -> (u64, Vec<(u8, u64)>) {
    let mut count = 0;
    let mut named = Vec::new();
    for event in &rig.events {
        if let Action::Report(Report::Pass {
            event: PassEvent::Found(found),
            ..
        }) = event
        {
            count = found.mismatched_sectors;
            named.extend(found.wrong);
        }
    }
    (count, named)
}

/// Changes some bytes of a sector, on each drive in another way.
fn spoil(rig: &mut Rig, drive: usize, member_sector: usize) {
    let start = (DATA_OFFSET + member_sector) * 512 + 17;
    for (byte, by) in rig.drives[drive][start..start + 8].iter_mut().zip(0_u8..) {
        *byte ^= 0x40 | (by * 5 + u8::try_from(drive).unwrap() * 11) & 0x3f;
    }
}

#[test]
fn members_that_agree_are_found_to() {
    for (level, members) in [
        (Level::Raid1, 3),
        (Level::Raid10, 4),
        (Level::Raid5, 4),
        (Level::Raid6, 5),
    ] {
        let mut rig = Rig::new([view(0, level, members)]);
        rig.write(40, &[9; 8192]);
        rig.attach(checked(level, members));
        let before = rig.drives.clone();
        assert!(run(&mut rig), "{level}");
        assert_eq!(found(&rig), (0, vec![]), "{level}");
        assert!(rig.drives == before, "{level}: a scrub does not write");
    }
}

#[test]
fn copies_that_differ_are_counted_and_left_alone() {
    for (level, members, drive) in [(Level::Raid1, 3, 2), (Level::Raid10, 4, 3)] {
        let mut rig = Rig::new([view(0, level, members)]);
        rig.attach(checked(level, members));
        spoil(&mut rig, drive, 5);
        spoil(&mut rig, drive, 700);
        let before = rig.drives.clone();
        assert!(run(&mut rig));
        assert_eq!(found(&rig), (2, vec![]), "{level}");
        assert!(rig.drives == before);
    }
}

#[test]
fn raid6_names_the_member_that_is_wrong_and_raid5_counts() {
    for (level, members) in [(Level::Raid5, 4), (Level::Raid6, 6)] {
        let mut rig = Rig::new([view(0, level, members)]);
        for lba in (0..512).step_by(16) {
            rig.write(lba, &[lba.to_le_bytes()[0] | 3; 8192]);
        }
        rig.attach(checked(level, members));
        for element in 0..members {
            spoil(
                &mut rig,
                usize::from(element),
                40 + 3 * usize::from(element),
            );
        }
        let before = rig.drives.clone();
        assert!(run(&mut rig));
        let (count, named) = found(&rig);
        assert_eq!(count, u64::from(members), "{level}");
        assert!(rig.drives == before);
        if level == Level::Raid6 {
            // One name for each slice of 16 sectors: 40 to 47, and 48 to 55.
            let last = [2, 5].map(|element| (element, 40 + 3 * u64::from(element)));
            assert_eq!(named, last);
        } else {
            assert_eq!(named, vec![]);
        }
    }
}

#[test]
fn what_cannot_be_read_is_written_anew() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid5, 4), (Level::Raid6, 5)] {
        let mut rig = Rig::new([view(0, level, members)]);
        rig.write(0, &[7; 8192]);
        let before = rig.drives.clone();
        rig.attach(checked(level, members));
        rig.broken_reads = [1].into();
        rig.drives[1][DATA_OFFSET * 512..(DATA_OFFSET + 1024) * 512].fill(0xdd);
        assert!(run(&mut rig), "{level}");
        assert!(
            rig.drives[1][DATA_OFFSET * 512..] == before[1][DATA_OFFSET * 512..],
            "{level}"
        );
    }
}

#[test]
fn clients_write_beside_a_scrub() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid10, 4), (Level::Raid6, 5)] {
        let mut rig = Rig::new([checked(level, members)]);
        for lba in (0..480).step_by(8) {
            rig.deliver(0, &write(lba, &[lba.to_le_bytes()[0]; 4096]));
            let mut actions = Vec::new();
            rig.target.sync_step(&mut actions);
            rig.absorb(actions);
            rig.step();
            for _ in 0..2 {
                if !rig.pending.is_empty() {
                    rig.complete(0);
                }
            }
            if rig.target.commands_in_flight() > 20 {
                rig.drain();
            }
        }
        assert!(run(&mut rig));
        assert_eq!(found(&rig), (0, vec![]), "{level}");
        assert!(
            rig.sent
                .iter()
                .all(|(_, reply)| outcome(reply) == (0x40, 0))
        );
    }
}

/// Runs a scrub again; what it finds now.
fn run_again(rig: &mut Rig, level: Level, members: u8) -> u64 {
    rig.events.clear();
    let mut wanted = checked(level, members);
    wanted.parts[0].sync.as_mut().unwrap().pass = 6;
    rig.attach(wanted);
    assert!(run(rig));
    found(rig).0
}

fn repaired(rig: &Rig) -> u64 {
    let mut events = rig.events.iter().rev();
    let last = events.find_map(|event| match event {
        Action::Report(Report::Pass {
            event: PassEvent::Found(found),
            ..
        }) => Some(found.repaired_sectors),
        _ => None,
    });
    last.unwrap_or(0)
}

#[test]
fn a_repair_makes_everything_agree_and_clients_read_what_they_read_before() {
    for (level, members) in [
        (Level::Raid1, 3),
        (Level::Raid10, 4),
        (Level::Raid5, 4),
        (Level::Raid6, 5),
    ] {
        let mut rig = Rig::new([view(0, level, members)]);
        for lba in (0..512).step_by(16) {
            rig.write(lba, &[lba.to_le_bytes()[0] | 1; 8192]);
        }
        rig.attach(repairing(level, members, ScrubRepair::All));
        spoil(&mut rig, 0, 7);
        spoil(&mut rig, 1, 100);
        // With two members wrong in one sector nobody knows which.
        spoil(&mut rig, 2, 200);
        spoil(&mut rig, 3 % usize::from(members), 200);
        let before: Vec<Vec<u8>> = (0..512).map(|lba| rig.read(lba, 1)).collect();
        assert!(run(&mut rig), "{level}");
        let (count, _) = found(&rig);
        assert!(count >= 3, "{level}: {count}");
        assert_eq!(repaired(&rig), count, "{level}");
        assert_eq!(run_again(&mut rig, level, members), 0, "{level}");
        let after: Vec<Vec<u8>> = (0..512).map(|lba| rig.read(lba, 1)).collect();
        let changed = (0..512).filter(|lba| after[*lba] != before[*lba]).count();
        if level == Level::Raid6 {
            // Those of which it is certain are as they were before they were spoiled.
            for lba in 0..512_u64 {
                let written = lba / 16 * 16;
                let right = vec![written.to_le_bytes()[0] | 1; 512];
                let spoiled = after[usize::try_from(lba).unwrap()] != right;
                assert!(!spoiled || before[usize::try_from(lba).unwrap()] != right);
            }
            assert!(changed <= 2, "{changed}");
        } else {
            assert_eq!(changed, 0, "{level}");
        }
    }
}

#[test]
fn a_repair_of_what_is_located_changes_nothing_else() {
    let mut rig = Rig::new([view(0, Level::Raid6, 6)]);
    for lba in (0..512).step_by(16) {
        rig.write(lba, &[lba.to_le_bytes()[0] | 5; 8192]);
    }
    let whole = rig.drives.clone();
    rig.attach(repairing(Level::Raid6, 6, ScrubRepair::Located));
    for element in 0..6 {
        spoil(&mut rig, element, 40 + 3 * element);
    }
    assert!(run(&mut rig));
    assert_eq!((found(&rig).0, repaired(&rig)), (6, 6));
    assert!(rig.drives == whole, "every element is as it was");
    // Two wrong blocks of one stripe: nobody knows which.
    spoil(&mut rig, 1, 100);
    spoil(&mut rig, 2, 100);
    let before = rig.drives.clone();
    rig.events.clear();
    let mut again = repairing(Level::Raid6, 6, ScrubRepair::Located);
    again.parts[0].sync.as_mut().unwrap().pass = 6;
    rig.attach(again);
    assert!(run(&mut rig));
    assert_eq!((found(&rig).0, repaired(&rig)), (1, 0));
    assert!(rig.drives == before);
    // Nor is a mirror located.
    let mut rig = Rig::new([view(0, Level::Raid1, 2)]);
    rig.attach(repairing(Level::Raid1, 2, ScrubRepair::Located));
    spoil(&mut rig, 1, 9);
    let before = rig.drives.clone();
    assert!(run(&mut rig));
    assert_eq!((found(&rig).0, repaired(&rig)), (1, 0));
    assert!(rig.drives == before);
}

/// A scrub that was begun may go on for a moment while a member is gone.
#[test]
fn nothing_is_repaired_while_a_member_is_not_in_sync() {
    for (level, members) in [(Level::Raid1, 3), (Level::Raid6, 6)] {
        let mut rig = Rig::new([view(0, level, members)]);
        let mut wanted = repairing(level, members, ScrubRepair::All);
        wanted.parts[0].members[usize::from(members) - 1] = None;
        rig.attach(wanted);
        spoil(&mut rig, 1, 9);
        let before = rig.drives.clone();
        run(&mut rig);
        assert_eq!(repaired(&rig), 0, "{level}");
        assert!(rig.drives == before, "{level}");
    }
}

/// Whatever the moment at which the view changes: what is counted as repaired is.
#[test]
fn a_repair_that_meets_a_new_view_is_done_all_the_same() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid10, 4), (Level::Raid6, 5)] {
        for moment in 0..12 {
            let mut rig = Rig::new([view(0, level, members)]);
            rig.attach(repairing(level, members, ScrubRepair::All));
            spoil(&mut rig, 1, 3);
            for turn in 0..12 {
                let mut actions = Vec::new();
                rig.target.sync_step(&mut actions);
                rig.absorb(actions);
                if turn == moment {
                    rig.attach(repairing(level, members, ScrubRepair::All));
                }
                rig.step();
                if !rig.pending.is_empty() {
                    rig.complete(0);
                }
            }
            assert!(run(&mut rig));
            let at = format!("{level}, {moment}");
            assert!(
                repaired(&rig) >= 1 && found(&rig).0 == repaired(&rig),
                "{at}"
            );
            assert_eq!(run_again(&mut rig, level, members), 0, "{at}");
        }
    }
}
