//! What workers and administration say to one another.

use aoe::Shelf;
use crossbeam::channel::Sender;
use port::{PortCounters, PortFacts};
use raid::bad_blocks::BadRange;
use raid::regions::{RegionIndex, RegionSet};
use shelf::admin::{DriveSlot, LunNumber};
use shelf::patience::{DriveHealth, PatienceCounters};
use shelf::plane::{CounterGroup, Impostor, LunView, RateLimit, RunningPass};
use shelf::target::{
    Action, Change, ChangeDecision, Counters, Io, Lacking, MendTicket, ScrubFinding,
};
use std::ops::Range;
use std::sync::Arc;

/// To a worker.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// Use this view. Answered on the channel of settled changes.
    Attach(Arc<LunView>),
    /// Forget this LUN. Answered on the channel of settled changes.
    Detach(LunNumber),
    /// Broadcast its advertisement.
    Advertise(LunNumber),
    /// Ask on every port who else has the addresses of these LUNs.
    Probe(Shelf, Arc<[LunNumber]>),
    /// Say who answered that.
    Impostors(Sender<Vec<Impostor>>),
    /// A config change was decided.
    ChangeDone(Box<Change>, ChangeDecision),
    /// The bits of regions are durable, or cannot be made so.
    RegionsReady {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The regions.
        regions: Range<u32>,
        /// Whether their bits are durable.
        ready: bool,
    },
    /// Take back regions that are not written, and tell which.
    TakeIdleRegions {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The regions in question.
        candidates: Arc<RegionSet>,
        /// Where to tell.
        answer: Sender<RegionSet>,
    },
    /// Tell how a drive is doing.
    DriveHealth(DriveSlot, Sender<DriveHealth>),
    /// The most that each pass goes over in a second.
    RateLimit(RateLimit),
    /// The bad sectors of a drive.
    BadBlocks(DriveSlot, Arc<[BadRange]>),
    /// Sectors that a write has written are off the list of bad ones, durably; or they stay on it.
    BadSectorsSettled(MendTicket, bool),
    /// Tell your counters.
    Report(Sender<WorkerReport>),
    /// End, after what is in flight.
    Stop,
}

/// Events of a worker, for the administration. Settled changes have a channel of their own, so that
/// whoever waits for one never takes an event from somebody else.
#[derive(Clone, Debug)]
pub enum FromWorker {
    /// An initiator wants to change a config string.
    Change(Box<Change>),
    /// Another station has the address of a LUN.
    Impostor(Impostor),
    /// A member failed an I/O; a redundant LUN must get a new view.
    MemberError {
        /// The LUN.
        lun: LunNumber,
        /// What failed.
        io: Io,
    },
    /// A member does not answer an I/O; a redundant LUN must get a new view.
    MemberHangs {
        /// The LUN.
        lun: LunNumber,
        /// What was abandoned.
        io: Io,
    },
    /// A drive is slow to answer, or well again.
    DriveSuspect {
        /// The drive.
        drive: DriveSlot,
        /// Whether it is slow.
        is_suspect: bool,
    },
    /// Writes wait for a group of regions.
    WantRegions {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The first of the group.
        group: RegionIndex,
    },
    /// Sectors that were bad have been written.
    BadBlocksWritten {
        /// The drive.
        drive: DriveSlot,
        /// What was written.
        range: BadRange,
        /// The write that waits for them to be off the list.
        ticket: Option<MendTicket>,
    },
    /// Lost sectors of an element have been written.
    LostWritten {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The element.
        element: u8,
        /// Its sectors.
        range: BadRange,
        /// The epoch of the redo log in which that was.
        epoch: u64,
        /// The write that waits for them to be off the list.
        ticket: MendTicket,
    },
    /// The MTU of an interface changed.
    MtuChanged {
        /// Its name.
        interface: String,
        /// What it serves now.
        mtu_bytes: usize,
    },
    /// A scrub has found members that do not agree.
    ScrubFound {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The pass.
        pass: u64,
        /// What it has found.
        found: ScrubFinding,
    },
    /// A pass over mirrors has reached a checkpoint.
    SyncReached {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The pass.
        pass: u64,
        /// Everything before this sector is done.
        lba: u64,
    },
    /// A pass has met a sector that nobody can give; its step waits for a view.
    SyncUnreadable {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The pass.
        pass: u64,
        /// Who lacks what.
        lacking: Lacking,
    },
    /// A pass over mirrors has come to its end.
    SyncEnded {
        /// The LUN.
        lun: LunNumber,
        /// The part.
        part: u8,
        /// The pass.
        pass: u64,
        /// Whether everything was read and written.
        complete: bool,
    },
    /// The worker cannot go on; the text says why.
    Broken(String),
}

/// What a worker counts itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EngineCounters {
    /// Replies that had to wait because their port had no room.
    pub transmit_waits: u64,
    /// Replies given up because their port takes nothing.
    pub replies_dropped: u64,
    /// Config changes given up because too many were waiting for a decision.
    pub configs_dropped: u64,
    /// Frames dropped because they arrived while the worker was paused.
    pub stale_frames: u64,
}

/// What a worker has counted.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// Its target's counters.
    pub target: Counters,
    /// What its watch over slow drives counted.
    pub patience: PatienceCounters,
    /// Its ports.
    pub ports: Vec<(PortFacts, PortCounters)>,
    /// Passes over mirrors that are running.
    pub passes: Vec<RunningPass>,
    /// Commands admitted and not answered.
    pub commands_in_flight: usize,
    /// I/Os submitted and not done.
    pub ios_in_flight: usize,
    /// Its own counters.
    pub engine: EngineCounters,
}

impl WorkerReport {
    /// What the report says, in groups with names.
    #[must_use]
    pub fn groups(&self) -> Vec<CounterGroup> {
        let mut target = self.target.rows();
        target.push(("commands_in_flight", self.commands_in_flight as u64));
        target.push(("ios_in_flight", self.ios_in_flight as u64));
        target.extend(self.patience.rows());
        target.push(("transmit_waits", self.engine.transmit_waits));
        target.push(("replies_dropped", self.engine.replies_dropped));
        target.push(("configs_dropped", self.engine.configs_dropped));
        target.push(("stale_frames", self.engine.stale_frames));
        let mut groups = vec![CounterGroup {
            name: "target".to_owned(),
            counters: target,
        }];
        groups.extend(self.ports.iter().map(|(facts, counters)| CounterGroup {
            name: format!("port {} queue {}", facts.interface, facts.queue_index),
            counters: port_rows(counters),
        }));
        groups
    }
}

fn port_rows(counters: &PortCounters) -> Vec<(&'static str, u64)> {
    vec![
        ("rx_frames", counters.rx_frames),
        ("rx_bytes", counters.rx_bytes),
        ("tx_frames", counters.tx_frames),
        ("tx_bytes", counters.tx_bytes),
        ("tx_full", counters.tx_full),
        ("tx_too_long", counters.tx_too_long),
        ("tx_invalid", counters.tx_invalid),
        ("rx_dropped", counters.rx_dropped),
        ("rx_ring_full", counters.rx_ring_full),
        ("fill_ring_empty", counters.fill_ring_empty),
        ("rx_invalid", counters.rx_invalid),
        ("rx_other_host", counters.rx_other_host),
        ("aoe_to_kernel", counters.aoe_to_kernel),
        ("passed_to_kernel", counters.passed_to_kernel),
        ("kernel_errors", counters.kernel_errors),
    ]
}

impl FromWorker {
    /// What the administration is to hear of an action; `None` for those that the worker carries out itself.
    pub(crate) fn of(action: &Action) -> Option<Self> {
        Some(match *action {
            Action::MemberError { lun, io } => Self::MemberError { lun, io },
            Action::MemberHangs { lun, io } => Self::MemberHangs { lun, io },
            Action::WantRegions { lun, part, group } => Self::WantRegions { lun, part, group },
            Action::BadSectorsWritten {
                drive,
                range,
                ticket,
            } => Self::BadBlocksWritten {
                drive,
                range,
                ticket,
            },
            Action::LostWritten {
                lun,
                part,
                element,
                range,
                epoch,
                ticket,
            } => Self::LostWritten {
                lun,
                part,
                element,
                range,
                epoch,
                ticket,
            },
            _ => return Self::of_pass(action),
        })
    }

    /// The same of an action of a pass.
    fn of_pass(action: &Action) -> Option<Self> {
        Some(match *action {
            Action::SyncReached {
                lun,
                part,
                pass,
                lba,
            } => Self::SyncReached {
                lun,
                part,
                pass,
                lba,
            },
            Action::SyncUnreadable {
                lun,
                part,
                pass,
                lacking,
            } => Self::SyncUnreadable {
                lun,
                part,
                pass,
                lacking,
            },
            Action::ScrubFound {
                lun,
                part,
                pass,
                found,
            } => Self::ScrubFound {
                lun,
                part,
                pass,
                found,
            },
            Action::SyncEnded {
                lun,
                part,
                pass,
                complete,
            } => Self::SyncEnded {
                lun,
                part,
                pass,
                complete,
            },
            _ => return None,
        })
    }
}
