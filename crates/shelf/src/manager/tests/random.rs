//! Random lives of a shelf: changes, failures, drives that go and come back, and power cuts.
//!
//! After each change, done or cut, a start finds the shelf as before it or as after it; and no member
//! is ever served that missed a write (the data path of the world checks that).

use super::memory::{TEARS, Tear};
use super::world::{MIB, Seen, World, number, seen};
use crate::admin::{Admin, AdminError, DriveRole, DriveSlot, ElementId, MakeRequest};
use crate::manager::Manager;
use aoe::ConfigCommand;
use proptest::prelude::*;
use raid::Level;
use std::time::Duration;

const DRIVES: usize = 7;

#[derive(Clone, Debug)]
enum Change {
    Make {
        lun: u8,
        level: Level,
        drives: Vec<usize>,
        clean: bool,
    },
    Grow {
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
    Error(ElementId),
    /// By command.
    Fail(ElementId),
    Unfail(ElementId),
    Replace(ElementId, usize),
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

fn lun() -> impl Strategy<Value = u8> + Clone {
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
    let raid = (lun(), level, drives, 1_usize..=2, any::<bool>()).prop_map(
        |(lun, level, mut drives, half, clean)| {
            drives.truncate(match level {
                Level::Jbod => 1,
                Level::Raid5 => 3,
                Level::Raid6 => 4,
                _ => half * 2,
            });
            (lun, level, drives, clean)
        },
    );
    prop_oneof![
        4 => raid.clone().prop_map(|(lun, level, drives, clean)| {
            Change::Make { lun, level, drives, clean }
        }),
        4 => raid.prop_map(|(lun, level, drives, clean)| {
            Change::Grow { lun, level, drives, clean }
        }),
        4 => lun().prop_map(Change::Online),
        2 => lun().prop_map(Change::Offline),
        1 => lun().prop_map(Change::Remove),
        2 => (lun(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(lun, string)| Change::Config(lun, string)),
        1 => (1_u32..3).prop_map(Change::Shelf),
        2 => element().prop_map(Change::Error),
        2 => element().prop_map(Change::Fail),
        2 => element().prop_map(Change::Unfail),
        3 => (element(), 0..DRIVES).prop_map(|(id, drive)| Change::Replace(id, drive)),
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

fn element() -> impl Strategy<Value = ElementId> {
    let part = prop_oneof![3 => Just(0), 2 => Just(1), 1 => Just(2)];
    (lun(), part, 0_u8..4).prop_map(|(lun, part, member)| ElementId {
        lun: number(lun),
        part,
        member,
    })
}

/// Whether a drive carries a RAID of a LUN whose first RAID is away. Who writes over that has erased it, also
/// when the power goes.
fn is_lone_part(world: &World, manager: &Manager, drive: usize) -> bool {
    let slot = world.slot(drive);
    let drives = manager.drives();
    let role = drives.iter().find(|status| status.slot == slot);
    role.is_some_and(
        |status| matches!(&status.role, DriveRole::Foreign(what) if what.starts_with("raid ")),
    )
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
        Change::Grow {
            lun,
            level,
            drives,
            clean,
        } => manager.grow(&MakeRequest {
            clean: *clean,
            ..world.request(*lun, *level, drives)
        }),
        Change::Online(lun) => manager.online(number(*lun)),
        Change::Offline(lun) => manager.offline(number(*lun)),
        Change::Remove(lun) => manager.remove(number(*lun), true),
        Change::Shelf(shelf) => manager.set_shelf(*shelf),
        Change::Fail(id) => manager.fail(*id),
        Change::Unfail(id) => manager.unfail(*id),
        Change::Replace(id, drive) => {
            let force = !is_lone_part(world, manager, *drive);
            manager.replace(*id, world.slot(*drive), force)
        }
        Change::Reached(lun, chunks) => {
            let view = world.view(*lun);
            for (part, view) in (0..).zip(view.iter().flat_map(|view| &view.parts)) {
                if let Some(sync) = &view.sync {
                    manager.sync_reached(number(*lun), part, sync.pass, chunks * 128);
                }
            }
            Ok(())
        }
        Change::Finished(lun) => {
            world.finish_pass(manager, *lun);
            Ok(())
        }
        Change::AddSpare(drive, lun) => {
            let force = !is_lone_part(world, manager, *drive);
            manager.add_spare(world.slot(*drive), lun.map(number), force)
        }
        Change::RemoveSpare(drive) => manager.remove_spare(world.slot(*drive), false),
        Change::Tick => {
            manager.tick(Duration::from_secs(600));
            Ok(())
        }
        Change::Error(id) => report_error(manager, *id),
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

/// The data path met an error of a member.
fn report_error(manager: &mut Manager, id: ElementId) -> Result<(), AdminError> {
    let luns = manager.luns();
    let mut elements = luns
        .iter()
        .flat_map(|lun| &lun.parts)
        .flat_map(|part| &part.elements);
    let element = elements.find(|element| element.id == id);
    let drive = element.and_then(|element| element.drive);
    let drive = drive.unwrap_or(DriveSlot(0));
    manager
        .member_failed(id.lun, id.part, id.member, drive, "Input/output error")
        .map(|_| ())
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
