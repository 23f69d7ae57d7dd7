//! What was measured, as administrators ask for it.

use crate::ids::{DriveSlot, LunNumber};
use crate::plane::CounterGroup;
use crate::statistics::{ForgottenStations, LunStatistics, Rates, StationStatistics};

/// The link of a port.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkStatus {
    /// Whether there is a carrier.
    pub has_carrier: bool,
    /// Mb/s of now, if the driver tells.
    pub speed_mbps: Option<u32>,
    /// The fastest that it can be, if the driver tells.
    pub speed_max_mbps: Option<u32>,
}

/// What was counted of a port, layer by layer, from the wire inwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortStatistics {
    /// The interface.
    pub interface: String,
    /// Its link; `None` when the kernel does not say, as of an interface that is gone.
    pub link: Option<LinkStatus>,
    /// The layers: `nic` is the interface, with what is not for the shelf; `ring` what passes between kernel
    /// and shelf; `shelf` its frames, each in one counter but the first; `requests` what LUNs were asked.
    pub layers: Vec<CounterGroup>,
}

/// An initiator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Initiator {
    /// The port that it was heard on last.
    pub interface: String,
    /// What it did.
    pub statistics: StationStatistics,
}

impl Initiator {
    /// Adds what another worker knows of the same station.
    pub fn add(&mut self, other: Self) {
        if other.statistics.last_seen < self.statistics.last_seen {
            self.interface = other.interface;
        }
        self.statistics.add(&other.statistics);
    }
}

/// The initiators that are known.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Initiators {
    /// By address.
    pub known: Vec<Initiator>,
    /// What those did who made room for others.
    pub forgotten: ForgottenStations,
}

/// What a worker has done since its start. Where its time went is told by what its turns came to: no more is
/// looked at the clock for it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WorkerLoad {
    /// Its number.
    pub index: usize,
    /// Time of turns that found work.
    pub working_ns: u64,
    /// Time of turns that found none, and after which it looked again at once.
    pub polling_ns: u64,
    /// Time that it slept.
    pub sleeping_ns: u64,
    /// How often it slept.
    pub sleeps: u64,
    /// Frames that it was handed.
    pub frames: u64,
    /// Commands that it has taken.
    pub commands: u64,
    /// Of its command slots, those in use.
    pub slots_used: usize,
    /// Its command slots.
    pub slots: usize,
}

/// What a drive does.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DriveLoad {
    /// In the last whole seconds.
    pub rates: Rates,
    /// For each worker, how long the drive had I/O of it since the start.
    pub busy_ns: Vec<u64>,
}

/// What was measured since the start. Where nothing is served nothing is measured.
pub trait Observe {
    /// What was counted of a LUN, with its rates over so many whole seconds; `None` for one that was not
    /// served yet.
    fn lun_statistics(&self, _lun: LunNumber, _seconds: u64) -> Option<LunStatistics> {
        None
    }

    /// What LUNs did in the last whole seconds: those that were served since the start, by number.
    fn lun_rates(&self, _seconds: u64) -> Vec<(LunNumber, Rates)> {
        Vec::new()
    }

    /// What a drive does, with its rates over so many whole seconds.
    fn drive_load(&self, _drive: DriveSlot, _seconds: u64) -> DriveLoad {
        DriveLoad::default()
    }

    /// What a drive did in the last whole seconds.
    fn drive_rates(&self, drive: DriveSlot, seconds: u64) -> Rates {
        self.drive_load(drive, seconds).rates
    }

    /// What the workers do.
    fn workers(&self) -> Vec<WorkerLoad> {
        Vec::new()
    }

    /// Every port.
    fn port_statistics(&self) -> Vec<PortStatistics> {
        Vec::new()
    }

    /// Every initiator that is known.
    fn initiators(&self) -> Initiators {
        Initiators::default()
    }
}
