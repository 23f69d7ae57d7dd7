//! The configuration file.
//!
//! Every complaint names the file, the line, the key and what to do. Unknown keys are refused: a
//! mistyped key must not silently mean its default.

mod changes;

pub(crate) use changes::Live;

use crate::door::peer::Groups;
use crate::interfaces::Selector;
use crate::sandbox::Sandbox;
use aoe::{ADDRESSES_MAX, MacAddress, Shelf};
use disk::DriveSpec;
use engine::Spin;
use port::RequestedMode;
use serde::Deserialize;
use shelf::admin::DriveSlot;
use shelf::shard::WORKERS_MAX;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// A checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where it was read.
    pub(crate) path: PathBuf,
    /// The text of the file.
    pub(crate) text: String,
    /// Shelf number; unset on a new box.
    pub(crate) shelf: Option<Shelf>,
    /// Shelf-wide settings.
    pub(crate) state_dir: PathBuf,
    /// Where `ledge` finds the daemon.
    pub(crate) control_socket: PathBuf,
    /// How many workers there are.
    pub(crate) workers: u8,
    /// The CPU of each of them; empty when the kernel chooses.
    pub(crate) cores: Vec<usize>,
    /// How long a worker polls without work before it sleeps.
    pub(crate) spin: Spin,
    /// How long a disk may take before it is given up.
    pub(crate) disk_timeout: Duration,
    /// Whether the daemon gives up what it does not need, and what becomes of it when it does need it.
    pub(crate) sandbox: Sandbox,
    /// Who may use the control socket.
    pub(crate) groups: Groups,
    /// After this time without a key an Ethernet console is logged out; `None` for never.
    pub(crate) cec_idle: Option<Duration>,
    /// How often drives are asked for their health; `None` for never.
    pub(crate) smart_interval: Option<Duration>,
    /// The `[[port]]`s as they are written, at least one.
    pub(crate) written_ports: Vec<PortConfig>,
    /// The same, and as they are written too until [`crate::interfaces`] has named them: then one for each
    /// interface.
    pub(crate) ports: Vec<PortConfig>,
    /// Drives, each slot once.
    pub(crate) disks: Vec<DiskConfig>,
    /// Whether disks are found that no `[[disk]]` names.
    pub(crate) finds_disks: bool,
}

/// A `[[port]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PortConfig {
    /// Interface name; as it is written a pattern or an address, until [`crate::interfaces`] has named it.
    pub(crate) interface: String,
    /// How frames are exchanged with the kernel.
    pub(crate) mode: RequestedMode,
    /// Whether the Ethernet console answers here, until a command says otherwise.
    pub(crate) cec: bool,
    /// The only stations that it answers; everybody if there are none.
    pub(crate) cec_allow: BTreeSet<MacAddress>,
    /// Station addresses that it answers from, its own among them.
    pub(crate) addresses: u8,
    /// Whether its worker drives the NIC, instead of interrupts.
    pub(crate) busy_poll: bool,
    /// Most that is sent to each initiator; 0 for as much as can be.
    pub(crate) pace_mbit_per_second: u64,
}

/// A `[[disk]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DiskConfig {
    /// Its slot.
    pub(crate) slot: DriveSlot,
    /// What it is.
    pub(crate) spec: DriveSpec,
    /// Whether its poll queues are used, if it has any.
    pub(crate) io_poll: bool,
    /// Line of its path in the file, for messages about the drive.
    pub(crate) line: usize,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(
        "{path}: {cause}; name another file with --config, or write this one after the commented config/ledge.toml"
    )]
    Read {
        path: PathBuf,
        // Not a `source`, which would be printed a second time.
        cause: std::io::Error,
    },
    #[error("{path}:{line}: {reason}")]
    Refused {
        path: PathBuf,
        line: usize,
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    /// Looked at before anything else: [`Source::check_version`].
    #[serde(rename = "version")]
    _version: Option<i64>,
    shelf: Option<Spanned<i64>>,
    state_dir: Option<Spanned<String>>,
    control_socket: Option<Spanned<String>>,
    workers: Option<Spanned<i64>>,
    cores: Option<Spanned<Vec<i64>>>,
    spin_us: Option<Spanned<toml::Value>>,
    disk_timeout_seconds: Option<Spanned<i64>>,
    sandbox: Option<Spanned<toml::Value>>,
    admin_group: Option<Spanned<String>>,
    reader_group: Option<Spanned<String>>,
    cec_idle_minutes: Option<Spanned<i64>>,
    smart_interval_minutes: Option<Spanned<i64>>,
    #[serde(default)]
    port: Vec<Spanned<RawPort>>,
    #[serde(default)]
    disk: Vec<Spanned<RawDisk>>,
    #[serde(default)]
    discover: RawDiscover,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDiscover {
    disks: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    interface: Spanned<String>,
    mode: Option<Spanned<String>>,
    #[serde(default)]
    cec: bool,
    cec_allow: Option<Spanned<Vec<String>>>,
    addresses: Option<Spanned<i64>>,
    busy_poll: Option<Spanned<bool>>,
    pace_mbit_per_second: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDisk {
    slot: Spanned<i64>,
    path: Spanned<String>,
    io_poll: Option<Spanned<String>>,
}

/// Of a configuration only what it is written for. The rest may be of a version that nobody here knows.
#[derive(Deserialize)]
struct Versioned {
    version: Option<Spanned<i64>>,
}

/// The version of the configuration that this program reads. It grows when a key changes its meaning or goes;
/// there is none before it.
const VERSION: i64 = 1;

/// Where the state directory is without `state_dir`.
const DEFAULT_STATE_DIR: &str = "/var/lib/ledge";

/// Where the control socket is without `control_socket`.
const DEFAULT_CONTROL_SOCKET: &str = "/run/ledge/control.sock";

/// How long a worker polls without `spin_us`: about as long as a sleep and its end take on a virtual machine.
/// So it bridges the gaps of a busy initiator, and leaves the CPU to others when there is none.
const DEFAULT_SPIN: Duration = Duration::from_micros(50);

/// The longest that may be set: a second is as good as always.
const SPIN_US_MAX: u64 = 1_000_000;

/// How long a disk may take without `disk_timeout_seconds`.
const DEFAULT_DISK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a disk may take, in seconds: longer than it takes to call it slow, shorter than initiators
/// are told that there is no hope.
const DISK_TIMEOUTS: std::ops::RangeInclusive<u64> = 2..=30;

/// After which time without a key an Ethernet console is logged out, without `cec_idle_minutes`.
const DEFAULT_CEC_IDLE: Duration = Duration::from_secs(15 * 60);

/// How often drives are asked for their health, without `smart_interval_minutes`.
const DEFAULT_SMART_INTERVAL: Duration = Duration::from_mins(10);

/// A day; who wants more wants never.
const MINUTES_MAX: u64 = 24 * 60;

/// Rates that ports of initiators have, in Mbit/s.
const PACES_MBIT_PER_SECOND: std::ops::RangeInclusive<u64> = 10..=400_000;

/// Reads and checks a configuration file.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read {
        path: path.to_owned(),
        cause,
    })?;
    Source { path, text: &text }.check()
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    /// The key that a place in the file belongs to, if it lies at a key or its value.
    fn key(&self, span: &Range<usize>) -> Option<&str> {
        let line_end = self.text.get(span.start..)?.find('\n');
        let end = line_end.map_or(self.text.len(), |length| span.start + length);
        // An array may begin on an earlier line.
        let line = self
            .text
            .get(..end)?
            .lines()
            .rev()
            .find(|line| line.contains('=') || line.trim_start().starts_with("[["))?;
        let (key, _) = line.split_once('=')?;
        let key = key.trim();
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        (!key.is_empty() && key.chars().all(is_key)).then_some(key)
    }

    /// A path as it was given, or refused if no file can have it.
    fn check_path(&self, key: &str, text: &Spanned<String>) -> Result<(), ConfigError> {
        let problem = match text.get_ref() {
            text if text.is_empty() => "is empty; a path is needed",
            text if text.contains('\0') => "contains a NUL character, which no path can have",
            _ => return Ok(()),
        };
        Err(self.refuse(
            &text.span(),
            format!("{key} = {:?} {problem}", text.get_ref()),
        ))
    }

    fn path_or(
        &self,
        key: &str,
        given: Option<&Spanned<String>>,
        default: &str,
    ) -> Result<PathBuf, ConfigError> {
        let Some(text) = given else {
            return Ok(default.into());
        };
        self.check_path(key, text)?;
        Ok(text.get_ref().into())
    }

    fn refuse(&self, span: &Range<usize>, reason: impl Into<String>) -> ConfigError {
        let (path, line) = (self.path.to_owned(), self.line(span));
        ConfigError::Refused {
            path,
            line,
            reason: reason.into(),
        }
    }

    /// A file for a later Ledge is refused by that, and not by the first key that is not known here.
    fn check_version(&self) -> Result<(), ConfigError> {
        // What is no TOML at all is told by whoever reads all of it.
        let Ok(Versioned {
            version: Some(version),
        }) = toml::from_str(self.text)
        else {
            return Ok(());
        };
        let reason = match *version.get_ref() {
            VERSION => return Ok(()),
            newer if newer > VERSION => {
                format!(
                    "version = {newer}: written for a newer Ledge; this one reads version {VERSION}"
                )
            }
            other => format!("version = {other}: there is no such version; this one is {VERSION}"),
        };
        Err(self.refuse(&version.span(), reason))
    }

    fn check(&self) -> Result<Config, ConfigError> {
        self.check_version()?;
        let raw: RawConfig = toml::from_str(self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().replace('\n', ", ");
            let key = self
                .key(&span)
                .filter(|key| !message.contains(&format!("`{key}`")));
            let reason = key.map_or_else(|| message.clone(), |key| format!("{key}: {message}"));
            self.refuse(&span, reason)
        })?;
        let workers = self.check_workers(raw.workers.as_ref())?;
        let cores = self.check_cores(raw.cores.as_ref(), workers)?;
        let (finds_disks, disks) = self.check_all_disks(&raw)?;
        let mut config = Config {
            path: self.path.to_owned(),
            text: self.text.to_owned(),
            shelf: raw
                .shelf
                .as_ref()
                .map(|shelf| self.check_shelf(shelf))
                .transpose()?,
            state_dir: self.path_or("state_dir", raw.state_dir.as_ref(), DEFAULT_STATE_DIR)?,
            control_socket: self.path_or(
                "control_socket",
                raw.control_socket.as_ref(),
                DEFAULT_CONTROL_SOCKET,
            )?,
            workers,
            cores,
            spin: self.check_spin(raw.spin_us.as_ref())?,
            disk_timeout: self.check_disk_timeout(raw.disk_timeout_seconds.as_ref())?,
            sandbox: self.check_sandbox(raw.sandbox.as_ref())?,
            groups: self.check_groups(&raw)?,
            cec_idle: self.check_minutes(
                "cec_idle_minutes",
                raw.cec_idle_minutes.as_ref(),
                DEFAULT_CEC_IDLE,
            )?,
            smart_interval: self.check_minutes(
                "smart_interval_minutes",
                raw.smart_interval_minutes.as_ref(),
                DEFAULT_SMART_INTERVAL,
            )?,
            written_ports: self.check_ports(&raw.port)?,
            ports: Vec::new(),
            finds_disks,
            disks,
        };
        config.ports.clone_from(&config.written_ports);
        Ok(config)
    }

    fn check_shelf(&self, shelf: &Spanned<i64>) -> Result<Shelf, ConfigError> {
        let number = *shelf.get_ref();
        u16::try_from(number)
            .ok()
            .map(Shelf)
            .filter(|shelf| shelf.is_valid_target())
            .ok_or_else(|| {
                let reason = if number == 4095 {
                    "shelf = 4095: the Linux initiator refuses this number; use another, 0 to 65534"
                        .into()
                } else {
                    format!("shelf = {number}: must be 0 to 65534, and not 4095")
                };
                self.refuse(&shelf.span(), reason)
            })
    }

    fn check_spin(&self, spin: Option<&Spanned<toml::Value>>) -> Result<Spin, ConfigError> {
        let Some(spin) = spin else {
            return Ok(Spin::For(DEFAULT_SPIN));
        };
        let given = spin.get_ref();
        if given.as_str() == Some("always") {
            return Ok(Spin::Always);
        }
        let valid = given.as_integer().and_then(|us| u64::try_from(us).ok());
        let valid = valid.filter(|us| *us <= SPIN_US_MAX);
        let spin_for = |us| Spin::For(Duration::from_micros(us));
        valid.map(spin_for).ok_or_else(|| {
            let reason = format!("spin_us = {given}: must be 0 to {SPIN_US_MAX}, or \"always\"");
            self.refuse(&spin.span(), reason)
        })
    }

    fn check_sandbox(
        &self,
        sandbox: Option<&Spanned<toml::Value>>,
    ) -> Result<Sandbox, ConfigError> {
        let Some(sandbox) = sandbox else {
            return Ok(Sandbox::Refuse);
        };
        match sandbox.get_ref() {
            toml::Value::Boolean(false) => Ok(Sandbox::Off),
            toml::Value::Boolean(true) => Ok(Sandbox::Refuse),
            toml::Value::String(word) if word == "kill" => Ok(Sandbox::Kill),
            given => {
                let reason = format!("sandbox = {given}: must be true, false, or \"kill\"");
                Err(self.refuse(&sandbox.span(), reason))
            }
        }
    }

    fn check_disk_timeout(&self, seconds: Option<&Spanned<i64>>) -> Result<Duration, ConfigError> {
        let Some(seconds) = seconds else {
            return Ok(DEFAULT_DISK_TIMEOUT);
        };
        let given = *seconds.get_ref();
        let valid = u64::try_from(given).ok();
        let valid = valid.filter(|valid| DISK_TIMEOUTS.contains(valid));
        valid.map(Duration::from_secs).ok_or_else(|| {
            let reason = format!("disk_timeout_seconds = {given}: must be 2 to 30");
            self.refuse(&seconds.span(), reason)
        })
    }

    fn check_workers(&self, workers: Option<&Spanned<i64>>) -> Result<u8, ConfigError> {
        let Some(workers) = workers else { return Ok(1) };
        let given = *workers.get_ref();
        let valid = u8::try_from(given).ok();
        let valid = valid.filter(|count| (1..=WORKERS_MAX).contains(count));
        valid.ok_or_else(|| {
            let reason = format!("workers = {given}: must be at least 1 and at most {WORKERS_MAX}");
            self.refuse(&workers.span(), reason)
        })
    }

    /// The core of each worker, if they are given.
    fn check_cores(
        &self,
        cores: Option<&Spanned<Vec<i64>>>,
        workers: u8,
    ) -> Result<Vec<usize>, ConfigError> {
        let Some(cores) = cores else {
            return Ok(Vec::new());
        };
        let refuse = |reason| Err(self.refuse(&cores.span(), reason));
        let given = cores.get_ref();
        if given.len() != usize::from(workers) {
            let count = given.len();
            return refuse(format!(
                "cores: {count} given; one core for each worker, so exactly {workers}"
            ));
        }
        let present = core_affinity::get_core_ids().unwrap_or_default();
        let mut found = Vec::new();
        for core in given {
            let Some(id) = present.iter().find(|id| i64::try_from(id.id) == Ok(*core)) else {
                let ids: Vec<String> = present.iter().map(|id| id.id.to_string()).collect();
                let ids = ids.join(", ");
                return refuse(format!(
                    "cores: no such core here as {core}; there are {ids}"
                ));
            };
            if found.contains(&id.id) {
                return refuse(format!(
                    "cores: {core} is given twice; workers poll, each on its own"
                ));
            }
            found.push(id.id);
        }
        Ok(found)
    }

    fn check_ports(&self, raw: &[Spanned<RawPort>]) -> Result<Vec<PortConfig>, ConfigError> {
        let mut ports: Vec<PortConfig> = Vec::new();
        for port in raw.iter().map(Spanned::get_ref) {
            let interface = port.interface.get_ref().clone();
            let refuse = |reason| Err(self.refuse(&port.interface.span(), reason));
            // A pattern may be longer than what it matches, and an address is.
            let is_name = Selector::of(&interface) == Selector::Name;
            let is_too_long = interface.len() > if is_name { 15 } else { 64 };
            if interface.is_empty() || is_too_long || interface.contains(['/', ' ']) {
                return refuse(format!("interface = {interface:?} is no interface name"));
            }
            if ports.iter().any(|other| other.interface == interface) {
                return refuse(format!("interface = {interface:?} has a [[port]] already"));
            }
            let mode = match &port.mode {
                None => RequestedMode::Auto,
                Some(word) => word.get_ref().parse().map_err(|error| {
                    self.refuse(
                        &word.span(),
                        format!("mode = {:?}: {error}", word.get_ref()),
                    )
                })?,
            };
            ports.push(PortConfig {
                interface,
                mode,
                cec: port.cec,
                cec_allow: self.check_cec_allow(port.cec_allow.as_ref())?,
                addresses: self.check_addresses(port.addresses.as_ref())?,
                busy_poll: self.check_busy_poll(port.busy_poll.as_ref(), mode)?,
                pace_mbit_per_second: self.check_pace(port.pace_mbit_per_second.as_ref())?,
            });
        }
        if ports.is_empty() {
            let end = self.text.len()..self.text.len();
            let reason = "no [[port]]: a shelf serves on at least one interface; add [[port]] with interface = \"…\"";
            return Err(self.refuse(&end, reason));
        }
        Ok(ports)
    }

    fn check_groups(&self, raw: &RawConfig) -> Result<Groups, ConfigError> {
        let mut groups = Groups::default();
        let given = [
            ("admin_group", &raw.admin_group, &mut groups.admin),
            ("reader_group", &raw.reader_group, &mut groups.reader),
        ];
        for (key, text, group) in given {
            let Some(text) = text else { continue };
            let name = text.get_ref();
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if name.is_empty() || name.len() > 32 || !name.chars().all(is_name) {
                let reason = format!("{key} = {name:?} is no name of a group");
                return Err(self.refuse(&text.span(), reason));
            }
            group.clone_from(name);
        }
        Ok(groups)
    }

    /// Some minutes; 0 is never.
    fn check_minutes(
        &self,
        key: &str,
        minutes: Option<&Spanned<i64>>,
        default: Duration,
    ) -> Result<Option<Duration>, ConfigError> {
        let Some(minutes) = minutes else {
            return Ok(Some(default));
        };
        let given = *minutes.get_ref();
        match u64::try_from(given) {
            Ok(0) => Ok(None),
            Ok(given) if given <= MINUTES_MAX => Ok(Some(Duration::from_secs(60 * given))),
            _ => {
                let reason = format!("{key} = {given}: must be 1 to {MINUTES_MAX}, or 0 for never");
                Err(self.refuse(&minutes.span(), reason))
            }
        }
    }

    fn check_cec_allow(
        &self,
        stations: Option<&Spanned<Vec<String>>>,
    ) -> Result<BTreeSet<MacAddress>, ConfigError> {
        let Some(stations) = stations else {
            return Ok(BTreeSet::new());
        };
        let refuse = |reason| Err(self.refuse(&stations.span(), reason));
        if stations.get_ref().is_empty() {
            return refuse(
                "cec_allow = []: nobody; leave it out for everybody, or set cec = false".to_owned(),
            );
        }
        let mut found = BTreeSet::new();
        for word in stations.get_ref() {
            match word.parse::<MacAddress>() {
                Ok(mac) if !mac.is_multicast() => drop(found.insert(mac)),
                Ok(_) => return refuse(format!("cec_allow: {word} is a group, no station")),
                Err(error) => return refuse(format!("cec_allow: {word:?}: {error}")),
            }
        }
        Ok(found)
    }

    fn check_busy_poll(
        &self,
        busy_poll: Option<&Spanned<bool>>,
        mode: RequestedMode,
    ) -> Result<bool, ConfigError> {
        match busy_poll {
            Some(wanted) if *wanted.get_ref() && mode == RequestedMode::Packet => {
                let reason = "busy_poll = true: not in mode packet; take another mode";
                Err(self.refuse(&wanted.span(), reason))
            }
            wanted => Ok(wanted.is_some_and(|wanted| *wanted.get_ref())),
        }
    }

    fn check_addresses(&self, addresses: Option<&Spanned<i64>>) -> Result<u8, ConfigError> {
        let Some(addresses) = addresses else {
            return Ok(1);
        };
        let given = *addresses.get_ref();
        let valid = u8::try_from(given).ok();
        let valid = valid.filter(|count| (1..=ADDRESSES_MAX).contains(count));
        valid.ok_or_else(|| {
            let reason = format!("addresses = {given}: must be 1 to {ADDRESSES_MAX}");
            self.refuse(&addresses.span(), reason)
        })
    }

    fn check_pace(&self, pace: Option<&Spanned<i64>>) -> Result<u64, ConfigError> {
        let Some(pace) = pace else {
            return Ok(0);
        };
        let given = *pace.get_ref();
        let valid = u64::try_from(given).ok();
        let valid = valid.filter(|mbit| *mbit == 0 || PACES_MBIT_PER_SECOND.contains(mbit));
        valid.ok_or_else(|| {
            let reason =
                format!("pace_mbit_per_second = {given}: must be 10 to 400000, or 0 for no limit");
            self.refuse(&pace.span(), reason)
        })
    }

    fn check_io_poll(&self, given: Option<&Spanned<String>>) -> Result<bool, ConfigError> {
        match given.map(|given| (given, given.get_ref().as_str())) {
            None | Some((_, "auto")) => Ok(true),
            Some((_, "off")) => Ok(false),
            Some((given, other)) => {
                let reason = format!("io_poll = {other:?}: must be \"auto\" or \"off\"");
                Err(self.refuse(&given.span(), reason))
            }
        }
    }

    fn check_discover(&self, given: Option<&Spanned<String>>) -> Result<bool, ConfigError> {
        match given.map(|given| (given, given.get_ref().as_str())) {
            None | Some((_, "off")) => Ok(false),
            Some((_, "auto")) => Ok(true),
            Some((given, other)) => {
                let reason = format!("disks = {other:?}: must be \"auto\" or \"off\"");
                Err(self.refuse(&given.span(), reason))
            }
        }
    }

    fn check_all_disks(&self, raw: &RawConfig) -> Result<(bool, Vec<DiskConfig>), ConfigError> {
        let disks = self.check_disks(&raw.disk)?;
        let finds_disks = self.check_discover(raw.discover.disks.as_ref())?;
        let is_null = |disk: &&DiskConfig| disk.spec.is_null();
        match raw.discover.disks.as_ref().filter(|_| finds_disks) {
            Some(given) if disks.iter().any(|disk| is_null(&disk)) => {
                let reason = "disks = \"auto\": not beside a null drive, whose reads give what other commands left \
                              in memory";
                Err(self.refuse(&given.span(), reason))
            }
            _ => Ok((finds_disks, disks)),
        }
    }

    fn check_disks(&self, raw: &[Spanned<RawDisk>]) -> Result<Vec<DiskConfig>, ConfigError> {
        let mut disks: Vec<DiskConfig> = Vec::new();
        for disk in raw.iter().map(Spanned::get_ref) {
            let number = *disk.slot.get_ref();
            let slot = u16::try_from(number).map(DriveSlot).map_err(|_| {
                self.refuse(
                    &disk.slot.span(),
                    format!("slot = {number}: must be 0 to 65535"),
                )
            })?;
            if let Some(other) = disks.iter().find(|other| other.slot == slot) {
                let reason = format!(
                    "slot = {number} is taken by the disk of line {}",
                    other.line
                );
                return Err(self.refuse(&disk.slot.span(), reason));
            }
            self.check_path("path", &disk.path)?;
            let text = disk.path.get_ref();
            let span = disk.path.span();
            let spec: DriveSpec = text
                .parse()
                .map_err(|error| self.refuse(&span, format!("path = {text:?}: {error}")))?;
            if let Some(other) = disks.iter().find(|other| same_file(&other.spec, &spec)) {
                let reason = format!("path = {text:?} is the disk of line {} already", other.line);
                return Err(self.refuse(&span, reason));
            }
            if let Some(other) = disks.iter().find(|other| bars_null(&other.spec, &spec)) {
                let reason = format!(
                    "path = {text:?} is beside the disk of line {}: reads of a null drive give what other \
                     commands left in memory, so that only drives in memory may be beside it",
                    other.line
                );
                return Err(self.refuse(&span, reason));
            }
            disks.push(DiskConfig {
                slot,
                spec,
                io_poll: self.check_io_poll(disk.io_poll.as_ref())?,
                line: self.line(&span),
            });
        }
        disks.sort_by_key(|disk| disk.slot);
        Ok(disks)
    }
}

/// Whether two paths lead to one file or device. Memory drives are always different ones.
pub(crate) fn same_file(one: &DriveSpec, other: &DriveSpec) -> bool {
    match (one, other) {
        (DriveSpec::Path(one), DriveSpec::Path(other)) => {
            one == other
                || matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
        }
        _ => false,
    }
}

/// Whether one of them is a null drive and the other holds somebody's data.
const fn bars_null(one: &DriveSpec, other: &DriveSpec) -> bool {
    matches!(
        (one, other),
        (DriveSpec::Null { .. }, DriveSpec::Path(_)) | (DriveSpec::Path(_), DriveSpec::Null { .. })
    )
}

#[cfg(test)]
mod tests;
