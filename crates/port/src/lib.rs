//! Network ports: how AoE frames come in from an Ethernet interface and go out to it.
//!
//! Three back ends stand behind one trait, [`Port`]: AF_XDP sockets fed by `bpf/steer.bpf.c`, an
//! AF_PACKET socket with mapped rings for interfaces or kernels without XDP, and an in-memory pair
//! for tests. [`open`] picks one and says why. [`RawSocket`] is the small door beside them, for
//! protocols with little traffic such as the Ethernet console.
//!
//! Invariants:
//! - One [`Port`] is one receive queue and has one owner, or the socket of one worker on a queue that several
//!   share. Nobody ever waits for another one.
//! - After [`open`], receiving, transmitting and flushing allocate nothing.
//! - A received frame is borrowed: its memory goes back to the kernel when the sink returns.
//! - A payload is copied once, into memory that the kernel reads; the caller may reuse its buffer. Or it is
//!   lent from memory that the port shares with its worker, where the port does that, and not copied.
//! - When the process ends, however it ends, the interface is as it was before: the XDP program is
//!   held by a BPF link whose only reference is a file descriptor of ours, and so are the addresses beside
//!   its own. But for one thing: receive VLAN offload stays off where a program had to see tags.
//! - `unsafe` code lives in `ring.rs` and its submodules alone.
//!
//! Not here: what the bytes mean, retransmission, addressing, access control.

mod error;
mod frame;
mod interface;
mod link;
mod memory;
mod mode;
mod netlink;
mod open;
mod packet;
mod patience;
mod raw;
mod ring;
mod steer;
mod xdp;

pub use error::{OpenError, TransmitError};
pub use frame::ReceivedFrame;
pub use interface::{interface_index, mtu_and_link};
pub use link::{Link, link};
pub use memory::{MemoryPort, memory_pair};
pub use mode::{Mode, ParseModeError, RequestedMode};
pub use open::{MTU_BYTES_MIN, Opening, Sharing, open, open_as};
pub use packet::PacketPort;
pub use raw::RawSocket;
pub use ring::{BufferMemory, SharedMemory};
pub use steer::Spreader;
pub use xdp::XdpPort;

use aoe::vlan::{ETHERTYPE_VLAN, TAG_BYTES, TAG_OFFSET};
use aoe::{ETHERNET_HEADER_BYTES, StationAddresses};
use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// EtherType of ATA over Ethernet (AoEr11 §2).
pub const ETHERTYPE_AOE: u16 = 0x88a2;

/// EtherType of the Coraid Ethernet console.
pub const ETHERTYPE_CEC: u16 = 0xbcbc;

/// What a port is; all but MTU and link fixed when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// Name of the network interface, such as `eth1`.
    pub interface: String,
    /// Which receive queue of the interface this port drains, counted from 0.
    pub queue_index: u32,
    /// Of several sockets on the queue, the one of which worker this is.
    pub sharer: Option<u8>,
    /// The interface's own station address, and those that it was given beside it.
    pub stations: StationAddresses,
    /// The MTU that the port serves: bytes after the Ethernet header.
    pub mtu_bytes: usize,
    /// Whether something is at the other end of the wire.
    pub has_link: bool,
    /// How frames travel between the kernel and this process.
    pub mode: Mode,
    /// Why this mode and not a faster one, for the log.
    pub reason: String,
}

impl PortFacts {
    /// Takes the interface's MTU of now, as far as frames of `frame_bytes_max` allow, and whether it has a
    /// link; whether something changed.
    fn refresh(&mut self, frame_bytes_max: usize) -> bool {
        // An interface that is gone has neither; nothing changes until the port is opened anew.
        let Ok((mtu_bytes, has_link)) = interface::mtu_and_link(&self.interface) else {
            return false;
        };
        let served = mtu_bytes.min(frame_bytes_max - ETHERNET_HEADER_BYTES - TAG_BYTES);
        let changed = (served, has_link) != (self.mtu_bytes, self.has_link);
        (self.mtu_bytes, self.has_link) = (served, has_link);
        changed
    }

    /// The longest frame without a tag that may be sent, Ethernet header included.
    #[must_use]
    pub const fn frame_bytes_max(&self) -> usize {
        self.mtu_bytes + ETHERNET_HEADER_BYTES
    }
}

/// Whether a frame carries a VLAN tag.
fn is_tagged(header: &[u8]) -> bool {
    header.get(TAG_OFFSET..TAG_OFFSET + 2) == Some(&ETHERTYPE_VLAN.to_be_bytes())
}

/// What a port has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames handed to the sink.
    pub rx_frames: u64,
    /// Bytes of those frames.
    pub rx_bytes: u64,
    /// Frames accepted for sending.
    pub tx_frames: u64,
    /// Bytes of those frames, padding included.
    pub tx_bytes: u64,
    /// Frames refused with [`TransmitError::Full`].
    pub tx_full: u64,
    /// Frames refused with [`TransmitError::TooLong`].
    pub tx_too_long: u64,
    /// Frames or descriptors that the kernel refused to send.
    pub tx_invalid: u64,
    /// Frames that the kernel dropped on their way to us for a reason that it does not name.
    pub rx_dropped: u64,
    /// Frames that the kernel dropped because our receive ring was full: we were too slow.
    pub rx_ring_full: u64,
    /// Times that the kernel found no free receive buffer of ours.
    pub fill_ring_empty: u64,
    /// Received frames that we dropped because they were cut short or in too many pieces.
    pub rx_invalid: u64,
    /// Received frames that we dropped because they are for another station. Mode packet only: in the other
    /// modes whoever receives them looks at that.
    pub rx_other_host: u64,
    /// AoE frames that the XDP program left to the kernel because their queue had no socket. Of the
    /// whole interface.
    pub aoe_to_kernel: u64,
    /// AoE frames that the XDP program gave to the socket of another worker than the queue's own, because
    /// that one owns what they ask for. Of the whole interface.
    pub aoe_spread: u64,
    /// Frames of other protocols that the XDP program passed to the kernel. Of the whole interface.
    pub passed_to_kernel: u64,
    /// System calls on the data path that failed in a way that they normally do not.
    pub kernel_errors: u64,
}

impl PortCounters {
    /// What every back end does around queueing a frame: refuses what is too long, pads, counts.
    /// `queue` returns whether there was room.
    fn transmit(
        &mut self,
        facts: &PortFacts,
        header: &[u8],
        payload: &[u8],
        queue: impl FnOnce(&ReceivedFrame<'_>) -> bool,
    ) -> Result<(), TransmitError> {
        let bare_bytes = header.len() + payload.len();
        self.check_length(facts, header, bare_bytes)?;
        let padding = &[0; aoe::FRAME_BYTES_MIN][bare_bytes.min(aoe::FRAME_BYTES_MIN)..];
        let frame = ReceivedFrame {
            first: header,
            rest: &[payload, padding],
        };
        let is_queued = queue(&frame);
        self.queued(is_queued, frame.len_bytes())
    }

    /// Refuses a frame of so many bytes that can never leave.
    fn check_length(
        &mut self,
        facts: &PortFacts,
        header: &[u8],
        len_bytes: usize,
    ) -> Result<(), TransmitError> {
        // A tag does not count against the MTU.
        let tag_bytes = if is_tagged(header) { TAG_BYTES } else { 0 };
        let limit_bytes = facts.frame_bytes_max() + tag_bytes;
        if len_bytes > limit_bytes {
            self.tx_too_long += 1;
            return Err(TransmitError::TooLong {
                len_bytes,
                limit_bytes,
            });
        }
        Ok(())
    }

    /// A frame was queued, or there was no room for it.
    const fn queued(&mut self, is_queued: bool, len_bytes: usize) -> Result<(), TransmitError> {
        if !is_queued {
            self.tx_full += 1;
            return Err(TransmitError::Full);
        }
        self.tx_frames += 1;
        self.tx_bytes += len_bytes as u64;
        Ok(())
    }
}

/// One receive queue of one network interface, with its way back out.
///
/// A port has one owner, who calls [`receive`](Port::receive), any number of
/// [`transmit`](Port::transmit)s and one [`flush`](Port::flush) per turn of its loop.
pub trait Port: Send + fmt::Debug {
    /// What this port is.
    fn facts(&self) -> &PortFacts;

    /// Looks what has come to a queue that several workers share, if all of the last look was received:
    /// [`receive`](Port::receive) gives only what was found by looks, in that case. Whether it looked; other
    /// ports never do.
    fn look(&mut self) -> bool {
        false
    }

    /// What tells the interface which frames are for which worker: of one of the ports of an interface whose
    /// queues are shared.
    fn spreader(&self) -> Option<Spreader> {
        None
    }

    /// Hands up to `budget` frames to `sink` and returns how many. A frame is valid only during the
    /// call; its memory goes back to the kernel afterwards. Never blocks.
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&ReceivedFrame<'_>)) -> usize;

    /// Queues one frame made of `header` followed by `payload`, padded with zeros to 60 bytes. The
    /// bytes are copied before the call returns. Nothing is sure to leave before
    /// [`flush`](Port::flush).
    ///
    /// # Errors
    /// [`TransmitError::Full`] when there is no room now: flush, and try again.
    /// [`TransmitError::TooLong`] when the frame can never leave through this interface.
    fn transmit(&mut self, header: &[u8], payload: &[u8]) -> Result<(), TransmitError>;

    /// Whether payloads can be lent: [`transmit_lent`](Port::transmit_lent). The same for as long as the port
    /// is open.
    fn lends(&self) -> bool {
        false
    }

    /// Queues one frame made of `header`, of 28 bytes at least, and these bytes of the [`SharedMemory`] that
    /// the port was opened with. Nobody may change them until
    /// [`next_returned`](Port::next_returned) has said `token`.
    ///
    /// # Errors
    /// As [`transmit`](Port::transmit); then nothing is lent.
    ///
    /// # Panics
    /// If the port does not lend, or the bytes are none of the shared memory.
    fn transmit_lent(
        &mut self,
        header: &[u8],
        payload: Range<usize>,
        token: u16,
    ) -> Result<(), TransmitError> {
        let _ = (header, payload, token);
        unreachable!("asked before: `lends`")
    }

    /// The token of a frame whose payload is not lent any more, if there is one;
    /// [`flush`](Port::flush) looks for them.
    fn next_returned(&mut self) -> Option<u16> {
        None
    }

    /// Tells the kernel to send what is queued and takes back sent buffers. Called once per batch.
    /// What the interface cannot take now stays queued for the next flush; returns whether there is
    /// any of it.
    fn flush(&mut self) -> bool;

    /// Asks for the interface's MTU and link again and returns whether [`PortFacts::mtu_bytes`] or
    /// [`PortFacts::has_link`] changed. A port whose buffers were made for a smaller MTU keeps to that.
    fn refresh(&mut self) -> bool;

    /// Takes a pending error of the port's socket, such as "network is down", which would end every
    /// poll until somebody takes it.
    fn take_error(&mut self);

    /// What to poll for input when idle, if anything. Polling an AF_XDP socket also sends what is queued.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;

    /// What this port has counted. Asks the kernel for its share, so this is not for every frame.
    fn counters(&self) -> PortCounters;
}
