//! Arrays that others made: what is refused, and what a LUN of them changes on the drives.

use super::memory::TEARS;
use super::world::{MIB, Seen, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole, ElementId};
use raid::Level;
use std::collections::BTreeMap;

/// An array as Linux leaves it: members without records of ours, stopped in order or not.
pub(super) fn foreign(level: Level, members: usize, is_clean: bool) -> World {
    let world = World::new(&vec![2 * MIB; members + 1]);
    let mut manager = world.start();
    world.make(&mut manager, 0, level, &(0..members).collect::<Vec<_>>());
    manager.online(number(0)).unwrap();
    if is_clean {
        manager.shutdown();
    }
    drop(manager);
    for index in 0..members {
        let mut image = world.image(index);
        for sector in 64..256 {
            image.written.remove(&sector);
        }
        image.foreign = None;
    }
    world.fork()
}

type Sectors = Vec<BTreeMap<u64, Vec<u8>>>;

/// All that is on the drives but for the private slots.
fn content(world: &World) -> Sectors {
    let of = |index| {
        let image = world.image(index);
        let others = image
            .written
            .iter()
            .filter(|(sector, _)| !(64..192).contains(*sector));
        others
            .map(|(sector, bytes)| (*sector, bytes.clone()))
            .collect()
    };
    (0..world.images.len()).map(of).collect()
}

const SHAPES: [(Level, usize); 5] = [
    (Level::Raid0, 2),
    (Level::Raid1, 2),
    (Level::Raid10, 4),
    (Level::Raid5, 3),
    (Level::Raid6, 4),
];

#[test]
fn an_array_becomes_a_lun_without_a_change_of_its_data() {
    for (level, members) in SHAPES {
        let world = foreign(level, members, true);
        let mut manager = world.start();
        assert!(manager.luns().is_empty());
        let listed = manager.arrays();
        let array = &listed[0];
        assert_eq!((listed.len(), array.refusal.as_ref()), (1, None));
        assert_eq!((array.name.as_str(), array.level), ("1:0", Some(level)));
        assert_eq!(array.drives.len(), members);
        let uuid = array.uuid.clone();
        let before = content(&world);
        manager.import(&uuid, number(7)).unwrap();
        assert_eq!(content(&world), before);
        assert!(manager.arrays().is_empty());
        let status = &manager.luns()[0];
        assert_eq!((status.online, status.trouble.as_ref()), (false, None));
        assert_eq!(status.size_bytes, array.size_bytes);
        for element in &status.parts[0].elements {
            assert_eq!(
                element.drive,
                Some(world.slot(usize::from(element.id.member)))
            );
        }
        let made = seen(&manager);
        drop(manager);
        let world = world.fork();
        let mut manager = world.start();
        assert_eq!(seen(&manager).luns, made.luns);
        manager.online(number(7)).unwrap();
        manager.shutdown();
    }
}

#[test]
fn an_array_is_taken_over_wholly_or_not_at_all() {
    let change = |world: &World| world.start().import("1:0", number(7)).is_ok();
    let found = |world: &World| -> Seen {
        let found = seen(&world.fork().start());
        assert_eq!(seen(&world.fork().start()), found);
        found
    };
    for (level, members) in SHAPES {
        let base = foreign(level, members, true);
        let before = found(&base);
        let complete = base.fork();
        assert!(change(&complete));
        let writes = complete.power.lock().unwrap().writes;
        let after = found(&complete);
        assert_ne!(before, after);
        for k in 0..writes {
            for tear in TEARS {
                let world = base.fork();
                world.cut_power_after(k, tear);
                assert!(!change(&world));
                let now = found(&world);
                assert!(
                    now == before || now == after,
                    "write {k} of {writes}: {now:#?}"
                );
                // What cleans up may be cut, too, and the array can be taken over afterwards.
                let again = world.fork();
                again.cut_power_after(0, tear);
                drop(again.start());
                let again = again.fork();
                let mut manager = again.start();
                if manager.luns().is_empty() {
                    manager.import("1:0", number(7)).unwrap();
                }
                let lun = &manager.luns()[0];
                assert_eq!(
                    (lun.lun, lun.parts[0].state.to_string().as_str()),
                    (number(7), "normal")
                );
            }
        }
    }
}

#[test]
fn arrays_that_cannot_be_served_as_they_are_are_refused() {
    let reason = |world: &World, lun: u8| match world.start().import("1:0", number(lun)) {
        Err(AdminError::NotImportable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let world = foreign(Level::Raid5, 3, false);
    assert!(reason(&world, 3).starts_with("its parity may not match"));
    let world = foreign(Level::Raid1, 2, false);
    world.start().import("1:0", number(3)).unwrap();

    let world = foreign(Level::Raid5, 3, true);
    world.image(0).is_present = false;
    let degraded = world.fork();
    degraded.start().import("1:0", number(3)).unwrap();
    world.image(1).is_present = false;
    let lacking = "too many elements are missing or failed: 3.0.0, 3.0.1";
    assert_eq!(reason(&world, 3), lacking);

    let world = foreign(Level::Raid1, 2, true);
    let mut superblock = world.image(1).superblock().unwrap();
    superblock.set_replacement(true);
    world.image(1).write(8, &superblock.encode());
    let reason_to_wait = reason(&world, 3);
    assert!(
        reason_to_wait.starts_with("Linux is replacing a member of it"),
        "{reason_to_wait}"
    );

    let world = foreign(Level::Raid1, 2, true);
    let mut manager = world.start();
    let refused = manager.import("1:1", number(3));
    assert_eq!(refused, Err(AdminError::NoSuchArray("1:1".to_owned())));
    world.make(&mut manager, 3, Level::Jbod, &[2]);
    let refused = manager.import("1:0", number(3));
    assert_eq!(refused, Err(AdminError::LunExists(number(3))));
    // Its members are nobody's until then, and ours afterwards.
    let role = &seen(&manager).drives["drive0"];
    assert_eq!(
        *role,
        DriveRole::Foreign("a member of md array '1:0'".to_owned())
    );
    manager.import("1:0", number(4)).unwrap();
    let id = ElementId {
        lun: number(4),
        part: 0,
        member: 0,
    };
    assert_eq!(seen(&manager).drives["drive0"], DriveRole::Element(id));
}
