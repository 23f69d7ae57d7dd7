//! Files, by Landlock: the daemon reads what the system is, and writes its own and its drives.
//!
//! Whatever is opened before goes on working, and so do reads of the directories that disks are in, since a
//! file that is replaced is another file.

use crate::clock::SystemClock;
use crate::config::Config;
use crate::helper;
use anyhow::Context;
use disk::DriveSpec;
use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is handled; older kernels leave out what they do not know.
const VERSION: ABI = ABI::V5;

/// Programs that are run, and their libraries.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib64"];

/// What programs read elsewhere: `smartctl` refuses to do anything when there is a newer drive database
/// (`update-smart-drivedb`) that it may not read.
const DATA_OF_PROGRAMS: &str = "/var/lib/smartmontools";

/// What the system tells.
const SYSTEM: &[&str] = &["/etc", "/proc", "/sys", "/run"];

/// Devices: drives under any of their names.
const DEVICES: &str = "/dev";

/// Where the LEDs of slots are.
const LEDS: &str = "/sys/devices";

/// Restricts this thread and those that it starts.
pub(super) fn confine(config: &Config) -> anyhow::Result<()> {
    let all = AccessFs::from_all(VERSION);
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = look | AccessFs::WriteFile | AccessFs::IoctlDev;
    let own = all & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    let status = Ruleset::default()
        .handle_access(all)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(beneath(PROGRAMS, look | AccessFs::Execute)))
        .and_then(|rules| {
            rules.add_rules(beneath(
                own_program(),
                AccessFs::ReadFile | AccessFs::Execute,
            ))
        })
        .and_then(|rules| rules.add_rules(beneath(search_path(), look | AccessFs::Execute)))
        .and_then(|rules| rules.add_rules(beneath(SYSTEM, look)))
        .and_then(|rules| rules.add_rules(beneath([DATA_OF_PROGRAMS], look)))
        .and_then(|rules| rules.add_rules(beneath([DEVICES], devices)))
        .and_then(|rules| rules.add_rules(beneath(leds(), look | AccessFs::WriteFile)))
        .and_then(|rules| rules.add_rules(beneath(config_places(config), look)))
        .and_then(|rules| rules.add_rules(beneath(own_places(config), own)))
        .and_then(|rules| rules.add_rules(beneath(clock_place(), own)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .context("Landlock")?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => {}
        RulesetStatus::PartiallyEnforced => {
            tracing::info!("files are restricted as far as this kernel's Landlock can");
        }
        RulesetStatus::NotEnforced => {
            tracing::warn!("files are not restricted: the kernel has no Landlock (lsm=landlock)");
        }
    }
    Ok(())
}

/// Rules for those places that are there.
fn beneath<P: AsRef<Path>>(
    places: impl IntoIterator<Item = P>,
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<landlock::PathBeneath<landlock::PathFd>, landlock::RulesetError>> {
    path_beneath_rules(places, access)
}

/// The program that asks the helper is the daemon's own.
fn own_program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

/// Where programs are looked for; whoever starts the daemon says where that is.
fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path);
    directories
        .filter(|directory| directory.is_absolute())
        .collect()
}

/// What the daemon switches itself where no helper does it.
fn leds() -> Option<&'static str> {
    (!helper::asks_drives()).then_some(LEDS)
}

/// Where the configuration is, to be read again.
fn config_places(config: &Config) -> Option<PathBuf> {
    directory(&config.path)
}

/// What the daemon writes: its state, its socket, and files that are disks.
fn own_places(config: &Config) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::from([config.state_dir.clone()]);
    places.extend(directory(&config.control_socket));
    for disk in &config.disks {
        let DriveSpec::Path(path) = &disk.spec else {
            continue;
        };
        let real = path.canonicalize().ok();
        for path in real.iter().chain([path]) {
            if !path.starts_with(DEVICES) {
                places.extend(directory(path));
            }
        }
    }
    places
}

/// Where servers for the clock are set. It is made here, since what is not there cannot be allowed.
fn clock_place() -> Option<PathBuf> {
    let may = rustix::process::geteuid().is_root() && Path::new("/run/systemd/system").is_dir();
    let directory = may.then(|| SystemClock::default().directory()).flatten()?;
    if let Err(error) = std::fs::create_dir_all(&directory) {
        tracing::warn!(
            "servers for the clock cannot be set: {}: {error}",
            directory.display()
        );
    }
    Some(directory)
}

/// The directory that something is in.
fn directory(path: &Path) -> Option<PathBuf> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    }
}
