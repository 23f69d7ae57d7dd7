//! What it costs to hand a frame to another worker: `corebench --handover`.
//!
//! Two threads poll, each with the seat of a worker. *One way* is half of the time from the moment at which one
//! begins to hand a frame over until it has taken in another one that the other handed back; *each* is the time for
//! one frame in a stream of them. The seats are those of the shelf; the requests are taken in by nobody.

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

/// Measures and prints both for both.
pub(crate) fn measure(rounds: usize, frames: u64) -> Result<()> {
    for (name, bytes) in FRAMES {
        let (mut one_way, mut each) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            one_way.push(in_turn(bytes, frames)?);
            each.push(in_a_stream(bytes, frames)?);
        }
        println!(
            "{name}: one way {}, in a stream {}",
            told(one_way),
            told(each)
        );
    }
    Ok(())
}

fn told(mut ns: Vec<f64>) -> String {
    ns.sort_unstable_by(f64::total_cmp);
    let [min, median] = [0, ns.len() / 2].map(|at| ns.get(at).copied().unwrap_or_default());
    format!("{median:.0} ns each (least {min:.0})")
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
    own: impl FnOnce(&mut Seat),
    other: impl FnOnce(&mut Seat, &AtomicBool) + Send,
) -> Result<f64> {
    let [mut first, mut second] = seats()?;
    let is_over = AtomicBool::new(false);
    Ok(thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(core_affinity::CoreId { id: 1 });
            other(&mut second, &is_over);
        });
        core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
        let begun = Instant::now();
        own(&mut first);
        let seconds = begun.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Release);
        seconds
    }))
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

fn in_turn(bytes: usize, frames: u64) -> Result<f64> {
    let bytes = vec![1; bytes];
    let seconds = on_two(
        |seat| {
            for _ in 0..frames {
                hand(seat, 1, &bytes);
                while take(seat) == 0 {
                    spin_loop();
                }
            }
        },
        |seat, is_over| {
            while !is_over.load(Ordering::Acquire) {
                for _ in 0..take(seat) {
                    hand(seat, 0, &bytes);
                }
            }
        },
    )?;
    Ok(seconds * 1e9 / frames as f64 / 2.0)
}

fn in_a_stream(bytes: usize, frames: u64) -> Result<f64> {
    let bytes = vec![1; bytes];
    let seconds = on_two(
        |seat| {
            for _ in 0..frames {
                hand(seat, 1, &bytes);
            }
        },
        |seat, is_over| {
            while !is_over.load(Ordering::Acquire) {
                take(seat);
            }
        },
    )?;
    Ok(seconds * 1e9 / frames as f64)
}
