//! Daemons that a test starts, waits for and ends.
//!
//! **Invariants**
//! - Output is read by threads all the time, so a talkative daemon never blocks on a full pipe.
//! - A dropped [`Daemon`] is killed and reaped. One that was killed by seccomp before fails the test.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{POLL, describe, run, status_code, to_text, wait_until};

/// Lines of a log that an error quotes.
const QUOTED_LINES: usize = 30;

/// Lines that a child has printed so far, shared with the threads that read them.
#[derive(Clone, Default)]
pub(crate) struct Log {
    shared: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("lines", &self.lines().len())
            .finish()
    }
}

impl Log {
    /// Reads `pipe` line by line until its end.
    pub(crate) fn follow(&self, pipe: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            // A read error on a pipe or socket means the child is gone, like the end of the file.
            while reader
                .read_until(b'\n', &mut line)
                .is_ok_and(|count| count > 0)
            {
                let text = to_text(&line).trim_end().to_owned();
                shared
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(text);
                shared.1.notify_all();
                line.clear();
            }
        });
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The last lines, for an error message.
    pub(crate) fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
    }

    /// Waits a moment for a line that contains `text`.
    fn wait_for(&self, text: &str, timeout: Duration) -> Option<String> {
        let find = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let lines = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .shared
            .1
            .wait_timeout_while(lines, timeout, |l| find(l).is_none());
        find(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// A program that runs until the test ends it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: Log,
    /// Whether an error has told how it ended.
    is_told: bool,
}

impl Daemon {
    /// Starts the command; `name` is how messages call it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let line = describe(&command);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let log = Log::default();
        log.follow(child.stdout.take().context("stdout of the daemon")?);
        log.follow(child.stderr.take().context("stderr of the daemon")?);
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            is_told: false,
        })
    }

    /// The process id; the daemon's own, as `nsenter` turns into the program it starts.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far, both streams in order of arrival.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lines().join("\n")
    }

    /// The exit status if it has ended.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn exit_status(&mut self) -> Result<Option<i32>> {
        let ended = self
            .child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name));
        Ok(ended?.map(status_code))
    }

    /// Waits until it prints a line that contains `text`, and returns that line.
    ///
    /// # Errors
    /// It ends first, or says no such line within `timeout`; quotes its last lines.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(line) = self.log.wait_for(text, POLL) {
                return Ok(line);
            }
            if let Some(status) = self.child.try_wait()? {
                // Its last words may still be on their way through the reading threads.
                if let Some(line) = self.log.wait_for(text, Duration::from_millis(500)) {
                    return Ok(line);
                }
                let status = self.told(status);
                let name = &self.name;
                bail!(
                    "{name} ended ({status}) before it said \"{text}\":\n{}",
                    self.log.tail()
                );
            }
            if Instant::now() >= deadline {
                let (name, seconds) = (&self.name, timeout.as_secs());
                bail!(
                    "{name} did not say \"{text}\" in {seconds} s:\n{}",
                    self.log.tail()
                );
            }
        }
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// It had ended before, so the test did not show what it meant to show.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let status = self.told(status);
            bail!(
                "{} had ended with {status}:\n{}",
                self.name,
                self.log.tail()
            );
        }
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// SIGTERM, then waits for a clean end.
    ///
    /// # Errors
    /// It does not end within `timeout`, or its status is not 0; quotes its last lines.
    pub fn terminate(mut self, timeout: Duration) -> Result<()> {
        self.stop(timeout)
    }

    /// As [`Daemon::terminate`]; returns the line among its last words that contains `text`.
    ///
    /// # Errors
    /// As there, or it does not say so; quotes its last lines.
    pub fn terminate_saying(mut self, text: &str, timeout: Duration) -> Result<String> {
        self.stop(timeout)?;
        // They may still be on their way through the reading threads.
        let line = self.log.wait_for(text, Duration::from_secs(5));
        line.with_context(|| {
            let tail = self.log.tail();
            format!("{} did not end with \"{text}\":\n{tail}", self.name)
        })
    }

    fn stop(&mut self, timeout: Duration) -> Result<()> {
        let name = self.name.clone();
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .with_context(|| format!("cannot send SIGTERM to {name}"))?;
        let Some(status) = wait_until(&mut self.child, timeout)? else {
            let seconds = timeout.as_secs();
            bail!(
                "{name} was still running {seconds} s after SIGTERM:\n{}",
                self.log.tail()
            );
        };
        if status.code() != Some(0) {
            let status = self.told(status);
            bail!(
                "{name} ended with {status} after SIGTERM:\n{}",
                self.log.tail()
            );
        }
        Ok(())
    }

    /// How it has ended; by a system call that it may not make, with what the kernel says of that.
    fn told(&mut self, status: ExitStatus) -> String {
        self.is_told = true;
        if !was_refused(status) {
            return status.to_string();
        }
        let of_it = format!(" pid={} ", self.id());
        let kernel = run(Command::new("dmesg"), Duration::from_secs(10));
        let kernel = kernel.map_or_else(|error| error.to_string(), |said| said.output);
        let mut lines = kernel.lines().rev();
        let line = lines.find(|line| line.contains("type=1326") && line.contains(&of_it));
        let line = line.unwrap_or("the kernel does not say which: dmesg");
        format!("{status}, a system call that it may not make: {line}")
    }
}

/// Whether a program was killed by seccomp.
fn was_refused(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SYS.as_raw())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted here.
        drop(self.child.kill());
        let ended = self.child.wait();
        // The test may have looked at it for the last time before, and a test that fails has told.
        if let Ok(status) = ended
            && was_refused(status)
            && !self.is_told
            && !thread::panicking()
        {
            let status = self.told(status);
            panic!("{} ended with {status}", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_daemon_is_waited_for_and_terminated() {
        let script = "trap 'exit 0' TERM; echo starting; echo now ready >&2; \
                      while :; do sleep 0.02; done";
        let mut daemon = Daemon::start("stub", shell(script)).unwrap();
        assert_eq!(daemon.wait_for_line("ready", LIMIT).unwrap(), "now ready");
        daemon.wait_for_line("starting", LIMIT).unwrap();
        daemon.terminate(LIMIT).unwrap();
    }

    #[test]
    fn a_daemon_that_seccomp_has_killed_fails_the_test() {
        let end = || {
            let daemon = Daemon::start("stub", shell("kill -SYS $$")).unwrap();
            thread::sleep(Duration::from_millis(500));
            drop(daemon);
        };
        let panic = thread::spawn(end).join().unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(
            text.contains("a system call that it may not make"),
            "{text}"
        );
    }

    #[test]
    fn a_daemon_that_ends_early_shows_its_last_words() {
        let mut daemon = Daemon::start("stub", shell("echo no such disk >&2; exit 1")).unwrap();
        let error = daemon
            .wait_for_line("ready", LIMIT)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no such disk"), "{error}");
        assert!(daemon.kill().is_err());
    }

    #[test]
    fn a_daemon_that_ignores_sigterm_is_an_error() {
        let script = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
        let mut daemon = Daemon::start("stub", shell(script)).unwrap();
        daemon.wait_for_line("ready", LIMIT).unwrap();
        assert!(daemon.terminate(Duration::from_millis(100)).is_err());
    }
}
