//! What it costs to hand a frame to another worker: `corebench --handover`.
//!
//! Two threads poll, each with the seat of a worker. *One way* is half of the time from the moment at which
//! one begins to hand a frame over until it has taken in another one that the other handed back; *each* is
//! the time for one frame in a stream of them. The seats are those of the shelf; the requests are taken in
//! by nobody.

use anyhow::{Context, Result};
use aoe::{MacAddress, SECTOR_BYTES};
use engine::Seat;
use port::{Port, ReceivedFrame, memory_pair};
use shelf::shard::WorkerIndex;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// A read request, and a write of 8 KiB.
const FRAMES: [(&str, usize); 2] = [("60 bytes", 60), ("8 KiB", 36 + 16 * SECTOR_BYTES)];

/// Frames of a stream that are timed together.
const BURST: u64 = 16;

/// Measures and prints all for both. Each time is taken by itself, and medians are told: on a machine that
/// does something else, too, one of both threads often does not run, and whoever waits for it then waits for
/// milliseconds.
pub(crate) fn measure(frames: u64) -> Result<()> {
    for (name, bytes) in FRAMES {
        let one_way = told(in_turn(bytes, frames)?, 2);
        let each = told(in_a_stream(bytes, frames)?, BURST);
        let own = told(by_itself(bytes, frames)?, BURST);
        println!("{name}: one way {one_way}; in a stream {each}; both ends on one core {own}");
    }
    Ok(())
}

/// Median and tenth percentile of times, each divided.
fn told(mut ns: Vec<u64>, by: u64) -> String {
    ns.sort_unstable();
    let at = |tenths: usize| ns.get(ns.len() * tenths / 10).copied().unwrap_or_default() / by;
    format!("{} ns (p10 {})", at(5), at(1))
}

fn seats() -> Result<[Seat; 2]> {
    let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
    let (port, _) = memory_pair(mac(1), mac(2), 9000, 1)?;
    let ports: Vec<Box<dyn Port>> = vec![Box::new(port)];
    let seats = engine::seats(2, ports, 64, 1)?;
    seats.try_into().ok().context("two seats")
}

/// Runs `other` on a thread with the second seat while `own` runs with the first.
fn on_two(
    own: impl FnOnce(&mut Seat) -> Vec<u64>,
    other: impl FnOnce(&mut Seat, &AtomicBool) + Send,
) -> Result<Vec<u64>> {
    let [mut first, mut second] = seats()?;
    let is_over = AtomicBool::new(false);
    Ok(thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(core_affinity::CoreId { id: 1 });
            other(&mut second, &is_over);
        });
        core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
        let times = own(&mut first);
        is_over.store(true, Ordering::Release);
        times
    }))
}

/// How long something takes, so many times.
fn timed(times: u64, mut work: impl FnMut()) -> Vec<u64> {
    let ns = |_| {
        let begun = Instant::now();
        work();
        u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    };
    (0..times).map(ns).collect()
}

fn hand(seat: &mut Seat, to: u8, bytes: &[u8]) {
    let frame = ReceivedFrame {
        first: bytes,
        rest: &[],
    };
    while !seat.hand(WorkerIndex(to), &frame) {
        spin_loop();
    }
}

fn take(seat: &mut Seat) -> u64 {
    seat.take(&mut |frame| {
        std::hint::black_box(frame);
    })
}

fn in_turn(bytes: usize, frames: u64) -> Result<Vec<u64>> {
    let bytes = vec![1; bytes];
    on_two(
        |seat| {
            timed(frames, || {
                hand(seat, 1, &bytes);
                while take(seat) == 0 {
                    spin_loop();
                }
            })
        },
        |seat, is_over| {
            while !is_over.load(Ordering::Acquire) {
                for _ in 0..take(seat) {
                    hand(seat, 0, &bytes);
                }
            }
        },
    )
}

fn in_a_stream(bytes: usize, frames: u64) -> Result<Vec<u64>> {
    let bytes = vec![1; bytes];
    on_two(
        |seat| {
            timed(frames / BURST, || {
                for _ in 0..BURST {
                    hand(seat, 1, &bytes);
                }
            })
        },
        |seat, is_over| {
            while !is_over.load(Ordering::Acquire) {
                take(seat);
            }
        },
    )
}

/// What both ends do, without another core from whose cache the frame has to come.
fn by_itself(bytes: usize, frames: u64) -> Result<Vec<u64>> {
    let [mut first, mut second] = seats()?;
    let bytes = vec![1; bytes];
    Ok(timed(frames / BURST, || {
        for _ in 0..BURST {
            hand(&mut first, 1, &bytes);
        }
        take(&mut second);
    }))
}
