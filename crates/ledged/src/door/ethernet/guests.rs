//! Those who come in over the Ethernet: log-in ([`console::login`]), and the commands of those who have
//! logged in.
//!
//! ```text
//! (opened) ----> OUT ----> IN ----> (closed)
//!                 ^        | idle
//!                 +--------+
//! ```
//!
//! Invariants: a password is compared by hashing it, outside of every lock, and is kept nowhere; whoever
//! has failed waits, by station ([`Lockout`]), however many sessions are opened meanwhile.

use super::{Done, Job, Message, Next};
use crate::door::attended::Attended;
use crate::door::reception::Reception;
use crate::door::registry::Place;
use crate::host::Premises;
use aoe::{MacAddress, Shelf};
use cec::{Peer, SessionId};
use console::complete;
use console::editor::Mode;
use console::host::{Caller, DoorKind, Role};
use console::login::{Lockout, Login, Step};
use console::session;
use console::terminal::Terminal;
use crossbeam::channel::Receiver;
use std::collections::BTreeMap;
use std::time::Instant;

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
    seat: Seat,
}

/// How far somebody has come.
enum Seat {
    /// Not in.
    Out(Place, Login),
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
        let mut login = Login::new(peer.mac);
        let step = login.begin(String::new(), self.reception.accounts().standing());
        let guest = Guest {
            mac: peer.mac,
            address,
            seat: Seat::Out(place, login),
        };
        self.guests.insert(id, guest);
        self.step(id, step).unwrap_or_else(nobody)
    }

    /// Lets somebody in whose place is in the seat.
    fn let_in(&mut self, id: SessionId, user: &str, role: Role, by_password: bool) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let place = match std::mem::replace(&mut guest.seat, Seat::Moving) {
            Seat::Out(place, _) => place,
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
        guest.seat = Seat::In {
            attended: Box::new(Attended::new(who, place, &self.reception, how)),
            by_password,
        };
    }

    fn line(&mut self, id: SessionId, line: &str) -> Option<Done> {
        let guest = self.guests.get_mut(&id)?;
        match &mut guest.seat {
            Seat::Out(_, login) => {
                let standing = self.reception.accounts().standing();
                let step = login.line(self.start.elapsed(), &self.lockout, line, standing);
                match step {
                    Step::Check { user } => self.try_password(id, &user, line),
                    step => self.step(id, step),
                }
            }
            Seat::In { attended, .. } => {
                let reply = attended.line(&self.premises, line);
                self.said(id, reply)
            }
            Seat::Moving => None,
        }
    }

    fn try_password(&mut self, id: SessionId, user: &str, password: &str) -> Option<Done> {
        let check = self.reception.accounts().check(user);
        let role = check.verify(password);
        let standing = self.reception.accounts().standing();
        let guest = self.guests.get_mut(&id)?;
        let Seat::Out(place, login) = &mut guest.seat else {
            return None;
        };
        if role.is_none() {
            let mac = guest.mac;
            self.reception.note_refusal(
                Some(place.id()),
                user,
                &guest.address,
                "wrong name or password",
            );
            tracing::warn!("cec: wrong name or password for {user} from {mac}");
        }
        // The check has taken a while: the waiting begins now.
        let step = login.checked(self.start.elapsed(), &mut self.lockout, role, standing);
        self.step(id, step)
    }

    /// Does what the log-in says.
    fn step(&mut self, id: SessionId, step: Step) -> Option<Done> {
        match step {
            Step::Ask {
                output,
                prompt,
                mode,
            } => Some(Done::Said {
                output,
                next: Next::Line { prompt, mode },
                is_locked: true,
                terminal: None,
            }),
            Step::In {
                output,
                user,
                role,
                by_password,
            } => {
                self.let_in(id, &user, role, by_password);
                self.ask(id, output)
            }
            Step::End { output } => Some(Done::Said {
                output,
                next: Next::End,
                is_locked: false,
                terminal: None,
            }),
            // Only a line leads there, and is checked where it came in.
            Step::Check { .. } => None,
        }
    }

    fn log_out(&mut self, id: SessionId) -> Option<Done> {
        let guest = self.guests.get_mut(&id)?;
        match std::mem::replace(&mut guest.seat, Seat::Moving) {
            Seat::In { attended, .. } => {
                let place = attended.leave("idle for too long");
                let mut login = Login::new(guest.mac);
                let output = "\nidle for too long: logged out\n".to_owned();
                let step = login.begin(output, self.reception.accounts().standing());
                guest.seat = Seat::Out(place, login);
                self.step(id, step)
            }
            // Whoever does not even log in takes a place that somebody else may need.
            other => {
                guest.seat = other;
                let output = "\nnobody has logged in\n".to_owned();
                self.step(id, Step::End { output })
            }
        }
    }

    /// What is waited for now.
    fn ask(&mut self, id: SessionId, output: String) -> Option<Done> {
        let guest = self.guests.get_mut(&id)?;
        let (attended, is_locked) = match &guest.seat {
            Seat::Out(_, login) => {
                let step = login.ask(output);
                return self.step(id, step);
            }
            Seat::In {
                attended,
                by_password,
            } => (attended, *by_password),
            Seat::Moving => return None,
        };
        let mode = match (attended.asks(), attended.asks_for_secret()) {
            (_, true) => Mode::Secret,
            (true, _) => Mode::Answer,
            _ => Mode::Command,
        };
        let prompt = {
            let mut entered = self.premises.enter();
            attended.prompt(&entered.world(attended.who()))
        };
        Some(Done::Said {
            output,
            next: Next::Line { prompt, mode },
            is_locked,
            terminal: guest.seat.terminal(),
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
    /// How the terminal of somebody who has come in is to be used.
    fn terminal(&self) -> Option<Terminal> {
        match self {
            Self::In { attended, .. } => Some(attended.terminal()),
            Self::Out(..) | Self::Moving => None,
        }
    }
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
