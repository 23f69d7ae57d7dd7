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

    /// What the kernel tells of a drive that was opened from a path. No device is asked for it.
    fn drive_facts(&self, path: &str) -> DriveFacts;

    /// How warm drives are, by their paths, as their sensors tell the kernel within half a second; `None` of
    /// one without, or that does not answer.
    fn temperatures(&self, paths: &[String]) -> Vec<Option<i32>>;

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

    /// Begins to verify what is to run after the next reboot, and then to see to it if it is not only a plan.
    ///
    /// # Errors
    /// The machine was not started from the image, an update is under way, or that is no name of a file.
    fn begin_update(&mut self, to: UpdateTo<'_>, is_plan: bool) -> Result<UpdateId, HostError>;

    /// What has come of an update. Only that of the last one is known.
    fn update_state(&self, update: UpdateId) -> UpdateState;

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

    /// Writes a bundle of named texts, with the configuration and the log of the daemon. Returns its path;
    /// `None` in a rehearsal.
    ///
    /// # Errors
    /// It could not be written.
    fn write_bundle(&mut self, files: &[(String, String)]) -> Result<Option<String>, HostError>;

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

/// What the kernel tells of a drive; `None` where it does not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DriveFacts {
    /// The kernel's name of it.
    pub device: Option<String>,
    /// Model, with the vendor where the bus has one.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World wide name.
    pub wwn: Option<String>,
    /// Version of its firmware.
    pub firmware: Option<String>,
    /// How it is attached: `sata`, `sas`, `nvme` ….
    pub bus: Option<String>,
    /// Speed of its link, in the words of the kernel.
    pub link_speed: Option<String>,
    /// Whether it has moving parts.
    pub is_rotating: Option<bool>,
    /// How often it turns in a minute.
    pub rpm: Option<u32>,
    /// Unit of its addresses.
    pub logical_sector_bytes: Option<u32>,
    /// Unit that it writes without reading.
    pub physical_sector_bytes: Option<u32>,
    /// Whether it has a cache that forgets at power-off.
    pub has_volatile_cache: Option<bool>,
    /// Whether a single write can be made durable at once.
    pub has_fua: Option<bool>,
    /// Whether it has queues that are polled.
    pub has_poll_queues: Option<bool>,
    /// The bay of an enclosure that it sits in.
    pub bay: Option<String>,
    /// Where it is attached.
    pub place: Option<String>,
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
    /// The one in the other slot, if one is there that may start.
    pub other: Option<String>,
    /// The one that starts next.
    pub next: String,
    /// Those that were tried, and did not come up.
    pub failed: Vec<String>,
}

/// What is to run after the next reboot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateTo<'a> {
    /// What is in this file.
    File(&'a str),
    /// The one that would not: of the version that runs and that in the other slot.
    Other,
}

/// An update that was begun: a number of its own, since the start of the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct UpdateId(pub u64);

/// Where an update stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpdateState {
    /// It is verified or written.
    Running,
    /// It has ended well. Says what was done; of a plan, `would …`.
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
