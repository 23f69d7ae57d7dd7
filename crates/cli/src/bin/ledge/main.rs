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
use input::{Entered, Input, Piped, Question};
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
    };
    console.tell_terminal()?;
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
}

impl Console {
    /// Tells the shelf what the output goes to, if that is a terminal that shows more than text.
    fn tell_terminal(&mut self) -> anyhow::Result<()> {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if self.json || is_plain || !io::stdout().is_terminal() {
            return Ok(());
        }
        let (rows, columns) = cli::terminal::size().unwrap_or((24, 80));
        let color = true;
        let request = Request::Terminal {
            rows,
            columns,
            color,
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
                PromptKind::Command | PromptKind::End => return Ok(response.ok),
            };
            response = self.ask(&request)?;
        }
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Response> {
        let response = self.connection.ask(request)?;
        output::show(&response)?;
        Ok(response)
    }
}

/// The line with `-j` as its first argument.
fn with_json(line: &str) -> String {
    let line = line.trim_start();
    let (name, rest) = line.split_at(line.find(char::is_whitespace).unwrap_or(line.len()));
    format!("{name} -j{rest}")
}
