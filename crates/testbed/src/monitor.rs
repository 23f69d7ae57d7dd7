//! The monitor of an emulator (QMP): one command at a time, each with its answer.
//!
//! **Invariant**: every wait has a limit. Events that come in between are passed over.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::transcript;

/// One answer of the emulator, which gives it at once.
const ANSWER: Duration = Duration::from_secs(120);

/// A monitor that takes commands.
#[derive(Debug)]
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Greets the emulator at the other end.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        let greeting = monitor.line(Instant::now() + ANSWER)?;
        ensure!(greeting.get("QMP").is_some(), "no greeting: {greeting}");
        monitor.run("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// The emulator refuses it, or has ended.
    pub(crate) fn run(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        transcript::note(&format!("monitor> {command} {arguments}"));
        let stream = self.stream.get_mut();
        writeln!(stream, "{request}").context("monitor")?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let answer = self.line(deadline)?;
            if let Some(error) = answer.get("error") {
                bail!("{command} {arguments}: {error}");
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// Waits for an event of which `device` names the device.
    ///
    /// # Errors
    /// It does not come within the limit.
    pub(crate) fn expect(&mut self, event: &str, device: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let said = self.line(deadline).with_context(|| event.to_owned())?;
            if said["event"] == event && said["data"]["device"] == device {
                return Ok(());
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<Value> {
        let mut line = String::new();
        loop {
            match self.stream.read_line(&mut line) {
                Ok(0) => bail!("the emulator has ended"),
                Ok(_) => return serde_json::from_str(&line).context(line),
                // What has come of a line stays in it.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("monitor"),
            }
            ensure!(Instant::now() < deadline, "the monitor says nothing");
        }
    }
}
