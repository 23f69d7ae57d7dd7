//! What is counted while a load runs.
//!
//! Invariant: throughput counts the commands that ended inside the time of measurement; latency
//! covers those that began inside it, however late they ended. Leaving out the late ones would hide
//! just the stalls that a percentile is there to show.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use initiator::Operation;

/// Latencies above an hour count as an hour.
pub(crate) const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;

/// The commands of one kind.
#[derive(Debug)]
pub(crate) struct KindTally {
    /// Latencies in nanoseconds of those that began inside the time of measurement.
    pub(crate) latency: Histogram<u64>,
    /// How many were done inside it.
    pub(crate) done: u64,
}

/// The counts of a load.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) reads: KindTally,
    pub(crate) writes: KindTally,
    /// When measuring begins and ends.
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
}

/// An empty histogram of latencies in nanoseconds.
pub(crate) fn new_latency_histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).context("cannot make a histogram")
}

impl KindTally {
    fn new() -> Result<Self> {
        Ok(Self {
            latency: new_latency_histogram()?,
            done: 0,
        })
    }
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            reads: KindTally::new()?,
            writes: KindTally::new()?,
            begin_ns: 0,
            end_ns: 0,
        })
    }

    /// A command that was due at `due_ns` was done at `now_ns`. Returns its latency, if that counts.
    pub(crate) fn done(&mut self, operation: Operation, due_ns: u64, now_ns: u64) -> Option<u64> {
        let window = self.begin_ns..self.end_ns;
        let kind = match operation {
            Operation::Read => &mut self.reads,
            Operation::Write => &mut self.writes,
        };
        kind.done += u64::from(window.contains(&now_ns));
        let latency_ns = window
            .contains(&due_ns)
            .then(|| now_ns.saturating_sub(due_ns).max(1))?;
        kind.latency.saturating_record(latency_ns);
        Some(latency_ns)
    }

    /// Adds what another target's load counted in the same time.
    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        for (sum, part) in [
            (&mut self.reads, &other.reads),
            (&mut self.writes, &other.writes),
        ] {
            sum.done += part.done;
            sum.latency
                .add(&part.latency)
                .context("cannot add histograms")?;
        }
        Ok(())
    }

    /// How long was measured.
    pub(crate) fn seconds(&self) -> f64 {
        self.end_ns.saturating_sub(self.begin_ns) as f64 / 1e9
    }

    /// Commands done inside the time of measurement.
    pub(crate) fn done_count(&self) -> u64 {
        self.reads.done + self.writes.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_covers_what_began_inside_and_throughput_what_ended_inside() {
        let mut tally = Tally::new().unwrap();
        (tally.begin_ns, tally.end_ns) = (1000, 2000);
        for (due_ns, now_ns) in [(900, 990), (990, 1000), (1500, 1600), (1900, 9000)] {
            tally.done(Operation::Read, due_ns, now_ns);
        }
        assert_eq!(tally.reads.done, 2);
        assert_eq!(tally.reads.latency.len(), 2);
        assert!(tally.reads.latency.max() >= 7100);
        assert_eq!(tally.writes.latency.len(), 0);
    }
}
