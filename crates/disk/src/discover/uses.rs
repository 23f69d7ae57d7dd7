//! What disks are used for by others: mounts, swap, device mapper and md, and the system that was booted.

use crate::facts::{System, names_in};
use std::collections::BTreeMap;
use std::fs;

/// What is in use, by the kernel's names of devices, and for what.
#[derive(Debug)]
pub(super) struct Uses(BTreeMap<String, String>);

impl Uses {
    pub(super) fn of(system: &System) -> Self {
        let mut uses = BTreeMap::new();
        let read = |path: &str| fs::read_to_string(system.path(path)).unwrap_or_default();
        for (word, name) in booted_from(system, &read("proc/cmdline")) {
            uses.insert(name, format!("the machine was booted from it ({word})"));
        }
        for line in read("proc/swaps").lines().skip(1) {
            if let Some(path) = line.split_whitespace().next() {
                let name = name_of_path(system, path);
                uses.insert(name, "it is swapped on".to_owned());
            }
        }
        for line in read("proc/self/mountinfo").lines() {
            note_mount(system, line, &mut uses);
        }
        Self(uses)
    }

    /// What a disk is in use for, or a part of it.
    pub(super) fn of_disk(&self, system: &System, disk: &str) -> Option<String> {
        with_partitions(system, disk).into_iter().find_map(|name| {
            let what = self.0.get(&name).cloned();
            let what = what.or_else(|| {
                let holder = holders(system, &name).into_iter().next()?;
                Some(format!("{holder} is on it"))
            })?;
            Some(if name == disk {
                what
            } else {
                format!("its part {name} is in use: {what}")
            })
        })
    }
}

/// A mount, by the number of its device and by the name of it: either may be of no disk.
fn note_mount(system: &System, line: &str, uses: &mut BTreeMap<String, String>) {
    let fields: Vec<&str> = line.split(' ').collect();
    let [_, _, number, _, at, ..] = fields[..] else {
        return;
    };
    let what = || format!("it is mounted on {at}");
    if let Some((major, minor)) = number.split_once(':')
        && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
        && let Some(name) = system.name_of(major, minor)
    {
        uses.insert(name, what());
    }
    let separator = fields.iter().position(|field| *field == "-");
    let source = separator.and_then(|separator| fields.get(separator + 2));
    if let Some(source) = source.filter(|source| source.starts_with("/dev/")) {
        uses.insert(name_of_path(system, source), what());
    }
}

/// The devices that the kernel was told of, with the words that name them: `root=PARTUUID=…`.
fn booted_from(system: &System, command_line: &str) -> Vec<(String, String)> {
    let named = command_line.split_whitespace().filter_map(|word| {
        let (_, value) = word.split_once('=')?;
        let path = match value.split_once('=') {
            Some(("PARTUUID", uuid)) => format!("/dev/disk/by-partuuid/{}", uuid.to_lowercase()),
            Some(("UUID", uuid)) => format!("/dev/disk/by-uuid/{uuid}"),
            Some(("LABEL", label)) => format!("/dev/disk/by-label/{label}"),
            Some(("PARTLABEL", label)) => format!("/dev/disk/by-partlabel/{label}"),
            _ if value.starts_with("/dev/") => value.to_owned(),
            _ => return None,
        };
        Some((word.to_owned(), name_of_path(system, &path)))
    });
    named.collect()
}

/// The kernel's name of a device node, or of what a link leads to.
fn name_of_path(system: &System, path: &str) -> String {
    let inside = system.path(path.trim_start_matches('/'));
    let real = inside.canonicalize().unwrap_or(inside);
    let name = real.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A disk and its partitions.
pub(super) fn with_partitions(system: &System, disk: &str) -> Vec<String> {
    let directory = system.path("sys/class/block").join(disk);
    let is_partition = |name: &String| directory.join(name).join("partition").exists();
    let partitions = names_in(&directory).into_iter().filter(is_partition);
    std::iter::once(disk.to_owned()).chain(partitions).collect()
}

/// Who holds a device: device mapper, md.
fn holders(system: &System, name: &str) -> Vec<String> {
    names_in(&system.path("sys/class/block").join(name).join("holders"))
}
