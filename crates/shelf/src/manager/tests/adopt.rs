//! LUNs and spares of another shelf, taken over with their drives.

use super::crash::{check_every_cut, found};
use super::world::{MIB, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole, ElementId};
use aoe::Shelf;
use raid::Level;

/// The drives of shelf 1 in shelf 2: LUN 0 is a raid5 of three grown by a mirror, online; LUN 3 a raid0 of
/// two; a spare of the shelf and one of LUN 3; and an empty drive.
fn moved() -> World {
    let world = World::new(&[2 * MIB; 10]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid5, &[0, 1, 2]);
    world.grow(&mut manager, 0, Level::Raid1, &[3, 4]);
    world.make(&mut manager, 3, Level::Raid0, &[5, 6]);
    manager.online(number(0)).unwrap();
    manager.add_spare(world.slot(7), None, false).unwrap();
    manager
        .add_spare(world.slot(8), Some(number(3)), false)
        .unwrap();
    manager.shutdown();
    drop(manager);
    *world.shelf.lock().unwrap() = Some(Shelf(2));
    world.fork()
}

#[test]
fn what_another_shelf_left_is_listed_and_not_touched() {
    let world = moved();
    let manager = world.start();
    assert!(manager.luns().is_empty() && manager.spares().is_empty());
    let listed = manager.elsewhere(None);
    let names: Vec<_> = listed
        .iter()
        .map(|status| {
            (
                status.shelf,
                status.lun.map(|lun| lun.get()),
                status.drives.len(),
            )
        })
        .collect();
    let expected = [(1, Some(0), 5), (1, Some(3), 2), (1, None, 1), (1, None, 1)];
    assert_eq!(names, expected);
    assert_eq!(listed[0].levels, [Level::Raid5, Level::Raid1]);
    assert!(listed.iter().all(|status| status.refusal.is_none()));
    assert_eq!(world.power.lock().unwrap().writes, 0);
}

#[test]
fn a_lun_of_another_shelf_is_taken_over_with_its_parts_and_spares() {
    let world = moved();
    let mut manager = world.start();
    manager.adopt(1, number(0), number(7)).unwrap();
    let lun = &manager.luns()[0];
    assert_eq!((lun.lun.get(), lun.online, lun.parts.len()), (7, true, 2));
    assert_eq!(world.view(7).unwrap().shelf, Shelf(2));
    let name = |drive: usize| world.image(drive).superblock().unwrap().name();
    assert_eq!((name(0), name(3)), ("2:7".to_owned(), "2:7.1".to_owned()));
    manager.adopt(1, number(3), number(3)).unwrap();
    manager.adopt_spares(1).unwrap();
    let spares: Vec<_> = manager
        .spares()
        .iter()
        .map(|spare| spare.dedicated_to)
        .collect();
    assert_eq!(spares.len(), 2);
    assert!(spares.contains(&Some(number(3))) && spares.contains(&None));
    assert!(manager.elsewhere(None).is_empty());
    let now = seen(&manager);
    manager.shutdown();
    let offline = |mut seen: super::world::Seen| {
        for lun in &mut seen.luns {
            lun.online = false;
        }
        seen
    };
    assert_eq!(offline(found(&world.fork())), offline(now));
}

#[test]
fn a_lun_is_taken_over_wholly_or_not_at_all() {
    check_every_cut(&moved(), &|_, manager| {
        manager.adopt(1, number(0), number(7)).is_ok()
    });
    check_every_cut(&moved(), &|_, manager| {
        manager.adopt(1, number(3), number(3)).is_ok()
    });
    let world = moved();
    world.image(8).foreign = None;
    let spare = World::new(&[2 * MIB; 2]);
    let mut manager = spare.start();
    manager.add_spare(spare.slot(0), None, false).unwrap();
    drop(manager);
    *spare.shelf.lock().unwrap() = Some(Shelf(2));
    check_every_cut(&spare, &|_, manager| {
        manager.adopt_spares(1).is_ok() && !manager.spares().is_empty()
    });
}

#[test]
fn what_cannot_be_taken_over_says_why() {
    let world = moved();
    let mut manager = world.start();
    let mut refused = |shelf, lun, new| {
        let error = manager.adopt(shelf, number(lun), number(new)).unwrap_err();
        error.to_string()
    };
    let nothing = "no drive carries anything of shelf 9; restore -l lists what there is";
    assert_eq!(refused(9, 0, 0), nothing);
    let nothing = "no drive carries LUN 4 of shelf 1; restore -l lists what there is";
    assert_eq!(refused(1, 4, 4), nothing);
    world.make(&mut manager, 3, Level::Jbod, &[9]);
    assert_eq!(
        manager
            .adopt(1, number(3), number(3))
            .unwrap_err()
            .to_string(),
        "LUN 3 of shelf 1 cannot be taken over: LUN 3 exists; give it another number: restore 1 3 NUMBER"
    );
    let listed = manager.elsewhere(None);
    assert!(listed[1].refusal.as_ref().unwrap().contains("LUN 3 exists"));
    assert_eq!(manager.elsewhere(Some(number(4)))[1].refusal, None);
    manager.adopt(1, number(3), number(4)).unwrap();
    drop(manager);
    // A part is missing, or too many members are.
    for (away, text) in [
        (
            &[3, 4][..],
            "raid 0.1 is missing: none of its drives is here",
        ),
        (
            &[0, 1],
            "too many elements are missing or failed: 0.0.0, 0.0.1",
        ),
    ] {
        let world = moved();
        for &drive in away {
            world.image(drive).is_present = false;
        }
        let mut manager = world.start();
        let error = manager.adopt(1, number(0), number(0)).unwrap_err();
        assert!(error.to_string().ends_with(text), "{error}");
        assert_eq!(world.power.lock().unwrap().writes, 0);
    }
    // Without its first RAID it is not even known.
    let world = moved();
    for drive in 0..3 {
        world.image(drive).is_present = false;
    }
    let error = world.start().adopt(1, number(0), number(0)).unwrap_err();
    assert!(matches!(error, AdminError::NothingElsewhere { .. }));
}

#[test]
fn a_lun_that_lacks_a_member_is_taken_over_offline() {
    let world = moved();
    world.image(1).is_present = false;
    world.image(1).was_away = true;
    let mut manager = world.start();
    let remark = "elements 0.0.1 are away: it stays offline";
    assert_eq!(manager.elsewhere(None)[0].remark.as_deref(), Some(remark));
    manager.adopt(1, number(0), number(0)).unwrap();
    let lun = &manager.luns()[0];
    assert!(!lun.online);
    assert_eq!(lun.parts[0].state.to_string(), "degraded");
    // It comes back, and knows nothing of all that.
    drop(manager);
    world.image(1).is_present = true;
    let world = world.fork();
    let mut manager = world.start();
    assert_eq!(manager.luns()[0].parts[0].state.to_string(), "normal");
    manager.online(number(0)).unwrap();
}

#[test]
fn drives_that_were_used_for_something_else_are_no_longer_of_the_other_shelf() {
    let world = moved();
    let mut manager = world.start();
    let mut request = world.request(5, Level::Jbod, &[5]);
    request.force = true;
    manager.make(&request).unwrap();
    assert_eq!(manager.elsewhere(None).len(), 3);
    assert!(manager.adopt(1, number(3), number(3)).is_err());
    let id = ElementId {
        lun: number(5),
        part: 0,
        member: 0,
    };
    assert_eq!(seen(&manager).drives["drive5"], DriveRole::Element(id));
}

/// The mirror that a twin had taken the place of was listed as LUN 0 of shelf 1 when the shelf had another
/// number. It could be taken over, and served, beside the LUN that it was of; the next start took it for a
/// former element, and what had been written to it was gone.
#[test]
fn what_a_lun_has_done_without_is_no_lun_of_another_shelf() {
    let world = World::new(&[2 * MIB; 3]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    let id = ElementId {
        lun: number(0),
        part: 0,
        member: 1,
    };
    manager.replace(id, world.slot(2), false).unwrap();
    manager.fail(id).unwrap();
    let former = seen(&manager).drives["drive1"].clone();
    assert!(
        matches!(&former, DriveRole::Foreign(what) if what.starts_with("a former element 0.0.1"))
    );
    manager.rescan().unwrap();
    assert_eq!(seen(&manager).drives["drive1"], former);
    manager.set_shelf(2).unwrap();
    manager.rescan().unwrap();
    assert_eq!(manager.elsewhere(None), []);
    let refused = manager.adopt(1, number(0), number(7));
    assert!(
        matches!(refused, Err(AdminError::NothingElsewhere { .. })),
        "{refused:?}"
    );
    assert_eq!(found(&world.fork()).luns.len(), 1);
    let arrays = manager.arrays();
    let refusal = arrays[0].refusal.as_deref();
    assert_eq!(refusal, Some("it is what raid 0.0 has done without since"));
    let refused = manager.import(&arrays[0].uuid, number(7));
    assert!(
        matches!(refused, Err(AdminError::NotImportable { .. })),
        "{refused:?}"
    );
}
