//! What the tests put in place of drives, workers and the state directory.

use super::workers::{MemoryJob, MemorySource, Works};
use crate::admin::{DriveSlot, LunNumber};
use crate::job::{Job, JobHandle, JobSource, Pace};
use crate::manager::ShelfStore;
use crate::observe::Observe;
use crate::patience::DriveHealth;
use crate::plane::{
    DataPlane, Detached, DriveError, Impostor, LunView, MemberView, MetadataDrive, PartView,
    RateLimit, Unit,
};
use crate::target::MendTicket;
use aoe::Shelf;
use raid::bad_blocks::BadRange;
use raid::bitmap::Bitmap;
use raid::md::{Resync, Superblock};
use raid::regions::{RegionIndex, RegionSet};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// What of a write is on the drive when power is cut in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tear {
    Nothing,
    FirstSector,
    /// A drive may do the sectors of a write in any order.
    AllButTheFirst,
    EveryOther,
    Everything,
}

pub(super) const TEARS: [Tear; 5] = [
    Tear::Nothing,
    Tear::FirstSector,
    Tear::AllButTheFirst,
    Tear::EveryOther,
    Tear::Everything,
];

/// The power supply of everything durable.
#[derive(Debug, Default)]
pub(super) struct Power {
    /// Writes until the cut; `None` for never.
    pub(super) cut_after: Option<(u64, Tear)>,
    is_off: bool,
    pub(super) writes: u64,
}

impl Power {
    /// Accounts for a write. Gives what of it is done, and whether it succeeds.
    pub(super) fn write(&mut self) -> (Tear, bool) {
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
    /// What it takes at least.
    pub(super) unit: Unit,
    pub(super) written: BTreeMap<u64, Vec<u8>>,
    pub(super) foreign: Option<String>,
    pub(super) is_present: bool,
    pub(super) fails_writes: bool,
    pub(super) fails_reads: bool,
    /// It does not answer.
    pub(super) is_silent: bool,
    /// The array that it took data of, and the number of the last write that it took.
    pub(super) stamp: (Uuid, u64),
    /// Whether it was ever pulled.
    pub(super) was_away: bool,
    /// Sectors that can be neither read nor written by jobs.
    pub(super) bad: std::collections::BTreeSet<u64>,
    /// Sectors that jobs cannot read until they are written.
    pub(super) unreadable: std::collections::BTreeSet<u64>,
}

impl Image {
    /// Nothing is asked of a drive but whole sectors of its own.
    fn expect_whole(&self, sector: u64, bytes: usize) {
        let is_whole = bytes.is_multiple_of(self.unit.bytes() as usize);
        assert!(
            is_whole && self.unit.divides(sector),
            "{bytes} bytes at sector {sector}"
        );
    }

    pub(super) fn read(&self, sector: u64, buffer: &mut [u8]) {
        for (at, bytes) in (sector..).zip(buffer.chunks_exact_mut(512)) {
            match self.written.get(&at) {
                Some(written) => bytes.copy_from_slice(written),
                None => bytes.fill(0),
            }
        }
    }

    pub(super) fn write(&mut self, sector: u64, data: &[u8]) {
        for (at, bytes) in (sector..).zip(data.chunks_exact(512)) {
            assert!(at < self.sectors, "write beyond the end");
            self.written.insert(at, bytes.to_vec());
            self.unreadable.remove(&at);
        }
    }

    pub(super) fn superblock(&self) -> Option<Superblock> {
        let mut block = [0; 4096];
        self.read(8, &mut block);
        Superblock::decode(&block).ok()
    }
}

impl Image {
    /// Its write-intent bitmap, if it has one that can be read.
    pub(super) fn bitmap(&self) -> Option<Bitmap> {
        let superblock = self.superblock()?;
        let area = superblock.bitmap_area()?;
        let geometry = superblock.geometry().ok()?;
        let mut bytes = vec![0; usize::try_from(area.sectors).unwrap() * 512];
        self.read(area.sector, &mut bytes);
        Bitmap::decode(&bytes, superblock.set_uuid(), &geometry, area.sectors).ok()
    }
}

pub(super) type Images = Vec<Arc<Mutex<Image>>>;

pub(super) struct MemoryDrive {
    pub(super) image: Arc<Mutex<Image>>,
    pub(super) power: Arc<Mutex<Power>>,
    pub(super) sectors: u64,
    /// Where its jobs go.
    pub(super) works: Works,
}

impl MetadataDrive for MemoryDrive {
    fn size_sectors(&self) -> u64 {
        self.sectors
    }

    fn unit(&self) -> Unit {
        self.image.lock().unwrap().unit
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError> {
        let image = self.image.lock().unwrap();
        image.expect_whole(sector, buffer.len());
        if image.is_silent {
            return Err(silent("read", sector, buffer.len()));
        }
        if image.fails_reads || self.power.lock().unwrap().is_off {
            return Err(error("read", sector, buffer.len()));
        }
        image.read(sector, buffer);
        Ok(())
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError> {
        let mut image = self.image.lock().unwrap();
        image.expect_whole(sector, data.len());
        if image.is_silent {
            return Err(silent("write", sector, data.len()));
        }
        if image.fails_writes {
            return Err(error("write", sector, data.len()));
        }
        let (done, succeeds) = self.power.lock().unwrap().write();
        let unit = image.unit;
        match done {
            Tear::Nothing => {}
            // Its own sectors a drive writes whole.
            Tear::FirstSector => image.write(sector, &data[..unit.bytes() as usize]),
            Tear::AllButTheFirst => {
                image.write(
                    sector + u64::from(unit.sectors()),
                    &data[unit.bytes() as usize..],
                );
            }
            Tear::EveryOther => {
                let places = (sector..).step_by(unit.sectors() as usize);
                let pieces = places.zip(data.chunks(unit.bytes() as usize));
                for (at, bytes) in pieces.skip(1).step_by(2) {
                    image.write(at, bytes);
                }
            }
            Tear::Everything => image.write(sector, data),
        }
        if succeeds {
            Ok(())
        } else {
            Err(error("write", sector, data.len()))
        }
    }

    fn begin(
        &mut self,
        job: Job,
        source: Option<Box<dyn JobSource>>,
        pace: Pace,
    ) -> Result<Box<dyn JobHandle>, String> {
        let (image, power) = (Arc::clone(&self.image), Arc::clone(&self.power));
        Ok(Box::new(MemoryJob::begin(
            &self.works,
            (image, power),
            job,
            source,
            pace,
        )))
    }

    fn source(&self) -> Result<Box<dyn JobSource>, String> {
        Ok(Box::new(MemorySource(Arc::clone(&self.image))))
    }
}

fn error(operation: &'static str, sector: u64, bytes: usize) -> DriveError {
    DriveError::new(operation, sector, bytes, "Input/output error (os error 5)")
}

fn silent(operation: &'static str, sector: u64, bytes: usize) -> DriveError {
    DriveError {
        reason: "it did not answer within 10 s".to_owned(),
        is_silent: true,
        ..error(operation, sector, bytes)
    }
}

/// What the data path was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Attach(LunNumber),
    Detach(LunNumber),
    Advertise(LunNumber),
    Probe(LunNumber),
    Regions(LunNumber, Range<u32>, bool),
}

#[derive(Default)]
pub(super) struct PlaneLog {
    pub(super) told: Vec<Told>,
    pub(super) views: BTreeMap<LunNumber, Arc<LunView>>,
    pub(super) refuses: bool,
    /// Who answers when it is asked.
    pub(super) impostors: Vec<Impostor>,
    /// What the data path says of mirrors when it lets go of a LUN.
    pub(super) mirrors_differ: bool,
    pub(super) is_log_pending: bool,
    /// Regions that the administration last asked to be taken back.
    pub(super) candidates: Option<Arc<RegionSet>>,
    /// Regions that the data path does not give back.
    pub(super) busy_regions: Option<RegionSet>,
    /// Bad sectors of drives that the data path knows of.
    pub(super) bad_blocks: BTreeMap<DriveSlot, Vec<BadRange>>,
    /// Writes of bad sectors that were told whether these are off the list.
    pub(super) mended: Vec<bool>,
    /// Regions of each RAID that the data path may write now.
    pub(super) ready: BTreeMap<(LunNumber, u8), RegionSet>,
    /// How drives are doing that are not well.
    pub(super) health: BTreeMap<DriveSlot, DriveHealth>,
}

pub(super) struct CheckingPlane {
    pub(super) images: BTreeMap<DriveSlot, Arc<Mutex<Image>>>,
    pub(super) power: Arc<Mutex<Power>>,
    pub(super) log: Arc<Mutex<PlaneLog>>,
}

impl CheckingPlane {
    /// What must be durable before a redundant LUN takes writes: the dirty mark, and the roles.
    fn check(&self, view: &LunView) {
        view.parts.iter().for_each(|part| self.check_part(part));
    }

    fn check_part(&self, part: &PartView) {
        if !part.geometry.level().is_redundant() || self.power.lock().unwrap().is_off {
            return;
        }
        let members = part.members.iter().flatten().map(|member| (member, false));
        let twins = part.twins.iter().flatten().map(|twin| (twin, true));
        for (member, is_twin) in members.chain(twins) {
            let superblock = self.images[&member.drive].lock().unwrap().superblock();
            let superblock = superblock.expect("a member has a superblock");
            assert_ne!(
                superblock.resync(),
                Resync::Clean,
                "dirty before it is served"
            );
            assert_eq!(
                superblock.recovery().is_none(),
                member.in_sync,
                "whole as in the view"
            );
            assert!(!is_twin || superblock.is_replacement(), "a twin says so");
            assert!(
                !superblock.is_replacement() || !member.in_sync,
                "who is read is no replacement"
            );
            let mut members = self.devices(part);
            let mut active: Vec<_> = superblock.active_devices().collect();
            members.sort_unstable();
            active.sort_unstable();
            assert_eq!(active, members, "roles as in the view");
            self.check_left_behind(part, &superblock);
        }
        if let Some(regions) = &part.regions {
            self.check_bits(part, regions.ready.iter());
        }
    }

    /// Bits of regions that may be written are durable on every member, in a bitmap that md believes.
    fn check_bits(&self, part: &PartView, ready: impl Iterator<Item = RegionIndex>) {
        let ready: Vec<RegionIndex> = ready.collect();
        for member in part.members.iter().chain(&part.twins).flatten() {
            let image = self.images[&member.drive].lock().unwrap();
            let superblock = image.superblock().expect("a member has a superblock");
            let bitmap = image.bitmap().expect("a member has a bitmap");
            assert!(bitmap.is_current(superblock.events()), "a stale bitmap");
            let regions = bitmap.map().regions();
            for region in ready.iter().filter(|region| region.0 < regions) {
                assert!(bitmap.set().contains(*region), "{region:?} is not durable");
            }
        }
    }

    /// Device numbers and md roles of the members of a view.
    fn devices(&self, part: &PartView) -> Vec<(u32, u16)> {
        let device = |(element, member): (u8, &Option<MemberView>)| {
            let drive = member.as_ref()?.drive;
            let superblock = self.images[&drive].lock().unwrap().superblock();
            let number = superblock.expect("a member has a superblock").dev_number();
            Some((number, part.geometry.md_role(element)))
        };
        let members = (0..).zip(&part.members);
        let twins = (0..).zip(&part.twins);
        members.chain(twins).filter_map(device).collect()
    }

    /// A kernel takes a member that is one event behind. With drives that come and go it cannot be
    /// known how far one is that is away.
    fn check_left_behind(&self, part: &PartView, member: &Superblock) {
        let is_member = |slot: DriveSlot| {
            let devices = part.members.iter().chain(&part.twins).flatten();
            devices.into_iter().any(|member| member.drive == slot)
        };
        if self
            .images
            .values()
            .any(|image| image.lock().unwrap().was_away)
        {
            return;
        }
        for (slot, image) in &self.images {
            let other = image.lock().unwrap().superblock();
            if let Some(other) = other.filter(|other| other.set_uuid() == member.set_uuid())
                && !is_member(*slot)
            {
                assert!(other.events() + 2 <= member.events(), "left behind");
            }
        }
    }

    /// Writes once, to every member. What was written before must be on each of them that is in sync;
    /// the others still lack it. With drives that come and go that is not so: halves of a mirror, served
    /// one after the other, part.
    fn write_data(&self, part: &PartView) {
        if self.power.lock().unwrap().is_off {
            return;
        }
        let members = || {
            part.members
                .iter()
                .flatten()
                .filter(|member| member.in_sync)
                .map(|member| member.drive)
        };
        let set_uuid = |drive: DriveSlot| {
            let superblock = self.images[&drive].lock().unwrap().superblock();
            superblock.map(|superblock| superblock.set_uuid())
        };
        let Some(uuid) = members().next().and_then(set_uuid) else {
            return;
        };
        let last = |image: &Arc<Mutex<Image>>| {
            let (of, stamp) = image.lock().unwrap().stamp;
            if of == uuid { stamp } else { 0 }
        };
        let newest = self.images.values().map(last).max().unwrap_or(0);
        let apart = self
            .images
            .values()
            .any(|image| image.lock().unwrap().was_away);
        for drive in members() {
            assert!(
                apart || last(&self.images[&drive]) == newest,
                "a member missed a write"
            );
            self.images[&drive].lock().unwrap().stamp = (uuid, newest + 1);
        }
    }
}

impl Observe for CheckingPlane {}

impl DataPlane for CheckingPlane {
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        self.check(&view);
        let mut log = self.log.lock().unwrap();
        if log.refuses {
            return Err("the workers hang".to_owned());
        }
        log.told.push(Told::Attach(view.lun));
        for (number, part) in (0..).zip(&view.parts) {
            self.write_data(part);
            if let Some(regions) = &part.regions
                && !self.power.lock().unwrap().is_off
            {
                let ready = || (*regions.ready).clone();
                log.ready.entry((view.lun, number)).or_insert_with(ready);
            }
        }
        log.views.insert(view.lun, view);
        Ok(())
    }

    fn detach(&mut self, lun: LunNumber) -> Result<Detached, String> {
        let mut log = self.log.lock().unwrap();
        if log.refuses {
            return Err("the workers hang".to_owned());
        }
        log.told.push(Told::Detach(lun));
        log.ready.retain(|(of, _), _| *of != lun);
        log.views
            .remove(&lun)
            .map(|_| Detached {
                mirrors_differ: log.mirrors_differ,
                is_log_pending: log.is_log_pending,
            })
            .ok_or_else(|| "not attached".to_owned())
    }

    fn regions_ready(
        &mut self,
        lun: LunNumber,
        part: u8,
        regions: Range<u32>,
        ready: bool,
    ) -> Result<(), String> {
        let mut log = self.log.lock().unwrap();
        let view = Arc::clone(&log.views[&lun]);
        log.told.push(Told::Regions(lun, regions.clone(), ready));
        if ready && !self.power.lock().unwrap().is_off {
            self.check_bits(
                &view.parts[usize::from(part)],
                regions.clone().map(RegionIndex),
            );
            if let Some(set) = log.ready.get_mut(&(lun, part)) {
                for region in regions.start..regions.end.min(set.regions()) {
                    set.insert(RegionIndex(region));
                }
            }
        }
        Ok(())
    }

    fn take_idle_regions(
        &mut self,
        lun: LunNumber,
        part: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        let mut log = self.log.lock().unwrap();
        log.candidates = Some(Arc::clone(&candidates));
        let mut idle = (*candidates).clone();
        if let Some(busy) = &log.busy_regions {
            idle.remove_all(busy);
        }
        if let Some(set) = log.ready.get_mut(&(lun, part)) {
            set.remove_all(&idle);
        }
        Ok(idle)
    }

    fn set_bad_blocks(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) -> Result<(), String> {
        let mut log = self.log.lock().unwrap();
        log.bad_blocks.insert(drive, ranges.to_vec());
        Ok(())
    }

    fn bad_sectors_settled(&mut self, ticket: MendTicket, ok: bool) -> Result<(), String> {
        assert_eq!(ticket, MendTicket::any());
        self.log.lock().unwrap().mended.push(ok);
        Ok(())
    }

    fn set_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }

    fn drive_health(&self, drive: DriveSlot) -> Result<DriveHealth, String> {
        let log = self.log.lock().unwrap();
        Ok(log.health.get(&drive).copied().unwrap_or_default())
    }

    fn counters(&self) -> Vec<crate::plane::CounterGroup> {
        Vec::new()
    }

    fn passes(&self) -> Vec<crate::plane::RunningPass> {
        Vec::new()
    }

    fn advertise(&mut self, lun: LunNumber) {
        let mut log = self.log.lock().unwrap();
        assert!(
            log.views.contains_key(&lun),
            "only what is served is advertised"
        );
        log.told.push(Told::Advertise(lun));
    }

    fn probe(&mut self, _: Shelf, luns: &[LunNumber]) {
        let mut log = self.log.lock().unwrap();
        log.told.extend(luns.iter().map(|lun| Told::Probe(*lun)));
    }

    fn find_impostors(&mut self, shelf: Shelf, luns: &[LunNumber]) -> Vec<Impostor> {
        self.probe(shelf, luns);
        let log = self.log.lock().unwrap();
        let asked = log
            .impostors
            .iter()
            .filter(|other| luns.contains(&other.lun));
        asked.cloned().collect()
    }
}

pub(super) struct MemoryStore {
    pub(super) shelf: Arc<Mutex<Option<Shelf>>>,
    pub(super) removed_sets: Arc<Mutex<Vec<Uuid>>>,
    pub(super) power: Arc<Mutex<Power>>,
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

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        Ok(self.removed_sets.lock().unwrap().clone())
    }

    fn add_removed_set(&mut self, set: Uuid) -> Result<(), String> {
        let (done, succeeds) = self.power.lock().unwrap().write();
        if done == Tear::Everything {
            self.removed_sets.lock().unwrap().push(set);
        }
        if succeeds {
            Ok(())
        } else {
            Err("no power".to_owned())
        }
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        Ok(RateLimit::NONE)
    }

    fn save_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }
}
