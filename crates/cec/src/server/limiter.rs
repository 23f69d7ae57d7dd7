//! How often a station is answered.

use super::PortIndex;
use aoe::MacAddress;
use core::time::Duration;
use std::collections::HashMap;

/// Stations remembered at once; beyond that, unknown stations wait for the next window.
const STATIONS_MAX: usize = 1024;

/// Counts answers per port and station in windows of fixed length.
#[derive(Debug)]
pub(super) struct Limiter {
    window: Duration,
    answers_max: u32,
    stations: HashMap<(PortIndex, MacAddress), Window>,
}

#[derive(Debug)]
struct Window {
    start: Duration,
    answers: u32,
}

impl Limiter {
    pub(super) fn new(window: Duration, answers_max: u32) -> Self {
        Self {
            window,
            answers_max,
            stations: HashMap::new(),
        }
    }

    /// Whether one more answer to this station is within the limit; if so it is counted.
    pub(super) fn admit(&mut self, now: Duration, port: PortIndex, mac: MacAddress) -> bool {
        let key = (port, mac);
        if self.stations.len() >= STATIONS_MAX && !self.stations.contains_key(&key) {
            let window = self.window;
            self.stations
                .retain(|_, seen| now.saturating_sub(seen.start) < window);
            if self.stations.len() >= STATIONS_MAX {
                return false;
            }
        }
        let seen = self.stations.entry(key).or_insert(Window {
            start: now,
            answers: 0,
        });
        if now.saturating_sub(seen.start) >= self.window {
            *seen = Window {
                start: now,
                answers: 0,
            };
        }
        let admitted = seen.answers < self.answers_max;
        if admitted {
            seen.answers += 1;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_stations_is_bounded_and_recovers() {
        let mut limiter = Limiter::new(Duration::from_secs(1), 1);
        let station = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            MacAddress([2, 0, a, b, c, d])
        };
        let admitted = (0..5000)
            .filter(|n| limiter.admit(Duration::ZERO, PortIndex(0), station(*n)))
            .count();
        assert_eq!(admitted, STATIONS_MAX);
        assert!(limiter.admit(Duration::from_secs(1), PortIndex(0), station(9999)));
    }
}
