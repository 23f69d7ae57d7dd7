//! A console with somebody at it: every command is run, shown in the table of consoles while it runs, and
//! noted in the log with its answers and its result when it is over.
//!
//! Invariant: what was typed in answer to a question for a secret is never noted; neither is what somebody
//! has put on the line of a command that takes no secret there.

use super::reception::{Deed, Reception};
use super::registry::Place;
use crate::host::Premises;
use console::host::{Caller, EntryKind, World};
use console::protocol::{PromptKind, Request, Response};
use console::session::{Next, Reply, Session};
use console::terminal::Terminal;

/// Characters of an error that are noted.
const RESULT_CHARS_MAX: usize = 200;

/// A console with somebody at it.
pub(crate) struct Attended {
    session: Session,
    who: Caller,
    place: Place,
    reception: Reception,
    /// The command that is not over.
    open: Option<Deed>,
    asks_for_secret: bool,
}

/// Whether a command is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    Over,
    Asks { is_secret: bool },
    Later,
}

impl Attended {
    /// Somebody has come in.
    pub(crate) fn new(who: Caller, place: Place, reception: &Reception, how: &str) -> Self {
        place.set_user(Some((who.user.clone(), who.role)));
        let deed = Deed {
            text: how.to_owned(),
            ok: true,
            ..Deed::default()
        };
        reception.note(EntryKind::Login, place.id(), &who, deed);
        Self {
            session: Session::new(super::session_options()),
            who,
            place,
            reception: reception.clone(),
            open: None,
            asks_for_secret: false,
        }
    }

    /// Who it is.
    pub(crate) fn who(&self) -> &Caller {
        &self.who
    }

    /// Takes a line.
    pub(crate) fn line(&mut self, premises: &Premises, line: &str) -> Reply {
        self.begin(line, self.open.is_some());
        let reply = self
            .session
            .line(&mut premises.enter().world(&self.who), line);
        self.end(&reply.output, reply.ok, stand(&reply.next));
        reply
    }

    /// Goes on with a command that is not over.
    pub(crate) fn go_on(&mut self, premises: &Premises) -> Reply {
        let reply = self.session.go_on(&mut premises.enter().world(&self.who));
        self.end(&reply.output, reply.ok, stand(&reply.next));
        reply
    }

    /// Takes what was typed at a command that fills the screen.
    pub(crate) fn keys(&mut self, premises: &Premises, typed: &str) -> Reply {
        self.place.typed();
        let reply = self
            .session
            .keys(&mut premises.enter().world(&self.who), typed);
        self.end(&reply.output, reply.ok, stand(&reply.next));
        reply
    }

    /// Drops the open question, or the command that is not over.
    pub(crate) fn cancel(&mut self) -> Reply {
        let reply = self.session.cancel();
        self.end(&reply.output, reply.ok, stand(&reply.next));
        reply
    }

    /// Takes a request of the control socket.
    pub(crate) fn request(&mut self, premises: &Premises, request: &Request) -> Response {
        match request {
            Request::Line(line) => self.begin(line, false),
            Request::Answer(line) => self.begin(line, true),
            // What a terminal asks by itself is no sign of life of its user.
            Request::Complete { .. }
            | Request::Help(_)
            | Request::Terminal { .. }
            | Request::Unattended
            | Request::Events => {}
            Request::Keys(_) => self.place.typed(),
            Request::GoOn | Request::Cancel => {}
        }
        let response = {
            let mut entered = premises.enter();
            self.session.request(&mut entered.world(&self.who), request)
        };
        let stand = match response.prompt.kind {
            PromptKind::Answer => Stand::Asks { is_secret: false },
            PromptKind::Secret => Stand::Asks { is_secret: true },
            PromptKind::Later | PromptKind::Keys => Stand::Later,
            PromptKind::Command | PromptKind::End => Stand::Over,
        };
        self.end(&response.output, response.ok, stand);
        response
    }

    /// What to print before the next line.
    pub(crate) fn prompt(&self, world: &World<'_>) -> String {
        self.session.prompt(world)
    }

    /// How its terminal is to be used.
    pub(crate) fn terminal(&self) -> Terminal {
        self.session.terminal()
    }

    /// Whether the next line must not be seen.
    pub(crate) fn asks_for_secret(&self) -> bool {
        self.asks_for_secret
    }

    /// Whether a question is open.
    pub(crate) fn asks(&self) -> bool {
        self.open.is_some()
    }

    /// Leaves, and gives the place free for the next one.
    pub(crate) fn leave(mut self, how: &str) -> Place {
        self.drop_open();
        self.note_leave(how);
        self.place.set_user(None);
        self.place
    }

    /// Leaves for good.
    pub(crate) fn end_session(mut self, how: &str) {
        self.drop_open();
        self.note_leave(how);
    }

    fn note_leave(&self, how: &str) {
        let deed = Deed {
            text: how.to_owned(),
            ok: true,
            ..Deed::default()
        };
        self.reception
            .note(EntryKind::Logout, self.place.id(), &self.who, deed);
    }

    /// A question that nobody answers any more is answered no.
    fn drop_open(&mut self) {
        if self.open.is_some() {
            drop(self.cancel());
        }
    }

    fn begin(&mut self, line: &str, is_answer: bool) {
        self.place.typed();
        match &mut self.open {
            Some(_) if self.asks_for_secret => {}
            Some(open) if is_answer => open.answers.push(line.to_owned()),
            _ if line.trim().is_empty() => {}
            _ => {
                let text = without_secrets(line);
                self.place.set_running(Some(text.clone()));
                self.open = Some(Deed {
                    text,
                    ..Deed::default()
                });
            }
        }
    }

    fn end(&mut self, output: &str, ok: bool, stand: Stand) {
        self.asks_for_secret = stand == Stand::Asks { is_secret: true };
        if stand != Stand::Over {
            return;
        }
        self.place.set_running(None);
        let Some(mut deed) = self.open.take() else {
            return;
        };
        deed.ok = ok;
        if !ok {
            let last = output
                .lines()
                .rev()
                .find(|line| !line.starts_with("skipping: "));
            deed.result = last.unwrap_or("").chars().take(RESULT_CHARS_MAX).collect();
        }
        self.reception
            .note(EntryKind::Command, self.place.id(), &self.who, deed);
    }
}

fn stand(next: &Next) -> Stand {
    match next {
        Next::Answer { is_secret, .. } => Stand::Asks {
            is_secret: *is_secret,
        },
        Next::Later { .. } | Next::Keys { .. } => Stand::Later,
        Next::Command | Next::End => Stand::Over,
    }
}

/// A command line as it is noted: whoever has typed a password behind `passwd` finds it nowhere.
fn without_secrets(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [command @ ("passwd" | "/passwd"), user, _, ..] => format!("{command} {user} ..."),
        _ => line.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn a_password_on_the_command_line_is_not_noted() {
        assert_eq!(without_secrets("passwd ann hunter22"), "passwd ann ...");
        assert_eq!(without_secrets(" passwd ann "), "passwd ann");
        assert_eq!(without_secrets("remove 0 1 2"), "remove 0 1 2");
    }
}
