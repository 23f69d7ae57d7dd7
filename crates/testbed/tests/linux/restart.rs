//! The shelf ends and starts again under load.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Faults, Load, VmNetwork, lock_vm};

use super::{JOB_MIB, MTU, PATIENCE, RECOVERY, check_end, check_wires, client, shelf};

/// How a shelf ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// SIGTERM.
    Stop,
    /// SIGKILL.
    Kill,
}

/// How long it is away: several times the driver's scan.
const AWAY: Duration = Duration::from_secs(3);

/// The client's I/O waits and goes on by itself, each time.
pub(crate) fn restart(lun: &str, ends: &[End], faults: &[Faults]) -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::relayed(MTU, faults)?;
    let mut ledge = shelf(&network, lun)?;
    let mut client = client(&network)?;
    // It ends when it is told to.
    client.start_load(Load {
        seconds: 3600,
        job_mib: JOB_MIB,
    })?;
    client.wait_for_rounds(1, PATIENCE)?;
    for (number, end) in ends.iter().enumerate() {
        // Another part of a round each time.
        thread::sleep(Duration::from_millis(700 * number as u64));
        match end {
            End::Stop => ledge.stop()?,
            End::Kill => ledge.kill()?,
        }
        thread::sleep(AWAY);
        let rounds = client.load_rounds()?;
        thread::sleep(AWAY);
        ensure!(
            client.load_rounds()? == rounds,
            "a round ended without the shelf"
        );
        ledge.start_again()?;
        // The one that was interrupted.
        client
            .wait_for_rounds(rounds + 1, RECOVERY)
            .with_context(|| ledge.log())?;
    }
    client.end_load()?;
    let report = client.finish_load(PATIENCE).with_context(|| ledge.log())?;
    client.driver_messages()?;
    check_wires(&network, faults)?;
    check_end(&mut client, report)?;
    ledge.stop()
}
