//! Capabilities: what is left of root.

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

/// Gives up all others, for this thread, those that it starts, and programs.
pub(super) fn keep_needed() -> anyhow::Result<()> {
    let had = caps::read(None, CapSet::Permitted).context("capabilities")?;
    let kept: CapsHashSet = NEEDED.iter().copied().filter(|c| had.contains(c)).collect();
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
