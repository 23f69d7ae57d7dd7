//! The topologies: a target and a client joined by a veth pair, and the same with a tap for a virtual
//! machine, on one path or two, to which further targets and machines can be added.

use anyhow::{Result, ensure};

use crate::netns::{Namespace, VethEnd, veth_pair};
use crate::relay::{Faults, Relay};

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

/// Paths between a target and a guest, at most.
pub const PATHS_MAX: usize = 2;

/// The ends of the first guest, one for each path; its `eth0` is at the first.
const GUEST_ENDS: [GuestEnd; PATHS_MAX] = [
    FIRST_GUEST,
    GuestEnd {
        tap: "path1",
        address: "52:54:00:00:01:01",
    },
];

/// The target's interface of each path.
const TARGET_INTERFACES: [&str; PATHS_MAX] = [TARGET_INTERFACE, "eth2"];

/// The far end of each in the client's namespace.
const UPLINKS: [&str; PATHS_MAX] = ["uplink", "uplink1"];

/// The target's station address on each path that has a relay.
const TARGET_ADDRESSES: [&str; PATHS_MAX] = ["52:54:00:01:00:01", "52:54:00:01:00:02"];

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

/// A target namespace, and a client namespace in which each veth end is joined to a tap: by a bridge,
/// or by a relay that can misbehave.
#[derive(Debug)]
pub struct VmNetwork {
    // Fields drop in order: relays before the namespaces of their interfaces.
    /// The relay of each path; none when the path is a bridge.
    pub relays: Vec<Relay>,
    /// Where the target runs, on [`TARGET_INTERFACE`], and on `eth2` when there are two paths.
    pub target: Namespace,
    /// Where emulators run, the first on [`FIRST_GUEST`].
    pub client: Namespace,
    /// MTU of every interface on the way.
    pub mtu: u16,
    paths: usize,
}

impl VmNetwork {
    /// One path: both namespaces, a veth pair, and a tap that a bridge joins to it.
    ///
    /// # Errors
    /// Not root, or what `ip` says.
    pub fn new(mtu: u16) -> Result<Self> {
        let (target, client) = joined("uplink", mtu)?;
        client.add_tap(FIRST_GUEST.tap, mtu)?;
        client.add_bridge(BRIDGE, mtu, &["uplink", FIRST_GUEST.tap])?;
        Ok(Self {
            relays: Vec::new(),
            target,
            client,
            mtu,
            paths: 1,
        })
    }

    /// A path for each of `faults`, at most [`PATHS_MAX`]; each a veth pair and a tap that a relay joins.
    ///
    /// # Errors
    /// Not root, or what `ip` says.
    pub fn relayed(mtu: u16, faults: &[Faults]) -> Result<Self> {
        ensure!(
            (1..=PATHS_MAX).contains(&faults.len()),
            "{} paths",
            faults.len()
        );
        let target = Namespace::new("target")?;
        let client = Namespace::new("client")?;
        let mut relays = Vec::new();
        for (path, &faults) in faults.iter().enumerate() {
            let (interface, uplink) = (TARGET_INTERFACES[path], UPLINKS[path]);
            let GuestEnd { tap, address } = GUEST_ENDS[path];
            join((&target, interface), (&client, uplink), mtu)?;
            client.add_tap(tap, mtu)?;
            target.set_address(interface, TARGET_ADDRESSES[path])?;
            // Each side of the relay answers to the station behind the other one.
            client.set_address(uplink, address)?;
            client.set_address(tap, TARGET_ADDRESSES[path])?;
            relays.push(Relay::start(&client, uplink, tap, faults)?);
        }
        let paths = relays.len();
        Ok(Self {
            relays,
            target,
            client,
            mtu,
            paths,
        })
    }

    /// The target's interfaces, one for each path.
    #[must_use]
    pub fn target_interfaces(&self) -> &'static [&'static str] {
        &TARGET_INTERFACES[..self.paths]
    }

    /// The ends of the first guest, one for each path.
    pub(crate) fn guest_ends(&self) -> &'static [GuestEnd] {
        &GUEST_ENDS[..self.paths]
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
        join(
            (&target, TARGET_INTERFACE),
            (&self.client, uplink),
            self.mtu,
        )?;
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
    join(
        (&target, TARGET_INTERFACE),
        (&client, client_interface),
        mtu,
    )?;
    Ok((target, client))
}

fn join(target: (&Namespace, &str), client: (&Namespace, &str), mtu: u16) -> Result<()> {
    let [target, client] = [target, client].map(|(namespace, interface)| VethEnd {
        namespace,
        interface,
    });
    veth_pair(target, client, mtu)
}
