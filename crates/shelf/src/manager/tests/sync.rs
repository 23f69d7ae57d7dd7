//! Resynchronisation, as the metadata and the views tell it.

use super::world::{World, number};
use crate::admin::{Admin, DriveSlot, ElementId, MakeRequest};
use crate::manager::Manager;
use crate::target::Lacking;
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

/// A raid1 whose second member is being rebuilt, and its pass.
fn rebuilding() -> (World, Manager, u64) {
    let world = World::new(&[2 * MIB; 3]);
    let mut manager = world.start();
    manager
        .make(&world.request(0, Level::Raid1, &[0, 1]))
        .unwrap();
    manager.online(number(0)).unwrap();
    let id = ElementId {
        lun: number(0),
        part: 0,
        member: 1,
    };
    manager.fail(id).unwrap();
    manager.replace(id, DriveSlot(2), true).unwrap();
    let pass = sync(&world).unwrap().0;
    (world, manager, pass)
}

fn lacking(member_sector: u64) -> Lacking {
    Lacking {
        member_sector,
        sectors: 1,
        elements: 1 << 1,
        twins: 0,
    }
}

fn noted(world: &World) -> Option<u64> {
    let view = world.view(0).unwrap();
    view.parts[0].sync.as_ref().map(|sync| sync.noted)
}

#[test]
fn what_nobody_can_give_is_bad_on_the_new_member_before_it_counts_as_rebuilt() {
    let (world, mut manager, pass) = rebuilding();
    for (count, sector) in (1..).zip([70, 71, 500]) {
        manager.sync_unreadable(number(0), 0, pass, &lacking(sector));
        assert_eq!(noted(&world), Some(count));
    }
    manager.sync_unreadable(number(0), 0, pass - 1, &lacking(900));
    assert_eq!(noted(&world), Some(3), "of an older pass");
    let crashed = world.fork();
    let _again = crashed.start();
    let bad = |world: &World| {
        let log = world.log.lock().unwrap();
        let told = log.bad_blocks[&world.slot(2)].clone();
        told.iter()
            .map(|range| (range.sector, range.sectors))
            .collect::<Vec<_>>()
    };
    let expected = [(768 + 70, 2), (768 + 500, 1)];
    assert_eq!(bad(&crashed), expected, "durable before the step went on");
    world.finish_pass(&mut manager, 0);
    assert!(world.view(0).unwrap().parts[0].members[1].is_some_and(|member| member.in_sync));
    assert_eq!(bad(&world), expected);
}

#[test]
fn a_rebuild_that_cannot_note_any_more_ends_incomplete_and_says_so() {
    let (world, mut manager, pass) = rebuilding();
    for sector in (0..512).map(|entry| entry * 2) {
        manager.sync_unreadable(number(0), 0, pass, &lacking(sector));
    }
    assert_eq!(noted(&world), Some(512));
    manager.take_notices();
    manager.sync_unreadable(number(0), 0, pass, &lacking(2000));
    assert_eq!(noted(&world), None, "the pass is over");
    let notices = manager.take_notices().join("\n");
    assert!(
        notices.contains("ends incomplete at member sector 2000") && notices.contains("full"),
        "{notices}"
    );
    assert!(world.view(0).unwrap().parts[0].members[1].is_some_and(|member| !member.in_sync));
}
