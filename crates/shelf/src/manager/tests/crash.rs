//! Power cuts at every write of every change, and at every write of the start that follows.
//!
//! After the next start the shelf is as before the change or as after it, whatever the cut write
//! left, and after a change that was reported done it is as after it.

use super::memory::{TEARS, Tear};
use super::world::{Seen, World, number, seen};
use crate::admin::{AccessChange, Admin, AdminError, ElementId, ElementState, MakeRequest};
use crate::manager::Manager;
use crate::target::ChangeDecision;
use aoe::{ConfigCommand, MacAddress};
use raid::Level;

const MIB: u64 = super::world::MIB;

/// A world with LUN 0 of this level on all drives but the last.
pub(super) fn with_lun(level: Level, members: usize, online: bool) -> World {
    let world = World::new(&vec![2 * MIB; members + 1]);
    let mut manager = world.start();
    let drives: Vec<usize> = (0..members).collect();
    world.make(&mut manager, 0, level, &drives);
    if online {
        manager.online(number(0)).unwrap();
        assert_eq!(
            manager.config_command(number(0), ConfigCommand::ForceSet, b"before"),
            ChangeDecision::Stored
        );
        manager.shutdown();
    }
    world.fork()
}

pub(super) type Change<'a> = dyn Fn(&World, &mut Manager) -> bool + 'a;

/// Starts twice: what is found must stay.
pub(super) fn found(world: &World) -> Seen {
    let first = seen(&world.start());
    assert_eq!(
        seen(&world.fork().start()),
        first,
        "a second start finds the same"
    );
    first
}

pub(super) fn cut(base: &World, change: &Change, writes: u64, tear: Tear) -> (World, bool) {
    let world = base.fork();
    let mut manager = world.start();
    world.cut_power_after(writes, tear);
    let is_done = change(&world, &mut manager);
    (world, is_done)
}

pub(super) fn check_every_cut(base: &World, change: &Change) {
    let before = found(&base.fork());
    let complete = base.fork();
    let mut manager = complete.start();
    let started = complete.power.lock().unwrap().writes;
    assert!(
        change(&complete, &mut manager),
        "with power the change is done"
    );
    let writes = complete.power.lock().unwrap().writes - started;
    drop(manager);
    let after = found(&complete.fork());
    assert_ne!(before, after);
    let (mut befores, mut afters) = (0, 0);
    for k in 0..writes {
        for tear in TEARS {
            let (world, is_done) = cut(base, change, k, tear);
            let at = format!("power cut in write {k} of {writes}, {tear:?} of it done");
            let now = found(&world.fork());
            assert!(now == before || now == after, "{at}: {now:#?}");
            assert!(!is_done || now == after, "{at}: reported done");
            if now == before {
                befores += 1;
            } else {
                afters += 1;
            }
            check_every_second_cut(&world, &now, &at);
        }
    }
    assert!(
        befores > 0 && afters > 0,
        "{befores} as before, {afters} as after"
    );
}

/// Cuts power in every write of the start that cleans up, too.
fn check_every_second_cut(world: &World, expected: &Seen, at: &str) {
    let complete = world.fork();
    drop(complete.start());
    let writes = complete.power.lock().unwrap().writes;
    for k in 0..writes {
        for tear in TEARS {
            let again = world.fork();
            again.cut_power_after(k, tear);
            drop(again.start());
            let now = found(&again.fork());
            assert_eq!(
                now, *expected,
                "{at}; then in write {k} of the start, {tear:?} done"
            );
        }
    }
}

pub(super) const SHAPES: [(Level, usize); 6] = [
    (Level::Jbod, 1),
    (Level::Raid0, 3),
    (Level::Raid1, 2),
    (Level::Raid10, 4),
    (Level::Raid5, 3),
    (Level::Raid6, 4),
];

#[test]
fn make_is_done_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        let base = World::new(&vec![2 * MIB; members + 1]);
        let drives: Vec<usize> = (0..members).collect();
        // The serial number tells apart two makes; one world makes it once.
        let change = move |world: &World, manager: &mut Manager| {
            let request = MakeRequest {
                label: Some("vm store".to_owned()),
                ..world.request(0, level, &drives)
            };
            manager.make(&request).is_ok()
        };
        check_make(&base, &change);
    }
}

/// As [`check_every_cut`], but the LUN of each run has a serial number of its own.
pub(super) fn check_make(base: &World, change: &Change) {
    let blank = |mut seen: Seen| {
        for lun in &mut seen.luns {
            lun.serial.clear();
        }
        seen
    };
    let before = blank(found(&base.fork()));
    let complete = base.fork();
    assert!(change(&complete, &mut complete.start()));
    let writes = complete.power.lock().unwrap().writes;
    let after = blank(found(&complete.fork()));
    let (mut befores, mut afters) = (0, 0);
    for k in 0..writes {
        for tear in TEARS {
            let (world, is_done) = cut(base, change, k, tear);
            let at = format!("power cut in write {k} of {writes}, {tear:?} of it done");
            let now = found(&world.fork());
            let blanked = blank(now.clone());
            assert!(blanked == before || blanked == after, "{at}: {now:#?}");
            assert!(!is_done, "{at}: reported done");
            if blanked == before {
                befores += 1;
            } else {
                afters += 1;
            }
            check_every_second_cut(&world, &now, &at);
        }
    }
    assert!(
        befores > 0 && afters > 0,
        "{befores} as before, {afters} as after"
    );
}

#[test]
fn online_is_done_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        let base = with_lun(level, members, false);
        check_every_cut(&base, &|_, manager| manager.online(number(0)).is_ok());
    }
}

#[test]
fn offline_is_done_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        let base = with_lun(level, members, true);
        check_every_cut(&base, &|_, manager| manager.offline(number(0)).is_ok());
    }
}

#[test]
fn remove_is_done_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        for online in [false, true] {
            let base = with_lun(level, members, online);
            check_every_cut(&base, &|_, manager| manager.remove(number(0), true).is_ok());
        }
    }
}

#[test]
fn a_config_string_is_stored_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        let base = with_lun(level, members, true);
        check_every_cut(&base, &|_, manager| {
            let string = [b'x'; 1024];
            let decision = manager.config_command(number(0), ConfigCommand::ForceSet, &string);
            decision == ChangeDecision::Stored
        });
    }
}

#[test]
fn a_label_is_stored_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        let base = with_lun(level, members, true);
        check_every_cut(&base, &|_, manager| {
            manager.set_label(number(0), Some("vm store")).is_ok()
        });
    }
}

#[test]
fn rules_of_access_are_stored_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        let base = with_lun(level, members, true);
        check_every_cut(&base, &|_, manager| {
            let masks = AccessChange::Masks {
                remove: Vec::new(),
                add: vec![MacAddress([2; 6]), MacAddress([4; 6])],
            };
            manager.change_access(number(0), &masks).is_ok()
        });
    }
}

#[test]
fn a_shelf_number_changes_for_all_luns_or_for_none() {
    let base = World::new(&[2 * MIB; 5]);
    let mut manager = base.start();
    base.make(&mut manager, 0, Level::Raid10, &[0, 1]);
    base.make(&mut manager, 7, Level::Raid0, &[2, 3]);
    manager.add_spare(base.slot(4), None, false).unwrap();
    drop(manager);
    check_every_cut(&base, &|_, manager| manager.set_shelf(2).is_ok());
}

#[test]
fn a_degraded_lun_changes_wholly_or_not_at_all() {
    let base = with_lun(Level::Raid10, 4, true);
    base.image(1).is_present = false;
    drop(base.start());
    check_every_cut(&base, &|_, manager| manager.offline(number(0)).is_ok());
    check_every_cut(&base, &|_, manager| manager.remove(number(0), true).is_ok());
}

#[test]
fn a_lun_with_a_failed_member_changes_wholly_or_not_at_all() {
    let base = with_lun(Level::Raid10, 4, true);
    let mut manager = base.start();
    manager
        .member_failed(number(0), 0, 3, base.slot(3), "Input/output error")
        .unwrap();
    drop(manager);
    check_every_cut(&base, &|_, manager| manager.offline(number(0)).is_ok());
    check_every_cut(&base, &|_, manager| manager.remove(number(0), true).is_ok());
}

fn id(member: u8) -> ElementId {
    ElementId {
        lun: number(0),
        part: 0,
        member,
    }
}

pub(super) const REDUNDANT: [(Level, usize); 4] = [
    (Level::Raid1, 2),
    (Level::Raid10, 4),
    (Level::Raid5, 3),
    (Level::Raid6, 4),
];

#[test]
fn a_member_is_failed_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = with_lun(level, members, true);
        check_every_cut(&base, &|_, manager| manager.fail(id(1)).is_ok());
    }
}

#[test]
fn a_member_is_replaced_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        for online in [false, true] {
            let base = with_lun(level, members, online);
            base.start().fail(id(1)).unwrap();
            let base = base.fork();
            check_every_cut(&base, &move |world, manager| {
                manager.replace(id(1), world.slot(members), false).is_ok()
            });
            check_every_cut(&base, &|_, manager| manager.unfail(id(1)).is_ok());
        }
    }
}

#[test]
fn a_spare_is_added_and_removed_wholly_or_not_at_all() {
    let base = World::new(&[2 * MIB; 2]);
    check_every_cut(&base, &|world, manager| {
        manager.add_spare(world.slot(0), None, false).is_ok()
    });
    base.start().add_spare(base.slot(0), None, false).unwrap();
    check_every_cut(&base, &|world, manager| {
        manager.remove_spare(world.slot(0), false).is_ok()
    });
}

#[test]
fn a_spare_is_taken_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = with_lun(level, members, true);
        base.start()
            .add_spare(base.slot(members), None, false)
            .unwrap();
        base.image(1).is_present = false;
        drop(base.start());
        check_every_cut(&base, &|_, manager| {
            manager.tick(std::time::Duration::from_secs(600));
            manager.spares().is_empty()
        });
    }
}

/// At each cut of the change the rebuild was begun or the drive is still away.
#[test]
fn a_member_that_is_back_is_rebuilt_whatever_the_power() {
    let base = with_lun(Level::Raid1, 2, true);
    base.image(1).is_present = false;
    base.image(1).was_away = true;
    drop(base.start());
    base.image(1).is_present = true;
    let whole = base.fork();
    let expected = seen(&whole.start());
    let writes = whole.power.lock().unwrap().writes;
    for k in 0..writes {
        for tear in TEARS {
            let world = base.fork();
            world.cut_power_after(k, tear);
            drop(world.start());
            assert_eq!(
                found(&world.fork()),
                expected,
                "write {k} of {writes}, {tear:?}"
            );
        }
    }
}

#[test]
fn a_rebuild_ends_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = with_lun(level, members, true);
        let mut manager = base.start();
        manager.fail(id(1)).unwrap();
        manager.replace(id(1), base.slot(members), false).unwrap();
        drop(manager);
        let base = base.fork();
        check_every_cut(&base, &|world, manager| {
            world.finish_pass(manager, 0);
            manager.luns()[0].parts[0].elements[1].state == ElementState::Normal
        });
    }
}

/// Both halves of the mirror were served alone; going online gives up one of them.
#[test]
fn a_half_of_a_mirror_is_chosen_wholly_or_not_at_all() {
    let base = with_lun(Level::Raid1, 2, true);
    for (away, here) in [(0, 1), (1, 0)] {
        base.image(away).is_present = false;
        base.image(away).was_away = true;
        base.image(here).is_present = true;
        base.start().shutdown();
    }
    base.image(1).is_present = true;
    check_every_cut(&base, &|_, manager| manager.online(number(0)).is_ok());
}

/// The start of the new world finds a member that was away while its LUN was removed.
#[test]
fn whatever_the_power_a_removed_lun_does_not_return() {
    let base = with_lun(Level::Raid1, 2, true);
    base.image(1).is_present = false;
    base.image(1).was_away = true;
    let complete = base.fork();
    let mut manager = complete.start();
    let started = complete.power.lock().unwrap().writes;
    manager.remove(number(0), true).unwrap();
    let writes = complete.power.lock().unwrap().writes - started;
    for k in 0..writes {
        for tear in TEARS {
            let remove = |_: &World, manager: &mut Manager| manager.remove(number(0), true).is_ok();
            let (world, _) = cut(&base, &remove, k, tear);
            let without = found(&world.fork());
            drop(world.fork().start());
            let world = world.fork();
            drop(world.start());
            world.image(1).is_present = true;
            let with = found(&world.fork());
            assert_eq!(without.luns.len(), with.luns.len(), "write {k}, {tear:?}");
        }
    }
}

#[test]
fn a_change_that_fails_for_want_of_power_is_an_error() {
    let base = with_lun(Level::Raid1, 2, false);
    let mut manager = base.start();
    base.cut_power_after(0, Tear::Nothing);
    assert!(matches!(manager.online(number(0)), Err(AdminError::Io(_))));
}

/// As [`with_lun`], with the last drive filled to take the place of element 1.
fn replacing(level: Level, members: usize) -> World {
    let world = with_lun(level, members, true);
    let mut manager = world.start();
    manager.replace(id(1), world.slot(members), false).unwrap();
    drop(manager);
    world.fork()
}

#[test]
fn a_replacement_is_begun_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = with_lun(level, members, true);
        check_every_cut(&base, &move |world, manager| {
            manager.replace(id(1), world.slot(members), false).is_ok()
        });
    }
}

#[test]
fn a_replacement_takes_its_place_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = replacing(level, members);
        check_every_cut(&base, &move |world, manager| {
            world.finish_pass(manager, 0);
            let elements = &manager.luns()[0].parts[0].elements;
            let is_taken = elements.len() == members;
            is_taken && elements[1].drive == Some(world.slot(members))
        });
    }
}

#[test]
fn a_replacement_takes_the_place_of_a_member_that_fails_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = replacing(level, members);
        check_every_cut(&base, &|_, manager| manager.fail(id(1)).is_ok());
    }
}

#[test]
fn a_replacement_is_dropped_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = replacing(level, members);
        check_every_cut(&base, &|_, manager| manager.fail_replacement(id(1)).is_ok());
    }
}
