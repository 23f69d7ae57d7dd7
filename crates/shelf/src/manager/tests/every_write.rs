//! Power cuts at every write of the settings of a LUN, and of what lets go of it and finds it again.
//!
//! The administration writes to one drive after the other and each write is durable when it returns, so that
//! no two of them can change places: what is left to the drive is which sectors of the write that was cut it
//! has done ([`TEARS`]).

use super::crash::{REDUNDANT, SHAPES, check_every_cut, cut, found, with_lun};
use super::memory::TEARS;
use super::world::{MIB, World, number};
use crate::admin::{AccessChange, Admin, AdminError, ScrubAction, ScrubRepair};
use crate::manager::Manager;
use crate::target::{Change, ChangeDecision, PortIndex, Wish};
use aoe::{Header, MacAddress, Shelf, Slot, Tag, VlanId};
use raid::Level;

const STATIONS: [MacAddress; 3] = [
    MacAddress([2, 0, 0, 0, 0, 1]),
    MacAddress([2, 0, 0, 0, 0, 2]),
    MacAddress([2, 0, 0, 0, 0, 3]),
];

fn masks(remove: &[MacAddress], add: &[MacAddress]) -> AccessChange {
    AccessChange::Masks {
        remove: remove.to_vec(),
        add: add.to_vec(),
    }
}

/// LUN 0 with everything set that can be taken away again.
fn with_settings(level: Level, members: usize, online: bool) -> World {
    let base = with_lun(level, members, online);
    let mut manager = base.start();
    let mut change = |change| manager.change_access(number(0), &change).unwrap();
    change(masks(&[], &STATIONS[..2]));
    change(AccessChange::Vlan(VlanId::new(7)));
    change(AccessChange::ReadOnly(true));
    manager.set_config_string(number(0), b"before").unwrap();
    if level.is_redundant() {
        let mut scrub = |action| manager.scrub(number(0), action).unwrap();
        scrub(ScrubAction::Every(7));
        scrub(ScrubAction::Policy(ScrubRepair::All));
    }
    manager.shutdown();
    base.fork()
}

fn check_setting(change: impl Fn(&mut Manager) -> Result<(), AdminError>) {
    for (level, members) in SHAPES {
        for online in [false, true] {
            let base = with_settings(level, members, online);
            check_every_cut(&base, &|_, manager| change(manager).is_ok());
        }
    }
}

fn check_access(change: &AccessChange) {
    check_setting(|manager| manager.change_access(number(0), change));
}

#[test]
fn masks_change_wholly_or_not_at_all() {
    check_access(&masks(&STATIONS[..1], &STATIONS[2..]));
    check_access(&AccessChange::ClearMasks);
}

#[test]
fn a_vlan_is_set_and_cleared_wholly_or_not_at_all() {
    check_access(&AccessChange::Vlan(VlanId::new(4094)));
    check_access(&AccessChange::Vlan(None));
}

#[test]
fn readonly_is_taken_away_wholly_or_not_at_all() {
    check_access(&AccessChange::ReadOnly(false));
}

#[test]
fn the_administrator_sets_a_config_string_wholly_or_not_at_all() {
    check_setting(|manager| manager.set_config_string(number(0), &[b'x'; 1024]));
    check_setting(|manager| manager.set_config_string(number(0), b""));
}

#[test]
fn reservations_are_cleared_wholly_or_not_at_all() {
    for (level, members) in SHAPES {
        let base = with_lun(level, members, true);
        let mut manager = base.start();
        let reserve = Change {
            port: PortIndex(0),
            request: Header::request(STATIONS[2], STATIONS[0], Shelf(1), Slot(0), 3, Tag(1)),
            lun: number(0),
            wish: Wish::Reserve {
                is_forced: true,
                macs: STATIONS[..2].into(),
            },
        };
        assert_eq!(manager.change(&reserve), ChangeDecision::Stored);
        manager.shutdown();
        check_every_cut(&base.fork(), &|_, manager| {
            let change = AccessChange::ClearReservations;
            manager.change_access(number(0), &change).is_ok()
        });
    }
}

#[test]
fn the_policy_and_the_schedule_of_scrubs_change_wholly_or_not_at_all() {
    let actions = [
        ScrubAction::Policy(ScrubRepair::Report),
        ScrubAction::Policy(ScrubRepair::Located),
        ScrubAction::Every(0),
        ScrubAction::Every(30),
        ScrubAction::Start,
        ScrubAction::Repair,
    ];
    for (level, members) in REDUNDANT {
        for online in [false, true] {
            let base = with_settings(level, members, online);
            for action in actions {
                check_every_cut(&base, &|_, manager| {
                    manager.scrub(number(0), action).is_ok()
                });
            }
        }
    }
}

#[test]
fn a_scrub_is_stopped_paused_and_resumed_wholly_or_not_at_all() {
    for (level, members) in REDUNDANT {
        let base = with_settings(level, members, true);
        base.start().scrub(number(0), ScrubAction::Start).unwrap();
        let running = base.fork();
        for action in [ScrubAction::Stop, ScrubAction::Pause] {
            check_every_cut(&running, &|_, manager| {
                manager.scrub(number(0), action).is_ok()
            });
        }
        let paused = running.fork();
        paused.start().scrub(number(0), ScrubAction::Pause).unwrap();
        check_every_cut(&paused.fork(), &|_, manager| {
            manager.scrub(number(0), ScrubAction::Resume).is_ok()
        });
    }
}

#[test]
fn a_spare_is_dedicated_wholly_or_not_at_all() {
    let base = with_lun(Level::Raid1, 2, true);
    check_every_cut(&base, &|world, manager| {
        manager
            .add_spare(world.slot(2), Some(number(0)), false)
            .is_ok()
    });
}

/// Letting go of a LUN is not recorded: whatever the power, the next start has it as it was. So has
/// looking for it anew.
#[test]
fn an_ejected_lun_is_found_again_whatever_the_power() {
    for (level, members) in SHAPES {
        for online in [false, true] {
            let base = with_settings(level, members, online);
            let before = found(&base.fork());
            check_same(&base, &before, &|_, manager| {
                manager.eject(number(0), true).is_ok()
            });
            check_same(&base, &before, &|_, manager| {
                manager.eject(number(0), true).is_ok() && manager.rescan().is_ok()
            });
        }
    }
}

fn check_same(base: &World, before: &super::world::Seen, change: &super::crash::Change) {
    let complete = base.fork();
    let mut manager = complete.start();
    let started = complete.power.lock().unwrap().writes;
    assert!(change(&complete, &mut manager));
    let writes = complete.power.lock().unwrap().writes - started;
    drop(manager);
    assert_eq!(found(&complete.fork()), *before, "with power");
    for k in 0..writes {
        for tear in TEARS {
            let (world, _) = cut(base, change, k, tear);
            assert_eq!(found(&world.fork()), *before, "write {k}, {tear:?}");
        }
    }
}

/// The second of two changes does not bring back what the first one took away.
#[test]
fn one_setting_after_another_keeps_the_first() {
    let base = with_settings(Level::Raid1, 2, true);
    base.start()
        .change_access(number(0), &AccessChange::ClearMasks)
        .unwrap();
    check_every_cut(&base.fork(), &|_, manager| {
        manager
            .change_access(number(0), &AccessChange::Vlan(None))
            .is_ok()
    });
    let without_masks = found(&base.fork()).luns[0].access.masks.is_empty();
    assert!(without_masks);
}

#[test]
fn two_luns_do_not_mix() {
    let base = World::new(&[2 * MIB; 4]);
    let mut manager = base.start();
    base.make(&mut manager, 0, Level::Raid1, &[0, 1]);
    base.make(&mut manager, 1, Level::Raid1, &[2, 3]);
    manager.online(number(1)).unwrap();
    manager.shutdown();
    check_every_cut(&base.fork(), &|_, manager| {
        manager
            .change_access(number(0), &masks(&[], &STATIONS))
            .is_ok()
    });
    check_every_cut(&base.fork(), &|_, manager| {
        manager.remove(number(1), true).is_ok()
    });
}
