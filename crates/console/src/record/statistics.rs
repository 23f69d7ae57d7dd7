//! The JSON of what was measured.

use serde::{Serialize, Serializer};
use shelf::observe::{Initiator, LinkStatus};
use shelf::statistics::{Delay, ForgottenStations, Latency, Rates, Sums};

/// Counters by name, as one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Counts(pub(crate) Vec<(&'static str, u64)>);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Counters of the layers of a port, by the name of the layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layers(pub(crate) Vec<(String, Counts)>);

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, counts)| (name, counts)))
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct LinkRecord {
    up: bool,
    /// Mb/s; `null` where the driver does not tell.
    speed_mbps: Option<u32>,
    max_mbps: Option<u32>,
}

impl From<LinkStatus> for LinkRecord {
    fn from(link: LinkStatus) -> Self {
        Self {
            up: link.has_carrier,
            speed_mbps: link.speed_mbps,
            max_mbps: link.speed_max_mbps,
        }
    }
}

/// What was done in a second, on average.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct RateRecord {
    pub(crate) ops_per_s: u64,
    pub(crate) bytes_per_s: u64,
    mean_us: u64,
    max_us: u64,
}

impl RateRecord {
    fn new(rates: &Rates, sums: &Sums) -> Self {
        Self {
            ops_per_s: rates.per_second(sums.ops),
            bytes_per_s: rates.per_second(sums.bytes),
            mean_us: sums.latency_mean_ns() / 1000,
            max_us: sums.latency_max_ns / 1000,
        }
    }
}

/// Reads and writes of the last seconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct RatesRecord {
    /// Over how many.
    seconds: u64,
    pub(crate) read: RateRecord,
    pub(crate) write: RateRecord,
}

impl From<&Rates> for RatesRecord {
    fn from(rates: &Rates) -> Self {
        Self {
            seconds: rates.seconds,
            read: RateRecord::new(rates, &rates.reads),
            write: RateRecord::new(rates, &rates.writes),
        }
    }
}

/// Latencies since the start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct LatencyRecord {
    count: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p99_9_us: u64,
    max_us: u64,
    /// How many took less than 2, 4, 8 … microseconds, and not less than half of that.
    histogram: Vec<Octave>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Octave {
    below_us: u64,
    count: u64,
}

impl From<&Latency> for LatencyRecord {
    fn from(latency: &Latency) -> Self {
        let octave = |(below_us, count)| Octave { below_us, count };
        Self {
            count: latency.count(),
            p50_us: latency.quantile_us(500),
            p90_us: latency.quantile_us(900),
            p99_us: latency.quantile_us(990),
            p99_9_us: latency.quantile_us(999),
            max_us: latency.max_us(),
            histogram: latency.octaves().into_iter().map(octave).collect(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct DelayRecord {
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl From<Delay> for DelayRecord {
    fn from(delay: Delay) -> Self {
        Self {
            p50_us: delay.p50_us,
            p99_us: delay.p99_us,
            max_us: delay.max_us,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct InitiatorRecord {
    mac: String,
    /// The port that it was heard on last.
    port: String,
    luns: Vec<u8>,
    first_seen_s: u64,
    last_seen_s: u64,
    /// In the last whole second.
    ops_per_s: u64,
    bytes_per_s: u64,
    read_latency: DelayRecord,
    write_latency: DelayRecord,
    runts: u64,
    bad_version: u64,
    counters: Counts,
}

impl From<&Initiator> for InitiatorRecord {
    fn from(initiator: &Initiator) -> Self {
        let of = &initiator.statistics;
        Self {
            mac: of.mac.to_string(),
            port: initiator.interface.clone(),
            luns: of.luns.iter().map(|lun| lun.get()).collect(),
            first_seen_s: of.first_seen.as_secs(),
            last_seen_s: of.last_seen.as_secs(),
            ops_per_s: of.ops_per_second,
            bytes_per_s: of.bytes_per_second,
            read_latency: of.reads.into(),
            write_latency: of.writes.into(),
            runts: of.runts,
            bad_version: of.bad_version,
            counters: Counts(of.tally.rows()),
        }
    }
}

/// What initiators did that are not known any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct ForgottenRecord {
    forgotten: u64,
    runts: u64,
    bad_version: u64,
    counters: Counts,
}

impl From<&ForgottenStations> for ForgottenRecord {
    fn from(forgotten: &ForgottenStations) -> Self {
        Self {
            forgotten: forgotten.stations,
            runts: forgotten.runts,
            bad_version: forgotten.bad_version,
            counters: Counts(forgotten.tally.rows()),
        }
    }
}
