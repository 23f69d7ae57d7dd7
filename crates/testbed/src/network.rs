//! The two topologies: a target and a client joined by a veth pair, and the same with a tap for a
//! virtual machine, to which further targets and machines can be added.

use anyhow::Result;

use crate::netns::{Namespace, VethEnd, veth_pair};

/// The target's interface in both topologies: what `ledged` or `vblade` serves on.
pub const TARGET_INTERFACE: &str = "eth1";

/// The client's interface in a [`PairNetwork`], and inside the guest.
pub const CLIENT_INTERFACE: &str = "eth0";

/// Where a guest is joined to a network.
#[derive(Debug, Clone, Copy)]
pub struct GuestEnd {
    /// The tap, in the client's namespace.
    pub tap: &'static str,
    /// The guest's station address.
    pub address: &'static str,
}

/// The end that every [`VmNetwork`] has.
pub const FIRST_GUEST: GuestEnd = GuestEnd {
    tap: "tap0",
    address: "52:54:00:00:00:01",
};

/// The bridge of a [`VmNetwork`], in the client's namespace: an interface of the host there.
pub const BRIDGE: &str = "br0";

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
    /// Where emulators run, the first on [`FIRST_GUEST`].
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
        client.add_tap(FIRST_GUEST.tap, mtu)?;
        client.add_bridge(BRIDGE, mtu, &["uplink", FIRST_GUEST.tap])?;
        Ok(Self {
            target,
            client,
            mtu,
        })
    }

    /// Joins another guest's tap to the bridge.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add_guest(&self, end: GuestEnd) -> Result<()> {
        self.client.add_tap(end.tap, self.mtu)?;
        self.add_port(end.tap)
    }

    /// Joins another target to the bridge, with [`TARGET_INTERFACE`] as its interface; `uplink` is the name
    /// of the far end.
    ///
    /// # Errors
    /// Not root, or what `ip` says.
    pub fn add_target(&self, uplink: &str) -> Result<Namespace> {
        let target = Namespace::new("target")?;
        let near = VethEnd {
            namespace: &target,
            interface: TARGET_INTERFACE,
        };
        let far = VethEnd {
            namespace: &self.client,
            interface: uplink,
        };
        veth_pair(near, far, self.mtu)?;
        self.add_port(uplink)?;
        Ok(target)
    }

    fn add_port(&self, interface: &str) -> Result<()> {
        self.client
            .ip(&["link", "set", interface, "master", BRIDGE])?;
        Ok(())
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
