//! What a member missed: members leave, miss writes and come back, and nobody is ever read that does not
//! hold every write, region by region.

use super::memory::TEARS;
use super::memory::Tear;
use super::world::{MIB, World, number};
use crate::admin::{Admin, DriveSlot, ElementId};
use crate::manager::Manager;
use crate::plane::{LunView, SyncKind};
use proptest::prelude::*;
use raid::Level;
use raid::regions::{RegionIndex, RegionSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Change {
    Write(u32),
    Sweep,
    Fail(u8),
    Unfail(u8),
    /// It does not answer, and does soon.
    Hang(u8),
    /// So many seconds.
    Wait(u64),
    Replace(u8, usize),
    /// In 1/16 of the LUN.
    Reached(u64),
    Ended,
    Offline,
    Online,
    Restart,
    /// The drive at index 1 is pulled or put back while the shelf is off.
    Toggle,
}

/// How often each region was written, and how much of that each drive holds.
struct Content {
    newest: Vec<u32>,
    drives: Vec<Vec<u32>>,
}

impl Content {
    fn write(&mut self, view: &LunView, region: RegionIndex) {
        let index = region.0 as usize;
        self.newest[index] += 1;
        let part = &view.parts[0];
        for member in part.members.iter().chain(&part.twins).flatten() {
            self.drives[usize::from(member.drive.0)][index] = self.newest[index];
        }
    }

    /// A pass has been over everything before a sector.
    fn passed(&mut self, view: &LunView, lba: u64) {
        let part = &view.parts[0];
        let (Some(sync), Some(map)) = (&part.sync, part.regions.as_ref().map(|r| r.map)) else {
            return;
        };
        let concerned = |region: RegionIndex| {
            let end = map.end_lba(region);
            end > sync.start_lba
                && end <= lba
                && sync.regions.as_ref().is_none_or(|set| set.contains(region))
        };
        for region in (0..map.regions())
            .map(RegionIndex)
            .filter(|r| concerned(*r))
        {
            for member in part.members.iter().chain(&part.twins).flatten() {
                let index = region.0 as usize;
                self.drives[usize::from(member.drive.0)][index] = self.newest[index];
            }
        }
    }

    fn check(&self, view: Option<Arc<LunView>>) {
        let Some(view) = view else { return };
        for member in view.parts[0].members.iter().flatten().filter(|m| m.in_sync) {
            let held = &self.drives[usize::from(member.drive.0)];
            assert_eq!(held, &self.newest, "drive {} is read", member.drive);
        }
    }
}

fn element(member: u8) -> ElementId {
    ElementId {
        lun: number(0),
        part: 0,
        member,
    }
}

struct Life {
    world: World,
    manager: Manager,
    content: Content,
    uptime: u64,
}

impl Life {
    fn new(level: Level, members: usize) -> Self {
        let world = World::new(&vec![2 * MIB; members + 1]);
        let mut manager = world.start();
        world.make(&mut manager, 0, level, &(0..members).collect::<Vec<_>>());
        manager.online(number(0)).unwrap();
        let view = world.view(0).unwrap();
        let regions = view.parts[0].regions.as_ref().unwrap().map.regions() as usize;
        Self {
            content: Content {
                newest: vec![0; regions],
                drives: vec![vec![0; regions]; members + 1],
            },
            world,
            manager,
            uptime: 0,
        }
    }

    fn restart(&mut self) {
        self.world = self.world.fork();
        // Content is kept by slot.
        self.world.turn = 0;
        self.uptime = 0;
        self.manager = self.world.start();
    }

    /// An initiator writes to a region, if its bit can be made durable.
    fn write(&mut self, region: u32) {
        let world = &self.world;
        let region = RegionIndex(region % u32::try_from(self.content.newest.len()).unwrap());
        self.manager.want_regions(number(0), 0, &[region.group()]);
        let ready = |world: &World| {
            let log = world.log.lock().unwrap();
            log.ready
                .get(&(number(0), 0))
                .is_some_and(|ready| ready.contains(region))
        };
        if let Some(view) = world.view(0).filter(|_| ready(world)) {
            self.content.write(&view, region);
        }
    }

    fn apply(&mut self, change: &Change) {
        let (manager, world) = (&mut self.manager, &self.world);
        let view = world.view(0);
        match change {
            Change::Write(region) => self.write(*region),
            Change::Sweep => {
                world.log.lock().unwrap().busy_regions = Some(RegionSet::empty(
                    u32::try_from(self.content.newest.len()).unwrap(),
                ));
                for _ in 0..4 {
                    self.uptime += 31;
                    manager.tick(Duration::from_secs(self.uptime));
                }
            }
            Change::Fail(member) => drop(manager.fail(element(*member))),
            Change::Hang(member) => {
                let drive = view.and_then(|view| {
                    let member = view.parts[0].members.get(usize::from(*member))?;
                    member.map(|member| member.drive)
                });
                if let Some(drive) = drive {
                    drop(manager.member_hangs(number(0), 0, *member, drive, "not answered"));
                }
            }
            Change::Wait(seconds) => {
                self.uptime += seconds;
                manager.tick(Duration::from_secs(self.uptime));
            }
            Change::Unfail(member) => drop(manager.unfail(element(*member))),
            Change::Replace(member, drive) => {
                let slot = DriveSlot(u16::try_from(*drive % world.images.len()).unwrap());
                drop(manager.replace(element(*member), slot, true));
            }
            Change::Reached(place) => {
                let Some(view) = view else { return };
                let Some(sync) = view.parts[0].sync.as_ref() else {
                    return;
                };
                let lba = (view.capacity_sectors / 16 * place).max(sync.start_lba);
                self.content.passed(&view, lba);
                manager.sync_reached(number(0), 0, sync.pass, lba);
            }
            Change::Ended => {
                let Some(view) = view else { return };
                let sync = view.parts[0].sync.as_ref();
                if sync.is_some_and(|sync| sync.kind == SyncKind::Resync) {
                    self.content.passed(&view, u64::MAX);
                    world.finish_pass(manager, 0);
                }
            }
            Change::Offline => drop(manager.offline(number(0))),
            Change::Online => drop(manager.online(number(0))),
            Change::Restart => {
                manager.shutdown();
                self.restart();
            }
            Change::Toggle => {
                // Who is alone left with old data cannot know it.
                let members = || view.iter().flat_map(|view| &view.parts[0].members);
                let is_well = members().all(|member| member.is_some_and(|member| member.in_sync));
                if world.image(1).is_present && (view.is_none() || !is_well) {
                    return;
                }
                manager.shutdown();
                let mut image = world.image(1);
                image.is_present = !image.is_present;
                image.was_away = true;
                drop(image);
                self.restart();
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => any::<u32>().prop_map(Change::Write),
        2 => Just(Change::Sweep),
        3 => (0_u8..4).prop_map(Change::Fail),
        4 => (0_u8..4).prop_map(Change::Unfail),
        3 => (0_u8..4).prop_map(Change::Hang),
        3 => (1_u64..2000).prop_map(Change::Wait),
        2 => (0_u8..4, 0_usize..5).prop_map(|(member, drive)| Change::Replace(member, drive)),
        2 => (0_u64..16).prop_map(Change::Reached),
        4 => Just(Change::Ended),
        1 => Just(Change::Offline),
        2 => Just(Change::Online),
        1 => Just(Change::Restart),
        1 => Just(Change::Toggle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whoever_is_read_holds_every_write(
        shape in 0_usize..4,
        steps in prop::collection::vec(
            (change(), prop::option::weighted(
                0.15, (0_u64..12, prop::sample::select(TEARS.to_vec())))),
            1..40),
    ) {
        let shapes = [(Level::Raid1, 2), (Level::Raid10, 4), (Level::Raid5, 3), (Level::Raid6, 4)];
        let (level, members) = shapes[shape];
        let mut life = Life::new(level, members);
        for (change, cut) in steps {
            if let Some((writes, tear)) = cut {
                let tear: Tear = tear;
                life.world.cut_power_after(writes, tear);
            }
            life.apply(&change);
            if cut.is_some() {
                life.restart();
            }
            life.content.check(life.world.view(0));
        }
    }
}
