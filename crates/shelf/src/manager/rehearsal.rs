//! A copy of the shelf on which commands are tried, so that `-n` tells exactly what they would do.
//!
//! The copy is a [`Manager`] like the real one and runs the same code. What it stands on takes notes: what is
//! written to a drive is kept in memory and read back from there, the workers are told nothing, the state
//! directory gets nothing. What it refuses, the real one refuses, and for the same reason; a drive that
//! fails, or a worker that does not answer, is the only thing that it cannot know.
//!
//! Invariants:
//! * the copy has no way to the workers or the state directory but to ask, and none to a drive but to read;
//! * drives and workers are handed to the copy and back, so that nobody else uses them meanwhile.

use super::jobs::DriveJob;
use super::{Manager, ShelfStore};
use crate::admin::{Admin, DriveSlot, LunNumber};
use crate::observe::{DriveLoad, Initiators, PortStatistics, WorkerLoad};
use crate::patience::DriveHealth;
use crate::plane::{CounterGroup, DataPlane, Detached, Impostor, LunView, RateLimit, RunningPass};
use crate::statistics::{LunStatistics, Rates};
use crate::target::MendTicket;
use aoe::Shelf;
use raid::bad_blocks::BadRange;
use raid::regions::RegionSet;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// The workers, or those who stand in for them.
pub(super) enum Plane {
    /// They are told everything.
    Real(Box<dyn DataPlane>),
    /// They are asked, and told nothing.
    Asked(Box<dyn DataPlane>),
    /// A rehearsal has them; whether they were to be told, or only asked.
    Lent {
        /// They were to be told.
        is_real: bool,
    },
}

impl Manager {
    /// Has somebody act on a copy of this shelf; nothing of that is done.
    pub(super) fn rehearse_on_copy(&mut self, act: &mut dyn FnMut(&mut dyn Admin)) {
        let mut copy = self.lend();
        act(&mut copy);
        self.reclaim(copy);
    }

    /// A copy, which has the drives and the workers of this one until [`Manager::reclaim`].
    fn lend(&mut self) -> Self {
        let now = (self.now_unix_seconds)();
        let mut uuids = 0_u128;
        Self {
            shelf: self.shelf,
            drives: self.drives.lend(),
            raids: self.raids.clone(),
            ports: self.ports.clone(),
            plane: self.plane.lend(),
            store: Box::new(Forgetful),
            removed_sets: self.removed_sets.clone(),
            now_unix_seconds: Box::new(move || now),
            new_uuid: Box::new(move || {
                uuids += 1;
                Uuid::from_u128(uuids)
            }),
            notices: Vec::new(),
            last_pass: self.last_pass,
            last_sweep: self.last_sweep,
            told_bad_blocks: self.told_bad_blocks.clone(),
            units: self.units.clone(),
            is_stopping: self.is_stopping,
            spares: self.spares.clone(),
            spares_elsewhere: self.spares_elsewhere.clone(),
            elsewhere: self.elsewhere.clone(),
            wear: self.wear.clone(),
            unhealed: self.unhealed.clone(),
            is_grace_over: self.is_grace_over,
            rate_limit: self.rate_limit,
            uptime: self.uptime,
            silences: self.silences.clone(),
            next_spare_check: self.next_spare_check,
            impostors: self.impostors.clone(),
            plugs: self.plugs.clone(),
            jobs: self.jobs.iter().map(DriveJob::told).collect(),
            last_job: self.last_job,
        }
    }

    fn reclaim(&mut self, copy: Self) {
        let Self { drives, plane, .. } = copy;
        self.drives.take_back(drives);
        self.plane.take_back(plane);
    }
}

impl Plane {
    fn lend(&mut self) -> Self {
        let is_real = matches!(self, Self::Real(_));
        match std::mem::replace(self, Self::Lent { is_real }) {
            Self::Real(plane) | Self::Asked(plane) => Self::Asked(plane),
            Self::Lent { .. } => unreachable!("whoever lends does nothing until it is given back"),
        }
    }

    /// A rehearsal of a rehearsal gives back what may be asked, and no more.
    fn take_back(&mut self, copy: Self) {
        *self = match (&*self, copy) {
            (Self::Lent { is_real: true }, Self::Asked(plane)) => Self::Real(plane),
            (Self::Lent { is_real: false }, Self::Asked(plane)) => Self::Asked(plane),
            _ => unreachable!("what was lent is what comes back"),
        };
    }

    fn asked(&self) -> &dyn DataPlane {
        match self {
            Self::Real(plane) | Self::Asked(plane) => &**plane,
            Self::Lent { .. } => unreachable!("whoever lends does nothing until it is given back"),
        }
    }

    /// The workers, if they are to be told.
    fn told(&mut self) -> Option<&mut dyn DataPlane> {
        match self {
            Self::Real(plane) => Some(&mut **plane),
            Self::Asked(_) | Self::Lent { .. } => None,
        }
    }
}

/// As of the workers.
impl Plane {
    pub(super) fn lun_statistics(&self, lun: LunNumber, seconds: u64) -> Option<LunStatistics> {
        self.asked().lun_statistics(lun, seconds)
    }

    pub(super) fn lun_rates(&self, seconds: u64) -> Vec<(LunNumber, Rates)> {
        self.asked().lun_rates(seconds)
    }

    pub(super) fn drive_load(&self, drive: DriveSlot, seconds: u64) -> DriveLoad {
        self.asked().drive_load(drive, seconds)
    }

    pub(super) fn workers(&self) -> Vec<WorkerLoad> {
        self.asked().workers()
    }

    pub(super) fn port_statistics(&self) -> Vec<PortStatistics> {
        self.asked().port_statistics()
    }

    pub(super) fn initiators(&self) -> Initiators {
        self.asked().initiators()
    }

    pub(super) fn attach(&mut self, view: Arc<LunView>) -> Result<(), String> {
        self.told().map_or(Ok(()), |plane| plane.attach(view))
    }

    pub(super) fn detach(&mut self, lun: LunNumber) -> Result<Detached, String> {
        let told = self.told().map(|plane| plane.detach(lun));
        told.unwrap_or_else(|| Ok(Detached::default()))
    }

    pub(super) fn regions_ready(
        &mut self,
        lun: LunNumber,
        part: u8,
        regions: Range<u32>,
        ready: bool,
    ) -> Result<(), String> {
        let told = self.told();
        told.map_or(Ok(()), |plane| {
            plane.regions_ready(lun, part, regions, ready)
        })
    }

    pub(super) fn take_idle_regions(
        &mut self,
        lun: LunNumber,
        part: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String> {
        match self.told() {
            Some(plane) => plane.take_idle_regions(lun, part, candidates),
            // All are in use, for all that is known.
            None => Ok(RegionSet::empty(candidates.regions())),
        }
    }

    pub(super) fn set_bad_blocks(
        &mut self,
        drive: DriveSlot,
        ranges: Arc<[BadRange]>,
    ) -> Result<(), String> {
        let told = self.told();
        told.map_or(Ok(()), |plane| plane.set_bad_blocks(drive, ranges))
    }

    pub(super) fn bad_sectors_settled(
        &mut self,
        ticket: MendTicket,
        ok: bool,
    ) -> Result<(), String> {
        let told = self.told();
        told.map_or(Ok(()), |plane| plane.bad_sectors_settled(ticket, ok))
    }

    pub(super) fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), String> {
        let told = self.told();
        told.map_or(Ok(()), |plane| plane.set_rate_limit(limit))
    }

    pub(super) fn drive_health(&self, drive: DriveSlot) -> Result<DriveHealth, String> {
        self.asked().drive_health(drive)
    }

    pub(super) fn advertise(&mut self, lun: LunNumber) {
        if let Some(plane) = self.told() {
            plane.advertise(lun);
        }
    }

    pub(super) fn probe(&mut self, shelf: Shelf, luns: &[LunNumber]) {
        if let Some(plane) = self.told() {
            plane.probe(shelf, luns);
        }
    }

    /// Asks the network also for a rehearsal: who else is there decides whether a LUN may go online.
    pub(super) fn find_impostors(&mut self, shelf: Shelf, luns: &[LunNumber]) -> Vec<Impostor> {
        match self {
            Self::Real(plane) | Self::Asked(plane) => plane.find_impostors(shelf, luns),
            Self::Lent { .. } => unreachable!("whoever lends does nothing until it is given back"),
        }
    }

    pub(super) fn counters(&self) -> Vec<CounterGroup> {
        self.asked().counters()
    }

    pub(super) fn passes(&self) -> Vec<RunningPass> {
        self.asked().passes()
    }
}

/// The state directory of a copy. It is only read at a start, which a copy has behind it.
struct Forgetful;

impl ShelfStore for Forgetful {
    fn save_shelf(&mut self, _: Shelf) -> Result<(), String> {
        Ok(())
    }

    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String> {
        Ok(Vec::new())
    }

    fn add_removed_set(&mut self, _: Uuid) -> Result<(), String> {
        Ok(())
    }

    fn rate_limit(&mut self) -> Result<RateLimit, String> {
        Ok(RateLimit::NONE)
    }

    fn save_rate_limit(&mut self, _: RateLimit) -> Result<(), String> {
        Ok(())
    }
}
