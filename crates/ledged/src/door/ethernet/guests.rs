//! Those who come in over the Ethernet: log-in, and the commands of those who have logged in.
//!
//! ```text
//!            several users      name            password right
//! (opened) ---------------> USER ----> PASSWORD --------------> IN ----> (closed)
//!     |                                 ^  | wrong: again, three times   | idle
//!     |  one user                       |  v then (closed)               |
//!     +---------------------------------+--+<----------------------------+
//!     |  nobody has a password: everybody is the administrator, and is told so
//!     +-----------------------------------------------------------> IN
//! ```
//!
//! Invariants: a password is compared by hashing it, outside of every lock, and is kept nowhere; whoever
//! has failed waits, by station ([`Lockout`]), however many sessions are opened meanwhile.

use super::{Done, Job, Message, Next};
use crate::door::accounts::ADMIN;
use crate::door::attended::Attended;
use crate::door::lockout::Lockout;
use crate::door::reception::Reception;
use crate::door::registry::Place;
use crate::host::Premises;
use aoe::{MacAddress, Shelf};
use cec::{Peer, SessionId};
use console::complete;
use console::editor::Mode;
use console::host::{Caller, DoorKind, Role};
use console::session;
use console::terminal::Terminal;
use crossbeam::channel::Receiver;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Wrong passwords after which a session is ended.
const ATTEMPTS_MAX: u32 = 3;

/// What is asked for. Tools for Coraid's shelves look for the word.
const PASSWORD: &str = "Password: ";

/// What is said at each log-in as long as it is true.
const OPEN: &str =
    "no password is set: whoever reaches this port is an administrator; set one with: passwd\n";

/// All of them.
pub(super) struct Guests {
    reception: Reception,
    premises: Premises,
    guests: BTreeMap<SessionId, Guest>,
    lockout: Lockout,
    start: Instant,
    shelf: Option<Shelf>,
}

struct Guest {
    mac: MacAddress,
    address: String,
    attempts: u32,
    seat: Seat,
}

/// How far somebody has come.
enum Seat {
    /// A name is asked for.
    User(Place),
    /// A password is asked for, of this user.
    Password(Place, String),
    /// In; with a password, if there are any.
    In {
        attended: Box<Attended>,
        by_password: bool,
    },
    /// Between two of them.
    Moving,
}

impl Guests {
    pub(super) fn new(reception: &Reception, premises: &Premises) -> Self {
        Self {
            reception: reception.clone(),
            premises: premises.clone(),
            guests: BTreeMap::new(),
            lockout: Lockout::default(),
            start: Instant::now(),
            shelf: premises.enter().admin().shelf(),
        }
    }

    /// Does one job after the other.
    pub(super) fn run(&mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            let (Job::Open(id, _)
            | Job::Line(id, _)
            | Job::GoOn(id)
            | Job::Keys(id, _)
            | Job::Cancel(id)
            | Job::Complete(id, ..)
            | Job::Help(id, _)
            | Job::Logout(id)
            | Job::Close(id)) = &job;
            let id = *id;
            if let Some(done) = self.job(id, job) {
                self.reception.cec.tell(Message::Done(id, done));
            }
            let shelf = self.premises.enter().admin().shelf();
            if shelf != self.shelf {
                self.shelf = shelf;
                self.reception.cec.tell(Message::Shelf(shelf));
            }
        }
    }

    /// `None` when nobody waits for the end of the job.
    fn job(&mut self, id: SessionId, job: Job) -> Option<Done> {
        match job {
            Job::Open(_, peer) => Some(self.open(id, peer)),
            Job::Close(_) => {
                self.reception.cec.note_console(id, None);
                if let Some(Guest {
                    seat: Seat::In { attended, .. },
                    ..
                }) = self.guests.remove(&id)
                {
                    attended.end_session("closed");
                }
                None
            }
            Job::Line(_, line) => self.line(id, &line),
            Job::Logout(_) => self.log_out(id),
            Job::Complete(_, line, cursor) => Some(Done::Completed({
                let entered = self.premises.enter();
                complete::complete(&line, cursor, entered.admin())
            })),
            Job::Help(_, line) => Some(Done::Helped({
                let entered = self.premises.enter();
                complete::help(&line, entered.admin())
            })),
            Job::GoOn(_) => {
                let guest = self.guests.get_mut(&id)?;
                let Seat::In { attended, .. } = &mut guest.seat else {
                    return self.ask(id, String::new());
                };
                let reply = attended.go_on(&self.premises);
                self.said(id, reply)
            }
            Job::Keys(_, typed) => {
                let guest = self.guests.get_mut(&id)?;
                let Seat::In { attended, .. } = &mut guest.seat else {
                    return self.ask(id, String::new());
                };
                let reply = attended.keys(&self.premises, &typed);
                self.said(id, reply)
            }
            Job::Cancel(_) => {
                let guest = self.guests.get_mut(&id)?;
                let Seat::In { attended, .. } = &mut guest.seat else {
                    return self.ask(id, String::new());
                };
                let reply = attended.cancel();
                self.said(id, reply)
            }
        }
    }

    fn open(&mut self, id: SessionId, peer: Peer) -> Done {
        let interface = self.reception.cec.interface(peer.port);
        let address = format!("{} tag {} on {interface}", peer.mac, peer.tag.0);
        let cec = self.reception.cec.clone();
        let tell = Box::new(move |told| cec.tell(Message::Told(id, told)));
        let place = self
            .reception
            .registry
            .enter(DoorKind::Ethernet, &address, tell);
        self.reception.cec.note_console(id, Some(place.id()));
        let guest = Guest {
            mac: peer.mac,
            address,
            attempts: 0,
            seat: Seat::User(place),
        };
        self.guests.insert(id, guest);
        if self.reception.accounts().is_open() {
            self.let_in(id, ADMIN, Role::Admin, false);
            return self.ask(id, OPEN.to_owned()).unwrap_or_else(nobody);
        }
        self.ask_for_log_in(id, String::new())
            .unwrap_or_else(nobody)
    }

    /// Lets somebody in whose place is in the seat.
    fn let_in(&mut self, id: SessionId, user: &str, role: Role, by_password: bool) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let place = match std::mem::replace(&mut guest.seat, Seat::Moving) {
            Seat::User(place) | Seat::Password(place, _) => place,
            other => {
                guest.seat = other;
                return;
            }
        };
        let who = Caller {
            user: user.to_owned(),
            role,
            door: DoorKind::Ethernet,
            address: guest.address.clone(),
        };
        let how = if by_password {
            "log-in"
        } else {
            "log-in, no password is set"
        };
        guest.attempts = 0;
        guest.seat = Seat::In {
            attended: Box::new(Attended::new(who, place, &self.reception, how)),
            by_password,
        };
    }

    fn line(&mut self, id: SessionId, line: &str) -> Option<Done> {
        let guest = self.guests.get_mut(&id)?;
        match std::mem::replace(&mut guest.seat, Seat::Moving) {
            Seat::User(place) => {
                let name = line.trim();
                let name = if name.is_empty() { ADMIN } else { name };
                guest.seat = Seat::Password(place, name.to_owned());
                self.ask(id, String::new())
            }
            Seat::Password(place, user) => {
                guest.seat = Seat::Password(place, user.clone());
                self.try_password(id, &user, line)
            }
            Seat::In {
                mut attended,
                by_password,
            } => {
                let reply = attended.line(&self.premises, line);
                guest.seat = Seat::In {
                    attended,
                    by_password,
                };
                self.said(id, reply)
            }
            Seat::Moving => None,
        }
    }

    fn try_password(&mut self, id: SessionId, user: &str, password: &str) -> Option<Done> {
        if password.is_empty() {
            return self.ask_for_log_in(id, String::new());
        }
        let now = self.start.elapsed();
        let guest = self.guests.get_mut(&id)?;
        let mac = guest.mac;
        let wait = self.lockout.wait(now, mac);
        if !wait.is_zero() {
            return self.ask_for_log_in(id, format!("wait {} s\n", seconds(wait)));
        }
        let check = self.reception.accounts().check(user);
        if let Some(role) = check.verify(password) {
            self.lockout.succeeded(mac);
            self.let_in(id, user, role, true);
            return self.ask(id, String::new());
        }
        let wait = self.lockout.failed(self.start.elapsed(), mac);
        let guest = self.guests.get_mut(&id)?;
        guest.attempts += 1;
        let attempts = guest.attempts;
        let place = guest.seat.place().map(Place::id);
        self.reception
            .note_refusal(place, user, &guest.address, "wrong name or password");
        tracing::warn!("cec: wrong name or password for {user} from {mac}");
        let mut output = "wrong name or password\n".to_owned();
        if wait > Duration::from_secs(1) {
            output.push_str(&format!("wait {} s\n", seconds(wait)));
        }
        if attempts >= ATTEMPTS_MAX {
            return Some(Done::Said {
                output,
                next: Next::End,
                is_locked: false,
                terminal: None,
            });
        }
        self.ask_for_log_in(id, output)
    }

    fn log_out(&mut self, id: SessionId) -> Option<Done> {
        let guest = self.guests.get_mut(&id)?;
        match std::mem::replace(&mut guest.seat, Seat::Moving) {
            Seat::In { attended, .. } => {
                guest.seat = Seat::User(attended.leave("idle for too long"));
                self.ask_for_log_in(id, "\nidle for too long: logged out\n".to_owned())
            }
            // Whoever does not even log in takes a place that somebody else may need.
            other => {
                guest.seat = other;
                Some(Done::Said {
                    output: "\nnobody has logged in\n".to_owned(),
                    next: Next::End,
                    is_locked: false,
                    terminal: None,
                })
            }
        }
    }

    /// Begins the log-in, or begins it again.
    fn ask_for_log_in(&mut self, id: SessionId, output: String) -> Option<Done> {
        let asks_for_name = self.reception.accounts().has_several();
        let guest = self.guests.get_mut(&id)?;
        guest.seat = match std::mem::replace(&mut guest.seat, Seat::Moving) {
            Seat::User(place) | Seat::Password(place, _) if asks_for_name => Seat::User(place),
            Seat::User(place) | Seat::Password(place, _) => Seat::Password(place, ADMIN.to_owned()),
            other => other,
        };
        self.ask(id, output)
    }

    /// What is waited for now.
    fn ask(&mut self, id: SessionId, output: String) -> Option<Done> {
        let guest = self.guests.get_mut(&id)?;
        let (prompt, mode, is_locked) = match &guest.seat {
            Seat::User(_) => (format!("User [{ADMIN}]: "), Mode::Answer, true),
            Seat::Password(..) => (PASSWORD.to_owned(), Mode::Secret, true),
            Seat::In {
                attended,
                by_password,
            } => {
                let mode = match (attended.asks(), attended.asks_for_secret()) {
                    (_, true) => Mode::Secret,
                    (true, _) => Mode::Answer,
                    _ => Mode::Command,
                };
                let mut entered = self.premises.enter();
                let prompt = attended.prompt(&entered.world(attended.who()));
                (prompt, mode, *by_password)
            }
            Seat::Moving => return None,
        };
        let next = Next::Line { prompt, mode };
        let terminal = guest.seat.terminal();
        Some(Done::Said {
            output,
            next,
            is_locked,
            terminal,
        })
    }

    fn said(&mut self, id: SessionId, reply: session::Reply) -> Option<Done> {
        let next = match reply.next {
            session::Next::Later { after } => Next::Later(after),
            session::Next::Keys { after } => Next::Keys(after),
            session::Next::End => Next::End,
            session::Next::Command | session::Next::Answer { .. } => {
                return self.ask(id, reply.output);
            }
        };
        Some(Done::Said {
            output: reply.output,
            next,
            is_locked: false,
            terminal: self.guests.get(&id)?.seat.terminal(),
        })
    }
}

impl Seat {
    fn place(&self) -> Option<&Place> {
        match self {
            Self::User(place) | Self::Password(place, _) => Some(place),
            Self::In { .. } | Self::Moving => None,
        }
    }

    /// How the terminal of somebody who has come in is to be used.
    fn terminal(&self) -> Option<Terminal> {
        match self {
            Self::In { attended, .. } => Some(attended.terminal()),
            Self::User(_) | Self::Password(..) | Self::Moving => None,
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// The session has gone meanwhile.
fn nobody() -> Done {
    Done::Said {
        output: String::new(),
        next: Next::End,
        is_locked: false,
        terminal: None,
    }
}
