//! LUNs of several RAIDs: how they grow, what becomes of them when some of it is away.

use super::crash::{Change, check_every_cut, found};
use super::memory::{TEARS, Told};
use super::world::{MIB, World, differing, number, seen};
use crate::admin::{
    Admin, AdminError, DriveRole, ElementId, ElementState, MakeRequest, MemberChoice, ScrubAction,
};
use crate::plane::SyncKind;
use crate::target::ChangeDecision;
use aoe::{ConfigCommand, Shelf};
use raid::Level;
use raid::record::{RecordState, SLOT_BYTES, StoredRecord, read_slots};
use std::time::Duration;

/// Eight drives; LUN 0 is a mirror of the first two, grown by a raid5 of the next three.
fn grown(online: bool) -> World {
    let world = World::new(&[2 * MIB; 8]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    if online {
        manager.online(number(0)).unwrap();
    }
    world.grow(&mut manager, 0, Level::Raid5, &[2, 3, 4]);
    manager.shutdown();
    world.fork()
}

fn element(part: u8, member: u8) -> ElementId {
    ElementId {
        lun: number(0),
        part,
        member,
    }
}

/// The record on a drive.
fn record(world: &World, drive: usize) -> StoredRecord {
    let image = world.image(drive);
    let superblock = image.superblock().unwrap();
    let mut slots = Box::new([[0; SLOT_BYTES]; 2]);
    for (slot, at) in slots.iter_mut().zip([64, 128]) {
        image.read(at, slot);
    }
    let owner = raid::record::RecordOwner {
        set_uuid: superblock.set_uuid(),
        dev_number: superblock.dev_number(),
        data_offset_sectors: superblock.data_offset_sectors(),
    };
    read_slots([&slots[0], &slots[1]], &owner).newest.unwrap()
}

fn pull(world: &World, drives: &[usize], is_there: bool) {
    for &drive in drives {
        world.image(drive).is_present = is_there;
        world.image(drive).was_away = true;
    }
}

/// Its new size is advertised: conformance row 114.
#[test]
fn a_lun_grows_while_it_is_online() {
    let world = World::new(&[2 * MIB; 8]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    let before = world.view(0).unwrap();
    world.log.lock().unwrap().told.clear();
    world.grow(&mut manager, 0, Level::Raid0, &[2, 3]);
    let view = world.view(0).unwrap();
    let capacities: Vec<u64> = view
        .parts
        .iter()
        .map(|part| part.geometry.capacity_sectors())
        .collect();
    assert_eq!(capacities.len(), 2);
    assert_eq!(view.capacity_sectors, capacities.iter().sum::<u64>());
    assert_ne!(
        view.identify, before.identify,
        "IDENTIFY tells the new size"
    );
    let told = world.log.lock().unwrap().told.clone();
    assert_eq!(told.last(), Some(&Told::Advertise(number(0))));
    let lun = &manager.luns()[0];
    assert_eq!(lun.size_bytes, view.capacity_sectors * 512);
    assert_eq!(lun.parts.len(), 2);
    assert_eq!(lun.parts[1].elements[1].id, element(1, 1));
    let names: Vec<String> = [0, 2]
        .map(|drive| world.image(drive).superblock().unwrap().name())
        .to_vec();
    assert_eq!(names, ["1:0", "1:0.1"]);
    // Twice more, and it is full.
    world.grow(&mut manager, 0, Level::Jbod, &[4]);
    world.grow(&mut manager, 0, Level::Jbod, &[5]);
    let refused = manager.grow(&world.request(0, Level::Jbod, &[6]));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "LUN 0 cannot grow: it has 4 RAIDs, and that is the most"
    );
    assert_eq!(seen(&manager), found(&world.fork()));
}

#[test]
fn what_cannot_grow_says_why() {
    let world = World::new(&[2 * MIB; 8]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    world.make(&mut manager, 1, Level::Raw, &[2]);
    let mut refused = |lun: u8, level: Level, drives: &[usize]| {
        let before = seen(&manager);
        let error = manager.grow(&world.request(lun, level, drives));
        assert_eq!(seen(&manager), before);
        error.unwrap_err().to_string()
    };
    let raw = "a raw drive has no place for the record of a LUN of several RAIDs";
    for (lun, level, drives, text) in [
        (
            7,
            Level::Raid1,
            &[3, 4][..],
            "LUN 7 does not exist".to_owned(),
        ),
        (
            1,
            Level::Raid1,
            &[3, 4],
            format!("LUN 1 cannot grow: {raw}"),
        ),
        (0, Level::Raw, &[3], format!("LUN 0 cannot grow: {raw}")),
        (0, Level::Raid1, &[0, 3], "1.0 already in use".to_owned()),
    ] {
        assert_eq!(refused(lun, level, drives), text);
    }
    let missing = MakeRequest {
        members: vec![MemberChoice::Missing; 2],
        ..world.request(0, Level::Raid1, &[])
    };
    assert!(matches!(
        manager.grow(&missing),
        Err(AdminError::TooManyMissing { .. })
    ));
    let labelled = MakeRequest {
        label: Some("web".to_owned()),
        ..world.request(0, Level::Raid1, &[3, 4])
    };
    assert!(matches!(
        manager.grow(&labelled),
        Err(AdminError::CannotGrow { .. })
    ));
    manager.shutdown();
    let stopped = manager.grow(&world.request(0, Level::Raid1, &[3, 4]));
    assert_eq!(stopped, Err(AdminError::Stopping));
}

#[test]
fn a_lun_grows_wholly_or_not_at_all() {
    for online in [false, true] {
        for (level, drives) in [
            (Level::Jbod, &[2][..]),
            (Level::Raid0, &[2, 3]),
            (Level::Raid1, &[2, 3]),
            (Level::Raid5, &[2, 3, 4]),
        ] {
            let base = World::new(&[2 * MIB; 6]);
            let mut manager = base.start();
            base.make(&mut manager, 0, Level::Raid1, &[0, 1]);
            if online {
                manager.online(number(0)).unwrap();
            }
            manager.shutdown();
            check_every_cut(&base.fork(), &move |world, manager| {
                manager.grow(&world.request(0, level, drives)).is_ok()
            });
        }
    }
}

/// A drive of the new part, or of the old one, that fails its writes.
#[test]
fn a_lun_that_could_not_grow_is_as_before() {
    for (fails, grows) in [(1, true), (3, false)] {
        let world = World::new(&[2 * MIB; 6]);
        let mut manager = world.start();
        world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
        manager.online(number(0)).unwrap();
        world.image(fails).fails_writes = true;
        let done = manager.grow(&world.request(0, Level::Raid5, &[2, 3, 4]));
        assert_eq!(done.is_ok(), grows, "{done:?}");
        let parts = if grows { 2 } else { 1 };
        assert_eq!(world.view(0).unwrap().parts.len(), parts);
        world.image(fails).fails_writes = false;
        manager.shutdown();
        let world = world.fork();
        let manager = world.start();
        assert_eq!(manager.luns()[0].parts.len(), parts);
        assert!(manager.luns()[0].online);
        if !grows {
            let free = (2..5)
                .all(|drive| seen(&manager).drives[&format!("drive{drive}")] == DriveRole::Free);
            assert!(free, "{:?}", seen(&manager).drives);
        }
    }
}

#[test]
fn a_grown_lun_changes_wholly_or_not_at_all() {
    let changes: [(bool, &Change); 7] = [
        (false, &|_, manager| manager.online(number(0)).is_ok()),
        (true, &|_, manager| manager.offline(number(0)).is_ok()),
        (true, &|_, manager| manager.remove(number(0), true).is_ok()),
        (false, &|_, manager| manager.set_shelf(2).is_ok()),
        (true, &|_, manager| manager.fail(element(1, 2)).is_ok()),
        (true, &|world, manager| {
            manager.grow(&world.request(0, Level::Jbod, &[5])).is_ok()
        }),
        (true, &|_, manager| {
            manager.config_command(number(0), ConfigCommand::ForceSet, b"after")
                == ChangeDecision::Stored
        }),
    ];
    for (online, change) in changes {
        check_every_cut(&grown(online), change);
    }
}

#[test]
fn a_member_of_a_further_part_is_replaced_wholly_or_not_at_all() {
    let base = grown(true);
    base.start().fail(element(1, 0)).unwrap();
    check_every_cut(&base.fork(), &|world, manager| {
        manager.replace(element(1, 0), world.slot(5), false).is_ok()
    });
}

#[test]
fn a_removed_lun_takes_all_its_parts_with_it() {
    let world = grown(true);
    pull(&world, &[2, 3, 4], false);
    let mut manager = world.start();
    manager.remove(number(0), true).unwrap();
    assert!(manager.luns().is_empty());
    // Its part was away, and does not return as anything.
    pull(&world, &[2, 3, 4], true);
    let world = world.fork();
    let mut manager = world.start();
    assert!(manager.luns().is_empty());
    let notices = manager.take_notices();
    assert!(
        notices
            .iter()
            .any(|text| text.contains("raid 0.1 of removed LUN 0")),
        "{notices:?}"
    );
}

#[test]
fn a_lun_that_lost_a_part_is_failed_until_it_is_back() {
    let world = grown(true);
    let size = world.fork().start().luns()[0].size_bytes;
    pull(&world, &[2, 3, 4], false);
    let mut manager = world.start();
    let lun = manager.luns().remove(0);
    assert_eq!((lun.online, lun.size_bytes), (false, size));
    assert_eq!(lun.parts[1].state.to_string(), "failed");
    assert_eq!(lun.parts[1].elements.len(), 3);
    assert_eq!(lun.parts[1].elements[2].state, ElementState::Missing);
    let reason = "raid 0.1 is missing: none of its drives is here (raid5 of 3)";
    assert_eq!(lun.trouble.as_deref(), Some(reason));
    let refused = manager.online(number(0)).unwrap_err().to_string();
    assert_eq!(refused, format!("LUN 0 cannot go online: {reason}"));
    let refused = manager.grow(&world.request(0, Level::Jbod, &[6]));
    assert!(refused.unwrap_err().to_string().contains(reason));
    // The number of the shelf changes meanwhile: the part follows when it is back.
    manager.set_shelf(2).unwrap();
    drop(manager);
    pull(&world, &[2, 3, 4], true);
    let world = world.fork();
    let manager = world.start();
    assert!(manager.luns()[0].online);
    assert_eq!(world.view(0).unwrap().parts.len(), 2);
    assert_eq!(record(&world, 3).record.shelf, 2);
    assert_eq!(manager.shelf(), Some(Shelf(2)));
}

#[test]
fn a_part_that_comes_late_is_taken_in_by_a_rescan() {
    let world = grown(true);
    let mut manager = world.start();
    manager.eject(number(0), true).unwrap();
    assert!(manager.luns().is_empty());
    manager.rescan().unwrap();
    assert!(manager.luns()[0].online);
    assert_eq!(manager.luns()[0].parts.len(), 2);
}

#[test]
fn a_part_without_its_first_is_not_touched() {
    let world = grown(true);
    pull(&world, &[0, 1], false);
    let drives: Vec<_> = [2, 3, 4]
        .map(|drive| world.image(drive).written.clone())
        .to_vec();
    let mut manager = world.start();
    assert!(manager.luns().is_empty());
    let notices = manager.take_notices();
    let text = "of a LUN whose raid 0.0 is on no drive here";
    assert!(
        notices.iter().any(|notice| notice.contains(text)),
        "{notices:?}"
    );
    let refused = manager.make(&world.request(1, Level::Jbod, &[2]));
    assert!(matches!(refused, Err(AdminError::DriveForeign { .. })));
    drop(manager);
    for (drive, before) in (2..5).zip(drives) {
        assert_eq!(world.image(drive).written, before);
    }
    pull(&world, &[0, 1], true);
    assert!(world.fork().start().luns()[0].online);
}

/// One half of the first mirror was away when the LUN grew, and is alone at a start: it knows nothing of a
/// part that holds acknowledged data.
#[test]
fn a_part_that_an_old_first_does_not_know_is_kept() {
    let world = World::new(&[2 * MIB; 6]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    pull(&world, &[1], false);
    let world = world.fork();
    let mut manager = world.start();
    world.grow(&mut manager, 0, Level::Raid5, &[2, 3, 4]);
    manager.shutdown();
    assert_eq!(record(&world, 2).record.state, RecordState::Complete);
    let part: Vec<_> = [2, 3, 4]
        .map(|drive| world.image(drive).written.clone())
        .to_vec();
    pull(&world, &[1], true);
    pull(&world, &[0], false);
    let world = world.fork();
    let manager = world.start();
    let lun = &manager.luns()[0];
    assert!(!lun.online);
    let trouble = lun.trouble.clone().unwrap();
    assert!(trouble.contains("these are out of date"), "{trouble}");
    drop(manager);
    for (drive, before) in (2..5).zip(part) {
        assert_eq!(world.image(drive).written, before, "drive {drive}");
    }
    pull(&world, &[0], true);
    let world = world.fork();
    assert!(world.start().luns()[0].online);
    assert_eq!(world.view(0).unwrap().parts.len(), 2);
}

/// The power went when one member of the first RAID knew of the growing, and that one is away.
#[test]
fn a_part_that_may_be_named_by_a_late_member_is_not_erased() {
    let base = World::new(&[2 * MIB; 5]);
    let mut manager = base.start();
    base.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.shutdown();
    let complete = base.fork();
    let mut manager = complete.start();
    complete.grow(&mut manager, 0, Level::Raid1, &[2, 3]);
    let writes = complete.power.lock().unwrap().writes;
    for k in 0..writes {
        for tear in TEARS {
            let world = base.fork();
            let mut manager = world.start();
            world.cut_power_after(k, tear);
            let _ = manager.grow(&world.request(0, Level::Raid1, &[2, 3]));
            drop(manager);
            for away in [0, 1] {
                let world = world.fork();
                pull(&world, &[away], false);
                drop(world.start());
                pull(&world, &[away], true);
                let world = world.fork();
                let manager = world.start();
                let lun = &manager.luns()[0];
                assert_eq!(lun.trouble, None, "cut in {k}, {tear:?}, {away} away");
            }
        }
    }
}

#[test]
fn spares_heal_every_part() {
    let world = grown(true);
    let mut manager = world.start();
    manager.add_spare(world.slot(6), None, false).unwrap();
    manager
        .member_failed(number(0), 1, 2, world.slot(4), "Input/output error")
        .unwrap();
    assert_eq!(manager.luns()[0].parts[1].state.to_string(), "degraded");
    manager.tick(Duration::from_secs(1));
    assert_eq!(
        manager.luns()[0].parts[1].state.to_string(),
        "recovering,degraded"
    );
    let view = world.view(0).unwrap();
    assert_eq!(view.parts[1].sync.as_ref().unwrap().kind, SyncKind::Resync);
    world.finish_pass(&mut manager, 0);
    assert_eq!(manager.luns()[0].parts[1].state.to_string(), "normal");
    assert_eq!(
        manager.luns()[0].parts[1].elements[2].drive,
        Some(world.slot(6))
    );
}

/// One pass at a time; a rebuild comes before a scrub, which then goes on as a pass of its own.
#[test]
fn the_passes_of_parts_take_turns() {
    let world = grown(true);
    let mut manager = world.start();
    manager.scrub(number(0), ScrubAction::Start).unwrap();
    let passes = |world: &World| -> Vec<Option<(u64, SyncKind)>> {
        let view = world.view(0).unwrap();
        let pass =
            |part: &crate::plane::PartView| part.sync.as_ref().map(|sync| (sync.pass, sync.kind));
        view.parts.iter().map(pass).collect()
    };
    let [Some((scrub, SyncKind::Check)), None] = passes(&world)[..] else {
        panic!("{:?}", passes(&world));
    };
    manager.scrub_found(number(0), 0, scrub, &differing(3));
    manager.fail(element(1, 1)).unwrap();
    manager
        .replace(element(1, 1), world.slot(5), false)
        .unwrap();
    let [None, Some((_, SyncKind::Resync))] = passes(&world)[..] else {
        panic!("{:?}", passes(&world));
    };
    world.finish_pass(&mut manager, 0);
    let [Some((again, SyncKind::Check)), None] = passes(&world)[..] else {
        panic!("{:?}", passes(&world));
    };
    assert_ne!(again, scrub, "it counts from its beginning");
    manager.scrub_found(number(0), 0, again, &differing(2));
    let scrubbed = manager.luns()[0].scrub.unwrap();
    assert_eq!(scrubbed.mismatched_sectors, 5);
    manager.sync_ended(number(0), 0, again, true);
    let [None, Some((second, SyncKind::Check))] = passes(&world)[..] else {
        panic!("{:?}", passes(&world));
    };
    manager.sync_ended(number(0), 1, second, true);
    assert_eq!(passes(&world), [None, None]);
    let scrubbed = manager.luns()[0].scrub.unwrap();
    assert_eq!(scrubbed.last_mismatched_sectors, 5);
    assert!(scrubbed.done_sectors.is_none() && scrubbed.last_unix_seconds.is_some());
}
