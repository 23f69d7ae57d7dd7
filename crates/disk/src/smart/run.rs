//! Runs `smartctl`, and waits for it only until a deadline.

use super::parse::{Answer, parse};
use crate::program::{ends, search};
use shelf::smart::{RecoveryTimers, SelfTestKind, Smart, SmartChange};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The exit status that is asked for when a disk sleeps: no other outcome has both of these bits.
const ASLEEP: u8 = 3;

/// Bits of the exit status for a command line or a device that `smartctl` could not use.
const EXIT_UNUSABLE: u8 = 0b11;

/// The bit of the exit status for a command that the drive did not do.
const EXIT_COMMAND_FAILED: u8 = 1 << 2;

/// How long one that was killed may take to end.
const KILL_PATIENCE: Duration = Duration::from_millis(500);

/// The first version that begins self-tests of NVMe drives.
const NVME_SELF_TESTS: [u64; 2] = [7, 4];

/// Why a drive did not tell, or was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SmartError {
    /// There is no `smartctl`.
    #[error("smartctl is not installed: apt-get install smartmontools")]
    NotInstalled,
    /// It cannot be run.
    #[error("smartctl cannot be run: {0}")]
    CannotRun(#[source] io::Error),
    /// It took too long.
    #[error("smartctl did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// One that was killed has not ended yet.
    #[error("an earlier smartctl still hangs in the drive")]
    Hangs,
    /// The disk sleeps, and was not woken up.
    #[error("the drive sleeps")]
    Asleep,
    /// The drive cannot do that.
    #[error("not supported")]
    NotSupported,
    /// As [`SmartError::NotSupported`], with the way out.
    #[error("not supported by this version of smartctl; on the box: nvme device-self-test")]
    NvmeSelfTest,
    /// It said something else.
    #[error("smartctl: {0}")]
    Other(String),
}

/// `smartctl`, and the disks that it hangs in.
#[derive(Debug)]
pub struct Smartctl {
    program: OsString,
    /// What stands before its own arguments.
    prefix: Vec<OsString>,
    deadline: Duration,
    /// Whether those that were killed have ended.
    hanging: BTreeMap<PathBuf, Arc<AtomicBool>>,
}

impl Smartctl {
    /// That of the system. Each answer may take so long.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self::of_program("smartctl", &[], deadline)
    }

    /// A program that behaves like it.
    pub(super) fn of_program(
        program: impl Into<OsString>,
        prefix: &[&OsStr],
        deadline: Duration,
    ) -> Self {
        Self {
            program: program.into(),
            prefix: prefix.iter().map(OsString::from).collect(),
            deadline,
            hanging: BTreeMap::new(),
        }
    }

    /// What a disk tells of its health.
    ///
    /// # Errors
    /// It sleeps, it is not there, or `smartctl` failed.
    pub fn read(&mut self, device: &Path) -> Result<Smart, SmartError> {
        let text = self.run(device, &["-n", &format!("standby,{ASLEEP}"), "-x"])?;
        let answer = understood(&text)?;
        match answer.exit_status() {
            status if status & EXIT_UNUSABLE == ASLEEP => Err(SmartError::Asleep),
            status if status & EXIT_UNUSABLE != 0 => Err(refused(&answer)),
            _ => parse(&text).map_err(|error| SmartError::Other(error.to_string())),
        }
    }

    /// Changes something about a disk, which wakes it up.
    ///
    /// # Errors
    /// The drive cannot, it is not there, or `smartctl` failed.
    pub fn change(&mut self, device: &Path, change: SmartChange) -> Result<(), SmartError> {
        let timers;
        let options: &[&str] = match change {
            SmartChange::Enable(true) => &["-i", "-s", "on"],
            SmartChange::Enable(false) => &["-i", "-s", "off"],
            SmartChange::Timers(RecoveryTimers { read_ms, write_ms }) => {
                timers = format!(
                    "scterc,{},{}",
                    read_ms.div_ceil(100),
                    write_ms.div_ceil(100)
                );
                &["-l", &timers]
            }
            SmartChange::SelfTest(SelfTestKind::Short) => &["-t", "short"],
            SmartChange::SelfTest(SelfTestKind::Long) => &["-t", "long"],
        };
        let answer = understood(&self.run(device, options)?)?;
        let status = answer.exit_status();
        if status & EXIT_UNUSABLE != 0 {
            return Err(refused(&answer));
        }
        let is_nvme = answer
            .0
            .pointer("/device/protocol")
            .is_some_and(|name| name == "NVMe");
        match change {
            // It always keeps count.
            SmartChange::Enable(true) if is_nvme => Ok(()),
            SmartChange::Enable(_) | SmartChange::Timers(_) if is_nvme => {
                Err(SmartError::NotSupported)
            }
            SmartChange::SelfTest(_) if is_nvme && version(&answer) < NVME_SELF_TESTS => {
                Err(SmartError::NvmeSelfTest)
            }
            // It says nothing else where the drive has none.
            SmartChange::Timers(_) if answer.0.get("ata_sct_erc").is_none() => {
                Err(SmartError::NotSupported)
            }
            _ if status & EXIT_COMMAND_FAILED != 0 => {
                let told = answer.complaint().map(str::to_owned);
                Err(told.map_or(SmartError::NotSupported, SmartError::Other))
            }
            _ => Ok(()),
        }
    }

    /// Runs it with these options, and gives what it said.
    fn run(&mut self, device: &Path, options: &[&str]) -> Result<String, SmartError> {
        if let Some(has_ended) = self.hanging.get(device) {
            if !has_ended.load(Ordering::Relaxed) {
                return Err(SmartError::Hangs);
            }
            self.hanging.remove(device);
        }
        let mut child = Command::new(&self.program)
            .env("PATH", search())
            .args(&self.prefix)
            .arg("--json=c")
            .args(options)
            .arg(device)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => SmartError::NotInstalled,
                _ => SmartError::CannotRun(error),
            })?;
        // It is read as it comes: more than a pipe holds would keep it from ending.
        let reader = child.stdout.take().map(|mut output| {
            thread::spawn(move || {
                let mut text = String::new();
                output.read_to_string(&mut text).map(|_| text)
            })
        });
        if !ends(&mut child, self.deadline).map_err(SmartError::CannotRun)? {
            child.kill().map_err(SmartError::CannotRun)?;
            if !ends(&mut child, KILL_PATIENCE).map_err(SmartError::CannotRun)? {
                self.leave(device, child);
            }
            return Err(SmartError::Late(self.deadline));
        }
        let text = reader.and_then(|reader| reader.join().ok());
        text.unwrap_or_else(|| Ok(String::new()))
            .map_err(SmartError::CannotRun)
    }

    /// Lets one that cannot be killed end when it likes.
    fn leave(&mut self, device: &Path, mut child: Child) {
        let has_ended = Arc::new(AtomicBool::new(false));
        self.hanging
            .insert(device.to_owned(), Arc::clone(&has_ended));
        thread::spawn(move || {
            // Whatever it says then comes too late.
            drop(child.wait());
            has_ended.store(true, Ordering::Relaxed);
        });
    }
}

fn understood(text: &str) -> Result<Answer, SmartError> {
    let value = serde_json::from_str(text);
    value
        .map(Answer)
        .map_err(|error| SmartError::Other(format!("no JSON: {error}")))
}

fn refused(answer: &Answer) -> SmartError {
    let told = answer
        .complaint()
        .unwrap_or("the drive could not be opened");
    SmartError::Other(
        told.chars()
            .filter(|character| !character.is_control())
            .collect(),
    )
}

fn version(answer: &Answer) -> [u64; 2] {
    ["/smartctl/version/0", "/smartctl/version/1"].map(|at| answer.number(at).unwrap_or(0))
}
