//! The keyboard and the screen of whoever sits at a terminal: the console's own line editor, as it serves the
//! Ethernet console, with what the shelf knows for completion and help.
//!
//! Invariants: the terminal is as it was found whenever nothing is being typed, so that Ctrl-C ends a command
//! that the shelf does not answer; events are asked for at a prompt only, and stand above the line; what is
//! asked goes to the standard error where the standard output is no terminal.

use crate::connection::Connection;
use crate::input::{Entered, Input, Question, Seen};
use anyhow::{Context, bail};
use cli::screen::FullScreen;
use cli::terminal::{RawTerminal, read_stdin, size, wait_for_key};
use console::editor::{Editor, Event, Mode, SEQUENCE};
use console::protocol::Request;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often events are asked for.
const EVENTS: Duration = Duration::from_secs(1);

/// Most that is read at a time.
const READ_BYTES_MAX: usize = 4096;

/// A terminal.
#[derive(Default)]
pub(crate) struct Keyboard {
    editor: Editor,
    /// Typed and not looked at yet.
    typed: Vec<u8>,
    is_at_end: bool,
    /// What commands have to themselves, once one has wanted it.
    screen: Option<FullScreen>,
}

impl Keyboard {
    /// Reads a line.
    fn read(
        &mut self,
        prompt: &str,
        mode: Mode,
        shelf: &mut Connection,
    ) -> anyhow::Result<Entered> {
        let Some(_raw) = RawTerminal::enter_for_input()? else {
            bail!("the standard input is no terminal any more");
        };
        self.look_at_size();
        show(&self.editor.begin(prompt, mode))?;
        loop {
            if self.typed.is_empty() {
                if self.is_at_end {
                    show(b"\n")?;
                    return Ok(Entered::End);
                }
                self.wait(mode, shelf)?;
                continue;
            }
            let fed = self.editor.feed(&self.typed);
            self.typed.drain(..fed.taken);
            show(&fed.echo)?;
            match fed.event {
                None => {}
                Some(Event::Line(line)) => return Ok(Entered::Line(line)),
                Some(Event::Interrupt) => return Ok(Entered::Interrupt),
                Some(Event::End) => return Ok(Entered::End),
                Some(Event::Complete { line, cursor }) => {
                    let response = shelf.ask(&Request::Complete { line, cursor })?;
                    let completion = response.completion.unwrap_or_default();
                    show(&self.editor.completed(&completion))?;
                }
                Some(Event::Help { line }) => {
                    let response = shelf.ask(&Request::Help(line))?;
                    show(&self.editor.helped(&response.output))?;
                }
            }
        }
    }

    /// Waits for a key, and for events meanwhile.
    fn wait(&mut self, mode: Mode, shelf: &mut Connection) -> anyhow::Result<()> {
        let limit = if self.editor.is_in_sequence() {
            SEQUENCE
        } else {
            EVENTS
        };
        if wait_for_key(limit)? {
            return self.take();
        }
        self.editor.drop_sequence();
        self.look_at_size();
        if mode == Mode::Command {
            let events = shelf.ask(&Request::Events)?.output;
            if !events.is_empty() {
                show(&self.editor.interject(&events))?;
            }
        }
        Ok(())
    }

    fn take(&mut self) -> anyhow::Result<()> {
        let bytes = read_stdin(READ_BYTES_MAX)?;
        self.is_at_end = bytes.is_empty();
        self.typed.extend(bytes);
        Ok(())
    }

    fn look_at_size(&mut self) {
        if let Some((rows, columns)) = size() {
            self.editor.resize(rows, columns);
        }
    }
}

impl Input for Keyboard {
    fn command(&mut self, prompt: &str, shelf: &mut Connection) -> anyhow::Result<Entered> {
        self.read(prompt, Mode::Command, shelf)
    }

    fn answer(
        &mut self,
        question: &Question<'_>,
        shelf: &mut Connection,
    ) -> anyhow::Result<Entered> {
        let mode = if question.is_secret {
            Mode::Secret
        } else {
            Mode::Answer
        };
        self.read(question.text, mode, shelf)
    }

    fn set_screen(&mut self, is_on: bool) -> anyhow::Result<()> {
        match &self.screen {
            Some(screen) => screen.set(is_on),
            None if is_on => self.screen.insert(FullScreen::new()?).set(true),
            None => Ok(()),
        }
    }

    fn look(&mut self, time: Duration, before: (usize, usize)) -> anyhow::Result<Seen> {
        let Some(screen) = &self.screen else {
            bail!("nobody has a screen");
        };
        let end = Instant::now() + time;
        screen.listen(true)?;
        let seen = loop {
            if let Some((rows, columns)) = size().filter(|now| *now != before) {
                break Seen::Resized(rows, columns);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Seen::Nothing;
            }
            if wait_for_key(left)? {
                let typed = read_stdin(READ_BYTES_MAX)?;
                if typed.is_empty() {
                    break Seen::End;
                }
                break Seen::Typed(String::from_utf8_lossy(&typed).into_owned());
            }
        };
        screen.listen(false)?;
        Ok(seen)
    }

    fn pause(&mut self, time: Duration) -> anyhow::Result<bool> {
        let _raw = RawTerminal::enter_for_input()?;
        if !wait_for_key(time)? {
            return Ok(false);
        }
        self.take()?;
        // Any key ends what is watched, and is used up by that.
        self.typed.clear();
        Ok(true)
    }
}

/// Shows bytes at once.
fn show(bytes: &[u8]) -> anyhow::Result<()> {
    let write = |screen: &mut dyn Write| screen.write_all(bytes).and_then(|()| screen.flush());
    let written = if io::stdout().is_terminal() {
        write(&mut io::stdout().lock())
    } else {
        write(&mut io::stderr().lock())
    };
    written.context("cannot write to the terminal")
}
