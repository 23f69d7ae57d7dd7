//! Members that are failed, replaced and rebuilt by the administrator's word.

use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole, ElementId, ElementState, PartId};
use crate::manager::Manager;
use crate::plane::SyncView;
use raid::Level;
use raid::md::{Resync, Role};
use raid::regions::RegionIndex;

fn id(lun: u8, member: u8) -> ElementId {
    ElementId {
        lun: number(lun),
        part: 0,
        member,
    }
}

fn states(manager: &Manager) -> Vec<ElementState> {
    let luns = manager.luns();
    luns[0].parts[0].elements.iter().map(|e| e.state).collect()
}

fn raid_state(manager: &Manager) -> String {
    manager.luns()[0].parts[0].state.to_string()
}

fn sync(world: &World) -> Option<SyncView> {
    world.view(0).unwrap().parts[0].sync.clone()
}

/// LUN 0 on all drives but the last, online.
fn online(level: Level, members: usize) -> (World, Manager) {
    let world = World::new(&vec![2 * MIB; members + 1]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    world.make(&mut manager, 0, level, &drives);
    manager.online(number(0)).unwrap();
    (world, manager)
}

#[test]
fn an_element_that_failed_is_rebuilt_on_another_drive() {
    let (world, mut manager) = online(Level::Raid10, 4);
    manager.fail(id(0, 1)).unwrap();
    assert_eq!(raid_state(&manager), "degraded");
    assert!(world.view(0).unwrap().parts[0].members[1].is_none());
    manager.replace(id(0, 1), world.slot(4), false).unwrap();
    assert_eq!(states(&manager)[1], ElementState::Replaced);
    assert_eq!(raid_state(&manager), "recovering,degraded");
    let joined = world.image(4).superblock().unwrap();
    assert_eq!((joined.dev_number(), joined.recovery()), (4, Some(0)));
    // Element 1 of four is role 2 of md, and was device 2.
    assert_eq!(joined.role(4), Role::Active(2));
    assert_eq!(joined.role(2), Role::Faulty);
    let view = world.view(0).unwrap();
    let member = view.parts[0].members[1].unwrap();
    assert_eq!((member.drive, member.in_sync), (world.slot(4), false));
    assert!(sync(&world).is_some());
    let former = &manager.drives()[1].role;
    assert!(
        matches!(former, DriveRole::Foreign(what) if what.starts_with("a former element 0.0.1"))
    );

    world.finish_pass(&mut manager, 0);
    assert_eq!(raid_state(&manager), "normal");
    assert_eq!(sync(&world), None);
    assert_eq!(world.image(4).superblock().unwrap().recovery(), None);
    let before = seen(&manager);
    manager.shutdown();
    assert_eq!(world.image(4).superblock().unwrap().resync(), Resync::Clean);
    let world = world.fork();
    let after = seen(&world.start());
    assert_eq!(after.luns, before.luns);
    let former = &after.drives["drive1"];
    assert!(
        matches!(former, DriveRole::Foreign(what) if what.starts_with("a former element 0.0.1"))
    );
}

#[test]
fn a_rebuild_goes_on_where_it_was() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.fail(id(0, 0)).unwrap();
    manager.unfail(id(0, 0)).unwrap();
    let pass = sync(&world).unwrap().pass;
    manager.sync_reached(number(0), 0, pass, 512);
    assert_eq!(world.image(0).superblock().unwrap().recovery(), Some(512));
    let idle = world.fork();
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    let crashed = world.fork();
    manager.sync_reached(number(0), 0, pass, 768);
    manager.shutdown();
    assert_eq!(world.image(0).superblock().unwrap().recovery(), Some(768));

    let stopped = world.fork();
    let mut manager = stopped.start();
    assert_eq!(states(&manager)[0], ElementState::Replaced);
    assert_eq!(sync(&stopped).unwrap().start_lba, 768);
    stopped.finish_pass(&mut manager, 0);
    assert_eq!(raid_state(&manager), "normal");

    let _again = idle.start();
    assert_eq!(sync(&idle).unwrap().start_lba, 512);

    // After a crash mirrors may differ where they were written: one pass does both.
    let mut manager = crashed.start();
    assert_eq!(raid_state(&manager), "initing,recovering,degraded");
    assert_eq!(sync(&crashed).unwrap().start_lba, 0);
    let superblock = crashed.image(0).superblock().unwrap();
    assert_eq!(superblock.recovery(), Some(512), "what was done stays done");
    crashed.finish_pass(&mut manager, 0);
    assert_eq!(raid_state(&manager), "normal");
    assert!(!crashed.view(0).unwrap().parts[0].mirrors_unsynced);
}

#[test]
fn a_second_member_joins_the_rebuild_of_the_first() {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid10, &[0, 1, 2, 3]);
    manager.online(number(0)).unwrap();
    manager.fail(id(0, 0)).unwrap();
    manager.unfail(id(0, 0)).unwrap();
    let first = sync(&world).unwrap();
    manager.sync_reached(number(0), 0, first.pass, 512);
    manager.fail(id(0, 3)).unwrap();
    let still = sync(&world).unwrap();
    assert_eq!((still.pass, still.start_lba), (first.pass, 512));
    manager.unfail(id(0, 3)).unwrap();
    let second = sync(&world).unwrap();
    assert_eq!(second.start_lba, 0);
    assert!(second.pass > first.pass);
    // A report of the first pass says nothing of the second member.
    manager.sync_reached(number(0), 0, first.pass, 1024);
    manager.sync_ended(number(0), 0, first.pass, true);
    assert_eq!(raid_state(&manager), "recovering,degraded");
    manager.sync_reached(number(0), 0, second.pass, 256);
    let done = |index| world.image(index).superblock().unwrap().recovery();
    assert_eq!((done(0), done(3)), (Some(256), Some(128)));
    world.finish_pass(&mut manager, 0);
    assert_eq!(raid_state(&manager), "normal");
}

#[test]
fn a_member_that_fails_while_it_is_rebuilt_is_failed_again() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.fail(id(0, 1)).unwrap();
    manager.replace(id(0, 1), world.slot(2), false).unwrap();
    world.image(2).fails_writes = true;
    let pass = sync(&world).unwrap().pass;
    manager.sync_reached(number(0), 0, pass, 512);
    assert_eq!(states(&manager)[1], ElementState::Failed);
    assert!(world.view(0).unwrap().parts[0].members[1].is_none());
    assert_eq!(sync(&world), None);
    // A drive that does not take the metadata is not taken.
    let refused = manager.unfail(id(0, 1));
    assert!(matches!(refused, Err(AdminError::Io(_))), "{refused:?}");
    assert_eq!(states(&manager)[1], ElementState::Failed);
    world.image(2).fails_writes = false;
    manager.unfail(id(0, 1)).unwrap();
    world.finish_pass(&mut manager, 0);
    assert_eq!(raid_state(&manager), "normal");
}

#[test]
fn what_a_raid_needs_is_not_failed() {
    let (world, mut manager) = online(Level::Raid1, 2);
    let raid = PartId {
        lun: number(0),
        part: 0,
    };
    assert_eq!(
        manager.fail(id(1, 0)),
        Err(AdminError::NoSuchLun(number(1)))
    );
    assert_eq!(
        manager.fail(id(0, 2)),
        Err(AdminError::NoSuchElement(id(0, 2)))
    );
    assert_eq!(
        manager.unfail(id(0, 0)),
        Err(AdminError::NotFailed(id(0, 0)))
    );
    manager.fail(id(0, 0)).unwrap();
    assert_eq!(
        manager.fail(id(0, 0)),
        Err(AdminError::AlreadyFailed(id(0, 0)))
    );
    assert_eq!(
        manager.fail(id(0, 1)),
        Err(AdminError::WouldFailRaid(id(0, 1)))
    );
    let refused = manager.replace(id(0, 0), world.slot(1), false);
    assert!(matches!(refused, Err(AdminError::DriveInUse(_))));
    let (_, mut striped) = online(Level::Raid0, 2);
    let but = "would not sustain failure";
    assert_eq!(
        striped.fail(id(0, 0)),
        Err(AdminError::NotRedundant { raid, but })
    );
}

#[test]
fn a_drive_must_be_fit_to_be_rebuilt_on() {
    let world = World::new(&[2 * MIB, 2 * MIB, MIB, 2 * MIB]);
    world.image(3).foreign = Some("an ext4 file system".to_owned());
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.fail(id(0, 0)).unwrap();
    let refused = manager.replace(id(0, 0), world.slot(2), false);
    let room = "1.2 is not large enough for raid 0.0: it has room for 655360 bytes of 1703936";
    assert_eq!(refused.unwrap_err().to_string(), room);
    let refused = manager.replace(id(0, 0), world.slot(3), false);
    assert!(matches!(refused, Err(AdminError::DriveForeign { .. })));
    manager.replace(id(0, 0), world.slot(3), true).unwrap();
    assert_eq!(states(&manager)[0], ElementState::Replaced);
    assert_eq!(manager.drives()[3].role, DriveRole::Element(id(0, 0)));
}

#[test]
fn a_member_that_is_being_rebuilt_may_be_failed() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.fail(id(0, 0)).unwrap();
    manager.unfail(id(0, 0)).unwrap();
    manager.fail(id(0, 0)).unwrap();
    assert_eq!(raid_state(&manager), "degraded");
    assert_eq!(sync(&world), None);
}

#[test]
fn parity_that_is_not_initialised_needs_all_members() {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    let request = crate::admin::MakeRequest {
        clean: false,
        ..world.request(0, Level::Raid5, &[0, 1, 2])
    };
    manager.make(&request).unwrap();
    manager.online(number(0)).unwrap();
    let raid = PartId {
        lun: number(0),
        part: 0,
    };
    assert_eq!(raid_state(&manager), "initing");
    assert_eq!(
        manager.fail(id(0, 0)),
        Err(AdminError::UninitializedParity(raid))
    );
    world.finish_pass(&mut manager, 0);
    manager.fail(id(0, 0)).unwrap();
    assert_eq!(
        manager.fail(id(0, 1)),
        Err(AdminError::WouldFailRaid(id(0, 1)))
    );
    manager.replace(id(0, 0), world.slot(3), false).unwrap();
    world.finish_pass(&mut manager, 0);
    assert_eq!(raid_state(&manager), "normal");
}

/// The regions of the pass that is wanted.
fn regions(world: &World) -> Vec<u32> {
    let regions = sync(world).unwrap().regions.unwrap();
    regions.iter().map(|region| region.0).collect()
}

#[test]
fn a_member_that_was_away_gets_only_what_it_missed() {
    let (world, mut manager) = online(Level::Raid5, 3);
    manager.fail(id(0, 1)).unwrap();
    manager.want_regions(number(0), 0, &[RegionIndex(16)]);
    let other = world.fork();
    manager.unfail(id(0, 1)).unwrap();
    assert_eq!(regions(&world), (16..24).collect::<Vec<_>>());
    world.finish_pass(&mut manager, 0);
    assert_eq!(raid_state(&manager), "normal");

    // Another drive, or one that was only half rebuilt, gets everything.
    let mut manager = other.start();
    other.finish_pass(&mut manager, 0);
    manager.replace(id(0, 1), other.slot(3), false).unwrap();
    assert_eq!(regions(&other).len(), 26);
    manager.fail(id(0, 1)).unwrap();
    manager.unfail(id(0, 1)).unwrap();
    assert_eq!(regions(&other).len(), 26);
    other.finish_pass(&mut manager, 0);
    // What is cleared now the first drive does not know of.
    manager.offline(number(0)).unwrap();
    manager.online(number(0)).unwrap();
    manager.fail(id(0, 1)).unwrap();
    manager.replace(id(0, 1), other.slot(1), true).unwrap();
    assert_eq!(regions(&other).len(), 26);
}

/// Each half of the mirror took writes of which the other knows nothing.
#[test]
fn the_half_that_is_given_up_gets_everything() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.shutdown();
    for (away, here) in [(0, 1), (1, 0)] {
        world.image(away).is_present = false;
        world.image(away).was_away = true;
        world.image(here).is_present = true;
        world.start().shutdown();
    }
    world.image(1).is_present = true;
    let mut manager = world.start();
    manager.online(number(0)).unwrap();
    let failed = states(&manager)
        .iter()
        .position(|state| *state == ElementState::Failed)
        .unwrap();
    manager.unfail(id(0, failed.try_into().unwrap())).unwrap();
    let all = world.view(0).unwrap().parts[0]
        .regions
        .as_ref()
        .unwrap()
        .map
        .regions();
    assert_eq!(regions(&world).len(), all as usize);
}

/// The superblocks have 1920 device numbers; here all but six are taken. A drive that gets one anew that it
/// had before holds a record of that time, which must not count again.
#[test]
fn an_array_outlives_its_device_numbers() {
    let (mut world, mut manager) = online(Level::Raid1, 2);
    manager.shutdown();
    for disk in [0, 1] {
        let mut image = world.image(disk);
        let mut superblock = image.superblock().unwrap();
        for device in 8..1920 {
            superblock.set_role(device, Role::Other(0xfffd));
        }
        image.write(8, &superblock.encode());
    }
    manager = world.start();
    let (mut members, mut idle) = ([0, 1], 2);
    let number = |world: &World, disk: usize| world.image(disk).superblock().unwrap().dev_number();
    for round in 0..300 {
        let element = round % 2;
        let id = id(0, u8::try_from(element).unwrap());
        manager.replace(id, world.slot(idle), true).unwrap();
        if round % 5 == 0 {
            manager.fail(id).unwrap();
        }
        world.finish_pass(&mut manager, 0);
        std::mem::swap(&mut members[element], &mut idle);
        let numbers = members.map(|disk| number(&world, disk));
        assert!(numbers[0] != numbers[1] && numbers.iter().all(|number| *number < 8));
        let before = seen(&manager).luns;
        if round % 3 > 0 {
            manager.shutdown();
        }
        world = world.fork();
        manager = world.start();
        let after = seen(&manager).luns;
        assert_eq!(after[0].elements, before[0].elements, "round {round}");
        assert!(after[0].online, "round {round}");
        world.finish_pass(&mut manager, 0);
    }
}
