//! A wire that loses one frame in a thousand, repeats another and delays a third, both ways.

use anyhow::{Context, Result, ensure};
use testbed::{Direction, Faults, Load, VmNetwork, lock_vm};

use super::{JOB_MIB, MTU, PATIENCE, check_end, client, note_tallies, shelf};

/// No I/O fails and no byte is wrong, whatever the wire does.
pub(crate) fn lossy(lun: &str, one_in: u64, seed: u64, seconds: u32) -> Result<()> {
    let _lock = lock_vm()?;
    let network = VmNetwork::relayed(MTU, &[Faults::one_in(one_in, seed)])?;
    let ledge = shelf(&network, lun)?;
    let mut client = client(&network)?;
    client.start_load(Load {
        seconds,
        job_mib: JOB_MIB,
    })?;
    let report = client.finish_load(PATIENCE).with_context(|| ledge.log())?;
    client.driver_messages()?;
    note_tallies(&network);
    check_end(&mut client, report)?;
    for direction in [Direction::ToTarget, Direction::ToClient] {
        let tally = network.relays[0].tally(direction);
        let faults = [tally.dropped, tally.duplicated, tally.delayed];
        ensure!(
            faults.iter().all(|&count| count > 0),
            "a wire without faults shows nothing: {tally:?}"
        );
    }
    Ok(())
}
