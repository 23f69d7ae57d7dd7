//! A port on an AF_PACKET socket with mapped TPACKET_V2 rings: no XDP, one system call per batch.
//!
//! Version 2 and not 3, because version 3 hands frames over in blocks after a timer of a
//! millisecond, which is ruin for request and response.
//!
//! Invariants:
//! - Slots are used strictly in turn, in both rings.
//! - The socket sees AoE frames from the wire only, never those that this machine sends.
//! - Frames for other stations are dropped and counted.
//! - A VLAN tag, which the kernel takes off, is put back: an answer without it would cross from one VLAN
//!   into another.
//! - Malformed transmit slots do not stop the ring (`PACKET_LOSS`).
//!
//! Interfaces that hand socket buffers straight to a receiver on the same machine (veth, tap) give
//! a transmit slot back while the receiver may still read it. Slots being used in turn, a frame
//! could only change under such a receiver if it fell a whole ring behind, so the transmit ring is
//! longer than the kernel's own queues.

use crate::frame::ReceivedFrame;
use crate::interface::{Interface, ignore_outgoing, packet_socket};
use crate::ring::{self, PacketRingShape, PacketRings};
use crate::{
    ETHERNET_HEADER_BYTES, ETHERTYPE_AOE, Mode, OpenError, Port, PortCounters, PortFacts,
    TransmitError,
};
use aoe::MacAddress;
use aoe::vlan::TAG_BYTES;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use rustix::net::{SendFlags, send};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// `ETH_P_ALL`: the only kind of packet socket that is told of VLAN tags.
const ETHERTYPE_ALL: u16 = 0x0003;

/// Frames that the receive ring holds at least: the windows of 16 initiators, and some more (conformance
/// row 111).
const RX_SLOTS_MIN: usize = 1280;

/// Frames that the transmit ring holds at least: twice `netdev_max_backlog`, see above.
const TX_SLOTS_MIN: usize = 2048;

/// Memory that the kernel allocates in one piece. Small enough to be had on a busy machine.
const BLOCK_BYTES: usize = 64 * 1024;

/// What a receive slot holds besides the frame: the header, the sender's address, alignment, and
/// room for a VLAN tag.
const SLOT_OVERHEAD_BYTES: usize = libc::TPACKET2_HDRLEN + 64;

/// Slots start on a cache line.
const SLOT_ALIGN_BYTES: usize = 64;

/// How often one flush asks the kernel to go on sending before it leaves the rest for the next.
const SEND_ATTEMPTS: u32 = 4;

/// All receive queues of an interface, through AF_PACKET.
#[derive(Debug)]
pub struct PacketPort {
    facts: PortFacts,
    rings: PacketRings,
    shape: PacketRingShape,
    socket: OwnedFd,
    rx_next: usize,
    tx_next: usize,
    /// Frames put into the transmit ring since the kernel last took all of them.
    tx_queued: bool,
    counted: PortCounters,
    /// Keeps the interface's filter open for the other addresses of the port.
    _membership: Option<Arc<OwnedFd>>,
    /// Drops so far; the kernel forgets its own count whenever it is asked.
    rx_ring_full: Cell<u64>,
}

impl PacketPort {
    /// Opens a socket for AoE on the interface.
    pub(crate) fn open(interface: &Interface, reason: &str) -> Result<Self, OpenError> {
        let name = interface.name.as_str();
        let fail = |operation| move |error| OpenError::from_call(name, operation, error);
        let socket = packet_socket(name)?;
        ignore_outgoing(name, &socket)?;
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        for (option, value, operation) in [
            (ring::PACKET_VERSION, version, "choose TPACKET_V2"),
            (ring::PACKET_LOSS, 1, "skip malformed slots"),
            (
                ring::PACKET_QDISC_BYPASS,
                1,
                "bypass the queueing discipline",
            ),
        ] {
            ring::set_packet_option(&socket, option, &value).map_err(fail(operation))?;
        }
        let shape = shape(interface.mtu_bytes);
        let rings = PacketRings::map(&socket, shape).map_err(fail("map the packet rings"))?;
        allow_whole_ring_in_flight(name, &socket, &shape);
        ring::accept_ethertype(&socket, ETHERTYPE_AOE).map_err(fail("filter frames"))?;
        ring::bind_packet(&socket, interface.index, ETHERTYPE_ALL)
            .map_err(fail("bind a packet socket"))?;
        Ok(Self {
            facts: PortFacts {
                interface: name.to_owned(),
                queue_index: 0,
                sharer: None,
                stations: interface.stations,
                mtu_bytes: interface.mtu_bytes,
                has_link: interface.has_link,
                mode: Mode::Packet,
                reason: reason.to_owned(),
            },
            rings,
            shape,
            socket,
            rx_next: 0,
            tx_next: 0,
            tx_queued: false,
            counted: PortCounters::default(),
            _membership: interface.membership.clone(),
            rx_ring_full: Cell::new(0),
        })
    }

    /// Counts the frame in the slot and shows it to the sink, unless it is not for us. Returns
    /// whether there was a frame, and whether the sink saw it.
    fn show(&mut self, index: usize, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> (bool, bool) {
        let Some(slot) = self.rings.received(index) else {
            return (false, false);
        };
        let complete = slot.complete;
        // Not what the kernel says of it: to it the other addresses of the port are strangers', and so
        // are the VLANs.
        let is_ours = !slot.bytes.first_chunk().is_some_and(|&destination| {
            let destination = MacAddress(destination);
            !destination.is_multicast() && !self.facts.stations.contains(destination)
        });
        if !is_ours {
            self.counted.rx_other_host += 1;
        } else if complete {
            self.counted.rx_frames += 1;
            self.counted.rx_bytes += slot.bytes.len() as u64;
            sink(&ReceivedFrame {
                first: slot.bytes,
                rest: &[],
            });
        } else {
            self.counted.rx_invalid += 1;
        }
        (true, is_ours && complete)
    }
}

/// Lets the kernel have a whole transmit ring under way. Its default for sockets is some twenty
/// jumbo frames. Without the privilege to go beyond the system's limit, that limit holds; frames
/// beyond it wait for the next flush.
fn allow_whole_ring_in_flight(interface: &str, socket: &OwnedFd, shape: &PacketRingShape) {
    let bytes = shape.tx_slots() * shape.slot_bytes;
    let forced = set_socket_send_buffer_size_force(socket, bytes);
    if let Err(error) = forced.or_else(|_| set_socket_send_buffer_size(socket, bytes)) {
        tracing::warn!(interface, "cannot enlarge the send buffer: {error}");
    }
}

/// Rings that hold enough frames of this MTU.
fn shape(mtu_bytes: usize) -> PacketRingShape {
    let slot_bytes = (SLOT_OVERHEAD_BYTES + ETHERNET_HEADER_BYTES + TAG_BYTES + mtu_bytes)
        .next_multiple_of(SLOT_ALIGN_BYTES);
    let block_bytes = slot_bytes.next_power_of_two().max(BLOCK_BYTES);
    let slots_per_block = block_bytes / slot_bytes;
    PacketRingShape {
        slot_bytes,
        block_bytes,
        rx_blocks: RX_SLOTS_MIN.div_ceil(slots_per_block),
        tx_blocks: TX_SLOTS_MIN.div_ceil(slots_per_block),
    }
}

impl Port for PacketPort {
    fn facts(&self) -> &PortFacts {
        &self.facts
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize {
        let mut shown = 0;
        for _ in 0..budget {
            let (taken, seen) = self.show(self.rx_next, sink);
            if !taken {
                break;
            }
            self.rings.give_back(self.rx_next);
            self.rx_next = (self.rx_next + 1) % self.shape.rx_slots();
            shown += usize::from(seen);
        }
        shown
    }

    fn transmit(&mut self, header: &[u8], payload: &[u8]) -> Result<(), TransmitError> {
        let slot = self.tx_next;
        let rings = &mut self.rings;
        self.counted
            .transmit(&self.facts, header, payload, |frame| {
                rings.fill(slot, frame)
            })?;
        self.tx_next = (slot + 1) % self.shape.tx_slots();
        self.tx_queued = true;
        Ok(())
    }

    fn flush(&mut self) -> bool {
        if !self.tx_queued {
            return false;
        }
        for _ in 0..SEND_ATTEMPTS {
            match send(&self.socket, &[], SendFlags::DONTWAIT) {
                // The kernel has seen every slot that was marked.
                Ok(_) => {
                    self.tx_queued = false;
                    return false;
                }
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => {}
                // The link is down, or was: the socket tells so once, even when it is up again.
                Err(Errno::NETDOWN) => {}
                Err(error) => {
                    self.counted.kernel_errors += 1;
                    tracing::debug!("{}: sending: {error}", self.facts.interface);
                    return true;
                }
            }
        }
        true
    }

    fn refresh(&mut self) -> bool {
        self.facts.refresh(self.shape.tx_frame_bytes_max())
    }

    fn take_error(&mut self) {
        if let Ok(Err(error)) = rustix::net::sockopt::socket_error(&self.socket) {
            self.counted.kernel_errors += 1;
            tracing::debug!("{}: {error}", self.facts.interface);
        }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn counters(&self) -> PortCounters {
        let mut counters = self.counted;
        match ring::take_packet_statistics(&self.socket) {
            Ok(kernel) => {
                let drops = self.rx_ring_full.get() + u64::from(kernel.tp_drops);
                self.rx_ring_full.set(drops);
            }
            Err(error) => {
                counters.kernel_errors += 1;
                let error = io::Error::other(error);
                tracing::debug!("{}: packet statistics: {error}", self.facts.interface);
            }
        }
        counters.rx_ring_full = self.rx_ring_full.get();
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_hold_a_thousand_frames_at_every_mtu() {
        for mtu in [1060, 1500, 4132, 8228, 9000, 16384, 65535] {
            let shape = shape(mtu);
            assert!(shape.rx_slots() >= 1280, "MTU {mtu}");
            assert!(shape.tx_slots() >= 1024, "MTU {mtu}");
            assert!(
                shape.tx_frame_bytes_max() >= mtu + ETHERNET_HEADER_BYTES + TAG_BYTES,
                "MTU {mtu}"
            );
            assert_eq!(shape.slot_bytes % SLOT_ALIGN_BYTES, 0, "MTU {mtu}");
            assert_eq!(shape.block_bytes % 4096, 0, "MTU {mtu}");
        }
    }
}
