//! The user's terminal: raw mode, and unbuffered reading and writing.

use anyhow::{Context, Result};
use rustix::io::{Errno, read, write};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::{stdin, stdout};

/// A pipe that is ready takes this much without blocking.
const WRITE_BYTES_MAX: usize = 4096;

/// Raw mode as long as this lives: every key goes to the shelf, which echoes it.
#[derive(Debug)]
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Sets raw mode; `None` if standard input is no terminal.
    pub(crate) fn enter() -> Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)
            .context("cannot change the terminal's settings")?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(stdin(), OptionalActions::Now, &self.before) {
            eprint!("cec: cannot restore the terminal, try `stty sane`: {error}\r\n");
        }
    }
}

/// What can be read now; empty at the end of input.
pub(crate) fn read_stdin(bytes_max: usize) -> Result<Vec<u8>> {
    let mut buffer = vec![0; bytes_max];
    loop {
        match read(stdin(), &mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::INTR) => {}
            // The terminal has gone away.
            Err(Errno::IO) => return Ok(Vec::new()),
            Err(error) => return Err(error).context("cannot read standard input"),
        }
    }
}

/// Writes some of `bytes` and returns how many these were.
pub(crate) fn write_stdout(bytes: &[u8]) -> Result<usize> {
    let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
    match write(stdout(), bytes) {
        Ok(length) => Ok(length),
        Err(Errno::INTR | Errno::AGAIN) => Ok(0),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}
