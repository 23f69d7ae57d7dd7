//! How fast frames go to each initiator.
//!
//! A shelf at 10 or 100 Gbit/s answers a window of 64 reads with half a megabyte at once. A switch that has
//! to squeeze that into a port of 1 Gbit/s drops what its buffer does not hold, and neither end hears of it:
//! the initiator waits for its retransmission. With a rate the shelf spreads the replies itself.
//!
//! Invariants:
//! * frames to one station leave in the order in which they were asked for, and over any time not faster than
//!   the rate, but for [`BURST_BYTES`];
//! * a station that was silent for long enough has its whole burst again;
//! * memory is fixed: [`STATIONS`] at a time. A station that finds no place takes that of one whose frames
//!   have all left, if there is one near; else it shares a place, and both are together as fast as one.

use aoe::MacAddress;

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

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    mac: MacAddress,
    /// When the line to the station has sent everything.
    idle_ns: u64,
}

/// The rates of the stations behind one port.
#[derive(Debug)]
pub struct Pacer {
    mbit_per_second: u64,
    places: Box<[Place]>,
}

impl Pacer {
    /// Frames to each station at this rate, which is not 0.
    #[must_use]
    pub fn new(mbit_per_second: u64) -> Self {
        Self {
            mbit_per_second: mbit_per_second.max(1),
            places: vec![Place::default(); STATIONS].into(),
        }
    }

    /// When a frame of so many bytes may leave. Counts it as sent then.
    pub fn departure_ns(&mut self, to: MacAddress, frame_bytes: usize, now_ns: u64) -> u64 {
        let burst_ns = self.duration_ns(BURST_BYTES).min(FRAME_NS_MAX);
        let own_ns = self
            .duration_ns(frame_bytes as u64 + WIRE_OVERHEAD_BYTES)
            .min(FRAME_NS_MAX);
        let place = self.place(to, now_ns);
        let begin_ns = place.idle_ns.max(now_ns);
        place.idle_ns = begin_ns + own_ns;
        // What the line has yet to send may be a burst: it waits in the switch.
        place
            .idle_ns
            .saturating_sub(burst_ns.max(own_ns))
            .max(now_ns)
    }

    fn duration_ns(&self, bytes: u64) -> u64 {
        bytes * 8 * 1000 / self.mbit_per_second
    }

    fn place(&mut self, to: MacAddress, now_ns: u64) -> &mut Place {
        let home = hash(to);
        let near = |step: usize| (home + step) % STATIONS;
        let own = (0..REACH).map(near).find(|&at| self.places[at].mac == to);
        let idle = || {
            let mut all = (0..REACH).map(near);
            all.find(|&at| self.places[at].idle_ns <= now_ns)
        };
        let (at, is_new) = match own.or_else(idle) {
            Some(at) => (at, own.is_none()),
            None => (home, false),
        };
        if is_new {
            self.places[at] = Place {
                mac: to,
                idle_ns: 0,
            };
        }
        &mut self.places[at]
    }
}

/// Spreads addresses: those of one maker differ in their last bytes.
fn hash(mac: MacAddress) -> usize {
    let [a, b, c, d, e, f] = mac.0;
    let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    // Fibonacci hashing; the upper half is the well mixed one.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or(0) % STATIONS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: usize = 8228;

    fn station(number: u16) -> MacAddress {
        let [high, low] = number.to_be_bytes();
        MacAddress([2, 0, 0, 9, high, low])
    }

    #[test]
    fn a_window_of_reads_is_spread_over_its_time_on_the_line() {
        let mut pacer = Pacer::new(1000);
        let departures: Vec<u64> = (0..64)
            .map(|_| pacer.departure_ns(station(1), FRAME, 0))
            .collect();
        // A burst of 64 KiB is 7 frames and a part of one; the rest follow at 66 µs each.
        assert_eq!(departures[..7], [0; 7]);
        assert!(departures[7] > 0);
        let step = departures[40] - departures[39];
        assert_eq!(step, (8228 + 24) * 8);
        assert!(departures.is_sorted());
    }

    #[test]
    fn stations_do_not_wait_for_one_another() {
        let mut pacer = Pacer::new(1000);
        for _ in 0..1000 {
            pacer.departure_ns(station(1), FRAME, 0);
        }
        assert_eq!(pacer.departure_ns(station(2), FRAME, 0), 0);
    }

    #[test]
    fn a_station_that_was_silent_has_its_burst_again() {
        let mut pacer = Pacer::new(100);
        for _ in 0..100 {
            pacer.departure_ns(station(1), FRAME, 0);
        }
        let later = 10_000_000_000;
        let at_once = (0..8).filter(|_| pacer.departure_ns(station(1), FRAME, later) == later);
        assert_eq!(at_once.count(), 7);
    }

    #[test]
    fn more_stations_than_places_cost_no_memory_and_no_order() {
        let mut pacer = Pacer::new(10);
        let places = pacer.places.len();
        for number in 0..20_000 {
            for _ in 0..3 {
                pacer.departure_ns(station(number), FRAME, 0);
            }
        }
        assert_eq!(pacer.places.len(), places);
    }

    proptest! {
        #[test]
        fn over_any_time_no_station_gets_more_than_its_rate_and_a_burst(
            mbit in 1u64..100_000,
            frames in prop::collection::vec((0u16..3, 60usize..9014, 0u64..200_000), 1..300),
        ) {
            let mut pacer = Pacer::new(mbit);
            let mut now = 0;
            let mut left: Vec<(u16, u64, u64)> = Vec::new();
            for (number, bytes, wait) in frames {
                now += wait;
                let at = pacer.departure_ns(station(number), bytes, now);
                prop_assert!(at >= now);
                let before = left.iter().rev().find(|other| other.0 == number);
                prop_assert!(before.is_none_or(|other| other.1 <= at));
                left.push((number, at, bytes as u64));
            }
            for station in 0..3 {
                let own: Vec<_> = left.iter().filter(|other| other.0 == station).collect();
                for (begin, first) in own.iter().enumerate() {
                    let mut sum = 0;
                    for other in &own[begin..] {
                        sum += other.2;
                        let allowed = (other.1 - first.1) * mbit / 8000 + BURST_BYTES + 2 * 9038;
                        prop_assert!(sum <= allowed, "{sum} bytes, allowed {allowed}");
                    }
                }
            }
        }
    }
}
