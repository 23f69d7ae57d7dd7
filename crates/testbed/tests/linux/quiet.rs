//! A wire without faults: the driver sends nothing again for which the shelf is to blame.
//!
//! The driver sends a command again when it has waited for more than twice the average and eight times the
//! deviation. Here the driver runs in an emulated processor beside others, and may be late itself. So the
//! relay notes when each request and its answer passed, and each retransmission is judged by that: it is
//! the shelf's when the shelf had the request for half of the time that the driver had waited, or longer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::driver::DriverMessage;
use testbed::relay::Ledger;
use testbed::{Direction, Faults, Load, VmNetwork, lock_vm, transcript};

use super::{JOB_MIB, MTU, PATIENCE, check_end, client, note_tallies, shelf};

/// A tick of the driver's clock: Debian's kernels have 250 in a second.
const JIFFY: Duration = Duration::from_millis(4);

/// Nothing is sent again because of the shelf, no path is distrusted, and nothing stays outstanding.
pub(crate) fn quiet(lun: &str, seconds: u32) -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::relayed(MTU, &[Faults::NONE])?;
    let ledge = shelf(&network, lun)?;
    let mut client = client(&network)?;
    let relay = &network.relays[0];
    client.start_load(Load {
        seconds,
        job_mib: JOB_MIB,
    })?;
    let report = client.finish_load(PATIENCE).with_context(|| ledge.log())?;
    note_tallies(&network);
    check_end(&mut client, report)?;
    let state = client.driver_state()?;
    ensure!(state.paths.iter().all(|path| path.taint == 0), "{state:?}");
    for direction in [Direction::ToTarget, Direction::ToClient] {
        let tally = relay.tally(direction);
        ensure!(
            tally.received == tally.forwarded,
            "frames were lost: {tally:?}"
        );
    }
    let ledger = relay.ledger();
    note_latencies(&ledger);
    let messages = client.driver_messages()?;
    let blamed: Vec<String> = messages.iter().filter_map(|m| blame(m, &ledger)).collect();
    ensure!(
        blamed.is_empty(),
        "{} of {} messages are the shelf's:\n{}\n{}",
        blamed.len(),
        messages.len(),
        blamed.join("\n"),
        ledge.log()
    );
    Ok(())
}

/// Prints how long the shelf took.
fn note_latencies(ledger: &Ledger) {
    let latencies = ledger.latencies();
    let at = |part: usize| latencies.get(latencies.len() * part / 1000);
    transcript::note(&format!(
        "the shelf answered {} of {} requests; median {:?}, 99 % {:?}, 99.9 % {:?}, slowest {:?}",
        latencies.len(),
        ledger.requests(),
        at(500),
        at(990),
        at(999),
        latencies.last()
    ));
}

/// What the shelf has to do with a message, if it has.
fn blame(message: &DriverMessage, ledger: &Ledger) -> Option<String> {
    let DriverMessage::Retransmit { old, new, .. } = *message else {
        // An answer that came after its command was sent again: judged with that.
        return None;
    };
    let waited = JIFFY * u32::try_from(message.waited_jiffies()?).ok()?;
    let now = ledger
        .passage(new)
        .map_or_else(Instant::now, |again| again.asked);
    // What has never left the client waited there.
    let held = ledger.passage(old)?.held(now);
    let text = format!("{old:08x} sent again after {waited:?}, the shelf had it for {held:?}");
    transcript::note(&text);
    (held * 2 >= waited).then_some(text)
}
