//! A wire that loses one frame in a thousand, repeats another and delays a third, both ways.

use anyhow::{Context, Result};
use testbed::{Faults, Load, VmNetwork, lock_vm};

use super::{JOB_MIB, MTU, PATIENCE, check_end, check_wires, client, shelf};

/// No I/O fails and no byte is wrong, whatever the wire does.
pub(crate) fn lossy(lun: &str, one_in: u64, seed: u64, seconds: u32) -> Result<()> {
    let _lock = lock_vm()?;
    let faults = [Faults::one_in(one_in, seed)];
    let network = VmNetwork::relayed(MTU, &faults)?;
    let ledge = shelf(&network, lun)?;
    let mut client = client(&network)?;
    client.start_load(Load {
        seconds,
        job_mib: JOB_MIB,
    })?;
    let report = client.finish_load(PATIENCE).with_context(|| ledge.log())?;
    client.driver_messages()?;
    check_wires(&network, &faults)?;
    check_end(&mut client, report)
}
