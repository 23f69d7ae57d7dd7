//! A program on a terminal of its own, and somebody who types there and reads.
//!
//! **Invariants**
//! - Every wait has a limit, and its error quotes what the program has written instead.
//! - A dropped [`Pty`] is killed and reaped.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Far more than a program takes; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked.
const POLL: Duration = Duration::from_millis(5);

/// A program on a terminal of its own.
#[derive(Debug)]
pub struct Pty {
    master: File,
    child: Child,
    heard: Arc<Mutex<Vec<u8>>>,
    modes_before: LocalModes,
}

impl Pty {
    /// Starts the program on a new terminal.
    ///
    /// # Errors
    /// There is no terminal, or the program cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("openpt")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let terminal = || File::options().read(true).write(true).open(&name);
        let modes_before = tcgetattr(&master)?.local_modes;
        let child = command
            .stdin(terminal()?)
            .stdout(terminal()?)
            .stderr(terminal()?)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let master = File::from(master);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut reader = master.try_clone()?;
        let collected = Arc::clone(&heard);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The read fails when the program's end is closed.
            while let Ok(length) = reader.read(&mut buffer) {
                let mut heard = collected.lock().unwrap_or_else(PoisonError::into_inner);
                heard.extend_from_slice(&buffer[..length]);
            }
        });
        Ok(Self {
            master,
            child,
            heard,
            modes_before,
        })
    }

    /// Waits until the program has written `text`, and forgets all up to there. Returns what came before.
    ///
    /// # Errors
    /// It does not; quotes what it has written.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + LIMIT;
        loop {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let found = heard.windows(text.len()).position(|w| w == text.as_bytes());
            if let Some(position) = found {
                let before = String::from_utf8_lossy(&heard[..position]).into_owned();
                heard.drain(..position + text.len());
                return Ok(before);
            }
            let so_far = String::from_utf8_lossy(&heard).into_owned();
            drop(heard);
            ensure!(Instant::now() < end, "no {text:?} in {so_far:?}");
            thread::sleep(POLL);
        }
    }

    /// What has been written and not yet been expected.
    #[must_use]
    pub fn heard(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Types.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.master.write_all(text.as_bytes()).context("terminal")
    }

    /// The terminal's settings now.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn local_modes(&self) -> Result<LocalModes> {
        Ok(tcgetattr(&self.master)?.local_modes)
    }

    /// The terminal's settings before the program was started.
    #[must_use]
    pub fn modes_before(&self) -> LocalModes {
        self.modes_before
    }

    /// Sends a signal to the program.
    ///
    /// # Errors
    /// It has gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("kill")
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// It does not end; quotes what it has written.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            thread::sleep(POLL);
        }
        bail!(
            "the program does not end; it has written {:?}",
            self.heard()
        );
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
