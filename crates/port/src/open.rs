//! Opening an interface: which mode, and why.

use crate::interface::{Interface, leave_vlan_tags};
use crate::packet::PacketPort;
use crate::steer::Hook;
use crate::xdp::{XdpError, XdpPort};
use crate::{Mode, OpenError, Port, RequestedMode, SharedMemory};
use tracing::info;

/// The smallest MTU that carries two sectors: initiators take an MTU as if it held the Ethernet
/// header, so this is the 36 bytes before the data and 1024 bytes of data (conformance row 29).
pub const MTU_BYTES_MIN: usize = 36 + 2 * 512;

/// Opens every receive queue of an interface: one [`Port`] per queue, in the order of the queues.
/// Mode `packet` has one port for all queues.
///
/// Each choice is logged once, at level info, with its reason.
///
/// # Errors
/// [`OpenError`] when the interface is missing, down, not Ethernet, or of too small an MTU, when
/// privileges are missing, or when a mode other than `auto` does not work here. `auto` falls back
/// as far as `packet`.
pub fn open(interface: &str, mode: RequestedMode) -> Result<Vec<Box<dyn Port>>, OpenError> {
    open_as(interface, mode, 1)
}

/// As [`open`], under so many addresses: the interface's own and others made from it.
///
/// # Errors
/// As [`open`], and when that number is not from 1 to [`aoe::ADDRESSES_MAX`], or the kernel refuses an
/// address.
pub fn open_as(
    interface: &str,
    mode: RequestedMode,
    addresses: u8,
) -> Result<Vec<Box<dyn Port>>, OpenError> {
    open_sharing(interface, mode, addresses, None)
}

/// As [`open_as`], over the memory of the worker that the ports are for: where the kernel lets them, they
/// send payloads from there without a copy of their own.
///
/// # Errors
/// As [`open_as`].
pub fn open_sharing(
    interface: &str,
    mode: RequestedMode,
    addresses: u8,
    memory: Option<&SharedMemory>,
) -> Result<Vec<Box<dyn Port>>, OpenError> {
    let mut found = Interface::find(interface)?;
    if found.mtu_bytes < MTU_BYTES_MIN {
        return Err(OpenError::MtuTooSmall {
            interface: found.name,
            mtu_bytes: found.mtu_bytes,
            mtu_bytes_min: MTU_BYTES_MIN,
        });
    }
    found.answer_as(addresses)?;
    let ports = match mode {
        RequestedMode::Auto => open_best(&found, memory)?,
        RequestedMode::Zerocopy => open_xdp(&found, mode, Hook::Native, Some(false), memory)?,
        RequestedMode::Native => open_xdp(&found, mode, Hook::Native, Some(true), memory)?,
        RequestedMode::Generic => open_xdp(&found, mode, Hook::Generic, Some(true), memory)?,
        RequestedMode::Packet => open_packet(&found, "asked for")?,
    };
    if let Some(port) = ports.first() {
        let facts = port.facts();
        if facts.mode != Mode::Packet {
            leave_vlan_tags(interface);
        }
        info!(
            interface,
            mode = %facts.mode,
            queues = ports.len(),
            mtu = facts.mtu_bytes,
            addresses,
            lends = port.lends(),
            "port open: {}",
            facts.reason
        );
    }
    Ok(ports)
}

/// Tries the modes from the fastest down.
fn open_best(
    found: &Interface,
    memory: Option<&SharedMemory>,
) -> Result<Vec<Box<dyn Port>>, OpenError> {
    let refused = |mode: RequestedMode, error: &XdpError| {
        info!(
            interface = found.name,
            "mode {mode} does not work here: {error}"
        );
    };
    let native = match XdpPort::open_all(found, Hook::Native, None, "", memory) {
        Ok(ports) => return Ok(boxed(explain_copies(ports))),
        Err(error) => error,
    };
    refused(RequestedMode::Native, &native);
    let reason = format!("native XDP refused: {native}");
    let generic = match XdpPort::open_all(found, Hook::Generic, Some(true), &reason, memory) {
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
    memory: Option<&SharedMemory>,
) -> Result<Vec<Box<dyn Port>>, OpenError> {
    XdpPort::open_all(found, hook, copy, "asked for", memory)
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
