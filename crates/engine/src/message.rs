//! What workers and administration say to one another.

use crossbeam::channel::Sender;
use port::{PortCounters, PortFacts};
use shelf::admin::LunNumber;
use shelf::plane::LunView;
use shelf::target::{ConfigChange, ConfigDecision, Counters, Io};
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
    /// A config change was decided.
    ConfigDone(Box<ConfigChange>, ConfigDecision),
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
    ConfigChange(Box<ConfigChange>),
    /// A member failed an I/O; a redundant LUN must get a new view.
    MemberError {
        /// The LUN.
        lun: LunNumber,
        /// What failed.
        io: Io,
    },
    /// The worker cannot go on; the text says why.
    Broken(String),
}

/// What a worker has counted.
#[derive(Clone, Debug)]
pub struct WorkerReport {
    /// Its target's counters.
    pub target: Counters,
    /// Its ports.
    pub ports: Vec<(PortFacts, PortCounters)>,
    /// Commands admitted and not answered.
    pub commands_in_flight: usize,
    /// I/Os submitted and not done.
    pub ios_in_flight: usize,
    /// Frames that could not leave because the port had no room, since the start.
    pub transmit_waits: u64,
}
