//! A shelf whose drives are in memory: what is durable of it, how it starts, and what is seen of it.

use super::memory::{
    CheckingPlane, Image, Images, MemoryDrive, MemoryStore, PlaneLog, Power, Tear,
};
use super::workers::Works;
use crate::admin::{
    AccessStatus, Admin, DriveRole, DriveSlot, ElementId, ElementState, LunNumber, MakeRequest,
    MemberChoice, ScrubStatus,
};
use crate::manager::{Drive, Manager, NoDrive, Parts};
use crate::plane::{LunView, Unit};
use crate::target::ScrubFinding;
use aoe::Shelf;
use raid::Level;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// What is durable in a shelf, and how it is wired.
pub(super) struct World {
    pub(super) images: Images,
    pub(super) shelf: Arc<Mutex<Option<Shelf>>>,
    pub(super) removed_sets: Arc<Mutex<Vec<Uuid>>>,
    pub(super) power: Arc<Mutex<Power>>,
    pub(super) log: Arc<Mutex<PlaneLog>>,
    /// The jobs on drives.
    pub(super) works: Works,
    /// How far drives are turned round the slots.
    pub(super) turn: usize,
    uuids: Arc<AtomicU64>,
    /// Days by which the clock is ahead.
    pub(super) days: Arc<AtomicU64>,
}

/// What an administrator sees, with drives named by what they are and not by where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) shelf: Option<Shelf>,
    pub(super) luns: Vec<SeenLun>,
    pub(super) drives: BTreeMap<String, DriveRole>,
    /// The LUN that each spare is for.
    pub(super) spares: BTreeMap<String, Option<LunNumber>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SeenLun {
    pub(super) lun: u8,
    pub(super) online: bool,
    pub(super) serial: String,
    pub(super) label: Option<String>,
    pub(super) config_string: Vec<u8>,
    pub(super) access: AccessStatus,
    pub(super) scrub: Option<ScrubStatus>,
    pub(super) elements: Vec<(ElementId, ElementState, Option<String>)>,
}

pub(super) const MIB: u64 = 2048;

impl World {
    /// Shelf 1 with drives of these sizes, empty.
    pub(super) fn new(sizes_sectors: &[u64]) -> Self {
        let image = |&sectors: &u64| {
            Arc::new(Mutex::new(Image {
                sectors,
                unit: Unit::SECTOR,
                written: BTreeMap::new(),
                foreign: None,
                is_present: true,
                fails_writes: false,
                fails_reads: false,
                is_silent: false,
                stamp: (Uuid::nil(), 0),
                was_away: false,
                bad: std::collections::BTreeSet::new(),
                unreadable: std::collections::BTreeSet::new(),
            }))
        };
        Self {
            images: sizes_sectors.iter().map(image).collect(),
            shelf: Arc::new(Mutex::new(Some(Shelf(1)))),
            removed_sets: Arc::default(),
            power: Arc::default(),
            log: Arc::default(),
            works: Works::default(),
            turn: 0,
            uuids: Arc::new(AtomicU64::new(1)),
            days: Arc::default(),
        }
    }

    /// The same, where some drives have sectors of 4096 bytes.
    pub(super) fn with_blocks(sizes_sectors: &[u64], drives: &[usize]) -> Self {
        let world = Self::new(sizes_sectors);
        for &drive in drives {
            world.image(drive).unit = Unit::BLOCK;
        }
        world
    }

    /// The same again, to be changed apart; with power, and the drives in other slots.
    pub(super) fn fork(&self) -> Self {
        let image = |image: &Arc<Mutex<Image>>| Arc::new(Mutex::new(image.lock().unwrap().clone()));
        Self {
            images: self.images.iter().map(image).collect(),
            shelf: Arc::new(Mutex::new(*self.shelf.lock().unwrap())),
            removed_sets: Arc::new(Mutex::new(self.removed_sets.lock().unwrap().clone())),
            power: Arc::default(),
            log: Arc::default(),
            works: Works::default(),
            turn: self.turn + 1,
            uuids: Arc::clone(&self.uuids),
            days: Arc::clone(&self.days),
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
        {
            let mut log = self.log.lock().unwrap();
            *log = PlaneLog {
                impostors: std::mem::take(&mut log.impostors),
                ..PlaneLog::default()
            };
        }
        let by_slot = |(index, image)| (self.slot(index), Arc::clone(image));
        let uuids = Arc::clone(&self.uuids);
        let days = Arc::clone(&self.days);
        let mut now = 1_700_000_000;
        Manager::start(Parts {
            shelf: *self.shelf.lock().unwrap(),
            drives: (0..self.images.len())
                .map(|index| self.drive(index))
                .collect(),
            ports: Vec::new(),
            plane: Box::new(CheckingPlane {
                images: self.images.iter().enumerate().map(by_slot).collect(),
                power: Arc::clone(&self.power),
                log: Arc::clone(&self.log),
            }),
            store: Box::new(MemoryStore {
                shelf: Arc::clone(&self.shelf),
                removed_sets: Arc::clone(&self.removed_sets),
                power: Arc::clone(&self.power),
            }),
            now_unix_seconds: Box::new(move || {
                now += 1;
                now + days.load(Ordering::Relaxed) * 86_400
            }),
            new_uuid: Box::new(move || {
                Uuid::from_u128(u128::from(uuids.fetch_add(1, Ordering::Relaxed)) << 96)
            }),
        })
    }

    /// A drive as it is found in its slot.
    pub(super) fn drive(&self, index: usize) -> Drive {
        let image = &self.images[index];
        let content = image.lock().unwrap();
        let is_md = content.superblock().is_some();
        let md = is_md.then(|| "a linux_raid_member signature".to_owned());
        let device = MemoryDrive {
            image: Arc::clone(image),
            power: Arc::clone(&self.power),
            sectors: content.sectors,
            works: self.works.clone(),
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
            chunk_kib: None,
            label: None,
        }
    }

    /// The data path comes to the end of its pass: every member holds everything now.
    pub(super) fn finish_pass(&self, manager: &mut Manager, lun: u8) {
        let Some(view) = self.view(lun) else { return };
        let Some((number_of_part, part)) =
            (0..).zip(&view.parts).find(|(_, part)| part.sync.is_some())
        else {
            return;
        };
        let pass = part.sync.as_ref().map_or(0, |sync| sync.pass);
        let image = |drive: DriveSlot| {
            (0..self.images.len())
                .find(|index| self.slot(*index) == drive)
                .map(|index| self.image(index))
                .unwrap()
        };
        let members = || part.members.iter().flatten();
        let whole = members().find(|member| member.in_sync).unwrap();
        let stamp = image(whole.drive).stamp;
        for member in members().chain(view.parts[0].twins.iter().flatten()) {
            image(member.drive).stamp = stamp;
        }
        manager.sync_ended(number(lun), number_of_part, pass, true);
    }

    pub(super) fn grow(&self, manager: &mut Manager, lun: u8, level: Level, drives: &[usize]) {
        manager.grow(&self.request(lun, level, drives)).unwrap();
    }

    pub(super) fn make(&self, manager: &mut Manager, lun: u8, level: Level, drives: &[usize]) {
        manager.make(&self.request(lun, level, drives)).unwrap();
    }
}

pub(super) fn number(lun: u8) -> LunNumber {
    LunNumber::new(lun).unwrap()
}

/// A scrub found so many sectors to differ.
pub(super) fn differing(mismatched_sectors: u64) -> ScrubFinding {
    ScrubFinding {
        mismatched_sectors,
        ..ScrubFinding::default()
    }
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
        label: lun.label.clone(),
        serial: lun.serial.clone(),
        config_string: lun.config_string.clone(),
        access: lun.access.clone(),
        scrub: lun.scrub,
        elements: lun
            .parts
            .iter()
            .flat_map(|part| &part.elements)
            .map(|element| (element.id, element.state, element.drive.and_then(path)))
            .collect(),
    };
    Seen {
        shelf: manager.shelf(),
        luns: manager.luns().iter().map(lun).collect(),
        spares: manager
            .spares()
            .iter()
            .filter_map(|spare| Some((path(spare.drive)?, spare.dedicated_to)))
            .collect(),
        drives: drives
            .iter()
            .map(|drive| (drive.path.clone(), drive.role.clone()))
            .collect(),
    }
}
