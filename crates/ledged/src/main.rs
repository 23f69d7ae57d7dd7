//! `ledged`: the storage shelf.
//!
//! Reads its configuration, claims its drives, opens its ports, starts a worker, finds its LUNs,
//! opens its doors (control socket and Ethernet console), says that it is ready, and waits for
//! SIGTERM or SIGINT, upon which it ends with everything durable.
//!
//! Threads: the worker (data path); `events` (what the worker reports to the administration); `timer`
//! (what is due once a second); `plug` (disks that come and go); `smart` and `chassis` (what drives tell of
//! their health; LEDs and sensors); `syslog`; `control` and one per connection; `cec` and `cec-run`; and
//! the main thread, which waits for signals. All but the worker meet in one lock around the administration.
#![forbid(unsafe_code)]

mod administration;
mod arguments;
mod bundle;
mod clock;
mod config;
mod daemon;
mod door;
mod drives;
mod events;
mod finder;
mod hardware;
mod host;
mod image;
mod log;
mod machine;
mod plug;
mod read_errors;
mod store;
mod threads;

use anyhow::Context;
use arguments::Arguments;
use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = match log::Log::start(std::io::stderr().is_terminal()) {
        Ok(log) => log,
        Err(error) => {
            report(&error);
            return ExitCode::FAILURE;
        }
    };
    match run(&arguments, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells what there is no log for.
fn report(error: &anyhow::Error) {
    use std::io::Write;
    // There is nobody left to tell; the exit code still does.
    drop(writeln!(std::io::stderr(), "ledged: {error:#}"));
}

fn run(arguments: &Arguments, log: log::Log) -> anyhow::Result<()> {
    let config = config::load(&arguments.config)?;
    if arguments.check {
        tracing::info!("{} is fine", arguments.config.display());
        return Ok(());
    }
    // Signals are caught from here on: one that comes during the start ends it in good order.
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
    ])
    .context("cannot catch signals")?;
    let daemon = daemon::Daemon::start(&config, log)?;
    daemon.announce_ready()?;
    let signal = signals.forever().next().unwrap_or_default();
    tracing::info!("ending on signal {signal}");
    daemon.stop();
    Ok(())
}
