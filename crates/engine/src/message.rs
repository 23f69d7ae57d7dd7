//! What workers and administration say to one another.

use crate::worker::PortChange;
use aoe::Shelf;
use crossbeam::channel::Sender;
use disk::{NewDrive, Removal, Zeroing};
use port::{PortCounters, PortFacts};
use raid::bad_blocks::BadRange;
use raid::regions::RegionSet;
use shelf::admin::{DriveSlot, LunNumber};
use shelf::observe::WorkerLoad;
use shelf::patience::{DriveHealth, PatienceCounters};
use shelf::plane::{CounterGroup, Impostor, LunView, RateLimit, RunningPass};
use shelf::statistics::{LunStatistics, PortTally, Rates, RatesPage, StationPage};
use shelf::target::{Change, ChangeDecision, Counters, MendTicket, Report};
use std::ops::Range;
use std::sync::Arc;

/// To a worker.
#[derive(Debug)]
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
    /// Take a drive into an empty slot, and tell what came of it.
    AddDrive(Box<NewDrive>, Sender<Result<(), String>>),
    /// Give up a drive if all of its I/O is over, and tell whether it was.
    RemoveDrive(DriveSlot, Sender<Result<Removal, String>>),
    /// Tell how a drive is doing.
    DriveHealth(DriveSlot, Sender<DriveHealth>),
    /// The most that each pass goes over in a second.
    RateLimit(RateLimit),
    /// The bad sectors of a drive.
    BadBlocks(DriveSlot, Arc<[BadRange]>),
    /// Sectors that a write has written are off the list of bad ones, durably; or they stay on it.
    BadSectorsSettled(MendTicket, bool),
    /// Add ports, or take some out.
    ChangePorts(PortChange),
    /// Tell what was measured.
    Ask(Question),
    /// End, after what is in flight.
    Stop,
}

/// What was measured, a little at a time, so that no answer keeps a worker from its ports. Where there is
/// nobody to answer to any more, the administration has given up waiting.
#[derive(Clone, Debug)]
pub enum Question {
    /// The sums.
    Report(Sender<WorkerReport>),
    /// What was counted of a LUN, with its rates over so many seconds: its histograms are the most that is
    /// copied in one turn, 40 KiB.
    LunStatistics(LunNumber, u64, Sender<Option<Box<LunStatistics>>>),
    /// Whether something is under way that a reservation of a LUN shuts out.
    ShutOut(LunNumber, Sender<bool>),
    /// What a drive did in so many seconds, and how long it had I/O since the start.
    DriveLoad(DriveSlot, u64, Sender<(Rates, u64)>),
    /// What some LUNs did in so many seconds, from a number on.
    LunRates(LunNumber, u64, Sender<RatesPage>),
    /// Some of the initiators, from a place on.
    Stations(usize, Sender<StationPage>),
}

/// Events of a worker, for the administration. Settled changes have a channel of their own, so that
/// whoever waits for one never takes an event from somebody else.
#[derive(Clone, Debug)]
pub enum FromWorker {
    /// An initiator wants to change a config string.
    Change(Box<Change>),
    /// Another station has the address of a LUN.
    Impostor(Impostor),
    /// What the target has met.
    Report(Report),
    /// A drive is slow to answer, or well again.
    DriveSuspect {
        /// The drive.
        drive: DriveSlot,
        /// Whether it is slow.
        is_suspect: bool,
    },
    /// A drive turned out not to be made to hold zeroes as was thought.
    ZeroingChanged {
        /// The drive.
        drive: DriveSlot,
        /// How it is done from now on.
        zeroing: Zeroing,
    },
    /// The MTU or the link of an interface changed.
    InterfaceChanged {
        /// Its name.
        interface: String,
        /// The MTU that it serves now.
        mtu_bytes: usize,
        /// Whether it has a link now.
        has_link: bool,
    },
    /// The worker cannot go on; the text says why.
    Broken(String),
}

/// What a worker counts itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EngineCounters {
    /// Replies that had to wait because their port had no room.
    pub transmit_waits: u64,
    /// Replies that had to wait because their station is sent to no faster (`pace_mbit_per_second`).
    pub paced_replies: u64,
    /// Replies given up because their port takes nothing.
    pub replies_dropped: u64,
    /// Config changes given up because too many were waiting for a decision.
    pub configs_dropped: u64,
    /// Frames dropped because they arrived while the worker was paused.
    pub stale_frames: u64,
    /// How often it slept, because there was nothing to do for as long as it polls.
    pub sleeps: u64,
    /// Reads and writes of drives that were polled for (`io_poll`).
    pub polled_ios: u64,
    /// Frames that were handed to another worker.
    pub handed_over: u64,
    /// Frames dropped because too many were on their way to other workers.
    pub handovers_dropped: u64,
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
    /// Which of them are not another worker's.
    pub own_ports: Vec<bool>,
    /// Which of them are there: those that were taken out keep their numbers.
    pub ports_present: Vec<bool>,
    /// What the target counts of each of them.
    pub port_tallies: Vec<PortTally>,
    /// Passes over mirrors that are running.
    pub passes: Vec<RunningPass>,
    /// Commands admitted and not answered.
    pub commands_in_flight: usize,
    /// I/Os submitted and not done.
    pub ios_in_flight: usize,
    /// Its own counters.
    pub engine: EngineCounters,
    /// What its time went to, and what it did in it.
    pub load: WorkerLoad,
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
        target.push(("paced_replies", self.engine.paced_replies));
        target.push(("replies_dropped", self.engine.replies_dropped));
        target.push(("configs_dropped", self.engine.configs_dropped));
        target.push(("stale_frames", self.engine.stale_frames));
        target.push(("sleeps", self.engine.sleeps));
        target.push(("polled_ios", self.engine.polled_ios));
        target.push(("handed_over", self.engine.handed_over));
        target.push(("handovers_dropped", self.engine.handovers_dropped));
        let mut groups = vec![CounterGroup {
            name: "target".to_owned(),
            counters: target,
        }];
        // One that was taken out is nobody's.
        let own = self.ports.iter().zip(&self.own_ports);
        let own = own.filter(|(_, is_own)| **is_own);
        groups.extend(own.map(|((facts, counters), _)| CounterGroup {
            name: format!("port {} queue {}", facts.interface, facts.queue_index),
            counters: port_rows(counters),
        }));
        groups
    }
}

pub(crate) fn port_rows(counters: &PortCounters) -> Vec<(&'static str, u64)> {
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
        ("aoe_spread", counters.aoe_spread),
        ("passed_to_kernel", counters.passed_to_kernel),
        ("kernel_errors", counters.kernel_errors),
    ]
}
