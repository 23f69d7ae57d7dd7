//! The administration of a shelf: finds its LUNs on the drives, changes them, and hands views of
//! them to the data path.
//!
//! Everything that is known of a LUN lies on its members: an md v1.2 superblock, which says what the
//! array is and which members are good, and a record of ours, which says everything else. A LUN is
//! found again whatever slots its drives are in.
//!
//! Invariants:
//! * a change is durable on the drives before it is reported, and a crash between any two writes
//!   leaves the LUN as before or as after (the files of the changes say how);
//! * a redundant LUN is marked dirty durably before it is served, and clean only when its mirrors
//!   are known to agree: found dirty at start, only after a complete pass over them ([`sync`]);
//! * the bit of a region is durable on every member before the region is written, and stays while the
//!   region may differ or a member is missing; a LUN that lacks nobody is not marked clean while a bit
//!   is set ([`regions`]);
//! * that a member failed is durable on the survivors before a view without it is attached, so that
//!   nothing is acknowledged that a restart would look for on the failed member;
//! * a set that was removed is noted in the store before it is erased, so that a member that was away
//!   is not served when it comes back;
//! * of two sets with one LUN number none is served that is not the newer one, unless somebody asks;
//! * the last copy of anything is never given up.
//!
//! It does not read or write data, and sees neither files nor threads nor a clock: those come in
//! through [`Parts`].

use crate::admin::{
    AccessChange, Admin, AdminError, ArrayStatus, DriveSlot, DriveStatus, ElementId,
    ElsewhereStatus, JobStatus, LunNumber, LunStatus, MakeRequest, PortStatus, ScrubAction,
    SpareStatus, SuperblockStatus,
};
use crate::job::JobKind;
use crate::observe::{DriveLoad, Initiators, Observe, PortStatistics, WorkerLoad};
use crate::plane::{CounterGroup, DataPlane, RateLimit, RunningPass};
use crate::statistics::{LunStatistics, Rates};
use ::raid::bad_blocks::BadRange;
use aoe::Shelf;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

mod access;
mod adopt;
mod assemble;
mod bad_blocks;
mod change;
mod drives;
mod extract;
mod failure;
mod further;
mod grow;
mod hear;
mod import;
mod impostor;
mod jobs;
mod join;
mod lost;
mod lun;
mod make;
mod members;
mod plug;
mod raid;
mod recovery;
mod regions;
mod rehearsal;
mod removal;
mod retire;
mod rounds;
mod salvage;
mod scan;
mod scrub;
mod set;
mod settings;
mod silence;
mod sizes;
mod spares;
mod superblocks;
mod sync;
mod twin;
mod unit;

#[cfg(test)]
mod tests;

pub use drives::{Drive, NoDrive};
pub use failure::MemberFailure;
pub use salvage::{LogFate, SalvageOptions, SalvagedSet};

use drives::Drives;
use lun::{Lun, Raids};
use rehearsal::Plane;
use scan::Occasion;
use set::Set;
use spares::Spare;

/// How long after the start a spare does not take the place of a member that is only late: drives that
/// spin up one after the other are there by then.
const LATE_GRACE: Duration = Duration::from_mins(2);

/// Where the shelf number is kept, and which sets were removed.
pub trait ShelfStore: Send {
    /// Stores it; durable and atomic when this returns.
    ///
    /// # Errors
    /// What went wrong, and where; then the old number is still stored.
    fn save_shelf(&mut self, shelf: Shelf) -> Result<(), String>;

    /// UUIDs of the sets whose LUNs were removed. A member that was away at that time still carries
    /// one of them.
    ///
    /// # Errors
    /// What went wrong, and where.
    fn removed_sets(&mut self) -> Result<Vec<Uuid>, String>;

    /// Adds a set to those that were removed; durable and atomic when this returns. Of very many, the
    /// ones added first may be forgotten.
    ///
    /// # Errors
    /// What went wrong, and where; then those stored before still are.
    fn add_removed_set(&mut self, set: Uuid) -> Result<(), String>;

    /// The most that passes go over in a second, as it was stored last.
    ///
    /// # Errors
    /// What went wrong, and where.
    fn rate_limit(&mut self) -> Result<RateLimit, String>;

    /// Stores that; durable and atomic when this returns.
    ///
    /// # Errors
    /// What went wrong, and where; then the old one is still stored.
    fn save_rate_limit(&mut self, limit: RateLimit) -> Result<(), String>;
}

/// What a [`Manager`] is made of.
pub struct Parts {
    /// The shelf number, if one was set.
    pub shelf: Option<Shelf>,
    /// Every slot that is known; each slot once.
    pub drives: Vec<Drive>,
    /// Every port.
    pub ports: Vec<PortStatus>,
    /// The workers.
    pub plane: Box<dyn DataPlane>,
    /// Where the shelf number and the removed sets are kept.
    pub store: Box<dyn ShelfStore>,
    /// Tells the time, in seconds since 1970.
    pub now_unix_seconds: Box<dyn FnMut() -> u64 + Send>,
    /// Gives a new random UUID each time.
    pub new_uuid: Box<dyn FnMut() -> Uuid + Send>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("shelf", &self.shelf)
            .finish_non_exhaustive()
    }
}

/// The administration of one shelf.
pub struct Manager {
    shelf: Option<Shelf>,
    drives: Drives,
    raids: Raids,
    ports: Vec<PortStatus>,
    plane: Plane,
    store: Box<dyn ShelfStore>,
    /// Sets whose LUNs were removed.
    removed_sets: Vec<Uuid>,
    now_unix_seconds: Box<dyn FnMut() -> u64 + Send>,
    new_uuid: Box<dyn FnMut() -> Uuid + Send>,
    notices: Vec<String>,
    /// Number of the last pass over mirrors, of whichever LUN.
    last_pass: u64,
    /// When regions without writes were looked for last, as told to [`Manager::tick`].
    last_sweep: Option<Duration>,
    /// The bad sectors of drives that the workers know of.
    told_bad_blocks: BTreeMap<DriveSlot, Arc<[BadRange]>>,
    /// What LUNs are served by.
    units: unit::Units,
    /// It was stopped: nothing goes online any more.
    is_stopping: bool,
    /// By slot.
    spares: Vec<Spare>,
    /// Spares of other shelves, as the last assembly found them.
    spares_elsewhere: Vec<Spare>,
    /// Sets of other shelves, as the last assembly found them.
    elsewhere: Vec<Set>,
    /// How drives did.
    wear: retire::Wear,
    /// Elements of which it was told that there is no spare for them.
    unhealed: BTreeSet<ElementId>,
    /// Members that were late at the start have had their time to come.
    is_grace_over: bool,
    /// The most that each pass goes over in a second.
    rate_limit: RateLimit,
    /// Since the start, as told last.
    uptime: Duration,
    /// Drives that kept silent.
    silences: Vec<silence::Silence>,
    /// When the spares are to be read next, since the start.
    next_spare_check: Duration,
    /// Who else has addresses of ours.
    impostors: impostor::Impostors,
    /// By slot: what each drive has, or had last.
    jobs: Vec<jobs::DriveJob>,
    /// Number of the last one.
    last_job: u64,
    /// Drives that came and went.
    plugs: plug::Plugs,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("shelf", &self.shelf)
            .field("raids", &self.raids)
            .finish_non_exhaustive()
    }
}

impl Manager {
    /// Finds the LUNs on the drives, finishes or undoes what a crash interrupted, and serves those
    /// that were served. What it cannot do is told by [`Manager::take_notices`] and in the listings;
    /// a start never fails.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let mut manager = Self {
            shelf: parts.shelf,
            drives: Drives::new(parts.drives),
            raids: BTreeMap::new(),
            ports: parts.ports,
            plane: Plane::Real(parts.plane),
            store: parts.store,
            removed_sets: Vec::new(),
            now_unix_seconds: parts.now_unix_seconds,
            new_uuid: parts.new_uuid,
            notices: Vec::new(),
            last_pass: 0,
            last_sweep: None,
            told_bad_blocks: BTreeMap::new(),
            units: unit::Units::new(),
            is_stopping: false,
            spares: Vec::new(),
            spares_elsewhere: Vec::new(),
            elsewhere: Vec::new(),
            wear: retire::Wear::default(),
            unhealed: BTreeSet::new(),
            is_grace_over: false,
            rate_limit: RateLimit::NONE,
            uptime: Duration::ZERO,
            silences: Vec::new(),
            next_spare_check: Duration::ZERO,
            impostors: impostor::Impostors::default(),
            jobs: Vec::new(),
            last_job: 0,
            plugs: plug::Plugs::default(),
        };
        match manager.store.removed_sets() {
            Ok(sets) => manager.removed_sets = sets,
            Err(reason) => manager.notices.push(format!(
                "which LUNs were removed is not known, so that their drives may be served: {reason}"
            )),
        }
        manager.restore_rate_limit();
        manager.assemble(Occasion::Asked);
        manager
    }

    /// What happened that nobody was told as an answer, oldest first; for the log. Each is given once.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Stops serving everything, in good order. LUNs stay recorded as online, so that the next start
    /// serves them again. From now on nothing goes online.
    pub fn shutdown(&mut self) {
        self.is_stopping = true;
        self.stop_jobs();
        let online: Vec<_> = Lun::all(&self.raids)
            .filter(Lun::is_live)
            .map(|lun| lun.number())
            .collect();
        for number in online {
            match self.let_go(number) {
                Ok(detached) => {
                    self.note_detached(number, detached);
                    self.went_quiet(number);
                }
                Err(reason) => self.notices.push(format!(
                    "LUN {number} was not stopped and stays marked dirty: {reason}"
                )),
            }
        }
        self.await_jobs();
    }

    /// Does what is due by time: reads spares, gives a RAID a spare that it lacks, clears the bits of
    /// regions without writes, begins scrubs. To be called about once a second, with the time since the
    /// start.
    pub fn tick(&mut self, uptime: Duration) {
        self.uptime = uptime;
        self.is_grace_over |= uptime >= LATE_GRACE;
        self.settle_jobs();
        self.note_failed_drives();
        self.settle_pulled();
        self.take_back_silent();
        self.sweep_regions(uptime);
        self.check_spares(uptime);
        self.heal();
        self.retire(uptime);
        self.begin_due_scrub();
        self.watch_impostors();
    }

    /// There is a port that was not there, or not any more.
    pub fn port_opened(&mut self, port: PortStatus) {
        let notice = format!("port {} is open, in mode {}", port.interface, port.mode);
        self.notices.push(notice);
        self.ports.retain(|other| other.interface != port.interface);
        self.ports.push(port);
    }

    /// A port is not there any more.
    pub fn port_closed(&mut self, interface: &str) {
        self.notices.push(format!("port {interface} is closed"));
        self.ports.retain(|port| port.interface != interface);
    }

    /// The MTU or the link of a port is another now.
    pub fn interface_changed(&mut self, interface: &str, mtu_bytes: usize, has_link: bool) {
        let mut ports = self.ports.iter_mut();
        let Some(port) = ports.find(|port| port.interface == interface) else {
            return;
        };
        if port.mtu_bytes != mtu_bytes {
            let notice = format!(
                "port {interface} has MTU {mtu_bytes}, was {}",
                port.mtu_bytes
            );
            self.notices.push(notice);
        }
        if port.has_link != has_link {
            let notice = if has_link {
                format!("port {interface} has a link again")
            } else {
                format!("WARNING: port {interface} has no link")
            };
            self.notices.push(notice);
        }
        (port.mtu_bytes, port.has_link) = (mtu_bytes, has_link);
    }

    /// `<shelf>.<slot>`, as administrators name a drive.
    fn drive_name(&self, slot: DriveSlot) -> String {
        self.shelf
            .map_or_else(|| format!("?.{slot}"), |shelf| format!("{shelf}.{slot}"))
    }
}

impl Observe for Manager {
    fn lun_statistics(&self, lun: LunNumber, seconds: u64) -> Option<LunStatistics> {
        self.plane.lun_statistics(lun, seconds)
    }

    fn lun_rates(&self, seconds: u64) -> Vec<(LunNumber, Rates)> {
        self.plane.lun_rates(seconds)
    }

    fn drive_load(&self, drive: DriveSlot, seconds: u64) -> DriveLoad {
        self.plane.drive_load(drive, seconds)
    }

    fn workers(&self) -> Vec<WorkerLoad> {
        self.plane.workers()
    }

    fn port_statistics(&self) -> Vec<PortStatistics> {
        self.plane.port_statistics()
    }

    fn initiators(&self) -> Initiators {
        self.plane.initiators()
    }
}

impl Admin for Manager {
    fn rehearse(&mut self, act: &mut dyn FnMut(&mut dyn Admin)) {
        self.rehearse_on_copy(act);
    }

    fn plan_make(&mut self, request: &MakeRequest) -> Result<u64, AdminError> {
        self.plan_lun(request)
    }

    fn shelf(&self) -> Option<Shelf> {
        self.shelf
    }

    fn drives(&self) -> Vec<DriveStatus> {
        self.drives.iter().map(drives::Entry::status).collect()
    }

    fn superblock(&self, drive: DriveSlot) -> Option<SuperblockStatus> {
        self.superblock_of(drive)
    }

    fn luns(&self) -> Vec<LunStatus> {
        let status = |lun: Lun<'_>| {
            let mut status = lun.status(&self.drives);
            for part in &mut status.parts {
                self.wear.fill_in(&mut part.elements);
            }
            status.trouble = status.trouble.or_else(|| self.reason_to_wait(&lun));
            status.trouble = status
                .trouble
                .or_else(|| self.impostor_trouble(lun.number()));
            status
        };
        Lun::all(&self.raids).map(status).collect()
    }

    fn ports(&self) -> Vec<PortStatus> {
        self.ports.clone()
    }

    fn counters(&self) -> Vec<CounterGroup> {
        self.plane.counters()
    }

    fn passes(&self) -> Vec<RunningPass> {
        self.plane.passes()
    }

    fn make(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        self.make_lun(request)
    }

    fn grow(&mut self, request: &MakeRequest) -> Result<(), AdminError> {
        self.grow_lun(request)
    }

    fn online(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        self.refuse_impostor(lun)?;
        self.bring_online(lun)
    }

    fn offline(&mut self, lun: LunNumber) -> Result<(), AdminError> {
        self.take_offline(lun)
    }

    fn remove(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        self.remove_lun(lun, force)
    }

    fn fail(&mut self, element: ElementId) -> Result<(), AdminError> {
        self.fail_element(element)
    }

    fn fail_replacement(&mut self, element: ElementId) -> Result<(), AdminError> {
        self.fail_twin(element)
    }

    fn unfail(&mut self, element: ElementId) -> Result<(), AdminError> {
        self.unfail_element(element)
    }

    fn replace(
        &mut self,
        element: ElementId,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError> {
        self.replace_element(element, drive, force)
    }

    fn spares(&self) -> Vec<SpareStatus> {
        self.list_spares()
    }

    fn add_spare(
        &mut self,
        drive: DriveSlot,
        dedicated_to: Option<LunNumber>,
        force: bool,
    ) -> Result<(), AdminError> {
        self.make_spare(drive, dedicated_to, force)
    }

    fn remove_spare(&mut self, drive: DriveSlot, force: bool) -> Result<(), AdminError> {
        self.unmake_spare(drive, force)
    }

    fn eject(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError> {
        self.eject_lun(lun, force)
    }

    fn rescan(&mut self) -> Result<(), AdminError> {
        if self.is_stopping {
            return Err(AdminError::Stopping);
        }
        self.settle_jobs();
        self.assemble(Occasion::Asked);
        Ok(())
    }

    fn look_elsewhere(&mut self) -> Result<(), AdminError> {
        if self.is_stopping {
            return Err(AdminError::Stopping);
        }
        self.settle_jobs();
        self.assemble(Occasion::Elsewhere);
        Ok(())
    }

    fn elsewhere(&self, number: Option<LunNumber>) -> Vec<ElsewhereStatus> {
        self.list_elsewhere(number)
    }

    fn adopt(&mut self, shelf: u16, lun: LunNumber, number: LunNumber) -> Result<(), AdminError> {
        self.adopt_lun(shelf, lun, number)
    }

    fn adopt_spares(&mut self, shelf: u16) -> Result<(), AdminError> {
        self.adopt_spares_of(shelf)
    }

    fn arrays(&mut self) -> Vec<ArrayStatus> {
        self.list_arrays()
    }

    fn import(&mut self, array: &str, lun: LunNumber) -> Result<(), AdminError> {
        self.import_array(array, lun)
    }

    fn scrub(&mut self, lun: LunNumber, action: ScrubAction) -> Result<(), AdminError> {
        self.scrub_lun(lun, action)
    }

    fn rate_limit(&self) -> RateLimit {
        self.rate_limit
    }

    fn change_access(&mut self, lun: LunNumber, change: &AccessChange) -> Result<(), AdminError> {
        self.change_access_of(lun, change)
    }

    fn set_config_string(&mut self, lun: LunNumber, string: &[u8]) -> Result<(), AdminError> {
        self.change_config_string(lun, string)
    }

    fn set_label(&mut self, lun: LunNumber, label: Option<&str>) -> Result<(), AdminError> {
        self.change_label(lun, label)
    }

    fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), AdminError> {
        self.change_rate_limit(limit)
    }

    fn set_shelf(&mut self, number: u32) -> Result<(), AdminError> {
        self.change_shelf(number)
    }

    fn check_size(
        &self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<u64, AdminError> {
        let sectors = self.fit_size(drive, bytes, force)?;
        Ok(sectors * 512)
    }

    fn set_size(
        &mut self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<(), AdminError> {
        self.change_size(drive, bytes, force)
    }

    fn jobs(&self) -> Vec<JobStatus> {
        self.list_jobs()
    }

    fn check_job(&mut self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        self.fit_job(drive, kind).map(drop)
    }

    fn begin_job(&mut self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError> {
        self.begin_drive_job(drive, kind)
    }

    fn stop_job(&mut self, drive: DriveSlot, kinds: &[JobKind]) -> Result<(), AdminError> {
        self.stop_drive_job(drive, kinds)
    }
}
