//! How long a station has to wait after wrong passwords.
//!
//! ```text
//! failures one after the other   1  2  3  4   5   6   7 ...
//! seconds to wait                1  2  4  8  60 120 240 ... 900
//! ```
//!
//! Invariants: memory is bounded; a station that is not known waits for nobody else, unless so many are
//! waiting that no more can be remembered. Addresses can be forged: this slows down guessing, no more.

use aoe::MacAddress;
use core::time::Duration;
use std::collections::BTreeMap;

/// Failures in a row after which a station is locked out for longer.
const PATIENCE: u32 = 5;

/// The first lock-out; it doubles with each further failure.
const LOCKED_OUT: Duration = Duration::from_secs(60);

/// The longest lock-out.
const LOCKED_OUT_MAX: Duration = Duration::from_secs(15 * 60);

/// After this time without a failure all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// Stations that are remembered.
const STATIONS_MAX: usize = 1024;

/// Who failed how often.
#[derive(Debug, Default)]
pub struct Lockout {
    stations: BTreeMap<MacAddress, Failures>,
}

#[derive(Debug)]
struct Failures {
    in_a_row: u32,
    last: Duration,
    until: Duration,
}

impl Lockout {
    /// How long the station has to wait until it may try; zero if it may.
    #[must_use]
    pub fn wait(&self, now: Duration, station: MacAddress) -> Duration {
        let Some(failures) = self.stations.get(&station) else {
            return Duration::ZERO;
        };
        failures.until.saturating_sub(now)
    }

    /// Notes a wrong password, and returns how long the station has to wait.
    pub fn failed(&mut self, now: Duration, station: MacAddress) -> Duration {
        self.make_room(now, station);
        let failures = self.stations.entry(station).or_insert(Failures {
            in_a_row: 0,
            last: now,
            until: now,
        });
        if now.saturating_sub(failures.last) >= FORGOTTEN_AFTER {
            failures.in_a_row = 0;
        }
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        failures.last = now;
        let wait = time_for(failures.in_a_row);
        failures.until = now + wait;
        wait
    }

    /// Forgets the failures of a station that has logged in.
    pub fn succeeded(&mut self, station: MacAddress) {
        self.stations.remove(&station);
    }

    /// Forgets who failed longest ago, when the table is full.
    fn make_room(&mut self, now: Duration, station: MacAddress) {
        if self.stations.len() < STATIONS_MAX || self.stations.contains_key(&station) {
            return;
        }
        self.stations
            .retain(|_, failures| now.saturating_sub(failures.last) < FORGOTTEN_AFTER);
        let oldest = self
            .stations
            .iter()
            .min_by_key(|(_, failures)| failures.last);
        if let Some(oldest) = oldest.map(|(station, _)| *station)
            && self.stations.len() >= STATIONS_MAX
        {
            self.stations.remove(&oldest);
        }
    }
}

fn time_for(in_a_row: u32) -> Duration {
    let doubled = |first: Duration, times: u32| first.saturating_mul(1 << times.min(16));
    match in_a_row.checked_sub(PATIENCE) {
        None => doubled(Duration::from_secs(1), in_a_row.saturating_sub(1)),
        Some(more) => doubled(LOCKED_OUT, more).min(LOCKED_OUT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const BOB: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    #[test]
    fn each_failure_costs_more_than_the_one_before() {
        let mut lockout = Lockout::default();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = lockout.failed(now, ANN);
            assert_eq!(lockout.wait(now, ANN), wait);
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(lockout.wait(now, ANN), Duration::ZERO);
        }
        assert_eq!(waits, [1, 2, 4, 8, 60, 120, 240, 480, 900, 900, 900, 900]);
        assert_eq!(lockout.wait(now, BOB), Duration::ZERO);
        lockout.succeeded(ANN);
        assert_eq!(lockout.failed(now, ANN).as_secs(), 1);
        now += FORGOTTEN_AFTER;
        assert_eq!(lockout.failed(now, ANN).as_secs(), 1);
    }

    #[test]
    fn memory_is_bounded_and_the_last_to_fail_are_remembered() {
        let mut lockout = Lockout::default();
        for n in 0..5000u32 {
            let [a, b, c, d] = n.to_be_bytes();
            let now = Duration::from_millis(n.into());
            lockout.failed(now, MacAddress([2, 0, a, b, c, d]));
        }
        assert_eq!(lockout.stations.len(), STATIONS_MAX);
        assert!(
            lockout.wait(Duration::ZERO, MacAddress([2, 0, 0, 0, 0x13, 0x87])) > Duration::ZERO
        );
    }
}
