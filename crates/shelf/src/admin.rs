//! Administration of a shelf: what the console asks for and what it is told.
//!
//! [`Admin`] is the whole of it. The console knows nothing else of the shelf, and the shelf nothing
//! of words and columns. Every change is durable on the disks that it concerns when the call
//! returns, or it has not happened.

mod drive;

pub use crate::ids::{DriveSlot, ElementId, LunNumber, PartId};
use crate::job::{JobKind, JobReport};
use crate::observe::Observe;
pub use crate::plane::RateLimit;
use crate::plane::{CounterGroup, RunningPass};
use aoe::{Key, MacAddress, ReservationKind, Shelf, StationAddresses, VlanId};
pub use drive::{DriveRole, DriveState, DriveStatus, SuperblockStatus};
use raid::Level;
pub use raid::drive_record::Work;
pub use raid::record::ScrubRepair;
use std::fmt;

/// State of an element, in the words that monitoring plug-ins know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElementState {
    /// In use.
    Normal,
    /// Being rebuilt onto the drive that replaces the one that failed.
    Replaced,
    /// Failed: the RAID goes on without it.
    Failed,
    /// No drive holds it.
    Missing,
}

impl ElementState {
    /// The word for the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Replaced => "replaced",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }
}

/// State of a RAID; what is not set is well. Printed comma-joined, `normal` when nothing is set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RaidState {
    /// Its mirrors, or its parity, are being made consistent.
    pub initing: bool,
    /// Members are being rebuilt.
    pub recovering: bool,
    /// Too many members are gone: it cannot serve.
    pub failed: bool,
    /// A redundant RAID lacks members.
    pub degraded: bool,
}

impl fmt::Display for RaidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failed {
            return f.pad("failed");
        }
        let words = [
            (self.initing, "initing"),
            (self.recovering, "recovering"),
            (self.degraded, "degraded"),
        ];
        let said: Vec<&str> = words.iter().filter(|w| w.0).map(|w| w.1).collect();
        if said.is_empty() {
            return f.pad("normal");
        }
        f.pad(&said.join(","))
    }
}

/// One element row of `list -l`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElementStatus {
    /// Its name.
    pub id: ElementId,
    /// State.
    pub state: ElementState,
    /// Size of the drive that holds it; 0 when missing.
    pub size_bytes: u64,
    /// The drive that holds it.
    pub drive: Option<DriveSlot>,
    /// Sectors of the drive that hold old data or none, and are not read.
    pub bad_sectors: u64,
    /// It is the drive that is being filled to take the place of the element, which has a row of its own.
    pub is_replacement: bool,
    /// Read errors that the others made good, halved every hour.
    pub read_errors: u32,
}

/// Read errors that others made good, at which a member is replaced by a spare while it works. They are
/// halved every hour, so that it takes a disk that goes bad, and not one that is old.
pub const READ_ERRORS_LIMIT: u32 = 20;

/// Most characters of a label.
pub const LABEL_CHARACTERS_MAX: usize = 16;

/// Whether a label may be one.
///
/// # Errors
/// It is too long, empty, or has control characters.
pub fn check_label(label: &str) -> Result<(), AdminError> {
    if !(1..=LABEL_CHARACTERS_MAX).contains(&label.chars().count()) {
        return Err(AdminError::LabelLength);
    }
    if label.chars().any(char::is_control) {
        return Err(AdminError::LabelUnprintable);
    }
    Ok(())
}

/// One RAID row of `list -l`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartStatus {
    /// Which of the LUN's RAIDs, from 0.
    pub part: u8,
    /// Usable size.
    pub size_bytes: u64,
    /// Level.
    pub level: Level,
    /// Bytes of a chunk; `None` for levels without chunks.
    pub chunk_bytes: Option<u32>,
    /// State.
    pub state: RaidState,
    /// A resynchronisation or rebuild met sectors that no member can read, and does not go on.
    pub is_stalled: bool,
    /// It is redundant by its level, and yet some element holds the last copy of something.
    pub is_bare: bool,
    /// Its elements in order.
    pub elements: Vec<ElementStatus>,
}

/// One row of `list`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LunStatus {
    /// Number.
    pub lun: LunNumber,
    /// Usable size.
    pub size_bytes: u64,
    /// Whether it is served.
    pub online: bool,
    /// Label; at most 16 characters.
    pub label: Option<String>,
    /// Serial number, as IDENTIFY tells it.
    pub serial: String,
    /// AoE config string.
    pub config_string: Vec<u8>,
    /// Who may use it.
    pub access: AccessStatus,
    /// Its scrubs; `None` when there is nothing to compare.
    pub scrub: Option<ScrubStatus>,
    /// Why it is not served, or not by itself.
    pub trouble: Option<String>,
    /// Its RAIDs.
    pub parts: Vec<PartStatus>,
}

/// Who may use a LUN.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AccessStatus {
    /// The stations that it answers; none for all.
    pub masks: Vec<MacAddress>,
    /// The stations that it is reserved for, without keys.
    pub reserved: Vec<MacAddress>,
    /// The kind of its reservation by key, if there is one.
    pub reservation: Option<ReservationKind>,
    /// The key that owns it.
    pub owner: Option<Key>,
    /// Counts changes of the registrations.
    pub generation: u32,
    /// The keys that are registered, oldest first.
    pub keys: Vec<KeyStatus>,
    /// The only VLAN that it is served in.
    pub vlan: Option<VlanId>,
    /// It is not written.
    pub is_read_only: bool,
}

/// A key of a reservation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyStatus {
    /// The key.
    pub key: Key,
    /// The stations that are registered under it.
    pub stations: Vec<MacAddress>,
}

/// What the administrator changes about who may use a LUN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessChange {
    /// Its mask list: first some are taken from it, then some are added.
    Masks {
        /// Taken from it.
        remove: Vec<MacAddress>,
        /// Added.
        add: Vec<MacAddress>,
    },
    /// Everybody is answered.
    ClearMasks,
    /// All reservations are gone, and all keys.
    ClearReservations,
    /// The only VLAN that it is served in; `None` for frames without a tag.
    Vlan(Option<VlanId>),
    /// Whether it refuses to be written.
    ReadOnly(bool),
}

/// A member named to `make`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberChoice {
    /// The drive in this slot.
    Drive(DriveSlot),
    /// The word `missing`: create the RAID degraded.
    Missing,
}

/// What `make` is asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MakeRequest {
    /// Number of the new LUN.
    pub lun: LunNumber,
    /// Level.
    pub level: Level,
    /// Members in element order.
    pub members: Vec<MemberChoice>,
    /// Take drives that carry something that is not ours.
    pub force: bool,
    /// The administrator declares that the members agree already (`-c`): mirrors hold equal data, parity
    /// fits.
    pub clean: bool,
    /// Chunk size: a power of two from 16 to 512; `None` for the default, 64.
    pub chunk_kib: Option<u32>,
    /// Label of the new LUN, as [`Admin::set_label`] takes it. A LUN that grows keeps the one that it has, so
    /// that [`Admin::grow`] refuses one.
    pub label: Option<String>,
}

/// A job on a drive: the one that is under way, or the last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobStatus {
    /// Tells jobs apart, since the start.
    pub number: u64,
    /// The drive.
    pub drive: DriveSlot,
    /// What it does.
    pub kind: JobKind,
    /// When it was begun.
    pub begun_unix_seconds: u64,
    /// It was asked to end, and the drive has not answered yet.
    pub is_stopping: bool,
    /// How far it is, or how it ended.
    pub report: JobReport,
}

impl JobStatus {
    /// Whether it is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.report.progress.end.is_none()
    }
}

/// One row of `spares`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpareStatus {
    /// The drive.
    pub drive: DriveSlot,
    /// Size of the whole drive; 0 when it is not up.
    pub size_bytes: u64,
    /// The only LUN that may take it; `None` for any.
    pub dedicated_to: Option<LunNumber>,
    /// Why it did not answer its last check.
    pub fault: Option<String>,
}

/// What is known of the scrubs of a LUN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubStatus {
    /// Days from one scrub to the next; 0 for never.
    pub interval_days: u16,
    /// When the last one ended.
    pub last_unix_seconds: Option<u64>,
    /// How many sectors it found to differ.
    pub last_mismatched_sectors: u64,
    /// How many of them it wrote anew.
    pub last_repaired_sectors: u64,
    /// It met sectors that could not be read or written.
    pub last_is_incomplete: bool,
    /// The sector of the LUN before which the present one is recorded to be done; `None` when there is
    /// none.
    pub done_sectors: Option<u64>,
    /// Size of the LUN.
    pub total_sectors: u64,
    /// How many sectors the present one found to differ.
    pub mismatched_sectors: u64,
    /// How many of them it wrote anew.
    pub repaired_sectors: u64,
    /// What scrubs do about members that do not agree.
    pub repair: ScrubRepair,
    /// The present one repairs everything, because it was asked to.
    pub is_repair: bool,
    /// The present one waits for the administrator.
    pub is_paused: bool,
}

/// An md array that others made, on drives of the shelf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArrayStatus {
    /// UUID, as md prints it: four groups of eight hexadecimal digits with colons between.
    pub uuid: String,
    /// Name, as md has it.
    pub name: String,
    /// Level, if it is one that can be served.
    pub level: Option<Level>,
    /// Usable size; 0 if the level is not known.
    pub size_bytes: u64,
    /// The drives that carry it.
    pub drives: Vec<DriveSlot>,
    /// Why it cannot be taken over as it is.
    pub refusal: Option<String>,
}

/// A LUN of another shelf, or a spare of one, on drives of this shelf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElsewhereStatus {
    /// The other shelf.
    pub shelf: u16,
    /// Its number there; `None` for a spare.
    pub lun: Option<LunNumber>,
    /// The levels of its RAIDs.
    pub levels: Vec<Level>,
    /// Usable size; of a spare, that of the drive.
    pub size_bytes: u64,
    /// The drives that carry it.
    pub drives: Vec<DriveSlot>,
    /// Why it cannot be taken over.
    pub refusal: Option<String>,
    /// What to know before it is taken over.
    pub remark: Option<String>,
}

/// What is to be done about the scrub of a LUN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScrubAction {
    /// Begin one now.
    Start,
    /// Begin one now that makes everything agree, whatever the policy is.
    Repair,
    /// What all others do about members that do not agree.
    Policy(ScrubRepair),
    /// End it, and forget how far it was.
    Stop,
    /// Let it wait.
    Pause,
    /// Go on with it.
    Resume,
    /// Begin one whenever so many days have gone by; 0 for never.
    Every(u16),
}

/// A port as `ifstat` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortStatus {
    /// Interface name.
    pub interface: String,
    /// The addresses that it answers from.
    pub stations: StationAddresses,
    /// MTU in bytes.
    pub mtu_bytes: usize,
    /// Whether something is at the other end of the wire.
    pub has_link: bool,
    /// How frames are exchanged with the kernel: `native`, `generic`, `packet` ….
    pub mode: String,
}

/// Why the shelf did not do what was asked. The texts are those that Coraid's tools know, where it
/// had one; the console puts `error: ` in front.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdminError {
    /// No such LUN.
    #[error("LUN {0} does not exist")]
    NoSuchLun(LunNumber),
    /// `make` of a LUN that is there.
    #[error("lun already exists")]
    LunExists(LunNumber),
    /// `make` of a LUN of which drives in no LUN carry another set. `drives` as in "1.3, 1.4".
    #[error(
        "LUN {lun} is also on drives {drives}, from an earlier make; pull them, or name them as members with -f, or use another number"
    )]
    LunElsewhere {
        /// The LUN.
        lun: LunNumber,
        /// Names of the drives.
        drives: String,
    },
    /// `grow` of a LUN that cannot have another RAID.
    #[error("LUN {lun} cannot grow: {reason}")]
    CannotGrow {
        /// The LUN.
        lun: LunNumber,
        /// Why.
        reason: String,
    },
    /// `online` of a LUN that another station answers for.
    #[error("{0}")]
    AddressTaken(String),
    /// The shelf is stopping: nothing goes online any more.
    #[error("the shelf is stopping; try again when it has started")]
    Stopping,
    /// The shelf has no number yet.
    #[error("shelf address is unset; set it with: shelf N")]
    ShelfUnset,
    /// No such slot. The text is `<shelf>.<slot>`.
    #[error("drive {0} does not exist")]
    NoSuchDrive(String),
    /// The slot is empty or its drive is down.
    #[error("drive {drive} is {state}{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    DriveNotUp {
        /// `<shelf>.<slot>`.
        drive: String,
        /// `missing` or `down`.
        state: &'static str,
        /// Why, if known.
        reason: Option<String>,
    },
    /// The drive is an element of a LUN, or was named twice.
    #[error("{0} already in use")]
    DriveInUse(String),
    /// The drive carries something that is not ours.
    #[error("{drive} carries {what}; use -f to overwrite it")]
    DriveForeign {
        /// `<shelf>.<slot>`.
        drive: String,
        /// What it carries.
        what: String,
    },
    /// The drive is too small to be a member.
    #[error("{drive} is too small: {size_bytes} bytes, at least {needed_bytes} are needed")]
    DriveTooSmall {
        /// `<shelf>.<slot>`.
        drive: String,
        /// Its size.
        size_bytes: u64,
        /// The least size that would do.
        needed_bytes: u64,
    },
    /// A member count that the level cannot have.
    #[error("wrong number of devices: {level} takes {takes}, {given} given")]
    WrongMemberCount {
        /// The level.
        level: Level,
        /// What it takes, in words.
        takes: &'static str,
        /// What was given.
        given: usize,
    },
    /// A chunk size that no RAID is made with.
    #[error("invalid chunk size {0}: a power of two from 16 to 512, in KiB")]
    InvalidChunk(u32),
    /// A chunk size for a level that has no chunks.
    #[error("raid type {0} has no chunks")]
    NoChunks(Level),
    /// Too many of the members are the word `missing`.
    #[error("too many members are missing: {level} with these members could not serve")]
    TooManyMissing {
        /// The level.
        level: Level,
    },
    /// The LUN is online, and what was asked needs it offline. `action` as in "removal".
    #[error("LUN {lun} needs to be offline before {action}")]
    LunOnline {
        /// The LUN.
        lun: LunNumber,
        /// What was asked.
        action: &'static str,
    },
    /// Too many members are gone to serve the LUN.
    #[error("LUN {lun} cannot go online: {reason}")]
    LunFailed {
        /// The LUN.
        lun: LunNumber,
        /// What is missing.
        reason: String,
    },
    /// Changing the shelf number while LUNs are online.
    #[error("cannot change shelf address with online LUNs")]
    OnlineLuns,
    /// A number that no shelf may have.
    #[error("invalid shelf number {0} [0-65534, not 4095: the Linux initiator refuses it]")]
    InvalidShelf(u32),
    /// A group address on a mask list.
    #[error("wrong format of mask: {0} is a group address")]
    WrongMask(MacAddress),
    /// A mask list that would get too long.
    #[error("mask list full: LUN {0} has 255 stations at most")]
    MaskListFull(LunNumber),
    /// Rules for a LUN whose drive carries nothing but its data.
    #[error(
        "LUN {0} is raw: nothing but data is on its drive, so that a label, masks, reservations, a VLAN or read-only \
         would be lost with the next start"
    )]
    NotRecorded(LunNumber),
    /// A label that is too long, or empty.
    #[error("label length limited to {LABEL_CHARACTERS_MAX} characters, at least one")]
    LabelLength,
    /// A label that could not be shown.
    #[error("a label has no control characters")]
    LabelUnprintable,
    /// A string that is too long.
    #[error("config string of {0} bytes is too long: at most 1024")]
    ConfigStringTooLong(usize),
    /// No such element.
    #[error("{0} does not exist")]
    NoSuchElement(ElementId),
    /// What was asked needs redundancy. `but` as in "would not sustain failure".
    #[error("raid {raid} is not redundant and {but}")]
    NotRedundant {
        /// The RAID.
        raid: PartId,
        /// What cannot be done for it.
        but: &'static str,
    },
    /// Too many members of the RAID are gone.
    #[error("raid {0} is failed")]
    RaidFailed(PartId),
    /// Its parity is not consistent yet, so that no member can be done without.
    #[error("raid {0} has uninitialized parity")]
    UninitializedParity(PartId),
    /// The element is failed or missing.
    #[error("raid device {0} is already failed")]
    AlreadyFailed(ElementId),
    /// The element holds the last copy of something.
    #[error("failing {0} would fail raid")]
    WouldFailRaid(ElementId),
    /// The element is in use.
    #[error("device {0} is not failed")]
    NotFailed(ElementId),
    /// The element is in a state in which that cannot be done about its replacement. `is` as in "is being
    /// replaced already".
    #[error("device {element} {is}")]
    Replacement {
        /// The element.
        element: ElementId,
        /// Its state.
        is: &'static str,
    },
    /// No drive is known to have been the element.
    #[error("can't unfail missing device {0}")]
    MissingDevice(ElementId),
    /// A drive that cannot hold a member.
    #[error(
        "{drive} is not large enough for raid {raid}: it has room for {room_bytes} bytes of {needed_bytes}"
    )]
    NotLargeEnough {
        /// `<shelf>.<slot>`.
        drive: String,
        /// The RAID.
        raid: PartId,
        /// What it could hold.
        room_bytes: u64,
        /// What a member holds.
        needed_bytes: u64,
    },
    /// A drive with larger sectors than the sizes of a RAID allow.
    #[error(
        "{drive} has sectors of {sector_bytes} bytes, raid {raid} takes only drives with sectors of 512"
    )]
    SectorsDoNotFit {
        /// `<shelf>.<slot>`.
        drive: String,
        /// Its sectors.
        sector_bytes: u32,
        /// The RAID.
        raid: PartId,
    },
    /// Nothing of that shelf is there, or not that LUN.
    #[error("no drive carries {what} of shelf {shelf}; restore -l lists what there is")]
    NothingElsewhere {
        /// `anything`, or `LUN 3`.
        what: String,
        /// The shelf.
        shelf: u16,
    },
    /// A LUN of another shelf that cannot be taken over.
    #[error("LUN {lun} of shelf {shelf} cannot be taken over: {reason}")]
    NotAdoptable {
        /// The shelf.
        shelf: u16,
        /// The LUN.
        lun: LunNumber,
        /// Why.
        reason: String,
    },
    /// No such md array.
    #[error("no md array {0} is on the drives; restore -l lists them")]
    NoSuchArray(String),
    /// Several arrays have the name.
    #[error("more than one md array is named {0}; name it by its UUID")]
    AmbiguousArray(String),
    /// An md array that cannot be taken over.
    #[error("md array {array} cannot be a LUN: {reason}")]
    NotImportable {
        /// Its name.
        array: String,
        /// Why.
        reason: String,
    },
    /// `scrub start` of a LUN that has a scrub.
    #[error("a scrub of LUN {0} is under way")]
    ScrubUnderWay(LunNumber),
    /// There is no scrub to stop, pause or resume.
    #[error("no scrub of LUN {0} is under way")]
    NoScrub(LunNumber),
    /// The drive is no spare.
    #[error("{0} is not a spare")]
    NotASpare(String),
    /// The pool is full.
    #[error("too many spares: there are 16 at most")]
    TooManySpares,
    /// A drive that is used has no job that destroys it.
    #[error("drive {drive} has role {role}")]
    DriveHasRole {
        /// `<shelf>.<slot>`.
        drive: String,
        /// The element, or `spare`.
        role: String,
    },
    /// A drive has one job at a time.
    #[error("{drive} has a job already: {kind}")]
    DriveBusy {
        /// `<shelf>.<slot>`.
        drive: String,
        /// The job.
        kind: JobKind,
    },
    /// A size that leaves no room for where it is noted.
    #[error("{drive}: {most_bytes} bytes are the most to set; setsize -c uses all of it")]
    SizeTooLarge {
        /// `<shelf>.<slot>`.
        drive: String,
        /// The most.
        most_bytes: u64,
    },
    /// There is no such job to stop.
    #[error("no such job of {0} is under way")]
    NoJob(String),
    /// A job was not begun.
    #[error("the {kind} of {drive} was not begun: {reason}")]
    JobRefused {
        /// `<shelf>.<slot>`.
        drive: String,
        /// The job.
        kind: JobKind,
        /// Why.
        reason: String,
    },
    /// I/O that was given up may still land on the drive, over whatever is written to it after that.
    #[error(
        "{drive} has I/O outstanding since {seconds} s: {ios} that were given up may still land; when it has \
         answered, try again, or restart the machine with the drive pulled"
    )]
    IoOutstanding {
        /// `<shelf>.<slot>`.
        drive: String,
        /// How many.
        ios: u32,
        /// Age of the oldest.
        seconds: u64,
    },
    /// A drive or the state directory failed while the change was made durable. Says what, where,
    /// and in which state things are now.
    #[error("{0}")]
    Io(String),
}

/// The shelf, as its administrators see it.
pub trait Admin: Observe {
    /// The shelf number, if it is set.
    fn shelf(&self) -> Option<Shelf>;

    /// Every configured slot, in slot order.
    fn drives(&self) -> Vec<DriveStatus>;

    /// What the superblock of a drive says, if it is a member in use, a replacement, or a spare.
    fn superblock(&self, drive: DriveSlot) -> Option<SuperblockStatus>;

    /// Every LUN, in number order.
    fn luns(&self) -> Vec<LunStatus>;

    /// Every port.
    fn ports(&self) -> Vec<PortStatus>;

    /// What the data path has counted since the start: requests, and what was dropped and why.
    fn counters(&self) -> Vec<CounterGroup>;

    /// The long jobs that are running.
    fn passes(&self) -> Vec<RunningPass>;

    /// Creates a LUN, offline.
    ///
    /// # Errors
    /// Any [`AdminError`] that concerns members; then nothing was changed.
    fn make(&mut self, request: &MakeRequest) -> Result<(), AdminError>;

    /// Has somebody act on a copy of the shelf, on which everything is as here, and nothing is done: what the
    /// copy refuses is what would be refused here, for the same reason.
    fn rehearse(&mut self, act: &mut dyn FnMut(&mut dyn Admin));

    /// What [`Admin::make`] would say, without doing it; the usable size if it would be done.
    ///
    /// # Errors
    /// As for [`Admin::make`], but for drives that fail to be written.
    fn plan_make(&mut self, request: &MakeRequest) -> Result<u64, AdminError>;

    /// Appends a RAID to a LUN, which may be online: it has its room at once. What is said of the LUN in
    /// the request is which one it is; the rest is as for [`Admin::make`].
    ///
    /// # Errors
    /// No such LUN, it cannot have another RAID or lacks one, or any [`AdminError`] that concerns members.
    fn grow(&mut self, request: &MakeRequest) -> Result<(), AdminError>;

    /// Serves a LUN. Doing it twice is no error.
    ///
    /// # Errors
    /// No such LUN, too many members gone, or a member failed to record it.
    fn online(&mut self, lun: LunNumber) -> Result<(), AdminError>;

    /// Stops serving a LUN, after what is in flight. Doing it twice is no error.
    ///
    /// # Errors
    /// No such LUN, or a member failed to record it.
    fn offline(&mut self, lun: LunNumber) -> Result<(), AdminError>;

    /// Forgets a LUN and erases its metadata from its members. With `force` even when it is online.
    ///
    /// # Errors
    /// No such LUN, it is online, or a member failed.
    fn remove(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError>;

    /// Fails an element: the RAID goes on without it, until it is replaced. A spare takes its place
    /// soon, if there is one that fits.
    ///
    /// # Errors
    /// When the RAID needs the element, it is failed already, or the others could not record it.
    fn fail(&mut self, element: ElementId) -> Result<(), AdminError>;

    /// Drops the drive that is being filled to take the place of an element, which stays in use.
    ///
    /// # Errors
    /// When the element is not being replaced, or the others could not record it.
    fn fail_replacement(&mut self, element: ElementId) -> Result<(), AdminError>;

    /// Takes a failed element's drive into use again: it is rebuilt.
    ///
    /// # Errors
    /// When the element is not failed, its drive is gone or fails again.
    fn unfail(&mut self, element: ElementId) -> Result<(), AdminError>;

    /// Rebuilds an element that is failed or missing on a drive, which is free or a spare; with
    /// `force` on one that carries something that is not ours. One that still works stays in use until
    /// the drive holds all that it holds, and takes its place.
    ///
    /// # Errors
    /// When the element is being rebuilt or replaced already, the RAID cannot rebuild, the drive does not
    /// fit or fails.
    fn replace(
        &mut self,
        element: ElementId,
        drive: DriveSlot,
        force: bool,
    ) -> Result<(), AdminError>;

    /// Every spare, in slot order.
    fn spares(&self) -> Vec<SpareStatus>;

    /// Makes a drive a spare: of the shelf, or of one LUN; with `force` also one that carries something
    /// that is not ours. A RAID that lacks a member takes it soon.
    ///
    /// # Errors
    /// When the drive is in use, is too small, carries something or fails; or there are too many.
    fn add_spare(
        &mut self,
        drive: DriveSlot,
        dedicated_to: Option<LunNumber>,
        force: bool,
    ) -> Result<(), AdminError>;

    /// Takes a spare from the pool and erases its mark; with `force` also when that fails.
    ///
    /// # Errors
    /// When the drive is no spare, or fails.
    fn remove_spare(&mut self, drive: DriveSlot, force: bool) -> Result<(), AdminError>;

    /// Lets go of a LUN and its drives, so that they may be pulled; with `force` even when it is online.
    /// It stays on the drives: [`Admin::rescan`] and the next start find it again.
    ///
    /// # Errors
    /// No such LUN, it is online, or the workers do not let go of it.
    fn eject(&mut self, lun: LunNumber, force: bool) -> Result<(), AdminError>;

    /// Looks at all drives that are in no LUN, and takes in what is found there, as a start does.
    ///
    /// # Errors
    /// When the shelf is stopping.
    fn rescan(&mut self) -> Result<(), AdminError>;

    /// Looks at the drives again for what other shelves left there. A LUN of this one that was ejected stays
    /// so.
    ///
    /// # Errors
    /// When the shelf is stopping.
    fn look_elsewhere(&mut self) -> Result<(), AdminError>;

    /// The LUNs and spares of other shelves, as they were when the drives were looked at last. `number` is
    /// the one that a LUN would get; `None` for its own.
    fn elsewhere(&self, number: Option<LunNumber>) -> Vec<ElsewhereStatus>;

    /// Takes over a LUN of another shelf, under a number of this one. It is served if it was, unless
    /// elements are away.
    ///
    /// # Errors
    /// No such LUN there, the number is taken, the LUN is not whole, or its members failed.
    fn adopt(&mut self, shelf: u16, lun: LunNumber, number: LunNumber) -> Result<(), AdminError>;

    /// Takes over the spares of another shelf. Those of one LUN stay so if it is here under its number.
    ///
    /// # Errors
    /// When there are too many spares, or a drive fails.
    fn adopt_spares(&mut self, shelf: u16) -> Result<(), AdminError>;

    /// The md arrays that others made, on drives that are in no LUN.
    fn arrays(&mut self) -> Vec<ArrayStatus>;

    /// Takes over an array that others made, by its UUID or name, as a LUN, offline. No byte of its data
    /// is changed, and Linux can still assemble it.
    ///
    /// # Errors
    /// No such array, more than one of that name, the LUN exists, or the array cannot be served.
    fn import(&mut self, array: &str, lun: LunNumber) -> Result<(), AdminError>;

    /// Begins, ends, pauses or schedules the scrub of a LUN.
    ///
    /// # Errors
    /// No such LUN, nothing to compare in it, no scrub or one already, or a member failed.
    fn scrub(&mut self, lun: LunNumber, action: ScrubAction) -> Result<(), AdminError>;

    /// Changes who may use a LUN.
    ///
    /// # Errors
    /// No such LUN, a list that is full, or a member failed to record it.
    fn change_access(&mut self, lun: LunNumber, change: &AccessChange) -> Result<(), AdminError>;

    /// Sets the AoE config string of a LUN.
    ///
    /// # Errors
    /// No such LUN, a string that is too long, or a member failed to record it.
    fn set_config_string(&mut self, lun: LunNumber, string: &[u8]) -> Result<(), AdminError>;

    /// Labels a LUN; `None` takes the label away.
    ///
    /// # Errors
    /// No such LUN, a label that is none, or a member failed to record it.
    fn set_label(&mut self, lun: LunNumber, label: Option<&str>) -> Result<(), AdminError>;

    /// The most that each pass goes over in a second.
    fn rate_limit(&self) -> RateLimit;

    /// Sets that; kept over restarts.
    ///
    /// # Errors
    /// It could not be stored, or a worker takes no messages any more.
    fn set_rate_limit(&mut self, limit: RateLimit) -> Result<(), AdminError>;

    /// Gives the shelf a number; LUNs move with it.
    ///
    /// # Errors
    /// Invalid number, online LUNs, or the change could not be made durable.
    fn set_shelf(&mut self, number: u32) -> Result<(), AdminError>;

    /// The job that each drive has, or the last one that it had since the start, in slot order.
    fn jobs(&self) -> Vec<JobStatus>;

    /// Whether a job may be begun on a drive.
    ///
    /// # Errors
    /// As [`Admin::begin_job`], but for a drive that fails to be written.
    fn check_job(&mut self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError>;

    /// Begins a job on a drive. One that destroys what is on it takes drives that have no role, whatever they
    /// carry; but a copy of another drive takes only one that carries nothing, and nobody has that one either
    /// while it is copied.
    ///
    /// # Errors
    /// No such drive, it is not up, has a role or a job, or could not be marked. It may have been
    /// then: it says so itself.
    fn begin_job(&mut self, drive: DriveSlot, kind: JobKind) -> Result<(), AdminError>;

    /// Asks the job of a drive to end, if it is of one of these kinds. It does so when the drive has
    /// answered.
    ///
    /// # Errors
    /// No such drive, or no such job.
    fn stop_job(&mut self, drive: DriveSlot, kinds: &[JobKind]) -> Result<(), AdminError>;

    /// How many bytes of a drive would be used after [`Admin::set_size`].
    ///
    /// # Errors
    /// As [`Admin::set_size`], but for a drive that fails to be written.
    fn check_size(
        &self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<u64, AdminError>;

    /// Uses so many bytes of a drive that is in no LUN, or all of it with `None`; kept on the drive. With
    /// `force` also of one that carries something that is not ours, of which the last block is overwritten.
    ///
    /// # Errors
    /// When the drive is in use, carries something, is not so large, or fails.
    fn set_size(
        &mut self,
        drive: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<(), AdminError>;
}
