//! How long something takes, as a histogram of fixed size.
//!
//! Buckets are a quarter of an octave wide, from a microsecond to more than an hour; the old counts for
//! less and less: whenever [`WINDOW`] were counted, all counts are halved.

/// Buckets: four for each power of two of microseconds.
const BUCKETS: usize = 4 * 32;

/// Counts after which all are halved.
const WINDOW: u32 = 8192;

/// Fewer than this say nothing of the slowest hundredth.
const SAMPLES_MIN: u32 = 100;

/// Recent latencies.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Latencies {
    pub(crate) const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }

    /// Counts one.
    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.counts[bucket(latency_ns)] += 1;
        self.total += 1;
        if self.total >= WINDOW {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self.counts.iter().sum();
        }
    }

    /// How many were counted, the old ones by half.
    pub(crate) const fn total(&self) -> u32 {
        self.total
    }

    /// What 99 of 100 did not exceed; `None` while too few were counted.
    pub(crate) fn p99_ns(&self) -> Option<u64> {
        self.p99_of(SAMPLES_MIN)
    }

    /// As [`Latencies::p99_ns`], with so many at least.
    pub(crate) fn p99_of(&self, samples_min: u32) -> Option<u64> {
        self.quantile(samples_min, self.total / 100)
    }

    /// What half did not exceed; `None` for none.
    pub(crate) fn p50_ns(&self) -> Option<u64> {
        self.quantile(1, self.total / 2)
    }

    /// What all but so many did not exceed, if there are so many samples at least.
    fn quantile(&self, samples_min: u32, mut above: u32) -> Option<u64> {
        if self.total < samples_min {
            return None;
        }
        for (bucket, count) in self.counts.iter().enumerate().rev() {
            match above.checked_sub(*count) {
                Some(left) => above = left,
                None => return Some(end_ns(bucket)),
            }
        }
        None
    }
}

fn bucket(latency_ns: u64) -> usize {
    let us = (latency_ns / 1000).max(1);
    let octave = us.ilog2() as usize;
    // The two bits behind the first one.
    let quarter = ((us << 2) >> octave) & 3;
    (4 * octave + usize::try_from(quarter).unwrap_or(0)).min(BUCKETS - 1)
}

/// The least latency above a bucket.
const fn end_ns(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4, bucket % 4);
    ((5 + quarter as u64) << octave) * 250
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_the_bucket_that_ends_above_it() {
        for us in (0..2_000_000).step_by(37) {
            let (ns, bucket) = (us * 1000, bucket(us * 1000));
            assert!(ns < end_ns(bucket), "{us}");
            assert!(bucket == 0 || ns >= end_ns(bucket - 1), "{us}");
        }
    }

    #[test]
    fn the_slowest_hundredth_does_not_count_and_what_is_past_fades() {
        let mut latencies = Latencies::new();
        for _ in 0..99 {
            latencies.record(100_000);
        }
        assert_eq!(latencies.p99_ns(), None);
        latencies.record(900_000_000);
        let p99 = latencies.p99_ns().unwrap();
        assert!((100_000..130_000).contains(&p99), "{p99}");
        for _ in 0..9 {
            latencies.record(900_000_000);
        }
        assert!(latencies.p99_ns().unwrap() > 900_000_000);
        for _ in 0..20 * WINDOW {
            latencies.record(100_000);
        }
        assert!(latencies.p99_ns().unwrap() < 130_000);
    }
}
