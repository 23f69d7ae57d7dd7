//! The pool of spares: who is in it, who is taken, and when.

use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole, ElementId, ElementState, MemberChoice};
use crate::manager::Manager;
use aoe::Shelf;
use raid::Level;
use std::time::Duration;

fn id(lun: u8, member: u8) -> ElementId {
    ElementId {
        lun: number(lun),
        part: 0,
        member,
    }
}

/// Drives that are spares now, by their index.
fn spares(world: &World, manager: &Manager) -> Vec<usize> {
    let found = manager.spares();
    let indexes = 0..world.images.len();
    indexes
        .filter(|index| found.iter().any(|spare| spare.drive == world.slot(*index)))
        .collect()
}

fn drive_of(world: &World, manager: &Manager, lun: u8, member: usize) -> usize {
    let luns = manager.luns();
    let lun = luns.iter().find(|found| found.lun == number(lun)).unwrap();
    let slot = lun.parts[0].elements[member].drive;
    (0..world.images.len())
        .find(|index| Some(world.slot(*index)) == slot)
        .unwrap()
}

/// A mirror on drives 0 and 1, of 2 MiB, online.
fn with_mirror(others: &[u64]) -> (World, Manager) {
    let sizes = [&[2 * MIB, 2 * MIB], others].concat();
    let world = World::new(&sizes);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    (world, manager)
}

/// Of members, replacements and spares; of nothing else.
#[test]
fn what_superblocks_say_is_told() {
    let (world, mut manager) = with_mirror(&[3 * MIB, 4 * MIB, MIB]);
    manager.add_spare(world.slot(2), None, false).unwrap();
    manager.replace(id(0, 1), world.slot(3), false).unwrap();
    let told: Vec<_> = (0..5)
        .map(|index| manager.superblock(world.slot(index)))
        .collect();
    let of = |index: usize| told[index].clone().unwrap();
    assert_eq!(
        (of(0).role, of(1).role, of(3).role),
        (Some(0), Some(1), Some(1))
    );
    assert_eq!((of(2).role, &told[4]), (None, &None));
    assert!(of(0).array == of(1).array && of(0).array == of(3).array && of(0).array != of(2).array);
    assert!(of(0).device != of(1).device && of(0).version == "1.2" && of(0).events > 0);
    // One that has failed says nothing that counts.
    manager.fail_replacement(id(0, 1)).unwrap();
    assert!(manager.superblock(world.slot(3)).is_none());
}

#[test]
fn the_smallest_spare_that_is_large_enough_is_taken() {
    let (world, mut manager) = with_mirror(&[4 * MIB, 3 * MIB, MIB]);
    for index in [2, 3, 4] {
        manager.add_spare(world.slot(index), None, false).unwrap();
    }
    assert_eq!(spares(&world, &manager), [2, 3, 4]);
    let error = "Input/output error";
    manager
        .member_failed(number(0), 0, 1, world.slot(1), error)
        .unwrap();
    manager.tick(Duration::ZERO);
    assert_eq!(drive_of(&world, &manager, 0, 1), 3);
    assert_eq!(spares(&world, &manager), [2, 4]);
    let view = world.view(0).unwrap();
    assert!(!view.parts[0].members[1].unwrap().in_sync);
    world.finish_pass(&mut manager, 0);
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    // The next one fails while it is being rebuilt; then there is none that is large enough.
    manager.fail(id(0, 0)).unwrap();
    manager.tick(Duration::from_secs(1));
    assert_eq!(drive_of(&world, &manager, 0, 0), 2);
    manager.fail(id(0, 0)).unwrap();
    manager.tick(Duration::from_secs(5));
    let told = manager.take_notices();
    assert_eq!(told.last().unwrap(), "no spare large enough for 0.0.0");
    manager.tick(Duration::from_secs(10));
    assert_eq!(spares(&world, &manager), [4]);
    assert_eq!(manager.take_notices(), Vec::<String>::new(), "told once");
}

#[test]
fn a_spare_is_found_again_in_another_slot() {
    let (world, mut manager) = with_mirror(&[2 * MIB, 2 * MIB]);
    manager.add_spare(world.slot(2), None, false).unwrap();
    manager
        .add_spare(world.slot(3), Some(number(0)), false)
        .unwrap();
    manager.shutdown();
    let world = world.fork();
    let manager = world.start();
    assert_eq!(spares(&world, &manager), [2, 3]);
    let dedicated: Vec<_> = manager.spares().iter().map(|s| s.dedicated_to).collect();
    assert!(dedicated.contains(&Some(number(0))) && dedicated.contains(&None));
    assert_eq!(seen(&manager).drives["drive2"], DriveRole::Spare);
    // On another shelf it is a drive that carries something.
    *world.shelf.lock().unwrap() = Some(Shelf(7));
    let mut manager = world.start();
    assert!(manager.spares().is_empty());
    let refused = manager.add_spare(world.slot(2), None, false).unwrap_err();
    let text = format!(
        "7.{} carries a spare of shelf 1; use -f to overwrite it",
        world.slot(2)
    );
    assert_eq!(refused.to_string(), text);
}

#[test]
fn a_spare_of_one_lun_is_not_for_another() {
    let world = World::new(&[2 * MIB; 6]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    world.make(&mut manager, 1, Level::Raid1, &[2, 3]);
    manager
        .add_spare(world.slot(4), Some(number(1)), false)
        .unwrap();
    manager.fail(id(0, 0)).unwrap();
    manager.tick(Duration::from_secs(1));
    assert_eq!(spares(&world, &manager), [4]);
    let refused = manager.replace(id(0, 0), world.slot(4), false);
    assert!(matches!(refused, Err(AdminError::DriveInUse(_))));
    // A degraded RAID takes a spare when there is one; its own first.
    manager.add_spare(world.slot(5), None, false).unwrap();
    manager.tick(Duration::from_secs(2));
    assert_eq!(drive_of(&world, &manager, 0, 0), 5);
    manager.fail(id(1, 1)).unwrap();
    manager.tick(Duration::from_secs(3));
    assert_eq!(drive_of(&world, &manager, 1, 1), 4);
    assert!(manager.spares().is_empty());
}

#[test]
fn who_is_no_spare_is_not_made_one_by_accident() {
    let (world, mut manager) = with_mirror(&[2 * MIB, 2 * MIB]);
    world.image(3).foreign = Some("an ext4 file system".to_owned());
    let mut manager = {
        manager.shutdown();
        world.start()
    };
    let slot = |index| world.slot(index);
    let refused = manager.add_spare(slot(0), None, false);
    assert!(matches!(refused, Err(AdminError::DriveInUse(_))));
    let refused = manager.add_spare(slot(3), None, false);
    assert!(matches!(refused, Err(AdminError::DriveForeign { .. })));
    let refused = manager.add_spare(slot(2), Some(number(9)), false);
    assert_eq!(refused, Err(AdminError::NoSuchLun(number(9))));
    let refused = manager.remove_spare(slot(2), false);
    assert_eq!(refused, Err(AdminError::NotASpare("1.2".to_owned())));
    manager.add_spare(slot(2), None, false).unwrap();
    let mut request = world.request(5, Level::Jbod, &[2]);
    request.force = true;
    assert!(matches!(
        manager.make(&request),
        Err(AdminError::DriveInUse(_))
    ));
    manager.remove_spare(slot(2), false).unwrap();
    manager.make(&request).unwrap();
    assert_eq!(request.members, [MemberChoice::Drive(slot(2))]);
}

#[test]
fn spares_are_read_every_minute() {
    let (world, mut manager) = with_mirror(&[2 * MIB, 2 * MIB]);
    manager.add_spare(world.slot(2), None, false).unwrap();
    manager.add_spare(world.slot(3), None, false).unwrap();
    manager.tick(Duration::from_secs(60));
    world.image(2).fails_reads = true;
    manager.tick(Duration::from_secs(100));
    assert_eq!(manager.spares()[0].fault, None);
    manager.take_notices();
    manager.tick(Duration::from_secs(120));
    assert!(manager.spares()[0].fault.is_some());
    let notices = manager.take_notices();
    assert!(notices[0].starts_with("spare 1.2 is bad:"), "{notices:?}");
    manager.fail(id(0, 0)).unwrap();
    manager.tick(Duration::from_secs(121));
    assert_eq!(
        drive_of(&world, &manager, 0, 0),
        3,
        "the bad one is passed over"
    );
    world.image(2).fails_reads = false;
    manager.tick(Duration::from_secs(180));
    assert_eq!(manager.spares()[0].fault, None);
}

/// A member that is away at the start may only be slow; when it is back later it is rebuilt by itself.
#[test]
fn a_late_member_gets_its_time_and_is_rebuilt_when_it_is_back() {
    let (world, mut manager) = with_mirror(&[2 * MIB]);
    manager.shutdown();
    world.image(1).is_present = false;
    world.image(1).was_away = true;
    let mut manager = world.start();
    manager.tick(Duration::from_secs(10));
    manager.shutdown();
    world.image(1).is_present = true;
    let mut manager = world.start();
    let elements = &manager.luns()[0].parts[0].elements;
    assert_eq!(elements[1].state, ElementState::Replaced);
    world.finish_pass(&mut manager, 0);
    manager.shutdown();
    // With a spare it is replaced after two minutes, and is a former element when it is back.
    world.image(1).is_present = false;
    let mut manager = world.start();
    manager.add_spare(world.slot(2), None, false).unwrap();
    manager.tick(Duration::from_secs(110));
    assert_eq!(spares(&world, &manager), [2]);
    manager.tick(Duration::from_secs(120));
    assert_eq!(drive_of(&world, &manager, 0, 1), 2);
    world.finish_pass(&mut manager, 0);
    manager.shutdown();
    world.image(1).is_present = true;
    let manager = world.start();
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    assert!(matches!(
        &seen(&manager).drives["drive1"],
        DriveRole::Foreign(_)
    ));
}

/// A member that failed is not used again because a restart finds its drive.
#[test]
fn a_member_that_failed_is_not_rebuilt_by_itself() {
    let (world, mut manager) = with_mirror(&[]);
    let error = "Input/output error";
    manager
        .member_failed(number(0), 0, 1, world.slot(1), error)
        .unwrap();
    manager.shutdown();
    let manager = world.start();
    let elements = &manager.luns()[0].parts[0].elements;
    assert_eq!(elements[1].state, ElementState::Failed);
}

/// A spare that was for one LUN only is for all when that LUN is removed: it waited for the number, and would
/// have served another LUN of that number.
#[test]
fn a_spare_of_a_removed_lun_is_one_for_all() {
    let (world, mut manager) = with_mirror(&[4 * MIB, 3 * MIB]);
    let dedicated = |manager: &Manager| -> Vec<Option<u8>> {
        let spares = manager.spares();
        let of = |spare: &crate::admin::SpareStatus| spare.dedicated_to.map(|lun| lun.get());
        spares.iter().map(of).collect()
    };
    manager
        .add_spare(world.slot(2), Some(number(0)), false)
        .unwrap();
    manager.add_spare(world.slot(3), None, false).unwrap();
    assert_eq!(dedicated(&manager), [Some(0), None]);
    manager.take_notices();
    manager.remove(number(0), true).unwrap();
    assert_eq!(dedicated(&manager), [None, None]);
    let told = manager.take_notices().join("\n");
    assert!(
        told.contains("1.2 was for LUN 0 alone, which is removed"),
        "{told}"
    );
    let mut manager = world.start();
    assert_eq!(dedicated(&manager), [None, None]);
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    assert_eq!(dedicated(&manager), [None, None]);
}

/// The power went between the removal of a LUN and the change of its spare: the next LUN of that number does
/// not inherit it.
#[test]
fn a_new_lun_does_not_inherit_a_spare() {
    let (world, mut manager) = with_mirror(&[4 * MIB]);
    manager
        .add_spare(world.slot(2), Some(number(0)), false)
        .unwrap();
    // It refuses to be written once.
    world.image(2).fails_writes = true;
    let error = manager.remove(number(0), true).unwrap_err().to_string();
    assert!(error.contains("LUN 0 is removed, but"), "{error}");
    world.image(2).fails_writes = false;
    let mut manager = world.start();
    assert_eq!(manager.spares()[0].dedicated_to, Some(number(0)));
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    assert_eq!(manager.spares()[0].dedicated_to, None);
}
