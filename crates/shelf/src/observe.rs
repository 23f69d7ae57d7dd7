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

/// What was measured since the start. Where nothing is served nothing is measured.
pub trait Observe {
    /// What was counted of a LUN, with its rates over so many whole seconds; `None` for one that was not
    /// served yet.
    fn lun_statistics(&self, _lun: LunNumber, _seconds: u64) -> Option<LunStatistics> {
        None
    }

    /// What a drive did in the last whole seconds.
    fn drive_rates(&self, _drive: DriveSlot, _seconds: u64) -> Rates {
        Rates::default()
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
