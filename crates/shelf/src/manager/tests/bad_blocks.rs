//! Bad blocks: noted durably, told to the data path, and taken out when they were written.

use super::memory::TEARS;
use super::world::{MIB, World, number};
use crate::admin::{Admin, DriveSlot};
use crate::manager::{Manager, MemberFailure};
use crate::target::MendTicket;
use raid::Level;
use raid::bad_blocks::{BadBlocks, BadRange};

/// Where data begins on a small member.
const DATA: u64 = 768;

fn range(sector: u64, sectors: u64) -> BadRange {
    BadRange { sector, sectors }
}

fn online(level: Level, members: usize) -> (World, Manager) {
    let world = World::new(&vec![2 * MIB; members]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    world.make(&mut manager, 0, level, &drives);
    manager.online(number(0)).unwrap();
    (world, manager)
}

/// What the log of a drive says, if its superblock says that there is one.
fn logged(world: &World, index: usize) -> Option<Vec<BadRange>> {
    let image = world.image(index);
    let superblock = image.superblock().unwrap();
    let (area, shift) = superblock.bad_blocks_area().unwrap();
    let sectors = area.sector..area.sector + area.sectors;
    let log: Vec<u8> = sectors
        .flat_map(|sector| image.written[&sector].clone())
        .collect();
    let bad = BadBlocks::decode(&log, shift).unwrap();
    superblock.has_bad_blocks().then(|| bad.ranges().to_vec())
}

fn told(world: &World, index: usize) -> Vec<BadRange> {
    let log = world.log.lock().unwrap();
    log.bad_blocks
        .get(&world.slot(index))
        .cloned()
        .unwrap_or_default()
}

#[test]
fn what_is_noted_is_durable_and_told_and_taken_out_when_it_was_written() {
    for (level, members) in [(Level::Raid1, 2), (Level::Raid10, 4), (Level::Jbod, 1)] {
        let (world, mut manager) = online(level, members);
        let last = members - 1;
        let member = u8::try_from(last).unwrap();
        assert_eq!(logged(&world, last), None);
        manager
            .add_bad_blocks(number(0), 0, member, &[range(100, 8), range(300, 4)])
            .unwrap();
        let expected = vec![range(DATA + 100, 8), range(DATA + 300, 4)];
        assert_eq!(logged(&world, last), Some(expected.clone()));
        assert_eq!(told(&world, last), expected);
        // A start knows them, with the drive in another slot.
        let world = world.fork();
        let mut manager = world.start();
        assert_eq!(told(&world, last), expected);
        let view = world.view(0).unwrap();
        assert!(view.parts[0].members.iter().all(Option::is_some));
        let slot = world.slot(last);
        manager.bad_blocks_written(slot, &range(DATA + 300, 4), None);
        manager.bad_blocks_written(slot, &range(DATA + 96, 8), None);
        let rest = vec![range(DATA + 104, 4)];
        assert_eq!(told(&world, last), rest);
        assert_eq!(logged(&world, last), Some(rest));
        manager.bad_blocks_written(slot, &range(0, 2000), None);
        assert_eq!(told(&world, last), []);
        assert_eq!(logged(&world, last), Some(vec![]), "the list is empty");
        manager.shutdown();
        if level != Level::Jbod {
            assert_eq!(logged(&world, last), None, "and none with the next change");
        }
    }
}

#[test]
fn a_drive_that_goes_to_another_lun_has_no_bad_blocks_there() {
    let (world, mut manager) = online(Level::Raid1, 2);
    manager
        .add_bad_blocks(number(0), 0, 1, &[range(0, 8)])
        .unwrap();
    manager.remove(number(0), true).unwrap();
    world.make(&mut manager, 1, Level::Jbod, &[1]);
    manager.online(number(1)).unwrap();
    assert_eq!(told(&world, 1), []);
}

#[test]
fn what_cannot_be_noted_is_an_error() {
    let (world, mut manager) = online(Level::Raid1, 2);
    let ranges = [range(0, 8)];
    for (lun, part, member) in [(1, 0, 0), (0, 1, 0), (0, 0, 2)] {
        assert!(
            manager
                .add_bad_blocks(number(lun), part, member, &ranges)
                .is_err()
        );
    }
    let many: Vec<BadRange> = (0..513).map(|n| range(n * 2, 1)).collect();
    let full = manager.add_bad_blocks(number(0), 0, 0, &many);
    assert!(full.unwrap_err().to_string().contains("full"));
    assert_eq!((logged(&world, 0), told(&world, 0)), (None, vec![]));
    world.image(0).fails_writes = true;
    assert!(manager.add_bad_blocks(number(0), 0, 0, &ranges).is_err());
}

#[test]
fn wherever_power_is_cut_what_was_noted_is_found() {
    let count = {
        let (world, mut manager) = online(Level::Raid1, 2);
        let before = world.power.lock().unwrap().writes;
        manager
            .add_bad_blocks(number(0), 0, 1, &[range(8, 8)])
            .unwrap();
        world.power.lock().unwrap().writes - before
    };
    for k in 0..=count {
        for tear in TEARS {
            let (world, mut manager) = online(Level::Raid1, 2);
            world.cut_power_after(k, tear);
            let added = manager.add_bad_blocks(number(0), 0, 1, &[range(8, 8)]);
            drop(manager);
            let world = world.fork();
            drop(world.start());
            let members = world.view(0).unwrap().parts[0].members.clone();
            assert!(members.iter().all(Option::is_some));
            let known = told(&world, 1);
            assert!(known == [range(DATA + 8, 8)] || (known.is_empty() && added.is_err()));
        }
    }
}

#[test]
fn what_the_last_copy_did_not_take_is_not_read_where_parity_may_have_it() {
    let (world, mut manager) = online(Level::Raid5, 3);
    let drives: Vec<_> = (0..3).map(|index| world.slot(index)).collect();
    world.finish_pass(&mut manager, 0);
    let failed = manager.member_failed(number(0), 0, 1, drives[1], "test");
    assert_eq!(failed, Ok(MemberFailure::GivenUp));
    let fail = |manager: &mut Manager, index: usize, range: BadRange| {
        let member = u8::try_from(index).unwrap();
        manager.member_not_written(number(0), 0, member, (drives[index], &range), "test")
    };
    let kept = fail(&mut manager, 2, range(DATA + 40, 16));
    assert_eq!(kept, Ok(MemberFailure::Kept));
    assert_eq!(logged(&world, 2), Some(vec![range(DATA + 40, 16)]));
    assert_eq!(told(&world, 2), [range(DATA + 40, 16)]);
    // A record of the redo log that could not be written changed nothing.
    let kept = fail(&mut manager, 0, range(300, 16));
    assert_eq!(kept, Ok(MemberFailure::Kept));
    assert_eq!(logged(&world, 0), None);
    // What cannot be noted is only in the redo log: it is kept, and nobody is served meanwhile.
    assert!(world.view(0).is_some());
    world.image(2).fails_writes = true;
    world.log.lock().unwrap().is_log_pending = true;
    drop(fail(&mut manager, 2, range(DATA + 80, 16)));
    assert!(world.view(0).is_none());
    world.image(2).fails_writes = false;
    manager.online(number(0)).unwrap();
    let texts = manager.take_notices().join("; ");
    assert!(texts.contains("is not served any more"), "{texts}");
}

#[test]
fn bad_sectors_and_missing_redundancy_are_told() {
    let world = World::new(&[2 * MIB; 6]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid6, &[0, 1, 2, 3]);
    manager.online(number(0)).unwrap();
    manager
        .add_bad_blocks(number(0), 0, 1, &[range(100, 8), range(300, 4)])
        .unwrap();
    let told = |manager: &Manager| {
        let part = manager.luns().remove(0).parts.remove(0);
        let bad: Vec<u64> = part.elements.iter().map(|e| e.bad_sectors).collect();
        (bad, part.is_bare)
    };
    assert_eq!(told(&manager), (vec![0, 12, 0, 0], false));
    for (element, is_bare) in [(2, false), (3, true)] {
        manager
            .fail(crate::admin::ElementId {
                lun: number(0),
                part: 0,
                member: element,
            })
            .unwrap();
        assert_eq!(told(&manager).1, is_bare);
    }
}

#[test]
fn who_wrote_a_bad_sector_is_told_when_it_is_off_the_list() {
    let (world, mut manager) = online(Level::Raid1, 2);
    let slot = world.slot(1);
    let told = || std::mem::take(&mut world.log.lock().unwrap().mended);
    manager
        .add_bad_blocks(number(0), 0, 1, &[range(0, 8)])
        .unwrap();
    manager.bad_blocks_written(slot, &range(DATA, 8), Some(MendTicket::any()));
    assert_eq!((logged(&world, 1), told()), (Some(vec![]), vec![true]));
    // Whoever writes what was good meanwhile need not wait, nor who wrote to a drive that is in no LUN.
    manager.bad_blocks_written(slot, &range(DATA, 8), Some(MendTicket::any()));
    manager.bad_blocks_written(DriveSlot(77), &range(DATA, 8), Some(MendTicket::any()));
    assert_eq!(told(), [true, true]);
}

#[test]
fn a_member_whose_list_cannot_be_written_is_given_up_before_the_write_is_answered() {
    let (world, mut manager) = online(Level::Raid1, 2);
    world.finish_pass(&mut manager, 0);
    let told = || std::mem::take(&mut world.log.lock().unwrap().mended);
    for (index, is_safe) in [(1, true), (0, false)] {
        let member = u8::try_from(index).unwrap();
        manager
            .add_bad_blocks(number(0), 0, member, &[range(0, 8)])
            .unwrap();
        world.image(index).fails_writes = true;
        let slot = world.slot(index);
        manager.bad_blocks_written(slot, &range(DATA, 8), Some(MendTicket::any()));
        assert_eq!(told(), [is_safe], "the last copy is kept");
        let members = world.view(0).unwrap().parts[0].members.clone();
        assert_eq!(
            (members[0].is_some(), members[1].is_some()),
            (true, false),
            "drive {index}"
        );
    }
}

#[test]
fn a_list_too_long_for_the_rest_of_a_range_is_safe_while_others_hold_it() {
    for (level, members, is_safe) in [(Level::Raid1, 2, true), (Level::Jbod, 1, false)] {
        let (world, mut manager) = online(level, members);
        if members > 1 {
            world.finish_pass(&mut manager, 0);
        }
        let many: Vec<BadRange> = (0..512).map(|n| range(n * 4, 3)).collect();
        manager.add_bad_blocks(number(0), 0, 0, &many).unwrap();
        let slot = world.slot(0);
        manager.bad_blocks_written(slot, &range(DATA + 1, 1), Some(MendTicket::any()));
        assert_eq!(world.log.lock().unwrap().mended, [is_safe], "{level}");
        assert_eq!(told(&world, 0).len(), 512, "nothing is taken out");
    }
}
