//! Scrubs: when they begin, wait, go on and end.

use super::world::{MIB, World, differing, number};
use crate::admin::{
    Admin, AdminError, ElementId, MakeRequest, ScrubAction, ScrubRepair, ScrubStatus,
};
use crate::manager::Manager;
use crate::plane::{SyncKind, SyncView};
use crate::target::ScrubFinding;
use raid::Level;
use raid::regions::RegionIndex;
use std::time::Duration;

fn online() -> (World, Manager) {
    let world = World::new(&[2 * MIB; 5]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.online(number(0)).unwrap();
    (world, manager)
}

fn sync(world: &World) -> Option<SyncView> {
    world.view(0).unwrap().parts[0].sync.clone()
}

fn scrub(manager: &Manager) -> ScrubStatus {
    manager.luns()[0].scrub.unwrap()
}

#[test]
fn a_scrub_is_a_pass_that_goes_on_after_a_restart() {
    let (world, mut manager) = online();
    assert_eq!(sync(&world), None);
    manager.scrub(number(0), ScrubAction::Start).unwrap();
    let SyncView {
        pass,
        start_lba,
        kind,
        ..
    } = sync(&world).unwrap();
    assert_eq!((start_lba, kind), (0, SyncKind::Check));
    let again = manager.scrub(number(0), ScrubAction::Start);
    assert_eq!(again, Err(AdminError::ScrubUnderWay(number(0))));
    manager.scrub_found(number(0), 0, pass, &differing(8));
    manager.scrub_found(number(0), 0, pass, &differing(24));
    manager.sync_reached(number(0), 0, pass, 1024);
    manager.want_regions(number(0), 0, &[RegionIndex(0)]);
    drop(manager);
    let world = world.fork();
    let mut manager = world.start();
    // Where mirrors may differ after the crash, that comes first.
    assert_eq!(sync(&world).unwrap().kind, SyncKind::Resync);
    world.finish_pass(&mut manager, 0);
    let SyncView {
        pass,
        start_lba,
        kind,
        ..
    } = sync(&world).unwrap();
    assert_eq!((start_lba, kind), (1024, SyncKind::Check));
    manager.scrub_found(number(0), 0, pass, &differing(1));
    manager.sync_ended(number(0), 0, pass, true);
    assert_eq!(sync(&world), None);
    let status = scrub(&manager);
    assert_eq!(
        (status.last_mismatched_sectors, status.done_sectors),
        (25, None)
    );
    assert!(status.last_unix_seconds.is_some());
}

#[test]
fn what_a_scrub_repairs_is_the_policy_of_the_lun_or_asked_for_once() {
    let (world, mut manager) = online();
    assert_eq!(scrub(&manager).repair, ScrubRepair::Report);
    let policy = ScrubAction::Policy(ScrubRepair::Located);
    manager.scrub(number(0), policy).unwrap();
    manager.scrub(number(0), ScrubAction::Repair).unwrap();
    assert_eq!(sync(&world).unwrap().repair, ScrubRepair::All);
    drop(manager);
    let world = world.fork();
    let mut manager = world.start();
    let SyncView { pass, repair, .. } = sync(&world).unwrap();
    assert_eq!(repair, ScrubRepair::All, "also after a restart");
    let found = ScrubFinding {
        mismatched_sectors: 5,
        repaired_sectors: 5,
        wrong: None,
    };
    manager.scrub_found(number(0), 0, pass, &found);
    manager.sync_ended(number(0), 0, pass, true);
    let status = scrub(&manager);
    assert_eq!(
        (status.last_mismatched_sectors, status.last_repaired_sectors),
        (5, 5)
    );
    assert!(!status.is_repair);
    let text = "LUN 0: the scrub found 5 sectors that differ, and has repaired 5";
    assert!(manager.take_notices().contains(&text.to_owned()));
    // The next one does what the policy says.
    manager.scrub(number(0), ScrubAction::Start).unwrap();
    assert_eq!(sync(&world).unwrap().repair, ScrubRepair::Located);
}

#[test]
fn a_scrub_waits_while_a_member_is_gone_or_somebody_says_so() {
    let (world, mut manager) = online();
    let none = Err(AdminError::NoScrub(number(0)));
    assert_eq!(manager.scrub(number(0), ScrubAction::Pause), none);
    manager.scrub(number(0), ScrubAction::Start).unwrap();
    let first = sync(&world).unwrap();
    manager.scrub(number(0), ScrubAction::Pause).unwrap();
    assert_eq!(sync(&world), None);
    manager.scrub(number(0), ScrubAction::Resume).unwrap();
    let second = sync(&world).unwrap();
    assert!(second.pass > first.pass);
    let element = ElementId {
        lun: number(0),
        part: 0,
        member: 1,
    };
    manager.fail(element).unwrap();
    assert_eq!(sync(&world), None);
    manager.unfail(element).unwrap();
    assert_eq!(sync(&world).unwrap().kind, SyncKind::Resync);
    // A late report of the scrub does not end the rebuild.
    manager.sync_ended(number(0), 0, second.pass, true);
    assert_eq!(sync(&world).unwrap().kind, SyncKind::Resync);
    world.finish_pass(&mut manager, 0);
    assert_eq!(sync(&world).unwrap().kind, SyncKind::Check);
    manager.scrub(number(0), ScrubAction::Stop).unwrap();
    assert_eq!(sync(&world), None);
}

#[test]
fn scrubs_begin_by_themselves_one_after_the_other() {
    let (world, mut manager) = online();
    manager
        .make(&MakeRequest {
            ..world.request(1, Level::Raid1, &[2, 3])
        })
        .unwrap();
    manager.online(number(1)).unwrap();
    manager.scrub(number(1), ScrubAction::Every(1)).unwrap();
    drop(manager);
    let running = |manager: &Manager| -> Vec<bool> {
        let luns = manager.luns();
        luns.iter()
            .map(|lun| lun.scrub.unwrap().done_sectors.is_some())
            .collect()
    };
    // The clock of a world begins anew at each start: it is turned by the record.
    let mut manager = world.start();
    world.finish_pass(&mut manager, 0);
    world.finish_pass(&mut manager, 1);
    manager.tick(Duration::ZERO);
    assert_eq!(running(&manager), [false, false]);
    world.days.store(2, std::sync::atomic::Ordering::Relaxed);
    manager.tick(Duration::ZERO);
    assert_eq!(running(&manager), [false, true]);
    world.days.store(20, std::sync::atomic::Ordering::Relaxed);
    manager.tick(Duration::ZERO);
    assert_eq!(running(&manager), [false, true], "one at a time");
    let pass = world.view(1).unwrap().parts[0].sync.clone().unwrap().pass;
    manager.sync_ended(number(1), 0, pass, true);
    manager.tick(Duration::ZERO);
    assert_eq!(running(&manager), [true, false]);
}
