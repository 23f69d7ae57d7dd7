//! `aoeload`: reads and writes against any AoE target, and says how fast it was, how even, and
//! whether the data were right.
//!
//! * [`cli`] is the command line; [`interfaces`] are what leads to the targets; [`connect`] finds them
//!   there and asks what they are; [`plan`] turns both into what will be done, or refuses it;
//! * [`workload`] chooses operations and blocks; [`verify`] stamps what is written and checks what
//!   is read; [`window`] keeps the window of one target full, [`load`] those of all; [`drive`] is the
//!   loop around it;
//! * [`tally`], [`series`] and [`record`] are the counts, and [`histogram`] writes latencies to a file;
//! * [`losses`] follows the frames through the layers below, with probes in the kernel;
//! * [`report`] turns the counts into text or JSON, with [`line_rate`] beside each throughput.
//!
//! One thread does everything but writing that file. It polls without sleeping while a load runs, and
//! allocates nothing for a command.
#![forbid(unsafe_code)]

mod cli;
mod connect;
mod discover;
mod drive;
mod histogram;
mod interfaces;
mod line_rate;
mod load;
mod losses;
mod plan;
mod record;
mod report;
mod search;
mod series;
mod tally;
mod verify;
mod window;
mod workload;

use anyhow::{Context, Result};
use cli::{Command, LoadArgs, Request};
use connect::Connection;
use histogram::HistogramLog;
use losses::watch::Watch;
use plan::{Plan, UsageError};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Nothing went wrong.
const EXIT_OK: u8 = 0;
/// Errors, lost commands or wrong data; or the load could not be run.
const EXIT_FAILED: u8 = 1;
/// The command line asks for what cannot be.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let request = Request::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let outcome = match &request {
        Request::Load(args) => run_load(args),
        Request::Command(Command::Discover(args)) => discover::discover(args),
        Request::Command(Command::Search(args)) => search::search(args),
    };
    match outcome {
        Ok(true) => ExitCode::from(EXIT_OK),
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            complain(&format!("error: {error:#}"));
            let usage = error.downcast_ref::<UsageError>().is_some();
            ExitCode::from(if usage { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}

/// Runs one load and prints what it found; `Ok(false)` when something was wrong.
fn run_load(args: &LoadArgs) -> Result<bool> {
    let mut connection = Connection::open(&args.path, &args.target)?;
    let plan = Plan::new(args, &connection)?;
    for line in plan.warnings(&connection) {
        complain(&line);
    }
    let stop = stop_on_signals()?;
    let log = match &args.histogram {
        Some(path) => {
            let now_ns = connection.clock.now_ns();
            Some(HistogramLog::create(path, plan.is_mixed(), now_ns)?)
        }
        None => None,
    };
    let watch = Watch::begin(&connection, &args.watch, args.probes)?;
    let summary = drive::run(&mut connection, &plan, log, &stop)?;
    let watched = watch.end(&connection, &summary.total)?;
    let report = report::Report::new(&connection, &plan, &summary).with(watched);
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    for line in &summary.total.samples {
        complain(line);
    }
    if let Some(log) = summary.log {
        log.finish()?;
    }
    Ok(report.ok)
}

/// A flag that Ctrl-C and SIGTERM set: the load then ends early, in good order.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the process at once, should the first one not be enough.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("cannot handle signals")?;
    }
    Ok(stop)
}

/// Writes a line to stdout.
fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("cannot write to stdout")
}

/// Writes a line to stderr.
fn complain(line: &str) {
    if writeln!(std::io::stderr().lock(), "{line}").is_err() {
        // Nobody listens on stderr: there is nowhere else to say so, and the exit code still does.
    }
}
