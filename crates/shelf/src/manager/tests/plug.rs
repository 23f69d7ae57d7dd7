//! Drives that are pulled and inserted while the shelf runs. The data path of these tests objects when it is
//! given a member to read that has missed a write.

use super::crash::{REDUNDANT, SHAPES};
use super::memory::{TEARS, Told};
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, DriveRole, DriveState, ElementId, ElementState, PartId};
use crate::manager::Manager;
use crate::target::ChangeDecision;
use aoe::ConfigCommand;
use raid::Level;
use std::time::Duration;

use ElementState::{Failed, Missing, Normal, Replaced};

/// LUN 0, online, on all drives but the last.
fn online(level: Level, members: usize) -> (World, Manager) {
    let world = World::new(&vec![2 * MIB; members + 1]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    world.make(&mut manager, 0, level, &drives);
    manager.online(number(0)).unwrap();
    drop(manager.take_notices());
    (world, manager)
}

fn id(member: u8) -> ElementId {
    PartId::first(number(0)).element(member)
}

fn states(manager: &Manager) -> Vec<ElementState> {
    let elements = &seen(manager).luns[0].elements;
    elements.iter().map(|(_, state, _)| *state).collect()
}

fn tick(manager: &mut Manager, seconds: u64) {
    manager.tick(Duration::from_secs(seconds));
}

fn pull(world: &World, manager: &mut Manager, drive: usize) {
    manager.drive_pulled(world.slot(drive));
}

fn insert(world: &World, manager: &mut Manager, drive: usize) {
    assert!(manager.may_insert(world.slot(drive)));
    manager.drive_inserted(world.drive(drive));
}

/// Something is written on every member.
fn write(manager: &mut Manager) {
    let stored = manager.config_command(number(0), ConfigCommand::ForceSet, b"written");
    assert_eq!(stored, ChangeDecision::Stored);
}

fn state(world: &World, manager: &Manager, drive: usize) -> DriveState {
    let slot = world.slot(drive);
    let drives = manager.drives();
    drives
        .iter()
        .find(|drive| drive.slot == slot)
        .unwrap()
        .state
}

#[test]
fn a_pulled_member_is_missing_and_is_rebuilt_by_the_bitmap_when_it_is_back() {
    for (level, members) in REDUNDANT {
        let (world, mut manager) = online(level, members);
        manager.want_regions(number(0), 0, &[raid::regions::RegionIndex(0)]);
        tick(&mut manager, 100);
        pull(&world, &mut manager, 1);
        assert_eq!(states(&manager)[1], Missing, "{level}");
        assert_eq!(state(&world, &manager, 1), DriveState::Missing);
        assert!(world.view(0).unwrap().parts[0].members[1].is_none());
        assert!(manager.luns()[0].online);
        write(&mut manager);
        insert(&world, &mut manager, 1);
        assert_eq!(states(&manager)[1], Replaced, "{level}");
        let view = world.view(0).unwrap();
        assert!(!view.parts[0].members[1].unwrap().in_sync);
        let sync = view.parts[0].sync.clone().unwrap();
        let concerned = sync.regions.expect("only what it lacks");
        let regions = view.parts[0].regions.as_ref().unwrap().map.regions();
        assert!(concerned.count() < regions || regions <= 8, "{level}");
        world.finish_pass(&mut manager, 0);
        assert_eq!(states(&manager), vec![Normal; members]);
        write(&mut manager);
    }
}

/// The workers meet the errors before the kernel tells that the drive is gone; and so may the administration.
#[test]
fn a_member_whose_io_fails_just_before_it_is_known_to_be_gone_was_pulled() {
    for by_metadata in [false, true] {
        let (world, mut manager) = online(Level::Raid1, 2);
        tick(&mut manager, 100);
        if by_metadata {
            world.image(1).fails_writes = true;
            write(&mut manager);
        } else {
            let slot = world.slot(1);
            let failed = manager.member_failed(number(0), 0, 1, slot, "write failed");
            failed.unwrap();
        }
        assert_eq!(states(&manager)[1], Failed);
        tick(&mut manager, 101);
        pull(&world, &mut manager, 1);
        assert_eq!(states(&manager)[1], Missing);
        world.image(1).fails_writes = false;
        insert(&world, &mut manager, 1);
        assert_eq!(states(&manager)[1], Replaced, "by metadata: {by_metadata}");
    }
}

#[test]
fn what_had_failed_before_it_was_pulled_waits_for_the_administrator() {
    for by_command in [false, true] {
        let (world, mut manager) = online(Level::Raid1, 2);
        tick(&mut manager, 100);
        if by_command {
            manager.fail(id(1)).unwrap();
        } else {
            let slot = world.slot(1);
            let failed = manager.member_failed(number(0), 0, 1, slot, "write failed");
            failed.unwrap();
            tick(&mut manager, 116);
        }
        pull(&world, &mut manager, 1);
        assert_eq!(states(&manager)[1], Missing);
        drop(manager.take_notices());
        insert(&world, &mut manager, 1);
        assert_eq!(states(&manager)[1], Failed);
        assert_eq!(
            manager.take_notices(),
            [
                "drive 1.1 was inserted",
                "drive 1.1 is element 0.0.1, which had failed: take it into use with: unfail 0.0.1"
            ]
        );
        manager.unfail(id(1)).unwrap();
        assert_eq!(states(&manager)[1], Replaced);
    }
}

/// Initiators hear nothing of a LUN that is not served, and ask again: what comes back in time was never
/// away.
#[test]
fn a_lun_that_cannot_do_without_a_drive_is_silent_until_it_is_back() {
    for (level, members) in SHAPES {
        let (world, mut manager) = online(level, members);
        let spared = usize::from(level.is_redundant()) + usize::from(level == Level::Raid6);
        for drive in 0..spared {
            pull(&world, &mut manager, drive);
            assert!(manager.luns()[0].online, "{level}");
        }
        // The mirror of the first one.
        let last = if level == Level::Raid10 {
            2
        } else {
            members - 1
        };
        pull(&world, &mut manager, last);
        assert!(world.view(0).is_none(), "{level}");
        let told = world.log.lock().unwrap().told.clone();
        assert!(told.contains(&Told::Detach(number(0))), "{level}");
        let is_listed = manager.luns().first().map(|lun| lun.online);
        assert_eq!(
            is_listed,
            (members > spared + 1).then_some(false),
            "{level}"
        );
        insert(&world, &mut manager, last);
        assert!(
            manager.luns()[0].online,
            "{level}: {:?}",
            manager.take_notices()
        );
        for drive in 0..spared {
            assert_eq!(states(&manager)[drive], Missing);
            insert(&world, &mut manager, drive);
            assert_eq!(states(&manager)[drive], Replaced, "{level}");
            world.finish_pass(&mut manager, 0);
        }
        assert_eq!(states(&manager), vec![Normal; members], "{level}");
        write(&mut manager);
    }
}

#[test]
fn an_offline_lun_is_whole_again_when_its_drives_are_back() {
    for (level, members) in SHAPES {
        let (world, mut manager) = online(level, members);
        manager.offline(number(0)).unwrap();
        let writes = world.power.lock().unwrap().writes;
        for drive in 0..members {
            pull(&world, &mut manager, drive);
        }
        assert!(manager.luns().is_empty(), "{level}");
        for drive in (0..members).rev() {
            insert(&world, &mut manager, drive);
        }
        assert_eq!(states(&manager), vec![Normal; members], "{level}");
        assert_eq!(
            world.power.lock().unwrap().writes,
            writes,
            "nothing is written"
        );
        assert!(!manager.luns()[0].online);
        manager.online(number(0)).unwrap();
    }
}

#[test]
fn a_spare_is_one_again_and_takes_the_place_of_a_pulled_member_after_a_while() {
    let (world, mut manager) = online(Level::Raid1, 2);
    tick(&mut manager, 1000);
    manager.add_spare(world.slot(2), None, false).unwrap();
    pull(&world, &mut manager, 2);
    assert!(manager.spares().is_empty());
    insert(&world, &mut manager, 2);
    assert_eq!(manager.spares().len(), 1);
    pull(&world, &mut manager, 1);
    tick(&mut manager, 1029);
    assert_eq!(states(&manager)[1], Missing);
    tick(&mut manager, 1030);
    assert_eq!(states(&manager)[1], Replaced);
    // What comes back is left over.
    insert(&world, &mut manager, 1);
    let role = seen(&manager).drives["drive1"].clone();
    let DriveRole::Foreign(what) = role else {
        panic!("{role:?}");
    };
    assert!(what.starts_with("a former element 0.0.1"), "{what}");
    world.finish_pass(&mut manager, 0);
    assert_eq!(states(&manager), [Normal; 2]);
}

#[test]
fn another_drive_in_the_slot_stays_free() {
    let (world, mut manager) = online(Level::Raid1, 2);
    pull(&world, &mut manager, 1);
    *world.image(1) = world.image(2).clone();
    insert(&world, &mut manager, 1);
    assert_eq!(states(&manager), [Normal, Missing]);
    assert_eq!(seen(&manager).drives["drive1"], DriveRole::Free);
    manager.replace(id(1), world.slot(1), false).unwrap();
    assert_eq!(states(&manager), [Normal, Replaced]);
}

#[test]
fn of_two_copies_of_a_drive_one_is_taken() {
    let (world, mut manager) = online(Level::Raid1, 2);
    pull(&world, &mut manager, 2);
    pull(&world, &mut manager, 1);
    *world.image(2) = world.image(1).clone();
    insert(&world, &mut manager, 2);
    assert_eq!(states(&manager), [Normal, Replaced]);
    insert(&world, &mut manager, 1);
    let role = &seen(&manager).drives["drive1"];
    assert!(matches!(role, DriveRole::Foreign(_)), "{role:?}");
    world.finish_pass(&mut manager, 0);
    assert_eq!(states(&manager), [Normal; 2]);
}

/// Its writes are nowhere else, and nobody but the administrator gives them up.
#[test]
fn a_drive_that_went_on_elsewhere_is_not_taken_back() {
    let (world, mut manager) = online(Level::Raid1, 2);
    pull(&world, &mut manager, 1);
    let elsewhere = world.fork();
    elsewhere.image(0).is_present = false;
    elsewhere.image(0).was_away = true;
    let mut other = elsewhere.start();
    for _ in 0..4 {
        other.offline(number(0)).unwrap();
        other.online(number(0)).unwrap();
    }
    *world.image(1) = elsewhere.image(1).clone();
    insert(&world, &mut manager, 1);
    assert_eq!(states(&manager), [Normal, Missing]);
    let role = &seen(&manager).drives["drive1"];
    assert!(matches!(role, DriveRole::Foreign(_)), "{role:?}");
}

/// Both halves of a mirror were pulled, one after the other, with a write in between. The one that was pulled
/// first does not know of it: inserted first, it was served, and what had been acknowledged was gone.
#[test]
fn the_staler_half_of_a_mirror_waits_for_the_fresher() {
    let (world, mut manager) = online(Level::Raid1, 2);
    pull(&world, &mut manager, 0);
    write(&mut manager);
    pull(&world, &mut manager, 1);
    assert!(manager.luns().is_empty());
    insert(&world, &mut manager, 0);
    let lun = manager.luns().remove(0);
    assert!(!lun.online);
    let trouble = lun.trouble.unwrap();
    assert!(
        trouble.starts_with("elements 0.0.1 are away, which were in use"),
        "{trouble}"
    );
    insert(&world, &mut manager, 1);
    assert_eq!(states(&manager), [Replaced, Normal]);
    assert!(manager.luns()[0].online);
    assert_eq!(manager.luns()[0].config_string, b"written");
    world.finish_pass(&mut manager, 0);
    assert_eq!(states(&manager), [Normal; 2]);
}

/// Its drives are to be pulled: it must not be served again meanwhile.
#[test]
fn an_ejected_lun_is_not_found_by_drives_that_come_and_go() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.eject(number(0), true).unwrap();
    pull(&world, &mut manager, 2);
    insert(&world, &mut manager, 2);
    assert!(manager.luns().is_empty());
    pull(&world, &mut manager, 1);
    assert!(manager.luns().is_empty());
    pull(&world, &mut manager, 0);
    // They are inserted again: now it is wanted.
    insert(&world, &mut manager, 0);
    assert!(!manager.luns()[0].online);
    insert(&world, &mut manager, 1);
    assert!(manager.luns()[0].online);
    assert_eq!(states(&manager), [Normal; 2]);
    // Whoever asks finds it, too.
    manager.eject(number(0), true).unwrap();
    manager.rescan().unwrap();
    assert!(manager.luns()[0].online);
}

/// The workers have not taken the view without the drive: another one in its slot would get its I/O.
#[test]
fn a_slot_waits_for_the_workers_to_know_that_a_member_is_gone() {
    let (world, mut manager) = online(Level::Raid1, 2);
    world.log.lock().unwrap().refuses = true;
    pull(&world, &mut manager, 1);
    for seconds in 1..4 {
        assert!(!manager.may_insert(world.slot(1)));
        tick(&mut manager, seconds);
    }
    world.log.lock().unwrap().refuses = false;
    tick(&mut manager, 5);
    assert!(manager.may_insert(world.slot(1)));
    insert(&world, &mut manager, 1);
    assert_eq!(states(&manager), [Normal, Replaced]);
}

#[test]
fn a_restart_while_a_drive_is_out_takes_it_back_too() {
    for (level, members) in REDUNDANT {
        let (world, mut manager) = online(level, members);
        pull(&world, &mut manager, 0);
        world.image(0).is_present = false;
        manager.shutdown();
        let mut manager = world.start();
        assert_eq!(states(&manager)[0], Missing);
        world.image(0).is_present = true;
        insert(&world, &mut manager, 0);
        assert_eq!(states(&manager)[0], Replaced, "{level}");
    }
}

#[test]
fn a_replacement_that_is_pulled_is_dropped_and_its_member_goes_on() {
    let (world, mut manager) = online(Level::Raid5, 3);
    manager.replace(id(1), world.slot(3), false).unwrap();
    pull(&world, &mut manager, 3);
    assert_eq!(states(&manager), [Normal; 3]);
    insert(&world, &mut manager, 3);
    assert_eq!(states(&manager), [Normal; 3]);
    // The other way round the replacement takes its place.
    manager.replace(id(1), world.slot(3), true).unwrap();
    pull(&world, &mut manager, 1);
    assert_eq!(states(&manager), [Normal, Replaced, Normal]);
    world.finish_pass(&mut manager, 0);
    insert(&world, &mut manager, 1);
    assert_eq!(states(&manager), [Normal; 3]);
    let elements = &seen(&manager).luns[0].elements;
    assert_eq!(elements[1].2.as_deref(), Some("drive3"));
}

#[test]
fn workers_that_do_not_let_go_are_asked_again_and_the_slot_waits() {
    let (world, mut manager) = online(Level::Raid0, 2);
    world.log.lock().unwrap().refuses = true;
    pull(&world, &mut manager, 1);
    assert!(!manager.may_insert(world.slot(1)));
    tick(&mut manager, 1);
    assert!(!manager.may_insert(world.slot(1)));
    world.log.lock().unwrap().refuses = false;
    tick(&mut manager, 2);
    assert!(manager.may_insert(world.slot(1)));
    insert(&world, &mut manager, 1);
    assert!(manager.luns()[0].online);
}

#[test]
fn a_drive_that_keeps_coming_and_going_is_left_to_the_administrator() {
    let (world, mut manager) = online(Level::Raid1, 2);
    for round in 0..4 {
        tick(&mut manager, 1000 + 60 * round);
        pull(&world, &mut manager, 0);
        insert(&world, &mut manager, 0);
        let is_taken = states(&manager)[0] == Replaced;
        assert_eq!(is_taken, round < 3);
        world.finish_pass(&mut manager, 0);
    }
    assert_eq!(states(&manager), [Failed, Normal]);
}

#[test]
fn a_new_slot_takes_its_place_among_the_others() {
    let (world, mut manager) = online(Level::Raid1, 2);
    let mut drive = world.drive(2);
    drive.slot = crate::admin::DriveSlot(9);
    assert!(manager.may_insert(drive.slot));
    manager.drive_inserted(drive);
    let slots: Vec<u16> = manager.drives().iter().map(|drive| drive.slot.0).collect();
    assert_eq!(slots, [0, 1, 2, 9]);
    assert!(!manager.may_insert(world.slot(0)), "there is a drive in it");
}

/// At each cut the member is as before, failed, or taken back; and the others serve.
#[test]
fn a_member_is_pulled_and_taken_back_whatever_the_power() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid6, 4)] {
        let life = |world: &World| {
            let mut manager = world.start();
            pull(world, &mut manager, 1);
            if manager.may_insert(world.slot(1)) {
                manager.drive_inserted(world.drive(1));
            }
            manager.luns().first().map(|_| states(&manager)[1])
        };
        let (world, manager) = online(level, members);
        drop(manager);
        let base = world.fork();
        let whole = base.fork();
        assert_eq!(life(&whole), Some(Replaced));
        let writes = whole.power.lock().unwrap().writes;
        for k in 0..writes {
            for tear in TEARS {
                let world = base.fork();
                world.cut_power_after(k, tear);
                life(&world);
                let seen = seen(&world.fork().start());
                assert!(seen.luns[0].online, "write {k} of {writes}, {tear:?}");
            }
        }
    }
}
