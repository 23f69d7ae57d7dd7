//! Random lives of a shelf: changes, failures, drives that go and come back, and power cuts.
//!
//! After each change, done or cut, a start finds the shelf as before it or as after it; and no member
//! is ever served that missed a write (the data path of the world checks that).

use super::memory::{TEARS, Tear};
use super::world::{MIB, Seen, World, number, seen};
use crate::admin::{Admin, DriveSlot, ElementId, MakeRequest};
use crate::manager::Manager;
use aoe::ConfigCommand;
use proptest::prelude::*;
use raid::Level;
use std::time::Duration;

const DRIVES: usize = 6;

#[derive(Clone, Debug)]
enum Change {
    Make {
        lun: u8,
        level: Level,
        drives: Vec<usize>,
        clean: bool,
    },
    Online(u8),
    Offline(u8),
    Remove(u8),
    Config(u8, Vec<u8>),
    Shelf(u32),
    /// An I/O error of a member.
    Error(u8, u8),
    /// By command.
    Fail(u8, u8),
    Unfail(u8, u8),
    Replace(u8, u8, usize),
    /// The pass gets so many chunks further.
    Reached(u8, u64),
    Finished(u8),
    AddSpare(usize, Option<u8>),
    RemoveSpare(usize),
    Tick,
    Shutdown,
}

#[derive(Clone, Debug)]
struct Step {
    change: Change,
    /// After how many writes power is cut, if it is.
    cut: Option<(u64, Tear)>,
    /// A drive that is pulled, or put back, before the next step.
    toggled: Option<usize>,
}

fn lun() -> impl Strategy<Value = u8> {
    0_u8..2
}

fn change() -> impl Strategy<Value = Change> {
    let levels = vec![
        Level::Jbod,
        Level::Raid0,
        Level::Raid1,
        Level::Raid10,
        Level::Raid5,
        Level::Raid6,
    ];
    let level = prop::sample::select(levels);
    let drives = Just((0..DRIVES).collect::<Vec<_>>()).prop_shuffle();
    prop_oneof![
        4 => (lun(), level, drives, 1_usize..=2, any::<bool>()).prop_map(
            |(lun, level, mut drives, half, clean)| {
                drives.truncate(match level {
                    Level::Jbod => 1,
                    Level::Raid5 => 3,
                    Level::Raid6 => 4,
                    _ => half * 2,
                });
                Change::Make { lun, level, drives, clean }
            }
        ),
        4 => lun().prop_map(Change::Online),
        2 => lun().prop_map(Change::Offline),
        1 => lun().prop_map(Change::Remove),
        2 => (lun(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(lun, string)| Change::Config(lun, string)),
        1 => (1_u32..3).prop_map(Change::Shelf),
        2 => (lun(), 0_u8..4).prop_map(|(lun, member)| Change::Error(lun, member)),
        2 => (lun(), 0_u8..4).prop_map(|(lun, member)| Change::Fail(lun, member)),
        2 => (lun(), 0_u8..4).prop_map(|(lun, member)| Change::Unfail(lun, member)),
        3 => (lun(), 0_u8..4, 0..DRIVES)
            .prop_map(|(lun, member, drive)| Change::Replace(lun, member, drive)),
        1 => (lun(), 0_u64..16).prop_map(|(lun, chunks)| Change::Reached(lun, chunks)),
        3 => lun().prop_map(Change::Finished),
        1 => (0..DRIVES, prop::option::of(lun()))
            .prop_map(|(drive, lun)| Change::AddSpare(drive, lun)),
        1 => (0..DRIVES).prop_map(Change::RemoveSpare),
        1 => Just(Change::Tick),
        1 => Just(Change::Shutdown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let cut = prop::option::of((0_u64..24, prop::sample::select(TEARS.to_vec())));
    (change(), cut, prop::option::weighted(0.2, 0..DRIVES)).prop_map(|(change, cut, toggled)| {
        Step {
            change,
            cut,
            toggled,
        }
    })
}

fn element(lun: u8, member: u8) -> ElementId {
    ElementId {
        lun: number(lun),
        part: 0,
        member,
    }
}

/// Does a change; whether it is refused or fails is not of interest here.
fn apply(world: &World, manager: &mut Manager, change: &Change) {
    let result = match change {
        Change::Make {
            lun,
            level,
            drives,
            clean,
        } => manager.make(&MakeRequest {
            clean: *clean,
            ..world.request(*lun, *level, drives)
        }),
        Change::Online(lun) => manager.online(number(*lun)),
        Change::Offline(lun) => manager.offline(number(*lun)),
        Change::Remove(lun) => manager.remove(number(*lun), true),
        Change::Shelf(shelf) => manager.set_shelf(*shelf),
        Change::Fail(lun, member) => manager.fail(element(*lun, *member)),
        Change::Unfail(lun, member) => manager.unfail(element(*lun, *member)),
        Change::Replace(lun, member, drive) => {
            manager.replace(element(*lun, *member), world.slot(*drive), true)
        }
        Change::Reached(lun, chunks) => {
            let view = world.view(*lun);
            if let Some(sync) = view.and_then(|view| view.parts[0].sync.clone()) {
                manager.sync_reached(number(*lun), 0, sync.pass, chunks * 128);
            }
            Ok(())
        }
        Change::Finished(lun) => {
            world.finish_pass(manager, *lun);
            Ok(())
        }
        Change::AddSpare(drive, lun) => {
            manager.add_spare(world.slot(*drive), lun.map(number), true)
        }
        Change::RemoveSpare(drive) => manager.remove_spare(world.slot(*drive), false),
        Change::Tick => {
            manager.tick(Duration::from_secs(600));
            Ok(())
        }
        Change::Error(lun, member) => {
            let luns = manager.luns();
            let found = luns.iter().find(|found| found.lun == number(*lun));
            let element = found.and_then(|lun| lun.parts[0].elements.get(usize::from(*member)));
            let drive = element.and_then(|element| element.drive);
            let drive = drive.unwrap_or(DriveSlot(0));
            manager
                .member_failed(number(*lun), 0, *member, drive, "Input/output error")
                .map(|_| ())
        }
        Change::Config(lun, string) => {
            manager.config_command(number(*lun), ConfigCommand::ForceSet, string);
            Ok(())
        }
        Change::Shutdown => {
            manager.shutdown();
            Ok(())
        }
    };
    drop(result);
}

/// What a start finds; serial numbers differ between runs of one `make`.
fn found(world: &World) -> Seen {
    let mut seen = seen(&world.fork().start());
    for lun in &mut seen.luns {
        lun.serial.clear();
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_happens_each_change_is_done_or_not(
        steps in prop::collection::vec(step(), 1..14),
        drives_move in any::<bool>(),
    ) {
        // No two are of one size, so that spares are chosen by what they are and not by their slots.
        let sizes: Vec<u64> = (0..DRIVES as u64).map(|index| 2 * MIB + index * 128).collect();
        let mut world = World::new(&sizes);
        for Step { change, cut, toggled } in steps {
            let before = found(&world);
            let complete = world.fork();
            apply(&complete, &mut complete.start(), &change);
            let after = found(&complete);
            world = world.fork();
            let mut manager = world.start();
            if let Some((writes, tear)) = cut {
                world.cut_power_after(writes, tear);
            }
            apply(&world, &mut manager, &change);
            drop(manager);
            let now = found(&world);
            prop_assert!(
                now == before || now == after,
                "{change:?}, {cut:?}:\nbefore {before:#?}\nafter {after:#?}\nnow {now:#?}"
            );
            if let Some(index) = toggled.filter(|_| drives_move) {
                let mut image = world.image(index);
                image.is_present = !image.is_present;
                image.was_away = true;
            }
        }
    }
}
