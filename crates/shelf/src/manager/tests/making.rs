//! `make`: what it refuses, and what a new LUN is.

use super::world::{MIB, World, number, seen};
use crate::admin::{
    Admin, AdminError, DriveRole, DriveSlot, DriveState, ElementId, MakeRequest, MemberChoice,
};
use raid::Level;
use raid::md::{Resync, Role};

const ELEMENT_0: ElementId = ElementId {
    lun: number_of_lun_0(),
    part: 0,
    member: 0,
};

const fn number_of_lun_0() -> crate::admin::LunNumber {
    match crate::admin::LunNumber::new(0) {
        Some(number) => number,
        None => unreachable!(),
    }
}

/// Asks for a LUN and gives the refusal; checks that nothing was written.
fn refusal(world: &World, request: &MakeRequest) -> AdminError {
    let mut manager = world.start();
    let before = (seen(&manager), world.power.lock().unwrap().writes);
    let error = manager.make(request).unwrap_err();
    assert_eq!(manager.plan_make(request), Err(error.clone()));
    assert_eq!((seen(&manager), world.power.lock().unwrap().writes), before);
    error
}

/// What `make -n` asks for: the answer of `make`, and no write.
#[test]
fn a_plan_is_the_truth_and_writes_nothing() {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    let request = world.request(0, Level::Raid10, &[0, 1, 2, 3]);
    let before = (seen(&manager), world.power.lock().unwrap().writes);
    let bytes = manager.plan_make(&request).unwrap();
    assert_eq!((seen(&manager), world.power.lock().unwrap().writes), before);
    manager.make(&request).unwrap();
    assert_eq!(manager.luns()[0].size_bytes, bytes);
}

#[test]
fn sixteen_drives_become_a_raid10_in_coraids_pairs() {
    let world = World::new(&[200 * MIB; 16]);
    let mut manager = world.start();
    let all: Vec<usize> = (0..16).collect();
    world.make(&mut manager, 0, Level::Raid10, &all);
    let lun = &manager.luns()[0];
    assert!(!lun.online);
    // 200 MiB less 3 MiB of metadata, eight times.
    assert_eq!(lun.size_bytes, 8 * 197 * 1024 * 1024);
    assert_eq!(lun.serial.len(), 20);
    assert_eq!(lun.parts[0].elements.len(), 16);
    assert_eq!(lun.parts[0].state.to_string(), "normal");
    for index in 0..16_u16 {
        let superblock = world.image(usize::from(index)).superblock().unwrap();
        let role = if index < 8 {
            index * 2
        } else {
            (index - 8) * 2 + 1
        };
        assert_eq!(superblock.dev_number(), u32::from(role));
        assert_eq!(superblock.name(), "1:0");
        assert_eq!(superblock.role(15), Role::Active(15));
        assert_eq!(superblock.geometry().unwrap().level(), Level::Raid10);
    }
}

#[test]
fn counts_that_a_level_does_not_take_are_refused() {
    let world = World::new(&[2 * MIB; 5]);
    for (level, drives) in [
        (Level::Raw, vec![]),
        (Level::Raw, vec![0, 1]),
        (Level::Jbod, vec![0, 1]),
        (Level::Raid0, vec![]),
        (Level::Raid1, vec![0]),
        (Level::Raid10, vec![0, 1, 2]),
    ] {
        let error = refusal(&world, &world.request(0, level, &drives));
        let given = drives.len();
        let is_count = |e: &AdminError| matches!(e, AdminError::WrongMemberCount { given: g, .. } if *g == given);
        assert!(is_count(&error), "{level} of {given}: {error}");
    }
    let many = MakeRequest {
        members: vec![MemberChoice::Missing; 300],
        ..world.request(0, Level::Raid1, &[])
    };
    let error = refusal(&world, &many);
    assert!(matches!(
        error,
        AdminError::WrongMemberCount { given: 300, .. }
    ));
}

#[test]
fn chunks_are_what_was_asked_for() {
    let world = World::new(&[2 * MIB; 5]);
    let with = |level, chunk_kib| MakeRequest {
        chunk_kib,
        ..world.request(0, level, &[0, 1, 2, 3, 4])
    };
    for kib in [0, 8, 24, 1024] {
        let error = refusal(&world, &with(Level::Raid5, Some(kib)));
        assert_eq!(error, AdminError::InvalidChunk(kib));
    }
    let error = refusal(&world, &with(Level::Raid1, Some(64)));
    assert_eq!(error, AdminError::NoChunks(Level::Raid1));
    for (level, kib, columns) in [
        (Level::Raid5, Some(16), 4),
        (Level::Raid6, None, 3),
        (Level::Raid0, Some(512), 5),
    ] {
        let mut manager = world.fork().start();
        manager.make(&with(level, kib)).unwrap();
        let lun = &manager.luns()[0];
        let chunk_bytes = u64::from(kib.unwrap_or(64)) * 1024;
        assert_eq!(lun.parts[0].chunk_bytes.map(u64::from), Some(chunk_bytes));
        let room = (2 * MIB - 768) * 512;
        assert_eq!(lun.size_bytes, (room - room % chunk_bytes) * columns);
    }
}

#[test]
fn parity_levels_miss_as_many_members_as_they_have_parity() {
    for (level, members, missing) in [(Level::Raid5, 3, 1), (Level::Raid6, 4, 2)] {
        let world = World::new(&vec![2 * MIB; members]);
        let mut request = world.request(0, level, &(0..members).collect::<Vec<_>>());
        request.members[..=missing].fill(MemberChoice::Missing);
        let error = refusal(&world, &request);
        assert_eq!(error, AdminError::TooManyMissing { level });
        request.members[missing] = MemberChoice::Drive(world.slot(missing));
        let mut manager = world.start();
        manager.make(&request).unwrap();
        manager.online(number(0)).unwrap();
        assert_eq!(manager.luns()[0].parts[0].state.to_string(), "degraded");
        manager.shutdown();
        assert!(world.fork().start().luns()[0].online);
    }
}

#[test]
fn drives_that_cannot_be_taken_are_named() {
    let world = World::new(&[2 * MIB, 2 * MIB, MIB - 1, 2 * MIB, 2 * MIB]);
    world.image(3).is_present = false;
    world.image(4).foreign = Some("an ext4 file system".to_owned());
    let refused = |drives: &[usize]| refusal(&world, &world.request(0, Level::Raid1, drives));
    assert_eq!(refused(&[0, 0]), AdminError::DriveInUse("1.0".to_owned()));
    assert!(
        matches!(refused(&[0, 2]), AdminError::DriveTooSmall { drive, needed_bytes: 1_048_576, .. }
        if drive == "1.2")
    );
    assert!(
        matches!(refused(&[0, 3]), AdminError::DriveNotUp { drive, state: "missing", .. }
        if drive == "1.3")
    );
    let foreign = AdminError::DriveForeign {
        drive: "1.4".to_owned(),
        what: "an ext4 file system".to_owned(),
    };
    assert_eq!(refused(&[0, 4]), foreign);
    let mut request = world.request(0, Level::Raid1, &[0, 1]);
    request.members[1] = MemberChoice::Drive(DriveSlot(9));
    assert_eq!(
        refusal(&world, &request),
        AdminError::NoSuchDrive("1.9".to_owned())
    );
    *world.shelf.lock().unwrap() = None;
    assert_eq!(refused(&[0, 1]), AdminError::ShelfUnset);
}

#[test]
fn a_drive_that_cannot_be_read_is_down() {
    let world = World::new(&[2 * MIB; 2]);
    world.image(1).fails_reads = true;
    let request = world.request(0, Level::Raid1, &[0, 1]);
    let error = refusal(&world, &request);
    assert!(matches!(
        error,
        AdminError::DriveNotUp {
            state: "down",
            reason: Some(_),
            ..
        }
    ));
    assert_eq!(world.start().drives()[1].state, DriveState::Down);
}

#[test]
fn drives_and_numbers_in_use_are_refused() {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    let again = manager.make(&world.request(0, Level::Jbod, &[2]));
    assert_eq!(again, Err(AdminError::LunExists(number(0))));
    let shared = manager.make(&world.request(1, Level::Raid0, &[1, 2]));
    assert_eq!(shared, Err(AdminError::DriveInUse("1.1".to_owned())));
}

#[test]
fn force_takes_a_foreign_drive_and_makes_it_ours() {
    let world = World::new(&[2 * MIB; 2]);
    world.image(0).foreign = Some("an ext4 file system".to_owned());
    world.image(0).written.insert(2, vec![0x53; 512]);
    let mut manager = world.start();
    let request = MakeRequest {
        force: true,
        ..world.request(0, Level::Jbod, &[0])
    };
    manager.make(&request).unwrap();
    assert_eq!(
        world.image(0).written[&2],
        vec![0; 512],
        "the boot block is cleared"
    );
    // The prober may go on finding something; our own metadata says more.
    let found = seen(&world.fork().start());
    assert_eq!(found.drives["drive0"], DriveRole::Element(ELEMENT_0));
}

#[test]
fn members_may_be_missing_where_mirrors_make_up_for_them() {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    let with_missing = |level, missing: &[usize]| {
        let mut request = world.request(0, level, &[0, 1, 2, 3]);
        for &element in missing {
            request.members[element] = MemberChoice::Missing;
        }
        request
    };
    for (level, missing) in [
        (Level::Raid0, vec![0]),
        (Level::Raid10, vec![1, 3]),
        (Level::Raid1, vec![0, 1, 2, 3]),
    ] {
        let refused = manager.make(&with_missing(level, &missing));
        assert_eq!(refused, Err(AdminError::TooManyMissing { level }));
    }
    manager.make(&with_missing(Level::Raid10, &[1, 2])).unwrap();
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "degraded");
    manager.online(number(0)).unwrap();
    let members: Vec<bool> = world.view(0).unwrap().parts[0]
        .members
        .iter()
        .map(Option::is_some)
        .collect();
    assert_eq!(members, [true, false, false, true]);
}

#[test]
fn a_mirror_is_unsynced_unless_declared_clean() {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    let dirty = MakeRequest {
        clean: false,
        ..world.request(0, Level::Raid1, &[0, 1])
    };
    manager.make(&dirty).unwrap();
    world.make(&mut manager, 1, Level::Raid1, &[2, 3]);
    assert_eq!(
        world.image(0).superblock().unwrap().resync(),
        Resync::DirtyFrom(0)
    );
    assert_eq!(world.image(2).superblock().unwrap().resync(), Resync::Clean);
    for (lun, unsynced) in [(0, true), (1, false)] {
        manager.online(number(lun)).unwrap();
        assert_eq!(world.view(lun).unwrap().parts[0].mirrors_unsynced, unsynced);
    }
}

#[test]
fn members_of_different_sizes_give_what_the_smallest_has() {
    let world = World::new(&[3 * MIB, 100 * MIB, 2000 * MIB]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid0, &[0, 1, 2]);
    manager.online(number(0)).unwrap();
    let view = world.view(0).unwrap();
    let member_sectors = 3 * MIB - 768;
    assert_eq!(view.capacity_sectors, 3 * member_sectors);
    let offsets: Vec<u64> = view.parts[0]
        .members
        .iter()
        .map(|member| member.unwrap().data_offset_sectors)
        .collect();
    assert_eq!(offsets, [768, 3 * MIB, 4 * MIB]);
    drop(manager);
    let found = seen(&world.fork().start());
    assert_eq!(found.luns.len(), 1, "other data offsets are no other shape");
}

#[test]
fn a_failing_drive_leaves_no_lun_and_no_member() {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    world.image(2).fails_writes = true;
    let error = manager
        .make(&world.request(0, Level::Raid10, &[0, 1, 2, 3]))
        .unwrap_err();
    assert!(
        matches!(&error, AdminError::Io(text) if text.contains("slot 2")),
        "{error}"
    );
    assert!(manager.luns().is_empty());
    for index in 0..4 {
        assert!(world.image(index).superblock().is_none());
    }
    assert!(
        manager
            .drives()
            .iter()
            .all(|drive| drive.role == DriveRole::Free)
    );
}

/// A label is refused as `label` refuses it, before anything is written.
#[test]
fn a_lun_is_made_with_its_label_or_not_at_all() {
    let world = World::new(&[2 * MIB; 2]);
    let with = |level, drives: &[usize], label: &str| MakeRequest {
        label: Some(label.to_owned()),
        ..world.request(0, level, drives)
    };
    let pair = |label: &str| with(Level::Raid1, &[0, 1], label);
    for label in ["", "0123456789abcdefg"] {
        assert_eq!(refusal(&world, &pair(label)), AdminError::LabelLength);
    }
    let unprintable = refusal(&world, &pair("a\u{7}"));
    assert_eq!(unprintable, AdminError::LabelUnprintable);
    let lost = refusal(&world, &with(Level::Raw, &[0], "web"));
    assert_eq!(lost, AdminError::NotRecorded(number(0)));
    let mut manager = world.start();
    manager.make(&pair("vm store")).unwrap();
    for manager in [manager, world.fork().start()] {
        assert_eq!(manager.luns()[0].label.as_deref(), Some("vm store"));
    }
}

#[test]
fn raw_is_the_whole_drive_and_forgotten() {
    let world = World::new(&[2 * MIB, 2 * MIB]);
    world.image(0).foreign = Some("a partition table".to_owned());
    let mut manager = world.start();
    let request = MakeRequest {
        force: true,
        ..world.request(0, Level::Raw, &[0])
    };
    manager.make(&request).unwrap();
    manager.online(number(0)).unwrap();
    let view = world.view(0).unwrap();
    assert_eq!(view.capacity_sectors, 2 * MIB);
    assert_eq!(view.parts[0].members[0].unwrap().data_offset_sectors, 0);
    assert_eq!(world.power.lock().unwrap().writes, 0);
    assert!(seen(&world.fork().start()).luns.is_empty());
    manager.remove(number(0), true).unwrap();
    let foreign = DriveRole::Foreign("what raw LUN 0 left".to_owned());
    assert_eq!(seen(&manager).drives["drive0"], foreign);
}
