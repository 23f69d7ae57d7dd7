//! The world as the administration reaches into it.

use super::world::{SHELF, World};
use aoe::Shelf;
use raid::bad_blocks::BadRange;
use raid::regions::RegionSet;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::manager::{Drive, Manager, Parts, ShelfStore};
use shelf::observe::Observe;
use shelf::patience::DriveHealth;
use shelf::plane::{
    CounterGroup, DataPlane, Detached, DriveError, Impostor, LunView, MetadataDrive, RateLimit,
    RunningPass,
};
use shelf::target::MendTicket;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// A world that several hold.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world. Not to be held while the administration is called.
    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the administration on what is on the drives.
    pub(super) fn start_manager(&self) -> Manager {
        let drives = self.lock().drives.len();
        let drive = |slot: u16| Drive {
            slot: DriveSlot(slot),
            path: format!("drive{slot}"),
            model: "memory".to_owned(),
            note: None,
            drive: Ok(Box::new(MemoryDrive {
                world: self.clone(),
                drive: usize::from(slot),
            })),
            foreign: None,
        };
        let (mut now, mut uuids) = (1_700_000_000, 0);
        Manager::start(Parts {
            shelf: Some(Shelf(SHELF)),
            drives: (0..).map(drive).take(drives).collect(),
            ports: Vec::new(),
            plane: Box::new(MemoryPlane(self.clone())),
            store: Box::new(NoStore),
            now_unix_seconds: Box::new(move || {
                now += 1;
                now
            }),
            new_uuid: Box::new(move || {
                uuids += 1;
                Uuid::from_u64_pair(uuids, 1)
            }),
        })
    }
}

struct MemoryDrive {
    world: Shared,
    drive: usize,
}

fn error(operation: &'static str, sector: u64, bytes: usize) -> DriveError {
    DriveError::new(operation, sector, bytes, "Input/output error")
}

impl MetadataDrive for MemoryDrive {
    fn size_sectors(&self) -> u64 {
        self.world.lock().drives[self.drive].sectors
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError> {
        let world = self.world.lock();
        if world.drives[self.drive].read(sector, buffer) {
            Ok(())
        } else {
            Err(error("read", sector, buffer.len()))
        }
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError> {
        let disk = &mut self.world.lock().drives[self.drive];
        if disk.is_broken {
            return Err(error("write", sector, data.len()));
        }
        disk.write(sector, data);
        Ok(())
    }
}

struct MemoryPlane(Shared);

impl MemoryPlane {
    /// Goes on until a change has settled. No drive hangs here, so that it must.
    fn settle(world: &mut World, lun: LunNumber) -> Detached {
        let of = |world: &World| {
            let found = world.settled.iter().find(|(settled, _)| *settled == lun);
            found.map(|(_, detached)| *detached)
        };
        world.carry_out();
        world.run_until(|world| of(world).is_some());
        of(world).expect("a change of a view settles")
    }
}

impl Observe for MemoryPlane {}

impl DataPlane for MemoryPlane {
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        let world = &mut *self.0.lock();
        world.settled.clear();
        world.note_view(&view);
        let lun = view.lun;
        world.target.attach(view, &mut world.actions);
        Self::settle(world, lun);
        Ok(())
    }

    fn detach(&mut self, lun: LunNumber) -> Result<Detached, String> {
        let world = &mut *self.0.lock();
        world.settled.clear();
        world.target.detach(lun, &mut world.actions);
        Ok(Self::settle(world, lun))
    }

    fn regions_ready(
        &mut self,
        lun: LunNumber,
        part: u8,
        regions: Range<u32>,
        ready: bool,
    ) -> Result<(), String> {
        let world = &mut *self.0.lock();
        let actions = &mut world.actions;
        world
            .target
            .regions_ready(lun, part, regions, ready, actions);
        world.carry_out();
        Ok(())
    }

    fn take_idle_regions(
        &mut self,
        lun: LunNumber,
        part: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        let target = &mut self.0.lock().target;
        Ok(target.take_idle_regions(lun, part, &candidates))
    }

    fn set_bad_blocks(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) -> Result<(), String> {
        self.0.lock().target.set_bad_sectors(drive, ranges);
        Ok(())
    }

    fn bad_sectors_settled(&mut self, ticket: MendTicket, ok: bool) -> Result<(), String> {
        let world = &mut *self.0.lock();
        let actions = &mut world.actions;
        world.target.bad_sectors_settled(ticket, ok, actions);
        world.carry_out();
        Ok(())
    }

    fn set_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }

    fn drive_health(&self, _: DriveSlot) -> Result<DriveHealth, String> {
        Ok(DriveHealth::default())
    }

    fn advertise(&mut self, lun: LunNumber) {
        // Once it is known here, too, what has changed.
        self.0.lock().advertise.push(lun);
    }

    fn probe(&mut self, shelf: Shelf, luns: &[LunNumber]) {
        let world = &mut *self.0.lock();
        for lun in luns {
            world.target.probe(shelf, *lun, &mut world.actions);
        }
        world.carry_out();
    }

    fn find_impostors(&mut self, _: Shelf, _: &[LunNumber]) -> Vec<Impostor> {
        Vec::new()
    }

    fn counters(&self) -> Vec<CounterGroup> {
        Vec::new()
    }

    fn passes(&self) -> Vec<RunningPass> {
        Vec::new()
    }
}

/// No number changes, and no LUN is removed.
struct NoStore;

impl ShelfStore for NoStore {
    fn save_shelf(&mut self, _: Shelf) -> Result<(), String> {
        Err("the shelf keeps its number".to_owned())
    }

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        Ok(Vec::new())
    }

    fn add_removed_set(&mut self, _: Uuid) -> Result<(), String> {
        Err("no LUN is removed".to_owned())
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        Ok(RateLimit::NONE)
    }

    fn save_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }
}
