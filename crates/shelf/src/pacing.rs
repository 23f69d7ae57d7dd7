//! How fast frames go to each initiator.
//!
//! A shelf at 10 or 100 Gbit/s answers a window of 64 reads with half a megabyte at once. A switch that has
//! to squeeze that into a port of 1 Gbit/s drops what its buffer does not hold, and neither end hears of it:
//! the initiator waits for its retransmission. With a rate the shelf spreads the replies itself.
//!
//! All workers ask the pacer of an interface when their replies may leave by it, whichever of its queues they
//! use, and let them wait where they are until then: the command of a reply holds its data anyhow, while
//! buffers to hand it over are few. Their clocks must count from the same moment.
//!
//! Invariants:
//! * frames to one station leave in the order in which they were asked for, but where the rate was changed
//!   meanwhile, and over any time not faster than the rate, but for [`BURST_BYTES`];
//! * a station that was silent for long enough has its whole burst again;
//! * nobody waits for another worker: a place is two numbers, each changed in one step. Two workers that meet
//!   the same new station at once may give it two places, of which one is used from then on: it has another
//!   burst, once;
//! * memory is fixed: [`STATIONS`] at a time. A station that finds no place takes that of one whose frames
//!   have all left, if there is one near; else it shares a place, and both are together as fast as one.

use aoe::MacAddress;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What may leave at once: less than the smallest buffers of a port of a switch.
pub const BURST_BYTES: u64 = 64 * 1024;

/// Stations that are told apart.
const STATIONS: usize = 1024;

/// Places that are looked at for a station.
const REACH: usize = 8;

/// What Ethernet adds to a frame on the wire: preamble, check sequence, gap.
const WIRE_OVERHEAD_BYTES: u64 = 24;

/// Most that one frame takes, whatever the rate: a bound on how long a mistyped rate holds up the port.
const FRAME_NS_MAX: u64 = 1_000_000_000;

#[derive(Default, Debug)]
struct Place {
    /// The address of the station, as a number.
    station: AtomicU64,
    /// When the line to the station has sent everything.
    idle_ns: AtomicU64,
}

/// The rates of the stations behind one interface.
#[derive(Debug)]
pub struct Pacer {
    mbit_per_second: AtomicU64,
    places: Box<[Place]>,
}

impl Pacer {
    /// Frames to each station at this rate, which is not 0.
    #[must_use]
    pub fn new(mbit_per_second: u64) -> Self {
        Self {
            mbit_per_second: mbit_per_second.max(1).into(),
            places: (0..STATIONS).map(|_| Place::default()).collect(),
        }
    }

    /// From now on at this rate, which is not 0. What waits already leaves at the time that it was given, so
    /// that what is asked for next may leave before it.
    pub fn set_rate(&self, mbit_per_second: u64) {
        self.mbit_per_second.store(mbit_per_second.max(1), Relaxed);
    }

    /// When a frame of so many bytes may leave. Counts it as sent then.
    pub fn departure_ns(&self, to: MacAddress, frame_bytes: usize, now_ns: u64) -> u64 {
        let burst_ns = self.duration_ns(BURST_BYTES).min(FRAME_NS_MAX);
        let own_ns = self
            .duration_ns(frame_bytes as u64 + WIRE_OVERHEAD_BYTES)
            .min(FRAME_NS_MAX);
        let place = self.place(to, now_ns);
        let after = |idle_ns: u64| idle_ns.max(now_ns) + own_ns;
        let line = &place.idle_ns;
        let (Ok(before) | Err(before)) =
            line.fetch_update(Relaxed, Relaxed, |idle_ns| Some(after(idle_ns)));
        let idle_ns = after(before);
        // What the line has yet to send may be a burst: it waits in the switch.
        idle_ns.saturating_sub(burst_ns.max(own_ns)).max(now_ns)
    }

    fn duration_ns(&self, bytes: u64) -> u64 {
        bytes * 8 * 1000 / self.mbit_per_second.load(Relaxed)
    }

    fn place(&self, to: MacAddress, now_ns: u64) -> &Place {
        let station = number(to);
        let home = hash(station);
        let near = |step: usize| &self.places[(home + step) % STATIONS];
        let mut all = (0..REACH).map(near);
        let own = all.find(|place| place.station.load(Relaxed) == station);
        own.unwrap_or_else(|| {
            let mut all = (0..REACH).map(near);
            all.find(|place| place.is_taken_by(station, now_ns))
                .unwrap_or(near(0))
        })
    }
}

impl Place {
    /// Takes it for a station, if the line to the one that had it is idle. What another worker sends to that
    /// one meanwhile, this one waits for.
    fn is_taken_by(&self, station: u64, now_ns: u64) -> bool {
        let before = self.station.load(Relaxed);
        if self.idle_ns.load(Relaxed) > now_ns {
            return false;
        }
        let taken = self
            .station
            .compare_exchange(before, station, Relaxed, Relaxed);
        taken.is_ok() || taken == Err(station)
    }
}

const fn number(mac: MacAddress) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Spreads addresses: those of one maker differ in their last bytes.
fn hash(station: u64) -> usize {
    // Fibonacci hashing; the upper half is the well mixed one.
    let mixed = station.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or(0) % STATIONS
}

#[cfg(test)]
mod tests;
