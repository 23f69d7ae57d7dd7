//! Jobs on drives: who may have one, what others may do meanwhile, and what is found after an interruption.

use super::memory::TEARS;
use super::world::{MIB, World, number, seen};
use crate::admin::{
    Admin, AdminError, DriveRole, DriveState, ElementId, JobStatus, RateLimit, Work,
};
use crate::job::{JobEnd, JobKind};
use crate::manager::Manager;
use crate::patience::DriveHealth;
use raid::Level;
use std::time::Duration;

const LEFT: &str = "what an erase that did not end has left";

fn world() -> World {
    let world = World::new(&[2 * MIB, 2 * MIB, 4 * MIB, 4 * MIB]);
    for index in 2..4 {
        let mut image = world.image(index);
        for sector in [0, 8, 9, 64, 4000, 4 * MIB - 1] {
            image.write(sector, &[0xa5; 512]);
        }
        image.foreign = Some("an ext4 file system".to_owned());
    }
    world
}

fn role(world: &World, manager: &Manager, index: usize) -> DriveRole {
    let drives = manager.drives();
    let found = drives.iter().find(|drive| drive.slot == world.slot(index));
    found.unwrap().role.clone()
}

fn erase(world: &World, manager: &mut Manager, index: usize) {
    let slot = world.slot(index);
    manager.begin_job(slot, JobKind::Erase).unwrap();
}

fn job(world: &World, manager: &Manager, index: usize) -> JobStatus {
    let jobs = manager.jobs();
    let found = jobs.iter().find(|job| job.drive == world.slot(index));
    found.unwrap().clone()
}

fn is_all_zeroes(world: &World, index: usize) -> bool {
    let image = world.image(index);
    let mut written = image.written.values();
    written.all(|sector| sector.iter().all(|byte| *byte == 0))
}

#[test]
fn an_erased_drive_is_free_and_holds_nothing() {
    let world = world();
    let mut manager = world.start();
    erase(&world, &mut manager, 2);
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Working(JobKind::Erase)
    );
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(role(&world, &manager, 2), DriveRole::Free);
    let done = job(&world, &manager, 2);
    assert_eq!(done.report.progress.end, Some(JobEnd::Complete));
    assert_eq!(done.report.progress.done_sectors, 4 * MIB);
    assert!(is_all_zeroes(&world, 2));
    assert!(!is_all_zeroes(&world, 3), "no other");
    world.make(&mut manager, 0, Level::Jbod, &[2]);
}

#[test]
fn a_drive_that_is_erased_is_in_use_to_everybody() {
    let world = world();
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    let slot = world.slot(2);
    erase(&world, &mut manager, 2);
    world.works.step(1);
    let in_use = AdminError::DriveInUse("1.2".to_owned());
    let mut request = world.request(1, Level::Jbod, &[2]);
    request.force = true;
    assert_eq!(manager.make(&request), Err(in_use.clone()));
    request.lun = number(0);
    assert_eq!(manager.grow(&request), Err(in_use.clone()));
    request.level = Level::Raw;
    request.lun = number(1);
    assert_eq!(manager.make(&request), Err(in_use.clone()));
    assert_eq!(manager.add_spare(slot, None, true), Err(in_use.clone()));
    let id = element(0, 0);
    assert_eq!(manager.replace(id, slot, true), Err(in_use.clone()));
    manager.fail(id).unwrap();
    assert_eq!(manager.replace(id, slot, true), Err(in_use));
    for kind in [JobKind::Erase, JobKind::ReadTest, JobKind::WriteTest] {
        let busy = AdminError::DriveBusy {
            drive: "1.2".to_owned(),
            kind: JobKind::Erase,
        };
        assert_eq!(manager.begin_job(slot, kind), Err(busy));
    }
    manager.rescan().unwrap();
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Working(JobKind::Erase)
    );
    assert!(manager.arrays().is_empty() && manager.elsewhere(None).is_empty());
    world.works.finish();
    manager.rescan().unwrap();
    assert_eq!(role(&world, &manager, 2), DriveRole::Free);
}

fn element(lun: u8, member: u8) -> ElementId {
    ElementId {
        lun: number(lun),
        part: 0,
        member,
    }
}

#[test]
fn what_has_a_role_is_not_destroyed_and_may_be_read() {
    let world = world();
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.add_spare(world.slot(2), None, true).unwrap();
    manager.fail(element(0, 0)).unwrap();
    for (index, role) in [(0, "0.0.0"), (1, "0.0.1"), (2, "spare")] {
        for kind in [JobKind::Erase, JobKind::WriteTest] {
            let refused = AdminError::DriveHasRole {
                drive: format!("1.{index}"),
                role: role.to_owned(),
            };
            assert_eq!(
                manager.check_job(world.slot(index), kind),
                Err(refused.clone())
            );
            assert_eq!(manager.begin_job(world.slot(index), kind), Err(refused));
        }
    }
    let before = seen(&manager);
    let writes = world.power.lock().unwrap().writes;
    for index in 0..3 {
        manager
            .begin_job(world.slot(index), JobKind::ReadTest)
            .unwrap();
    }
    assert_eq!(seen(&manager), before, "it takes nothing");
    world.works.finish();
    assert_eq!(
        world.power.lock().unwrap().writes,
        writes,
        "and writes nothing"
    );
}

#[test]
fn clients_get_most_of_a_drive_and_the_limit_of_passes_holds() {
    let world = world();
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    manager.begin_job(world.slot(2), JobKind::ReadTest).unwrap();
    assert!(!world.works.pace().is_gentle);
    manager.begin_job(world.slot(0), JobKind::ReadTest).unwrap();
    assert!(world.works.pace().is_gentle);
    let limit = RateLimit {
        bytes_per_second: 1 << 20,
        is_per_drive: false,
    };
    manager.set_rate_limit(limit).unwrap();
    manager.offline(number(0)).unwrap();
    manager.remove(number(0), false).unwrap();
    manager.tick(Duration::from_secs(1));
    let pace = world.works.pace();
    assert!(!pace.is_gentle);
    assert_eq!(pace.bytes_per_second, 1 << 20);
}

#[test]
fn a_drive_where_writes_may_still_land_is_not_erased() {
    let world = world();
    let mut manager = world.start();
    let outstanding = DriveHealth {
        abandoned_ios: 1,
        ..DriveHealth::default()
    };
    let slot = world.slot(2);
    world.log.lock().unwrap().health.insert(slot, outstanding);
    let refused = manager.begin_job(slot, JobKind::Erase);
    assert!(matches!(refused, Err(AdminError::IoOutstanding { .. })));
    assert!(matches!(role(&world, &manager, 2), DriveRole::Foreign(what) if what.contains("ext4")));
}

#[test]
fn one_that_is_stopped_says_so_also_after_a_restart() {
    let world = world();
    let mut manager = world.start();
    let slot = world.slot(2);
    assert_eq!(
        manager.stop_job(slot, &[JobKind::Erase]),
        Err(AdminError::NoJob("1.2".to_owned()))
    );
    erase(&world, &mut manager, 2);
    world.works.step(1);
    let test = [JobKind::ReadTest, JobKind::WriteTest];
    assert_eq!(
        manager.stop_job(slot, &test),
        Err(AdminError::NoJob("1.2".to_owned())),
        "it is no test"
    );
    manager.stop_job(slot, &[JobKind::Erase]).unwrap();
    assert!(job(&world, &manager, 2).is_stopping);
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Working(JobKind::Erase),
        "not yet"
    );
    world.works.step(1);
    manager.tick(Duration::from_secs(1));
    let left = DriveRole::Foreign(LEFT.to_owned());
    assert_eq!(role(&world, &manager, 2), left);
    assert_eq!(
        job(&world, &manager, 2).report.progress.end,
        Some(JobEnd::Stopped)
    );
    let world = world.fork();
    let mut manager = world.start();
    assert_eq!(role(&world, &manager, 2), left);
    let drives = manager.drives();
    let unfinished: Vec<_> = drives.iter().filter_map(|drive| drive.unfinished).collect();
    assert_eq!(unfinished, [Work::Erase]);
    // Begun anew it comes to its end.
    erase(&world, &mut manager, 2);
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(role(&world, &manager, 2), DriveRole::Free);
    assert!(is_all_zeroes(&world, 2));
    let manager = world.fork().start();
    assert!(
        manager
            .drives()
            .iter()
            .all(|drive| drive.unfinished.is_none())
    );
}

#[test]
fn a_drive_that_does_not_answer_is_not_free_before_it_has() {
    let world = world();
    let mut manager = world.start();
    erase(&world, &mut manager, 2);
    world.image(2).is_silent = true;
    manager.stop_job(world.slot(2), &[JobKind::Erase]).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Working(JobKind::Erase)
    );
    manager.shutdown();
    assert!(
        manager
            .take_notices()
            .iter()
            .any(|told| told.contains("did not end its erase"))
    );
    let refused = manager.begin_job(world.slot(3), JobKind::Erase);
    assert_eq!(refused, Err(AdminError::Stopping));
}

#[test]
fn an_orderly_stop_ends_jobs() {
    let world = world();
    let mut manager = world.start();
    erase(&world, &mut manager, 2);
    world.works.step(1);
    manager.shutdown();
    assert_eq!(
        job(&world, &manager, 2).report.progress.end,
        Some(JobEnd::Stopped)
    );
    let world = world.fork();
    let manager = world.start();
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Foreign(LEFT.to_owned())
    );
}

#[test]
fn a_drive_that_is_pulled_ends_its_job_with_the_reason() {
    let world = world();
    let mut manager = world.start();
    erase(&world, &mut manager, 2);
    world.works.step(1);
    world.image(2).is_present = false;
    world.works.step(1);
    manager.tick(Duration::from_secs(1));
    let end = job(&world, &manager, 2).report.progress.end;
    let gone = "the drive is gone: No such device".to_owned();
    assert_eq!(end, Some(JobEnd::Failed(gone)));
    let notices = manager.take_notices();
    assert!(
        notices
            .iter()
            .any(|told| told.contains("erase of drive 1.2 failed"))
    );
}

#[test]
fn sectors_that_cannot_be_erased_keep_the_drive_from_being_free() {
    let world = world();
    let mut manager = world.start();
    world.image(2).bad.insert(4000);
    erase(&world, &mut manager, 2);
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Foreign(LEFT.to_owned())
    );
    assert_eq!(
        job(&world, &manager, 2).report.progress.bad.ranges(),
        std::slice::from_ref(&(4000..4001))
    );
}

#[test]
fn a_drive_that_cannot_be_marked_has_no_job() {
    let world = world();
    let mut manager = world.start();
    world.image(2).fails_writes = true;
    let refused = manager.begin_job(world.slot(2), JobKind::Erase);
    assert!(
        matches!(refused, Err(AdminError::JobRefused { .. })),
        "{refused:?}"
    );
    assert!(manager.jobs().is_empty());
}

#[test]
fn several_drives_are_worked_on_at_once() {
    let world = world();
    let mut manager = world.start();
    erase(&world, &mut manager, 2);
    manager
        .begin_job(world.slot(3), JobKind::WriteTest)
        .unwrap();
    assert_eq!(manager.jobs().len(), 2);
    manager.stop_job(world.slot(2), &[JobKind::Erase]).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Foreign(LEFT.to_owned())
    );
    assert_eq!(role(&world, &manager, 3), DriveRole::Free);
    assert_eq!(job(&world, &manager, 3).report.progress.bad.sectors(), 0);
}

/// A LUN is ejected, and one of its drives erased: power is cut at every write of that, in every way. The
/// drive is a member still, or says that it is being erased, or is free; it is never a member of which a part
/// is gone.
#[test]
fn a_power_cut_never_leaves_half_a_member() {
    for tear in TEARS {
        for writes in 0..12 {
            let base = World::new(&[2 * MIB, 2 * MIB]);
            let mut manager = base.start();
            base.make(&mut manager, 0, Level::Raid1, &[0, 1]);
            manager.eject(number(0), true).unwrap();
            let whole = base.image(1).written.clone();
            base.cut_power_after(writes, tear);
            let begun = manager.begin_job(base.slot(1), JobKind::Erase);
            base.works.finish();
            manager.tick(Duration::from_secs(1));
            let world = base.fork();
            let now = world.image(1).written.clone();
            let manager = world.start();
            let role = role(&world, &manager, 1);
            let is_member = matches!(role, DriveRole::Element(_));
            let told = format!("{tear:?} after {writes}: {begun:?} {role:?}");
            assert_eq!(is_member, now == whole, "{told}");
            let is_done = now.values().flatten().all(|byte| *byte == 0);
            assert_eq!(role == DriveRole::Free, is_done, "{told}");
            assert!(
                is_member || is_done || role == DriveRole::Foreign(LEFT.to_owned()),
                "{told}"
            );
        }
    }
}

#[test]
fn a_raw_lun_takes_the_mark_away() {
    let world = world();
    let mut manager = world.start();
    erase(&world, &mut manager, 2);
    world.works.step(1);
    manager.stop_job(world.slot(2), &[JobKind::Erase]).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    let mut request = world.request(0, Level::Raw, &[2]);
    assert!(matches!(
        manager.make(&request),
        Err(AdminError::DriveForeign { .. })
    ));
    request.force = true;
    manager.make(&request).unwrap();
    let world = world.fork();
    let manager = world.start();
    assert!(
        manager
            .drives()
            .iter()
            .all(|drive| drive.unfinished.is_none())
    );
    assert!(
        manager
            .drives()
            .iter()
            .all(|drive| drive.state == DriveState::Up)
    );
}

fn size(world: &World, manager: &Manager, index: usize) -> (u64, u64) {
    let drives = manager.drives();
    let found = drives.iter().find(|drive| drive.slot == world.slot(index));
    let found = found.unwrap();
    (found.size_bytes / 512, found.whole_bytes / 512)
}

#[test]
fn a_size_goes_with_the_drive_through_luns_and_other_slots() {
    let world = World::new(&[2 * MIB, 4 * MIB]);
    let mut manager = world.start();
    let bytes = Some(3 * MIB * 512 + 100);
    manager.set_size(world.slot(1), bytes, false).unwrap();
    assert_eq!(size(&world, &manager, 1), (3 * MIB, 4 * MIB));
    let world = world.fork();
    let mut manager = world.start();
    assert_eq!(size(&world, &manager, 1), (3 * MIB, 4 * MIB));
    world.make(&mut manager, 0, Level::Jbod, &[1]);
    assert!(manager.luns()[0].size_bytes < 3 * MIB * 512);
    manager.online(number(0)).unwrap();
    for bytes in [None, bytes] {
        let refused = manager.set_size(world.slot(1), bytes, true);
        assert!(
            matches!(refused, Err(AdminError::DriveInUse(_))),
            "{refused:?}"
        );
    }
    let world = world.fork();
    let mut manager = world.start();
    assert!(manager.luns()[0].online, "it is served as before");
    assert_eq!(size(&world, &manager, 1), (3 * MIB, 4 * MIB));
    manager.remove(number(0), true).unwrap();
    assert_eq!(size(&world, &manager, 1), (3 * MIB, 4 * MIB));
    manager.set_size(world.slot(1), None, false).unwrap();
    assert_eq!(size(&world, &manager, 1), (4 * MIB, 4 * MIB));
    let world = world.fork();
    let manager = world.start();
    assert_eq!(size(&world, &manager, 1), (4 * MIB, 4 * MIB));
    assert!(is_all_zeroes(&world, 0));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let world = world();
    let mut manager = world.start();
    let mut set = |index, bytes| manager.set_size(world.slot(index), bytes, false);
    assert!(matches!(
        set(0, Some(MIB * 512 - 1)),
        Err(AdminError::DriveTooSmall { .. })
    ));
    assert!(matches!(
        set(0, Some(2 * MIB * 512)),
        Err(AdminError::SizeTooLarge { .. })
    ));
    assert_eq!(set(0, Some((2 * MIB - 8) * 512)), Ok(()));
    assert!(matches!(
        set(2, Some(2 * MIB * 512)),
        Err(AdminError::DriveForeign { .. })
    ));
    manager.begin_job(world.slot(1), JobKind::ReadTest).unwrap();
    let busy = manager.set_size(world.slot(1), None, false);
    assert!(matches!(busy, Err(AdminError::DriveBusy { .. })));
    world.image(3).fails_writes = true;
    let failed = manager.set_size(world.slot(3), Some(2 * MIB * 512), true);
    assert!(matches!(failed, Err(AdminError::Io(_))));
    assert_eq!(size(&world, &manager, 3), (4 * MIB, 4 * MIB));
}

/// Whoever may write a LUN may write anything to its last block.
#[test]
fn data_of_a_lun_that_looks_like_a_size_is_none() {
    let world = World::new(&[2 * MIB, 2 * MIB]);
    let mut manager = world.start();
    manager
        .set_size(world.slot(1), Some(MIB * 512), false)
        .unwrap();
    let mut forged = [0; 512];
    world.image(1).read(2 * MIB - 8, &mut forged);
    manager.set_size(world.slot(1), None, false).unwrap();
    world.make(&mut manager, 0, Level::Jbod, &[1]);
    world.image(1).write(2 * MIB - 8, &forged);
    let world = world.fork();
    let manager = world.start();
    assert_eq!(size(&world, &manager, 1), (2 * MIB, 2 * MIB));
    assert_eq!(manager.luns().len(), 1);
}

#[test]
fn an_erase_takes_the_size_away_too() {
    let world = World::new(&[2 * MIB, 4 * MIB]);
    let mut manager = world.start();
    manager
        .set_size(world.slot(1), Some(2 * MIB * 512), false)
        .unwrap();
    erase(&world, &mut manager, 1);
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(size(&world, &manager, 1), (4 * MIB, 4 * MIB));
    let world = world.fork();
    assert_eq!(size(&world, &world.start(), 1), (4 * MIB, 4 * MIB));
}

#[test]
fn a_drive_that_is_pulled_and_inserted_says_that_it_is_not_wholly_erased() {
    let world = world();
    let mut manager = world.start();
    let slot = world.slot(2);
    erase(&world, &mut manager, 2);
    world.works.step(1);
    world.image(2).is_silent = true;
    manager.drive_pulled(slot);
    assert_eq!(role(&world, &manager, 2), DriveRole::Free);
    assert!(!manager.may_insert(slot), "its job has not ended");
    world.image(2).is_silent = false;
    world.works.step(1);
    manager.tick(Duration::from_secs(1));
    let end = job(&world, &manager, 2).report.progress.end;
    assert_eq!(end, Some(JobEnd::Failed("the drive was pulled".to_owned())));
    assert!(manager.may_insert(slot));
    manager.drive_inserted(world.drive(2));
    assert_eq!(
        role(&world, &manager, 2),
        DriveRole::Foreign(LEFT.to_owned())
    );
    assert!(manager.jobs().is_empty(), "perhaps it is another one");
}
