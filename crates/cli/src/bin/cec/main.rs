//! `cec`: the Ethernet console client, a drop-in replacement for cec-14.
//!
//! It probes for shelves on one interface, lets the user pick one, and joins the terminal to its
//! console. Session data and the picker's table go to standard output, all else to standard error.
//!
//! What differs from cec-14: a probe that nobody answers is sent again, repeated packets are acknowledged
//! again, the tags of frames are checked, `i` in the escape menu sends the escape character, piped input goes
//! out in large packets, and its end ends the session when the shelf has answered (status 1 if the shelf was
//! lost before).
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user"
)]

mod keyboard;
mod link;
mod options;
mod picker;
mod session;

use anyhow::Result;
use cec::{ConnectionTag, Offer};
use clap::Parser;
use link::{Link, Stopped};
use options::Options;
use picker::Choice;
use std::io::{IsTerminal, stdin};
use std::process::ExitCode;
use std::time::Duration;

/// Wrong usage, no shelf answered, or piped input was not delivered.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => return explain(&error),
    };
    match run(&options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if let Some(Stopped(signal)) = error.downcast_ref() {
                return ExitCode::from(128 + *signal);
            }
            eprintln!("cec: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}

/// Prints what clap has to say: the help, the version, or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    let wrong = error.use_stderr() || printed.is_err();
    ExitCode::from(if wrong { FAILURE } else { 0 })
}

fn run(options: &Options) -> Result<u8> {
    let mut link = Link::open(&options.interface, options.dump)?;
    let mut offers = probe(&mut link, options)?;
    if offers.is_empty() {
        return Ok(FAILURE);
    }
    if options.probe_only {
        picker::print_rows(&offers);
        return Ok(0);
    }
    let mut tag = process_tag();
    if options.has_target() {
        // `probe` has returned nothing but what was asked for.
        return converse(&mut link, options, &offers[0], tag);
    }
    loop {
        match picker::choose(&link, &offers)? {
            Choice::Quit => return Ok(0),
            Choice::Probe => {
                offers = probe(&mut link, options)?;
                if offers.is_empty() {
                    return Ok(FAILURE);
                }
            }
            Choice::Shelf(offer) => {
                let code = converse(&mut link, options, &offer, tag)?;
                if !stdin().is_terminal() {
                    return Ok(code);
                }
                // Another tag than before: the shelf may still be ending the last session.
                tag.0 = tag.0.wrapping_add(1);
            }
        }
    }
}

/// Collects offers. When a certain shelf or port is wanted, that is the only one returned, and the
/// probe ends when it has answered.
fn probe(link: &mut Link, options: &Options) -> Result<Vec<Offer>> {
    options.chat("Probing for shelves ... ");
    let mut probe = cec::Probe::new(link.mac());
    let end = link.now() + options.wait();
    let mut ask_at = link.now();
    let mut has_answer = false;
    while let Some(time_left) = end.checked_sub(link.now()).filter(|t| !t.is_zero()) {
        // Asked again while nobody has answered: the first probe may have been lost.
        if !has_answer && ask_at <= link.now() {
            link.send(&probe.request())?;
            ask_at = link.now() + options.wait() / PROBES;
        }
        let until = if has_answer { end } else { ask_at };
        link.wait(time_left.min(until.saturating_sub(link.now())))?;
        while let Some(frame) = link.receive()? {
            let Some(offer) = probe.receive(&frame) else {
                continue;
            };
            has_answer = true;
            if options.has_target() && options.wants(offer) {
                options.chat(&format!("shelf {} found.\n", offer.shelf));
                return Ok(vec![offer.clone()]);
            }
        }
    }
    let mut offers = probe.into_offers();
    offers.retain(|offer| options.wants(offer));
    if offers.is_empty() {
        options.chat("none found.\n");
    } else {
        options.chat("done.\n");
    }
    Ok(offers)
}

/// One session; returns the exit status.
fn converse(link: &mut Link, options: &Options, offer: &Offer, tag: ConnectionTag) -> Result<u8> {
    let ending = session::run(link, options, offer, tag)?;
    let complaint = match ending {
        cec::Ending::ConnectFailed => "connection failed.",
        cec::Ending::TimedOut => "Connection timed out",
        cec::Ending::Reset | cec::Ending::Left | cec::Ending::Finished => return Ok(0),
    };
    eprintln!("{complaint}");
    // As in cec-14 this is no failure for a user, who has seen it. A script has to be told.
    Ok(if stdin().is_terminal() { 0 } else { FAILURE })
}

/// The tag that cec-14 would take: both low bytes of the process id.
fn process_tag() -> ConnectionTag {
    let [.., high, low] = std::process::id().to_be_bytes();
    ConnectionTag(high ^ low)
}

/// How often a probe is sent that nobody answers.
const PROBES: u32 = 3;

/// How long a wait may be before it looks for signals again.
const SIGNAL_CHECK: Duration = Duration::from_secs(1);
