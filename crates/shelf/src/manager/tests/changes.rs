//! Changes of a LUN that is there, without crashes.

use super::memory::Told;
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole};
use crate::target::ChangeDecision;
use aoe::{ConfigCommand, Shelf};
use raid::Level;
use raid::md::Resync;
use raid::regions::RegionIndex;

fn told(world: &World) -> Vec<Told> {
    std::mem::take(&mut world.log.lock().unwrap().told)
}

#[test]
fn online_attaches_then_advertises_and_doing_it_twice_is_no_error() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 5, Level::Raid1, &[0, 1]);
    assert_eq!(told(&world), []);
    for _ in 0..2 {
        manager.online(number(5)).unwrap();
    }
    assert_eq!(
        told(&world),
        [Told::Probe, Told::Attach, Told::Advertise].map(|told| told(number(5)))
    );
    let view = world.view(5).unwrap();
    assert_eq!(
        (view.shelf, view.lun, view.online),
        (Shelf(1), number(5), true)
    );
    // IDENTIFY words 27 to 46: bytes swapped in each word.
    assert_eq!(&view.identify[54..66], b"eLgd eardi 1");
    for _ in 0..2 {
        manager.offline(number(5)).unwrap();
    }
    assert_eq!(told(&world), [Told::Detach(number(5))]);
    let missing = Err(AdminError::NoSuchLun(number(6)));
    assert_eq!(manager.online(number(6)), missing);
    assert_eq!(manager.offline(number(6)), missing);
    assert_eq!(manager.remove(number(6), true), missing);
}

#[test]
fn a_lun_comes_back_as_it_was_in_other_slots() {
    let world = World::new(&[2 * MIB; 6]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid10, &[3, 1, 0, 4]);
    world.make(&mut manager, 1, Level::Jbod, &[2]);
    manager.online(number(0)).unwrap();
    manager.config_command(number(0), ConfigCommand::SetIfEmpty, b"mine");
    let before = seen(&manager);
    manager.shutdown();
    for _ in 0..2 {
        let world = world.fork();
        let manager = world.start();
        assert_eq!(seen(&manager), before);
        let expected = [Told::Probe, Told::Attach, Told::Advertise];
        let expected = expected.map(|told| told(number(0)));
        assert_eq!(told(&world), expected);
        let view = world.view(0).unwrap();
        let slots: Vec<_> = view.parts[0]
            .members
            .iter()
            .map(|member| member.unwrap().drive)
            .collect();
        assert_eq!(slots, [3, 1, 0, 4].map(|index| world.slot(index)));
    }
}

#[test]
fn mirrors_are_marked_clean_only_after_an_orderly_stop() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    let resync = |world: &World| world.image(1).superblock().unwrap().resync();
    assert_eq!(resync(&world), Resync::DirtyFrom(0));
    // A crash now finds that nothing was written.
    let crashed = world.fork();
    drop(crashed.start());
    assert!(!crashed.view(0).unwrap().parts[0].mirrors_unsynced);
    // A crash under a write: the mirrors may differ, and no later stop says otherwise.
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    let crashed = world.fork();
    let mut again = crashed.start();
    assert!(crashed.view(0).unwrap().parts[0].mirrors_unsynced);
    again.shutdown();
    assert_eq!(resync(&crashed), Resync::DirtyFrom(0));
    // An orderly stop instead.
    manager.shutdown();
    assert_eq!(resync(&world), Resync::Clean);
    let world = world.fork();
    let mut manager = world.start();
    assert!(!world.view(0).unwrap().parts[0].mirrors_unsynced);
    manager.offline(number(0)).unwrap();
    assert_eq!(resync(&world), Resync::Clean);
}

#[test]
fn remove_frees_the_drives_and_needs_force_when_online() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    let refused = AdminError::LunOnline {
        lun: number(0),
        action: "removal",
    };
    assert_eq!(manager.remove(number(0), false), Err(refused));
    manager.remove(number(0), true).unwrap();
    assert!(manager.luns().is_empty());
    assert!(
        manager
            .drives()
            .iter()
            .all(|drive| drive.role == DriveRole::Free)
    );
    assert_eq!(world.view(0), None);
    world.make(&mut manager, 0, Level::Raid0, &[1, 0]);
    assert_eq!(seen(&world.fork().start()), seen(&manager));
}

#[test]
fn config_strings_are_decided_as_the_protocol_says() {
    use ChangeDecision as D;
    use ConfigCommand as C;
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    told(&world);
    let mut config = |command, string: &[u8]| manager.config_command(number(0), command, string);
    assert_eq!(config(C::SetIfEmpty, b"a"), D::Stored);
    assert_eq!(
        told(&world),
        [Told::Attach(number(0)), Told::Advertise(number(0))]
    );
    assert_eq!(world.view(0).unwrap().config_string, b"a");
    assert_eq!(config(C::SetIfEmpty, b"a"), D::Stored);
    assert_eq!(config(C::SetIfEmpty, b"b"), D::Present);
    assert_eq!(told(&world), [], "nothing changed");
    assert_eq!(config(C::ForceSet, b"b"), D::Stored);
    assert_eq!(config(C::ForceSet, &[0; 1025]), D::BadArgument);
    assert_eq!(config(C::Read, b""), D::BadArgument);
    assert_eq!(config(C::TestAndReplace, b"b"), D::BadArgument);
    assert_eq!(
        manager.replace_config_string(number(0), b"a", b"c"),
        D::Present
    );
    assert_eq!(
        manager.replace_config_string(number(0), b"b", b"c"),
        D::Stored
    );
    assert_eq!(
        manager.config_command(number(0), C::ForceSet, b""),
        D::Stored
    );
    assert_eq!(
        manager.config_command(number(9), C::ForceSet, b""),
        D::Silence
    );
    assert_eq!(world.view(0).unwrap().config_string, b"");
    manager.config_command(number(0), C::ForceSet, &[7; 1024]);
    assert_eq!(seen(&world.fork().start()).luns[0].config_string, [7; 1024]);
}

#[test]
fn the_shelf_number_moves_every_lun() {
    let world = World::new(&[2 * MIB; 3]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    assert_eq!(manager.set_shelf(2), Err(AdminError::OnlineLuns));
    manager.offline(number(0)).unwrap();
    for wrong in [4095, 65535, 1 << 20] {
        assert_eq!(
            manager.set_shelf(wrong),
            Err(AdminError::InvalidShelf(wrong))
        );
    }
    manager.set_shelf(1).unwrap();
    manager.set_shelf(2).unwrap();
    assert_eq!(manager.shelf(), Some(Shelf(2)));
    assert_eq!(world.image(0).superblock().unwrap().name(), "2:0");
    let found = seen(&world.fork().start());
    assert_eq!((found.shelf, found.luns.len()), (Some(Shelf(2)), 1));
    manager.online(number(0)).unwrap();
    assert_eq!(world.view(0).unwrap().shelf, Shelf(2));
}

#[test]
fn workers_that_hang_leave_things_as_they_were() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    world.log.lock().unwrap().refuses = true;
    assert!(matches!(manager.online(number(0)), Err(AdminError::Io(_))));
    assert!(!manager.luns()[0].online);
    assert!(!seen(&world.fork().start()).luns[0].online);
    world.log.lock().unwrap().refuses = false;
    manager.online(number(0)).unwrap();
    world.log.lock().unwrap().refuses = true;
    assert!(matches!(manager.offline(number(0)), Err(AdminError::Io(_))));
    assert!(matches!(
        manager.remove(number(0), true),
        Err(AdminError::Io(_))
    ));
    assert!(manager.luns()[0].online);
    manager.shutdown();
    assert_ne!(world.image(0).superblock().unwrap().resync(), Resync::Clean);
}

#[test]
fn an_ejected_lun_is_found_again() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    let before = seen(&manager);
    let refused = manager.eject(number(0), false);
    let action = "ejecting";
    let lun = number(0);
    assert_eq!(refused, Err(AdminError::LunOnline { lun, action }));
    manager.eject(number(0), true).unwrap();
    assert!(manager.luns().is_empty() && world.view(0).is_none());
    let refused = manager.make(&world.request(1, Level::Jbod, &[0]));
    assert!(matches!(refused, Err(AdminError::DriveForeign { .. })));
    assert_eq!(
        manager.eject(number(0), true),
        Err(AdminError::NoSuchLun(lun))
    );
    // Who asks for what is of another shelf does not get it back; that was found by fuzzing.
    let of_other = manager.adopt(2, number(0), number(0));
    assert!(matches!(of_other, Err(AdminError::NothingElsewhere { .. })));
    manager.look_elsewhere().unwrap();
    assert!(manager.luns().is_empty());
    manager.rescan().unwrap();
    assert_eq!(seen(&manager), before);
    assert!(world.view(0).is_some());
}
