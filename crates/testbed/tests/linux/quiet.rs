//! A wire without faults: the driver sends nothing again for which the shelf is to blame.
//!
//! The driver sends a command again when it has waited for more than twice the average and eight times the
//! deviation. Here the driver runs in an emulated processor beside others, and may be late itself; and the
//! shelf may have to wait for a processor, though it comes first. So the relay notes when each request and
//! its answer passed, and each retransmission is judged by that: it is the shelf's when the shelf had the
//! request for half of the time that the driver had waited, or longer, and was not kept from running
//! meanwhile.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::driver::DriverMessage;
use testbed::relay::{Ledger, Passage};
use testbed::scheduling::{RunDelays, Sampler, Watched};
use testbed::{Direction, Faults, Ledge, Load, VmNetwork, lock_vm, transcript};

use super::{JOB_MIB, MTU, PATIENCE, check_end, check_wires, client, shelf};

/// A tick of the driver's clock: Debian's kernels have 250 in a second.
const JIFFY: Duration = Duration::from_millis(4);

/// A place on a disk that a round writes: behind what the shelf keeps for itself, before the half of what
/// the four jobs write.
const WITHIN: u64 = 12 << 20;

/// Nothing is sent again because of the shelf, no path is distrusted, and nothing stays outstanding.
pub(crate) fn quiet(lun: &str, seconds: u32) -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::relayed(MTU, &[Faults::NONE])?;
    let mut ledge = shelf(&network, lun)?;
    let mut client = client(&network)?;
    let relay = &network.relays[0];
    let watched = watched(&mut ledge)?;
    watched.iter().try_for_each(Watched::prefer)?;
    let sampler = Sampler::start(watched);
    client.start_load(Load {
        seconds,
        job_mib: JOB_MIB,
    })?;
    let report = client.finish_load(PATIENCE).with_context(|| ledge.log())?;
    check_wires(&network, &[Faults::NONE])?;
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
    let (ledger, delays) = (relay.ledger(), sampler.stop());
    note_latencies(&ledger, &delays);
    let messages = client.driver_messages()?;
    let blamed: Vec<String> = messages
        .iter()
        .filter_map(|m| blame(m, &ledger, &delays))
        .collect();
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
fn note_latencies(ledger: &Ledger, delays: &RunDelays) {
    let mut answered: Vec<(Duration, Passage)> = ledger.answered().collect();
    answered.sort_unstable_by_key(|(held, _)| *held);
    let at = |part: usize| {
        let index = answered.len() * part / 1000;
        answered.get(index).map(|(held, _)| *held)
    };
    transcript::note(&format!(
        "the shelf answered {} of {} requests; median {:?}, 99 % {:?}, 99.9 % {:?}",
        answered.len(),
        ledger.requests(),
        at(500),
        at(990),
        at(999),
    ));
    for (held, passage) in answered.iter().rev().take(3) {
        let kept = delays.between(passage.asked, passage.asked + *held);
        transcript::note(&format!(
            "slow: {held:?}; others had the processor for {kept:?}"
        ));
    }
}

/// Everything between the relay's two looks at a command: the shelf, and the relay itself.
fn watched(ledge: &mut Ledge<'_>) -> Result<Vec<Watched>> {
    let ledged = ledge.daemon().context("ledged runs")?.id();
    let watched = |process, thread| Watched { process, thread };
    Ok(vec![
        watched(ledged, None),
        watched(std::process::id(), Some("relay")),
    ])
}

/// What the shelf has to do with a message, if it has.
fn blame(message: &DriverMessage, ledger: &Ledger, delays: &RunDelays) -> Option<String> {
    let DriverMessage::Retransmit { old, new, .. } = *message else {
        // An answer that came after its command was sent again: judged with that.
        return None;
    };
    let waited = JIFFY * u32::try_from(message.waited_jiffies()?).ok()?;
    let again = ledger
        .passage(new)
        .map_or_else(Instant::now, |again| again.asked);
    let Some(passage) = ledger.passage(old) else {
        transcript::note(&format!(
            "{old:08x} sent again after {waited:?}: it had never left"
        ));
        return None;
    };
    let held = passage.held(again);
    let kept = delays
        .between(passage.asked, passage.asked + held)
        .min(held);
    let text = format!(
        "{old:08x} sent again after {waited:?}; the shelf had it for {held:?}, of which others had the \
         processor for {kept:?}"
    );
    transcript::note(&text);
    (held.saturating_sub(kept) * 2 >= waited).then_some(text)
}

/// The load itself can fail: one byte that is changed behind the shelf's back is found.
pub(crate) fn wrong_byte() -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::relayed(MTU, &[Faults::NONE])?;
    let ledge = shelf(&network, "raid0 1.0-1")?;
    let mut client = client(&network)?;
    client.start_load(Load {
        seconds: 0,
        job_mib: JOB_MIB,
    })?;
    let report = client.finish_load(PATIENCE).with_context(|| ledge.log())?;
    let disk = ledge.disk_path(0);
    let disk = File::options().read(true).write(true).open(disk)?;
    let mut byte = [0];
    disk.read_exact_at(&mut byte, WITHIN)?;
    disk.write_all_at(&[!byte[0]], WITHIN)?;
    let error = client
        .verify_load(report.rounds)
        .err()
        .context("a wrong byte was not found")?
        .to_string();
    ensure!(error.contains("verify"), "{error}");
    Ok(())
}
