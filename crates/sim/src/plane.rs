//! The world as the administration reaches into it: drives for metadata, the worker, the state directory.

use crate::content::SECTOR;
use crate::disk::SimDisk;
use crate::switch::Micros;
use crate::world::World;
use aoe::Shelf;
use raid::bad_blocks::BadRange;
use raid::layout::SUPERBLOCK_SECTOR;
use raid::md::Superblock;
use raid::regions::RegionSet;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::manager::{Drive, Manager, NoDrive, Parts, ShelfStore};
use shelf::observe::Observe;
use shelf::patience::DriveHealth;
use shelf::plane::{
    CounterGroup, DataPlane, Detached, DriveError, Impostor, LunView, MetadataDrive, RateLimit,
    RunningPass, Unit,
};
use shelf::shard::spread_sectors;
use shelf::target::MendTicket;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// How long the administration waits for the worker, as in the daemon.
const SETTLE_LIMIT: Micros = 60_000_000;
/// How long the administration waits for a disk, as in the daemon.
const METADATA_LIMIT: Micros = 10_000_000;

/// A world that several hold.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// Shares a world.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world. Not to be held while the administration is called.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot and what is in it.
    pub(crate) fn drive(&self, slot: u16, disk: Option<usize>) -> Drive {
        Drive {
            slot: DriveSlot(slot),
            path: disk.map_or_else(String::new, |disk| format!("disk{disk}")),
            model: "sim".to_owned(),
            note: None,
            drive: match disk {
                Some(disk) => Ok(Box::new(SimDrive {
                    world: self.clone(),
                    disk,
                })),
                None => Err(NoDrive::Missing),
            },
            foreign: None,
        }
    }

    /// Starts the administration on what is on the disks.
    #[must_use]
    pub fn start_manager(&self) -> Manager {
        let (slots, uuid_seed) = {
            let mut world = self.lock();
            (world.slots.clone(), world.random.next())
        };
        let clock = self.clone();
        let mut uuids = crate::random::Random::new(uuid_seed);
        Manager::start(Parts {
            shelf: Some(aoe::Shelf(1)),
            drives: (0..)
                .zip(slots)
                .map(|(slot, disk)| self.drive(slot, disk))
                .collect(),
            ports: Vec::new(),
            plane: Box::new(SimPlane(self.clone())),
            store: Box::new(SimStore(self.clone())),
            now_unix_seconds: Box::new(move || 1_700_000_000 + clock.lock().now() / 1_000_000),
            new_uuid: Box::new(move || Uuid::from_u64_pair(uuids.next(), uuids.next())),
        })
    }
}

/// A disk as the administration uses it.
struct SimDrive {
    world: Shared,
    disk: usize,
}

fn error(operation: &'static str, sector: u64, bytes: usize) -> DriveError {
    DriveError::new(operation, sector, bytes, "Input/output error")
}

fn silent(operation: &'static str, sector: u64, bytes: usize) -> DriveError {
    DriveError {
        reason: "it did not answer within 10 s".to_owned(),
        is_silent: true,
        ..error(operation, sector, bytes)
    }
}

impl MetadataDrive for SimDrive {
    fn size_sectors(&self) -> u64 {
        self.world.lock().disks[self.disk].sectors()
    }

    fn unit(&self) -> Unit {
        self.world.lock().disks[self.disk].unit()
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError> {
        let mut world = self.world.lock();
        let disk = self.disk;
        world.expect_whole(disk, sector, (buffer.len() / SECTOR) as u64);
        let answers = |world: &World| !world.owed.contains_key(&disk) && !world.is_hanging(disk);
        if world.owed.contains_key(&disk) || !world.run_until(METADATA_LIMIT, answers) {
            return Err(silent("read", sector, buffer.len()));
        }
        if world.has_power && world.disks[self.disk].read(sector, buffer) {
            Ok(())
        } else {
            Err(error("read", sector, buffer.len()))
        }
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError> {
        let mut world = self.world.lock();
        let world = &mut *world;
        world.expect_whole(self.disk, sector, (data.len() / SECTOR) as u64);
        if world.has_power {
            let disk = self.disk;
            if world.owed.contains_key(&disk) {
                return Err(silent("write", sector, data.len()));
            }
            let id = world.next_id();
            world.note(|| format!("metadata {id} disk {disk} sector {sector}"));
            let flight = world.new_flight(disk, true);
            world.disks[disk].begin_write(id, sector, data.to_vec(), false);
            world.start(id, flight);
            world.run_until(METADATA_LIMIT, |world| {
                world.metadata_done.is_some_and(|(done, _)| done == id)
            });
            if world.has_power && world.in_flight.contains_key(&id) {
                world.note(|| format!("metadata {id} is not waited for"));
                world.owed.insert(disk, id);
                return Err(silent("write", sector, data.len()));
            }
            if world.has_power && world.metadata_done == Some((id, true)) {
                return Ok(());
            }
        }
        Err(error("write", sector, data.len()))
    }
}

/// The workers.
struct SimPlane(Shared);

impl SimPlane {
    fn settle(world: &mut World, lun: LunNumber) -> Result<Detached, String> {
        world.run_until(SETTLE_LIMIT, |world| {
            world.settled_count(lun) == world.crew.all().count()
        });
        if world.settled_count(lun) < world.crew.all().count() {
            return Err(format!("a drive of LUN {lun} does not answer"));
        }
        let mut all = Detached::default();
        for (_, own) in world.settled.iter().filter(|(settled, _)| *settled == lun) {
            all.mirrors_differ |= own.mirrors_differ;
            all.is_log_pending |= own.is_log_pending;
        }
        Ok(all)
    }
}

impl Observe for SimPlane {}

impl DataPlane for SimPlane {
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        let mut world = self.0.lock();
        let world = &mut *world;
        world.note(|| format!("attach {:?}", view.parts));
        world.check_view(&view);
        world.settled.clear();
        if world.target.is_none() {
            return Err("a worker has ended".to_owned());
        }
        let lun = view.lun;
        world
            .spread_sectors
            .insert(lun.get(), spread_sectors(&view));
        world.change_view(Arc::clone(&view));
        world.for_each_worker(|target, actions| target.attach(Arc::clone(&view), actions));
        Self::settle(world, lun)?;
        world.redundancy_settled();
        Ok(())
    }

    fn detach(&mut self, lun: LunNumber) -> Result<Detached, String> {
        let mut world = self.0.lock();
        let world = &mut *world;
        world.note(|| format!("detach {lun}"));
        world.settled.clear();
        if world.target.is_none() {
            return Err("a worker has ended".to_owned());
        }
        world.is_detaching = true;
        world.for_each_worker(|target, actions| target.detach(lun, actions));
        let detached = Self::settle(world, lun)?;
        world.spread_sectors.remove(&lun.get());
        Ok(detached)
    }

    fn advertise(&mut self, _lun: LunNumber) {}

    fn probe(&mut self, _: Shelf, _: &[LunNumber]) {}

    fn find_impostors(&mut self, _: Shelf, _: &[LunNumber]) -> Vec<Impostor> {
        Vec::new()
    }

    fn regions_ready(
        &mut self,
        lun: LunNumber,
        part: u8,
        regions: Range<u32>,
        ready: bool,
    ) -> Result<(), String> {
        let mut world = self.0.lock();
        let world = &mut *world;
        world.note(|| format!("regions {regions:?} ready: {ready}"));
        if world.target.is_none() {
            return Err("a worker has ended".to_owned());
        }
        world.for_each_worker(|target, actions| {
            target.regions_ready(lun, part, regions.clone(), ready, actions);
        });
        Ok(())
    }

    fn take_idle_regions(
        &mut self,
        lun: LunNumber,
        part: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        let mut world = self.0.lock();
        if world.target.is_none() {
            return Err("a worker has ended".to_owned());
        }
        let mut idle = (*candidates).clone();
        world.tell_workers(|target| {
            idle.retain_all(&target.take_idle_regions(lun, part, &candidates));
        });
        Ok(idle)
    }

    fn set_bad_blocks(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) -> Result<(), String> {
        let world = &mut *self.0.lock();
        let disk = world.slots.get(usize::from(drive.0)).copied().flatten();
        if let Some(disk) = disk {
            world.disks[disk].note_bad(Arc::clone(&ranges));
        }
        world.tell_workers(|target| target.set_bad_sectors(drive, Arc::clone(&ranges)));
        Ok(())
    }

    fn bad_sectors_settled(&mut self, ticket: MendTicket, ok: bool) -> Result<(), String> {
        let world = &mut *self.0.lock();
        if world.target.is_none() {
            return Err("a worker has ended".to_owned());
        }
        world.for_each_worker(|target, actions| target.bad_sectors_settled(ticket, ok, actions));
        Ok(())
    }

    fn set_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }

    fn drive_health(&self, drive: DriveSlot) -> Result<DriveHealth, String> {
        Ok(self.0.lock().patience.health(drive))
    }

    fn counters(&self) -> Vec<CounterGroup> {
        Vec::new()
    }

    fn passes(&self) -> Vec<RunningPass> {
        Vec::new()
    }
}

/// The shelf keeps its number.
struct SimStore(Shared);

impl ShelfStore for SimStore {
    fn save_shelf(&mut self, _shelf: aoe::Shelf) -> Result<(), String> {
        Err("the shelf of a simulation keeps its number".to_owned())
    }

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        Ok(self.0.lock().removed_sets.clone())
    }

    fn add_removed_set(&mut self, set: Uuid) -> Result<(), String> {
        self.0.lock().removed_sets.push(set);
        Ok(())
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        Ok(RateLimit::NONE)
    }

    fn save_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }
}

/// The superblock of a disk, as it is on the medium.
pub(crate) fn superblock(disk: &SimDisk) -> Option<Superblock> {
    let sectors = (raid::md::raw::BLOCK_BYTES / SECTOR) as u64;
    let block = disk.get_range(SUPERBLOCK_SECTOR, sectors);
    Superblock::decode(block.try_into().ok()?).ok()
}
