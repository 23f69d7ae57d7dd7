//! `ledge`: runs console commands of the shelf through the daemon's control socket.
//!
//! * With a command it runs that one, and ends with 0 if it was done, else with 1.
//! * Without a command it is a console: with line editing on a terminal, else one command per line
//!   of the standard input.
//!
//! What a command lists goes to the standard output; lines that begin with `error:`, `usage:` or
//! `skipping:` go to the standard error. In JSON everything is one document on the standard output.
#![forbid(unsafe_code)]

mod arguments;
mod connection;
mod input;
mod keyboard;
mod output;

use arguments::Arguments;
use connection::Connection;
use console::protocol::{PromptKind, Request, Response};
use input::{Entered, Input, Piped, Question, Seen};
use keyboard::Keyboard;
use signal_hook::consts::{SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = Arguments::read(std::env::args_os());
    if arguments.is_shell {
        stay();
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let json = arguments.json || console::command::asks_for_json(&arguments.line());
            output::failure(&error, json);
            ExitCode::FAILURE
        }
    }
}

/// A shell does not end because somebody presses the wrong keys, and does not stop either: nobody is there to
/// let it go on.
fn stay() {
    for signal in [SIGTSTP, SIGQUIT, SIGTTIN, SIGTTOU] {
        // A flag that nobody looks at: the signal does nothing. It fails for no signal that can be caught.
        drop(signal_hook::flag::register(signal, Arc::default()));
    }
}

/// Whether everything that was asked was done.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let connection = Connection::open(&arguments.socket)?;
    let has_keyboard = io::stdin().is_terminal();
    let interactive = !arguments.has_command() && has_keyboard;
    let input: Box<dyn Input> = if has_keyboard {
        Box::new(Keyboard::default())
    } else {
        Box::new(Piped)
    };
    let mut console = Console {
        connection,
        input,
        json: arguments.json,
        terminal: terminal(arguments.json, has_keyboard),
    };
    console.tell_terminal()?;
    if !has_keyboard {
        console.connection.ask(&Request::Unattended)?;
    }
    if arguments.has_command() {
        return console.command(&arguments.line());
    }
    let all_done = console.run()?;
    // Who sits at a terminal has seen what failed.
    Ok(all_done || interactive)
}

/// A conversation between a user and the shelf.
struct Console {
    connection: Connection,
    input: Box<dyn Input>,
    /// Ask for JSON in every command.
    json: bool,
    /// The terminal, if it shows more than text.
    terminal: Option<Terminal>,
}

/// What the shelf is told of a terminal.
#[derive(Clone, Copy)]
struct Terminal {
    size: (usize, usize),
    color: bool,
    keyboard: bool,
}

impl Console {
    /// Tells the shelf what the output goes to, if that is a terminal that shows more than text.
    fn tell_terminal(&mut self) -> anyhow::Result<()> {
        let Some(terminal) = self.terminal else {
            return Ok(());
        };
        let request = Request::Terminal {
            rows: terminal.size.0,
            columns: terminal.size.1,
            color: terminal.color,
            keyboard: terminal.keyboard,
        };
        self.connection.ask(&request)?;
        Ok(())
    }

    /// Runs commands until the input or the session ends.
    fn run(&mut self) -> anyhow::Result<bool> {
        let mut all_done = true;
        while self.connection.prompt().kind != PromptKind::End {
            let prompt = self.connection.prompt().text.clone();
            match self.input.command(&prompt, &mut self.connection)? {
                Entered::Line(line) if line.trim().is_empty() => {}
                Entered::Line(line) => all_done &= self.command(&line)?,
                Entered::Interrupt => {}
                Entered::End => break,
            }
        }
        Ok(all_done)
    }

    /// Runs one command, and puts its questions to the user. Whoever does not answer has not
    /// consented.
    fn command(&mut self, line: &str) -> anyhow::Result<bool> {
        let line = if self.json {
            with_json(line)
        } else {
            line.to_owned()
        };
        let json = console::command::asks_for_json(&line);
        let mut response = self.ask(&Request::Line(line))?;
        loop {
            let request = match response.prompt.kind {
                PromptKind::Answer | PromptKind::Secret => {
                    let question = Question {
                        text: &response.prompt.text,
                        is_secret: response.prompt.kind == PromptKind::Secret,
                        json,
                    };
                    match self.input.answer(&question, &mut self.connection)? {
                        Entered::Line(answer) => Request::Answer(answer),
                        Entered::Interrupt | Entered::End => Request::Cancel,
                    }
                }
                PromptKind::Later => {
                    let after = response.prompt.after_ms.unwrap_or_default();
                    if self.input.pause(Duration::from_millis(after))? {
                        Request::Cancel
                    } else {
                        Request::GoOn
                    }
                }
                PromptKind::Keys => self.look(response.prompt.after_ms.unwrap_or_default())?,
                PromptKind::Command | PromptKind::End => return Ok(response.ok),
            };
            response = self.ask(&request)?;
        }
    }

    /// Waits while somebody looks at what a command has on the screen, and tells what to ask then.
    fn look(&mut self, after_ms: u64) -> anyhow::Result<Request> {
        let size = self.terminal.map_or((0, 0), |terminal| terminal.size);
        let after = Duration::from_millis(after_ms);
        Ok(match self.input.look(after, size)? {
            Seen::Nothing => Request::GoOn,
            Seen::Typed(keys) => Request::Keys(keys),
            Seen::Resized(rows, columns) => {
                if let Some(terminal) = &mut self.terminal {
                    terminal.size = (rows, columns);
                }
                self.tell_terminal()?;
                Request::Keys(String::new())
            }
            Seen::End => Request::Cancel,
        })
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Response> {
        let response = self.connection.ask(request)?;
        let is_screen = response.prompt.kind == PromptKind::Keys;
        self.input.set_screen(is_screen)?;
        output::show(&response)?;
        Ok(response)
    }
}

/// The terminal that output goes to, if it is one that shows more than text.
fn terminal(json: bool, has_keyboard: bool) -> Option<Terminal> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if json || is_dumb || !io::stdout().is_terminal() {
        return None;
    }
    let is_colorless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Some(Terminal {
        size: cli::terminal::size().unwrap_or((24, 80)),
        color: !is_colorless,
        keyboard: has_keyboard,
    })
}

/// The line with `-j` as its first argument.
fn with_json(line: &str) -> String {
    let line = line.trim_start();
    let (name, rest) = line.split_at(line.find(char::is_whitespace).unwrap_or(line.len()));
    format!("{name} -j{rest}")
}
