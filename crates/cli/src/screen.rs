//! A screen that a command has for itself: the terminal's other screen, without a cursor, and every key goes
//! to the shelf.
//!
//! Invariant: the terminal is as it was found when this ends, and when the program is made to end by a signal
//! meanwhile, also while the shelf does not answer: then Ctrl-C is such a signal, as it is at other commands.

use anyhow::{Context, Result, bail};
use rustix::io::write;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The other screen, empty, and no cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[H\x1b[2J\x1b[?25l";

/// The cursor, and the screen that was there before.
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// Watches for signals as long as the program runs.
#[derive(Debug)]
pub struct FullScreen {
    /// The terminal as it was found.
    before: Termios,
    is_on: Arc<AtomicBool>,
}

impl FullScreen {
    /// Makes ready for [`FullScreen::enter`]: once in a program.
    ///
    /// # Errors
    /// Standard input is no terminal, or signals cannot be watched for.
    pub fn new() -> Result<Self> {
        if !isatty(stdin()) {
            bail!("standard input is no terminal");
        }
        let before = tcgetattr(stdin()).context("cannot read the terminal's settings")?;
        let is_on = Arc::new(AtomicBool::new(false));
        let mut signals =
            Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot watch for signals")?;
        // A flag that nobody looks at: what counts is that a wait is over.
        signal_hook::flag::register(SIGWINCH, Arc::default())
            .context("cannot watch for a change of the size")?;
        let (found, seen) = (before.clone(), Arc::clone(&is_on));
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    if seen.load(Ordering::SeqCst) {
                        restore(&found);
                    }
                    // It returns for signals without effect only.
                    drop(emulate_default_handler(signal));
                }
            })
            .context("cannot watch for signals")?;
        Ok(Self { before, is_on })
    }

    /// Takes the screen, or gives it back.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn set(&self, is_on: bool) -> Result<()> {
        if self.is_on.swap(is_on, Ordering::SeqCst) == is_on {
            return Ok(());
        }
        if !is_on {
            restore(&self.before);
            return Ok(());
        }
        self.listen(false)?;
        write(stdout(), ENTER).context("cannot write to the terminal")?;
        Ok(())
    }

    /// Whether Ctrl-C is a key like any other, as it is while keys are waited for.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn listen(&self, listens: bool) -> Result<()> {
        let mut raw = self.before.clone();
        let output = raw.output_modes;
        raw.make_raw();
        raw.output_modes = output;
        if !listens {
            raw.local_modes |= LocalModes::ISIG;
            for code in [SpecialCodeIndex::VQUIT, SpecialCodeIndex::VSUSP] {
                raw.special_codes[code] = 0;
            }
        }
        tcsetattr(stdin(), OptionalActions::Now, &raw)
            .context("cannot change the terminal's settings")
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        if self.is_on.swap(false, Ordering::SeqCst) {
            restore(&self.before);
        }
    }
}

/// Leaves the other screen. What fails here fails because there is no terminal any more.
fn restore(before: &Termios) {
    let _ = write(stdout(), LEAVE);
    let _ = tcsetattr(stdin(), OptionalActions::Now, before);
}
