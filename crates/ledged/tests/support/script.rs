//! A client of the Ethernet console that says exactly what it is told to, for what ours would never do, such
//! as what the original one does: it acknowledges a packet once and never again.

use super::LIMIT;
use anyhow::{Context, Result, bail, ensure};
use aoe::MacAddress;
use cec::{ConnectionTag, ETHERTYPE, Frame, Kind, Payload};
use port::RawSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};
use testbed::Namespace;
use testbed::network::CLIENT_INTERFACE;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) kind: Kind,
    pub(crate) tag: u8,
    pub(crate) sequence: u8,
    pub(crate) payload: Vec<u8>,
}

/// The client, on a socket of its own.
pub(crate) struct Script {
    socket: RawSocket,
    shelf: MacAddress,
    tag: u8,
    /// The number of the last packet that it sent.
    sequence: u8,
    last: Option<u8>,
    /// What the shelf has printed, each packet once.
    pub(crate) screen: String,
}

impl Script {
    /// Finds the shelf.
    pub(crate) fn new(client: &Namespace, tag: u8) -> Result<Self> {
        let socket = client.enter(|| Ok(RawSocket::open(CLIENT_INTERFACE, ETHERTYPE)?))?;
        let mut script = Self {
            socket,
            shelf: MacAddress::BROADCAST,
            tag,
            sequence: 0,
            last: None,
            screen: String::new(),
        };
        script.tag = 0;
        script.say(Kind::Discover, 7, b"")?;
        let (offer, shelf) = loop {
            let (heard, source) = script.frame(LIMIT)?.context("nobody answers the probe")?;
            // What is said to another client of this host comes here, too.
            if heard.kind == Kind::Offer {
                break (heard, source);
            }
        };
        ensure!(
            offer.sequence == 7 && offer.payload.starts_with(b"1 "),
            "{offer:?}"
        );
        (script.shelf, script.tag) = (shelf, tag);
        Ok(script)
    }

    /// With a session.
    pub(crate) fn connected(client: &Namespace, tag: u8) -> Result<Self> {
        let mut script = Self::new(client, tag)?;
        script.say(Kind::InitA, 0, b"")?;
        script.await_kind(Kind::InitB)?;
        script.say(Kind::InitC, 0, b"")?;
        Ok(script)
    }

    /// Sends a frame.
    pub(crate) fn say(&mut self, kind: Kind, sequence: u8, payload: &[u8]) -> Result<()> {
        let frame = Frame {
            destination: self.shelf,
            source: self.socket.mac(),
            kind,
            tag: ConnectionTag(self.tag),
            sequence,
            payload: Payload::prefix_of(payload),
        };
        self.socket.send(&frame.encode()).context("send")
    }

    /// Sends the next packet of data, and does not wait for its acknowledgement.
    pub(crate) fn data(&mut self, payload: &[u8]) -> Result<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        self.say(Kind::Data, self.sequence, payload)?;
        Ok(self.sequence)
    }

    /// The same packet again.
    pub(crate) fn data_again(&mut self, payload: &[u8]) -> Result<()> {
        self.say(Kind::Data, self.sequence, payload)
    }

    /// The next frame with this tag, or without one; `None` when none comes.
    pub(crate) fn hear(&mut self, limit: Duration) -> Result<Option<Heard>> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.frame(left)? {
                Some((heard, _)) if heard.kind != Kind::Offer && heard.tag != self.tag => {}
                Some((heard, _)) => return Ok(Some(heard)),
                None => return Ok(None),
            }
        }
    }

    /// The next frame and where it comes from.
    fn frame(&mut self, limit: Duration) -> Result<Option<(Heard, MacAddress)>> {
        let end = Instant::now() + limit;
        let mut buffer = [0; 2048];
        loop {
            if let Some(length) = self.socket.receive(&mut buffer)? {
                ensure!(length >= 60, "a frame of {length} bytes");
                let frame = Frame::parse(&buffer[..length])?;
                let heard = Heard {
                    kind: frame.kind,
                    tag: frame.tag.0,
                    sequence: frame.sequence,
                    payload: frame.payload.bytes().to_vec(),
                };
                return Ok(Some((heard, frame.source)));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec::try_from(left).context("time")?;
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
        }
    }

    /// Takes a packet as the original client does: one that comes again is not acknowledged.
    pub(crate) fn take(&mut self, heard: &Heard) -> Result<()> {
        if heard.kind != Kind::Data || self.last == Some(heard.sequence) {
            return Ok(());
        }
        self.last = Some(heard.sequence);
        self.screen
            .push_str(&String::from_utf8_lossy(&heard.payload));
        self.say(Kind::Ack, heard.sequence, b"")
    }

    /// Takes what comes until a frame of this kind has come.
    pub(crate) fn await_kind(&mut self, kind: Kind) -> Result<Heard> {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if let Some(heard) = self.hear(LIMIT)? {
                self.take(&heard)?;
                if heard.kind == kind {
                    return Ok(heard);
                }
            }
        }
        bail!("no {kind} comes; the screen: {:?}", self.screen)
    }

    /// Takes what comes until this text is the last on the screen, and returns what stood before it.
    pub(crate) fn see(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + LIMIT;
        while !self.screen.ends_with(text) {
            ensure!(Instant::now() < end, "no {text:?}: {:?}", self.screen);
            if let Some(heard) = self.hear(Duration::from_millis(100))? {
                self.take(&heard)?;
            }
        }
        let shown = std::mem::take(&mut self.screen);
        Ok(shown[..shown.len() - text.len()].to_owned())
    }

    /// Sends a packet and takes what comes until it is acknowledged.
    pub(crate) fn typed(&mut self, payload: &[u8]) -> Result<()> {
        let sequence = self.data(payload)?;
        let ack = self.await_kind(Kind::Ack)?;
        ensure!(ack.sequence == sequence, "{ack:?}");
        Ok(())
    }
}
