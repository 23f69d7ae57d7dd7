//! A wire between a shelf and a client that loses one frame of the Ethernet console, of a kind and in a
//! direction that are asked for; everything else passes.
//!
//! The kernel gives a packet socket only what is addressed to its interface, so each interface of the relay
//! takes the address of the station behind the other one.

use anyhow::{Context, Result};
use cec::{ETHERTYPE, Frame, Kind};
use port::RawSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use testbed::Namespace;
use testbed::netns::{VethEnd, veth_pair};
use testbed::network::{CLIENT_INTERFACE, TARGET_INTERFACE};

/// The stations at the two ends.
const SHELF: &str = "52:54:00:00:00:a1";
const CLIENT: &str = "52:54:00:00:00:c1";

/// The relay's own interfaces, near the shelf and near the client.
const NEAR_SHELF: &str = "shelf";
const NEAR_CLIENT: &str = "client";

/// Far more than a frame of the console.
const FRAME_BYTES_MAX: usize = 2048;

/// Which frame is to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) kind: Kind,
    pub(crate) is_to_shelf: bool,
    /// So many of the kind pass before.
    pub(crate) after: u32,
}

/// Both namespaces, the relay between them and what it is to lose; dropping it cuts the wire.
pub(crate) struct CensoredNetwork {
    loss: Arc<Mutex<Option<Loss>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
    pub(crate) target: Namespace,
    pub(crate) client: Namespace,
    _middle: Namespace,
}

fn lock(loss: &Mutex<Option<Loss>>) -> MutexGuard<'_, Option<Loss>> {
    loss.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CensoredNetwork {
    pub(crate) fn new() -> Result<Self> {
        let target = Namespace::new("target")?;
        let client = Namespace::new("client")?;
        let middle = Namespace::new("middle")?;
        for (namespace, interface, near) in [
            (&target, TARGET_INTERFACE, NEAR_SHELF),
            (&client, CLIENT_INTERFACE, NEAR_CLIENT),
        ] {
            let end = |namespace, interface| VethEnd {
                namespace,
                interface,
            };
            veth_pair(end(namespace, interface), end(&middle, near), 1500)?;
        }
        target.set_address(TARGET_INTERFACE, SHELF)?;
        client.set_address(CLIENT_INTERFACE, CLIENT)?;
        middle.set_address(NEAR_SHELF, CLIENT)?;
        middle.set_address(NEAR_CLIENT, SHELF)?;
        let open = |interface| RawSocket::open(interface, ETHERTYPE);
        let sockets = middle.enter(|| Ok([open(NEAR_CLIENT)?, open(NEAR_SHELF)?]))?;
        let (loss, end) = (Arc::default(), Arc::default());
        let carrier = Carrier {
            sockets,
            loss: Arc::clone(&loss),
            end: Arc::clone(&end),
        };
        let thread = thread::Builder::new()
            .name("censor".into())
            .spawn(move || carrier.run())?;
        Ok(Self {
            loss,
            end,
            thread: Some(thread),
            target,
            client,
            _middle: middle,
        })
    }

    /// Loses one frame from now on.
    pub(crate) fn lose(&self, loss: Loss) {
        *lock(&self.loss) = Some(loss);
    }

    /// Whether that frame came and was lost; from now on none is.
    pub(crate) fn has_lost(&self) -> bool {
        lock(&self.loss).take().is_none()
    }
}

impl Drop for CensoredNetwork {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error))) = ended {
            testbed::transcript::note(&format!("the censored wire: {error:#}"));
        }
    }
}

struct Carrier {
    /// Where frames to the shelf come in, and those to the client; they leave by the other one.
    sockets: [RawSocket; 2],
    loss: Arc<Mutex<Option<Loss>>>,
    end: Arc<AtomicBool>,
}

impl Carrier {
    fn run(mut self) -> Result<()> {
        let mut frame = [0; FRAME_BYTES_MAX];
        let tick = Timespec::try_from(Duration::from_millis(50)).context("time")?;
        while !self.end.load(Ordering::Relaxed) {
            let [a, b] = &self.sockets;
            let mut watched = [PollFd::new(a, PollFlags::IN), PollFd::new(b, PollFlags::IN)];
            match poll(&mut watched, Some(&tick)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
            for side in [0, 1] {
                while let Some(length) = self.sockets[side].receive(&mut frame)? {
                    let bytes = &frame[..length];
                    if !self.is_lost(bytes, side == 0) {
                        self.sockets[1 - side].send(bytes)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_lost(&self, bytes: &[u8], is_to_shelf: bool) -> bool {
        let Ok(frame) = Frame::parse(bytes) else {
            return false;
        };
        let mut loss = lock(&self.loss);
        let Some(found) = loss.as_mut() else {
            return false;
        };
        if (found.kind, found.is_to_shelf) != (frame.kind, is_to_shelf) {
            return false;
        }
        if found.after > 0 {
            found.after -= 1;
            return false;
        }
        *loss = None;
        true
    }
}
