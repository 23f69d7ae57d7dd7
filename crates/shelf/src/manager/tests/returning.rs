//! Drives that come back with something that nobody expects: removed LUNs, older LUNs of the same
//! number, halves of a mirror, members that Linux has had, and what was not erased.

use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole, ElementId, MakeRequest};
use crate::manager::Manager;
use crate::target::ChangeDecision;
use aoe::{ConfigCommand, Shelf};
use raid::Level;

/// LUN 0, a mirror on drives 0 and 1, online and stopped in good order.
fn with_mirror(drives: usize) -> World {
    let world = World::new(&vec![2 * MIB; drives]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    configure(&mut manager, 5);
    manager.shutdown();
    world
}

/// Changes the config string of LUN 0 so many times.
fn configure(manager: &mut Manager, times: u8) {
    for byte in 0..times {
        let stored = manager.config_command(number(0), ConfigCommand::ForceSet, &[byte, 1]);
        assert_eq!(stored, ChangeDecision::Stored);
    }
}

fn foreign(manager: &Manager, drive: &str) -> String {
    match &seen(manager).drives[drive] {
        DriveRole::Foreign(what) => what.clone(),
        other => panic!("{drive}: {other:?}"),
    }
}

/// LUN 0 was removed while one of its drives was out. When that drive was back, the removed LUN was
/// served again, online, with its old data.
#[test]
fn a_removed_lun_does_not_return_with_a_drive_that_was_away() {
    let world = with_mirror(2);
    world.image(1).is_present = false;
    world.start().remove(number(0), true).unwrap();
    world.image(1).is_present = true;
    let mut manager = world.start();
    assert!(manager.luns().is_empty());
    assert!(foreign(&manager, "drive1").starts_with("removed LUN 0"));
    assert_eq!(manager.take_notices().len(), 1);
    // The drive is to be had with -f, and then it is a drive like any other.
    let request = world.request(0, Level::Jbod, &[1]);
    let refused = manager.make(&request);
    assert!(matches!(refused, Err(AdminError::DriveForeign { .. })));
    let request = MakeRequest {
        force: true,
        ..request
    };
    manager.make(&request).unwrap();
    assert_eq!(seen(&world.fork().start()).luns.len(), 1);
}

/// What was said of them differed before and after a start.
#[test]
fn former_elements_of_a_lun_that_is_removed_are_called_what_the_next_start_calls_them() {
    let world = with_mirror(4);
    let mut manager = world.start();
    let element = |member| ElementId {
        lun: number(0),
        part: 0,
        member,
    };
    // One drive that failed, and one that was copied.
    manager.fail(element(1)).unwrap();
    manager.replace(element(1), world.slot(2), false).unwrap();
    world.finish_pass(&mut manager, 0);
    manager.replace(element(0), world.slot(3), true).unwrap();
    world.finish_pass(&mut manager, 0);
    for drive in ["drive0", "drive1"] {
        assert!(foreign(&manager, drive).starts_with("a former element 0.0."));
    }
    let restarted = world.fork();
    let mut restarted_manager = restarted.start();
    for (world, manager) in [(world, &mut manager), (restarted, &mut restarted_manager)] {
        manager.remove(number(0), true).unwrap();
        let before = seen(manager);
        assert_eq!(seen(&world.fork().start()).drives, before.drives);
        for drive in ["drive0", "drive1"] {
            assert!(foreign(manager, drive).starts_with("removed LUN 0"));
        }
    }
}

/// Without the note of what was removed (the state directory is new): the old LUN had seen more
/// changes than the new one of the same number, and was served in its place.
#[test]
fn an_older_lun_of_the_same_number_does_not_shadow_the_new_one() {
    let world = with_mirror(3);
    world.image(1).is_present = false;
    let mut manager = world.start();
    manager.remove(number(0), true).unwrap();
    world.make(&mut manager, 0, Level::Raid1, &[0, 2]);
    manager.online(number(0)).unwrap();
    let new = manager.luns()[0].serial.clone();
    manager.shutdown();
    world.removed_sets.lock().unwrap().clear();
    world.image(1).is_present = true;
    let manager = world.start();
    assert_eq!(manager.luns()[0].serial, new);
    assert!(manager.luns()[0].online);
    assert!(foreign(&manager, "drive1").starts_with("LUN 0 of this shelf a second time"));
    // Also when the new one cannot serve, or is away, the old one is served on demand only.
    for wrong_drives in [vec![0, 2], vec![]] {
        let world = world.fork();
        for &index in &wrong_drives {
            world.image(index).is_present = false;
        }
        if wrong_drives.is_empty() {
            for index in [0, 2] {
                super::assembly::patch_superblock(&mut world.image(index), |superblock| {
                    for device in 0..2 {
                        superblock.set_role(device, raid::md::Role::Faulty);
                    }
                });
            }
        }
        let mut manager = world.start();
        assert_ne!(manager.luns()[0].serial, new);
        assert!(!manager.luns()[0].online);
        manager.online(number(0)).unwrap();
        assert!(manager.luns()[0].online);
    }
}

/// Two LUNs 0 were in one box, and one of them was removed. A new LUN 0 on other drives was shadowed
/// by the one that was left.
#[test]
fn a_number_that_idle_drives_have_is_not_given_again() {
    let world = World::new(&[2 * MIB; 3]);
    let other = world.fork();
    let mut manager = other.start();
    let mut request = other.request(0, Level::Jbod, &[1]);
    request.clean = true;
    manager.make(&request).unwrap();
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Jbod, &[0]);
    configure(&mut manager, 9);
    *world.image(1) = other.image(1).clone();
    let mut manager = world.start();
    manager.remove(number(0), true).unwrap();
    let mut request = world.request(0, Level::Jbod, &[2]);
    for force in [false, true] {
        request.force = force;
        let refused = manager.make(&request).unwrap_err();
        let expected = AdminError::LunElsewhere {
            lun: number(0),
            drives: "1.1".to_owned(),
        };
        assert_eq!(refused, expected);
    }
    // Over the drives of the other one it can be made.
    request = world.request(0, Level::Raid1, &[1, 2]);
    request.force = true;
    manager.make(&request).unwrap();
    let new = manager.luns()[0].serial.clone();
    let manager = world.fork().start();
    assert_eq!(manager.luns().len(), 1);
    assert_eq!(manager.luns()[0].serial, new);
}

/// Each half of a mirror was served alone. The start served one of them and said nothing of the other,
/// which held writes that nobody has elsewhere.
#[test]
fn halves_that_were_served_apart_wait_for_somebody_to_choose() {
    let world = with_mirror(2);
    for (away, here, times) in [(0, 1, 1), (1, 0, 3)] {
        world.image(away).is_present = false;
        world.image(away).was_away = true;
        world.image(here).is_present = true;
        for _ in 0..times {
            world.start().shutdown();
        }
    }
    world.image(1).is_present = true;
    // It asks again at every start.
    for _ in 0..2 {
        let mut manager = world.start();
        assert!(!manager.luns()[0].online);
        let notices = manager.take_notices();
        assert!(
            notices.iter().any(|notice| notice.contains("served apart")
                && notice.contains("online 0 serves 1.0")
                && notice.contains("written to 1.1")),
            "{notices:?}"
        );
    }
    let mut manager = world.start();
    manager.online(number(0)).unwrap();
    let members = world.view(0).unwrap().parts[0].members.clone();
    assert!(members[0].is_some() && members[1].is_none());
    manager.shutdown();
    // Chosen once.
    let manager = world.start();
    assert!(manager.luns()[0].online);
    let members = world.view(0).unwrap().parts[0].members.clone();
    assert!(members[0].is_some() && members[1].is_none());
}

/// Sets the feature bit that a kernel sets when it notes a bad block, with a log that cannot be read.
fn note_bad_block(world: &World, index: usize) {
    let mut image = world.image(index);
    image.written.insert(24, vec![0; 512]);
    let sector = image.written.get_mut(&8).unwrap();
    sector[8] |= 8;
    let sum = raid::md::raw::checksum(sector);
    sector[216..220].copy_from_slice(&sum.to_le_bytes());
}

/// Linux had served the mirror, and noted sectors of a member that missed a write. We read them.
#[test]
fn a_member_whose_bad_blocks_are_not_known_is_given_up_if_the_others_hold_everything() {
    let world = with_mirror(2);
    note_bad_block(&world, 0);
    let mut manager = world.start();
    assert!(manager.luns()[0].online);
    let members = world.view(0).unwrap().parts[0].members.clone();
    assert!(members[0].is_none() && members[1].is_some());
    let notices = manager.take_notices();
    assert!(
        notices
            .iter()
            .any(|notice| notice.contains("drive 1.0 is failed: its bad-block log")),
        "{notices:?}"
    );
    note_bad_block(&world, 1);
    let mut manager = world.start();
    assert!(!manager.luns()[0].online);
    let refused = manager.online(number(0)).unwrap_err().to_string();
    assert!(refused.contains("bad blocks"), "{refused}");
}

/// A drive failed while its LUN was removed. It was shown free, and a start served the LUN again.
#[test]
fn what_could_not_be_erased_is_not_free_and_not_served() {
    let world = with_mirror(2);
    let mut manager = world.start();
    world.image(1).fails_writes = true;
    assert!(manager.remove(number(0), true).is_err());
    assert_eq!(foreign(&manager, "drive1"), "what LUN 0 left: not erased");
    world.image(1).fails_writes = false;
    let refused = manager.make(&world.request(1, Level::Jbod, &[1]));
    assert!(matches!(refused, Err(AdminError::DriveForeign { .. })));
    let manager = world.start();
    assert!(manager.luns().is_empty());
    assert!(foreign(&manager, "drive1").starts_with("removed LUN 0"));
}

/// A file system was made through a raw LUN. Once that was removed, the drive was free.
#[test]
fn what_a_raw_lun_left_is_not_free() {
    let world = World::new(&[2 * MIB]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raw, &[0]);
    manager.remove(number(0), true).unwrap();
    assert_eq!(foreign(&manager, "drive0"), "what raw LUN 0 left");
    // Also after another look at the drives.
    manager.set_shelf(9).unwrap();
    assert_eq!(foreign(&manager, "drive0"), "what raw LUN 0 left");
}

/// A raw LUN was made over the member of another shelf's LUN. What was written through it left the
/// superblock and the records alone, and the old LUN came back over it.
#[test]
fn a_lun_does_not_come_back_over_a_raw_one() {
    let world = World::new(&[2 * MIB]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Jbod, &[0]);
    drop(manager);
    *world.shelf.lock().unwrap() = Some(Shelf(2));
    let mut manager = world.start();
    let request = MakeRequest {
        force: true,
        ..world.request(5, Level::Raw, &[0])
    };
    manager.make(&request).unwrap();
    drop(manager);
    let zeros = |sector: u64| {
        world.image(0).written[&sector]
            .iter()
            .all(|&byte| byte == 0)
    };
    assert!(zeros(8) && zeros(64) && zeros(128));
    *world.shelf.lock().unwrap() = Some(Shelf(1));
    assert!(world.start().luns().is_empty());
}

/// The superblock of a two-way mirror with a single role, and a right checksum: the table had no
/// place for the second member, and going online was a panic.
#[test]
fn a_superblock_without_a_role_for_every_member_is_refused() {
    let world = with_mirror(2);
    {
        let mut image = world.image(0);
        let sector = image.written.get_mut(&8).unwrap();
        sector[220..224].copy_from_slice(&1_u32.to_le_bytes());
        let sum = raid::md::raw::checksum(&sector[..258]);
        sector[216..220].copy_from_slice(&sum.to_le_bytes());
    }
    let manager = world.start();
    assert!(foreign(&manager, "drive0").contains("2 members with 1 roles"));
    assert!(manager.luns()[0].online);
}

/// A console waited for the shelf while it stopped, and brought a LUN online behind its back.
#[test]
fn nothing_goes_online_after_the_stop() {
    let world = with_mirror(2);
    let mut manager = world.start();
    manager.offline(number(0)).unwrap();
    manager.shutdown();
    assert_eq!(manager.online(number(0)), Err(AdminError::Stopping));
    assert_eq!(manager.set_shelf(9), Err(AdminError::Stopping));
    assert!(world.view(0).is_none());
    assert!(!seen(&world.fork().start()).luns[0].online);
}
