//! Drives with sectors of 4096 bytes as members, spares and replacements. The drives take only whole sectors.

use super::memory::Told;
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveSlot, ElementId};
use crate::manager::Manager;
use crate::plane::Unit;
use raid::Level;
use std::time::Duration;

const SHAPES: [(Level, usize); 7] = [
    (Level::Raw, 1),
    (Level::Jbod, 1),
    (Level::Raid0, 2),
    (Level::Raid1, 2),
    (Level::Raid10, 4),
    (Level::Raid5, 3),
    (Level::Raid6, 4),
];

fn id(member: u8) -> ElementId {
    ElementId {
        lun: number(0),
        part: 0,
        member,
    }
}

fn unit(world: &World) -> Unit {
    world.view(0).unwrap().unit
}

fn word(world: &World, at: usize) -> u16 {
    let identify = &world.view(0).unwrap().identify;
    u16::from_le_bytes([identify[at * 2], identify[at * 2 + 1]])
}

/// What was told of LUN 0, without its advertisements.
fn told(world: &World) -> Vec<Told> {
    let told = std::mem::take(&mut world.log.lock().unwrap().told);
    let is_of_views = |told: &Told| matches!(told, Told::Attach(_) | Told::Detach(_));
    told.into_iter().filter(is_of_views).collect()
}

#[test]
fn a_lun_of_any_level_is_made_found_again_and_removed() {
    for (level, members) in SHAPES {
        for blocks in 1..=members {
            let with_blocks: Vec<usize> = (0..blocks).collect();
            let world = World::with_blocks(&vec![2 * MIB; members], &with_blocks);
            let mut manager = world.start();
            world.make(&mut manager, 0, level, &(0..members).collect::<Vec<_>>());
            manager.online(number(0)).unwrap();
            assert_eq!(unit(&world), Unit::BLOCK, "{level}");
            let view = world.view(0).unwrap();
            assert!(Unit::BLOCK.divides(view.capacity_sectors));
            let devices = view.parts[0].members.iter().flatten();
            let mut areas =
                devices.map(|device| device.data_offset_sectors | device.log_area.sector);
            assert!(areas.all(|place| Unit::BLOCK.divides(place)));
            assert_eq!((word(&world, 106), word(&world, 209)), (0x6003, 0x4000));
            if level == Level::Raw {
                continue;
            }
            manager.set_label(number(0), Some("blocks")).unwrap();
            manager.shutdown();
            let made = seen(&manager);
            drop(manager);
            let again = world.fork();
            let mut manager = again.start();
            assert_eq!(unit(&again), Unit::BLOCK, "{level}");
            assert_eq!(seen(&manager).luns[0].serial, made.luns[0].serial);
            manager.remove(number(0), true).unwrap();
            assert!(seen(&manager).luns.is_empty());
        }
    }
}

fn served(sizes: &[u64], blocks: &[usize], level: Level, members: usize) -> (World, Manager) {
    let world = World::with_blocks(sizes, blocks);
    let mut manager = world.start();
    world.make(&mut manager, 0, level, &(0..members).collect::<Vec<_>>());
    manager.online(number(0)).unwrap();
    told(&world);
    (world, manager)
}

#[test]
fn a_lun_leaves_the_data_path_for_a_moment_when_a_larger_unit_joins() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid10, 4), (Level::Raid5, 3)] {
        let sizes = vec![2 * MIB; members + 1];
        let (world, mut manager) = served(&sizes, &[members], level, members);
        assert_eq!(unit(&world), Unit::SECTOR);
        manager.add_spare(world.slot(members), None, false).unwrap();
        let failed = manager.member_failed(number(0), 0, 1, world.slot(1), "failed");
        failed.unwrap();
        assert_eq!(told(&world), [Told::Attach(number(0))], "{level}");
        manager.tick(Duration::ZERO);
        let (attach, detach) = (Told::Attach(number(0)), Told::Detach(number(0)));
        assert_eq!(told(&world)[..2], [detach, attach], "{level}");
        assert_eq!(unit(&world), Unit::BLOCK, "{level}");
        assert!(world.view(0).unwrap().online);
        // It stays so while the LUN is served, whoever leaves.
        manager.fail(id(1)).unwrap();
        assert_eq!(unit(&world), Unit::BLOCK, "{level}");
        let detached = told(&world).contains(&Told::Detach(number(0)));
        assert!(!detached, "{level}");
        manager.offline(number(0)).unwrap();
        manager.online(number(0)).unwrap();
        assert_eq!(unit(&world), Unit::SECTOR, "{level}");
    }
}

#[test]
fn what_was_cut_then_is_made_good_before_it_is_served_again() {
    let (world, mut manager) = served(&[2 * MIB; 4], &[3], Level::Raid5, 3);
    world.finish_pass(&mut manager, 0);
    world.log.lock().unwrap().is_log_pending = true;
    world.log.lock().unwrap().mirrors_differ = true;
    manager.replace(id(1), world.slot(3), false).unwrap();
    let view = world.view(0).unwrap();
    assert_eq!((view.unit, view.online), (Unit::BLOCK, true));
    assert!(view.parts[0].mirrors_unsynced);
    assert!(view.parts[0].twins[1].is_some());
}

#[test]
fn a_lun_that_cannot_come_back_says_so() {
    let (world, mut manager) = served(&[2 * MIB; 3], &[2], Level::Raid1, 2);
    world.log.lock().unwrap().refuses = true;
    let refused = manager.replace(id(1), world.slot(2), false);
    assert!(matches!(refused, Err(AdminError::Io(_))), "{refused:?}");
    world.log.lock().unwrap().refuses = false;
}

#[test]
fn a_lun_grows_by_larger_sectors() {
    let (world, mut manager) = served(&[2 * MIB; 4], &[2, 3], Level::Raid1, 2);
    world.grow(&mut manager, 0, Level::Raid1, &[2, 3]);
    assert_eq!(unit(&world), Unit::BLOCK);
    assert_eq!(world.view(0).unwrap().parts.len(), 2);
}

#[test]
fn a_rehearsal_tells_the_same_and_changes_nothing() {
    let (world, mut manager) = served(&[2 * MIB; 3], &[2], Level::Raid1, 2);
    let slot = world.slot(2);
    manager.rehearse(&mut |copy| copy.replace(id(1), slot, false).unwrap());
    assert!(told(&world).is_empty());
    assert_eq!(unit(&world), Unit::SECTOR);
    manager.replace(id(1), slot, false).unwrap();
    assert_eq!(unit(&world), Unit::BLOCK);
}

/// Makes the members of a mirror shorter by a sector, as mdadm may.
fn shorten(world: &World, drive: usize) {
    let mut image = world.image(drive);
    let mut block = [0; 4096];
    image.read(8, &mut block);
    let size = u64::from_le_bytes(block[80..88].try_into().unwrap());
    block[80..88].copy_from_slice(&(size - 1).to_le_bytes());
    let max_dev = u32::from_le_bytes(block[220..224].try_into().unwrap());
    block[216..220].fill(0);
    let summed = &block[..256 + 2 * max_dev as usize];
    let words = summed
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let sum: u64 = words.map(u64::from).sum();
    let folded = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    block[216..220].copy_from_slice(&folded.to_le_bytes());
    image.write(8, &block);
}

#[test]
fn odd_sizes_that_others_made_take_no_drive_with_larger_sectors() {
    let (world, mut manager) = served(&[2 * MIB; 4], &[2, 3], Level::Raid1, 2);
    manager.shutdown();
    drop(manager);
    for drive in [0, 1] {
        shorten(&world, drive);
        let mut image = world.image(drive);
        for sector in 64..256 {
            image.written.remove(&sector);
        }
        image.foreign = None;
        // The bitmap is of another size then.
        for sector in 16..24 {
            image.written.remove(&sector);
        }
    }
    let world = world.fork();
    let mut manager = world.start();
    let Some(array) = manager.arrays().pop() else {
        panic!("no array")
    };
    if let Some(reason) = array.refusal {
        panic!("{reason}");
    }
    manager.import(&array.uuid, number(0)).unwrap();
    manager.online(number(0)).unwrap();
    manager.add_spare(world.slot(2), None, false).unwrap();
    manager.fail(id(1)).unwrap();
    let refused = manager.replace(id(1), world.slot(3), false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "1.{} has sectors of 4096 bytes, raid 0.0 takes only drives with sectors of 512",
            slot_number(world.slot(3))
        )
    );
    manager.tick(Duration::ZERO);
    let spare = &manager.spares()[0];
    assert_eq!((spare.drive, &spare.fault), (world.slot(2), &None));
    let grown = world.request(0, Level::Raid1, &[3, 2]);
    assert!(manager.grow(&grown).is_err());
}

const fn slot_number(slot: DriveSlot) -> u16 {
    slot.0
}
