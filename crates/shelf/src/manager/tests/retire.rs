//! Members that work, and do it badly.

use super::world::{MIB, World, number};
use crate::admin::{Admin, DriveStatus, ElementId, ElementState, READ_ERRORS_LIMIT};
use crate::manager::{Manager, MemberFailure};
use crate::smart::{Smart, SmartMiss, WARNINGS_LIMIT};
use raid::Level;
use raid::bad_blocks::BadRange;
use std::time::Duration;

const ID: ElementId = ElementId {
    lun: crate::ids::LunNumber::new(0).unwrap(),
    part: 0,
    member: 1,
};

/// Where data begins on a small member.
const DATA: u64 = 768;

fn range(sector: u64) -> BadRange {
    BadRange {
        sector: DATA + sector,
        sectors: 8,
    }
}

/// LUN 0 online on all drives but the last.
fn online(level: Level, members: usize) -> (World, Manager) {
    let world = World::new(&vec![2 * MIB; members + 1]);
    let mut manager = world.start();
    world.make(&mut manager, 0, level, &(0..members).collect::<Vec<_>>());
    manager.online(number(0)).unwrap();
    (world, manager)
}

fn fail_reads(world: &World, manager: &mut Manager, times: u32) {
    for sector in 0..times {
        let range = range(u64::from(sector) * 8);
        manager.member_not_read(number(0), 0, 1, world.slot(1), &range);
    }
}

fn errors(manager: &Manager) -> u32 {
    manager.luns()[0].parts[0].elements[1].read_errors
}

fn is_replaced(manager: &Manager) -> bool {
    let luns = manager.luns();
    let mut elements = luns[0].parts[0].elements.iter();
    elements.any(|row| row.id == ID && row.is_replacement)
}

#[test]
fn a_member_with_many_read_errors_is_replaced_by_a_spare_while_it_works() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid5, 3)] {
        let (world, mut manager) = online(level, members);
        manager.add_spare(world.slot(members), None, false).unwrap();
        fail_reads(&world, &mut manager, READ_ERRORS_LIMIT - 1);
        manager.tick(Duration::from_secs(1));
        assert!(!is_replaced(&manager));
        assert_eq!(errors(&manager), READ_ERRORS_LIMIT - 1);
        fail_reads(&world, &mut manager, 1);
        manager.tick(Duration::from_secs(2));
        assert!(is_replaced(&manager), "{level}");
        assert!(manager.spares().is_empty());
        assert_eq!(manager.luns()[0].parts[0].state.to_string(), "recovering");
        world.finish_pass(&mut manager, 0);
        assert_eq!(errors(&manager), 0, "another drive");
        manager.tick(Duration::from_secs(3));
        assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    }
}

#[test]
fn counts_are_halved_every_hour() {
    let (world, mut manager) = online(Level::Raid1, 2);
    fail_reads(&world, &mut manager, 12);
    manager.tick(Duration::from_secs(3599));
    assert_eq!(errors(&manager), 12);
    manager.tick(Duration::from_secs(3600));
    assert_eq!(errors(&manager), 6);
    manager.tick(Duration::from_secs(3 * 3600));
    assert_eq!(errors(&manager), 1);
}

#[test]
fn without_a_spare_it_is_told_once() {
    let (world, mut manager) = online(Level::Raid1, 2);
    fail_reads(&world, &mut manager, READ_ERRORS_LIMIT);
    manager.take_notices();
    manager.tick(Duration::from_secs(1));
    let notices = manager.take_notices().join("\n");
    assert!(
        notices.contains("element 0.0.1 had 20 read errors or more"),
        "{notices}"
    );
    manager.tick(Duration::from_secs(2));
    assert_eq!(manager.take_notices(), Vec::<String>::new());
    manager.add_spare(world.slot(2), None, false).unwrap();
    manager.tick(Duration::from_secs(3));
    assert!(is_replaced(&manager));
}

#[test]
fn what_nobody_made_good_or_is_known_does_not_count() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager
        .add_bad_blocks(
            number(0),
            0,
            1,
            &[BadRange {
                sector: 0,
                sectors: 8,
            }],
        )
        .unwrap();
    manager.member_not_read(number(0), 0, 1, world.slot(1), &range(0));
    manager.member_not_read(number(0), 0, 1, world.slot(0), &range(80));
    assert_eq!(errors(&manager), 0);
    manager.fail(ElementId { member: 0, ..ID }).unwrap();
    manager.member_not_read(number(0), 0, 1, world.slot(1), &range(80));
    assert_eq!(errors(&manager), 0);
}

#[test]
fn the_last_redundancy_is_not_given_up_for_sectors_that_cannot_be_written() {
    let (world, mut manager) = online(Level::Raid5, 3);
    let kept = manager.member_not_repaired(number(0), 0, 1, world.slot(1), &range(40));
    assert_eq!(kept, MemberFailure::Kept);
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    let bad = world.log.lock().unwrap().bad_blocks[&world.slot(1)].clone();
    assert_eq!(bad, [range(40)]);
    assert_eq!(
        errors(&manager),
        READ_ERRORS_LIMIT,
        "to be replaced as soon as there is a spare"
    );
    let again = manager.member_not_repaired(number(0), 0, 1, world.slot(1), &range(40));
    assert_eq!(
        (again, errors(&manager)),
        (MemberFailure::Kept, READ_ERRORS_LIMIT)
    );
    let world = world.fork();
    let _manager = world.start();
    let bad = world.log.lock().unwrap().bad_blocks[&world.slot(1)].clone();
    assert_eq!(bad, [range(40)], "durable");

    let (world, mut manager) = online(Level::Raid6, 4);
    let given_up = manager.member_not_repaired(number(0), 0, 1, world.slot(1), &range(40));
    assert_eq!(given_up, MemberFailure::GivenUp, "the others are redundant");
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "degraded");
    let (world, mut manager) = online(Level::Raid1, 3);
    let given_up = manager.member_not_repaired(number(0), 0, 1, world.slot(1), &range(40));
    assert_eq!(given_up, MemberFailure::GivenUp);
}

/// A drive that says that it will fail.
fn failing() -> Smart {
    Smart {
        has_passed: Some(false),
        predicts_failure: true,
        ..Smart::default()
    }
}

fn status(world: &World, manager: &Manager, index: usize) -> DriveStatus {
    let drives = manager.drives();
    let mut drives = drives.into_iter();
    drives
        .find(|drive| drive.slot == world.slot(index))
        .unwrap()
}

fn tell(world: &World, manager: &mut Manager, index: usize, smart: Smart) {
    let path = status(world, manager, index).path;
    manager.drive_told(world.slot(index), &path, smart);
}

/// As often as it takes.
fn tell_of_failure(world: &World, manager: &mut Manager, index: usize) {
    for _ in 0..WARNINGS_LIMIT {
        tell(world, manager, index, failing());
    }
}

#[test]
fn a_drive_that_predicts_its_failure_is_replaced_by_a_spare_while_it_works() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid5, 3)] {
        let (world, mut manager) = online(level, members);
        manager.add_spare(world.slot(members), None, false).unwrap();
        tell(&world, &mut manager, 1, Smart::default());
        manager.tick(Duration::from_secs(1));
        assert!(!is_replaced(&manager));
        for _ in 0..WARNINGS_LIMIT {
            manager.drive_told(world.slot(1), "another path", failing());
        }
        manager.tick(Duration::from_secs(2));
        assert!(!is_replaced(&manager), "it was another drive");
        manager.take_notices();
        tell_of_failure(&world, &mut manager, 1);
        manager.tick(Duration::from_secs(3));
        assert!(is_replaced(&manager), "{level}");
        let notices = manager.take_notices().join("\n");
        assert!(
            notices.contains("is to replace 0.0.1, whose drive says by SMART"),
            "{notices}"
        );
        world.finish_pass(&mut manager, 0);
        manager.tick(Duration::from_secs(4));
        assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
        assert!(!is_replaced(&manager), "the new one is well");
    }
}

#[test]
fn a_spare_that_predicts_its_failure_is_not_taken_and_nothing_is_given_up_without_one() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.add_spare(world.slot(2), None, false).unwrap();
    tell_of_failure(&world, &mut manager, 2);
    tell_of_failure(&world, &mut manager, 1);
    manager.take_notices();
    manager.tick(Duration::from_secs(1));
    assert!(!is_replaced(&manager));
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    let notices = manager.take_notices().join("\n");
    assert!(
        notices.contains("element 0.0.1 is on a drive that says by SMART"),
        "{notices}"
    );
    manager.tick(Duration::from_secs(2));
    assert_eq!(manager.take_notices(), Vec::<String>::new(), "told once");
    tell(&world, &mut manager, 2, Smart::default());
    manager.tick(Duration::from_secs(3));
    assert!(is_replaced(&manager), "the spare is well after all");
}

#[test]
fn nothing_is_done_for_what_a_drive_has_said_once() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.add_spare(world.slot(2), None, false).unwrap();
    for second in 1..=3 {
        tell(&world, &mut manager, 1, failing());
        manager.tick(Duration::from_secs(second));
        assert!(!is_replaced(&manager) && !status(&world, &manager, 1).is_failing);
        // It is told all the same.
        let notices = manager.take_notices().join("\n");
        assert!(notices.contains("says by SMART"), "{notices}");
        tell(&world, &mut manager, 1, Smart::default());
    }
    // What it does not tell is neither good nor bad.
    tell(&world, &mut manager, 1, failing());
    let path = status(&world, &manager, 1).path;
    manager.drive_not_told(world.slot(1), &path, "late".to_owned());
    manager.tick(Duration::from_secs(4));
    assert!(!is_replaced(&manager));
    tell(&world, &mut manager, 1, failing());
    assert!(status(&world, &manager, 1).is_failing);
    manager.tick(Duration::from_secs(5));
    assert!(is_replaced(&manager));
}

#[test]
fn a_drive_that_does_not_tell_is_counted_and_what_it_told_before_holds() {
    let (world, mut manager) = online(Level::Raid1, 2);
    let well = Smart {
        celsius: Some(38),
        ..Smart::default()
    };
    tell(&world, &mut manager, 1, well.clone());
    let path = status(&world, &manager, 1).path;
    let misses = |manager: &Manager| {
        let status = status(&world, manager, 1);
        assert_eq!(status.smart.as_deref(), Some(&well));
        status.smart_miss.as_deref().cloned()
    };
    let miss = |times, reason: &str| {
        let reason = reason.to_owned();
        Some(SmartMiss { times, reason })
    };
    assert_eq!(misses(&manager), None);
    manager.drive_not_told(world.slot(1), &path, "late".to_owned());
    manager.drive_not_told(world.slot(1), "another path", "gone".to_owned());
    assert_eq!(misses(&manager), miss(1, "late"));
    manager.drive_not_told(world.slot(1), &path, "no JSON".to_owned());
    assert_eq!(misses(&manager), miss(2, "no JSON"));
    tell(&world, &mut manager, 1, well.clone());
    assert_eq!(misses(&manager), None);
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
}

/// A RAID that has lost a member is better off with a spare that may fail than with none; while there is
/// another it is not taken.
#[test]
fn a_spare_that_predicts_its_failure_is_the_last_resort_of_a_raid_that_lacks_a_member() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.add_spare(world.slot(2), None, false).unwrap();
    tell_of_failure(&world, &mut manager, 2);
    manager.fail(ID).unwrap();
    manager.tick(Duration::from_secs(1));
    let element = |manager: &Manager| manager.luns()[0].parts[0].elements[1].clone();
    assert_eq!(element(&manager).drive, Some(world.slot(2)));
    assert_eq!(element(&manager).state, ElementState::Replaced);

    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    for spare in [2, 3] {
        manager.add_spare(world.slot(spare), None, false).unwrap();
    }
    tell_of_failure(&world, &mut manager, 2);
    manager.fail(ID).unwrap();
    manager.tick(Duration::from_secs(1));
    assert_eq!(element(&manager).drive, Some(world.slot(3)));
}
