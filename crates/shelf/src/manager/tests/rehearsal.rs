//! What is tried on a copy is not done: no drive is written, no worker told, nothing stored; and what the
//! copy refuses the shelf refuses.

use super::memory::Told;
use super::world::{MIB, World, number, seen};
use crate::admin::{AccessChange, Admin, AdminError, ElementId, MakeRequest, ScrubAction};
use crate::manager::Manager;
use raid::Level;
use std::collections::BTreeMap;

type Act = fn(&World, &mut dyn Admin) -> Result<(), AdminError>;

const fn id(lun: u8, member: u8) -> (u8, u8) {
    (lun, member)
}

fn element((lun, member): (u8, u8)) -> ElementId {
    ElementId {
        lun: number(lun),
        part: 0,
        member,
    }
}

fn labelled(world: &World, label: &str) -> MakeRequest {
    MakeRequest {
        label: Some(label.to_owned()),
        ..world.request(3, Level::Raid5, &[6, 7, 8])
    }
}

/// Something of every kind; some of it is refused.
const ACTS: [Act; 23] = [
    |world, admin| admin.make(&labelled(world, "web")),
    |world, admin| admin.make(&labelled(world, "")),
    |world, admin| admin.make(&world.request(3, Level::Raid5, &[6, 7, 8])),
    |world, admin| admin.make(&world.request(3, Level::Raid1, &[0, 8])),
    |world, admin| admin.grow(&world.request(0, Level::Raid1, &[7, 8])),
    |world, admin| admin.grow(&world.request(9, Level::Raid1, &[7, 8])),
    |_, admin| admin.online(number(1)),
    |_, admin| admin.online(number(2)),
    |_, admin| admin.offline(number(0)),
    |_, admin| admin.remove(number(0), false),
    |_, admin| admin.remove(number(0), true),
    |_, admin| admin.eject(number(1), false),
    |_, admin| admin.fail(element(id(0, 1))),
    |_, admin| admin.fail(element(id(1, 0))),
    |world, admin| admin.replace(element(id(0, 1)), world.slot(7), false),
    |_, admin| admin.unfail(element(id(2, 1))),
    |world, admin| admin.add_spare(world.slot(7), Some(number(0)), false),
    |_, admin| admin.scrub(number(0), ScrubAction::Start),
    |_, admin| admin.change_access(number(0), &AccessChange::ReadOnly(true)),
    |_, admin| admin.set_label(number(0), Some("web")),
    |_, admin| admin.set_shelf(7),
    |_, admin| admin.rescan(),
    |_, admin| admin.look_elsewhere(),
];

fn world() -> (World, Manager) {
    let world = World::new(&[4 * MIB; 10]);
    let mut manager = world.start();
    world.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    world.make(&mut manager, 1, Level::Raid0, &[2, 3]);
    world.make(&mut manager, 2, Level::Raid1, &[4, 5]);
    manager.online(number(0)).unwrap();
    manager.fail(element(id(2, 1))).unwrap();
    (world, manager)
}

/// What is on the drives, and how much the workers were told.
fn durable(world: &World) -> (Vec<BTreeMap<u64, Vec<u8>>>, usize) {
    let images = (0..world.images.len()).map(|index| world.image(index).written.clone());
    let log = world.log.lock().unwrap();
    // The network may be asked who is there.
    let told = log
        .told
        .iter()
        .filter(|told| !matches!(told, Told::Probe(_)));
    (images.collect(), told.count())
}

#[test]
fn a_rehearsal_does_nothing_and_knows_what_would_be_refused() {
    let (mut refused, mut done) = (0, 0);
    for (index, act) in ACTS.iter().enumerate() {
        let (world, mut manager) = world();
        let before = (durable(&world), seen(&manager));
        let mut tried = Ok(());
        let mut changed = None;
        for _ in 0..2 {
            manager.rehearse(&mut |copy| {
                let (luns, drives) = (copy.luns(), copy.drives());
                tried = act(&world, copy);
                changed = Some(copy.luns() != luns || copy.drives() != drives);
                // A copy of a copy is no more real than that.
                copy.rehearse(&mut |other| {
                    let _ = act(&world, other);
                });
                let _ = act(&world, copy);
            });
            let is_same = (durable(&world), seen(&manager)) == before;
            assert!(is_same, "act {index} was done");
        }
        assert_eq!(act(&world, &mut manager), tried, "act {index}");
        refused += usize::from(tried.is_err());
        done += usize::from(tried.is_ok());
        if tried.is_ok() && changed == Some(true) {
            let is_same = (durable(&world), seen(&manager)) == before;
            assert!(!is_same, "act {index} was not done");
        }
    }
    assert!(refused >= 5 && done >= 10, "{refused} {done}");
}

/// The shelf goes on as before: what was lent is back.
#[test]
fn the_shelf_is_whole_after_a_rehearsal() {
    let (world, mut manager) = world();
    manager.rehearse(&mut |copy| {
        copy.remove(number(0), true).unwrap();
        copy.remove(number(2), true).unwrap();
        copy.make(&world.request(0, Level::Raid6, &[0, 1, 4, 5]))
            .unwrap();
        copy.online(number(0)).unwrap();
    });
    manager.set_label(number(0), Some("web")).unwrap();
    manager.offline(number(0)).unwrap();
    manager.remove(number(0), false).unwrap();
    let manager = world.start();
    let left: Vec<u8> = manager.luns().iter().map(|lun| lun.lun.get()).collect();
    assert_eq!(left, [1, 2]);
}
