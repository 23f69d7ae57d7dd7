//! What differs between the configuration that the daemon runs with and a new one, and what of it can be
//! taken over while it serves.
//!
//! Invariant: every key is either compared here or has no effect. What is not [`Live`] needs a restart, and
//! is named as the administrator wrote it.

use super::{Config, DiskConfig, PortConfig};
use crate::door::peer::Groups;
use crate::interfaces::Selector;
use aoe::MacAddress;
use shelf::admin::DriveSlot;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// What can change while the shelf serves, without a frame being dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Live {
    /// `admin_group`, `reader_group`.
    Groups(Groups),
    /// `cec_idle_minutes`.
    CecIdle(Option<Duration>),
    /// `cec` of a port.
    Cec(String, bool),
    /// `cec_allow` of a port.
    CecAllow(String, BTreeSet<MacAddress>),
    /// `pace_mbit_per_second` of a port that has one already.
    Pace(String, u64),
    /// The `[[port]]`s as they are written, when other interfaces than before get a port if they come.
    Newcomers(Vec<PortConfig>),
    /// A `[[port]]` that was not there.
    PortNew(PortConfig),
    /// A `[[port]]` that is there no more.
    PortGone(String),
    /// A `[[disk]]` that was not there.
    DiskNew(DiskConfig),
    /// A `[[disk]]` that is there no more.
    DiskGone(DriveSlot),
    /// `path` of a disk.
    DiskPath(DiskConfig),
    /// `disks = "auto"` of `[discover]`.
    FindDisks,
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Groups(_) => f.write_str("admin_group, reader_group"),
            Self::CecIdle(_) => f.write_str("cec_idle_minutes"),
            Self::Cec(port, _) => write!(f, "cec of port {port}"),
            Self::CecAllow(port, _) => write!(f, "cec_allow of port {port}"),
            Self::Pace(port, _) => write!(f, "pace_mbit_per_second of port {port}"),
            Self::Newcomers(_) => {
                f.write_str("patterns and addresses of ports, for what comes later")
            }
            Self::PortNew(port) => write!(f, "port {} (new)", port.interface),
            Self::PortGone(port) => write!(f, "port {port} (removed)"),
            Self::DiskNew(disk) => write!(f, "disk of slot {} (new)", disk.slot),
            Self::DiskGone(slot) => write!(f, "disk of slot {slot} (removed)"),
            Self::DiskPath(disk) => write!(f, "path of slot {}", disk.slot),
            Self::FindDisks => f.write_str("disks of [discover]"),
        }
    }
}

/// What differs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Changes {
    /// What is taken over.
    pub(crate) live: Vec<Live>,
    /// What needs a restart.
    pub(crate) restart: Vec<String>,
}

impl Config {
    /// What a new configuration changes.
    pub(crate) fn changes_to(&self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        let shelf_wide = [
            ("shelf", self.shelf != new.shelf),
            ("state_dir", self.state_dir != new.state_dir),
            ("control_socket", self.control_socket != new.control_socket),
            ("workers", self.workers != new.workers),
            ("cores", self.cores != new.cores),
            ("spin_us", self.spin != new.spin),
            (
                "disk_timeout_seconds",
                self.disk_timeout != new.disk_timeout,
            ),
            ("sandbox", self.sandbox != new.sandbox),
            (
                "smart_interval_minutes",
                self.smart_interval != new.smart_interval,
            ),
            // Disks that were found may be in use.
            (
                "disks of [discover] (off)",
                self.finds_disks && !new.finds_disks,
            ),
        ];
        let changed = shelf_wide.into_iter().filter(|(_, differs)| *differs);
        changes
            .restart
            .extend(changed.map(|(key, _)| key.to_owned()));
        if self.groups != new.groups {
            changes.live.push(Live::Groups(new.groups.clone()));
        }
        if self.cec_idle != new.cec_idle {
            changes.live.push(Live::CecIdle(new.cec_idle));
        }
        self.compare_ports(new, &mut changes);
        self.compare_disks(new, &mut changes);
        changes
    }

    /// What comes comes first, so that hosts always have a path.
    fn compare_ports(&self, new: &Self, changes: &mut Changes) {
        let of = |config: &Self, name: &str| {
            let mut ports = config.ports.iter();
            ports.find(|port| port.interface == name).cloned()
        };
        for port in &new.ports {
            if of(self, &port.interface).is_none() {
                changes.live.push(Live::PortNew(port.clone()));
            }
        }
        for port in &self.ports {
            match of(new, &port.interface) {
                Some(new) => port.compare(&new, changes),
                None => changes.live.push(Live::PortGone(port.interface.clone())),
            }
        }
        if self.newcomers() != new.newcomers() {
            let written = new.written_ports.clone();
            changes.live.push(Live::Newcomers(written));
        }
    }

    /// What says which interfaces that come get a port, and which keys it has then: patterns and addresses,
    /// and the names that these leave out.
    fn newcomers(&self) -> Vec<(&str, Option<&PortConfig>)> {
        let mut written = self.written_ports.iter();
        if !written.any(PortConfig::is_pattern_or_address) {
            return Vec::new();
        }
        let of = |port| {
            let is_asked_for = PortConfig::is_pattern_or_address(port);
            (port.interface.as_str(), is_asked_for.then_some(port))
        };
        self.written_ports.iter().map(of).collect()
    }

    /// What goes comes first, so that a disk may get another slot at once.
    fn compare_disks(&self, new: &Self, changes: &mut Changes) {
        let of = |config: &Self, disk: &DiskConfig| {
            let mut disks = config.disks.iter();
            disks.find(|other| other.slot == disk.slot).cloned()
        };
        for disk in &self.disks {
            let slot = disk.slot;
            match of(new, disk) {
                None => changes.live.push(Live::DiskGone(slot)),
                // What a null drive may be beside is looked at by the start.
                Some(new)
                    if new.spec != disk.spec && (new.spec.is_null() || disk.spec.is_null()) =>
                {
                    changes.restart.push(format!("path of slot {slot}"));
                }
                Some(new) if new.io_poll != disk.io_poll => {
                    changes.restart.push(format!("io_poll of slot {slot}"));
                }
                Some(new) if new.spec != disk.spec => changes.live.push(Live::DiskPath(new)),
                Some(_) => {}
            }
        }
        for disk in &new.disks {
            if of(self, disk).is_some() {
                continue;
            }
            if disk.spec.is_null() {
                let key = format!("disk of slot {} (new)", disk.slot);
                changes.restart.push(key);
            } else {
                changes.live.push(Live::DiskNew(disk.clone()));
            }
        }
        if new.finds_disks && !self.finds_disks {
            changes.live.push(Live::FindDisks);
        }
    }

    /// Notes what was taken over: the rest goes on as it was, and is named again by the next comparison.
    pub(crate) fn take_over(&mut self, live: &Live) {
        match live {
            Live::Groups(groups) => self.groups = groups.clone(),
            Live::CecIdle(limit) => self.cec_idle = *limit,
            Live::Cec(name, on) => self.change_port(name, |port| port.cec = *on),
            Live::CecAllow(name, stations) => {
                self.change_port(name, |port| port.cec_allow.clone_from(stations));
            }
            Live::Pace(name, pace) => {
                self.change_port(name, |port| port.pace_mbit_per_second = *pace);
            }
            Live::Newcomers(written) => self.written_ports.clone_from(written),
            Live::PortNew(port) => self.ports.push(port.clone()),
            Live::PortGone(name) => self.ports.retain(|port| port.interface != *name),
            Live::DiskNew(disk) => {
                self.disks.push(disk.clone());
                self.disks.sort_by_key(|disk| disk.slot);
            }
            Live::DiskGone(slot) => self.disks.retain(|disk| disk.slot != *slot),
            Live::DiskPath(new) => {
                let mut disks = self.disks.iter_mut();
                if let Some(disk) = disks.find(|disk| disk.slot == new.slot) {
                    disk.clone_from(new);
                }
            }
            Live::FindDisks => self.finds_disks = true,
        }
    }

    fn change_port(&mut self, name: &str, change: impl FnOnce(&mut PortConfig)) {
        let mut ports = self.ports.iter_mut();
        if let Some(port) = ports.find(|port| port.interface == name) {
            change(port);
        }
    }
}

impl PortConfig {
    /// Whether it stands for whatever interfaces there are, and may come.
    pub(crate) fn is_pattern_or_address(&self) -> bool {
        Selector::of(&self.interface) != Selector::Name
    }

    fn compare(&self, new: &Self, changes: &mut Changes) {
        let name = &self.interface;
        let fixed = [
            ("mode", self.mode != new.mode),
            ("addresses", self.addresses != new.addresses),
            ("busy_poll", self.busy_poll != new.busy_poll),
        ];
        let changed = fixed.into_iter().filter(|(_, differs)| *differs);
        let named = changed.map(|(key, _)| format!("{key} of port {name}"));
        changes.restart.extend(named);
        if self.cec != new.cec {
            changes.live.push(Live::Cec(name.clone(), new.cec));
        }
        if self.cec_allow != new.cec_allow {
            let stations = new.cec_allow.clone();
            changes.live.push(Live::CecAllow(name.clone(), stations));
        }
        match (self.pace_mbit_per_second, new.pace_mbit_per_second) {
            (old, new) if old == new => {}
            // Room for replies that wait is made at the start.
            (0, _) | (_, 0) => {
                let key = format!("pace_mbit_per_second of port {name} (from or to no limit)");
                changes.restart.push(key);
            }
            (_, new) => changes.live.push(Live::Pace(name.clone(), new)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    const OLD: &str = "shelf = 1\n[[port]]\ninterface = \"a\"\npace_mbit_per_second = 100\n\
                       [[disk]]\nslot = 0\npath = \"/dev/null\"\n";

    /// Each key, in a configuration that differs from [`OLD`] by it.
    const TABLE: &[(&str, &str, &str)] = &[
        ("shelf = 1", "shelf = 2", "shelf"),
        ("shelf = 1", "shelf = 1\nstate_dir = \"/s\"", "state_dir"),
        (
            "shelf = 1",
            "shelf = 1\ncontrol_socket = \"/c\"",
            "control_socket",
        ),
        ("shelf = 1", "shelf = 1\nworkers = 2", "workers"),
        ("shelf = 1", "shelf = 1\ncores = [0]", "cores"),
        ("shelf = 1", "shelf = 1\nspin_us = 1", "spin_us"),
        (
            "shelf = 1",
            "shelf = 1\ndisk_timeout_seconds = 2",
            "disk_timeout_seconds",
        ),
        ("shelf = 1", "shelf = 1\nsandbox = false", "sandbox"),
        (
            "[[port]]",
            "[discover]\ndisks = \"auto\"\n[[port]]",
            "live disks of [discover]",
        ),
        (
            "shelf = 1",
            "shelf = 1\nsmart_interval_minutes = 0",
            "smart_interval_minutes",
        ),
        (
            "shelf = 1",
            "shelf = 1\nadmin_group = \"x\"",
            "live admin_group, reader_group",
        ),
        (
            "shelf = 1",
            "shelf = 1\nreader_group = \"x\"",
            "live admin_group, reader_group",
        ),
        (
            "shelf = 1",
            "shelf = 1\ncec_idle_minutes = 0",
            "live cec_idle_minutes",
        ),
        (
            "interface = \"a\"",
            "interface = \"a\"\nmode = \"packet\"",
            "mode of port a",
        ),
        (
            "interface = \"a\"",
            "interface = \"a\"\naddresses = 2",
            "addresses of port a",
        ),
        (
            "interface = \"a\"",
            "interface = \"a\"\nbusy_poll = true",
            "busy_poll of port a",
        ),
        (
            "interface = \"a\"",
            "interface = \"a\"\ncec = true",
            "live cec of port a",
        ),
        (
            "interface = \"a\"",
            "interface = \"a\"\ncec_allow = [\"00:10:04:01:2e:81\"]",
            "live cec_allow of port a",
        ),
        (
            "second = 100",
            "second = 200",
            "live pace_mbit_per_second of port a",
        ),
        (
            "second = 100",
            "second = 0",
            "pace_mbit_per_second of port a (from or to no limit)",
        ),
        (
            "[[disk]]",
            "[[port]]\ninterface = \"b\"\n[[disk]]",
            "live port b (new)",
        ),
        ("/dev/null", "/dev/zero", "live path of slot 0"),
        (
            "slot = 0",
            "slot = 0\nio_poll = \"off\"",
            "io_poll of slot 0",
        ),
        (
            "[[disk]]",
            "[[disk]]\nslot = 1\npath = \"ram:1M\"\n[[disk]]",
            "live disk of slot 1 (new)",
        ),
        ("/dev/null\"", "null:1M\"", "path of slot 0"),
    ];

    fn told(changes: &Changes) -> Vec<String> {
        let live = changes.live.iter().map(|live| format!("live {live}"));
        live.chain(changes.restart.iter().cloned()).collect()
    }

    #[test]
    fn every_key_is_taken_over_or_named() {
        let old = check(OLD).unwrap();
        assert_eq!(old.changes_to(&old), Changes::default());
        for (from, to, expected) in TABLE {
            let text = OLD.replacen(from, to, 1);
            let new = check(&text).unwrap();
            assert_eq!(told(&old.changes_to(&new)), [*expected], "{text}");
        }
    }

    #[test]
    fn what_is_gone_is_named_too() {
        let old = check(OLD).unwrap();
        let new = check("shelf = 1\n[[port]]\ninterface = \"b\"\n").unwrap();
        let expected = [
            "live port b (new)",
            "live port a (removed)",
            "live disk of slot 0 (removed)",
        ];
        assert_eq!(told(&old.changes_to(&new)), expected);
    }

    /// The interfaces that patterns stand for are those of the machine: here `b`.
    #[test]
    fn patterns_are_compared_as_they_are_written() {
        let named = |text: &str| {
            let mut config = check(text).unwrap();
            config.ports = check(&text.replace("b*", "b")).unwrap().ports;
            config
        };
        let text = format!("{OLD}[[port]]\ninterface = \"b*\"\n");
        let mut running = named(OLD);
        let mut new = named(&text);
        let later = "live patterns and addresses of ports, for what comes later";
        assert_eq!(
            told(&running.changes_to(&new)),
            ["live port b (new)", later]
        );
        for live in running.changes_to(&new).live {
            running.take_over(&live);
        }
        assert_eq!(running.changes_to(&new), Changes::default());
        // It stands for nothing more now, and has another key for what comes.
        new = named(&text.replace("b*", "b?"));
        new.ports.clone_from(&running.ports);
        assert_eq!(told(&running.changes_to(&new)), [later]);
        new = named(&format!("{text}cec = true\n"));
        assert_eq!(
            told(&running.changes_to(&new)),
            ["live cec of port b", later]
        );
        // A name is left out by the pattern; its other keys are of no concern to it.
        new = named(&text.replace("second = 100", "second = 200"));
        let pace = "live pace_mbit_per_second of port a";
        assert_eq!(told(&running.changes_to(&new)), [pace]);
        new = named(&text.replace("\"a\"", "\"c\""));
        let changes = ["live port c (new)", "live port a (removed)", later];
        assert_eq!(told(&running.changes_to(&new)), changes);
    }

    #[test]
    fn what_was_taken_over_differs_no_more() {
        for (from, to, expected) in TABLE.iter().filter(|(.., what)| what.starts_with("live")) {
            let mut running = check(OLD).unwrap();
            let new = check(&OLD.replacen(from, to, 1)).unwrap();
            for live in running.changes_to(&new).live {
                running.take_over(&live);
            }
            assert_eq!(running.changes_to(&new), Changes::default(), "{expected}");
        }
    }
}
