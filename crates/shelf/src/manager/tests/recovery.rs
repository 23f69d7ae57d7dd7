//! The redo log between an unclean stop and the next time that the LUN is served. That recovery itself
//! is right is tested where it is.

use super::memory::TEARS;
use super::world::{MIB, World, number};
use crate::admin::{Admin, ElementId, ElementState, MakeRequest};
use crate::manager::Manager;
use crate::plane::{LunView, MemberView};
use crate::target::MendTicket;
use raid::Level;
use raid::bad_blocks::BadRange;
use raid::checksum::nh;
use raid::log::{EntryPlace, Kind, RecordIdentity, RecordWriter};
use raid::lost::LostRange;
use raid::md::raw;
use raid::regions::RegionIndex;
use std::sync::Arc;

/// What an interrupted write gives the members that take part.
const NEW: u8 = 0xd7;

fn online(clean: bool) -> (World, Manager) {
    let world = World::new(&[2 * MIB; 4]);
    let mut manager = world.start();
    let request = MakeRequest {
        clean,
        ..world.request(0, Level::Raid5, &[0, 1, 2, 3])
    };
    manager.make(&request).unwrap();
    manager.online(number(0)).unwrap();
    (world, manager)
}

fn members(view: &LunView) -> Vec<MemberView> {
    view.parts[0].members.iter().flatten().copied().collect()
}

/// Puts the records of a round of the first row into the logs of elements, as the data path would.
fn log(world: &World, view: &Arc<LunView>, kind: Kind, elements: &[u8]) {
    let part = &view.parts[0];
    let log = part.log.unwrap();
    let tags: Vec<u32> = members(view).iter().map(|member| member.log_tag).collect();
    let participants = elements.iter().fold(0, |all, element| all | 1 << element);
    for &element in elements {
        let member = part.members[usize::from(element)].unwrap();
        let slot_sectors = log.parameters.slot_sectors();
        let mut record = vec![0; usize::from(slot_sectors) * 512];
        let mut writer = RecordWriter::new(4, slot_sectors);
        let place = EntryPlace {
            member_sector: 0,
            range_start: 0,
            range_sectors: 1,
            participants,
        };
        match kind {
            Kind::Redo => writer.add_redo(&mut record, &place, &[NEW; 512]).unwrap(),
            Kind::Intent => writer
                .add_intent(&mut record, &place, 1, nh(&[NEW; 512]))
                .unwrap(),
        }
        let identity = RecordIdentity {
            set_uuid: log.set_uuid,
            epoch: log.parameters.epoch(),
            group: 1,
            element,
            tags: &tags,
        };
        let bytes = writer.finish(&mut record, &identity);
        let sector = log.parameters.record_sector(member.log_area, 1);
        world.image(element.into()).write(sector, &record[..bytes]);
    }
}

/// The first data sector of an element.
fn home(world: &World, element: u8) -> u8 {
    let mut sector = [0; 512];
    world.image(element.into()).read(768, &mut sector);
    sector[0]
}

fn homes(world: &World) -> [u8; 4] {
    [0, 1, 2, 3].map(|element| home(world, element))
}

fn epoch(world: &World) -> u64 {
    world.view(0).unwrap().parts[0]
        .log
        .unwrap()
        .parameters
        .epoch()
}

/// A LUN in which a write to element 0 (P of the first row is element 3) was in the log and nowhere else when
/// power failed.
fn interrupted() -> World {
    let (world, manager) = online(true);
    let view = world.view(0).unwrap();
    log(&world, &view, Kind::Redo, &[0, 3]);
    drop(manager);
    world.fork()
}

#[test]
fn an_interrupted_write_is_completed_before_the_lun_is_served() {
    let world = interrupted();
    let mut manager = world.start();
    let view = world.view(0).expect("it is served again");
    assert_eq!(homes(&world), [NEW, 0, 0, NEW]);
    assert!(!view.parts[0].mirrors_unsynced, "the log told everything");
    assert_eq!(epoch(&world), 3, "made in 1, first served in 2");
    let notices = manager.take_notices();
    let told = notices
        .iter()
        .any(|notice| notice.contains("1 slices from the redo log"));
    assert!(told, "{notices:?}");
    manager.shutdown();
    drop(manager);
    let world = world.fork();
    drop(world.start());
    assert_eq!(epoch(&world), 4, "every time that it is served");
}

#[test]
fn it_is_completed_whenever_power_fails_again() {
    let base = interrupted();
    let complete = base.fork();
    drop(complete.start());
    let writes = complete.power.lock().unwrap().writes;
    assert!(writes > 10);
    for k in 0..writes {
        for tear in TEARS {
            let world = base.fork();
            world.cut_power_after(k, tear);
            drop(world.start());
            let again = world.fork();
            drop(again.start());
            assert!(again.view(0).is_some(), "write {k}, {tear:?}");
            assert_eq!(homes(&again), [NEW, 0, 0, NEW], "write {k}, {tear:?}");
        }
    }
}

#[test]
fn a_lun_that_is_offline_keeps_its_log() {
    let base = interrupted();
    // A member too few, and one that comes back.
    base.image(1).is_present = false;
    base.image(2).is_present = false;
    drop(base.start());
    assert!(base.view(0).is_none());
    assert_eq!(homes(&base), [0; 4]);
    base.image(1).is_present = true;
    base.image(2).is_present = true;
    let world = base.fork();
    drop(world.start());
    assert_eq!(homes(&world), [NEW, 0, 0, NEW]);
}

#[test]
fn a_member_that_is_away_is_left_behind_before_the_log_is_replayed() {
    let base = interrupted();
    base.image(0).is_present = false;
    drop(base.start());
    assert_eq!(
        homes(&base),
        [0, 0, 0, NEW],
        "the lost block is what P says"
    );
    base.image(0).is_present = true;
    let world = base.fork();
    drop(world.start());
    let view = world.view(0).unwrap();
    let in_sync: Vec<bool> = members(&view).iter().map(|member| member.in_sync).collect();
    assert!(in_sync != [true; 4], "it has missed the write: {in_sync:?}");
}

/// Linux has written the superblocks of drives.
fn update_by_linux(world: &World, drives: std::ops::Range<usize>) {
    for index in drives {
        let mut block = [0; 4096];
        let mut image = world.image(index);
        image.read(8, &mut block);
        // Linux notes the time of an update in whole seconds.
        block[192 + 5..192 + 8].fill(0);
        let roles = u32::from_le_bytes(block[220..224].try_into().unwrap());
        block[216..220].fill(0);
        let sum = raw::checksum(&block[..256 + 2 * usize::try_from(roles).unwrap()]);
        block[216..220].copy_from_slice(&sum.to_le_bytes());
        image.write(8, &block);
    }
}

#[test]
fn what_linux_changed_since_is_not_overwritten() {
    let world = interrupted();
    update_by_linux(&world, 0..4);
    drop(world.start());
    assert_eq!(homes(&world), [0; 4]);
    assert!(world.view(0).unwrap().parts[0].log.is_some());
    // Also when power fails before it is served.
    let world = world.fork();
    drop(world.start());
    assert_eq!(homes(&world), [0; 4]);
}

#[test]
fn a_lost_member_whose_content_cannot_be_told_is_asked_for() {
    let (world, manager) = online(true);
    let view = world.view(0).unwrap();
    log(&world, &view, Kind::Intent, &[0, 1, 2, 3]);
    // Of a full stripe one block is new.
    world.image(1).write(768, &[NEW; 512]);
    drop(manager);
    world.image(0).is_present = false;
    let poor = world.fork();
    let mut manager = poor.start();
    let notices = manager.take_notices().join("\n");
    assert!(notices.contains("bring their drives back"), "{notices}");
    manager.shutdown();
    drop(manager);
    let forced = poor.fork();
    poor.image(0).is_present = true;
    let whole = poor.fork();
    drop(whole.start());
    assert!(whole.view(0).is_some());
    assert_eq!(
        homes(&whole),
        [0, NEW, 0, NEW],
        "parity matches what is there"
    );

    let mut manager = forced.start();
    manager.online(number(0)).unwrap();
    assert_eq!(homes(&forced), [0, NEW, 0, 0]);
    let notices = manager.take_notices().join("\n");
    assert!(notices.contains("1 sectors that were being"), "{notices}");
    drop(manager);
    // P is bad, also after a restart.
    let superblock = forced.image(3).superblock().unwrap();
    assert!(superblock.has_bad_blocks());
    drop(forced.fork().start());
}

#[test]
fn parity_that_was_never_complete_is_not_after_a_crash() {
    let (world, manager) = online(false);
    assert!(world.view(0).unwrap().parts[0].mirrors_unsynced);
    drop(manager);
    let crashed = world.fork();
    let mut manager = crashed.start();
    let view = crashed.view(0).unwrap();
    assert!(view.parts[0].mirrors_unsynced);
    let pass = view.parts[0].sync.as_ref().unwrap().pass;
    manager.sync_ended(number(0), 0, pass, true);
    drop(manager);
    let crashed = crashed.fork();
    drop(crashed.start());
    let view = crashed.view(0).unwrap();
    assert!(!view.parts[0].mirrors_unsynced, "the log keeps it so");
    assert_eq!(view.parts[0].sync, None);
}

#[test]
fn writes_that_ended_in_an_error_leave_parity_unsynced() {
    let (world, mut manager) = online(true);
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    world.log.lock().unwrap().mirrors_differ = true;
    manager.offline(number(0)).unwrap();
    drop(manager);
    let world = world.fork();
    world.start().online(number(0)).unwrap();
    assert!(world.view(0).unwrap().parts[0].mirrors_unsynced);
}

/// A member failed a write on the way home when the LUN was going offline: what was written is in the
/// log, and the next time that the LUN is served it is completed, also after a restart.
#[test]
fn what_was_cut_short_is_completed_before_the_lun_is_served_again() {
    for restarts in [false, true] {
        let (mut world, mut manager) = online(true);
        manager.want_regions(number(0), 0, &[RegionIndex(0)]);
        let view = world.view(0).unwrap();
        log(&world, &view, Kind::Redo, &[0, 3]);
        world.log.lock().unwrap().is_log_pending = true;
        manager.offline(number(0)).unwrap();
        assert_eq!(homes(&world), [0, 0, 0, 0]);
        if restarts {
            drop(manager);
            world = world.fork();
            manager = world.start();
        }
        world.log.lock().unwrap().is_log_pending = false;
        manager.online(number(0)).unwrap();
        assert_eq!(homes(&world), [NEW, 0, 0, NEW], "restarts: {restarts}");
        assert!(!world.view(0).unwrap().parts[0].mirrors_unsynced);
        manager.offline(number(0)).unwrap();
        let superblock = world.image(0).superblock().unwrap();
        assert_eq!(superblock.resync(), raid::md::Resync::Clean);
    }
}

#[test]
fn members_that_an_administrator_went_on_without_are_rebuilt_when_they_come_back() {
    let (poor, mut manager) = torn();
    manager.shutdown();
    drop(manager);
    poor.image(0).is_present = true;
    let whole = poor.fork();
    let manager = whole.start();
    let state = manager.luns()[0].parts[0].elements[0].state;
    assert_eq!(state, ElementState::Replaced);
}

/// A LUN that goes on without element 0, of whose first sector neither the old content nor the new is known.
fn torn() -> (World, Manager) {
    let (world, manager) = online(true);
    let view = world.view(0).unwrap();
    log(&world, &view, Kind::Intent, &[0, 1, 2, 3]);
    world.image(1).write(768, &[NEW; 512]);
    drop(manager);
    world.image(0).is_present = false;
    let poor = world.fork();
    let mut manager = poor.start();
    manager.online(number(0)).unwrap();
    (poor, manager)
}

fn lost(world: &World) -> Vec<LostRange> {
    world.view(0).unwrap().parts[0].lost.to_vec()
}

/// The data path has written lost sectors of element 0.
fn find(world: &World, manager: &mut Manager, range: &BadRange) {
    let epoch = epoch(world);
    manager.lost_written(number(0), 0, (0, range), epoch - 1, MendTicket::any());
    assert!(
        world.log.lock().unwrap().mended.is_empty(),
        "of another time"
    );
    manager.lost_written(number(0), 0, (0, range), epoch, MendTicket::any());
}

/// Whether the bad-block log of a drive has an entry, and whether the data path knows of it.
fn bad(world: &World, index: usize) -> (bool, bool) {
    let is_logged = world.image(index).superblock().unwrap().has_bad_blocks();
    let log = world.log.lock().unwrap();
    let told = log.bad_blocks.get(&world.slot(index));
    (is_logged, told.is_some_and(|told| !told.is_empty()))
}

#[test]
fn what_is_lost_is_in_the_list_and_in_the_logs_for_others_until_it_is_written() {
    let (world, mut manager) = torn();
    assert_eq!(lost(&world), [(0, 0, 1).into()]);
    assert_eq!(bad(&world, 3), (true, false), "P is good to compute with");
    let notices = manager.take_notices().join("\n");
    assert!(
        notices.contains("unreadable until they are written"),
        "{notices}"
    );
    drop(manager);
    // A start knows it.
    let world = world.fork();
    let mut manager = world.start();
    assert_eq!(lost(&world), [(0, 0, 1).into()]);
    assert_eq!(bad(&world, 3), (true, false));
    let range = BadRange {
        sector: 0,
        sectors: 8,
    };
    find(&world, &mut manager, &range);
    assert_eq!(world.log.lock().unwrap().mended, [true]);
    assert_eq!(lost(&world), []);
    manager.shutdown();
    drop(manager);
    assert_eq!(bad(&world, 3), (false, false));
    let world = world.fork();
    drop(world.start());
    assert_eq!(lost(&world), []);
}

#[test]
fn who_is_rebuilt_gets_what_is_lost_into_its_log() {
    let (world, mut manager) = torn();
    world.image(0).is_present = true;
    let world = world.fork();
    drop(std::mem::replace(&mut manager, world.start()));
    assert_eq!(lost(&world), [(0, 0, 1).into()]);
    world.finish_pass(&mut manager, 0);
    let view = world.view(0).unwrap();
    assert!(members(&view).iter().all(|member| member.in_sync));
    assert_eq!(members(&view).len(), 4);
    assert_eq!(bad(&world, 0), (true, false));
    assert_eq!(lost(&world), [(0, 0, 1).into()]);
    let range = BadRange {
        sector: 0,
        sectors: 1,
    };
    find(&world, &mut manager, &range);
    manager.shutdown();
    assert_eq!(
        (bad(&world, 0), bad(&world, 3)),
        ((false, false), (false, false))
    );
}

#[test]
fn what_is_really_bad_is_not_set_aside() {
    let (world, mut manager) = torn();
    let range = BadRange {
        sector: 0,
        sectors: 1,
    };
    manager.add_bad_blocks(number(0), 0, 3, &[range]).unwrap();
    assert_eq!(
        bad(&world, 3),
        (true, true),
        "what was lost is lost as before"
    );
    drop(manager);
    let world = world.fork();
    drop(world.start());
    assert_eq!((lost(&world), bad(&world, 3)), (vec![], (true, true)));
}

#[test]
fn what_linux_changed_since_is_not_in_the_list() {
    let (world, mut manager) = torn();
    manager.shutdown();
    drop(manager);
    update_by_linux(&world, 1..4);
    let world = world.fork();
    drop(world.start());
    assert_eq!(lost(&world), []);
    assert_eq!(bad(&world, 3), (true, true));
    drop(world.fork().start());
    assert_eq!(lost(&world), []);
}

#[test]
fn wherever_power_is_cut_what_is_found_was_written_and_what_is_not_stays_lost() {
    let range = BadRange {
        sector: 0,
        sectors: 1,
    };
    let count = {
        let (world, mut manager) = torn();
        let before = world.power.lock().unwrap().writes;
        find(&world, &mut manager, &range);
        world.power.lock().unwrap().writes - before
    };
    assert!(count >= 4, "the log, and three records");
    for k in 0..=count {
        for tear in TEARS {
            let (world, mut manager) = torn();
            world.cut_power_after(k, tear);
            find(&world, &mut manager, &range);
            let is_told = world.log.lock().unwrap().mended == [true];
            drop(manager);
            let world = world.fork();
            drop(world.start());
            let (lost, bad) = (lost(&world), bad(&world, 3));
            assert!(!is_told || lost.is_empty(), "{k} {tear:?}");
            assert!(!bad.1, "{k} {tear:?}: nothing real is bad");
        }
    }
}

#[test]
fn a_drive_that_gets_the_parity_of_what_is_lost_has_it_in_its_log() {
    let (world, mut manager) = torn();
    world.image(0).is_present = true;
    let world = world.fork();
    drop(std::mem::replace(&mut manager, world.start()));
    world.finish_pass(&mut manager, 0);
    let parity = ElementId {
        lun: number(0),
        part: 0,
        member: 3,
    };
    manager.fail(parity).unwrap();
    manager.replace(parity, world.slot(3), true).unwrap();
    world.finish_pass(&mut manager, 0);
    let view = world.view(0).unwrap();
    assert!(members(&view).iter().all(|member| member.in_sync));
    assert_eq!(
        (bad(&world, 0), bad(&world, 3)),
        ((true, false), (true, false))
    );
}
