//! Assembly at start: absent, stale, foreign, copied and doubled members.

use super::memory::{Image, Tear};
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole, ElementState};
use crate::target::ChangeDecision;
use aoe::{ConfigCommand, Shelf};
use raid::Level;
use raid::md::{Role, Superblock};

/// LUN 0 of this level on all drives, online and stopped in good order.
fn with_lun(level: Level, members: usize) -> World {
    let world = World::new(&vec![2 * MIB; members]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    world.make(&mut manager, 0, level, &drives);
    manager.online(number(0)).unwrap();
    manager.shutdown();
    world.fork()
}

fn states(world: &World) -> Vec<ElementState> {
    let found = seen(&world.start());
    found.luns[0]
        .elements
        .iter()
        .map(|(_, state, _)| *state)
        .collect()
}

pub(super) fn patch_superblock(image: &mut Image, change: impl FnOnce(&mut Superblock)) {
    let mut superblock = image.superblock().unwrap();
    change(&mut superblock);
    for (sector, bytes) in (8..).zip(superblock.encode().chunks_exact(512)) {
        image.written.insert(sector, bytes.to_vec());
    }
}

use ElementState::{Failed, Missing, Normal, Replaced};

#[test]
fn a_mirror_serves_with_a_member_of_each_pair() {
    let world = with_lun(Level::Raid10, 4);
    world.image(0).is_present = false;
    world.image(3).is_present = false;
    let mut manager = world.start();
    let lun = &manager.luns()[0];
    assert!(lun.online);
    assert_eq!(lun.parts[0].state.to_string(), "degraded");
    let notices = manager.take_notices();
    assert_eq!(notices[0], "LUN 0 lacks elements: 0.0.0, 0.0.3");
    let warning = "WARNING: LUN 0 is served without elements 0.0.0, 0.0.3, which were in use";
    assert!(notices[1].starts_with(warning), "{notices:?}");
    // Written without them: when they are back they are stale, and rebuilt.
    drop(manager);
    for index in [0, 3] {
        world.image(index).is_present = true;
    }
    assert_eq!(states(&world.fork()), [Replaced, Normal, Normal, Replaced]);
}

#[test]
fn a_member_that_was_away_while_nothing_was_served_is_as_good_as_before() {
    let world = with_lun(Level::Raid1, 2);
    world.start().offline(number(0)).unwrap();
    world.image(0).is_present = false;
    let mut manager = world.start();
    manager.set_shelf(9).unwrap();
    manager.config_command(number(0), ConfigCommand::ForceSet, b"x");
    drop(manager);
    world.image(0).is_present = true;
    assert_eq!(states(&world.fork()), [Normal, Normal]);
    assert_eq!(seen(&world.fork().start()).luns[0].config_string, b"x");
}

#[test]
fn too_few_members_are_shown_and_not_served() {
    for (level, lost) in [(Level::Raid10, vec![1, 3]), (Level::Raid0, vec![2])] {
        let world = with_lun(level, 4);
        for &index in &lost {
            world.image(index).is_present = false;
        }
        let mut manager = world.start();
        let lun = &manager.luns()[0];
        assert!(!lun.online);
        assert_eq!(lun.parts[0].state.to_string(), "failed");
        let refused = manager.online(number(0));
        assert!(
            matches!(refused, Err(AdminError::LunFailed { .. })),
            "{refused:?}"
        );
        // It is served again when they are back, as it never was taken offline.
        for &index in &lost {
            world.image(index).is_present = true;
        }
        let found = seen(&world.fork().start());
        assert!(found.luns[0].online);
        assert!(
            found.luns[0]
                .elements
                .iter()
                .all(|(_, state, _)| *state == Normal)
        );
    }
}

#[test]
fn a_failed_lun_can_be_taken_offline_and_removed() {
    let world = with_lun(Level::Raid0, 3);
    world.image(1).is_present = false;
    let mut manager = world.start();
    manager.offline(number(0)).unwrap();
    drop(manager);
    world.image(1).is_present = true;
    assert!(!seen(&world.fork().start()).luns[0].online);
    world.image(1).is_present = false;
    let mut manager = world.start();
    manager.remove(number(0), false).unwrap();
    assert!(manager.luns().is_empty());
}

#[test]
fn a_member_two_events_behind_is_stale_and_one_behind_is_not() {
    for (behind, state) in [(1, Normal), (2, Failed)] {
        let world = with_lun(Level::Raid1, 2);
        patch_superblock(&mut world.image(1), |superblock| {
            superblock.set_events(superblock.events() - behind, 0);
        });
        assert_eq!(states(&world), [Normal, state]);
        let role = seen(&world.start()).drives["drive1"].clone();
        assert!(matches!(role, DriveRole::Element(_)), "{role:?}");
    }
}

#[test]
fn a_split_mirror_is_not_joined() {
    // Each half went on without the other, to the same event count.
    let world = with_lun(Level::Raid1, 2);
    for (away, here) in [(0, 1), (1, 0)] {
        world.image(away).is_present = false;
        world.image(away).was_away = true;
        world.image(here).is_present = true;
        world.start().shutdown();
    }
    world.image(1).is_present = true;
    let states = states(&world);
    assert_eq!(
        states.iter().filter(|state| **state == Normal).count(),
        1,
        "{states:?}"
    );
}

#[test]
fn a_member_that_calls_the_freshest_failed_is_not_used() {
    let world = with_lun(Level::Raid1, 2);
    patch_superblock(&mut world.image(1), |superblock| {
        superblock.set_role(0, Role::Faulty);
    });
    assert_eq!(states(&world), [Normal, Failed]);
}

#[test]
fn a_change_made_without_a_member_wins_over_one_that_only_it_has() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid0, &[0, 1]);
    let mut config = |string| manager.config_command(number(0), ConfigCommand::ForceSet, string);
    // Member 0 refuses it, and power is cut before it is undone on member 1.
    world.image(0).fails_writes = true;
    world.cut_power_after(1, Tear::Nothing);
    assert_eq!(config(b"refused"), ChangeDecision::Silence);
    drop(manager);
    let world = world.fork();
    world.image(0).fails_writes = false;
    world.image(1).is_present = false;
    let mut manager = world.start();
    let stored = manager.config_command(number(0), ConfigCommand::ForceSet, b"stored");
    assert_eq!(stored, ChangeDecision::Stored);
    drop(manager);
    world.image(1).is_present = true;
    assert_eq!(seen(&world.fork().start()).luns[0].config_string, b"stored");
}

#[test]
fn luns_of_other_shelves_are_shown_and_left_alone() {
    let world = with_lun(Level::Raid1, 2);
    *world.shelf.lock().unwrap() = Some(Shelf(7));
    let manager = world.start();
    assert!(manager.luns().is_empty());
    let foreign = DriveRole::Foreign("LUN 0 of shelf 1".to_owned());
    assert!(manager.drives().iter().all(|drive| drive.role == foreign));
    assert_eq!(world.power.lock().unwrap().writes, 0);
}

#[test]
fn a_new_box_takes_the_number_of_the_luns_in_it() {
    let world = with_lun(Level::Raid1, 2);
    *world.shelf.lock().unwrap() = None;
    let mut manager = world.start();
    assert!(manager.luns().is_empty());
    manager.set_shelf(1).unwrap();
    assert!(manager.luns()[0].online, "it was online when it stopped");
}

#[test]
fn a_number_under_which_luns_would_meet_is_refused() {
    let other = with_lun(Level::Raid1, 2);
    let world = World::new(&[2 * MIB; 4]);
    for index in 0..2 {
        *world.image(index) = other.image(index).clone();
    }
    *world.shelf.lock().unwrap() = Some(Shelf(2));
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[2, 3]);
    let before = seen(&manager);
    assert!(matches!(manager.set_shelf(1), Err(AdminError::Io(_))));
    assert_eq!(seen(&manager), before);
}

#[test]
fn of_two_luns_with_one_number_the_one_with_more_changes_is_served() {
    let world = World::new(&[2 * MIB; 2]);
    let other = world.fork();
    world.make(&mut world.start(), 0, Level::Jbod, &[0]);
    let mut manager = other.start();
    other.make(&mut manager, 0, Level::Jbod, &[1]);
    manager.online(number(0)).unwrap();
    *world.image(1) = other.image(1).clone();
    let mut manager = world.start();
    let found = seen(&manager);
    assert_eq!(found.luns.len(), 1);
    assert_eq!(found.luns[0].elements[0].2, Some("drive1".to_owned()));
    assert!(matches!(&found.drives["drive0"], DriveRole::Foreign(what)
        if what.starts_with("LUN 0 of this shelf a second time")));
    assert_eq!(manager.take_notices().len(), 1);
    assert!(
        world.image(0).superblock().is_some(),
        "the other is left alone"
    );
}

#[test]
fn a_copy_of_a_member_is_not_a_member() {
    let world = World::new(&[2 * MIB; 3]);
    world.make(&mut world.start(), 0, Level::Raid1, &[0, 1]);
    let copy = world.image(1).clone();
    *world.image(2) = copy;
    let found = seen(&world.start());
    assert!(
        found.luns[0]
            .elements
            .iter()
            .all(|(_, state, _)| *state == Normal)
    );
    let what = |drive: &str| match &found.drives[drive] {
        DriveRole::Foreign(what) => what.clone(),
        other => panic!("{other:?}"),
    };
    assert!(what("drive2").starts_with("a copy of element 0.0.1"));
}

#[test]
fn arrays_of_others_and_damaged_superblocks_are_foreign() {
    let world = with_lun(Level::Raid1, 2);
    // Without our record it is an array that Linux made.
    world.image(0).written.retain(|sector, _| *sector < 64);
    patch_superblock(&mut world.image(0), |superblock| {
        superblock.set_name("nas:data");
    });
    if let Some(bytes) = world.image(1).written.get_mut(&8) {
        bytes[300] ^= 1;
    }
    let found = seen(&world.start());
    let foreign = |what: &str| DriveRole::Foreign(what.to_owned());
    assert_eq!(
        found.drives["drive0"],
        foreign("a member of md array 'nas:data'")
    );
    assert!(matches!(&found.drives["drive1"], DriveRole::Foreign(what)
        if what.starts_with("an md superblock with checksum")));
    assert!(found.luns.is_empty());
}

#[test]
fn a_member_on_a_drive_that_shrank_is_not_used() {
    let world = with_lun(Level::Raid1, 2);
    world.image(0).sectors = MIB;
    assert_eq!(states(&world), [Missing, Normal]);
}

/// Makes a record one of a later format, with a checksum that is right.
fn make_newer(image: &mut Image, slot: u64) {
    let mut bytes: Vec<u8> = (slot..slot + 64)
        .flat_map(|sector| image.written.get(&sector).cloned().unwrap_or(vec![0; 512]))
        .collect();
    bytes[8] = 3;
    bytes[12..16].fill(0);
    let payload = u32::from_le_bytes(bytes[44..48].try_into().unwrap());
    let end = 64 + usize::try_from(payload).unwrap();
    let checksum = crc32c::crc32c(&bytes[..end]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    image.write(slot, &bytes);
}

/// What a later version wrote is neither read past nor taken for empty, nor for an array of Linux.
#[test]
fn a_record_of_a_later_format_is_left_alone() {
    for slot in [64, 128] {
        let world = with_lun(Level::Raid1, 2);
        for index in [0, 1] {
            make_newer(&mut world.image(index), slot);
        }
        let before = [0, 1].map(|index| world.image(index).written.clone());
        let mut manager = world.start();
        assert!(manager.luns().is_empty());
        let notices = manager.take_notices().join("; ");
        let told = "drive in slot 0 is left alone: with a record of format 3";
        assert!(notices.contains(told), "{notices}");
        let refused = manager
            .make(&world.request(1, Level::Jbod, &[0]))
            .unwrap_err();
        assert!(refused.to_string().contains("format 3"), "{refused}");
        let array = manager.arrays().remove(0);
        let refusal = array.refusal.expect("it is no array of Linux");
        assert!(refusal.contains("use that version"), "{refusal}");
        let refused = manager.import(&array.uuid, number(3)).unwrap_err();
        assert!(
            refused.to_string().contains("use that version"),
            "{refused}"
        );
        drop(manager);
        assert_eq!(
            before,
            [0, 1].map(|index| world.image(index).written.clone())
        );
    }
}

/// Some of the members carry a later format: a newer version has begun with the set, and what it wrote there
/// may count. Nothing is served and nothing written until all are of one version.
#[test]
fn a_set_that_a_later_version_has_begun_with_waits() {
    for (level, members, newer) in [
        (Level::Raid1, 2, vec![0]),
        (Level::Raid5, 4, vec![1]),
        (Level::Raid6, 5, vec![0, 1]),
        (Level::Raid0, 2, vec![1]),
    ] {
        let world = with_lun(level, members);
        for &index in &newer {
            make_newer(&mut world.image(index), 128);
        }
        let contents = || -> Vec<_> {
            (0..members)
                .map(|index| world.image(index).written.clone())
                .collect()
        };
        let before = contents();
        let mut manager = world.start();
        assert!(!manager.luns()[0].online, "{level}");
        let notices = manager.take_notices().join("; ");
        let refused = manager.online(number(0)).unwrap_err().to_string();
        for told in [&notices, &refused] {
            let mut slots: Vec<_> = newer.iter().map(|&index| world.slot(index)).collect();
            slots.sort();
            let slots: Vec<String> = slots.iter().map(ToString::to_string).collect();
            let slots = slots.join(", ");
            assert!(
                told.contains(&format!(
                    "drives in slots {slots} carry records of format 3"
                )),
                "{level}: {told}"
            );
            assert!(told.contains("use that version"), "{told}");
        }
        manager.shutdown();
        assert_eq!(before, contents(), "{level}: nothing is written");
    }
}

/// But a drive that left the set before does not hold it up, whoever wrote to it since.
#[test]
fn a_failed_member_with_a_record_of_a_later_version_holds_nobody_up() {
    let world = World::new(&[2 * MIB; 2]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    let element = crate::admin::ElementId {
        lun: number(0),
        part: 0,
        member: 0,
    };
    world.finish_pass(&mut manager, 0);
    manager.fail(element).unwrap();
    manager.shutdown();
    let world = world.fork();
    make_newer(&mut world.image(0), 128);
    let manager = world.start();
    assert!(manager.luns()[0].online);
}

/// All members but one are behind: by one event they have missed nothing, by two they have, and the one
/// that is left does not make a LUN.
#[test]
fn members_that_are_all_behind_one_are_used_or_named() {
    for (behind, is_served) in [(1, true), (2, false)] {
        let world = with_lun(Level::Raid5, 4);
        for index in 1..4 {
            patch_superblock(&mut world.image(index), |superblock| {
                superblock.set_events(superblock.events() - behind, 0);
            });
        }
        let mut manager = world.start();
        assert_eq!(manager.luns()[0].online, is_served, "{behind}");
        let notices = manager.take_notices().join("; ");
        if !is_served {
            assert!(notices.contains("0.0.1, 0.0.2, 0.0.3"), "{notices}");
            let refused = manager.online(number(0)).unwrap_err();
            assert!(refused.to_string().contains("0.0.1"), "{refused}");
        }
    }
}

#[test]
fn a_rotten_record_costs_no_more_than_the_change_it_held() {
    let world = with_lun(Level::Raid1, 2);
    // Slots at 64 and 128; what was written last is the one of both members.
    for slot in [64, 128] {
        let rotten = world.fork();
        rotten.image(0).written.get_mut(&slot).unwrap()[200] ^= 1;
        let mut manager = rotten.start();
        assert_eq!(seen(&manager).luns.len(), 1);
        assert_eq!(states(&rotten), [Normal, Normal]);
        assert!(manager.take_notices()[0].contains("record with checksum"));
    }
}
