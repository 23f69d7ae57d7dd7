//! Parity of 8 + 2 with 64 KiB chunks on one core: `cargo bench -p raid`.
//!
//! Every figure is in GB/s of data, and as a ratio to a plain read of as much data in the same run.
//! Each round does every job once, in turn, so that a disturbance of the machine meets all of them;
//! the median over the rounds is shown. Stripes come from a pool: of one stripe (data in L2), or far
//! larger than the last cache (data from DRAM).
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and stops at what it does not expect"
)]

use raid::parity::{Kernel, Role, Verdict, Wanted};
use std::hint::black_box;
use std::time::Instant;

const DATA_CHUNKS: usize = 8;
const CHUNK_BYTES: usize = 64 << 10;
const STRIPE_BYTES: usize = DATA_CHUNKS * CHUNK_BYTES;

/// Chunks begin where a page does, as the buffers of the shelf: a vector across two cache lines costs
/// two loads.
#[derive(Clone)]
#[repr(align(4096))]
struct Chunk([u8; CHUNK_BYTES]);

/// Where a plain read leaves its sums.
#[repr(align(4096))]
struct Page([u8; 4096]);

/// Data and parity of a stripe of a pool.
struct Stripe {
    data: Vec<Chunk>,
    /// What data chunk 5 changes to: the same, so that P and Q stay right.
    new: Box<Chunk>,
    p: Box<Chunk>,
    q: Box<Chunk>,
}

/// One job on a stripe; returns how much data it went over.
type Job = fn(Kernel, &mut Stripe) -> usize;

const JOBS: [(&str, Job); 7] = [
    ("plain read", read),
    ("XOR 8+1", xor),
    ("P+Q 8+2", pq),
    ("rebuild of two data chunks", rebuild),
    ("check of P and Q", check),
    ("delta of one chunk, P and Q", delta),
    ("delta of 4 KiB, P and Q", delta_page),
];

fn main() {
    // Cargo passes `--bench`; a word is a filter for kernels.
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let mut kernels = Kernel::available();
    kernels.retain(|kernel| filter.as_ref().is_none_or(|name| kernel.name() == name));
    let pools = [
        ("in L2", 1, 400, 20),
        ("from DRAM", (512 << 20) / STRIPE_BYTES, 60, 32),
    ];
    for (name, stripes, rounds, repeats) in pools {
        let mut pool: Vec<Stripe> = (0..stripes).map(Stripe::new).collect();
        for kernel in &kernels {
            println!("{name}, {}", kernel.name());
            measure(*kernel, &mut pool, rounds, repeats);
        }
    }
}

fn measure(kernel: Kernel, pool: &mut [Stripe], rounds: usize, repeats: usize) {
    let mut next = 0;
    let mut seconds_per_byte = [const { Vec::new() }; JOBS.len()];
    for _ in 0..rounds {
        for ((_, job), samples) in JOBS.iter().zip(&mut seconds_per_byte) {
            let mut bytes = 0;
            if pool.len() == 1 {
                // What the job before left in the cache is not what this one wants there.
                job(kernel, &mut pool[0]);
            }
            let start = Instant::now();
            for _ in 0..repeats {
                bytes += job(kernel, &mut pool[next % pool.len()]);
                next += 1;
            }
            samples.push(start.elapsed().as_secs_f64() / bytes as f64);
        }
    }
    let plain = &seconds_per_byte[0];
    for ((name, _), samples) in JOBS.iter().zip(&seconds_per_byte) {
        let ratios: Vec<f64> = plain
            .iter()
            .zip(samples)
            .map(|(read, it)| read / it)
            .collect();
        let best = samples.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "  {name:28} {:7.1} GB/s (best {:6.1}) {:6.1} % of a plain read",
            1e-9 / median(samples),
            1e-9 / best,
            100.0 * median(&ratios)
        );
    }
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

impl Stripe {
    fn new(seed: usize) -> Self {
        let byte = |i: usize| (seed.wrapping_mul(31) ^ i.wrapping_mul(0x9e37_79b9) >> 7) as u8;
        let mut data = vec![Chunk([0; CHUNK_BYTES]); DATA_CHUNKS];
        for (i, out) in data.iter_mut().flat_map(|chunk| &mut chunk.0).enumerate() {
            *out = byte(i);
        }
        let mut stripe = Self {
            new: Box::new(data[5].clone()),
            p: Box::new(Chunk([0; CHUNK_BYTES])),
            q: Box::new(Chunk([0; CHUNK_BYTES])),
            data,
        };
        pq(Kernel::best(), &mut stripe);
        stripe
    }
}

/// All data, from the eight chunks in turn, with the widest loads; what is written stays in L1. From
/// DRAM this is faster than chunk after chunk.
fn read(_: Kernel, stripe: &mut Stripe) -> usize {
    let mut page = Page([0; 4096]);
    let sum = &mut page.0;
    for at in (0..CHUNK_BYTES).step_by(sum.len()) {
        let data: [&[u8]; DATA_CHUNKS] =
            std::array::from_fn(|index| &stripe.data[index].0[at..at + sum.len()]);
        Kernel::best().xor_parity(&data, black_box(sum)).unwrap();
    }
    STRIPE_BYTES
}

fn xor(kernel: Kernel, stripe: &mut Stripe) -> usize {
    let Stripe { data, p, .. } = stripe;
    let data: [&[u8]; DATA_CHUNKS] = std::array::from_fn(|index| &data[index].0[..]);
    kernel.xor_parity(&data, black_box(&mut p.0)).unwrap();
    STRIPE_BYTES
}

fn pq(kernel: Kernel, stripe: &mut Stripe) -> usize {
    let Stripe { data, p, q, .. } = stripe;
    let data: [&[u8]; DATA_CHUNKS] = std::array::from_fn(|index| &data[index].0[..]);
    kernel
        .pq_parity(&data, black_box(&mut p.0), black_box(&mut q.0))
        .unwrap();
    STRIPE_BYTES
}

/// Six data chunks, P and Q give two data chunks: as many bytes are read as P and Q are made of.
fn rebuild(kernel: Kernel, stripe: &mut Stripe) -> usize {
    let [one, two, rest @ ..] = &mut stripe.data[..] else {
        return 0;
    };
    let mut data = [None; DATA_CHUNKS];
    for (block, chunk) in data[2..].iter_mut().zip(rest) {
        *block = Some(&chunk.0[..]);
    }
    let mut wanted = [(0, one), (1, two)].map(|(index, out)| Wanted {
        role: Role::Data(index),
        out: &mut out.0,
    });
    let (p, q) = (Some(&stripe.p.0[..]), Some(&stripe.q.0[..]));
    kernel.recover(&data, p, q, black_box(&mut wanted)).unwrap();
    STRIPE_BYTES
}

fn check(kernel: Kernel, stripe: &mut Stripe) -> usize {
    let data: [&[u8]; DATA_CHUNKS] = std::array::from_fn(|index| &stripe.data[index].0[..]);
    let verdict = kernel.check_parity(&data, &stripe.p.0, Some(&stripe.q.0));
    assert_eq!(verdict, Ok(Verdict::Consistent));
    STRIPE_BYTES
}

/// One chunk changes; its bytes are the data that count.
fn delta(kernel: Kernel, stripe: &mut Stripe) -> usize {
    update(kernel, stripe, CHUNK_BYTES)
}

/// A small write, which is the common one.
fn delta_page(kernel: Kernel, stripe: &mut Stripe) -> usize {
    update(kernel, stripe, 4096)
}

fn update(kernel: Kernel, stripe: &mut Stripe, len: usize) -> usize {
    let Stripe { data, new, p, q } = stripe;
    let (old, new) = (&data[5].0[..len], &new.0[..len]);
    let (p, q) = (&mut p.0[..len], &mut q.0[..len]);
    let (p, q) = (Some(black_box(p)), Some(black_box(q)));
    kernel.update_parity(5, old, new, p, q).unwrap();
    len
}
