//! Sums of the last seconds, one by one, so that a rate over any of them is known at once.

/// The longest time that rates can be told over, in seconds.
pub const WINDOW_SECONDS_MAX: u64 = 32;

/// The present second and those before it.
const SLOTS: usize = 33;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// What was done in some time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    /// Commands or I/Os that were done.
    pub ops: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long they took, all together.
    pub latency_ns: u64,
    /// How long the slowest took.
    pub latency_max_ns: u64,
}

impl Sums {
    const NONE: Self = Self {
        ops: 0,
        bytes: 0,
        latency_ns: 0,
        latency_max_ns: 0,
    };

    /// Counts one.
    pub(super) fn count(&mut self, bytes: u64, latency_ns: u64) {
        self.ops += 1;
        self.bytes += bytes;
        self.latency_ns += latency_ns;
        self.latency_max_ns = self.latency_max_ns.max(latency_ns);
    }

    fn add(&mut self, other: &Self) {
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.latency_ns += other.latency_ns;
        self.latency_max_ns = self.latency_max_ns.max(other.latency_max_ns);
    }

    /// How long one took on average; 0 for none.
    #[must_use]
    pub const fn latency_mean_ns(&self) -> u64 {
        match self.latency_ns.checked_div(self.ops) {
            Some(mean) => mean,
            None => 0,
        }
    }
}

/// Sums over the last whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rates {
    /// Over how many: fewer than were asked for when it does not run that long yet.
    pub seconds: u64,
    /// Reads.
    pub reads: Sums,
    /// Writes.
    pub writes: Sums,
}

impl Rates {
    /// Adds what another worker did in the same time.
    pub fn add(&mut self, other: &Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
    }

    /// So much a second.
    #[must_use]
    pub const fn per_second(&self, sum: u64) -> u64 {
        match sum.checked_div(self.seconds) {
            Some(rate) => rate,
            None => 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Second {
    number: u64,
    reads: Sums,
    writes: Sums,
}

/// The sums of the last seconds.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    slots: [Second; SLOTS],
}

impl Window {
    pub(crate) const fn new() -> Self {
        let slot = Second {
            number: 0,
            reads: Sums::NONE,
            writes: Sums::NONE,
        };
        Self {
            slots: [slot; SLOTS],
        }
    }

    /// Counts one that ended now.
    pub(crate) fn record(&mut self, now_ns: u64, is_write: bool, bytes: u64, latency_ns: u64) {
        let second = self.second(now_ns);
        let sums = if is_write {
            &mut second.writes
        } else {
            &mut second.reads
        };
        sums.count(bytes, latency_ns);
    }

    /// Adds what was done in this second.
    pub(super) fn add(&mut self, now_ns: u64, reads: &Sums, writes: &Sums) {
        let second = self.second(now_ns);
        second.reads.add(reads);
        second.writes.add(writes);
    }

    fn second(&mut self, now_ns: u64) -> &mut Second {
        let number = now_ns / SECOND_NS;
        let slot = &mut self.slots[usize::try_from(number % SLOTS as u64).unwrap_or(0)];
        if slot.number != number {
            *slot = Second {
                number,
                reads: Sums::NONE,
                writes: Sums::NONE,
            };
        }
        slot
    }

    /// Over the last whole seconds.
    pub(crate) fn rates(&self, now_ns: u64, seconds: u64) -> Rates {
        let present = now_ns / SECOND_NS;
        let seconds = seconds.min(WINDOW_SECONDS_MAX).min(present);
        let mut rates = Rates {
            seconds,
            ..Rates::default()
        };
        for slot in &self.slots {
            if (present - seconds..present).contains(&slot.number) {
                rates.reads.add(&slot.reads);
                rates.writes.add(&slot.writes);
            }
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_second_that_goes_on_does_not_count_yet() {
        let mut window = Window::new();
        window.record(300 * MS, false, 8192, MS);
        assert_eq!(window.rates(900 * MS, 3), Rates::default());
        let rates = window.rates(1100 * MS, 3);
        assert_eq!((rates.seconds, rates.reads.ops), (1, 1));
        assert_eq!(rates.per_second(rates.reads.bytes), 8192);
        assert_eq!(rates.per_second(rates.writes.bytes), 0);
        assert_eq!(rates.reads.latency_mean_ns(), MS);
        assert_eq!(rates.writes.latency_mean_ns(), 0);
    }

    proptest! {
        /// Against a list of everything that happened.
        #[test]
        fn rates_are_those_of_the_list(
            steps in proptest::collection::vec((0..4000_u64, any::<bool>(), 1..100_u64), 1..200),
            seconds in 1..40_u64,
        ) {
            let (mut window, mut list, mut now_ns) = (Window::new(), Vec::new(), 0);
            for (pause_ms, is_write, latency_ns) in steps {
                now_ns += pause_ms * MS;
                window.record(now_ns, is_write, 512, latency_ns);
                list.push((now_ns / SECOND_NS, is_write, latency_ns));
            }
            let rates = window.rates(now_ns, seconds);
            let present = now_ns / SECOND_NS;
            let first = present.saturating_sub(seconds.min(WINDOW_SECONDS_MAX));
            prop_assert_eq!(rates.seconds, present - first);
            for (is_write, sums) in [(false, rates.reads), (true, rates.writes)] {
                let taken = list.iter().filter(|(second, write, _)| {
                    (first..present).contains(second) && *write == is_write
                });
                let latencies: Vec<u64> = taken.map(|(_, _, latency)| *latency).collect();
                prop_assert_eq!(sums.ops, latencies.len() as u64);
                prop_assert_eq!(sums.bytes, 512 * sums.ops);
                prop_assert_eq!(sums.latency_ns, latencies.iter().sum::<u64>());
                prop_assert_eq!(sums.latency_max_ns, latencies.iter().copied().max().unwrap_or(0));
            }
        }
    }
}
