//! What the server and its owner tell each other.

use crate::frame::ConnectionTag;
use aoe::MacAddress;
use core::fmt;
use thiserror::Error;

/// One of the shelf's network ports, as the owner numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub usize);

/// A session, never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(super) u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Who is at the other end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Port of the shelf.
    pub port: PortIndex,
    /// Address of the client's host.
    pub mac: MacAddress,
    /// The client's own name for the session.
    pub tag: ConnectionTag,
}

/// What the owner of the server has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a whole Ethernet frame.
    Transmit {
        /// Port to send from.
        port: PortIndex,
        /// The frame, padded, without checksum.
        frame: Vec<u8>,
    },
    /// A client has connected: greet it.
    Opened {
        /// The new session.
        session: SessionId,
        /// Its client.
        peer: Peer,
    },
    /// The client typed something.
    Input {
        /// The session.
        session: SessionId,
        /// What was typed, at least one byte; Enter is CR.
        bytes: Vec<u8>,
    },
    /// Output had been refused, and there is room again.
    Writable {
        /// The session.
        session: SessionId,
    },
    /// The session is over and its id is void.
    Closed {
        /// The session.
        session: SessionId,
    },
}

/// The session has ended, or is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("console session {0} has ended")]
pub struct SessionGone(pub SessionId);

/// Frames that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Not a complete console frame.
    pub malformed: u64,
    /// Of a kind that the protocol does not define.
    pub unknown_kind: u64,
    /// Of a kind that only servers send.
    pub server_kind: u64,
    /// Sent from a group address.
    pub group_source: u64,
    /// Sent to another station, or received on a port that has no console.
    pub misaddressed: u64,
    /// Not answered because the same station asked too often.
    pub rate_limited: u64,
    /// A connection wish while all sessions were in use.
    pub sessions_exhausted: u64,
    /// Sessions that nobody had come into, given up for another one while all were in use.
    pub displaced: u64,
    /// Sent by a station that the port does not admit.
    pub not_admitted: u64,
}

/// What has passed in one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Bytes that the client typed.
    pub received_bytes: u64,
    /// Bytes that were sent to it, each counted once.
    pub sent_bytes: u64,
    /// Packets that came again: their acknowledgement was lost.
    pub repeated: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Packets that were never acknowledged.
    pub given_up: u64,
    /// Handshakes; more than one when the client has connected again, or another process of its host
    /// has taken the same tag.
    pub handshakes: u64,
}
