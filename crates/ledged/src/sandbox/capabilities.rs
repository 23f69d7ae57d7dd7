//! Capabilities: what is left of root.

use crate::helper;
use anyhow::Context;
use caps::{CapSet, Capability, CapsHashSet};

/// What the daemon needs, also for drives and ports that come later.
const NEEDED: &[Capability] = &[
    // XDP programs on interfaces, AF_XDP sockets and their maps.
    Capability::CAP_NET_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    // Packet sockets: the Ethernet console, ports in mode packet.
    Capability::CAP_NET_RAW,
    // Buffers that drives and cards write into, and memory that is never swapped.
    Capability::CAP_IPC_LOCK,
    // Commands to drives that the kernel does not know: SMART, self-tests.
    Capability::CAP_SYS_RAWIO,
];

/// The same of NVMe drives, which the kernel asks more for. Where a helper asks drives, it has this, and not
/// the daemon.
const NEEDED_WITHOUT_HELPER: Capability = Capability::CAP_SYS_ADMIN;

/// Gives up all others, for this thread, those that it starts, and programs.
pub(super) fn keep_needed() -> anyhow::Result<()> {
    let had = caps::read(None, CapSet::Permitted).context("capabilities")?;
    let own = (!helper::asks_drives()).then_some(NEEDED_WITHOUT_HELPER);
    let needed = NEEDED.iter().copied().chain(own);
    let kept: CapsHashSet = needed
        .filter(|capability| had.contains(capability))
        .collect();
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).context("capabilities")? {
        let bounding = caps::read(None, CapSet::Bounding).context("capabilities")?;
        for capability in bounding.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)
                .with_context(|| format!("{capability} in the bounding set"))?;
        }
    }
    caps::clear(None, CapSet::Ambient).context("ambient capabilities")?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).context("capabilities")?;
    // In this order: what is effective is permitted.
    caps::set(None, CapSet::Effective, &kept).context("capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("capabilities")?;
    Ok(())
}

/// Gives up, for this thread, what only threads that ask drives need.
pub(super) fn leave_to_others() -> anyhow::Result<()> {
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::drop(None, set, NEEDED_WITHOUT_HELPER).context("capabilities")?;
    }
    Ok(())
}
