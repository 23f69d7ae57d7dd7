//! Where commands and answers come from.

use crate::output;
use anyhow::Context;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{self, IsTerminal};

/// What a user entered.
pub(crate) enum Entered {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of the standard input.
    End,
}

/// A source of commands and answers.
pub(crate) trait Input {
    /// Reads a command.
    fn command(&mut self, prompt: &str) -> anyhow::Result<Entered>;

    /// Reads the answer to a question. With `json` the standard output is kept for the document.
    fn answer(&mut self, question: &str, json: bool) -> anyhow::Result<Entered>;
}

/// A terminal, with line editing and a history of commands.
pub(crate) struct Keyboard {
    editor: DefaultEditor,
}

impl Keyboard {
    /// Takes the terminal.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            editor: DefaultEditor::new().context("cannot use the terminal")?,
        })
    }

    fn read(&mut self, prompt: &str) -> anyhow::Result<Entered> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Entered::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Entered::Interrupt),
            Err(ReadlineError::Eof) => Ok(Entered::End),
            Err(error) => Err(error).context("cannot read the terminal"),
        }
    }
}

impl Input for Keyboard {
    fn command(&mut self, prompt: &str) -> anyhow::Result<Entered> {
        let entered = self.read(prompt)?;
        if let Entered::Line(line) = &entered {
            self.editor
                .add_history_entry(line)
                .context("cannot keep the history")?;
        }
        Ok(entered)
    }

    fn answer(&mut self, question: &str, _json: bool) -> anyhow::Result<Entered> {
        self.read(question)
    }
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
    fn command(&mut self, _prompt: &str) -> anyhow::Result<Entered> {
        Self::read()
    }

    fn answer(&mut self, question: &str, json: bool) -> anyhow::Result<Entered> {
        output::question(question, json)?;
        let entered = Self::read()?;
        // A person's Enter ends the line of the question; what is piped in does not.
        if !io::stdin().is_terminal() || matches!(entered, Entered::End) {
            output::question("\n", json)?;
        }
        Ok(entered)
    }
}
