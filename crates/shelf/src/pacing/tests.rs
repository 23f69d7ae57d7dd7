//! What leaves when, by one worker and by several.

use super::*;
use proptest::prelude::*;
use std::thread;

const FRAME: usize = 8228;

fn station(number: u16) -> MacAddress {
    let [high, low] = number.to_be_bytes();
    MacAddress([2, 0, 0, 9, high, low])
}

#[test]
fn a_window_of_reads_is_spread_over_its_time_on_the_line() {
    let pacer = Pacer::new(1000);
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
    let pacer = Pacer::new(1000);
    for _ in 0..1000 {
        pacer.departure_ns(station(1), FRAME, 0);
    }
    assert_eq!(pacer.departure_ns(station(2), FRAME, 0), 0);
}

#[test]
fn a_station_that_was_silent_has_its_burst_again() {
    let pacer = Pacer::new(100);
    for _ in 0..100 {
        pacer.departure_ns(station(1), FRAME, 0);
    }
    let later = 10_000_000_000;
    let at_once = (0..8).filter(|_| pacer.departure_ns(station(1), FRAME, later) == later);
    assert_eq!(at_once.count(), 7);
}

#[test]
fn more_stations_than_places_cost_no_memory_and_no_order() {
    let pacer = Pacer::new(10);
    let places = pacer.places.len();
    for number in 0..20_000 {
        for _ in 0..3 {
            pacer.departure_ns(station(number), FRAME, 0);
        }
    }
    assert_eq!(pacer.places.len(), places);
}

/// Each worker with a clock of its own that is a little behind the others.
#[test]
fn several_workers_are_together_no_faster_than_one() {
    const WORKERS: u64 = 4;
    const FRAMES: usize = 600;
    let pacer = Pacer::new(1000);
    for number in 0..3 {
        pacer.departure_ns(station(number), FRAME, 0);
    }
    let send = |worker: u64| -> Vec<(u16, u64)> {
        let mut now_ns = worker * 1000;
        let frames = (0..FRAMES).map(|frame| {
            now_ns += 40_000;
            let number = u16::try_from(frame % 3).unwrap();
            (number, pacer.departure_ns(station(number), FRAME, now_ns))
        });
        frames.collect()
    };
    let left: Vec<(u16, u64)> = thread::scope(|scope| {
        let send = &send;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || send(worker)))
            .collect();
        let all = workers.into_iter().map(|worker| worker.join().unwrap());
        all.flatten().collect()
    });
    let frame_ns = (FRAME as u64 + WIRE_OVERHEAD_BYTES) * 8;
    for number in 0..3 {
        let mut own: Vec<u64> = left
            .iter()
            .filter(|frame| frame.0 == number)
            .map(|frame| frame.1)
            .collect();
        own.sort_unstable();
        assert_eq!(own.len(), 800);
        for (begin, first) in own.iter().enumerate() {
            for (more, last) in (1..).zip(&own[begin..]) {
                let allowed = last - first + BURST_BYTES * 8 + 2 * frame_ns;
                assert!(
                    more * frame_ns <= allowed,
                    "{more} frames in {} ns",
                    last - first
                );
            }
        }
    }
}

/// Who finds a station's place gone takes another one, and nobody's frames are forgotten.
#[test]
fn workers_that_meet_many_new_stations_at_once_agree_on_their_places() {
    let pacer = Pacer::new(100);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..200 {
                    for _ in 0..20 {
                        pacer.departure_ns(station(number), FRAME, 0);
                    }
                }
            });
        }
    });
    let frame_ns = (FRAME as u64 + WIRE_OVERHEAD_BYTES) * 80;
    for number in 0..200 {
        let departure_ns = pacer.departure_ns(station(number), FRAME, 0);
        // 81 frames, less a burst, and what a place may have lost that was another's for a moment.
        let least = 81 * frame_ns - BURST_BYTES * 80 - 4 * frame_ns;
        assert!(departure_ns >= least, "station {number}: {departure_ns} ns");
    }
}

proptest! {
    #[test]
    fn over_any_time_no_station_gets_more_than_its_rate_and_a_burst(
        mbit in 1u64..100_000,
        frames in prop::collection::vec((0u16..3, 60usize..9014, 0u64..200_000), 1..300),
    ) {
        let pacer = Pacer::new(mbit);
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
