//! `extract`: one drive onto another, and none of which a copy would have a name that counts.

use super::import::foreign as array;
use super::memory::TEARS;
use super::world::{MIB, World, number};
use crate::admin::{Admin, AdminError, DriveRole, ElementId};
use crate::job::{Extract, JobEnd, JobKind, Progress};
use crate::manager::Manager;
use raid::Level;
use raid::drive_record::Work;
use std::time::Duration;

const EXT4: &str = "an ext4 file system";

/// Drive 1 carries something of others; 2 is as large, 3 larger, 0 smaller.
fn world() -> World {
    let world = World::new(&[2 * MIB, 4 * MIB, 4 * MIB, 6 * MIB]);
    let mut image = world.image(1);
    image.foreign = Some(EXT4.to_owned());
    for sector in (0..40).chain([3000, 3001, 5000, 4 * MIB - 1]) {
        let byte = u8::try_from(sector % 251).unwrap() | 1;
        image.write(sector, &[byte; 512]);
    }
    drop(image);
    // What was on the new one before is nobody's.
    world.image(2).write(7000, &[0x77; 512]);
    world
}

fn of(world: &World, index: usize) -> Extract {
    Extract::of(world.slot(index))
}

fn lenient(world: &World, index: usize) -> Extract {
    Extract {
        passes_over: true,
        ..of(world, index)
    }
}

fn begin(
    world: &World,
    manager: &mut Manager,
    extract: Extract,
    target: usize,
) -> Result<(), AdminError> {
    let (slot, kind) = (world.slot(target), JobKind::Extract(extract));
    let checked = manager.check_job(slot, kind);
    let begun = manager.begin_job(slot, kind);
    assert_eq!(checked, begun);
    begun
}

fn refusal(world: &World, manager: &mut Manager, (from, to): (usize, usize)) -> String {
    let before: Vec<_> = (0..world.images.len())
        .map(|index| world.image(index).written.clone())
        .collect();
    let told = begin(world, manager, lenient(world, from), to).unwrap_err();
    for (index, before) in before.iter().enumerate() {
        assert_eq!(world.image(index).written, *before, "drive {index}");
    }
    told.to_string()
}

fn role(world: &World, manager: &Manager, index: usize) -> DriveRole {
    let drives = manager.drives();
    let found = drives.iter().find(|drive| drive.slot == world.slot(index));
    found.unwrap().role.clone()
}

fn progress(world: &World, manager: &Manager, index: usize) -> Progress {
    let jobs = manager.jobs();
    let found = jobs.iter().find(|job| job.drive == world.slot(index));
    found.unwrap().report.progress.clone()
}

fn carries(what: &str) -> DriveRole {
    DriveRole::Foreign(what.to_owned())
}

/// Whether one drive holds all that another one does, but for some sectors, which are zeroes.
fn is_copy(world: &World, (old, new): (usize, usize), lost: &[u64]) -> bool {
    let (old, new) = (world.image(old), world.image(new));
    (0..old.sectors).all(|sector| {
        let (mut wanted, mut held) = ([0; 512], [0; 512]);
        if !lost.contains(&sector) {
            old.read(sector, &mut wanted);
        }
        new.read(sector, &mut held);
        held == wanted
    })
}

const LEFT: &str = "what an extract that did not end has left";

#[test]
fn all_of_a_drive_is_copied_and_it_is_not_written() {
    for target in [2, 3] {
        let world = world();
        let mut manager = world.start();
        let before = world.image(1).written.clone();
        begin(&world, &mut manager, of(&world, 1), target).unwrap();
        let kind = JobKind::Extract(of(&world, 1));
        for index in [1, target] {
            assert_eq!(role(&world, &manager, index), DriveRole::Working(kind));
            let mut request = world.request(1, Level::Jbod, &[index]);
            request.force = true;
            let name = format!("1.{}", world.slot(index));
            let taken = Err(AdminError::DriveInUse(name.clone()));
            assert_eq!(manager.make(&request), taken);
            let busy = Err(AdminError::DriveBusy { drive: name, kind });
            assert_eq!(manager.begin_job(world.slot(index), JobKind::Erase), busy);
            assert_eq!(
                manager.begin_job(world.slot(index), JobKind::ReadTest),
                busy
            );
        }
        world.works.step(2);
        manager.rescan().unwrap();
        assert_eq!(role(&world, &manager, 1), DriveRole::Working(kind));
        world.works.finish();
        manager.tick(Duration::from_secs(1));
        assert_eq!(
            progress(&world, &manager, target).end,
            Some(JobEnd::Complete)
        );
        assert!(is_copy(&world, (1, target), &[]));
        assert_eq!(
            world.image(1).written,
            before,
            "nothing is written to the old one"
        );
        for index in [1, target] {
            assert_eq!(role(&world, &manager, index), carries(EXT4));
        }
        manager.rescan().unwrap();
        assert_eq!(role(&world, &manager, target), carries(EXT4));
    }
}

#[test]
fn what_cannot_be_read_is_zeroes_and_listed_or_ends_it() {
    let world = world();
    world.image(1).unreadable.extend([9, 3000, 3001]);
    let mut manager = world.start();
    begin(&world, &mut manager, of(&world, 1), 2).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    let end = progress(&world, &manager, 2).end;
    let Some(JobEnd::Failed(reason)) = end else {
        panic!("{end:?}");
    };
    assert!(
        reason.starts_with("sector 3000 cannot be read: Medium error"),
        "{reason}"
    );
    assert_eq!(role(&world, &manager, 2), carries(LEFT));
    assert_eq!(role(&world, &manager, 1), carries(EXT4));
    // It is begun anew on what it has left.
    begin(&world, &mut manager, lenient(&world, 1), 2).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    let progress = progress(&world, &manager, 2);
    assert_eq!(progress.end, Some(JobEnd::Complete));
    assert_eq!(progress.bad.ranges(), [9..10, 3000..3002]);
    assert!(is_copy(&world, (1, 2), &[9, 3000, 3001]));
    assert_eq!(role(&world, &manager, 2), carries(EXT4));
}

#[test]
fn a_drive_with_nothing_that_is_known_is_copied_too() {
    let world = world();
    world.image(1).foreign = None;
    let mut manager = world.start();
    begin(&world, &mut manager, of(&world, 1), 3).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert!(is_copy(&world, (1, 3), &[]));
    for index in [1, 3] {
        assert_eq!(role(&world, &manager, index), DriveRole::Free);
    }
}

#[test]
fn drives_that_do_not_fit_are_refused() {
    let world = world();
    world.image(3).foreign = Some("a swap area".to_owned());
    let mut manager = world.start();
    let told = refusal(&world, &mut manager, (1, 1));
    assert!(told.ends_with("it is the drive to copy"), "{told}");
    let told = refusal(&world, &mut manager, (1, 0));
    let small = "it is not large enough: it has 2097152 bytes, 1.1 has 4194304";
    assert!(told.ends_with(small), "{told}");
    // The wrong way round it would destroy what is to be rescued.
    let told = refusal(&world, &mut manager, (2, 1));
    assert!(
        told.ends_with("it carries an ext4 file system; erase empties it"),
        "{told}"
    );
    let told = refusal(&world, &mut manager, (1, 3));
    assert!(told.contains("it carries a swap area"), "{told}");
    let beyond = Extract::of(crate::admin::DriveSlot(9));
    let kind = JobKind::Extract(beyond);
    let unknown = Err(AdminError::NoSuchDrive("1.9".to_owned()));
    assert_eq!(manager.check_job(world.slot(2), kind), unknown);
    let kind = JobKind::Extract(of(&world, 1));
    assert_eq!(manager.check_job(crate::admin::DriveSlot(9), kind), unknown);
    manager
        .set_size(world.slot(2), Some(2 << 20), false)
        .unwrap();
    let told = refusal(&world, &mut manager, (1, 2));
    assert!(
        told.contains("only a part of it is used; setsize -c"),
        "{told}"
    );
    manager.set_size(world.slot(2), None, false).unwrap();
    manager.begin_job(world.slot(1), JobKind::ReadTest).unwrap();
    let busy = refusal(&world, &mut manager, (1, 2));
    assert_eq!(busy, "1.1 has a job already: read test");

    for blocks in [1, 2] {
        let world = World::with_blocks(&[4 * MIB; 3], &[blocks]);
        let mut manager = world.start();
        let told = refusal(&world, &mut manager, (1, 2));
        let sizes = if blocks == 1 {
            [4096, 512]
        } else {
            [512, 4096]
        };
        let wanted = format!(
            "1.1 has sectors of {} bytes, and it has sectors of {}",
            sizes[0], sizes[1]
        );
        assert!(told.contains(&wanted), "{told}");
    }
    let world = World::with_blocks(&[4 * MIB; 3], &[1, 2]);
    let mut manager = world.start();
    world.image(1).write(8, &[7; 4096]);
    begin(&world, &mut manager, of(&world, 1), 2).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert!(is_copy(&world, (1, 2), &[]));
}

#[test]
fn what_has_a_name_in_a_lun_is_not_copied() {
    let world = World::new(&[2 * MIB; 8]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    world.make(&mut manager, 1, Level::Jbod, &[2]);
    manager
        .add_spare(world.slot(3), Some(number(1)), false)
        .unwrap();
    let told = refusal(&world, &mut manager, (0, 6));
    assert!(
        told.contains("1.0 is 0.0.0; online 0, then replace 0.0.0 DRIVE"),
        "{told}"
    );
    manager.online(number(0)).unwrap();
    let told = refusal(&world, &mut manager, (0, 6));
    assert!(told.contains("1.0 is 0.0.0; replace 0.0.0 DRIVE"), "{told}");
    manager.online(number(1)).unwrap();
    let told = refusal(&world, &mut manager, (2, 6));
    assert!(told.contains("1.2 is 1.0.0; nothing of its LUN"), "{told}");
    manager.offline(number(1)).unwrap();
    let told = refusal(&world, &mut manager, (3, 6));
    assert!(
        told.contains("1.3 is a spare, which holds nothing"),
        "{told}"
    );
    // Nor is a member overwritten.
    assert_eq!(
        refusal(&world, &mut manager, (6, 0)),
        "drive 1.0 has role 0.0.0"
    );
    assert_eq!(
        refusal(&world, &mut manager, (6, 3)),
        "drive 1.3 has role spare"
    );
    let element = ElementId {
        lun: number(0),
        part: 0,
        member: 1,
    };
    manager.fail(element).unwrap();
    let told = refusal(&world, &mut manager, (1, 6));
    assert!(told.contains("replace 0.0.1 DRIVE makes it anew"), "{told}");
    manager.replace(element, world.slot(4), false).unwrap();
    let told = refusal(&world, &mut manager, (1, 6));
    assert!(
        told.contains("1.1 is an element 0.0.1 (set "),
        "a former one: {told}"
    );
    manager.eject(number(1), true).unwrap();
    let told = refusal(&world, &mut manager, (2, 6));
    assert!(told.contains("1.2 is an element 1.0.0 (set "), "{told}");
    assert!(manager.jobs().is_empty());
    // Of another shelf it is a LUN as well.
    drop(manager);
    *world.shelf.lock().unwrap() = Some(aoe::Shelf(2));
    let mut manager = world.start();
    let told = refusal(&world, &mut manager, (2, 6));
    assert!(told.contains("1.0.0 (set "), "{told}");
}

/// Linux would take either for the device, and so may we when one of them is gone.
#[test]
fn an_array_with_a_copy_of_a_device_is_not_taken_over_until_one_is_gone() {
    let world = array(Level::Raid1, 2, true);
    let mut manager = world.start();
    begin(&world, &mut manager, of(&world, 1), 2).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(progress(&world, &manager, 2).end, Some(JobEnd::Complete));
    assert!(is_copy(&world, (1, 2), &[]));
    for manager in [&mut manager, &mut world.start()] {
        let told = manager.import("1:0", number(7)).unwrap_err().to_string();
        assert!(told.contains(" is a copy of element 7.0.1 "), "{told}");
        assert!(manager.luns().is_empty());
    }
    for pulled in [1, 2] {
        let world = world.fork();
        world.image(pulled).is_present = false;
        let mut manager = world.start();
        manager.import("1:0", number(7)).unwrap();
        assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    }
}

#[test]
fn one_that_was_stopped_goes_on_with_its_own_drive_only() {
    let world = world();
    let mut manager = world.start();
    let on = |first_sector| Extract {
        first_sector,
        ..of(&world, 1)
    };
    let told = begin(&world, &mut manager, on(4000), 2)
        .unwrap_err()
        .to_string();
    assert!(told.contains("it holds no copy that did not end"), "{told}");
    begin(&world, &mut manager, of(&world, 1), 2).unwrap();
    world.works.step(4);
    let stopped = manager.stop_job(world.slot(1), &[JobKind::EXTRACT]);
    assert!(stopped.is_err(), "it is a job of the new one");
    manager
        .stop_job(world.slot(2), &[JobKind::EXTRACT])
        .unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(progress(&world, &manager, 2).end, Some(JobEnd::Stopped));
    assert_eq!(role(&world, &manager, 1), carries(EXT4));
    let unfinished = |manager: &Manager| -> Vec<Work> {
        let drives = manager.drives();
        drives.iter().filter_map(|drive| drive.unfinished).collect()
    };
    assert_eq!(unfinished(&manager), [Work::Extract]);
    drop(manager);
    let mut manager = world.start();
    assert_eq!(unfinished(&manager), [Work::Extract]);
    assert_eq!(role(&world, &manager, 2), carries(LEFT));
    // Two steps were stored, of a MiB each.
    let told = begin(&world, &mut manager, on(4 * MIB + 1), 2)
        .unwrap_err()
        .to_string();
    assert!(told.contains("1.1 ends before sector 8193"), "{told}");
    let other = Extract {
        source: world.slot(3),
        ..on(16 + 2 * 2048)
    };
    let told = begin(&world, &mut manager, other, 2)
        .unwrap_err()
        .to_string();
    assert!(told.contains("not large enough"), "{told}");
    world.image(0).sectors = 4 * MIB;
    let mut manager = world.start();
    let other = Extract {
        source: world.slot(0),
        ..other
    };
    let told = begin(&world, &mut manager, other, 2)
        .unwrap_err()
        .to_string();
    assert!(told.contains("the copy on it is not one of 1.0"), "{told}");
    begin(&world, &mut manager, on(16 + 2 * 2048), 2).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert!(is_copy(&world, (1, 2), &[]));
    assert_eq!(role(&world, &manager, 2), carries(EXT4));
}

/// Power is cut at every write, in every way: the new drive holds the mark, or everything, or nothing at all.
#[test]
fn a_power_cut_leaves_no_half_copy_that_is_taken_for_one() {
    let complete = world();
    let mut manager = complete.start();
    begin(&complete, &mut manager, of(&complete, 1), 2).unwrap();
    complete.works.finish();
    let writes = complete.power.lock().unwrap().writes;
    assert!(writes > 6, "{writes}");
    for tear in TEARS {
        for cut in 0..writes {
            let base = world();
            let mut manager = base.start();
            let before = [1, 2].map(|index| base.image(index).written.clone());
            base.cut_power_after(cut, tear);
            let begun = manager.begin_job(base.slot(2), JobKind::Extract(of(&base, 1)));
            assert_eq!(begun.is_ok(), cut > 0);
            base.works.finish();
            manager.tick(Duration::from_secs(1));
            let world = base.fork();
            let mut manager = world.start();
            let told = format!("{tear:?} after {cut} of {writes}");
            assert_eq!(world.image(1).written, before[0], "{told}");
            let role = role(&world, &manager, 2);
            if role == carries(LEFT) {
                begin(&world, &mut manager, of(&world, 1), 2).expect(&told);
                world.works.finish();
                manager.tick(Duration::from_secs(1));
                assert!(is_copy(&world, (1, 2), &[]), "{told}");
                continue;
            }
            assert_eq!(role, DriveRole::Free, "{told}");
            let mut now = world.image(2).written.clone();
            now.retain(|_, bytes| *bytes != [0; 512]);
            let is_before = now == before[1];
            assert!(is_before || is_copy(&world, (1, 2), &[]), "{told}");
        }
    }
}

#[test]
fn either_drive_that_is_pulled_ends_it() {
    for (pulled, reason) in [(1, "the old drive was pulled"), (2, "the drive was pulled")] {
        let world = world();
        let mut manager = world.start();
        begin(&world, &mut manager, of(&world, 1), 2).unwrap();
        world.works.step(2);
        world.image(pulled).is_present = false;
        manager.drive_pulled(world.slot(pulled));
        assert!(
            !manager.may_insert(world.slot(pulled)),
            "it may not have answered"
        );
        world.works.finish();
        manager.tick(Duration::from_secs(1));
        let end = progress(&world, &manager, 2).end;
        assert_eq!(end, Some(JobEnd::Failed(reason.to_owned())));
        assert!(manager.may_insert(world.slot(pulled)));
        if pulled == 1 {
            assert_eq!(role(&world, &manager, 2), carries(LEFT));
        } else {
            assert_eq!(role(&world, &manager, 1), carries(EXT4));
        }
        world.image(pulled).is_present = true;
        manager.drive_inserted(world.drive(pulled));
        assert_eq!(role(&world, &manager, 1), carries(EXT4));
        assert_eq!(role(&world, &manager, 2), carries(LEFT));
    }
}

#[test]
fn an_orderly_stop_ends_it_and_a_rehearsal_begins_nothing() {
    let world = world();
    let mut manager = world.start();
    let (slot, kind) = (world.slot(2), JobKind::Extract(of(&world, 1)));
    let before = [1, 2].map(|index| world.image(index).written.clone());
    manager.rehearse(&mut |copy| {
        copy.begin_job(slot, kind).unwrap();
        assert_eq!(copy.jobs().len(), 1);
    });
    assert!(manager.jobs().is_empty());
    assert_eq!(role(&world, &manager, 1), carries(EXT4));
    assert_eq!(role(&world, &manager, 2), DriveRole::Free);
    assert_eq!(
        [1, 2].map(|index| world.image(index).written.clone()),
        before
    );
    manager.begin_job(slot, kind).unwrap();
    world.works.step(2);
    manager.shutdown();
    drop(manager);
    let manager = world.start();
    assert_eq!(role(&world, &manager, 2), carries(LEFT));
}

/// Drives 0 and 1 are a raid0, or drive 0 a jbod; 4 and 5 are free.
fn striped(level: Level) -> (World, Manager) {
    let world = World::new(&[4 * MIB; 6]);
    let mut manager = world.start();
    let members: &[usize] = if level == Level::Jbod { &[0] } else { &[0, 1] };
    world.make(&mut manager, 3, level, members);
    for &index in members {
        let byte = u8::try_from(index).unwrap() + 1;
        for sector in [1000, 1001, 5000, 5001, 6000] {
            world.image(index).write(sector, &[byte; 512]);
        }
    }
    (world, manager)
}

const SHAPES: [Level; 2] = [Level::Jbod, Level::Raid0];

fn element() -> ElementId {
    ElementId {
        lun: number(3),
        part: 0,
        member: 0,
    }
}

/// The drive that is the first element, and whether its LUN can be served.
fn holder(manager: &Manager) -> (Option<crate::admin::DriveSlot>, bool) {
    let luns = manager.luns();
    let lun = luns.iter().find(|lun| lun.lun == number(3)).unwrap();
    let drive = lun.parts[0].elements[0].drive;
    (drive, lun.trouble.is_none() && !lun.parts[0].state.failed)
}

fn holds_data(world: &World, index: usize) -> bool {
    let (image, mut bytes) = (world.image(index), [0; 512]);
    [1000, 1001, 5000, 5001, 6000].iter().all(|sector| {
        image.read(*sector, &mut bytes);
        bytes == [1; 512]
    })
}

#[test]
fn a_copy_of_a_member_without_redundancy_takes_its_place() {
    for level in SHAPES {
        let (world, mut manager) = striped(level);
        manager.online(number(3)).unwrap();
        let told = refusal(&world, &mut manager, (0, 4));
        assert!(told.contains("offline 3 first"), "{told}");
        manager.offline(number(3)).unwrap();
        begin(&world, &mut manager, of(&world, 0), 4).unwrap();
        world.works.step(3);
        // Nothing of the LUN changes meanwhile.
        let before = [0, 1].map(|index| world.image(index).written.clone());
        assert!(manager.online(number(3)).is_err());
        assert!(manager.remove(number(3), true).is_err());
        assert!(manager.eject(number(3), true).is_err());
        assert!(manager.set_label(number(3), Some("x")).is_err());
        assert!(manager.set_config_string(number(3), b"x").is_err());
        assert!(manager.set_shelf(9).is_err());
        let grown = manager.grow(&world.request(3, Level::Jbod, &[5]));
        assert!(grown.is_err());
        manager.rescan().unwrap();
        assert!(manager.begin_job(world.slot(0), JobKind::ReadTest).is_err());
        assert_eq!(
            [0, 1].map(|index| world.image(index).written.clone()),
            before
        );
        let told = manager.luns()[0].trouble.clone().unwrap();
        assert!(told.contains("is being copied"), "{told}");
        world.works.finish();
        // It took every write that the old one had taken.
        let stamp = world.image(0).stamp;
        world.image(4).stamp = stamp;
        manager.tick(Duration::from_secs(1));
        assert_eq!(progress(&world, &manager, 4).end, Some(JobEnd::Complete));
        assert_eq!(holder(&manager), (Some(world.slot(4)), true));
        assert_eq!(role(&world, &manager, 4), DriveRole::Element(element()));
        let DriveRole::Foreign(what) = role(&world, &manager, 0) else {
            panic!("{:?}", role(&world, &manager, 0));
        };
        assert!(what.starts_with("a former element 3.0.0 (set "), "{what}");
        assert!(holds_data(&world, 4));
        manager.online(number(3)).unwrap();
        manager.set_label(number(3), Some("x")).unwrap();
        manager.shutdown();
        drop(manager);
        // Whatever is in the box: the new one, or nothing.
        let both = world.fork();
        let mut manager = both.start();
        assert_eq!(holder(&manager), (Some(both.slot(4)), true));
        manager.offline(number(3)).unwrap();
        let told = refusal(&both, &mut manager, (0, 5));
        assert!(told.contains("3.0.0 (set "), "{told}");
        let new_only = world.fork();
        new_only.image(0).is_present = false;
        assert_eq!(holder(&new_only.start()), (Some(new_only.slot(4)), true));
        let old_only = world.fork();
        old_only.image(4).is_present = false;
        let mut manager = old_only.start();
        assert!(manager.luns().iter().all(|lun| !lun.online));
        assert!(
            manager.online(number(3)).is_err(),
            "it missed what was written since"
        );
    }
}

#[test]
fn what_could_not_be_read_of_a_member_is_an_error_to_read_and_no_zeroes() {
    for level in SHAPES {
        let (world, mut manager) = striped(level);
        // A private slot, and data.
        world
            .image(0)
            .unreadable
            .extend([70, 130, 5000, 5001, 7000]);
        begin(&world, &mut manager, lenient(&world, 0), 4).unwrap();
        world.works.finish();
        manager.tick(Duration::from_secs(1));
        assert_eq!(progress(&world, &manager, 4).end, Some(JobEnd::Complete));
        let world = world.fork();
        world.image(0).is_present = false;
        let mut manager = world.start();
        assert_eq!(holder(&manager), (Some(world.slot(4)), true));
        manager.online(number(3)).unwrap();
        let bad = world
            .log
            .lock()
            .unwrap()
            .bad_blocks
            .get(&world.slot(4))
            .cloned();
        let bad: Vec<_> = bad
            .unwrap()
            .iter()
            .map(|range| (range.sector, range.sectors))
            .collect();
        assert_eq!(bad, [(5000, 2), (7000, 1)]);
        let status = &manager.luns()[0].parts[0].elements[0];
        assert_eq!(status.bad_sectors, 3);
    }
}

#[test]
fn more_than_the_bad_block_log_holds_leaves_the_member_in_its_place() {
    let (world, mut manager) = striped(Level::Jbod);
    world.image(0).unreadable.extend((1024..4096).step_by(4));
    let before = world.image(0).written.clone();
    begin(&world, &mut manager, lenient(&world, 0), 4).unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    assert_eq!(progress(&world, &manager, 4).end, Some(JobEnd::Complete));
    assert_eq!(holder(&manager), (Some(world.slot(0)), true));
    assert_eq!(role(&world, &manager, 4), carries(LEFT));
    assert_eq!(world.image(0).written, before);
    let told = manager.take_notices().join("\n");
    assert!(
        told.contains("does not take the place of 3.0.0: what could not be read"),
        "{told}"
    );
    drop(manager);
    let manager = world.start();
    assert_eq!(holder(&manager), (Some(world.slot(0)), true));
}

/// Power is cut at every write, in every way: the one drive is the element or the other, each with all data.
#[test]
fn a_power_cut_leaves_one_of_them_as_the_element() {
    for level in SHAPES {
        let (complete, mut manager) = striped(level);
        let already = complete.power.lock().unwrap().writes;
        begin(&complete, &mut manager, of(&complete, 0), 4).unwrap();
        complete.works.finish();
        manager.tick(Duration::from_secs(1));
        let writes = complete.power.lock().unwrap().writes - already;
        let mut ends = [0, 0];
        for tear in TEARS {
            for cut in 0..writes {
                let (base, mut manager) = striped(level);
                base.cut_power_after(cut, tear);
                let kind = JobKind::Extract(of(&base, 0));
                let _ = manager.begin_job(base.slot(4), kind);
                base.works.finish();
                manager.tick(Duration::from_secs(1));
                let world = base.fork();
                let mut manager = world.start();
                let told = format!("{level} {tear:?} after {cut} of {writes}");
                let (drive, can_serve) = holder(&manager);
                assert!(can_serve, "{told}");
                let index = if drive == Some(world.slot(4)) { 4 } else { 0 };
                assert_eq!(drive, Some(world.slot(index)), "{told}");
                assert!(holds_data(&world, index), "{told}");
                ends[usize::from(index == 4)] += 1;
                manager.online(number(3)).expect(&told);
                manager.shutdown();
                drop(manager);
                // It stays so, and whatever the other one is now, it is not served in its place.
                let alone = world.fork();
                alone.image(index).is_present = false;
                let mut manager = alone.start();
                assert!(manager.luns().iter().all(|lun| !lun.online), "{told}");
                assert!(manager.online(number(3)).is_err(), "{told}");
                drop(manager);
                let again = world.fork();
                assert_eq!(
                    holder(&again.start()),
                    (Some(again.slot(index)), true),
                    "{told}"
                );
            }
        }
        assert!(ends[0] > 0 && ends[1] > 0, "{ends:?}");
    }
}

#[test]
fn a_member_that_is_pulled_or_a_stop_leaves_the_lun_as_it_was() {
    for level in SHAPES {
        let (world, mut manager) = striped(level);
        let before = world.image(0).written.clone();
        begin(&world, &mut manager, of(&world, 0), 4).unwrap();
        world.works.step(2);
        manager
            .stop_job(world.slot(4), &[JobKind::EXTRACT])
            .unwrap();
        world.works.finish();
        manager.tick(Duration::from_secs(1));
        assert_eq!(holder(&manager), (Some(world.slot(0)), true));
        assert_eq!(role(&world, &manager, 4), carries(LEFT));
        assert_eq!(world.image(0).written, before);
        begin(&world, &mut manager, of(&world, 0), 4).unwrap();
        world.works.step(2);
        world.image(0).is_present = false;
        manager.drive_pulled(world.slot(0));
        world.works.finish();
        manager.tick(Duration::from_secs(1));
        let reason = JobEnd::Failed("the old drive was pulled".to_owned());
        assert_eq!(progress(&world, &manager, 4).end, Some(reason));
        assert_eq!(role(&world, &manager, 4), carries(LEFT));
        world.image(0).is_present = true;
        manager.drive_inserted(world.drive(0));
        assert_eq!(holder(&manager), (Some(world.slot(0)), true));
        manager.online(number(3)).unwrap();
    }
}

#[test]
fn a_copy_that_was_begun_before_its_lun_was_written_is_not_gone_on_with() {
    let (world, mut manager) = striped(Level::Jbod);
    begin(&world, &mut manager, of(&world, 0), 4).unwrap();
    world.works.step(4);
    manager
        .stop_job(world.slot(4), &[JobKind::EXTRACT])
        .unwrap();
    world.works.finish();
    manager.tick(Duration::from_secs(1));
    let on = Extract {
        first_sector: 2064,
        ..of(&world, 0)
    };
    let kind = JobKind::Extract(on);
    manager.check_job(world.slot(4), kind).unwrap();
    manager.online(number(3)).unwrap();
    manager.offline(number(3)).unwrap();
    let told = manager
        .check_job(world.slot(4), kind)
        .unwrap_err()
        .to_string();
    assert!(told.contains("the copy on it is not one of 1.0"), "{told}");
}
