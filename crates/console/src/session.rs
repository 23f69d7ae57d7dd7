//! One console: a prompt, a line in, text out, and perhaps a question.

use crate::command::{self, Verb};
use crate::commands::{self, Outcome, Pending, Watch};
use crate::complete::{complete, help};
use crate::editor::keys::{Key, KeyReader};
use crate::host::{Caller, Role, World};
use crate::lexer;
use crate::names::shelf_name;
use crate::options::{Modes, SessionOptions};
use crate::problem::Problem;
use crate::protocol::{Prompt, PromptKind, Request, Response};
use crate::report::Report;
use crate::terminal::{Terminal, colored};
use std::time::Duration;

/// Begins a page: terminals are cleared, elsewhere it is left out.
pub const PAGE: char = '\u{c}';

/// The state of one console.
#[derive(Debug, Default)]
pub struct Session {
    options: SessionOptions,
    modes: Modes,
    open: Option<Open>,
    watched: Option<Watched>,
    terminal: Terminal,
    keys: KeyReader,
    is_unattended: bool,
}

/// The command that has the console's attention.
#[derive(Clone, Copy, Debug)]
struct Current {
    /// Whether it asked for JSON.
    json: bool,
    /// What its caller must be.
    needs: Role,
    name: &'static str,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Open {
    plan: Pending,
    of: Current,
}

/// A command that looks again after some time.
#[derive(Debug)]
struct Watched {
    watch: Watch,
    after: Duration,
    of: Current,
}

/// What comes back for a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Text to print; lines end in `\n`. Empty when there is nothing to say.
    pub output: String,
    /// Whether everything that was asked was done. A command that waits for an answer has not
    /// failed yet.
    pub ok: bool,
    /// What the session waits for.
    pub next: Next,
}

/// What a session waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// A command.
    Command,
    /// The answer to a question.
    Answer {
        /// The question, without line end.
        prompt: String,
        /// What is typed must not be seen, nor be kept anywhere.
        is_secret: bool,
    },
    /// Time: the command is not over. [`Session::go_on`] then, or [`Session::cancel`] when whoever waits is
    /// tired of it. A line ends it, too.
    Later {
        /// How long.
        after: Duration,
    },
    /// Time, or keys: what is shown fills the screen, and goes on by itself ([`Session::go_on`]) or as
    /// [`Session::keys`] say.
    Keys {
        /// How long.
        after: Duration,
    },
    /// Nothing: the session is over.
    End,
}

impl Session {
    /// A session without an open question.
    #[must_use]
    pub fn new(options: SessionOptions) -> Self {
        Self {
            options,
            modes: Modes::default(),
            open: None,
            watched: None,
            terminal: Terminal::default(),
            keys: KeyReader::default(),
            is_unattended: false,
        }
    }

    /// What is known of its terminal, and what its user wants.
    #[must_use]
    pub fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// What to print before reading the next line: the open question, or the command prompt, such
    /// as `SR shelf 1> ` or `SR shelf unset> `. Nothing while a command is not over.
    #[must_use]
    pub fn prompt(&self, world: &World<'_>) -> String {
        match (&self.open, &self.watched) {
            (Some(open), _) => open.plan.question(),
            (None, Some(_)) => String::new(),
            (None, None) if self.modes.expert => {
                format!("{} EXPERTMODE# ", world.host.settings().product)
            }
            (None, None) => Self::command_prompt(world).text,
        }
    }

    /// Takes one line: the answer if a question is open, else a command. The line has no line end.
    pub fn line(&mut self, world: &mut World<'_>, line: &str) -> Reply {
        self.watched = None;
        match self.open.take() {
            Some(Open { plan, of }) => {
                let outcome = match allowed(world.who, of) {
                    Ok(()) => plan.answer(world, line),
                    Err(problem) => Report::from(problem).into(),
                };
                self.reply(outcome, of, false)
            }
            None => self.command(world, line),
        }
    }

    /// Goes on with a command that is not over, after the time that it asked for. Without one this says and
    /// does nothing.
    pub fn go_on(&mut self, world: &mut World<'_>) -> Reply {
        match self.watched.take() {
            Some(Watched { watch, of, .. }) => {
                let outcome = match allowed(world.who, of) {
                    Ok(()) => watch.go_on(world, &self.options, &self.terminal),
                    Err(problem) => Report::from(problem).into(),
                };
                self.reply(outcome, of, false)
            }
            None => Reply::nothing(),
        }
    }

    /// Takes what was typed at a command that fills the screen; none shows it anew, as after a change of the
    /// size. Any other command that is not over is ended by it.
    pub fn keys(&mut self, world: &mut World<'_>, typed: &str) -> Reply {
        match self.watched.take() {
            Some(Watched {
                watch: Watch::Top(top),
                of,
                ..
            }) if top.is_screen() => {
                let keys: Vec<Key> = typed
                    .bytes()
                    .flat_map(|byte| self.keys.take(byte))
                    .collect();
                // A terminal behind the Ethernet tells its size as if that were a key.
                for key in &keys {
                    if let Key::Size { rows, columns } = *key {
                        (self.terminal.rows, self.terminal.columns) = (Some(rows), Some(columns));
                    }
                }
                let outcome = match allowed(world.who, of) {
                    Ok(()) => top.press(&keys, world, &self.terminal),
                    Err(problem) => Report::from(problem).into(),
                };
                self.reply(outcome, of, false)
            }
            watched => {
                self.watched = watched;
                self.cancel()
            }
        }
    }

    /// Drops the open question or the command that is not over, as Ctrl-C and the end of the input do. The
    /// plan is not carried out. Without either this says and does nothing.
    pub fn cancel(&mut self) -> Reply {
        let of = match (self.open.take(), self.watched.take()) {
            (Some(Open { of, .. }), _) => of,
            // That is how it ends.
            (None, Some(watched))
                if watched.watch.is_screen() || matches!(watched.watch, Watch::View(_)) =>
            {
                return Reply::nothing();
            }
            (None, Some(Watched { of, .. })) => of,
            (None, None) => return Reply::nothing(),
        };
        self.reply(Report::from(Problem::Canceled).into(), of, false)
    }

    /// Takes one request of the control socket. A command is never taken for an answer nor an answer
    /// for a command: either is refused, and a question that was open is canceled.
    pub fn request(&mut self, world: &mut World<'_>, request: &Request) -> Response {
        let asked = match request {
            Request::Complete { line, cursor } => {
                Some((String::new(), Some(complete(line, *cursor, world.admin))))
            }
            Request::Help(line) => Some((help(line, world.admin), None)),
            Request::Terminal {
                rows,
                columns,
                color,
                keyboard,
            } => {
                self.terminal.has_keyboard = *keyboard;
                self.terminal.rows = Some(*rows);
                self.terminal.columns = Some(*columns);
                self.terminal.has_color = *color;
                Some((String::new(), None))
            }
            Request::Unattended => {
                self.is_unattended = true;
                Some((String::new(), None))
            }
            // Whoever has events adds them.
            Request::Events => Some((String::new(), None)),
            _ => None,
        };
        if let Some((output, completion)) = asked {
            return Response {
                output,
                ok: true,
                prompt: self.prompt_for(self.next(false), world),
                completion,
            };
        }
        let reply = match (request, self.open.take()) {
            (Request::Line(line), None) => self.line(world, line),
            (Request::Answer(answer), Some(open)) => {
                self.open = Some(open);
                self.line(world, answer)
            }
            (Request::Answer(_), None) => {
                self.reply(Report::from(Problem::NoQuestion).into(), NONE, false)
            }
            (Request::Cancel, open) => {
                self.open = open;
                self.cancel()
            }
            (Request::Keys(typed), None) => self.keys(world, typed),
            (_, None) => self.go_on(world),
            (_, Some(Open { of, .. })) => {
                self.reply(Report::from(Problem::AnswerExpected).into(), of, false)
            }
        };
        let Reply { output, ok, next } = reply;
        Response {
            output,
            ok,
            prompt: self.prompt_for(next, world),
            completion: None,
        }
    }

    fn prompt_for(&self, next: Next, world: &World<'_>) -> Prompt {
        match next {
            Next::Command => Prompt::new(PromptKind::Command, self.prompt(world)),
            Next::Answer { prompt, is_secret } => {
                let kind = if is_secret {
                    PromptKind::Secret
                } else {
                    PromptKind::Answer
                };
                Prompt::new(kind, prompt)
            }
            Next::Later { after } => Prompt {
                after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
                ..Prompt::new(PromptKind::Later, String::new())
            },
            Next::Keys { after } => Prompt {
                after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
                ..Prompt::new(PromptKind::Keys, String::new())
            },
            Next::End => Prompt::new(PromptKind::End, String::new()),
        }
    }

    /// The prompt while no question is open, as the greeting of the control socket carries it.
    #[must_use]
    pub fn command_prompt(world: &World<'_>) -> Prompt {
        let shelf = shelf_name(world.admin.shelf());
        let product = &world.host.settings().product;
        Prompt::new(PromptKind::Command, format!("{product} shelf {shelf}> "))
    }

    fn command(&mut self, world: &mut World<'_>, line: &str) -> Reply {
        let mut of = Current {
            json: command::asks_for_json(line),
            ..NONE
        };
        let invocation = lexer::split(line)
            .map_err(Problem::from)
            .and_then(|words| command::parse(&words));
        let invocation = match invocation {
            Ok(None) => return Reply::nothing(),
            Ok(Some(invocation)) => invocation,
            Err(problem) => return self.reply(Report::from(problem).into(), of, false),
        };
        (of.needs, of.name) = (invocation.needs(), invocation.name);
        if let Err(problem) = allowed(world.who, of) {
            return self.reply(Report::from(problem).into(), of, false);
        }
        let outcome = match invocation.command.verb {
            Verb::Terminal | Verb::Events => {
                commands::terminal(&invocation, &mut self.terminal).into()
            }
            Verb::Top => {
                self.keys.reset();
                commands::top(&invocation, world, &self.terminal, of.json)
            }
            _ => commands::run(&invocation, world, &self.options, &mut self.modes),
        };
        let outcome = if self.is_unattended || self.modes.batch {
            outcome.without_consent(world)
        } else {
            outcome
        };
        let is_exit = invocation.command.verb == Verb::Exit;
        let end = is_exit && !std::mem::take(&mut self.modes.expert);
        self.reply(outcome, of, end)
    }

    /// Renders an outcome. JSON is one document for the whole command, after the last answer; a command that
    /// looks again has one for each time that it has something to say.
    fn reply(&mut self, outcome: Outcome, of: Current, end: bool) -> Reply {
        let Outcome {
            report,
            pending,
            watch,
        } = outcome;
        let is_silent = pending.is_some() || (watch.is_some() && report.is_empty());
        let mut output = match of.json {
            false => self.shown(&report, &watch),
            true if is_silent => String::new(),
            true => report.json(),
        };
        self.open = pending.map(|plan| Open { plan, of });
        self.watched = watch.map(|(after, watch)| Watched { watch, after, of });
        let next = self.next(end);
        if self.modes.batch && matches!(next, Next::Command | Next::End) {
            output.push_str(&match report.problem_count() {
                0 => "OK\n".to_owned(),
                count => format!("FAIL {count}\n"),
            });
        }
        Reply {
            output,
            ok: report.is_ok(),
            next,
        }
    }

    /// A report as text for its terminal. What is shown anew begins on a page of its own.
    fn shown(&self, report: &Report, watch: &Option<(Duration, Watch)>) -> String {
        let text = report.text();
        let text = if self.terminal.has_color {
            colored(&text)
        } else {
            text
        };
        match watch {
            Some((_, Watch::View(_))) => format!("{PAGE}{text}"),
            Some((_, Watch::Top(top))) if top.is_screen() => {
                let is_plain = !self.terminal.has_color;
                let text = if is_plain {
                    text
                } else {
                    top.emphasised(&text)
                };
                format!("{PAGE}{text}")
            }
            _ => text,
        }
    }

    /// What this waits for.
    fn next(&self, end: bool) -> Next {
        match (&self.open, &self.watched) {
            (Some(open), _) => Next::Answer {
                prompt: open.plan.question(),
                is_secret: open.plan.is_secret(),
            },
            (None, Some(watched)) => {
                let after = watched.after;
                if watched.watch.is_screen() {
                    Next::Keys { after }
                } else {
                    Next::Later { after }
                }
            }
            (None, None) if end => Next::End,
            (None, None) => Next::Command,
        }
    }
}

/// No command.
const NONE: Current = Current {
    json: false,
    needs: Role::Reader,
    name: "",
};

/// Whether a caller may use a command. This is the only place where that is asked.
fn allowed(who: &Caller, command: Current) -> Result<(), Problem> {
    if who.role >= command.needs {
        Ok(())
    } else {
        Err(Problem::NotAllowed(command.name, who.user.clone()))
    }
}

impl Reply {
    /// Nothing to say, and a command is waited for.
    fn nothing() -> Self {
        Self {
            output: String::new(),
            ok: true,
            next: Next::Command,
        }
    }
}
