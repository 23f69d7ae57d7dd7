//! `sim`: runs seeds of the simulator until the time is over or something is wrong.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a program of the command line answers there"
)]

use clap::Parser;
use raid::Level;
use sim::faults::FaultClass;
use sim::run::{Options, Report, run};
use sim::world::Counts;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The shelf under a virtual clock, from one seed per run.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Arguments {
    /// First seed; one run of it, with its last events, unless --runs or --seconds is given
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run
    #[arg(long)]
    runs: Option<u64>,
    /// How long to run
    #[arg(long)]
    seconds: Option<u64>,
    /// Levels to choose from (raid1, raid10 …); all that are served if not given
    #[arg(long, value_delimiter = ',')]
    level: Vec<Level>,
    /// Faults to choose from; all but silent ones if not given
    #[arg(long, value_delimiter = ',')]
    faults: Option<Vec<FaultClass>>,
    /// Workers of the shelf
    #[arg(long, default_value_t = 1)]
    workers: u8,
    /// Mbit/s that each initiator is sent; 0 for as fast as can be
    #[arg(long, default_value_t = 0)]
    pace: u64,
    /// Some of the disks have sectors of 4096 bytes
    #[arg(long)]
    blocks: bool,
    /// Threads
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Last events of a run in which something was wrong that are printed
    #[arg(long, value_name = "LINES", default_value_t = 120)]
    trace: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What all runs came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    counts: Counts,
    violations: Vec<Report>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        levels: arguments.level.clone(),
        faults: arguments.faults.clone(),
        trace_lines: 0,
        keeps_members: false,
        plugs: true,
        stress: None,
        workers: arguments.workers,
        pace: arguments.pace,
        blocks: arguments.blocks,
    };
    let is_single =
        arguments.seed.is_some() && arguments.runs.is_none() && arguments.seconds.is_none();
    let runs = if is_single { Some(1) } else { arguments.runs };
    let limit = match (runs, arguments.seconds) {
        (None, None) => Some(Duration::from_secs(60)),
        (_, seconds) => seconds.map(Duration::from_secs),
    };
    let begun = Instant::now();
    let sum = run_many(&arguments, &options, runs.unwrap_or(u64::MAX), limit);
    report(&arguments, &options, &sum, begun.elapsed());
    if sum.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_many(arguments: &Arguments, options: &Options, runs: u64, limit: Option<Duration>) -> Sum {
    let first = arguments.seed.unwrap_or(1);
    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    let begun = Instant::now();
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= runs || limit.is_some_and(|limit| begun.elapsed() >= limit) {
                return;
            }
            let report = run(first.wrapping_add(number), options);
            let Ok(mut sum) = sum.lock() else { return };
            sum.runs += 1;
            sum.counts.add(&report.counts);
            if report.violation.is_some() {
                is_over.store(true, Ordering::Relaxed);
                sum.violations.push(report);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(work);
        }
    });
    sum.into_inner().unwrap_or_default()
}

fn report(arguments: &Arguments, options: &Options, sum: &Sum, elapsed: Duration) {
    let counts = &sum.counts;
    if arguments.json {
        let violations: Vec<_> = sum
            .violations
            .iter()
            .map(|report| serde_json::json!({"seed": report.seed, "text": report.violation}))
            .collect();
        println!(
            "{}",
            serde_json::json!({
                "runs": sum.runs,
                "power_cuts": counts.power_cuts,
                "acknowledged_writes": counts.writes,
                "acknowledged_trims": counts.trims,
                "checked_reads": counts.reads,
                "faults": counts.faults,
                "errors_that_were_right": counts.errors,
                "events": counts.events,
                "seconds": elapsed.as_secs_f64(),
                "violations": violations,
            })
        );
        return;
    }
    for violation in &sum.violations {
        let traced = Options {
            trace_lines: arguments.trace,
            keeps_members: false,
            plugs: true,
            ..options.clone()
        };
        let report = run(violation.seed, &traced);
        for line in &report.trace {
            println!("{line}");
        }
        println!(
            "VIOLATION seed {} ({}, {} members): {}",
            report.seed,
            report.level,
            report.members,
            report.violation.unwrap_or_default()
        );
        println!("replay: make sim SEED={}", report.seed);
    }
    println!(
        "{} runs, {} power cuts, {} writes and {} TRIMs acknowledged, {} reads checked, {} faults, \
         {} disks inserted and {} taken back, {} events in {:.1} s",
        sum.runs,
        counts.power_cuts,
        counts.writes,
        counts.trims,
        counts.reads,
        counts.faults,
        counts.inserted,
        counts.taken_back,
        counts.events,
        elapsed.as_secs_f64()
    );
}
