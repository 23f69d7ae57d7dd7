//! The sending half of one direction: a byte queue and the one packet that is on its way.

use core::time::Duration;
use std::collections::VecDeque;

/// Bytes per data packet: what Coraid's servers send, and a little below the limit of 255.
pub(crate) const CHUNK_BYTES: usize = 250;

/// Time until an unacknowledged packet is sent again. All known clients and servers use it.
pub(crate) const RESEND_AFTER: Duration = Duration::from_secs(1);

/// Sends of one packet in all.
pub(crate) const SENDS_MAX: u8 = 3;

/// A data packet to put on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) sequence: u8,
    pub(crate) payload: Vec<u8>,
}

/// What the clock did to the outstanding packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    NotDue,
    Resend(Packet),
    GivenUp,
}

#[derive(Debug)]
struct Outstanding {
    packet: Packet,
    sends_left: u8,
    due: Duration,
}

/// Queue, sequence counter and outstanding packet.
#[derive(Debug)]
pub(crate) struct Transmitter {
    queue: VecDeque<u8>,
    queue_bytes_max: usize,
    sequence_next: u8,
    skip_255: bool,
    outstanding: Option<Outstanding>,
}

impl Transmitter {
    /// The first packet of a session has sequence number 1.
    pub(crate) fn new(queue_bytes_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            queue_bytes_max,
            sequence_next: 1,
            skip_255: true,
            outstanding: None,
        }
    }

    /// Queues as many of the first of `bytes` as fit, and returns how many these are.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room_bytes());
        self.queue.extend(&bytes[..count]);
        count
    }

    /// Bytes that still fit the queue.
    pub(crate) fn room_bytes(&self) -> usize {
        self.queue_bytes_max.saturating_sub(self.queue.len())
    }

    /// Forgets what is queued, but for the packet that is on its way.
    pub(crate) fn discard(&mut self) {
        self.queue.clear();
    }

    /// Nothing queued and nothing on its way.
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.outstanding.is_none()
    }

    /// The peer may be a new process: its memory of the last packet may hold 255, with which
    /// clients start, so the next packet must not have that number.
    pub(crate) fn peer_may_be_fresh(&mut self) {
        self.skip_255 = true;
    }

    /// The next packet of queued bytes, unless one is on its way or nothing is queued.
    pub(crate) fn start(&mut self, now: Duration) -> Option<Packet> {
        if self.outstanding.is_some() || self.queue.is_empty() {
            return None;
        }
        let count = self.queue.len().min(CHUNK_BYTES);
        let payload = self.queue.drain(..count).collect();
        Some(self.send(now, payload, SENDS_MAX))
    }

    /// A packet without bytes, unless another is on its way. It is sent `sends` times at most.
    pub(crate) fn start_empty(&mut self, now: Duration, sends: u8) -> Option<Packet> {
        if self.outstanding.is_some() {
            return None;
        }
        Some(self.send(now, Vec::new(), sends))
    }

    fn send(&mut self, now: Duration, payload: Vec<u8>, sends: u8) -> Packet {
        if self.skip_255 && self.sequence_next == 255 {
            self.sequence_next = 0;
        }
        self.skip_255 = false;
        let packet = Packet {
            sequence: self.sequence_next,
            payload,
        };
        self.sequence_next = self.sequence_next.wrapping_add(1);
        self.outstanding = Some(Outstanding {
            packet: packet.clone(),
            sends_left: sends.saturating_sub(1),
            due: now + RESEND_AFTER,
        });
        packet
    }

    /// The packet that is on its way, for sending it out of turn.
    pub(crate) fn outstanding(&self) -> Option<Packet> {
        self.outstanding.as_ref().map(|o| o.packet.clone())
    }

    /// Takes the acknowledgement of `sequence`; true if it was waited for.
    pub(crate) fn acknowledge(&mut self, sequence: u8) -> bool {
        let awaited = self
            .outstanding
            .take_if(|outstanding| outstanding.packet.sequence == sequence);
        awaited.is_some()
    }

    /// Resends or gives up the outstanding packet when its time has come.
    pub(crate) fn expire(&mut self, now: Duration) -> Expiry {
        let Some(outstanding) = self.outstanding.as_mut().filter(|o| o.due <= now) else {
            return Expiry::NotDue;
        };
        if outstanding.sends_left == 0 {
            self.outstanding = None;
            return Expiry::GivenUp;
        }
        outstanding.sends_left -= 1;
        outstanding.due = now + RESEND_AFTER;
        Expiry::Resend(outstanding.packet.clone())
    }

    /// When [`Transmitter::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.outstanding.as_ref().map(|outstanding| outstanding.due)
    }
}
