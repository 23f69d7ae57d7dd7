//! The emulator's monitor (QMP): devices are pulled out of a running machine and put into it, and what the
//! emulator has counted is asked for.
//!
//! **Invariants**
//! - One command at a time; its answer is waited for, and what the emulator tells meanwhile is kept.
//! - What the emulator refuses is an error with its words.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// For an answer, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(60);

/// The longest pause between looks at the clock.
const POLL: Duration = Duration::from_millis(50);

/// A connection to the monitor of a running machine.
#[derive(Debug)]
pub struct Monitor {
    stream: UnixStream,
    received: Vec<u8>,
    events: Vec<Value>,
}

impl Monitor {
    /// Over a connection that the emulator has made.
    ///
    /// # Errors
    /// It does not greet as a monitor does.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(POLL)).context("monitor")?;
        let mut monitor = Self {
            stream,
            received: Vec::new(),
            events: Vec::new(),
        };
        let greeting = monitor.message(Instant::now() + LIMIT)?;
        if greeting.get("QMP").is_none() {
            bail!("the monitor greets with {greeting}");
        }
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    /// The emulator refuses it, has ended, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        let line = format!("{request}\n");
        self.stream
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot ask the emulator to {command}"))?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut message = self.message(deadline)?;
            if message.get("event").is_some() {
                self.events.push(message);
            } else if let Some(error) = message.get("error") {
                bail!("the emulator refuses {request}: {error}");
            } else {
                return Ok(message["return"].take());
            }
        }
    }

    /// Puts a device into the machine: its driver, and properties of it, as on the command line.
    ///
    /// # Errors
    /// As [`Monitor::execute`].
    pub fn add(&mut self, device: &str) -> Result<()> {
        let mut words = device.split(',');
        let driver = words.next().unwrap_or_default();
        let mut arguments = json!({ "driver": driver });
        for word in words {
            let (name, value) = word.split_once('=').context("a property has a value")?;
            // The emulator takes numbers and switches as words, but for these of the command line.
            arguments[name] = match (value.parse::<u64>(), value) {
                (Ok(number), _) if name != "serial" => json!(number),
                (_, "on") => json!(true),
                (_, "off") if name != "write-cache" => json!(false),
                _ => json!(value),
            };
        }
        self.execute("device_add", &arguments).map(drop)
    }

    /// Pulls a device, and waits until the machine has none of it any more.
    ///
    /// # Errors
    /// As [`Monitor::execute`], or the guest does not let go of it within `timeout`.
    pub fn pull(&mut self, id: &str, timeout: Duration) -> Result<()> {
        self.events.clear();
        self.execute("device_del", &json!({ "id": id }))?;
        let deadline = Instant::now() + timeout;
        loop {
            let is_gone =
                |event: &Value| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == id;
            if self.events.iter().any(is_gone) {
                return Ok(());
            }
            let event = self
                .message(deadline)
                .with_context(|| format!("the guest does not let go of {id}: {:?}", self.events))?;
            self.events.push(event);
        }
    }

    /// The next message.
    fn message(&mut self, deadline: Instant) -> Result<Value> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&line).context("a message of the monitor");
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the emulator has closed its monitor"),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if is_pause(error.kind()) => {}
                Err(error) => return Err(error).context("monitor"),
            }
            if Instant::now() >= deadline {
                bail!("the emulator says nothing");
            }
        }
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::thread;

    /// A monitor that gives these answers, one for each command; gives the commands.
    fn answering(answers: &'static [&'static str]) -> (Monitor, thread::JoinHandle<Vec<Value>>) {
        let (own, mut other) = UnixStream::pair().unwrap();
        let served = thread::spawn(move || {
            other.write_all(b"{\"QMP\": {}}\r\n").unwrap();
            let mut reader = BufReader::new(other.try_clone().unwrap());
            let all = [&["{\"return\": {}}"], answers].concat();
            let asked = all.iter().map(|answer| {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                other.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
                serde_json::from_str(&line).unwrap()
            });
            asked.collect()
        });
        (Monitor::new(own).unwrap(), served)
    }

    #[test]
    fn a_device_is_gone_when_the_emulator_says_so() {
        let (mut monitor, served) = answering(&[
            "{\"event\": \"OTHER\"}\r\n{\"return\": {}}\r\n\
             {\"event\": \"DEVICE_DELETED\", \"data\": {\"path\": \"/x\"}}\r\n\
             {\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"a\"}}",
            "{\"return\": {}}",
        ]);
        monitor.pull("a", LIMIT).unwrap();
        monitor
            .add("nvme,id=b,serial=12,bus=rp0,addr=3,x=on")
            .unwrap();
        let asked = served.join().unwrap();
        assert_eq!(asked[1]["arguments"], json!({"id": "a"}));
        let expected = json!({"driver": "nvme", "id": "b", "serial": "12", "bus": "rp0", "addr": 3, "x": true});
        assert_eq!(asked[2]["arguments"], expected);
    }

    #[test]
    fn what_is_refused_is_an_error_with_the_words_of_the_emulator() {
        let (mut monitor, served) = answering(&["{\"error\": {\"desc\": \"no such device\"}}"]);
        let error = monitor.pull("a", LIMIT).unwrap_err().to_string();
        assert!(error.contains("no such device"), "{error}");
        served.join().unwrap();
        assert!(monitor.execute("stop", &json!({})).is_err());
    }
}
