//! Two ports of the shelf, two interfaces of the client; one path is cut under load and comes back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::driver::DriverState;
use testbed::{Client, Direction, Faults, Ledge, Load, Relay, VmNetwork, lock_vm, transcript};

use super::{JOB_MIB, MTU, PATIENCE, RECOVERY, check_end, check_wires, client, shelf};

/// How a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The link of the shelf's port goes down: both sides are told, the driver does not look.
    Link,
    /// Frames vanish: nobody is told.
    Silence,
}

/// Frames that tell that a path is used, and not only asked whether it is there.
const USED: u64 = 300;

/// I/O goes on by the other path, without an error, and by both when the path is back.
pub(crate) fn two_paths(lun: &str, cuts: &[(usize, Cut)], faults: &[Faults; 2]) -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::relayed(MTU, faults)?;
    let ledge = shelf(&network, lun)?;
    let mut client = client(&network)?;
    client.start_load(Load {
        seconds: 3600,
        job_mib: JOB_MIB,
    })?;
    client
        .wait_for_rounds(1, PATIENCE)
        .with_context(|| ledge.log())?;
    check_both(&client.driver_state()?)?;
    for relay in &network.relays {
        let ledger = relay.ledger();
        let told = ledger.sector_counts();
        ensure!(told.iter().eq(&[16]), "Sector Counts {told:?}");
    }
    for &(path, cut) in cuts {
        cut_and_mend(&network, &ledge, &mut client, path, cut)?;
    }
    client.end_load()?;
    let report = client.finish_load(PATIENCE).with_context(|| ledge.log())?;
    client.driver_messages()?;
    check_wires(&network, faults)?;
    check_end(&mut client, report)?;
    check_both(&client.driver_state()?)
}

/// Frames of the LUN go by both ports.
fn check_both(state: &DriverState) -> Result<()> {
    ensure!(state.paths.len() == 2, "{state:?}");
    let used = |path: &testbed::driver::DriverPath| path.reads > USED && path.writes > USED;
    ensure!(state.paths.iter().all(used), "{state:?}");
    let mut interfaces: Vec<_> = state
        .paths
        .iter()
        .map(|path| &path.interfaces[..])
        .collect();
    interfaces.sort_unstable();
    ensure!(interfaces == [["eth0"], ["eth1"]], "{state:?}");
    Ok(())
}

fn cut_and_mend(
    network: &VmNetwork,
    ledge: &Ledge<'_>,
    client: &mut Client,
    path: usize,
    cut: Cut,
) -> Result<()> {
    let interface = network.target_interfaces()[path];
    let (relay, other) = (&network.relays[path], &network.relays[1 - path]);
    transcript::note(&format!("{cut:?} of path {path}"));
    match cut {
        Cut::Link => network.target.set_link(interface, false)?,
        Cut::Silence => relay.swallow(true),
    }
    let start = Instant::now();
    let before = other.tally(Direction::ToClient).received;
    let rounds = client.load_rounds()?;
    // The round that was interrupted, and one by the other path alone.
    client
        .wait_for_rounds(rounds + 2, RECOVERY * 2)
        .with_context(|| ledge.log())?;
    let by_other = other.tally(Direction::ToClient).received - before;
    ensure!(by_other > USED, "{by_other} answers by the other path");
    transcript::note(&format!(
        "two rounds and {by_other} answers by the other path in {} ms",
        start.elapsed().as_millis()
    ));
    client.driver_state()?;
    let start = Instant::now();
    match cut {
        Cut::Link => network.target.set_link(interface, true)?,
        Cut::Silence => relay.swallow(false),
    }
    wait_for_use(relay, client).with_context(|| ledge.log())?;
    transcript::note(&format!(
        "in use again after {} ms",
        start.elapsed().as_millis()
    ));
    client.driver_state()?;
    Ok(())
}

/// Waits until frames go both ways on a path again, more than the driver's probes are.
fn wait_for_use(relay: &Relay, client: &mut Client) -> Result<()> {
    let directions = [Direction::ToTarget, Direction::ToClient];
    let count = || directions.map(|direction| relay.tally(direction).forwarded);
    let before = count();
    let deadline = Instant::now() + RECOVERY;
    while count()
        .iter()
        .zip(before)
        .any(|(now, before)| now - before < USED)
    {
        client.load_rounds()?;
        ensure!(
            Instant::now() < deadline,
            "the path is not used again: {:?}, {:?} before\n{:?}",
            count(),
            before,
            client.driver_state()?
        );
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
