//! Runs `smartctl`, and waits for it only until a deadline.

use super::parse::Answer;
use crate::program::{command, ends};
use shelf::smart::{RecoveryTimers, SelfTestKind, Smart, SmartChange};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// The exit status that is asked for when a disk sleeps: no other outcome has both of these bits.
const ASLEEP: u8 = 3;

/// Bits of the exit status for a command line or a device that `smartctl` could not use.
const EXIT_UNUSABLE: u8 = 0b11;

/// The first of them: it does not know what kind of device that is.
const EXIT_UNKNOWN_KIND: u8 = 0b01;

/// What it says of a volume of a RAID adapter, before the word for its make and the number of a disk.
const VOLUME: &str = "please try adding '-d ";

/// Longest answer that is read. Real ones have some ten thousand bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The bit of the exit status for a command that the drive did not do.
const EXIT_COMMAND_FAILED: u8 = 1 << 2;

/// How long one that was killed may take to end, and the last of an answer to come.
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
    /// It does not know how to ask this kind of device, as it does not for virtual disks.
    #[error("smartctl: {0}")]
    UnknownKind(String),
    /// It is a volume that a RAID adapter makes of disks.
    #[error(
        "smartctl: {0}; it is a volume of a RAID adapter, which has no health of its own: let the adapter pass its disks \
         through (JBOD, HBA mode)"
    )]
    Volume(String),
    /// What it said is no answer.
    #[error("smartctl did not answer properly: {0}")]
    Unreadable(String),
    /// The device could not be opened, or it said something else.
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
    /// Those that were killed and have not ended yet.
    hanging: BTreeMap<PathBuf, Child>,
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
        let answer = self.ask(device, &["-n", &format!("standby,{ASLEEP}"), "-x"])?;
        match answer.exit_status() {
            status if status & EXIT_UNUSABLE == ASLEEP => Err(SmartError::Asleep),
            status if status & EXIT_UNUSABLE != 0 => Err(refused(&answer)),
            _ => Ok(answer.smart()),
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
            SmartChange::AbortSelfTest => &["-X"],
        };
        let answer = self.ask(device, options)?;
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
            SmartChange::SelfTest(_) | SmartChange::AbortSelfTest
                if is_nvme && version(&answer) < NVME_SELF_TESTS =>
            {
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

    /// Runs it with these options, and reads what it answers.
    fn ask(&mut self, device: &Path, options: &[&str]) -> Result<Answer, SmartError> {
        let bytes = self.run(device, options)?;
        let answer = Answer::read(&String::from_utf8_lossy(&bytes));
        answer.map_err(|error| SmartError::Unreadable(error.to_string()))
    }

    /// Runs it with these options, and gives what it said.
    fn run(&mut self, device: &Path, options: &[&str]) -> Result<Vec<u8>, SmartError> {
        self.hanging
            .retain(|_, child| matches!(child.try_wait(), Ok(None)));
        if self.hanging.contains_key(device) {
            return Err(SmartError::Hangs);
        }
        let mut command = command(&self.program).ok_or(SmartError::NotInstalled)?;
        let mut child = command
            .args(&self.prefix)
            .arg("--json=co")
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
        let answer = match child.stdout.take().map(read_aside).transpose() {
            Ok(answer) => answer,
            Err(error) => {
                self.kill(device, child)?;
                return Err(SmartError::CannotRun(error));
            }
        };
        if !ends(&mut child, self.deadline).map_err(SmartError::CannotRun)? {
            self.kill(device, child)?;
            return Err(SmartError::Late(self.deadline));
        }
        let Some(answer) = answer else {
            return Ok(Vec::new());
        };
        match answer.recv_timeout(KILL_PATIENCE) {
            Ok(bytes) => bytes.map_err(|error| SmartError::Unreadable(error.to_string())),
            // It has ended, and somebody that it has started has not.
            Err(RecvTimeoutError::Timeout) => Err(SmartError::Late(self.deadline)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(SmartError::Unreadable("it was not read".to_owned()))
            }
        }
    }

    /// Kills one, and leaves it alone if even that does not end it.
    fn kill(&mut self, device: &Path, mut child: Child) -> Result<(), SmartError> {
        child.kill().map_err(SmartError::CannotRun)?;
        if !ends(&mut child, KILL_PATIENCE).map_err(SmartError::CannotRun)? {
            self.hanging.insert(device.to_owned(), child);
        }
        Ok(())
    }
}

/// Reads what it says as it comes: more than a pipe holds would keep it from ending. What is too long is cut
/// off, and then is no answer.
fn read_aside(output: ChildStdout) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = sync_channel(1);
    thread::Builder::new()
        .name("smartctl".to_owned())
        .spawn(move || {
            let mut bytes = Vec::new();
            let read = output.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
            // Nobody hears it when it comes too late.
            drop(sender.send(read.map(|_| bytes)));
        })?;
    Ok(receiver)
}

fn refused(answer: &Answer) -> SmartError {
    let told = answer
        .complaint()
        .or_else(|| answer.last_words())
        .unwrap_or("it does not say why the drive cannot be asked");
    let told = told.chars().filter(|character| !character.is_control());
    let told: String = told.collect();
    if answer.exit_status() & EXIT_UNUSABLE == EXIT_UNKNOWN_KIND {
        SmartError::UnknownKind(told)
    } else if told.contains(VOLUME) {
        SmartError::Volume(told)
    } else {
        SmartError::Other(told)
    }
}

fn version(answer: &Answer) -> [u64; 2] {
    ["/smartctl/version/0", "/smartctl/version/1"].map(|at| answer.number(at).unwrap_or(0))
}
