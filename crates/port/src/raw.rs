//! A plain packet socket for one EtherType: one system call per frame, no rings.
//!
//! Right for protocols with little traffic, such as the Ethernet console and its client.
//!
//! Invariants:
//! - Receiving never blocks; poll the descriptor ([`AsFd`]) to wait.
//! - The socket sees frames from the wire only, never those that this machine sends.
//! - Frames for other stations and frames of a VLAN are not received: the kernel takes the tag off,
//!   and an answer without it would cross from one VLAN into another. Priority tags (VLAN 0) do not
//!   matter.

use crate::interface::{Interface, ignore_outgoing, packet_socket};
use crate::{ETHERNET_HEADER_BYTES, OpenError, ring};
use aoe::MacAddress;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How many frames that do not fit the caller's buffer one call skips before it gives others a turn.
const OVERSIZED_SKIP_MAX: usize = 64;

/// A non-blocking AF_PACKET socket bound to one interface and one EtherType.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
    mac: MacAddress,
    mtu_bytes: usize,
}

impl RawSocket {
    /// Opens a socket for `ethertype` on `interface`.
    ///
    /// # Errors
    /// [`OpenError`] when the interface is missing, down or not Ethernet, or the process may not
    /// open packet sockets.
    pub fn open(interface: &str, ethertype: u16) -> Result<Self, OpenError> {
        let found = Interface::find(interface)?;
        let socket = packet_socket(interface)?;
        ignore_outgoing(interface, &socket)?;
        ring::refuse_other_hosts_frames(&socket)
            .map_err(|error| OpenError::from_call(interface, "filter frames", error))?;
        ring::bind_packet(&socket, found.index, ethertype)
            .map_err(|error| OpenError::from_call(interface, "bind a packet socket", error))?;
        Ok(Self {
            socket,
            mac: found.stations.first(),
            mtu_bytes: found.mtu_bytes,
        })
    }

    /// The interface's station address when the socket was opened.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The interface's MTU when the socket was opened: bytes after the Ethernet header.
    #[must_use]
    pub fn mtu_bytes(&self) -> usize {
        self.mtu_bytes
    }

    /// Takes one frame, Ethernet header included, and returns its length; `None` when there is
    /// none now. A frame that does not fit `buf` is dropped: half a frame is of use to nobody. An
    /// interface that went down gives nothing until it is up again.
    ///
    /// # Errors
    /// Whatever else the kernel answers, such as ENODEV after the interface was removed.
    pub fn receive(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        for _ in 0..OVERSIZED_SKIP_MAX {
            match recv(
                &self.socket,
                &mut *buf,
                RecvFlags::DONTWAIT | RecvFlags::TRUNC,
            ) {
                Ok((copied, whole)) if copied == whole => return Ok(Some(whole)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NETDOWN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Sends one whole frame, padded with zeros to 60 bytes.
    ///
    /// # Errors
    /// `InvalidInput` when the frame is shorter than an Ethernet header; otherwise the kernel's
    /// answer: `WouldBlock` or ENOBUFS when there is no room now, EMSGSIZE when the frame is longer
    /// than the MTU allows, ENETDOWN.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if frame.len() < ETHERNET_HEADER_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a frame of {} bytes has no Ethernet header", frame.len()),
            ));
        }
        let mut padded = [0; aoe::FRAME_BYTES_MIN];
        let bytes = match padded.get_mut(..frame.len()) {
            Some(start) => {
                start.copy_from_slice(frame);
                &padded[..]
            }
            None => frame,
        };
        loop {
            match send(&self.socket, bytes, SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
