//! The initiators of a worker, by MAC address.
//!
//! A station stands in one of sixteen places, which its address says; where all are taken, the one that was
//! silent for longest makes room, and what it did is added to that of those who are forgotten. So a
//! flood of made-up addresses costs a fixed time for each frame, and no memory; it makes the shelf forget
//! who was there, but not what was done.

use super::repeats::Suspects;
use super::window::SECOND_NS;
use super::{Answered, AnsweredKind, Tally};
use crate::ids::LunNumber;
use crate::latency::Latencies;
use crate::target::PortIndex;
use aoe::MacAddress;
use std::time::Duration;

/// Stations that a worker knows at a time.
pub const STATIONS_MAX: usize = SETS * WAYS;

const SETS_LOG2: u32 = 6;
const SETS: usize = 1 << SETS_LOG2;
const WAYS: usize = 16;

/// Stations of one page: what a worker copies in one turn, in some microseconds.
const PAGE: usize = 32;

/// Marks a place that is taken, beside the 48 bits of an address.
const TAKEN: u64 = 1 << 48;

/// How long commands of a station took, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delay {
    /// Half of the recent ones took no longer; 0 for none.
    pub p50_us: u64,
    /// 99 of 100 recent ones took no longer; 0 for none.
    pub p99_us: u64,
    /// The slowest since the station is known.
    pub max_us: u64,
}

impl Delay {
    /// The worse of what two workers have seen.
    const fn worse(self, other: Self) -> Self {
        const fn max(a: u64, b: u64) -> u64 {
            if a > b { a } else { b }
        }
        Self {
            p50_us: max(self.p50_us, other.p50_us),
            p99_us: max(self.p99_us, other.p99_us),
            max_us: max(self.max_us, other.max_us),
        }
    }
}

/// What an initiator did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StationStatistics {
    /// Its address.
    pub mac: MacAddress,
    /// The port that it was heard on last.
    pub port: PortIndex,
    /// How long ago it was heard first, since it is known.
    pub first_seen: Duration,
    /// How long ago it was heard last.
    pub last_seen: Duration,
    /// The LUNs that it asked for something.
    pub luns: Vec<LunNumber>,
    /// Its requests.
    pub tally: Tally,
    /// Frames that were shorter than their command needs.
    pub runts: u64,
    /// Frames with a version other than 1.
    pub bad_version: u64,
    /// Reads and writes answered in the last whole second.
    pub ops_per_second: u64,
    /// Their bytes.
    pub bytes_per_second: u64,
    /// How long its reads took.
    pub reads: Delay,
    /// How long its writes took.
    pub writes: Delay,
}

impl StationStatistics {
    /// Adds what another worker knows of the same station.
    pub fn add(&mut self, other: &Self) {
        if other.last_seen < self.last_seen {
            self.port = other.port;
        }
        self.first_seen = self.first_seen.max(other.first_seen);
        self.last_seen = self.last_seen.min(other.last_seen);
        self.luns.extend_from_slice(&other.luns);
        self.luns.sort_unstable();
        self.luns.dedup();
        self.tally.add(&other.tally);
        self.runts += other.runts;
        self.bad_version += other.bad_version;
        self.ops_per_second += other.ops_per_second;
        self.bytes_per_second += other.bytes_per_second;
        self.reads = self.reads.worse(other.reads);
        self.writes = self.writes.worse(other.writes);
    }
}

/// What those did who made room for others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ForgottenStations {
    /// How often one made room.
    pub stations: u64,
    /// Their requests.
    pub tally: Tally,
    /// Frames that were shorter than their command needs.
    pub runts: u64,
    /// Frames with a version other than 1.
    pub bad_version: u64,
}

impl ForgottenStations {
    /// Adds what another worker has forgotten.
    pub const fn add(&mut self, other: &Self) {
        self.stations += other.stations;
        self.tally.add(&other.tally);
        self.runts += other.runts;
        self.bad_version += other.bad_version;
    }
}

/// Some of the stations that a worker knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StationPage {
    /// The stations.
    pub stations: Vec<StationStatistics>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<usize>,
    /// What was forgotten until now.
    pub forgotten: ForgottenStations,
}

/// Commands answered in this second and in the one before.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct LastSecond {
    second: u64,
    ops: u64,
    bytes: u64,
    ops_before: u64,
    bytes_before: u64,
}

impl LastSecond {
    /// Adds commands that were answered now.
    pub(super) const fn add(&mut self, now_ns: u64, ops: u64, bytes: u64) {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            (self.ops_before, self.bytes_before) = self.at(second);
            (self.second, self.ops, self.bytes) = (second, 0, 0);
        }
        self.ops += ops;
        self.bytes += bytes;
    }

    /// The sums of the second before this one.
    const fn at(&self, second: u64) -> (u64, u64) {
        match second.saturating_sub(self.second) {
            0 => (self.ops_before, self.bytes_before),
            1 => (self.ops, self.bytes),
            _ => (0, 0),
        }
    }
}

#[derive(Clone, Debug)]
struct Delays {
    recent: Latencies,
    max_ns: u64,
}

impl Delays {
    const fn new() -> Self {
        Self {
            recent: Latencies::new(),
            max_ns: 0,
        }
    }

    fn record(&mut self, latency_ns: u64) {
        self.recent.record(latency_ns);
        self.max_ns = self.max_ns.max(latency_ns);
    }

    fn delay(&self) -> Delay {
        let us = |quantile: Option<u64>| quantile.unwrap_or(0).min(self.max_ns) / 1000;
        Delay {
            p50_us: us(self.recent.p50_ns()),
            p99_us: us(self.recent.p99_of(1)),
            max_us: self.max_ns / 1000,
        }
    }
}

/// A station.
#[derive(Clone, Debug)]
pub(super) struct Station {
    mac: MacAddress,
    port: PortIndex,
    first_ns: u64,
    /// By number, as bits.
    luns: [u64; 4],
    pub(super) tally: Tally,
    pub(super) runts: u64,
    pub(super) bad_version: u64,
    pub(super) suspects: Suspects,
    pub(super) last_second: LastSecond,
    reads: Delays,
    writes: Delays,
}

impl Station {
    fn new(mac: MacAddress, first_ns: u64) -> Self {
        Self {
            mac,
            port: PortIndex(0),
            first_ns,
            luns: [0; 4],
            tally: Tally::default(),
            runts: 0,
            bad_version: 0,
            suspects: Suspects::new(),
            last_second: LastSecond::default(),
            reads: Delays::new(),
            writes: Delays::new(),
        }
    }

    /// It asked a LUN for something.
    pub(super) fn touch(&mut self, lun: LunNumber) {
        self.luns[usize::from(lun.get() / 64)] |= 1 << (lun.get() % 64);
    }

    /// Notes how long a command took.
    pub(super) fn record(&mut self, answered: &Answered) {
        match answered.kind {
            AnsweredKind::Read if answered.is_success => self.reads.record(answered.latency_ns),
            AnsweredKind::Write if answered.is_success => self.writes.record(answered.latency_ns),
            _ => {}
        }
    }

    fn statistics(&self, seen_ns: u64, now_ns: u64) -> StationStatistics {
        let (ops_per_second, bytes_per_second) = self.last_second.at(now_ns / SECOND_NS);
        let ago = |then_ns| Duration::from_nanos(now_ns.saturating_sub(then_ns));
        let has =
            |lun: &LunNumber| self.luns[usize::from(lun.get() / 64)] & 1 << (lun.get() % 64) != 0;
        StationStatistics {
            mac: self.mac,
            port: self.port,
            first_seen: ago(self.first_ns),
            last_seen: ago(seen_ns),
            luns: (0..=LunNumber::MAX)
                .filter_map(LunNumber::new)
                .filter(has)
                .collect(),
            tally: self.tally,
            runts: self.runts,
            bad_version: self.bad_version,
            ops_per_second,
            bytes_per_second,
            reads: self.reads.delay(),
            writes: self.writes.delay(),
        }
    }
}

/// The stations that are known.
#[derive(Debug)]
pub(super) struct Stations {
    /// Their addresses, sixteen to a set; 0 for a free place.
    taken: Box<[u64]>,
    /// When they were heard last.
    seen_ns: Box<[u64]>,
    stations: Box<[Station]>,
    /// The one that was asked for last: the next is mostly the same.
    last: usize,
    forgotten: ForgottenStations,
}

impl Stations {
    pub(super) fn new() -> Self {
        let nobody = Station::new(MacAddress::default(), 0);
        Self {
            taken: vec![0; STATIONS_MAX].into(),
            seen_ns: vec![0; STATIONS_MAX].into(),
            stations: vec![nobody; STATIONS_MAX].into(),
            last: 0,
            forgotten: ForgottenStations::default(),
        }
    }

    /// The station with an address, which is heard now.
    pub(super) fn find(&mut self, mac: MacAddress, port: PortIndex, now_ns: u64) -> &mut Station {
        let index = self.index(mac, now_ns);
        self.seen_ns[index] = now_ns;
        let station = &mut self.stations[index];
        station.port = port;
        station
    }

    fn index(&mut self, mac: MacAddress, now_ns: u64) -> usize {
        let [a, b, c, d, e, f] = mac.0;
        let wanted = TAKEN | u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        if self.taken[self.last] == wanted {
            return self.last;
        }
        let hash = wanted.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SETS_LOG2);
        let first = WAYS * usize::try_from(hash).unwrap_or(0);
        let set = &self.taken[first..first + WAYS];
        self.last = match set.iter().position(|taken| *taken == wanted) {
            Some(way) => first + way,
            None => self.make_room(first, wanted, mac, now_ns),
        };
        self.last
    }

    #[cold]
    fn make_room(&mut self, first: usize, wanted: u64, mac: MacAddress, now_ns: u64) -> usize {
        let ways = first..first + WAYS;
        let age = |index: &usize| (self.taken[*index] != 0, self.seen_ns[*index]);
        let index = ways.min_by_key(age).unwrap_or(first);
        if self.taken[index] != 0 {
            let station = &self.stations[index];
            self.forgotten.add(&ForgottenStations {
                stations: 1,
                tally: station.tally,
                runts: station.runts,
                bad_version: station.bad_version,
            });
        }
        self.taken[index] = wanted;
        self.seen_ns[index] = now_ns;
        self.stations[index] = Station::new(mac, now_ns);
        index
    }

    /// The stations from this place on, as many as one page holds.
    pub(super) fn page(&self, from: usize, now_ns: u64) -> StationPage {
        let taken = (from..STATIONS_MAX).filter(|index| self.taken[*index] != 0);
        let mut indices: Vec<usize> = taken.take(PAGE + 1).collect();
        let next = (indices.len() > PAGE).then(|| indices.remove(PAGE));
        let statistics =
            |index: usize| self.stations[index].statistics(self.seen_ns[index], now_ns);
        StationPage {
            stations: indices.into_iter().map(statistics).collect(),
            next,
            forgotten: self.forgotten,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortIndex = PortIndex(0);

    fn mac(number: u32) -> MacAddress {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddress([2, 0, a, b, c, d])
    }

    fn all(stations: &Stations, now_ns: u64) -> Vec<StationStatistics> {
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let page = stations.page(from, now_ns);
            assert!(page.stations.len() <= PAGE);
            all.extend(page.stations);
            next = page.next;
        }
        all
    }

    #[test]
    fn two_hundred_hosts_are_all_known() {
        let mut stations = Stations::new();
        for round in 0..3 {
            for number in 0..200 {
                let now_ns = SECOND_NS * (round + 1);
                stations.find(mac(number), PORT, now_ns).tally.reads += 1;
            }
        }
        let known = all(&stations, 3 * SECOND_NS);
        assert_eq!(known.len(), 200);
        assert!(known.iter().all(|station| station.tally.reads == 3));
        assert_eq!(stations.forgotten.stations, 0);
    }

    #[test]
    fn a_flood_of_addresses_costs_no_memory_and_the_sums_stay() {
        let mut stations = Stations::new();
        let busy = mac(u32::MAX);
        for number in 0..100_000 {
            let now_ns = SECOND_NS + u64::from(number);
            stations.find(mac(number), PORT, now_ns).runts += 1;
            // Whoever goes on is not the one that was silent for longest.
            stations.find(busy, PORT, now_ns).tally.reads += 1;
        }
        let known = all(&stations, 2 * SECOND_NS);
        assert_eq!(known.len(), STATIONS_MAX);
        let runts: u64 = known.iter().map(|station| station.runts).sum();
        assert_eq!(runts + stations.forgotten.runts, 100_000);
        assert_eq!(stations.forgotten.stations, 100_001 - STATIONS_MAX as u64);
        let kept = known.iter().find(|station| station.mac == busy).unwrap();
        assert_eq!(kept.tally.reads, 100_000);
    }

    #[test]
    fn rates_are_those_of_the_last_whole_second() {
        let mut stations = Stations::new();
        for tenth in 10..25 {
            let now_ns = tenth * SECOND_NS / 10;
            let station = stations.find(mac(1), PORT, now_ns);
            station.last_second.add(now_ns, 1, 512);
        }
        let rate = |tenth| {
            let station = &all(&stations, tenth * SECOND_NS / 10)[0];
            (station.ops_per_second, station.bytes_per_second)
        };
        assert_eq!(rate(24), (10, 5120));
        assert_eq!(rate(31), (5, 2560));
        assert_eq!(rate(40), (0, 0));
        let station = &all(&stations, 3 * SECOND_NS)[0];
        assert_eq!(station.last_seen, Duration::from_millis(600));
    }
}
