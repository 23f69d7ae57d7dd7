//! The kernel's news of devices that come and go.
//!
//! They are a hint to look: nothing is taken from them but that something has changed, so that it does no
//! harm when some are lost, and nobody need trust who sent them.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The group that the kernel sends to.
const KERNEL_GROUP: u32 = 1;

/// No message of the kernel's is longer.
const MESSAGE_BYTES: usize = 8192;

/// Where the news arrive.
#[derive(Debug)]
pub struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the kernel does not offer it.
    pub fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(KOBJECT_UEVENT),
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self { socket })
    }

    /// Waits until a block device or an enclosure has changed, or for so long. Whether one has.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let end = Instant::now() + limit;
        loop {
            if self.take()? {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what has arrived. Whether any of it matters; also when some was lost.
    fn take(&self) -> io::Result<bool> {
        let mut message = [0; MESSAGE_BYTES];
        let mut any = false;
        loop {
            match recv(&self.socket, &mut message[..], RecvFlags::empty()) {
                Ok((bytes, _)) => any |= matters(&message[..bytes]),
                Err(Errno::NOBUFS) => any = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(any),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a message tells of a block device or of the bay of an enclosure.
fn matters(message: &[u8]) -> bool {
    let mut fields = message.split(|byte| *byte == 0);
    fields.any(|field| matches!(field, b"SUBSYSTEM=block" | b"SUBSYSTEM=enclosure"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_disks_matter() {
        let disk = b"add@/devices/x/block/sdb\0ACTION=add\0SUBSYSTEM=block\0SEQNUM=9\0";
        assert!(matters(disk));
        assert!(!matters(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=net\0"));
        assert!(!matters(b""));
    }

    #[test]
    fn without_news_it_waits_as_long_as_it_is_told() {
        let uevents = Uevents::listen().unwrap();
        let began = Instant::now();
        while uevents.wait(Duration::from_millis(20)).unwrap() {}
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}
