//! The two topologies: a target and a client joined by a veth pair, and the same with a tap for a
//! virtual machine.

use anyhow::Result;

use crate::netns::{Namespace, VethEnd, veth_pair};

/// The target's interface in both topologies: what `ledged` or `vblade` serves on.
pub const TARGET_INTERFACE: &str = "eth1";

/// The client's interface in a [`PairNetwork`], and inside the guest.
pub const CLIENT_INTERFACE: &str = "eth0";

/// The tap of a [`VmNetwork`].
pub const TAP: &str = "tap0";

/// A target and a client namespace on one wire, for initiators that are programs of ours.
#[derive(Debug)]
pub struct PairNetwork {
    /// Where the target runs, on [`TARGET_INTERFACE`].
    pub target: Namespace,
    /// Where the initiator runs, on [`CLIENT_INTERFACE`].
    pub client: Namespace,
}

impl PairNetwork {
    /// Makes both namespaces and the veth pair.
    ///
    /// # Errors
    /// Not root, or what `ip` says.
    pub fn new(mtu: u16) -> Result<Self> {
        let (target, client) = joined(CLIENT_INTERFACE, mtu)?;
        Ok(Self { target, client })
    }
}

/// A target namespace, and a client namespace in which the veth end is bridged to a tap.
#[derive(Debug)]
pub struct VmNetwork {
    /// Where the target runs, on [`TARGET_INTERFACE`].
    pub target: Namespace,
    /// Where the emulator runs, on [`TAP`].
    pub client: Namespace,
    /// MTU of every interface on the way.
    pub mtu: u16,
}

impl VmNetwork {
    /// Makes both namespaces, the veth pair, the tap and the bridge.
    ///
    /// # Errors
    /// Not root, or what `ip` says.
    pub fn new(mtu: u16) -> Result<Self> {
        let (target, client) = joined("uplink", mtu)?;
        client.add_tap(TAP, mtu)?;
        client.add_bridge("br0", mtu, &["uplink", TAP])?;
        Ok(Self {
            target,
            client,
            mtu,
        })
    }
}

fn joined(client_interface: &str, mtu: u16) -> Result<(Namespace, Namespace)> {
    let target = Namespace::new("target")?;
    let client = Namespace::new("client")?;
    let target_end = VethEnd {
        namespace: &target,
        interface: TARGET_INTERFACE,
    };
    let client_end = VethEnd {
        namespace: &client,
        interface: client_interface,
    };
    veth_pair(target_end, client_end, mtu)?;
    Ok((target, client))
}
