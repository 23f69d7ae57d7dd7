//! The user's terminal: raw mode, its size, and unbuffered reading and writing.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::io::{Write, stderr, stdin, stdout};
use std::time::Duration;

/// A pipe that is ready takes this much without blocking.
const WRITE_BYTES_MAX: usize = 4096;

/// Raw mode as long as this lives: every key goes to the shelf, which echoes it.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Sets raw mode; `None` if standard input is no terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> Result<Option<Self>> {
        Self::set(Termios::make_raw)
    }

    /// Sets raw mode for input only: lines that are printed still end in LF.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter_for_input() -> Result<Option<Self>> {
        Self::set(|raw| {
            let output = raw.output_modes;
            raw.make_raw();
            raw.output_modes = output | OutputModes::OPOST | OutputModes::ONLCR;
        })
    }

    fn set(change: impl FnOnce(&mut Termios)) -> Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        change(&mut raw);
        tcsetattr(stdin(), OptionalActions::Now, &raw)
            .context("cannot change the terminal's settings")?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(stdin(), OptionalActions::Now, &self.before) {
            let advice = "cannot restore the terminal, try `stty sane`";
            // There is nobody else to tell.
            drop(write!(stderr(), "{advice}: {error}\r\n"));
        }
    }
}

/// Rows and columns of the terminal, if it is one that knows.
#[must_use]
pub fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(stdout()).ok()?;
    let (rows, columns) = (usize::from(size.ws_row), usize::from(size.ws_col));
    Some((rows, columns)).filter(|_| rows > 0 && columns > 0)
}

/// Waits until there is something to read, or for so long; whether there is.
///
/// # Errors
/// The terminal cannot be waited for.
pub fn wait_for_key(limit: Duration) -> Result<bool> {
    let stdin = stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let limit = Timespec::try_from(limit).context("cannot wait for so long")?;
    match poll(&mut fds, Some(&limit)) {
        Ok(count) => Ok(count > 0),
        // Somebody has changed the size of the window, perhaps.
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error).context("cannot wait for the terminal"),
    }
}

/// What can be read now; empty at the end of input.
///
/// # Errors
/// The terminal fails.
pub fn read_stdin(bytes_max: usize) -> Result<Vec<u8>> {
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
///
/// # Errors
/// The terminal fails.
pub fn write_stdout(bytes: &[u8]) -> Result<usize> {
    let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
    match write(stdout(), bytes) {
        Ok(length) => Ok(length),
        Err(Errno::INTR | Errno::AGAIN) => Ok(0),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}
