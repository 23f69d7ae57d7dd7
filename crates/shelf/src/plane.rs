//! The seams between administration, disks and data path.
//!
//! The administration ([`crate::admin`]) changes what is on the disks and what is served; the data
//! path ([`crate::target`]) serves it. They share nothing but immutable [`LunView`]s, handed over
//! through [`DataPlane`]; a view is replaced as a whole, never edited.

use crate::access::Access;
use crate::ids::{DriveSlot, LunNumber};
use crate::job::{Job, JobHandle, JobSource, Pace};
use crate::observe::Observe;
use crate::patience::DriveHealth;
use crate::target::MendTicket;
use aoe::{MacAddress, SECTOR_BYTES, Shelf};
use raid::Geometry;
use raid::bad_blocks::BadRange;
use raid::layout::Area;
use raid::log::LogParameters;
use raid::lost::LostRange;
use raid::record::ScrubRepair;
use raid::regions::{RegionMap, RegionSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use raid::Unit;

/// A LUN as the data path needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LunView {
    /// Number; the AoE minor.
    pub lun: LunNumber,
    /// Shelf; the AoE major.
    pub shelf: Shelf,
    /// Served: an offline LUN is silent (conformance row 115).
    pub online: bool,
    /// Usable size.
    pub capacity_sectors: u64,
    /// What its drives are asked for is whole units. It is the same for as long as the LUN is attached.
    pub unit: Unit,
    /// Its RAIDs, joined end to end.
    pub parts: Vec<PartView>,
    /// The answer to IDENTIFY.
    pub identify: Box<[u8; 512]>,
    /// AoE config string, at most 1024 bytes.
    pub config_string: Vec<u8>,
    /// Who may use it.
    pub access: Access,
}

impl LunView {
    /// Whether some part has parity.
    #[must_use]
    pub fn has_parity(&self) -> bool {
        self.parts.iter().any(PartView::has_parity)
    }

    /// Whether all parts have.
    #[must_use]
    pub fn is_all_parity(&self) -> bool {
        self.parts.iter().all(PartView::has_parity)
    }
}

/// One RAID of a LUN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartView {
    /// Where its data lies.
    pub geometry: Geometry,
    /// Members in element order; `None` is missing or failed and takes no I/O.
    pub members: Vec<Option<MemberView>>,
    /// Devices that are to take the place of members that still work, by element; empty when there are
    /// none. A twin is written whatever its member is written, and never read.
    pub twins: Vec<Option<MemberView>>,
    /// Whether mirrors may differ where nobody wrote since the last unclean stop. Then reads go to
    /// the first present member of a mirror set only, so that a sector reads the same every time.
    pub mirrors_unsynced: bool,
    /// A pass over the mirrors that is to be run while the LUN is online.
    pub sync: Option<SyncView>,
    /// Which of its sectors may be written. `None` for a part without a write-intent bitmap: all.
    pub regions: Option<RegionsView>,
    /// The redo log of a part with parity. Without one (there is no room for it on members that others
    /// made) an unclean stop can leave parity that does not match.
    pub log: Option<LogView>,
    /// Sectors that clients are not to be given before they have written them.
    pub lost: Arc<[LostRange]>,
}

impl PartView {
    /// Whether it is a raid5 or raid6.
    #[must_use]
    pub const fn has_parity(&self) -> bool {
        self.geometry.parity_count() > 0
    }

    /// The device that is to take the place of an element that still works.
    #[must_use]
    pub fn twin(&self, element: u8) -> Option<&MemberView> {
        self.twins.get(usize::from(element))?.as_ref()
    }

    /// Whether all members are there and hold everything.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let holds_all = |member: &Option<MemberView>| member.is_some_and(|member| member.in_sync);
        self.members.iter().all(holds_all)
    }

    /// The elements that have a twin, as bits.
    #[must_use]
    pub fn twin_bits(&self) -> u64 {
        let twins = (0_u32..).zip(&self.twins);
        let present = twins.filter(|(_, twin)| twin.is_some());
        present.fold(0, |bits, (element, _)| bits | 1 << element)
    }
}

/// The redo log of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogView {
    /// UUID of the md array.
    pub set_uuid: uuid::Uuid,
    /// How members divide their log areas, and the epoch, which no other time of being served has had.
    pub parameters: LogParameters,
}

/// The write-intent bitmap of a part, as it was when the view was made. The data path writes no region
/// before it was told that its bit is durable on every member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegionsView {
    /// How the part falls into regions.
    pub map: RegionMap,
    /// Regions whose bits are durable.
    pub ready: Arc<RegionSet>,
}

/// A pass over the mirrors of a part: reads each range from a member that is in sync and writes it to
/// those that may differ: all others while mirrors are unsynced (resync), else those that are not in
/// sync (rebuild).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncView {
    /// Tells passes apart: a view with the same number continues the pass that is running.
    pub pass: u64,
    /// Where a new pass begins, in sectors of the part.
    pub start_lba: u64,
    /// What it does.
    pub kind: SyncKind,
    /// The regions that it concerns, by the map of [`PartView::regions`]; `None` for all.
    pub regions: Option<Arc<RegionSet>>,
    /// For one that compares: what it does about members that do not agree.
    pub repair: ScrubRepair,
    /// How many reports of sectors that nobody can give
    /// ([`crate::target::PassEvent::Unreadable`]) have been dealt with: their steps are done.
    pub noted: u64,
}

/// What a pass does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum SyncKind {
    /// Writes to members what they lack.
    #[default]
    Resync,
    /// Compares members that are to agree. It writes what could not be read, and what it is told to repair.
    Check,
}

/// How far a pass is, in sectors of those regions of the part that it concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncProgress {
    /// The LUN.
    pub lun: LunNumber,
    /// The part.
    pub part: u8,
    /// The pass.
    pub pass: u64,
    /// What was done before it began.
    pub begun_sectors: u64,
    /// What is done.
    pub done_sectors: u64,
    /// All of it.
    pub total_sectors: u64,
    /// What it does.
    pub kind: SyncKind,
}

/// A member that takes I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberView {
    /// The drive that holds it.
    pub drive: DriveSlot,
    /// Sector of the drive where member sector 0 lies.
    pub data_offset_sectors: u64,
    /// Whether it holds everything. A member that does not is written, and never read.
    pub in_sync: bool,
    /// Where the redo log lies on the drive; without meaning when the part has none.
    pub log_area: Area,
    /// What the redo log knows the device by, other than its element; never 0.
    pub log_tag: u32,
}

/// The most that a pass goes over in a second.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RateLimit {
    /// Bytes; 0 for as much as can be.
    pub bytes_per_second: u64,
    /// Bytes of each drive of the RAID; else of all of them together.
    pub is_per_drive: bool,
}

impl RateLimit {
    /// No limit.
    pub const NONE: Self = Self {
        bytes_per_second: 0,
        is_per_drive: false,
    };
}

/// A pass that is running, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunningPass {
    /// How far it is.
    pub progress: SyncProgress,
    /// Since when it runs.
    pub elapsed: Duration,
}

/// The workers, as the administration sees them.
pub trait DataPlane: Observe + Send {
    /// Makes every worker use `view` for its LUN from now on. When this returns, no worker uses an
    /// older view of it, and what was admitted under an older view has been answered or planned anew.
    ///
    /// # Errors
    /// A text when the workers did not answer (they are stopping, or hang).
    fn attach(&mut self, view: Arc<LunView>) -> Result<(), String>;

    /// Makes every worker forget the LUN. When this returns, none of its commands is in flight.
    ///
    /// # Errors
    /// As [`DataPlane::attach`].
    fn detach(&mut self, lun: LunNumber) -> Result<Detached, String>;

    /// Tells every worker that the bits of regions are durable, or, with `ready` false, that they cannot
    /// be made so: writes that wait for them begin, or are answered with a fault.
    ///
    /// # Errors
    /// A text when a worker takes no messages any more.
    fn regions_ready(
        &mut self,
        lun: LunNumber,
        part: u8,
        regions: Range<u32>,
        ready: bool,
    ) -> Result<(), String>;

    /// Takes from the data path those of `candidates` that were not written since two calls ago and that
    /// no write is under way to. When this returns, a write to one of them waits for
    /// [`DataPlane::regions_ready`].
    ///
    /// # Errors
    /// As [`DataPlane::attach`]. Then some may have been taken, which does no harm.
    fn take_idle_regions(
        &mut self,
        lun: LunNumber,
        part: u8,
        candidates: Arc<RegionSet>,
    ) -> Result<RegionSet, String>;

    /// Replaces the list of bad sectors of a drive, in order and apart: reads of them fail without being
    /// tried. It counts from the next view on at the latest.
    ///
    /// # Errors
    /// A text when a worker takes no messages any more.
    fn set_bad_blocks(&mut self, drive: DriveSlot, ranges: Arc<[BadRange]>) -> Result<(), String>;

    /// Tells every worker that sectors which a write has written are off the list of bad ones, durably; or,
    /// with `ok` false, that they stay on it although nobody else holds what was written. The list that says
    /// so was told before.
    ///
    /// # Errors
    /// A text when a worker takes no messages any more.
    fn bad_sectors_settled(&mut self, ticket: MendTicket, ok: bool) -> Result<(), String>;

    /// Sets the most that each pass goes over in a second.
    ///
    /// # Errors
    /// A text when a worker takes no messages any more.
    fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), String>;

    /// How a drive is doing; above all, whether I/O that was given up may still land on it.
    ///
    /// # Errors
    /// A text when a worker does not answer: then nothing is known.
    fn drive_health(&self, drive: DriveSlot) -> Result<DriveHealth, String>;

    /// Broadcasts the Query Config advertisement of an online LUN on every port.
    fn advertise(&mut self, lun: LunNumber);

    /// Asks on every port for LUNs of this shelf. Another station that answers is reported as an event, at
    /// any time.
    fn probe(&mut self, shelf: Shelf, luns: &[LunNumber]);

    /// Does the same, waits as long as answers take, and gives who answered.
    fn find_impostors(&mut self, shelf: Shelf, luns: &[LunNumber]) -> Vec<Impostor>;

    /// What workers and ports have counted since they started. A worker that does not answer in time
    /// is left out.
    fn counters(&self) -> Vec<CounterGroup>;

    /// The passes that are running.
    fn passes(&self) -> Vec<RunningPass>;
}

/// Another station with the address of a LUN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Impostor {
    /// The LUN.
    pub lun: LunNumber,
    /// The interface that it was heard on.
    pub interface: String,
    /// The station.
    pub mac: MacAddress,
}

/// How a LUN was when it was let go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Detached {
    /// A write to mirrors was answered with a fault: some may hold it and others not, and nothing else
    /// tells.
    pub mirrors_differ: bool,
    /// A member failed a write on the way home, and nobody decided about that any more: before the LUN is
    /// served again its redo log is to be recovered, as after a crash.
    pub is_log_pending: bool,
}

/// What one part of the data path has counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CounterGroup {
    /// The part: `target`, or `port eth1`.
    pub name: String,
    /// Counters by name.
    pub counters: Vec<(&'static str, u64)>,
}

/// Why a drive did not read or write metadata.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation} of {sectors} sectors at sector {sector} failed: {reason}")]
pub struct DriveError {
    /// `read` or `write`.
    pub operation: &'static str,
    /// First sector.
    pub sector: u64,
    /// How many.
    pub sectors: u64,
    /// What the drive or the kernel said.
    pub reason: String,
    /// It said nothing for too long, and may do it yet. Until it has, whatever else it is asked is refused.
    pub is_silent: bool,
}

impl DriveError {
    /// What the drive or the kernel said of an operation on so many bytes.
    #[must_use]
    pub fn new(
        operation: &'static str,
        sector: u64,
        bytes: usize,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            sector,
            sectors: (bytes / SECTOR_BYTES) as u64,
            reason: reason.into(),
            is_silent: false,
        }
    }
}

/// A drive as the administration uses it: slow, synchronous, whole sectors of its own.
pub trait MetadataDrive: Send {
    /// Size of the drive.
    fn size_sectors(&self) -> u64;

    /// Its own sectors: it takes only multiples of them, at multiples of them.
    fn unit(&self) -> Unit {
        Unit::SECTOR
    }

    /// Whether it is a null drive: it drops what is written to it.
    fn keeps_nothing(&self) -> bool {
        false
    }

    /// Fills `buffer`, whole units, from `sector` on.
    ///
    /// # Errors
    /// When not all of it could be read.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), DriveError>;

    /// Writes `data`, whole units, from `sector` on; durable when this returns.
    ///
    /// # Errors
    /// When not all of it could be made durable; any part of it may be on the drive.
    fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), DriveError>;

    /// Begins a job on the whole drive, beside everything else. A copy gets the drive that it copies.
    ///
    /// # Errors
    /// Why it is not carried out. A drive of a kind that has no jobs says so.
    fn begin(
        &mut self,
        job: Job,
        source: Option<Box<dyn JobSource>>,
        pace: Pace,
    ) -> Result<Box<dyn JobHandle>, String> {
        let _ = (source, pace);
        Err(format!("a drive of this kind has no {}", job.kind()))
    }

    /// The drive as one that a job on another one copies.
    ///
    /// # Errors
    /// Why it cannot be copied. A drive of a kind that has no jobs says so.
    fn source(&self) -> Result<Box<dyn JobSource>, String> {
        Err("a drive of this kind cannot be copied".to_owned())
    }
}
