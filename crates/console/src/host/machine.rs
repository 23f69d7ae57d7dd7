//! The machine that the shelf runs on.

use super::HostError;
use std::time::Duration;

/// The machine itself. What is not offered is refused with a reason.
pub trait Machine {
    /// Time since some moment, for intervals.
    fn now(&self) -> Duration;

    /// Seconds since 1970, UTC.
    fn unix_seconds(&self) -> u64;

    /// What is known of the machine.
    fn facts(&self) -> BoxFacts;

    /// A time as people read it, in a zone: `2026-11-27 01:10:03 CET`.
    ///
    /// # Errors
    /// There is no such zone, or no time that is known.
    fn local_time(&self, unix_seconds: u64, zone: Option<&str>) -> Result<String, HostError>;

    /// The names of all time zones.
    fn timezones(&self) -> Vec<String>;

    /// Begins to stop the machine. The daemon ends in good order before.
    ///
    /// # Errors
    /// Nobody is there who could: a container, a machine without systemd.
    fn power(&mut self, what: Power) -> Result<(), HostError>;

    /// Which versions of the image there are.
    ///
    /// # Errors
    /// The machine was not started from the image.
    fn image(&self) -> Result<ImageVersions, HostError>;

    /// Begins to verify an update, and then to write it if it is not only a plan.
    ///
    /// # Errors
    /// The machine was not started from the image, or an update is under way.
    fn begin_update(&mut self, file: &str, is_plan: bool) -> Result<(), HostError>;

    /// What has come of the update that was begun last.
    fn update_state(&self) -> UpdateState;

    /// Whether the log tells everything.
    fn is_debugging(&self) -> bool;

    /// Makes the log tell everything, or what it told at the start.
    ///
    /// # Errors
    /// The log cannot be changed.
    fn set_debugging(&mut self, on: bool) -> Result<(), HostError>;

    /// Sends a text to the syslog target.
    ///
    /// # Errors
    /// There is no target, or the network does not take it.
    fn send_syslog(&mut self, text: &str) -> Result<(), HostError>;

    /// Writes a bundle of named texts, with the configuration and the log of the daemon. Returns its path.
    ///
    /// # Errors
    /// It could not be written.
    fn write_bundle(&mut self, files: &[(String, String)]) -> Result<String, HostError>;

    /// The names of the configurations that were saved.
    ///
    /// # Errors
    /// They could not be listed.
    fn saved(&self) -> Result<Vec<String>, HostError>;

    /// A configuration that was saved.
    ///
    /// # Errors
    /// There is none of that name.
    fn load(&self, name: &str) -> Result<String, HostError>;

    /// Saves a configuration, in the place of one of the same name.
    ///
    /// # Errors
    /// It could not be written.
    fn save(&mut self, name: &str, text: &str) -> Result<(), HostError>;
}

/// How a machine is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// It starts again.
    Reboot,
    /// It stays off.
    Halt,
}

/// The versions of the image on a machine.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ImageVersions {
    /// The one that runs.
    pub running: String,
    /// The one that starts next.
    pub next: String,
    /// Those that were tried, and did not come up.
    pub failed: Vec<String>,
}

/// Where an update stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpdateState {
    /// It is verified or written.
    Running,
    /// It has ended well. Says what was done.
    Done(String),
    /// It was refused, or has failed. Says why.
    Failed(HostError),
}

/// What is known of a machine.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BoxFacts {
    /// What it is, as its firmware says.
    pub model: Option<String>,
    /// Its serial number, as its firmware says.
    pub serial: Option<String>,
    /// Its name on the network.
    pub hostname: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Since when it runs.
    pub uptime_seconds: u64,
    /// Since when the daemon runs.
    pub daemon_uptime_seconds: u64,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [String; 3],
    /// Its memory.
    pub memory_total_bytes: u64,
    /// What of that programs could have.
    pub memory_available_bytes: u64,
    /// What the daemon has resident.
    pub daemon_resident_bytes: u64,
    /// What its CPUs did since it was started.
    pub cpus: Vec<CpuTimes>,
}

/// What a CPU did, in clock ticks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CpuTimes {
    /// In programs.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Idle.
    pub idle: u64,
    /// Idle, while disks were waited for.
    pub io_wait: u64,
    /// In interrupts.
    pub interrupts: u64,
}
