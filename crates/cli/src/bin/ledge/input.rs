//! Where commands and answers come from.

use crate::connection::Connection;
use crate::output;
use anyhow::{Context, ensure};
use std::io;
use std::time::Duration;

/// What a user entered.
pub(crate) enum Entered {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of the standard input.
    End,
}

/// What has happened while a screen was looked at.
pub(crate) enum Seen {
    /// Nothing: it is time to look again.
    Nothing,
    /// Keys.
    Typed(String),
    /// The screen has another size: rows and columns.
    Resized(usize, usize),
    /// There is nobody any more.
    End,
}

/// A question of the shelf.
pub(crate) struct Question<'a> {
    pub(crate) text: &'a str,
    /// The answer must not be seen.
    pub(crate) is_secret: bool,
    /// The standard output is kept for a document.
    pub(crate) json: bool,
}

/// A source of commands and answers.
pub(crate) trait Input {
    /// Reads a command.
    fn command(&mut self, prompt: &str, shelf: &mut Connection) -> anyhow::Result<Entered>;

    /// Reads the answer to a question.
    fn answer(
        &mut self,
        question: &Question<'_>,
        shelf: &mut Connection,
    ) -> anyhow::Result<Entered>;

    /// Gives a command the whole screen, or takes that away from it.
    fn set_screen(&mut self, is_on: bool) -> anyhow::Result<()>;

    /// Waits while somebody looks at a screen of this size.
    fn look(&mut self, time: Duration, size: (usize, usize)) -> anyhow::Result<Seen>;

    /// Waits while a command goes on; whether somebody is tired of it.
    fn pause(&mut self, time: Duration) -> anyhow::Result<bool>;
}

/// The standard input, line by line. Only questions are shown: they are what a script that feeds
/// commands may have to react to.
pub(crate) struct Piped;

impl Piped {
    fn read() -> anyhow::Result<Entered> {
        let mut line = String::new();
        let count = io::stdin()
            .read_line(&mut line)
            .context("cannot read the standard input")?;
        if count == 0 {
            return Ok(Entered::End);
        }
        Ok(Entered::Line(
            line.trim_end_matches(['\n', '\r']).to_owned(),
        ))
    }
}

impl Input for Piped {
    fn command(&mut self, _prompt: &str, _shelf: &mut Connection) -> anyhow::Result<Entered> {
        Self::read()
    }

    fn answer(
        &mut self,
        question: &Question<'_>,
        _shelf: &mut Connection,
    ) -> anyhow::Result<Entered> {
        output::question(question.text, question.json)?;
        let entered = Self::read()?;
        output::question("\n", question.json)?;
        Ok(entered)
    }

    fn set_screen(&mut self, is_on: bool) -> anyhow::Result<()> {
        ensure!(!is_on, "ledged wants a keyboard, and there is none");
        Ok(())
    }

    fn look(&mut self, _time: Duration, _size: (usize, usize)) -> anyhow::Result<Seen> {
        Ok(Seen::End)
    }

    fn pause(&mut self, time: Duration) -> anyhow::Result<bool> {
        std::thread::sleep(time);
        Ok(false)
    }
}
