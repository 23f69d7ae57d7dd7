//! Members that still work are replaced: their redundancy is kept, whatever fails meanwhile.

use super::memory::Tear;
use super::world::{MIB, World, number};
use crate::admin::{Admin, AdminError, DriveRole, ElementId, ElementState};
use crate::manager::{Manager, MemberFailure};
use crate::plane::PartView;
use raid::Level;
use raid::md::{Resync, Role};
use raid::regions::RegionIndex;

const LEVELS: [(Level, usize); 4] = [
    (Level::Raid1, 2),
    (Level::Raid10, 4),
    (Level::Raid5, 4),
    (Level::Raid6, 5),
];

fn id(member: u8) -> ElementId {
    ElementId {
        lun: number(0),
        part: 0,
        member,
    }
}

fn part(world: &World) -> PartView {
    world.view(0).unwrap().parts[0].clone()
}

fn rows(manager: &Manager) -> Vec<(u8, ElementState, bool)> {
    let luns = manager.luns();
    let elements = luns[0].parts[0].elements.iter();
    elements
        .map(|row| (row.id.member, row.state, row.is_replacement))
        .collect()
}

fn state(manager: &Manager) -> String {
    manager.luns()[0].parts[0].state.to_string()
}

/// LUN 0 online on all drives but the last, which is to take the place of element 1.
fn replacing(level: Level, members: usize) -> (World, Manager) {
    let world = World::new(&vec![2 * MIB; members + 1]);
    let mut manager = world.start();
    world.make(&mut manager, 0, level, &(0..members).collect::<Vec<_>>());
    manager.online(number(0)).unwrap();
    manager.replace(id(1), world.slot(members), false).unwrap();
    (world, manager)
}

#[test]
fn a_replacement_is_filled_beside_its_member_and_takes_its_place() {
    for (level, members) in LEVELS {
        let (world, mut manager) = replacing(level, members);
        assert_eq!(state(&manager), "recovering", "{level}: nothing is missing");
        assert_eq!(
            rows(&manager)[1..3],
            [
                (1, ElementState::Normal, false),
                (1, ElementState::Replaced, true)
            ]
        );
        let view = part(&world);
        assert_eq!(
            view.twin(1).map(|twin| twin.drive),
            Some(world.slot(members))
        );
        assert!(
            view.members
                .iter()
                .all(|member| member.is_some_and(|member| member.in_sync))
        );
        let role = view.geometry.md_role(1);
        let twin = world.image(members).superblock().unwrap();
        assert!(twin.is_replacement());
        assert_eq!(twin.recovery(), Some(0));
        let number_of_twin = twin.dev_number();
        let other = world.image(0).superblock().unwrap();
        assert_eq!(other.role(number_of_twin), Role::Active(role));
        assert_eq!(
            other.role(u32::from(role)),
            Role::Active(role),
            "both have it"
        );

        world.finish_pass(&mut manager, 0);
        assert_eq!(state(&manager), "normal", "{level}");
        let view = part(&world);
        assert_eq!(view.twin_bits(), 0);
        assert_eq!(
            view.members[1].map(|member| (member.drive, member.in_sync)),
            Some((world.slot(members), true))
        );
        let twin = world.image(members).superblock().unwrap();
        assert!(!twin.is_replacement() && twin.recovery().is_none());
        assert_eq!(twin.role(u32::from(role)), Role::Faulty);
        let role = &manager.drives()[1].role;
        assert!(
            matches!(role, DriveRole::Foreign(what) if what.starts_with("a former element 0.0.1")),
            "{role:?}"
        );
        manager.shutdown();
        let world = world.fork();
        let manager = world.start();
        assert_eq!(state(&manager), "normal", "{level}");
    }
}

#[test]
fn what_was_copied_is_kept_over_stops_and_only_what_may_be_torn_is_copied_again_after_a_crash() {
    for (level, members) in LEVELS {
        let (world, mut manager) = replacing(level, members);
        let geometry = part(&world).geometry;
        let pass = part(&world).sync.unwrap().pass;
        // Superblocks tell whole rows.
        let half = geometry.member_sectors_before(geometry.capacity_sectors() / 2);
        let half = geometry.lba_before(half);
        manager.sync_reached(number(0), 0, pass, half);
        manager.want_regions(number(0), 0, &[RegionIndex(0)]);
        let crashed = world.fork();
        let manager_after = crashed.start();
        assert_eq!(
            rows(&manager_after)[2],
            (1, ElementState::Replaced, true),
            "{level}"
        );
        let sync = part(&crashed).sync.unwrap();
        let map = part(&crashed).regions.unwrap().map;
        let regions = sync.regions.unwrap();
        assert_eq!(sync.start_lba, 0, "{level}: the first region may be torn");
        for region in (0..map.regions()).map(RegionIndex) {
            let is_wanted = region.0 < 8 || map.end_lba(region) > half;
            assert_eq!(regions.contains(region), is_wanted, "{level} {region:?}");
        }
        manager.shutdown();
        let stopped = world.fork();
        let _manager = stopped.start();
        assert_eq!(part(&stopped).sync.unwrap().start_lba, half, "{level}");
    }
}

/// Linux does not fill a replacement and make a dirty array consistent, both, without a fault, unless it is a
/// raid6. So there must not be a moment in which it finds another one dirty, and a replacement that it takes.
#[test]
fn linux_is_never_given_the_replacement_in_a_dirty_array() {
    for (level, members) in LEVELS {
        if level != Level::Raid6 {
            cut_changes_short(level, members);
        }
    }
}

fn cut_changes_short(level: Level, members: usize) {
    let linux_takes = |world: &World| {
        let bytes = world.image(members).written[&8][8..12].try_into().unwrap();
        u32::from_le_bytes(bytes) & !0x1f == 0
    };
    let freshest = |world: &World| {
        let superblocks = (0..=members).map(|index| world.image(index).superblock().unwrap());
        superblocks.max_by_key(|superblock| superblock.events())
    };
    let (mut taken, mut withheld) = (0, 0);
    // Offline, online, offline: each is cut short after so many writes.
    for (cut_step, writes) in (0..3).flat_map(|step| (0..40).map(move |writes| (step, writes))) {
        let (world, mut manager) = replacing(level, members);
        for step in 0..=cut_step {
            if step == cut_step {
                world.cut_power_after(writes, Tear::Nothing);
            }
            let done = if step == 1 {
                manager.online(number(0))
            } else {
                manager.offline(number(0))
            };
            assert!(done.is_ok() || step == cut_step, "{done:?}");
            let is_dirty = freshest(&world).unwrap().resync() != Resync::Clean;
            let is_taken = linux_takes(&world);
            assert!(
                !(is_dirty && is_taken),
                "{level}: step {step}, {writes} writes"
            );
            taken += u32::from(is_taken);
            withheld += u32::from(!is_taken);
        }
    }
    assert!(taken > 40 && withheld > 40, "{level}: {taken} {withheld}");
}

#[test]
fn a_member_that_fails_is_followed_by_its_replacement_where_it_stands() {
    for (level, members) in LEVELS {
        let (world, mut manager) = replacing(level, members);
        let pass = part(&world).sync.unwrap().pass;
        let half = part(&world).geometry.capacity_sectors() / 4096 * 2048;
        manager.sync_reached(number(0), 0, pass, half);
        let failed = manager.member_failed(number(0), 0, 1, world.slot(1), "test");
        assert_eq!(failed, Ok(MemberFailure::GivenUp));
        assert_eq!(state(&manager), "recovering,degraded", "{level}");
        assert_eq!(rows(&manager)[1], (1, ElementState::Replaced, false));
        assert_eq!(rows(&manager).len(), members);
        let view = part(&world);
        assert_eq!(
            view.members[1].map(|member| (member.drive, member.in_sync)),
            Some((world.slot(members), false))
        );
        assert_eq!(
            view.sync.map(|sync| sync.pass),
            Some(pass),
            "the pass goes on"
        );
        let crashed = world.fork();
        let _manager = crashed.start();
        assert_eq!(
            part(&crashed).members[1].map(|m| m.drive),
            Some(crashed.slot(members)),
            "{level}"
        );
        world.finish_pass(&mut manager, 0);
        assert_eq!(state(&manager), "normal", "{level}");
        let whole = world.image(members).superblock().unwrap();
        assert!(!whole.is_replacement() && whole.recovery().is_none());
    }
}

#[test]
fn a_replacement_that_fails_is_dropped_and_told() {
    for (level, members) in LEVELS {
        let (world, mut manager) = replacing(level, members);
        manager.take_notices();
        let failed = manager.member_failed(number(0), 0, 1, world.slot(members), "test");
        assert_eq!(failed, Ok(MemberFailure::GivenUp));
        assert_eq!(
            (state(&manager).as_str(), rows(&manager).len()),
            ("normal", members)
        );
        assert_eq!(part(&world).twin_bits(), 0);
        let notices = manager.take_notices().join("\n");
        assert!(
            notices.contains("the replacement of element 0.0.1 failed and is dropped: test"),
            "{notices}"
        );
        let late = manager.member_failed(number(0), 0, 1, world.slot(members), "test");
        assert_eq!(late, Ok(MemberFailure::GivenUp), "an I/O of the older view");
        assert_eq!(state(&manager), "normal");
        // And once more, by command, on the same drive.
        manager.replace(id(1), world.slot(members), true).unwrap();
        manager.fail_replacement(id(1)).unwrap();
        assert_eq!(
            (state(&manager).as_str(), rows(&manager).len()),
            ("normal", members)
        );
        let world = world.fork();
        let manager = world.start();
        assert_eq!(
            (state(&manager).as_str(), rows(&manager).len()),
            ("normal", members)
        );
    }
}

#[test]
fn a_replacement_whose_member_is_gone_at_the_start_takes_its_place() {
    for (level, members) in LEVELS {
        let (world, manager) = replacing(level, members);
        drop(manager);
        let world = world.fork();
        world.image(1).is_present = false;
        let mut manager = world.start();
        assert_eq!(state(&manager), "recovering,degraded", "{level}");
        assert_eq!(rows(&manager)[1], (1, ElementState::Replaced, false));
        let notices = manager.take_notices().join("\n");
        assert!(
            notices.contains("served without the drives of elements 0.0.1"),
            "{notices}"
        );
        // The member comes back: it is nobody any more.
        world.image(1).is_present = true;
        let again = world.fork();
        let manager = again.start();
        assert_eq!(
            rows(&manager)[1],
            (1, ElementState::Replaced, false),
            "{level}"
        );
    }
}

#[test]
fn an_element_is_replaced_while_another_is_missing() {
    let (world, mut manager) = replacing(Level::Raid6, 5);
    manager.fail(id(3)).unwrap();
    assert_eq!(state(&manager), "recovering,degraded");
    world.finish_pass(&mut manager, 0);
    assert_eq!(state(&manager), "degraded");
    assert_eq!(
        part(&world).members[1].map(|member| member.drive),
        Some(world.slot(5))
    );
}

#[test]
fn what_cannot_be_replaced_is_refused() {
    let (world, mut manager) = replacing(Level::Raid1, 2);
    let twice = manager.replace(id(1), world.slot(2), true);
    assert_eq!(
        twice.unwrap_err().to_string(),
        "device 0.0.1 is being replaced already"
    );
    let taken = manager.replace(id(0), world.slot(1), true);
    assert!(matches!(taken, Err(AdminError::DriveInUse(_))), "{taken:?}");
    let own = manager.replace(id(0), world.slot(0), true);
    assert!(matches!(own, Err(AdminError::DriveInUse(_))), "{own:?}");
    assert!(manager.fail_replacement(id(0)).is_err());
    let world = World::new(&[2 * MIB; 3]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid0, &[0, 1]);
    let refused = manager.replace(id(1), world.slot(2), false);
    assert!(
        matches!(refused, Err(AdminError::NotRedundant { .. })),
        "{refused:?}"
    );
}

/// An element was replaced, then its drive failed, then the replacement that had taken its place: the drive
/// that failed last is the failed one, also after a start. It was the older one after a start, to which
/// `unfail` would then have gone back.
#[test]
fn the_drive_that_failed_last_is_the_failed_one_after_a_start() {
    for (level, members) in LEVELS {
        let (world, mut manager) = replacing(level, members);
        manager.fail(id(1)).unwrap();
        manager.fail(id(1)).unwrap();
        let failed = |manager: &Manager| {
            let luns = manager.luns();
            let mut elements = luns[0].parts[0].elements.iter();
            let element = elements.find(|element| element.id == id(1)).unwrap();
            (element.state, element.drive)
        };
        let before = failed(&manager);
        assert_eq!(before, (ElementState::Failed, Some(world.slot(members))));
        for is_orderly in [true, false] {
            if is_orderly {
                manager.shutdown();
            }
            manager = world.start();
            assert_eq!(failed(&manager), before, "{level}, orderly: {is_orderly}");
        }
        manager.unfail(id(1)).unwrap();
        let now = failed(&manager);
        assert_eq!(now, (ElementState::Replaced, Some(world.slot(members))));
    }
}
