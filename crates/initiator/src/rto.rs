//! When an answer is overdue: the retransmission timeout.
//!
//! The estimator keeps a smoothed round trip and its mean deviation, as TCP does, and takes twice
//! the one plus eight times the other, the formula of the Linux AoE initiator. Unlike that one it has a
//! floor, because a single slow answer is not a loss, and it backs off, because a target that is
//! overloaded gains nothing from more of the same.

/// What to do about a command that gets no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retransmission {
    /// Send again after a timeout that follows the round trips seen; doubled for each repetition of
    /// the same command up to [`ADAPTIVE_NS_MAX`].
    Adaptive,
    /// Send again after this many nanoseconds, each time.
    Fixed(u64),
    /// Never send again: one lost frame is one lost command.
    Never,
}

/// Shortest adaptive timeout: above the stalls of a busy client's scheduler.
pub const ADAPTIVE_NS_MIN: u64 = 50_000_000;
/// Longest adaptive timeout: a target that restarts is noticed within this time.
pub const ADAPTIVE_NS_MAX: u64 = 2_000_000_000;
/// The timeout while no round trip has been seen.
pub const INITIAL_NS: u64 = 500_000_000;

/// Smoothed round trip time.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    /// Average and mean deviation in nanoseconds, once there is a sample.
    state: Option<(u64, u64)>,
}

impl RoundTrip {
    /// Takes in the round trip of a command that was sent once. Those of repeated commands tell
    /// nothing: it is not known which of the transmissions was answered.
    pub fn sample(&mut self, round_trip_ns: u64) {
        self.state = Some(match self.state {
            None => (round_trip_ns, round_trip_ns / 2),
            Some((average, deviation)) => {
                let error = average.abs_diff(round_trip_ns);
                (
                    average - average / 8 + round_trip_ns / 8,
                    deviation - deviation / 4 + error / 4,
                )
            }
        });
    }

    /// The timeout of a command that has been sent `sends` times (at least once).
    #[must_use]
    pub fn timeout_ns(&self, sends: u32) -> u64 {
        let base = self.state.map_or(INITIAL_NS, |(average, deviation)| {
            average
                .saturating_mul(2)
                .saturating_add(deviation.saturating_mul(8))
        });
        let doublings = sends.saturating_sub(1).min(16);
        (base.clamp(ADAPTIVE_NS_MIN, ADAPTIVE_NS_MAX) << doublings).min(ADAPTIVE_NS_MAX)
    }
}

impl Retransmission {
    /// After how many nanoseconds a command that has been sent `sends` times is sent again.
    #[must_use]
    pub fn timeout_ns(self, round_trip: &RoundTrip, sends: u32) -> Option<u64> {
        match self {
            Self::Adaptive => Some(round_trip.timeout_ns(sends)),
            Self::Fixed(timeout_ns) => Some(timeout_ns),
            Self::Never => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_steady_round_trip_leads_to_twice_its_length() {
        let mut round_trip = RoundTrip::default();
        for _ in 0..200 {
            round_trip.sample(200_000_000);
        }
        let timeout = round_trip.timeout_ns(1);
        assert!((399_000_000..=401_000_000).contains(&timeout), "{timeout}");
    }

    #[test]
    fn each_repetition_doubles_up_to_the_limit() {
        let round_trip = RoundTrip::default();
        assert_eq!(round_trip.timeout_ns(1), INITIAL_NS);
        assert_eq!(round_trip.timeout_ns(2), 2 * INITIAL_NS);
        assert_eq!(round_trip.timeout_ns(u32::MAX), ADAPTIVE_NS_MAX);
    }

    proptest! {
        #[test]
        fn the_timeout_stays_between_its_limits(samples in proptest::collection::vec(any::<u64>(), 0..40), sends in any::<u32>()) {
            let mut round_trip = RoundTrip::default();
            for sample in samples {
                round_trip.sample(sample);
                let timeout = round_trip.timeout_ns(sends);
                prop_assert!((ADAPTIVE_NS_MIN..=ADAPTIVE_NS_MAX).contains(&timeout));
            }
        }
    }
}
