//! Opening an interface: which mode, and why.
//!
//! `auto` goes by rule, from figures (`bench/results/matrix.md`, 8 KiB at depth 32 against vblade on the same
//! wire):
//!
//! 1. zero copy, where the driver offers it: the card writes into our memory;
//! 2. native, where the driver has it: one copy in the kernel, none before;
//! 3. generic, which every interface has, and packet, where XDP is taken by somebody else.
//!
//! But on a veth pair whose frames do not fit a page, packet is the first. A veth has frames that are the
//! sender's, and for an XDP program, native or generic, it copies each into pages of its own before AF_XDP
//! copies it once more; for a packet socket it is copied once. So native did 1.28 times the writes of vblade,
//! generic 1.39, packet 1.62; of reads, whose requests are short and whose data AF_XDP sends without a copy,
//! native did 1.62 times as many, generic 1.61, packet 1.30. Only packet is at what is asked of both: 1.15
//! for reads, 1.5 for writes. With frames of 1500 bytes native is ahead (1.57 against 1.44), and stays the
//! first. So it does with several workers: XDP spreads frames among them, while of a packet socket one worker
//! takes all and hands them on.
//! A card puts its frames where XDP wants them, so none of this says anything of cards.

use crate::interface::{Interface, leave_vlan_tags};
use crate::packet::PacketPort;
use crate::steer::Hook;
use crate::xdp::{XdpError, XdpPort};
use crate::{ETHERNET_HEADER_BYTES, Mode, OpenError, Port, RequestedMode, SharedMemory};
use tracing::{info, warn};

/// The smallest MTU that carries two sectors: initiators take an MTU as if it held the Ethernet
/// header, so this is the 36 bytes before the data and 1024 bytes of data (conformance row 29).
pub const MTU_BYTES_MIN: usize = 36 + 2 * 512;

/// The largest MTU at which a frame, with what XDP wants before and behind it, fits a page.
const PAGE_MTU_BYTES: usize = 4096 - 256 - 320 - ETHERNET_HEADER_BYTES;

/// How to open an interface.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// How frames are to travel.
    pub mode: RequestedMode,
    /// Under how many addresses: the interface's own and others made from it.
    pub addresses: u8,
    /// Whether whoever receives drives the NIC, instead of its interrupts (`SO_PREFER_BUSY_POLL`). Of use
    /// only where the interface was told to hold interrupts back: `napi_defer_hard_irqs` and
    /// `gro_flush_timeout`. Not in mode packet.
    pub busy_poll: bool,
    /// The memory of the worker that the port of a queue is for, if it is to be shared: where the kernel lets
    /// them, ports send payloads from there without a copy of their own.
    pub memory: &'a dyn Fn(u32) -> Option<&'a SharedMemory>,
    /// Several workers, who are to have a socket each on every queue, where the kernel lets them and the
    /// interface has fewer queues than there are workers.
    pub sharing: Option<Sharing<'a>>,
}

/// Workers that share receive queues.
#[derive(Clone, Copy, Debug)]
pub struct Sharing<'a> {
    /// The memory of each: [`SharedMemory::of_workers`].
    pub memories: &'a [SharedMemory],
    /// The worker that gets what is nobody's in particular of the first queue; those of the others follow.
    pub first: u8,
    /// Sectors that one worker owns before the next one does: a power of two.
    pub group_sectors: u64,
}

impl Opening<'_> {
    /// The workers that share queues, if an interface with so many has too few for them.
    pub(crate) fn sharing_of(&self, queues: u32) -> Option<&Sharing<'_>> {
        let sharing = self.sharing.as_ref();
        sharing.filter(|sharing| (queues as usize) < sharing.memories.len())
    }
}

impl Default for Opening<'_> {
    /// The best mode, the interface's own address, and memory of its own.
    fn default() -> Self {
        Self {
            mode: RequestedMode::Auto,
            addresses: 1,
            busy_poll: false,
            memory: &|_| None,
            sharing: None,
        }
    }
}

impl std::fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening")
            .field("mode", &self.mode)
            .field("addresses", &self.addresses)
            .field("busy_poll", &self.busy_poll)
            .finish_non_exhaustive()
    }
}

/// Opens every receive queue of an interface, under its own address: [`open_as`].
///
/// # Errors
/// As [`open_as`].
pub fn open(interface: &str, mode: RequestedMode) -> Result<Vec<Box<dyn Port>>, OpenError> {
    let opening = Opening {
        mode,
        ..Opening::default()
    };
    open_as(interface, &opening)
}

/// Opens every receive queue of an interface: one [`Port`] per queue, in the order of the queues, or where
/// workers share them one for each queue and worker.
/// Mode `packet` has one port for all queues.
///
/// Each choice is logged once, at level info, with its reason.
///
/// # Errors
/// [`OpenError`] when the interface is missing, down, not Ethernet, or of too small an MTU, when
/// privileges are missing, when the number of addresses is not from 1 to [`aoe::ADDRESSES_MAX`], or the
/// kernel refuses one, or when a mode other than `auto` does not work here. `auto` falls back as far as
/// `packet`.
pub fn open_as(interface: &str, opening: &Opening<'_>) -> Result<Vec<Box<dyn Port>>, OpenError> {
    let mut found = Interface::find(interface)?;
    if found.mtu_bytes < MTU_BYTES_MIN {
        return Err(OpenError::MtuTooSmall {
            interface: found.name,
            mtu_bytes: found.mtu_bytes,
            mtu_bytes_min: MTU_BYTES_MIN,
        });
    }
    found.answer_as(opening.addresses)?;
    let mode = opening.mode;
    let ports = match mode {
        RequestedMode::Auto => open_best(&found, opening)?,
        RequestedMode::Zerocopy => open_xdp(&found, mode, Hook::Native, Some(false), opening)?,
        RequestedMode::Native => open_xdp(&found, mode, Hook::Native, Some(true), opening)?,
        RequestedMode::Generic => open_xdp(&found, mode, Hook::Generic, Some(true), opening)?,
        RequestedMode::Packet => open_packet(&found, "asked for")?,
    };
    if let Some(port) = ports.first() {
        let facts = port.facts();
        if facts.mode != Mode::Packet {
            leave_vlan_tags(interface);
        } else if opening.busy_poll {
            warn!("port {interface} is in mode packet, in which there is no busy polling");
        }
        let is_shared = facts.sharer.is_some();
        let queues = ports
            .iter()
            .filter(|port| port.facts().sharer.is_none_or(|sharer| sharer == 0));
        info!(
            interface,
            mode = %facts.mode,
            queues = queues.count(),
            sockets = ports.len(),
            spreads = is_shared,
            mtu = facts.mtu_bytes,
            addresses = opening.addresses,
            lends = port.lends(),
            "port open: {}",
            facts.reason
        );
    }
    Ok(ports)
}

/// Whether XDP would copy every frame before it sees it.
fn copies_for_xdp(found: &Interface) -> bool {
    found.driver == "veth" && found.mtu_bytes > PAGE_MTU_BYTES
}

/// Tries the modes from the fastest down; the module tells the rule.
fn open_best(found: &Interface, opening: &Opening<'_>) -> Result<Vec<Box<dyn Port>>, OpenError> {
    let workers = opening.sharing.map_or(1, |sharing| sharing.memories.len());
    if copies_for_xdp(found) && workers == 1 {
        return open_packet(
            found,
            "by rule: a veth copies frames longer than a page for XDP, so mode packet does most writes here, and \
             reads enough; mode = \"native\" does more reads",
        );
    }
    let refused = |mode: RequestedMode, error: &XdpError| {
        info!(
            interface = found.name,
            "mode {mode} does not work here: {error}"
        );
    };
    let native = match XdpPort::open_all(found, Hook::Native, None, "", opening) {
        Ok(ports) => return Ok(boxed(explain_copies(ports))),
        Err(error) => error,
    };
    refused(RequestedMode::Native, &native);
    let reason = format!("native XDP refused: {native}");
    let generic = match XdpPort::open_all(found, Hook::Generic, Some(true), &reason, opening) {
        Ok(ports) => return Ok(boxed(ports)),
        Err(error) => error,
    };
    refused(RequestedMode::Generic, &generic);
    open_packet(
        found,
        &format!("native XDP refused: {native}; generic XDP refused: {generic}"),
    )
}

/// Tells of each port whether the driver offered zero copy.
fn explain_copies(mut ports: Vec<XdpPort>) -> Vec<XdpPort> {
    for port in &mut ports {
        port.set_reason(match port.facts().mode {
            Mode::Zerocopy => "the driver offers zero copy",
            _ => "native XDP works; the driver offers no zero copy at this MTU",
        });
    }
    ports
}

fn open_xdp(
    found: &Interface,
    mode: RequestedMode,
    hook: Hook,
    copy: Option<bool>,
    opening: &Opening<'_>,
) -> Result<Vec<Box<dyn Port>>, OpenError> {
    XdpPort::open_all(found, hook, copy, "asked for", opening)
        .map(boxed)
        .map_err(|error| error.into_open_error(found, mode))
}

fn open_packet(found: &Interface, reason: &str) -> Result<Vec<Box<dyn Port>>, OpenError> {
    Ok(vec![Box::new(PacketPort::open(found, reason)?)])
}

fn boxed(ports: Vec<XdpPort>) -> Vec<Box<dyn Port>> {
    ports
        .into_iter()
        .map(|port| Box::new(port) as Box<dyn Port>)
        .collect()
}
