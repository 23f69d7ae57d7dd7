//! `ledged`: the storage shelf.
//!
//! Reads its configuration, claims its drives, opens its ports, starts a worker, finds its LUNs,
//! opens its doors (control socket and Ethernet console), says that it is ready, and waits for
//! SIGTERM or SIGINT, upon which it ends with everything durable. SIGHUP has it read its configuration
//! again.
//!
//! Threads: the worker (data path); `events` (what the worker reports to the administration); `timer`
//! (what is due once a second); `plug` (disks that come and go); `ports` (interfaces that do); `smart` and
//! `chassis` (what drives tell of their health; LEDs and sensors); `syslog`; `control` and one per
//! connection; `cec` and `cec-run`; under systemd also `watchdog`; and the main thread, which waits for
//! signals. All but the worker meet in one lock around the administration.
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
mod helper;
mod host;
mod image;
mod interfaces;
mod log;
mod look;
mod machine;
mod plug;
mod ports;
mod read_errors;
mod reload;
mod sandbox;
mod store;
mod threads;
mod watchdog;

use anyhow::Context;
use arguments::Arguments;
use clap::Parser;
use rustix::fd::AsFd;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = log::Log::start(std::io::stderr().is_terminal());
    match run(&arguments, log) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, log: log::Log) -> anyhow::Result<ExitCode> {
    if let Some(helper) = arguments.helper {
        helper::answer_one(helper, std::io::stdin().as_fd()).context("helper")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.ask.is_empty() {
        return helper::stand_for(&arguments.ask).context("helper");
    }
    let mut config = config::load(&arguments.config)?;
    for problem in interfaces::name_all(&mut config) {
        tracing::error!("{problem}");
    }
    if arguments.check {
        for warning in look::at_machine(&config) {
            tracing::warn!("{warning}");
        }
        tracing::info!("{} is fine", arguments.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    // Signals are caught from here on: one that comes during the start ends it in good order.
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .context("cannot catch signals")?;
    let (daemon, mut reload) = daemon::Daemon::start(&config, log)?;
    daemon.announce_ready()?;
    for signal in signals.forever() {
        if signal != SIGHUP {
            tracing::info!("ending on signal {signal}");
            break;
        }
        reload.run();
    }
    daemon.stop();
    Ok(ExitCode::SUCCESS)
}
