//! Members that fail while the LUN is there.

use super::memory::TEARS;
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveSlot, ElementState};
use crate::manager::{Manager, MemberFailure};
use crate::target::ChangeDecision;
use aoe::ConfigCommand;
use raid::Level;
use raid::md::Role;

use ElementState::{Failed, Normal};

fn online(level: Level, members: usize) -> (World, Manager) {
    let world = World::new(&vec![2 * MIB; members]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    world.make(&mut manager, 0, level, &drives);
    manager.online(number(0)).unwrap();
    (world, manager)
}

fn states(manager: &Manager) -> Vec<ElementState> {
    seen(manager).luns[0]
        .elements
        .iter()
        .map(|(_, state, _)| *state)
        .collect()
}

fn present(world: &World) -> Vec<bool> {
    world.view(0).unwrap().parts[0]
        .members
        .iter()
        .map(Option::is_some)
        .collect()
}

#[test]
fn a_failed_member_is_given_up_on_the_survivors_first() {
    let (world, mut manager) = online(Level::Raid10, 4);
    let failure = manager
        .member_failed(number(0), 0, 1, DriveSlot(1), "Input/output error")
        .unwrap();
    assert_eq!(failure, MemberFailure::GivenUp);
    // That it was durable before is checked by the data path of the world.
    assert_eq!(present(&world), [true, false, true, true]);
    assert_eq!(states(&manager), [Normal, Failed, Normal, Normal]);
    assert_eq!(
        manager.take_notices(),
        ["element 0.0.1 failed: Input/output error"]
    );
    // Its mirror is now the last copy.
    let kept = manager
        .member_failed(number(0), 0, 3, DriveSlot(3), "Input/output error")
        .unwrap();
    assert_eq!(kept, MemberFailure::Kept);
    assert_eq!(present(&world), [true, false, true, true]);
    // A restart does not take it back.
    drop(manager);
    let world = world.fork();
    assert_eq!(states(&world.start()), [Normal, Failed, Normal, Normal]);
}

#[test]
fn levels_without_redundancy_keep_their_members() {
    for (level, members) in [(Level::Jbod, 1), (Level::Raid0, 3)] {
        let (world, mut manager) = online(level, members);
        let writes = world.power.lock().unwrap().writes;
        let kept = manager
            .member_failed(number(0), 0, 0, DriveSlot(0), "Input/output error")
            .unwrap();
        assert_eq!(kept, MemberFailure::Kept);
        assert_eq!(world.power.lock().unwrap().writes, writes);
    }
}

#[test]
fn elements_that_do_not_exist_cannot_fail() {
    let (_world, mut manager) = online(Level::Raid1, 2);
    for (part, member) in [(0, 2), (1, 0)] {
        let refused = manager.member_failed(number(0), part, member, DriveSlot(0), "?");
        assert!(matches!(refused, Err(AdminError::Io(_))));
    }
    let refused = manager.member_failed(number(1), 0, 0, DriveSlot(0), "?");
    assert_eq!(refused, Err(AdminError::NoSuchLun(number(1))));
}

#[test]
fn a_survivor_that_fails_to_record_it_fails_too() {
    let (world, mut manager) = online(Level::Raid1, 3);
    world.image(0).fails_writes = true;
    manager
        .member_failed(number(0), 0, 1, DriveSlot(1), "Input/output error")
        .unwrap();
    assert_eq!(present(&world), [false, false, true]);
    world.image(0).fails_writes = false;
    drop(manager);
    assert_eq!(states(&world.fork().start()), [Failed, Failed, Normal]);
}

#[test]
fn a_failure_that_nobody_can_record_is_not_taken() {
    let (world, mut manager) = online(Level::Raid1, 2);
    world.image(0).fails_writes = true;
    let refused = manager.member_failed(number(0), 0, 1, DriveSlot(1), "Input/output error");
    assert!(matches!(refused, Err(AdminError::Io(_))), "{refused:?}");
    assert_eq!(present(&world), [true, true]);
    assert_eq!(states(&manager), [Normal, Normal]);
}

#[test]
fn a_drive_that_fails_a_change_of_a_mirror_is_given_up() {
    let (world, mut manager) = online(Level::Raid1, 2);
    world.image(1).fails_writes = true;
    let decision = manager.config_command(number(0), ConfigCommand::ForceSet, b"x");
    assert_eq!(decision, ChangeDecision::Stored);
    assert_eq!(present(&world), [true, false]);
    manager.offline(number(0)).unwrap();
    world.image(1).fails_writes = false;
    drop(manager);
    let manager = world.fork().start();
    assert_eq!(states(&manager), [Normal, Failed]);
    assert_eq!(seen(&manager).luns[0].config_string, b"x");
}

#[test]
fn a_drive_that_fails_a_change_of_a_stripe_leaves_it_as_it_was() {
    let (world, mut manager) = online(Level::Raid0, 2);
    world.image(1).fails_writes = true;
    let decision = manager.config_command(number(0), ConfigCommand::ForceSet, b"x");
    assert_eq!(decision, ChangeDecision::Silence);
    assert!(matches!(manager.offline(number(0)), Err(AdminError::Io(_))));
    assert!(manager.luns()[0].online);
    world.image(1).fails_writes = false;
    drop(manager);
    let found = seen(&world.fork().start());
    assert_eq!(found.luns[0].config_string, b"");
    assert!(found.luns[0].online);
}

#[test]
fn a_drive_that_cannot_be_erased_is_reported() {
    let (world, mut manager) = online(Level::Raid1, 2);
    world.image(1).fails_writes = true;
    let result = manager.remove(number(0), true);
    assert!(matches!(&result, Err(AdminError::Io(text)) if text.starts_with("LUN 0 is removed")));
    assert!(manager.luns().is_empty());
    assert!(world.image(0).superblock().is_none());
}

#[test]
fn power_cut_while_a_member_is_given_up_leaves_it_in_or_out() {
    let (base, manager) = online(Level::Raid1, 3);
    drop(manager);
    let (mut ins, mut outs) = (0, 0);
    // The bitmap, then two rounds, on two survivors.
    for k in 0..6 {
        for tear in TEARS {
            let world = base.fork();
            let mut manager = world.start();
            world.cut_power_after(k, tear);
            let taken = manager.member_failed(number(0), 0, 1, world.slot(1), "Input/output error");
            assert!(taken.is_err());
            drop(manager);
            match states(&world.fork().start()).as_slice() {
                [Normal, Normal, Normal] => ins += 1,
                [Normal, Failed, Normal] => outs += 1,
                other => panic!("write {k}, {tear:?}: {other:?}"),
            }
        }
    }
    assert_eq!((ins, outs), (13, 17));
}

/// A kernel takes a member that is one event behind the freshest for as good as that. A member that
/// was given up was one behind, and Linux put it back into the mirror, where it missed every write.
#[test]
fn who_is_given_up_is_two_events_behind_and_nobody_else_is() {
    let (world, mut manager) = online(Level::Raid1, 3);
    let events = |index: usize| world.image(index).superblock().unwrap().events();
    let before = events(1);
    manager
        .member_failed(number(0), 0, 1, DriveSlot(1), "Input/output error")
        .unwrap();
    assert_eq!([0, 1, 2].map(events), [before + 2, before, before + 2]);
    // One that is late at start is left behind, too.
    drop(manager);
    let late = world.fork();
    late.image(0).is_present = false;
    let _manager = late.start();
    let events = |index: usize| late.image(index).superblock().unwrap().events();
    assert!(events(2) >= events(0) + 2);
}

/// Linux rebuilt element 0 on a disk of its own, which it gave the device number 2, and the role 0.
/// That disk is no member of ours and misses what is written from now on: nobody may call it active.
#[test]
fn a_device_that_linux_added_is_failed_when_we_go_on_without_it() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager.shutdown();
    drop(manager);
    let world = world.fork();
    super::assembly::patch_superblock(&mut world.image(1), |superblock| {
        superblock.set_role(0, Role::Faulty);
        superblock.set_role(2, Role::Active(0));
        superblock.set_events(superblock.events() + 9, 0);
    });
    let manager = world.start();
    assert_eq!(states(&manager), [Failed, Normal]);
    assert!(manager.luns()[0].online);
    let superblock = world.image(1).superblock().unwrap();
    assert_eq!(superblock.active_devices().collect::<Vec<_>>(), [(1, 1)]);
    assert_eq!(superblock.role(2), Role::Faulty);
}

/// A write of a LUN that was removed failed late, and its report hit the LUN that had been made with
/// the same number, on other drives.
#[test]
fn a_failure_of_a_drive_that_is_not_the_members_is_ignored() {
    let (world, mut manager) = online(Level::Raid1, 2);
    let failure = manager.member_failed(number(0), 0, 1, DriveSlot(7), "of another LUN");
    assert_eq!(failure, Ok(MemberFailure::GivenUp));
    assert_eq!(states(&manager), [Normal, Normal]);
    assert_eq!(present(&world), [true, true]);
}
