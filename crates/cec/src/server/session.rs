//! One console session of the server: handshake, stop-and-wait both ways, and when it is over.

use super::{Action, Peer, SessionCounters};
use crate::frame::{Frame, Kind, Payload};
use crate::transmitter::{Expiry, Packet, SENDS_MAX, Transmitter};
use aoe::MacAddress;
use core::time::Duration;
use std::collections::VecDeque;

/// Output that a session holds before its owner has to wait, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// An unanswered Tinitb is repeated in this interval: a client waits 2 s for it.
const INIT_B_INTERVAL: Duration = Duration::from_millis(500);

/// Packets given up in a row, with no frame at all from the client, after which it is gone.
const GIVEN_UP_MAX: u8 = 10;

/// A client from which nothing was heard for this long is asked for a sign of life: a client that
/// died tells nobody.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Zero-length packets in a row that mean "the client's standard input is at its end".
const END_OF_INPUT_PACKETS: u8 = 8;

/// What the clock did to a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Alive,
    Dead,
}

#[derive(Debug)]
struct Handshake {
    sends_left: u8,
    due: Duration,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Peer,
    port_mac: MacAddress,
    /// A Tinitb waits for its Tinitc. New packets wait with it, because a client in a handshake
    /// throws data away.
    handshake: Option<Handshake>,
    open: bool,
    received_last: Option<u8>,
    transmitter: Transmitter,
    heard_at: Duration,
    given_up: u8,
    counters: SessionCounters,
    empty_packets: u8,
    output_refused: bool,
    pub(super) busy: bool,
    /// Somebody has come in.
    pub(super) occupied: bool,
    pub(super) closing: bool,
}

impl Session {
    pub(super) fn new(now: Duration, peer: Peer, port_mac: MacAddress) -> Self {
        Self {
            peer,
            port_mac,
            handshake: None,
            open: false,
            received_last: None,
            transmitter: Transmitter::new(OUTPUT_BYTES_MAX),
            heard_at: now,
            given_up: 0,
            counters: SessionCounters::default(),
            empty_packets: 0,
            output_refused: false,
            busy: false,
            occupied: false,
            closing: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Any frame of the client shows that it lives.
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.given_up = 0;
    }

    pub(super) fn heard_at(&self) -> Duration {
        self.heard_at
    }

    pub(super) fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Tinita, the first or another one. An open session continues: any probe from the client's
    /// host makes Unix clients shake hands again in the middle of a session.
    pub(super) fn greet(&mut self, now: Duration, actions: &mut VecDeque<Action>) {
        self.handshake = Some(Handshake {
            sends_left: SENDS_MAX - 1,
            due: now + INIT_B_INTERVAL,
        });
        // A new process counts its packets from 1. Any other number that comes again is the
        // repetition of a packet whose acknowledgement was lost.
        self.received_last = self.received_last.filter(|sequence| *sequence > 1);
        self.empty_packets = 0;
        self.counters.handshakes += 1;
        self.transmitter.peer_may_be_fresh();
        actions.push_back(self.frame(Kind::InitB, 0, &[]));
    }

    /// Tinitc, or data in its place: the handshake is complete. True if that opened the session.
    pub(super) fn greeted(&mut self, now: Duration, actions: &mut VecDeque<Action>) -> bool {
        if self.handshake.take().is_none() {
            return false;
        }
        if self.open {
            // What was sent during the handshake was thrown away.
            let packet = self.transmitter.outstanding();
            actions.extend(packet.map(|packet| self.data(&packet)));
            return false;
        }
        self.open = true;
        // The client may remember the last packet of our previous life and swallow an equal
        // number: let it swallow a packet without bytes. That one is not worth repeating.
        let packet = self.transmitter.start_empty(now, 1);
        actions.extend(packet.map(|packet| self.data(&packet)));
        true
    }

    /// Data: acknowledged first of all. True if it is new.
    pub(super) fn take_data(&mut self, frame: &Frame<'_>, actions: &mut VecDeque<Action>) -> bool {
        actions.push_back(self.frame(Kind::Ack, frame.sequence, &[]));
        if self.received_last == Some(frame.sequence) {
            self.counters.repeated += 1;
            return false;
        }
        self.received_last = Some(frame.sequence);
        self.counters.received_bytes += frame.payload.bytes().len() as u64;
        self.empty_packets = if frame.payload.bytes().is_empty() {
            self.empty_packets.saturating_add(1)
        } else {
            0
        };
        true
    }

    pub(super) fn take_ack(&mut self, sequence: u8) {
        self.transmitter.acknowledge(sequence);
    }

    pub(super) fn push_output(&mut self, bytes: &[u8]) -> usize {
        let accepted = self.transmitter.push(bytes);
        self.output_refused |= accepted < bytes.len();
        accepted
    }

    /// Forgets what is queued, but for the packet that is on its way.
    pub(super) fn discard_output(&mut self) {
        self.transmitter.discard();
        self.output_refused = false;
    }

    /// True once, when output had been refused and half of the buffer is free again.
    pub(super) fn take_writable(&mut self) -> bool {
        let writable = self.output_refused
            && !self.closing
            && self.transmitter.room_bytes() >= OUTPUT_BYTES_MAX / 2;
        self.output_refused &= !writable;
        writable
    }

    /// Sends the next packet if one can go.
    pub(super) fn transmit(&mut self, now: Duration, actions: &mut VecDeque<Action>) {
        if self.open && self.handshake.is_none() {
            let packet = self.transmitter.start(now);
            self.counters.sent_bytes += packet.as_ref().map_or(0, |p| p.payload.len() as u64);
            actions.extend(packet.map(|packet| self.data(&packet)));
        }
    }

    /// All output is delivered, and nobody will want more of it.
    pub(super) fn is_finished(&self) -> bool {
        let wanted = !self.closing && (self.busy || self.empty_packets < END_OF_INPUT_PACKETS);
        self.open && !wanted && self.transmitter.is_drained()
    }

    /// Repeats what was not answered in time.
    pub(super) fn expire(&mut self, now: Duration, actions: &mut VecDeque<Action>) -> Fate {
        if let Some(handshake) = self.handshake.as_mut().filter(|h| h.due <= now) {
            if handshake.sends_left > 0 {
                handshake.sends_left -= 1;
                handshake.due = now + INIT_B_INTERVAL;
                actions.push_back(self.frame(Kind::InitB, 0, &[]));
            } else if self.open {
                self.handshake = None;
            } else {
                return Fate::Dead;
            }
        }
        match self.transmitter.expire(now) {
            Expiry::NotDue => {}
            Expiry::Resend(packet) => {
                self.counters.resent += 1;
                actions.push_back(self.data(&packet));
            }
            // A Unix client acknowledges a packet only once. If that got lost, no repetition
            // will be answered, although the bytes arrived.
            Expiry::GivenUp => {
                self.given_up += 1;
                self.counters.given_up += 1;
            }
        }
        if self.given_up >= GIVEN_UP_MAX {
            return Fate::Dead;
        }
        if self.is_silent_since_too_long(now) {
            let packet = self.transmitter.start_empty(now, SENDS_MAX);
            actions.extend(packet.map(|packet| self.data(&packet)));
        }
        Fate::Alive
    }

    fn is_silent_since_too_long(&self, now: Duration) -> bool {
        self.open && self.transmitter.is_drained() && now >= self.heard_at + SILENCE_MAX
    }

    /// When [`Session::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let handshake = self.handshake.as_ref().map(|handshake| handshake.due);
        let silence = (self.open && self.transmitter.is_drained())
            .then(|| self.heard_at.saturating_add(SILENCE_MAX));
        [handshake, self.transmitter.deadline(), silence]
            .into_iter()
            .flatten()
            .min()
    }

    /// Treset to the client.
    pub(super) fn reset(&self) -> Action {
        reset(self.peer, self.port_mac)
    }

    fn data(&self, packet: &Packet) -> Action {
        self.frame(Kind::Data, packet.sequence, &packet.payload)
    }

    fn frame(&self, kind: Kind, sequence: u8, payload: &[u8]) -> Action {
        frame(self.peer, self.port_mac, kind, sequence, payload)
    }
}

/// Treset from a port to a client.
pub(super) fn reset(peer: Peer, port_mac: MacAddress) -> Action {
    frame(peer, port_mac, Kind::Reset, 0, &[])
}

fn frame(peer: Peer, port_mac: MacAddress, kind: Kind, sequence: u8, payload: &[u8]) -> Action {
    let frame = Frame {
        destination: peer.mac,
        source: port_mac,
        kind,
        tag: peer.tag,
        sequence,
        payload: Payload::prefix_of(payload),
    };
    Action::Transmit {
        port: peer.port,
        frame: frame.encode(),
    }
}
