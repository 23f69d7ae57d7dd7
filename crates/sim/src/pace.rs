//! Replies that are paced: they wait where their command is, as in the engine, whichever worker that is of.
//!
//! Checked against a count of its own: no station is handed more than its rate and a burst, whatever the
//! workers do and however often the power goes.

use crate::switch::Micros;
use crate::world::World;
use aoe::MacAddress;
use shelf::pacing::{BURST_BYTES, Pacer};
use shelf::target::Reply;
use std::collections::BTreeMap;

/// What Ethernet adds to a frame.
const WIRE_OVERHEAD_BYTES: u64 = 24;

/// Two of the longest frames: a burst ends with one, and times are rounded to microseconds.
const SLACK_BYTES: u64 = 2 * 9038;

/// The pace of the port.
#[derive(Debug)]
pub(crate) struct Pace {
    mbit_per_second: u64,
    /// That of all workers; power cuts are too short for it to matter that they forget it.
    pacer: Pacer,
    /// What each station was handed beyond its rate, in bits, and when that was counted.
    lines: BTreeMap<MacAddress, (u64, Micros)>,
}

impl Pace {
    pub(crate) fn new(mbit_per_second: u64) -> Self {
        Self {
            mbit_per_second,
            pacer: Pacer::new(mbit_per_second),
            lines: BTreeMap::new(),
        }
    }

    /// How long a reply waits.
    pub(crate) fn wait(&self, reply: &Reply, now: Micros) -> Option<Micros> {
        let to = reply.destination();
        let departure_ns = self.pacer.departure_ns(to, reply.frame_bytes(), now * 1000);
        let departure = departure_ns.div_ceil(1000);
        (reply.command.is_some() && departure > now).then(|| departure - now)
    }

    /// The reply of a command is handed to the port: how many bits too many its station has, if it has.
    pub(crate) fn hand_over(&mut self, reply: &Reply, now: Micros) -> Option<u64> {
        let (line, at) = self.lines.entry(reply.destination()).or_insert((0, now));
        // A Mbit/s is a bit in a microsecond.
        let sent = (now - *at) * self.mbit_per_second;
        let bytes = reply.frame_bytes() as u64 + WIRE_OVERHEAD_BYTES;
        *line = line.saturating_sub(sent) + 8 * bytes;
        *at = now;
        line.checked_sub(8 * (BURST_BYTES + SLACK_BYTES))
            .filter(|more| *more > 0)
    }
}

impl World {
    /// The replies of all commands are paced from now on.
    pub(crate) fn set_pace(&mut self, mbit_per_second: u64) {
        self.pace = Some(Pace::new(mbit_per_second));
    }

    /// A reply goes to the port.
    pub(crate) fn count_pace(&mut self, reply: &Reply) {
        let now = self.now;
        let Some(pace) = self.pace.as_mut().filter(|_| reply.command.is_some()) else {
            return;
        };
        if let Some(bits) = pace.hand_over(reply, now) {
            let to = reply.destination();
            self.fail(format!(
                "{to} is sent {bits} bits more than its pace allows"
            ));
        }
    }
}
