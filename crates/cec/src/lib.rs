//! The Ethernet console protocol (cec): sans-I/O server and client sessions.
//!
//! A cec console is a byte stream in each direction over raw Ethernet frames of type 0xBCBC. Each
//! direction has one packet outstanding at a time (stop and wait).
//!
//! * [`frame`]: the codec, 18 bytes of header and up to 255 bytes of payload.
//! * [`offer`]: what a shelf says of itself when it is probed, and the probing side.
//! * [`server`]: all console sessions of a shelf, on all of its ports.
//! * [`client`]: one session seen from the terminal's side.
//!
//! Invariants:
//! * No clock and no socket: time comes in as `now`, the time since any fixed start, and must not
//!   go backwards; frames come in as bytes and leave as actions.
//! * No byte of a session is lost or doubled as long as one of the three sends of a packet gets
//!   through and is acknowledged.
//! * Whatever arrives, memory stays bounded and nothing panics.
//!
//! The protocol has no authentication, integrity or secrecy: whoever is on the segment can open a
//! console or end one. Keep it off untrusted networks.
#![forbid(unsafe_code)]

pub mod client;
pub mod frame;
pub mod offer;
pub mod server;

mod transmitter;

pub use client::{Client, ClientAction, Ending};
pub use frame::{ConnectionTag, ETHERTYPE, Frame, Kind, ParseError, Payload};
pub use offer::{Identity, Offer, Probe};
pub use server::{
    Action, Counters, Peer, PortIndex, Server, SessionCounters, SessionGone, SessionId,
};
