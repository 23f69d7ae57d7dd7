//! All console sessions of a shelf.
//!
//! ```text
//!          Tinita                Tinitc or Tdata
//! (none) ---------> INITB ---------------------------> OPEN --> Treset, end of input,
//!    ^                | 3 x Tinitb unanswered             |      close(), 10 packets unanswered
//!    +----------------+-----------------------------------+
//! ```
//!
//! The owner feeds frames with [`Server::receive`], time with [`Server::tick`] (at
//! [`Server::deadline`] at the latest) and output with [`Server::output`], and after each call
//! takes all actions from [`Server::next_action`].
//!
//! Invariants:
//! * A session is known by (port, client MAC, connection tag); there are at most
//!   [`SESSIONS_MAX`]. When all are in use, another client takes the place of one that nobody has come into
//!   ([`Server::set_occupied`]), never of one that somebody works in.
//! * Each [`Action::Opened`] is followed by exactly one [`Action::Closed`] of the same session.
//! * Data is acknowledged before anything looks at it, and only if its session is known: the data
//!   of an unknown one is answered with an offer, upon which the client connects again and sends
//!   the same data again.
//! * To a station that a port does not admit it is as if it had no console.
//! * Treset is sent only to a host that has no other session here: Unix clients do not look at
//!   the tag, and one Treset ends all of them. Elsewhere the tag dies of silence.
//!
//! It does not know what a console says: echo, CR LF and log-in are its owner's.

mod limiter;
mod session;
#[cfg(test)]
mod tests;
mod types;

use crate::frame::{ConnectionTag, Frame, Kind};
use crate::offer::Identity;
use aoe::MacAddress;
use core::time::Duration;
use limiter::Limiter;
use session::{Fate, Session};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use session::OUTPUT_BYTES_MAX;
pub use types::{Action, Counters, Peer, PortIndex, SessionCounters, SessionGone, SessionId};

/// Sessions at once, on all ports together.
pub const SESSIONS_MAX: usize = 64;

/// Offers per second to one station that probes: far above what any client does, low enough that
/// a flood costs nothing.
const OFFERS_PER_S: u32 = 50;

/// One invitation to connect again in this time. A little below the client's resend interval of
/// 1 s, so that a lost invitation is repeated at the client's first resend.
const INVITATION_INTERVAL: Duration = Duration::from_millis(900);

/// How long a tag is neither acknowledged nor invited after its end: the client gives up after 3 s, or is
/// told the end again, which may have been lost the first time.
const DYING_TIME: Duration = Duration::from_secs(5);

/// A port that offers the console.
#[derive(Debug)]
struct Port {
    mac: MacAddress,
    /// The stations that are admitted; everybody if there is no list.
    admitted: Option<BTreeSet<MacAddress>>,
}

/// A session that the server has ended, for some time.
#[derive(Debug)]
struct Dying {
    peer: Peer,
    until: Duration,
}

/// All console sessions of a shelf.
#[derive(Debug)]
pub struct Server {
    identity: Identity,
    ports: BTreeMap<PortIndex, Port>,
    sessions: BTreeMap<SessionId, Session>,
    dying: VecDeque<Dying>,
    session_next: u64,
    offers: Limiter,
    invitations: Limiter,
    actions: VecDeque<Action>,
    counters: Counters,
}

impl Server {
    /// A server without ports.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            ports: BTreeMap::new(),
            sessions: BTreeMap::new(),
            dying: VecDeque::new(),
            session_next: 1,
            offers: Limiter::new(Duration::from_secs(1), OFFERS_PER_S),
            invitations: Limiter::new(INVITATION_INTERVAL, 1),
            actions: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Offers the console on `port`, whose address is `mac`, to everybody. Nothing is announced: an
    /// announcement would make every open Unix session of its segment connect again.
    pub fn attach(&mut self, port: PortIndex, mac: MacAddress) {
        let admitted = None;
        self.ports.insert(port, Port { mac, admitted });
    }

    /// From now on answers only these stations on `port`; others do not even get an acknowledgement.
    pub fn admit_only(&mut self, port: PortIndex, stations: BTreeSet<MacAddress>) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.admitted = Some(stations);
        }
    }

    /// From now on answers every station on `port` again.
    pub fn admit_all(&mut self, port: PortIndex) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.admitted = None;
        }
    }

    /// Offers the console on `port` no longer, and ends its sessions there and then.
    pub fn detach(&mut self, port: PortIndex) {
        self.ports.remove(&port);
        self.dying.retain(|dying| dying.peer.port != port);
        let on_port = |session: &(&SessionId, &Session)| session.1.peer.port == port;
        let ended: Vec<(SessionId, Action)> = self
            .sessions
            .iter()
            .filter(on_port)
            .map(|(id, session)| (*id, session.reset()))
            .collect();
        for (id, reset) in ended {
            self.actions.push_back(reset);
            self.free(id);
        }
    }

    /// Whether the console is offered on `port`.
    #[must_use]
    pub fn is_attached(&self, port: PortIndex) -> bool {
        self.ports.contains_key(&port)
    }

    /// Changes what probes are told. Nothing is announced: an announcement would make every open
    /// Unix session connect again.
    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// Takes a frame that arrived on `port`.
    pub fn receive(&mut self, now: Duration, port: PortIndex, bytes: &[u8]) {
        let Ok(frame) = Frame::parse(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        if frame.source.is_multicast() {
            self.counters.group_source += 1;
            return;
        }
        let to_all = frame.kind == Kind::Discover && frame.destination == MacAddress::BROADCAST;
        let addressed = |port: &&Port| to_all || frame.destination == port.mac;
        let Some(Port { mac, admitted }) = self.ports.get(&port).filter(addressed) else {
            self.counters.misaddressed += 1;
            return;
        };
        let mac = *mac;
        if admitted
            .as_ref()
            .is_some_and(|admitted| !admitted.contains(&frame.source))
        {
            self.counters.not_admitted += 1;
            return;
        }
        let peer = Peer {
            port,
            mac: frame.source,
            tag: frame.tag,
        };
        match frame.kind {
            Kind::Discover => self.answer_probe(now, peer, mac, frame.sequence),
            Kind::InitA => self.greet(now, peer, mac),
            Kind::InitC if self.find(&peer).is_none() => {}
            Kind::Reset => self.reset(&peer),
            Kind::InitC | Kind::Data | Kind::Ack => {
                self.receive_in_session(now, peer, mac, &frame);
            }
            Kind::InitB | Kind::Offer => self.counters.server_kind += 1,
            Kind::Unknown(_) => self.counters.unknown_kind += 1,
        }
    }

    /// Queues output and returns how many bytes of it were taken. If these are fewer than offered,
    /// an [`Action::Writable`] follows once half of the [`OUTPUT_BYTES_MAX`] is free.
    ///
    /// # Errors
    /// When the session has ended or is being closed.
    pub fn output(
        &mut self,
        now: Duration,
        session: SessionId,
        bytes: &[u8],
    ) -> Result<usize, SessionGone> {
        let accepted = self
            .sessions
            .get_mut(&session)
            .filter(|s| !s.closing)
            .ok_or(SessionGone(session))?
            .push_output(bytes);
        self.advance(now, session);
        Ok(accepted)
    }

    /// Tells whether a command runs in the session. While one does, the end of the client's input
    /// does not end the session. Call it before the next frame is fed.
    pub fn set_busy(&mut self, now: Duration, session: SessionId, busy: bool) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.busy = busy;
        }
        self.advance(now, session);
    }

    /// Tells whether somebody has come into the session, by a log-in or because none is asked for. While
    /// nobody has, it may be ended in favour of another one when all [`SESSIONS_MAX`] are in use.
    pub fn set_occupied(&mut self, session: SessionId, occupied: bool) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.occupied = occupied;
        }
    }

    /// Ends the session when all of its output has been delivered. [`Action::Closed`] follows then.
    pub fn close(&mut self, now: Duration, session: SessionId) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.closing = true;
        }
        self.advance(now, session);
    }

    /// Ends the session soon, whether or not its client reads: what is queued is forgotten, and
    /// `last_words` take its place.
    pub fn hang_up(&mut self, now: Duration, session: SessionId, last_words: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.discard_output();
            session.push_output(last_words);
            session.closing = true;
        }
        self.advance(now, session);
    }

    /// Does what has become due.
    pub fn tick(&mut self, now: Duration) {
        let due: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let fate = self
                .sessions
                .get_mut(&id)
                .map(|session| session.expire(now, &mut self.actions));
            if fate == Some(Fate::Dead) {
                self.free(id);
            } else {
                self.advance(now, id);
            }
        }
    }

    /// The time of the next needed [`Server::tick`], if any.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.sessions.values().filter_map(Session::deadline).min()
    }

    /// The next thing to do, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The open sessions: who, and how long ago the last frame came.
    pub fn sessions(&self, now: Duration) -> impl Iterator<Item = (SessionId, Peer, Duration)> {
        self.sessions
            .iter()
            .filter(|(_, session)| session.is_open())
            .map(move |(id, session)| (*id, session.peer, now.saturating_sub(session.heard_at())))
    }

    /// What has passed in a session.
    #[must_use]
    pub fn session_counters(&self, session: SessionId) -> Option<SessionCounters> {
        self.sessions.get(&session).map(Session::counters)
    }

    /// Frames that were dropped.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn find(&self, peer: &Peer) -> Option<SessionId> {
        self.sessions
            .iter()
            .find(|(_, session)| session.peer == *peer)
            .map(|(id, _)| *id)
    }

    /// Tdiscover. The number of the probe comes back in the offer, by which 9atom's clients tell
    /// an offer that somebody asked for from the invitation to connect again.
    fn answer_probe(&mut self, now: Duration, peer: Peer, mac: MacAddress, sequence: u8) {
        if self.offers.admit(now, peer.port, peer.mac) {
            self.send_offer(peer, mac, sequence);
        } else {
            self.counters.rate_limited += 1;
        }
    }

    fn send_offer(&mut self, peer: Peer, mac: MacAddress, sequence: u8) {
        let frame = Frame {
            destination: peer.mac,
            source: mac,
            kind: Kind::Offer,
            tag: ConnectionTag(0),
            sequence,
            payload: self.identity.payload(),
        };
        self.actions.push_back(Action::Transmit {
            port: peer.port,
            frame: frame.encode(),
        });
    }

    /// Tinita: another client connects, or a known one connects again.
    fn greet(&mut self, now: Duration, peer: Peer, mac: MacAddress) {
        self.dying.retain(|dying| dying.peer != peer);
        let id = match self.find(&peer) {
            Some(id) => id,
            None if self.sessions.len() >= SESSIONS_MAX && !self.displace(now) => {
                self.counters.sessions_exhausted += 1;
                return;
            }
            None => {
                let id = SessionId(self.session_next);
                self.session_next += 1;
                self.sessions.insert(id, Session::new(now, peer, mac));
                id
            }
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.heard(now);
            session.greet(now, &mut self.actions);
        }
    }

    /// Makes room at the cost of the oldest handshake that is not complete, or else of the oldest session
    /// that nobody has come into: whoever only ever connects keeps nobody out.
    fn displace(&mut self, now: Duration) -> bool {
        let oldest = |is_idle: fn(&Session) -> bool| {
            let found = self.sessions.iter().find(|(_, session)| is_idle(session));
            found.map(|(id, _)| *id)
        };
        let handshake = oldest(|session| !session.is_open());
        let Some(id) = handshake.or_else(|| oldest(|session| !session.occupied)) else {
            return false;
        };
        self.counters.displaced += 1;
        match handshake {
            Some(id) => self.free(id),
            None => self.end(now, id),
        }
        true
    }

    /// Treset: the client has left. It says so twice.
    fn reset(&mut self, peer: &Peer) {
        self.dying.retain(|dying| dying.peer != *peer);
        if let Some(id) = self.find(peer) {
            self.free(id);
        }
    }

    fn receive_in_session(
        &mut self,
        now: Duration,
        peer: Peer,
        mac: MacAddress,
        frame: &Frame<'_>,
    ) {
        let Some(id) = self.find(&peer) else {
            self.invite(now, peer, mac);
            return;
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.heard(now);
        // A client does not repeat a lost Tinitc; its data says as much.
        let opened = matches!(frame.kind, Kind::InitC | Kind::Data)
            && session.greeted(now, &mut self.actions);
        if opened {
            self.actions.push_back(Action::Opened { session: id, peer });
        }
        match frame.kind {
            Kind::Ack => session.take_ack(frame.sequence),
            Kind::Data if session.take_data(frame, &mut self.actions) => {
                let bytes = frame.payload.bytes();
                if !bytes.is_empty() && !session.closing {
                    self.actions.push_back(Action::Input {
                        session: id,
                        bytes: bytes.to_vec(),
                    });
                }
            }
            _ => {}
        }
        self.advance(now, id);
    }

    /// Data or an acknowledgement of a session that is not known here, perhaps from before a
    /// restart: invites the client to connect again. Not acknowledged, so nothing is lost. Whoever has
    /// missed that his session was ended is told so again.
    fn invite(&mut self, now: Duration, peer: Peer, mac: MacAddress) {
        self.dying.retain(|dying| now < dying.until);
        let is_dying = self.dying.iter().any(|dying| dying.peer == peer);
        if is_dying && self.sessions_beside(&peer).next().is_some() {
            return;
        }
        if !self.invitations.admit(now, peer.port, peer.mac) {
            self.counters.rate_limited += 1;
        } else if is_dying {
            self.actions.push_back(session::reset(peer, mac));
        } else {
            self.send_offer(peer, mac, 0);
        }
    }

    /// The sessions of a host on a port, which all end by one Treset if its clients are those of Unix.
    fn sessions_beside(&self, peer: &Peer) -> impl Iterator<Item = SessionId> {
        let is_beside = |other: &Peer| other.port == peer.port && other.mac == peer.mac;
        self.sessions
            .iter()
            .filter(move |(_, session)| is_beside(&session.peer))
            .map(|(id, _)| *id)
    }

    /// Sends what can be sent, and ends the session if it is done.
    fn advance(&mut self, now: Duration, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.transmit(now, &mut self.actions);
        if session.take_writable() {
            self.actions.push_back(Action::Writable { session: id });
        }
        // What the owner has not seen yet may still become a command.
        let unseen =
            |action: &Action| matches!(action, Action::Input { session, .. } if *session == id);
        if session.is_finished() && !self.actions.iter().any(unseen) {
            self.end(now, id);
        }
    }

    /// Ends a session and lets the client know.
    fn end(&mut self, now: Duration, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let peer = session.peer;
        let reset = session.reset();
        if self.sessions_beside(&peer).all(|other| other == id) {
            self.actions.push_back(reset);
        }
        self.free(id);
        self.dying.retain(|dying| now < dying.until);
        while self.dying.len() >= SESSIONS_MAX {
            self.dying.pop_front();
        }
        let until = now + DYING_TIME;
        self.dying.push_back(Dying { peer, until });
    }

    /// Forgets a session without a word to its client.
    fn free(&mut self, id: SessionId) {
        if self
            .sessions
            .remove(&id)
            .is_some_and(|session| session.is_open())
        {
            self.actions.push_back(Action::Closed { session: id });
        }
    }
}
