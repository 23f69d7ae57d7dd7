//! Drives and a state directory in memory, and a data path that serves without moving any data.

use aoe::Shelf;
use raid::bad_blocks::BadRange;
use raid::md::Superblock;
use raid::regions::RegionSet;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::job::{
    Job, JobHandle, JobReport, JobSource, Pace, Step, StepEnd, StepKind, fill_pattern,
};
use shelf::manager::ShelfStore;
use shelf::observe::Observe;
use shelf::patience::DriveHealth;
use shelf::plane::{
    CounterGroup, DataPlane, Detached, DriveError, Impostor, LunView, MetadataDrive, RateLimit,
    RunningPass,
};
use shelf::target::MendTicket;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Sector of the superblock.
const SUPERBLOCK: u64 = 8;

/// What is on a drive; sectors that were never written are zeroes.
#[derive(Clone, Hash)]
pub(super) struct Image {
    pub(super) sectors: u64,
    written: BTreeMap<u64, [u8; 512]>,
    pub(super) is_present: bool,
    /// What the prober finds on it while it is nobody's member.
    pub(super) foreign: Option<&'static str>,
}

/// Everything that outlives the daemon.
#[derive(Clone)]
pub(super) struct Durable {
    pub(super) images: Vec<Image>,
    pub(super) shelf: Option<Shelf>,
    removed: Vec<Uuid>,
    limit: RateLimit,
    /// The clock, and the source of UUIDs: neither goes back.
    pub(super) now: u64,
    pub(super) uuids: u64,
    /// Jobs on drives do not go on.
    pub(super) holds_jobs: bool,
}

/// Something that several hold.
pub(super) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub(super) fn new(content: T) -> Self {
        Self(Arc::new(Mutex::new(content)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Image {
    pub(super) fn new(sectors: u64, foreign: Option<&'static str>) -> Self {
        Self {
            sectors,
            written: BTreeMap::new(),
            is_present: true,
            foreign,
        }
    }

    fn read(&self, sector: u64, buffer: &mut [u8]) {
        for (at, bytes) in (sector..).zip(buffer.chunks_exact_mut(512)) {
            match self.written.get(&at) {
                Some(written) => bytes.copy_from_slice(written),
                None => bytes.fill(0),
            }
        }
    }

    /// Whether a prober of signatures would call it a member of an md array.
    pub(super) fn is_member(&self) -> bool {
        let mut block = [0; 4096];
        self.read(SUPERBLOCK, &mut block);
        Superblock::decode(&block).is_ok()
    }
}

impl Durable {
    /// Everything, but the clock and the source of UUIDs, as a number.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.images.hash(&mut hasher);
        let limit = (self.limit.bytes_per_second, self.limit.is_per_drive);
        let shelf = self.shelf.map(|shelf| shelf.0);
        (shelf, &self.removed, limit).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn new(images: Vec<Image>, shelf: u16) -> Self {
        Self {
            images,
            shelf: Some(Shelf(shelf)),
            removed: Vec::new(),
            limit: RateLimit::NONE,
            now: 1_700_000_000,
            uuids: 0,
            holds_jobs: false,
        }
    }
}

/// A drive of it.
pub(super) struct MemoryDrive {
    pub(super) durable: Shared<Durable>,
    pub(super) index: usize,
}

impl MetadataDrive for MemoryDrive {
    fn size_sectors(&self) -> u64 {
        self.durable.lock().images[self.index].sectors
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError> {
        self.durable.lock().images[self.index].read(sector, buffer);
        Ok(())
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError> {
        let image = &mut self.durable.lock().images[self.index];
        for (at, bytes) in (sector..).zip(data.as_chunks().0) {
            assert!(at < image.sectors, "a write beyond the end");
            image.written.insert(at, *bytes);
        }
        Ok(())
    }

    fn begin(
        &mut self,
        mut job: Job,
        mut source: Option<Box<dyn JobSource>>,
        _: Pace,
    ) -> Result<Box<dyn JobHandle>, String> {
        let copied = job.kind().source().map(|slot| usize::from(slot.0));
        let holds_jobs = self.durable.lock().holds_jobs;
        let mut fetched = Vec::new();
        while let Some(step) = job.next().filter(|_| !holds_jobs) {
            let end = match (step.kind, &mut source) {
                (StepKind::Fetch, Some(source)) => {
                    fetched = vec![[0; 512]; usize::try_from(step.sectors).unwrap_or(0)];
                    source.read(step.sector, fetched.as_flattened_mut())
                }
                (StepKind::Store, _) => {
                    let images = &mut self.durable.lock().images;
                    if step.sector == 0 {
                        images[self.index].foreign =
                            copied.and_then(|copied| images[copied].foreign);
                    }
                    let written = &mut images[self.index].written;
                    written.extend((step.sector..).zip(fetched.drain(..)));
                    StepEnd::Done
                }
                _ => self.durable.lock().images[self.index].carry_out(step),
            };
            job.ended(end, Duration::ZERO);
        }
        Ok(Box::new(HouseJob(job)))
    }

    fn source(&self) -> Result<Box<dyn JobSource>, String> {
        Ok(Box::new(Self {
            durable: self.durable.clone(),
            index: self.index,
        }))
    }
}

impl JobSource for MemoryDrive {
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> StepEnd {
        self.durable.lock().images[self.index].read(sector, buffer);
        StepEnd::Done
    }
}

/// A job: it is carried out at once, unless jobs are held.
struct HouseJob(Job);

impl JobHandle for HouseJob {
    fn report(&self) -> JobReport {
        JobReport {
            progress: self.0.progress().clone(),
            ..JobReport::default()
        }
    }

    fn set_pace(&mut self, _: Pace) {}

    fn stop(&mut self) {
        self.0.stop();
    }

    fn join(&mut self, _: Duration) -> bool {
        self.0.next().is_none()
    }
}

impl Image {
    fn carry_out(&mut self, step: Step) -> StepEnd {
        let mut bytes = [0; 512];
        for sector in step.sector..step.sector + step.sectors {
            match step.kind {
                StepKind::Zero | StepKind::Rewrite => drop(self.written.remove(&sector)),
                StepKind::Write => {
                    fill_pattern(sector, &mut bytes);
                    self.written.insert(sector, bytes);
                }
                StepKind::Read | StepKind::Compare | StepKind::Flush => {}
                StepKind::Fetch | StepKind::Store => panic!("a copy does that with two drives"),
            }
        }
        if matches!(step.kind, StepKind::Zero | StepKind::Write) && step.sector == 0 {
            self.foreign = None;
        }
        StepEnd::Done
    }
}

/// The state directory.
pub(super) struct MemoryStore(pub(super) Shared<Durable>);

impl ShelfStore for MemoryStore {
    fn save_shelf(&mut self, shelf: Shelf) -> Result<(), String> {
        self.0.lock().shelf = Some(shelf);
        Ok(())
    }

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        Ok(self.0.lock().removed.clone())
    }

    fn add_removed_set(&mut self, set: Uuid) -> Result<(), String> {
        self.0.lock().removed.push(set);
        Ok(())
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        Ok(self.0.lock().limit)
    }

    fn save_rate_limit(&mut self, limit: RateLimit) -> Result<(), String> {
        self.0.lock().limit = limit;
        Ok(())
    }
}

/// What is served.
pub(super) type Views = BTreeMap<LunNumber, Arc<LunView>>;

/// A data path that no initiator ever asks for anything.
pub(super) struct QuietPlane(pub(super) Shared<Views>);

impl Observe for QuietPlane {}

impl DataPlane for QuietPlane {
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        self.0.lock().insert(view.lun, view);
        Ok(())
    }

    fn detach(&mut self, lun: LunNumber) -> Result<Detached, String> {
        let detached = self.0.lock().remove(&lun);
        detached
            .map(|_| Detached::default())
            .ok_or_else(|| format!("LUN {lun} is not attached"))
    }

    fn regions_ready(&mut self, _: LunNumber, _: u8, _: Range<u32>, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn take_idle_regions(
        &mut self,
        _: LunNumber,
        _: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        Ok((*candidates).clone())
    }

    fn set_bad_blocks(&mut self, _: DriveSlot, _: Arc<[BadRange]>) -> Result<(), String> {
        Ok(())
    }

    fn bad_sectors_settled(&mut self, _: MendTicket, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn set_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }

    fn drive_health(&self, _: DriveSlot) -> Result<DriveHealth, String> {
        Ok(DriveHealth::default())
    }

    fn advertise(&mut self, lun: LunNumber) {
        let is_online = self.0.lock().get(&lun).is_some_and(|view| view.online);
        assert!(is_online, "only what is served is advertised");
    }

    fn probe(&mut self, _: Shelf, _: &[LunNumber]) {}

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
