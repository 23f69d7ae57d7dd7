//! The core of the shelf and its executor over disks in memory, without a network: each stage of a request
//! ([`stages`]), and what parity, log and bitmap cost beside the I/O that they ask for, which `bench/raid.py`
//! shows. What it costs to hand a frame from one worker to another is measured by itself
//! ([`handover`]).
//!
//! Everything runs on one thread and is timed by the CPU that this thread uses. Every round measures every
//! case once, in turn; medians over the rounds are shown. A *replay* does the same I/O as a lap before
//! it, in the same batches, with the same executor, from the same buffers to the same disks, and nothing
//! else: the time that its I/O takes.
//!
//! `corebench respond` is the opposite: a network without a core, the limit of what a shelf can reach.
//! `corebench stalls` is neither: how long the machine stops whoever wants to run.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[cfg(test)]
mod allocations;
mod file;
mod frame;
mod handover;
mod lap;
mod luns;
mod measured;
mod respond;
mod stages;
mod stalls;

use anyhow::Result;
use clap::Parser;
use lap::{Bench, Lap, Load};
use luns::{Place, Shape};
use measured::measured_part;
use raid::Level;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Members of all LUNs.
const MEMBERS: u8 = 10;

/// Measures the core without a network, or answers on a network without a core.
#[derive(Parser, Debug)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How often each case is measured.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// MiB of each of the ten disks in memory; far more than the shelf keeps of them.
    #[arg(long, default_value_t = 256)]
    disk_mib: u64,
    /// Requests of a lap.
    #[arg(long, default_value_t = 60_000)]
    requests: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Does one case only, for a profiler to look at.
    #[arg(long)]
    only: Option<Case>,
    /// Serves the requests of one lap on a LUN of its own where `bench/instructions.py` counts, after as many
    /// that it does not count, and ends.
    #[arg(long, conflicts_with = "only")]
    count: Option<Counted>,
    /// Measures the executor alone over these files or disks, with random I/O of 8 KiB: `bench/executor.py`
    /// holds it against fio. Writes overwrite them.
    #[arg(long, conflicts_with_all = ["only", "count"])]
    file: Vec<std::path::PathBuf>,
    /// Durable writes instead of reads, with `--file`.
    #[arg(long, requires = "file")]
    write: bool,
    /// I/Os under way, with `--file`.
    #[arg(long, requires = "file", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: u16,
    /// For how long, with `--file`.
    #[arg(long, requires = "file", default_value_t = 2.0)]
    seconds: f64,
    /// CPU to which the thread is pinned that polls, with `--file`.
    #[arg(long, requires = "file")]
    core: Option<usize>,
    /// Measures what it costs to hand a frame to another worker, and ends.
    #[arg(long, conflicts_with = "count")]
    handover: bool,
}

/// What else there is to measure.
#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Each stage of a request by itself.
    Stages(stages::Arguments),
    /// Answer AoE reads and writes straight from the rings of a port, until it is ended
    Respond(respond::RespondArguments),
    /// Spin on a CPU, and tell how long it was taken away
    Stalls(stalls::Arguments),
}

/// A level, and requests of 8 KiB.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Counted {
    /// raid0 over four.
    Raid0Read,
    Raid0Write,
    /// raid10 over four.
    Raid10Read,
    Raid10Write,
    /// raid5 over five, whole stripes.
    Raid5Write,
    /// raid6 over ten, whole stripes.
    Raid6Write,
}

impl Counted {
    fn shape(self) -> Shape {
        let (level, members) = match self {
            Self::Raid0Read | Self::Raid0Write => (Level::Raid0, 4),
            Self::Raid10Read | Self::Raid10Write => (Level::Raid10, 4),
            Self::Raid5Write => (Level::Raid5, 5),
            Self::Raid6Write => (Level::Raid6, 10),
        };
        Shape {
            level,
            members,
            lost: 0,
            is_protected: true,
        }
    }

    fn load(self) -> Load {
        match self {
            Self::Raid0Read | Self::Raid10Read => Load {
                is_random: true,
                ..STREAM_READ
            },
            Self::Raid0Write | Self::Raid10Write => Load {
                is_random: true,
                ..STREAM_WRITE
            },
            Self::Raid5Write | Self::Raid6Write => STREAM_WRITE,
        }
    }
}

/// A case that may be done alone.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Case {
    Random,
    Stripe,
    BareStripe,
    /// Both in turn, and how much the first takes more.
    Protection,
    Read,
    OneLost,
    TwoLost,
}

/// A figure with its spread over the rounds.
#[derive(Serialize, Debug)]
struct Figure {
    median: f64,
    min: f64,
    max: f64,
}

/// Everything that is measured.
#[derive(Serialize, Debug)]
struct Report {
    /// 4 KiB random writes, raid6 8+2: nanoseconds for each.
    random_write_ns: Figure,
    /// I/Os for each: reads, log writes, home writes.
    random_write_ios: [f64; 3],
    /// The same I/Os by themselves.
    random_write_io_ns: Figure,
    /// 4 KiB random writes, raid0 over as many disks, and their I/O by itself.
    raid0_write_ns: Figure,
    raid0_write_io_ns: Figure,
    /// I/O by itself beside the whole.
    random_write_of_io: Figure,
    /// I/O by itself and what a request takes besides its I/O on raid0, beside the whole.
    random_write_of_bound: Figure,
    /// Full stripes, 8 KiB each: with bitmap and log, without, and how much more with.
    stripe_write_ns: Figure,
    bare_stripe_write_ns: Figure,
    protection_overhead: Figure,
    /// Sequential reads of 8 KiB: healthy, one lost, two lost, and the latter beside the first.
    read_ns: Figure,
    one_lost_read_ns: Figure,
    two_lost_read_ns: Figure,
    one_lost_of_healthy: Figure,
    two_lost_of_healthy: Figure,
}

const RANDOM_WRITE: Load = Load {
    is_write: true,
    is_random: true,
    sectors: 8,
};
const STREAM_WRITE: Load = Load {
    is_write: true,
    is_random: false,
    sectors: 16,
};
const STREAM_READ: Load = Load {
    is_write: false,
    ..STREAM_WRITE
};

/// The LUNs.
struct Luns {
    raid0: Place,
    raid6: Place,
    bare: Place,
    one_lost: Place,
    two_lost: Place,
}

/// What a round came to, in seconds for each request.
struct Round {
    random: Lap,
    random_io: f64,
    raid0: f64,
    raid0_io: f64,
    stripe: f64,
    bare_stripe: f64,
    read: f64,
    one_lost: f64,
    two_lost: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Stages(arguments)) => return stages::run(arguments),
        Some(Command::Respond(arguments)) => return respond::respond(arguments),
        Some(Command::Stalls(arguments)) => return stalls::run(arguments),
        None => {}
    }
    if !arguments.file.is_empty() {
        let load = file::FileLoad {
            paths: arguments.file,
            is_write: arguments.write,
            depth: arguments.depth,
            seconds: arguments.seconds,
        };
        let report = file::run(&load, arguments.core)?;
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    if arguments.handover {
        return handover::measure(arguments.requests);
    }
    let disk_bytes = arguments.disk_mib << 20;
    let mut bench = Bench::new(u16::from(MEMBERS), disk_bytes)?;
    if let Some(case) = arguments.count {
        let (place, view) = luns::view(0, case.shape(), disk_bytes)?;
        bench.attach(view);
        let mut serve = || bench.serve(&place, case.load(), arguments.requests);
        serve()?;
        let mut served = Ok(());
        measured_part(&mut || served = serve());
        return served;
    }
    let mut place = |number, level, lost, is_protected| {
        let shape = Shape {
            level,
            members: MEMBERS,
            lost,
            is_protected,
        };
        let (place, view) = luns::view(number, shape, disk_bytes)?;
        bench.attach(view);
        anyhow::Ok(place)
    };
    let luns = Luns {
        raid0: place(0, Level::Raid0, 0, true)?,
        raid6: place(1, Level::Raid6, 0, true)?,
        bare: place(2, Level::Raid6, 0, false)?,
        one_lost: place(3, Level::Raid6, 1, true)?,
        two_lost: place(4, Level::Raid6, 2, true)?,
    };
    // All memory is there, and all parity right.
    bench.lap(&luns.raid6, STREAM_WRITE, luns.raid6.capacity_sectors / 16)?;
    if let Some(case) = arguments.only {
        return only(&mut bench, &luns, case, &arguments);
    }
    let rounds = (0..arguments.rounds)
        .map(|_| round(&mut bench, &luns, arguments.requests))
        .collect::<Result<Vec<Round>>>()?;
    let report = report(&rounds);
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}

/// Seconds of CPU that this thread has used: others on the machine do not count.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn only(bench: &mut Bench, luns: &Luns, case: Case, arguments: &Arguments) -> Result<()> {
    let (lun, load) = match case {
        Case::Random => (&luns.raid6, RANDOM_WRITE),
        Case::Stripe => (&luns.raid6, STREAM_WRITE),
        Case::BareStripe => (&luns.bare, STREAM_WRITE),
        Case::Protection => return protection(bench, luns, arguments),
        Case::Read => (&luns.raid6, STREAM_READ),
        Case::OneLost => (&luns.one_lost, STREAM_READ),
        Case::TwoLost => (&luns.two_lost, STREAM_READ),
    };
    for _ in 0..arguments.rounds {
        let lap = bench.lap(lun, load, arguments.requests)?;
        println!("{:.0} ns", lap.seconds_each() * 1e9);
    }
    Ok(())
}

fn protection(bench: &mut Bench, luns: &Luns, arguments: &Arguments) -> Result<()> {
    for _ in 0..arguments.rounds {
        let lap = |bench: &mut Bench, lun| bench.lap(lun, STREAM_WRITE, arguments.requests);
        let stripe = lap(bench, &luns.raid6)?.seconds_each() * 1e9;
        let bare = lap(bench, &luns.bare)?.seconds_each() * 1e9;
        println!("{stripe:.0} - {bare:.0} = {:.0} ns", stripe - bare);
    }
    Ok(())
}

fn round(bench: &mut Bench, luns: &Luns, requests: u64) -> Result<Round> {
    let each = |lap: Lap| lap.seconds_each();
    // raid0 leaves wrong parity behind: raid6 does not look, and the disks are written anew in between.
    let (_, trace) = bench.traced_lap(&luns.raid0, RANDOM_WRITE, requests)?;
    let raid0_io = bench.replay(&trace)? / requests as f64;
    let raid0 = each(bench.lap(&luns.raid0, RANDOM_WRITE, requests)?);
    let (_, trace) = bench.traced_lap(&luns.raid6, RANDOM_WRITE, requests)?;
    let random_io = bench.replay(&trace)? / requests as f64;
    drop(trace);
    Ok(Round {
        raid0,
        raid0_io,
        random: bench.lap(&luns.raid6, RANDOM_WRITE, requests)?,
        random_io,
        stripe: each(bench.lap(&luns.raid6, STREAM_WRITE, requests)?),
        bare_stripe: each(bench.lap(&luns.bare, STREAM_WRITE, requests)?),
        read: each(bench.lap(&luns.raid6, STREAM_READ, requests)?),
        one_lost: each(bench.lap(&luns.one_lost, STREAM_READ, requests)?),
        two_lost: each(bench.lap(&luns.two_lost, STREAM_READ, requests)?),
    })
}

fn report(rounds: &[Round]) -> Report {
    let figure = |of: &dyn Fn(&Round) -> f64| {
        let mut sorted: Vec<f64> = rounds.iter().map(of).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Figure {
            median: sorted[sorted.len() / 2],
            min: sorted[0],
            max: sorted[sorted.len() - 1],
        }
    };
    let ns = |of: &dyn Fn(&Round) -> f64| figure(&|round| of(round) * 1e9);
    let random = |round: &Round| round.random.seconds_each();
    let last = rounds.last().map(|round| round.random).unwrap_or_default();
    Report {
        random_write_ns: ns(&random),
        random_write_ios: last.ios.map(|ios| ios as f64 / last.requests as f64),
        random_write_io_ns: ns(&|round| round.random_io),
        raid0_write_ns: ns(&|round| round.raid0),
        raid0_write_io_ns: ns(&|round| round.raid0_io),
        random_write_of_io: figure(&|round| round.random_io / random(round)),
        random_write_of_bound: figure(&|round| {
            (round.random_io + round.raid0 - round.raid0_io) / random(round)
        }),
        stripe_write_ns: ns(&|round| round.stripe),
        bare_stripe_write_ns: ns(&|round| round.bare_stripe),
        protection_overhead: figure(&|round| round.stripe / round.bare_stripe - 1.0),
        read_ns: ns(&|round| round.read),
        one_lost_read_ns: ns(&|round| round.one_lost),
        two_lost_read_ns: ns(&|round| round.two_lost),
        one_lost_of_healthy: figure(&|round| round.read / round.one_lost),
        two_lost_of_healthy: figure(&|round| round.read / round.two_lost),
    }
}
