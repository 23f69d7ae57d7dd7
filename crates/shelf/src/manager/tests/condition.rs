//! `condition`: zeroes where a drive cannot be read, and on no drive where they would be taken for data.

use super::memory::TEARS;
use super::world::{MIB, World, number};
use crate::admin::{Admin, AdminError, DriveRole, ElementId};
use crate::job::{JobEnd, JobKind, Progress};
use crate::manager::Manager;
use raid::Level;
use std::time::Duration;

/// What the drive of these tests cannot read: a block of its medium, parts of others, and its last sector.
const UNREADABLE: [u64; 12] = [
    48,
    49,
    50,
    51,
    52,
    53,
    54,
    55,
    3001,
    3002,
    3009,
    4 * MIB - 1,
];

fn world() -> World {
    let world = World::new(&[2 * MIB, 2 * MIB, 4 * MIB, 4 * MIB]);
    let mut image = world.image(2);
    for sector in [0, 47, 56, 3000, 3003, 3008] {
        image.write(sector, &[0xa5; 512]);
    }
    for sector in UNREADABLE {
        image.write(sector, &[0x5a; 512]);
        image.unreadable.insert(sector);
    }
    drop(image);
    world
}

fn role(world: &World, manager: &Manager, index: usize) -> DriveRole {
    let drives = manager.drives();
    let found = drives.iter().find(|drive| drive.slot == world.slot(index));
    found.unwrap().role.clone()
}

fn refusal(world: &World, manager: &mut Manager, index: usize) -> String {
    let slot = world.slot(index);
    let checked = manager.check_job(slot, JobKind::CONDITION);
    let begun = manager.begin_job(slot, JobKind::CONDITION);
    assert_eq!(checked, begun);
    begun.unwrap_err().to_string()
}

fn progress(world: &World, manager: &Manager, index: usize) -> Progress {
    let jobs = manager.jobs();
    let found = jobs.iter().find(|job| job.drive == world.slot(index));
    found.unwrap().report.progress.clone()
}

#[test]
fn what_cannot_be_read_reads_as_zeroes_and_all_else_stays() {
    let world = world();
    let mut manager = world.start();
    let before = world.image(2).written.clone();
    manager
        .begin_job(world.slot(2), JobKind::CONDITION)
        .unwrap();
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Working(JobKind::CONDITION)
    );
    let request = world.request(1, Level::Jbod, &[2]);
    assert_eq!(
        manager.make(&request),
        Err(AdminError::DriveInUse("1.2".to_owned()))
    );
    manager.rescan().unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(role(&world, &manager, 2), DriveRole::Free);
    let progress = progress(&world, &manager, 2);
    assert_eq!(progress.end, Some(JobEnd::Complete));
    assert_eq!(progress.bad.sectors(), 0);
    let rewritten: Vec<u64> = progress
        .rewritten
        .ranges()
        .iter()
        .cloned()
        .flatten()
        .collect();
    assert_eq!(rewritten, UNREADABLE);
    let after = world.image(2).written.clone();
    for (sector, bytes) in &before {
        let is_zeroed = UNREADABLE.contains(sector);
        assert_eq!(after[sector] == [0; 512], is_zeroed, "{sector}");
        assert_eq!(after[sector] == *bytes, !is_zeroed, "{sector}");
    }
    assert_eq!(after.len(), before.len(), "nothing else was written");
    assert!(world.image(2).unreadable.is_empty());
    world.make(&mut manager, 0, Level::Jbod, &[2]);
}

#[test]
fn a_drive_that_carries_anything_is_left_alone() {
    let world = world();
    world.image(3).foreign = Some("an ext4 file system".to_owned());
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.add_spare(world.slot(2), None, false).unwrap();
    let told = refusal(&world, &mut manager, 0);
    assert!(told.contains("it is 0.0.0; scrub start 0"), "{told}");
    assert_eq!(refusal(&world, &mut manager, 2), "drive 1.2 has role spare");
    let told = refusal(&world, &mut manager, 3);
    assert!(told.contains("it carries an ext4 file system"), "{told}");
    manager.remove_spare(world.slot(2), false).unwrap();
    let member = ElementId {
        lun: number(0),
        part: 0,
        member: 0,
    };
    manager.fail(member).unwrap();
    // The member that failed still has what its RAID may want again.
    let told = refusal(&world, &mut manager, 0);
    assert!(told.contains("0.0.0"), "{told}");
    manager.eject(number(0), true).unwrap();
    let told = refusal(&world, &mut manager, 1);
    assert!(told.contains("it carries ejected LUN 0"), "{told}");
    assert!(manager.jobs().is_empty());
    // What an erase has left is no drive that was written by somebody who wants it.
    manager.begin_job(world.slot(3), JobKind::Erase).unwrap();
    world.works.step(1);
    manager.stop_job(world.slot(3), &[JobKind::Erase]).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    let told = refusal(&world, &mut manager, 3);
    assert!(told.contains("an erase that did not end"), "{told}");
}

#[test]
fn it_begins_where_it_is_told_to() {
    let world = world();
    let mut manager = world.start();
    let from = |first_sector| JobKind::Condition { first_sector };
    let beyond = manager.begin_job(world.slot(2), from(4 * MIB));
    let told = beyond.unwrap_err().to_string();
    assert!(told.ends_with("it ends before sector 8192"), "{told}");
    manager.begin_job(world.slot(2), from(3005)).unwrap();
    manager
        .stop_job(world.slot(3), &[JobKind::CONDITION])
        .unwrap_err();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    let progress = progress(&world, &manager, 2);
    let rewritten: Vec<u64> = progress
        .rewritten
        .ranges()
        .iter()
        .cloned()
        .flatten()
        .collect();
    assert_eq!(
        rewritten,
        [3001, 3002, 3009, 4 * MIB - 1],
        "by whole blocks"
    );
    assert!(world.image(2).unreadable.contains(&48), "before that");
}

#[test]
fn one_that_is_stopped_leaves_a_free_drive() {
    let world = world();
    let mut manager = world.start();
    let before = world.image(2).written.clone();
    manager
        .begin_job(world.slot(2), JobKind::CONDITION)
        .unwrap();
    world.works.step(1);
    manager
        .stop_job(world.slot(2), &[JobKind::Condition { first_sector: 7 }])
        .unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(role(&world, &manager, 2), DriveRole::Free);
    assert_eq!(progress(&world, &manager, 2).end, Some(JobEnd::Stopped));
    assert_eq!(
        world.image(2).written,
        before,
        "nothing is written before all was read"
    );
}

/// Power is cut at every write, in every way. Nothing that could be read is changed, nothing reads as what it
/// never was, and the drive is free.
#[test]
fn a_power_cut_changes_nothing_that_can_be_read() {
    for tear in TEARS {
        for writes in 0..8 {
            let base = world();
            let mut manager = base.start();
            let before = base.image(2).written.clone();
            base.cut_power_after(writes, tear);
            manager.begin_job(base.slot(2), JobKind::CONDITION).unwrap();
            base.works.finish();
            manager.tick(Duration::from_secs(1));
            let world = base.fork();
            let manager = world.start();
            let told = format!("{tear:?} after {writes}");
            assert_eq!(role(&world, &manager, 2), DriveRole::Free, "{told}");
            let after = world.image(2).written.clone();
            for (sector, bytes) in &before {
                let is_same = after[sector] == *bytes;
                let is_zeroed = after[sector] == [0; 512];
                let was_unreadable = UNREADABLE.contains(sector);
                assert!(is_same || (is_zeroed && was_unreadable), "{told}: {sector}");
            }
            assert_eq!(after.len(), before.len(), "{told}");
        }
    }
}

#[test]
fn a_drive_that_is_pulled_meanwhile_ends_it() {
    let world = world();
    let mut manager = world.start();
    manager
        .begin_job(world.slot(2), JobKind::CONDITION)
        .unwrap();
    world.works.step(2);
    world.image(2).is_present = false;
    manager.drive_pulled(world.slot(2));
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    let end = progress(&world, &manager, 2).end;
    assert_eq!(end, Some(JobEnd::Failed("the drive was pulled".to_owned())));
    assert!(manager.may_insert(world.slot(2)));
}
