//! Resynchronisation, as the metadata and the views tell it.

use super::world::{World, number};
use crate::admin::{Admin, DriveSlot, MakeRequest};
use crate::manager::Manager;
use raid::Level;
use raid::md::Resync;

const MIB: u64 = 2048;

fn unsynced() -> (World, Manager) {
    let world = World::new(&[2 * MIB; 3]);
    let mut manager = world.start();
    let request = MakeRequest {
        clean: false,
        ..world.request(0, Level::Raid1, &[0, 1, 2])
    };
    manager.make(&request).unwrap();
    manager.online(number(0)).unwrap();
    (world, manager)
}

/// Number and beginning of the pass that the data path is told to run.
fn sync(world: &World) -> Option<(u64, u64)> {
    let view = world.view(0).unwrap();
    view.parts[0]
        .sync
        .as_ref()
        .map(|sync| (sync.pass, sync.start_lba))
}

fn resync(world: &World) -> Resync {
    world.image(0).superblock().unwrap().resync()
}

#[test]
fn mirrors_that_were_synchronised_are_clean_after_an_orderly_stop() {
    let (world, mut manager) = unsynced();
    assert_eq!(sync(&world), Some((1, 0)));
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "initing");
    manager.sync_ended(number(0), 0, 1, true);
    assert_eq!(sync(&world), None);
    assert!(!world.view(0).unwrap().parts[0].mirrors_unsynced);
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    assert_eq!(
        resync(&world),
        Resync::DirtyFrom(0),
        "writes may be in flight"
    );
    manager.shutdown();
    assert_eq!(resync(&world), Resync::Clean);
}

#[test]
fn a_pass_goes_on_after_an_orderly_stop_and_begins_anew_after_a_crash() {
    let (world, mut manager) = unsynced();
    manager.sync_reached(number(0), 0, 1, 512);
    let crashed = world.fork();
    let _again = crashed.start();
    assert_eq!(sync(&crashed), Some((1, 0)));
    manager.shutdown();
    assert_eq!(resync(&world), Resync::DirtyFrom(512));
    let world = world.fork();
    let mut manager = world.start();
    assert_eq!(sync(&world), Some((1, 512)));
    assert_eq!(resync(&world), Resync::DirtyFrom(0), "served again");
    manager.offline(number(0)).unwrap();
    manager.online(number(0)).unwrap();
    assert_eq!(sync(&world), Some((2, 512)));
}

#[test]
fn reports_of_an_older_pass_are_not_believed() {
    let (world, mut manager) = unsynced();
    manager.offline(number(0)).unwrap();
    manager.sync_ended(number(0), 0, 1, true);
    manager.online(number(0)).unwrap();
    manager.sync_ended(number(0), 0, 1, true);
    manager.sync_reached(number(0), 0, 1, 512);
    assert_eq!(sync(&world), Some((2, 0)));
    assert!(world.view(0).unwrap().parts[0].mirrors_unsynced);
}

#[test]
fn an_incomplete_pass_leaves_the_mirrors_unsynced_until_the_next_start() {
    let (world, mut manager) = unsynced();
    manager.sync_ended(number(0), 0, 1, false);
    assert_eq!(sync(&world), None);
    assert!(world.view(0).unwrap().parts[0].mirrors_unsynced);
    assert!(!manager.take_notices().is_empty());
    manager.shutdown();
    assert_eq!(resync(&world), Resync::DirtyFrom(0));
}

#[test]
fn the_last_member_has_nobody_to_agree_with() {
    let (world, mut manager) = unsynced();
    manager
        .member_failed(number(0), 0, 1, DriveSlot(1), "test")
        .unwrap();
    assert!(sync(&world).is_some());
    manager
        .member_failed(number(0), 0, 2, DriveSlot(2), "test")
        .unwrap();
    assert_eq!(sync(&world), None);
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "degraded");
}

#[test]
fn mirrors_that_were_left_different_are_not_marked_clean() {
    let (world, mut manager) = unsynced();
    manager.sync_ended(number(0), 0, 1, true);
    world.log.lock().unwrap().mirrors_differ = true;
    manager.offline(number(0)).unwrap();
    assert_eq!(resync(&world), Resync::DirtyFrom(0));
    manager.online(number(0)).unwrap();
    assert_eq!(sync(&world), Some((2, 0)));
}

/// Passes were counted by each LUN. The end of the first pass of a LUN that was removed made its
/// successor, whose own first pass was running, call its mirrors synchronised.
#[test]
fn a_pass_of_a_removed_lun_is_not_one_of_its_successor() {
    let (world, mut manager) = unsynced();
    manager.remove(number(0), true).unwrap();
    let request = MakeRequest {
        clean: false,
        ..world.request(0, Level::Raid1, &[0, 1, 2])
    };
    manager.make(&request).unwrap();
    manager.online(number(0)).unwrap();
    manager.sync_ended(number(0), 0, 1, true);
    assert!(world.view(0).unwrap().parts[0].mirrors_unsynced);
    assert_eq!(sync(&world), Some((2, 0)));
}
