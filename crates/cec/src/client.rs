//! One console session from the terminal's side.
//!
//! ```text
//! CONNECTING --Tinitb--> OPEN --Treset--> over
//!      |                  |  ^
//!      | 3 x Tinita       |  | Tinitb
//!      v unanswered       v  |
//!     over             CONNECTING AGAIN  (the shelf invited us to: it has restarted)
//! ```
//!
//! Invariants:
//! * Every data packet is acknowledged, a repeated one again: the first acknowledgement was lost.
//! * Only frames from the chosen port of the shelf and with the tag of this session count.
//! * Connecting again keeps the sequence counters and the unacknowledged packet, so that a byte
//!   typed while the shelf was away arrives.

use crate::frame::{ConnectionTag, Frame, Kind, Payload};
use crate::transmitter::{Expiry, Packet, SENDS_MAX, Transmitter};
use aoe::MacAddress;
use core::time::Duration;
use std::collections::VecDeque;

/// Input that the session holds before its owner has to wait, in bytes.
pub const INPUT_BYTES_MAX: usize = 4096;

/// Zero-length packets that go out at once at the end of input: a server that knows batch input
/// ends the session after 8.
const END_OF_INPUT_PACKETS: u8 = 8;

/// Later ones, which also tell whether the server still lives, go out in this interval.
const END_OF_INPUT_INTERVAL: Duration = Duration::from_secs(1);

/// A server that does not know the end of input is left when it has said nothing for so long.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server ended it.
    Reset,
    /// The owner asked for it.
    Left,
    /// All input was delivered and the server had no more to say, or fell silent.
    Finished,
    /// The server did not answer the wish to connect.
    ConnectFailed,
    /// The server acknowledged none of the sends of a packet.
    TimedOut,
}

/// What the owner of the client has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Send a whole Ethernet frame.
    Transmit(Vec<u8>),
    /// The session is open.
    Opened,
    /// The shelf says something.
    Output(Vec<u8>),
    /// The session is over; nothing follows.
    Closed(Ending),
}

#[derive(Debug)]
struct Handshake {
    sends_left: u8,
    due: Duration,
}

/// One session with one port of a shelf.
#[derive(Debug)]
pub struct Client {
    mac: MacAddress,
    server: MacAddress,
    tag: ConnectionTag,
    handshake_interval: Duration,
    handshake: Option<Handshake>,
    open: bool,
    over: bool,
    received_last: Option<u8>,
    transmitter: Transmitter,
    end_of_input: Option<EndOfInput>,
    /// The server has sent a packet without bytes. Such servers check whether their clients live,
    /// and end a session at the end of input by themselves.
    server_ends_sessions: bool,
    actions: VecDeque<ClientAction>,
}

#[derive(Debug)]
struct EndOfInput {
    packets_at_once: u8,
    next_packet: Duration,
    quiet_at: Duration,
}

impl Client {
    /// Connects from the interface with address `mac` to the shelf's port `server`. Three attempts
    /// share the time `wait`.
    #[must_use]
    pub fn connect(
        now: Duration,
        mac: MacAddress,
        server: MacAddress,
        tag: ConnectionTag,
        wait: Duration,
    ) -> Self {
        let mut client = Self {
            mac,
            server,
            tag,
            handshake_interval: wait / u32::from(SENDS_MAX),
            handshake: None,
            open: false,
            over: false,
            received_last: None,
            transmitter: Transmitter::new(INPUT_BYTES_MAX),
            end_of_input: None,
            server_ends_sessions: false,
            actions: VecDeque::new(),
        };
        client.begin_handshake(now);
        client
    }

    /// Takes a received frame. Those of others are ignored.
    pub fn receive(&mut self, now: Duration, bytes: &[u8]) {
        let Ok(frame) = Frame::parse(bytes) else {
            return;
        };
        if self.over || frame.source != self.server {
            return;
        }
        if frame.kind == Kind::Offer {
            // Other numbers belong to the answer to somebody's probe. An invitation that arrives
            // during a handshake asks for what is under way.
            if frame.sequence == 0 && self.open && self.handshake.is_none() {
                self.begin_handshake(now);
            }
            return;
        }
        if frame.destination != self.mac || frame.tag != self.tag {
            return;
        }
        match frame.kind {
            Kind::InitB => self.complete_handshake(frame.sequence),
            Kind::Data if self.open => self.take_data(now, &frame),
            Kind::Ack => self.take_ack(now, frame.sequence),
            Kind::Reset => self.end(Ending::Reset),
            _ => {}
        }
        self.advance(now);
    }

    /// Queues input and returns how many bytes of it were taken: up to [`Client::room_bytes`].
    pub fn input(&mut self, now: Duration, bytes: &[u8]) -> usize {
        let accepted = self.transmitter.push(bytes);
        self.advance(now);
        accepted
    }

    /// Input that can be queued now, in bytes.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.transmitter.room_bytes()
    }

    /// All input so far has arrived.
    #[must_use]
    pub fn is_input_delivered(&self) -> bool {
        self.transmitter.is_drained()
    }

    /// No input will follow: the session ends when the shelf has answered all of it.
    pub fn finish_input(&mut self, now: Duration) {
        self.end_of_input.get_or_insert(EndOfInput {
            packets_at_once: END_OF_INPUT_PACKETS,
            next_packet: now,
            quiet_at: now + QUIET_TIME,
        });
        self.advance(now);
    }

    /// Ends the session now.
    pub fn leave(&mut self) {
        self.end(Ending::Left);
    }

    /// Does what has become due.
    pub fn tick(&mut self, now: Duration) {
        if let Some(handshake) = self.handshake.as_mut().filter(|h| h.due <= now) {
            if handshake.sends_left == 0 {
                let ending = if self.open {
                    Ending::TimedOut
                } else {
                    Ending::ConnectFailed
                };
                self.end(ending);
                return;
            }
            handshake.sends_left -= 1;
            handshake.due = now + self.handshake_interval;
            self.transmit(Kind::InitA, 0, &[]);
        }
        match self.transmitter.expire(now) {
            Expiry::NotDue => {}
            Expiry::Resend(packet) => self.transmit_data(&packet),
            Expiry::GivenUp => self.end(if self.is_end_of_input_told() {
                // Beside another session of this host, a server ends one by silence alone.
                Ending::Finished
            } else {
                Ending::TimedOut
            }),
        }
        self.advance(now);
    }

    /// The time of the next needed [`Client::tick`], if any.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.over {
            return None;
        }
        let handshake = self.handshake.as_ref().map(|handshake| handshake.due);
        let end_of_input = self
            .end_of_input
            .as_ref()
            .filter(|_| self.open && self.handshake.is_none() && self.transmitter.is_drained())
            .map(|end| match self.server_ends_sessions {
                true => end.next_packet,
                false => end.next_packet.min(end.quiet_at),
            });
        [handshake, self.transmitter.deadline(), end_of_input]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<ClientAction> {
        self.actions.pop_front()
    }

    fn begin_handshake(&mut self, now: Duration) {
        self.handshake = Some(Handshake {
            sends_left: SENDS_MAX - 1,
            due: now + self.handshake_interval,
        });
        self.transmit(Kind::InitA, 0, &[]);
    }

    /// Tinitb. One that comes again means that our Tinitc was lost.
    fn complete_handshake(&mut self, sequence: u8) {
        self.transmit(Kind::InitC, sequence, &[]);
        if self.handshake.take().is_none() {
            return;
        }
        if !self.open {
            self.open = true;
            self.actions.push_back(ClientAction::Opened);
        } else if let Some(packet) = self.transmitter.outstanding() {
            self.transmit_data(&packet);
        }
    }

    fn take_data(&mut self, now: Duration, frame: &Frame<'_>) {
        self.transmit(Kind::Ack, frame.sequence, &[]);
        let bytes = frame.payload.bytes();
        if bytes.is_empty() {
            self.server_ends_sessions = true;
        } else if let Some(end) = &mut self.end_of_input {
            end.quiet_at = now + QUIET_TIME;
        }
        let repeated = self.received_last.replace(frame.sequence) == Some(frame.sequence);
        if !repeated && !bytes.is_empty() {
            self.actions.push_back(ClientAction::Output(bytes.to_vec()));
        }
    }

    fn take_ack(&mut self, now: Duration, sequence: u8) {
        self.transmitter.acknowledge(sequence);
        if !self.is_end_of_input_told()
            && let Some(end) = &mut self.end_of_input
        {
            end.quiet_at = now + QUIET_TIME;
        }
    }

    /// Whether the server has been sent packets without bytes, which follow all input.
    fn is_end_of_input_told(&self) -> bool {
        self.end_of_input
            .as_ref()
            .is_some_and(|end| end.packets_at_once < END_OF_INPUT_PACKETS)
    }

    /// Sends the next packet if one can go.
    fn advance(&mut self, now: Duration) {
        if self.over || !self.open || self.handshake.is_some() {
            return;
        }
        let packet = self
            .transmitter
            .start(now)
            .or_else(|| self.tell_end_of_input(now));
        if let Some(packet) = packet {
            self.transmit_data(&packet);
        }
    }

    fn tell_end_of_input(&mut self, now: Duration) -> Option<Packet> {
        let end = self.end_of_input.as_mut()?;
        if !self.transmitter.is_drained() {
            return None;
        }
        if !self.server_ends_sessions && end.quiet_at <= now {
            self.end(Ending::Finished);
            return None;
        }
        if end.packets_at_once == 0 && now < end.next_packet {
            return None;
        }
        end.packets_at_once = end.packets_at_once.saturating_sub(1);
        end.next_packet = now + END_OF_INPUT_INTERVAL;
        self.transmitter.start_empty(now, SENDS_MAX)
    }

    fn end(&mut self, ending: Ending) {
        if self.over {
            return;
        }
        self.over = true;
        if ending != Ending::Reset && self.open {
            // Twice, because nobody acknowledges it.
            self.transmit(Kind::Reset, 0, &[]);
            self.transmit(Kind::Reset, 0, &[]);
        }
        self.actions.push_back(ClientAction::Closed(ending));
    }

    fn transmit_data(&mut self, packet: &Packet) {
        self.transmit(Kind::Data, packet.sequence, &packet.payload);
    }

    fn transmit(&mut self, kind: Kind, sequence: u8, payload: &[u8]) {
        let frame = Frame {
            destination: self.server,
            source: self.mac,
            kind,
            tag: self.tag,
            sequence,
            payload: Payload::prefix_of(payload),
        };
        self.actions
            .push_back(ClientAction::Transmit(frame.encode()));
    }
}
