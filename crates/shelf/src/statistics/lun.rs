//! What is counted of a LUN.

use super::window::{Rates, Window};
use super::{Answered, AnsweredKind, Tally};
use crate::plane::LunView;
use hdrhistogram::Histogram;

/// The longest latency that is told apart, in microseconds: a minute. What takes longer counts as that.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Decimal digits that latencies are told apart by: buckets are less than a hundredth wide.
const LATENCY_DIGITS: u8 = 2;

/// Where IDENTIFY carries the serial number (words 10 to 19).
const SERIAL: std::ops::Range<usize> = 20..40;

/// Latencies since the start, from the arrival of a command to its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// None yet. All memory is made here.
    #[must_use]
    pub fn new() -> Self {
        let bounded = Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS);
        Self(bounded.expect("the bounds are constants that are in order"))
    }

    /// Counts one.
    pub fn record(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns / 1000);
    }

    /// Adds what another worker has counted.
    pub fn add(&mut self, other: &Self) {
        // They have the same bounds: what one holds the other can hold.
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok(), "{added:?}");
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds that so many of 1000 did not exceed; 0 while there are none.
    #[must_use]
    pub fn quantile_us(&self, of_1000: u32) -> u64 {
        self.0.value_at_quantile(f64::from(of_1000) / 1000.0)
    }

    /// Microseconds that the slowest took.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// How many took less than 2, 4, 8 … microseconds and not less than half of that, up to the slowest.
    #[must_use]
    pub fn octaves(&self) -> Vec<(u64, u64)> {
        let mut octaves = Vec::new();
        if self.count() == 0 {
            return octaves;
        }
        let (mut below_us, mut from_us) = (2, 0);
        while from_us <= self.max_us() {
            octaves.push((below_us, self.0.count_between(from_us, below_us - 1)));
            (from_us, below_us) = (below_us, below_us * 2);
        }
        octaves
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// What was counted of a LUN.
#[derive(Clone, Debug)]
pub struct LunStatistics {
    /// Requests.
    pub tally: Tally,
    /// How long reads took, since the start.
    pub reads: Latency,
    /// How long writes took, since the start.
    pub writes: Latency,
    /// What was done in the last seconds.
    pub rates: Rates,
}

impl LunStatistics {
    /// Adds what another worker has counted.
    pub fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.rates.add(&other.rates);
    }
}

#[derive(Debug)]
pub(super) struct LunAccount {
    serial: Box<[u8]>,
    pub(super) tally: Tally,
    reads: Latency,
    writes: Latency,
    pub(super) window: Window,
}

impl LunAccount {
    pub(super) fn new(view: &LunView) -> Self {
        Self {
            serial: view.identify[SERIAL].into(),
            tally: Tally::default(),
            reads: Latency::new(),
            writes: Latency::new(),
            window: Window::new(),
        }
    }

    /// Whether it is the account of this LUN, and not of another that had its number.
    pub(super) fn is_of(&self, view: &LunView) -> bool {
        *self.serial == view.identify[SERIAL]
    }

    /// Notes how long a command took.
    pub(super) fn record(&mut self, answered: &Answered) {
        match answered.kind {
            AnsweredKind::Read if answered.is_success => self.reads.record(answered.latency_ns),
            AnsweredKind::Write if answered.is_success => self.writes.record(answered.latency_ns),
            _ => {}
        }
    }

    pub(super) fn statistics(&self, now_ns: u64, seconds: u64) -> LunStatistics {
        LunStatistics {
            tally: self.tally,
            reads: self.reads.clone(),
            writes: self.writes.clone(),
            rates: self.window.rates(now_ns, seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octaves_hold_every_latency_once_and_what_is_too_long_counts_as_a_minute() {
        let mut latency = Latency::new();
        assert!(latency.octaves().is_empty());
        assert_eq!((latency.quantile_us(990), latency.max_us()), (0, 0));
        for us in [0, 1, 2, 3, 100, 127, 128, 5000, 3_000_000_000] {
            latency.record(us * 1000);
        }
        let octaves = latency.octaves();
        let counted: u64 = octaves.iter().map(|(_, count)| count).sum();
        assert_eq!(counted, latency.count());
        let below = |us| octaves.iter().find(|(below, _)| *below == us).unwrap().1;
        assert_eq!((below(2), below(4), below(128), below(256)), (2, 2, 2, 1));
        assert!(
            latency.max_us() >= LATENCY_US_MAX && latency.max_us() < LATENCY_US_MAX * 101 / 100
        );
        let mut sum = Latency::new();
        sum.add(&latency);
        sum.add(&latency);
        assert_eq!(sum.count(), 18);
        assert_eq!(sum.quantile_us(500), latency.quantile_us(500));
    }
}
