//! Drives in memory whose power can be cut at any write, a data path that checks what it is handed,
//! and a shelf on top.

use crate::admin::{
    Admin, DriveRole, DriveSlot, ElementId, ElementState, LunNumber, MakeRequest, MemberChoice,
};
use crate::manager::{Drive, Manager, NoDrive, Parts, ShelfStore};
use crate::plane::{DataPlane, DriveError, LunView, MetadataDrive};
use aoe::Shelf;
use raid::Level;
use raid::md::{Resync, Role, Superblock};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// What of a write is on the drive when power is cut in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tear {
    Nothing,
    FirstSector,
    Everything,
}

pub(super) const TEARS: [Tear; 3] = [Tear::Nothing, Tear::FirstSector, Tear::Everything];

/// The power supply of everything durable.
#[derive(Debug, Default)]
pub(super) struct Power {
    /// Writes until the cut; `None` for never.
    cut_after: Option<(u64, Tear)>,
    is_off: bool,
    pub(super) writes: u64,
}

impl Power {
    /// Accounts for a write. Gives what of it is done, and whether it succeeds.
    fn write(&mut self) -> (Tear, bool) {
        if self.is_off {
            return (Tear::Nothing, false);
        }
        self.writes += 1;
        match &mut self.cut_after {
            Some((0, tear)) => {
                self.is_off = true;
                (*tear, false)
            }
            Some((left, _)) => {
                *left -= 1;
                (Tear::Everything, true)
            }
            None => (Tear::Everything, true),
        }
    }
}

/// The contents of a drive, sparse.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) sectors: u64,
    pub(super) written: BTreeMap<u64, Vec<u8>>,
    pub(super) foreign: Option<String>,
    pub(super) is_present: bool,
    pub(super) fails_writes: bool,
    pub(super) fails_reads: bool,
}

impl Image {
    fn read(&self, sector: u64, buffer: &mut [u8]) {
        for (at, bytes) in (sector..).zip(buffer.chunks_exact_mut(512)) {
            match self.written.get(&at) {
                Some(written) => bytes.copy_from_slice(written),
                None => bytes.fill(0),
            }
        }
    }

    fn write(&mut self, sector: u64, data: &[u8]) {
        for (at, bytes) in (sector..).zip(data.chunks_exact(512)) {
            assert!(at < self.sectors, "write beyond the end");
            self.written.insert(at, bytes.to_vec());
        }
    }

    pub(super) fn superblock(&self) -> Option<Superblock> {
        let mut block = [0; 4096];
        self.read(8, &mut block);
        Superblock::decode(&block).ok()
    }
}

type Images = Vec<Arc<Mutex<Image>>>;

struct MemoryDrive {
    image: Arc<Mutex<Image>>,
    power: Arc<Mutex<Power>>,
    sectors: u64,
}

impl MetadataDrive for MemoryDrive {
    fn size_sectors(&self) -> u64 {
        self.sectors
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError> {
        let image = self.image.lock().unwrap();
        if image.fails_reads || self.power.lock().unwrap().is_off {
            return Err(error("read", sector, buffer.len()));
        }
        image.read(sector, buffer);
        Ok(())
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError> {
        let mut image = self.image.lock().unwrap();
        if image.fails_writes {
            return Err(error("write", sector, data.len()));
        }
        let (done, succeeds) = self.power.lock().unwrap().write();
        match done {
            Tear::Nothing => {}
            Tear::FirstSector => image.write(sector, &data[..512]),
            Tear::Everything => image.write(sector, data),
        }
        if succeeds {
            Ok(())
        } else {
            Err(error("write", sector, data.len()))
        }
    }
}

fn error(operation: &'static str, sector: u64, bytes: usize) -> DriveError {
    let reason = "Input/output error (os error 5)".to_owned();
    DriveError {
        operation,
        sector,
        sectors: bytes as u64 / 512,
        reason,
    }
}

/// What the data path was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Attach(LunNumber),
    Detach(LunNumber),
    Advertise(LunNumber),
}

#[derive(Default)]
pub(super) struct PlaneLog {
    pub(super) told: Vec<Told>,
    pub(super) views: BTreeMap<LunNumber, Arc<LunView>>,
    pub(super) refuses: bool,
}

struct CheckingPlane {
    images: BTreeMap<DriveSlot, Arc<Mutex<Image>>>,
    power: Arc<Mutex<Power>>,
    log: Arc<Mutex<PlaneLog>>,
}

impl CheckingPlane {
    /// What must be durable before a redundant LUN takes writes: the dirty mark, and the roles.
    fn check(&self, view: &LunView) {
        let part = &view.parts[0];
        if !part.geometry.level().is_redundant() || self.power.lock().unwrap().is_off {
            return;
        }
        let present = part.members.iter().flatten();
        for member in present {
            let image = self.images[&member.drive].lock().unwrap();
            let superblock = image.superblock().expect("a member has a superblock");
            assert_ne!(
                superblock.resync(),
                Resync::Clean,
                "dirty before it is served"
            );
            for (element, other) in (0..).zip(&part.members) {
                let role = part.geometry.md_role(element);
                let is_active = superblock.role(u32::from(role)) == Role::Active(role);
                assert_eq!(is_active, other.is_some(), "roles as in the view");
            }
        }
    }
}

impl DataPlane for CheckingPlane {
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        self.check(&view);
        let mut log = self.log.lock().unwrap();
        if log.refuses {
            return Err("the workers hang".to_owned());
        }
        log.told.push(Told::Attach(view.lun));
        log.views.insert(view.lun, view);
        Ok(())
    }

    fn detach(&mut self, lun: LunNumber) -> Result<(), String> {
        let mut log = self.log.lock().unwrap();
        if log.refuses {
            return Err("the workers hang".to_owned());
        }
        log.told.push(Told::Detach(lun));
        log.views
            .remove(&lun)
            .map(|_| ())
            .ok_or_else(|| "not attached".to_owned())
    }

    fn advertise(&mut self, lun: LunNumber) {
        let mut log = self.log.lock().unwrap();
        assert!(
            log.views.contains_key(&lun),
            "only what is served is advertised"
        );
        log.told.push(Told::Advertise(lun));
    }
}

struct MemoryStore {
    shelf: Arc<Mutex<Option<Shelf>>>,
    power: Arc<Mutex<Power>>,
}

impl ShelfStore for MemoryStore {
    fn save_shelf(&mut self, shelf: Shelf) -> Result<(), String> {
        let (done, succeeds) = self.power.lock().unwrap().write();
        if done == Tear::Everything {
            *self.shelf.lock().unwrap() = Some(shelf);
        }
        if succeeds {
            Ok(())
        } else {
            Err("no power".to_owned())
        }
    }
}

/// What is durable in a shelf, and how it is wired.
pub(super) struct World {
    pub(super) images: Images,
    pub(super) shelf: Arc<Mutex<Option<Shelf>>>,
    pub(super) power: Arc<Mutex<Power>>,
    pub(super) log: Arc<Mutex<PlaneLog>>,
    /// How far drives are turned round the slots.
    pub(super) turn: usize,
    uuids: Arc<AtomicU64>,
}

/// What an administrator sees, with drives named by what they are and not by where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) shelf: Option<Shelf>,
    pub(super) luns: Vec<SeenLun>,
    pub(super) drives: BTreeMap<String, DriveRole>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SeenLun {
    pub(super) lun: u8,
    pub(super) online: bool,
    pub(super) serial: String,
    pub(super) config_string: Vec<u8>,
    pub(super) elements: Vec<(ElementId, ElementState, Option<String>)>,
}

pub(super) const MIB: u64 = 2048;

impl World {
    /// Shelf 1 with drives of these sizes, empty.
    pub(super) fn new(sizes_sectors: &[u64]) -> Self {
        let image = |&sectors: &u64| {
            Arc::new(Mutex::new(Image {
                sectors,
                written: BTreeMap::new(),
                foreign: None,
                is_present: true,
                fails_writes: false,
                fails_reads: false,
            }))
        };
        Self {
            images: sizes_sectors.iter().map(image).collect(),
            shelf: Arc::new(Mutex::new(Some(Shelf(1)))),
            power: Arc::default(),
            log: Arc::default(),
            turn: 0,
            uuids: Arc::new(AtomicU64::new(1)),
        }
    }

    /// The same again, to be changed apart; with power, and the drives in other slots.
    pub(super) fn fork(&self) -> Self {
        let image = |image: &Arc<Mutex<Image>>| Arc::new(Mutex::new(image.lock().unwrap().clone()));
        Self {
            images: self.images.iter().map(image).collect(),
            shelf: Arc::new(Mutex::new(*self.shelf.lock().unwrap())),
            power: Arc::default(),
            log: Arc::default(),
            turn: self.turn + 1,
            uuids: Arc::clone(&self.uuids),
        }
    }

    pub(super) fn image(&self, index: usize) -> std::sync::MutexGuard<'_, Image> {
        self.images[index].lock().unwrap()
    }

    pub(super) fn view(&self, lun: u8) -> Option<Arc<LunView>> {
        self.log.lock().unwrap().views.get(&number(lun)).cloned()
    }

    pub(super) fn cut_power_after(&self, writes: u64, tear: Tear) {
        self.power.lock().unwrap().cut_after = Some((writes, tear));
    }

    /// Slot in which a drive is.
    pub(super) fn slot(&self, index: usize) -> DriveSlot {
        DriveSlot(u16::try_from((index + self.turn) % self.images.len()).unwrap())
    }

    /// Starts a shelf on what is durable.
    pub(super) fn start(&self) -> Manager {
        *self.log.lock().unwrap() = PlaneLog::default();
        let drive = |(index, image): (usize, &Arc<Mutex<Image>>)| {
            let content = image.lock().unwrap();
            let is_md = content.superblock().is_some();
            let md = is_md.then(|| "a linux_raid_member signature".to_owned());
            let device = MemoryDrive {
                image: Arc::clone(image),
                power: Arc::clone(&self.power),
                sectors: content.sectors,
            };
            Drive {
                slot: self.slot(index),
                path: format!("drive{index}"),
                model: "ram".to_owned(),
                note: None,
                drive: if content.is_present {
                    Ok(Box::new(device))
                } else {
                    Err(NoDrive::Missing)
                },
                foreign: md.or_else(|| content.foreign.clone()),
            }
        };
        let by_slot = |(index, image)| (self.slot(index), Arc::clone(image));
        let uuids = Arc::clone(&self.uuids);
        let mut now = 1_700_000_000;
        Manager::start(Parts {
            shelf: *self.shelf.lock().unwrap(),
            drives: self.images.iter().enumerate().map(drive).collect(),
            ports: Vec::new(),
            plane: Box::new(CheckingPlane {
                images: self.images.iter().enumerate().map(by_slot).collect(),
                power: Arc::clone(&self.power),
                log: Arc::clone(&self.log),
            }),
            store: Box::new(MemoryStore {
                shelf: Arc::clone(&self.shelf),
                power: Arc::clone(&self.power),
            }),
            now_unix_seconds: Box::new(move || {
                now += 1;
                now
            }),
            new_uuid: Box::new(move || {
                Uuid::from_u128(u128::from(uuids.fetch_add(1, Ordering::Relaxed)) << 96)
            }),
        })
    }

    pub(super) fn request(&self, lun: u8, level: Level, drives: &[usize]) -> MakeRequest {
        let members = drives
            .iter()
            .map(|&index| MemberChoice::Drive(self.slot(index)));
        MakeRequest {
            lun: number(lun),
            level,
            members: members.collect(),
            force: false,
            clean: true,
        }
    }

    pub(super) fn make(&self, manager: &mut Manager, lun: u8, level: Level, drives: &[usize]) {
        manager.make(&self.request(lun, level, drives)).unwrap();
    }
}

pub(super) fn number(lun: u8) -> LunNumber {
    LunNumber::new(lun).unwrap()
}

/// What an administrator sees now.
pub(super) fn seen(manager: &Manager) -> Seen {
    let drives = manager.drives();
    let path = |slot: DriveSlot| {
        drives
            .iter()
            .find(|drive| drive.slot == slot)
            .map(|drive| drive.path.clone())
    };
    let lun = |lun: &crate::admin::LunStatus| SeenLun {
        lun: lun.lun.get(),
        online: lun.online,
        serial: lun.serial.clone(),
        config_string: lun.config_string.clone(),
        elements: lun.parts[0]
            .elements
            .iter()
            .map(|element| (element.id, element.state, element.drive.and_then(path)))
            .collect(),
    };
    Seen {
        shelf: manager.shelf(),
        luns: manager.luns().iter().map(lun).collect(),
        drives: drives
            .iter()
            .map(|drive| (drive.path.clone(), drive.role.clone()))
            .collect(),
    }
}
