//! One console: a prompt, a line in, text out, and perhaps a question.

use crate::command;
use crate::commands::{self, Outcome, Pending};
use crate::lexer;
use crate::names::shelf_name;
use crate::options::SessionOptions;
use crate::problem::Problem;
use crate::protocol::{Prompt, PromptKind, Request, Response};
use crate::report::Report;
use shelf::admin::Admin;

/// The state of one console.
#[derive(Debug, Default)]
pub struct Session {
    options: SessionOptions,
    open: Option<Open>,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Open {
    plan: Pending,
    /// Whether the command asked for JSON.
    json: bool,
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
            open: None,
        }
    }

    /// What to print before reading the next line: the open question, or the command prompt, such
    /// as `SR shelf 1> ` or `SR shelf unset> `.
    #[must_use]
    pub fn prompt(&self, admin: &dyn Admin) -> String {
        match &self.open {
            Some(open) => open.plan.question(),
            None => format!(
                "{} shelf {}> ",
                self.options.product,
                shelf_name(admin.shelf())
            ),
        }
    }

    /// Takes one line: the answer if a question is open, else a command. The line has no line end.
    pub fn line(&mut self, admin: &mut dyn Admin, line: &str) -> Reply {
        match self.open.take() {
            Some(Open { plan, json }) => {
                let outcome = plan.answer(admin, line);
                self.reply(outcome, json, false)
            }
            None => self.command(admin, line),
        }
    }

    /// Drops the open question, as Ctrl-C and the end of the input do. The plan is not carried out.
    /// Without a question this says and does nothing.
    pub fn cancel(&mut self) -> Reply {
        match self.open.take() {
            Some(open) => self.reply(Report::from(Problem::Canceled).into(), open.json, false),
            None => Reply {
                output: String::new(),
                ok: true,
                next: Next::Command,
            },
        }
    }

    /// Takes one request of the control socket. A command is never taken for an answer nor an answer
    /// for a command: either is refused, and a question that was open is canceled.
    pub fn request(&mut self, admin: &mut dyn Admin, request: &Request) -> Response {
        let reply = match (request, self.open.take()) {
            (Request::Line(line), None) => self.command(admin, line),
            (Request::Answer(answer), Some(open)) => {
                self.open = Some(open);
                self.line(admin, answer)
            }
            (Request::Line(_), Some(open)) => self.reply(
                Report::from(Problem::AnswerExpected).into(),
                open.json,
                false,
            ),
            (Request::Answer(_), None) => {
                self.reply(Report::from(Problem::NoQuestion).into(), false, false)
            }
        };
        let Reply { output, ok, next } = reply;
        let prompt = match next {
            Next::Command => self.command_prompt(admin),
            Next::Answer { prompt } => Prompt {
                kind: PromptKind::Answer,
                text: prompt,
            },
            Next::End => Prompt {
                kind: PromptKind::End,
                text: String::new(),
            },
        };
        Response { output, ok, prompt }
    }

    /// The prompt of the control socket while no question is open, as the greeting carries it.
    #[must_use]
    pub fn command_prompt(&self, admin: &dyn Admin) -> Prompt {
        let shelf = shelf_name(admin.shelf());
        let text = format!("{} shelf {shelf}> ", self.options.product);
        Prompt {
            kind: PromptKind::Command,
            text,
        }
    }

    fn command(&mut self, admin: &mut dyn Admin, line: &str) -> Reply {
        let json = command::asks_for_json(line);
        let invocation = lexer::split(line)
            .map_err(Problem::from)
            .and_then(|words| command::parse(&words));
        match invocation {
            Ok(None) => Reply {
                output: String::new(),
                ok: true,
                next: Next::Command,
            },
            Ok(Some(invocation)) => {
                let outcome = commands::run(&invocation, admin, &self.options);
                let end = invocation.command.verb == command::Verb::Exit;
                self.reply(outcome, json, end)
            }
            Err(problem) => self.reply(Report::from(problem).into(), json, false),
        }
    }

    /// Renders an outcome. JSON is one document for the whole command: it comes after the last
    /// answer.
    fn reply(&mut self, outcome: Outcome, json: bool, end: bool) -> Reply {
        let Outcome { report, pending } = outcome;
        let output = match (json, &pending) {
            (false, _) => report.text(),
            (true, None) => report.json(),
            (true, Some(_)) => String::new(),
        };
        let next = match &pending {
            Some(plan) => Next::Answer {
                prompt: plan.question(),
            },
            None if end => Next::End,
            None => Next::Command,
        };
        self.open = pending.map(|plan| Open { plan, json });
        Reply {
            output,
            ok: report.is_ok(),
            next,
        }
    }
}
