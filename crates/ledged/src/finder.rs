//! Disks that no `[[disk]]` names: which there are, and in which slots.
//!
//! The numbers of places are kept in `slots` of the state directory, a number and a place a line, so that a
//! disk that is pulled does not renumber the others. Nothing else hangs on that file: LUNs are found whatever
//! slots their disks are in.

use crate::config::DiskConfig;
use crate::drives::Place;
use crate::plug::FOUND_MAX;
use crate::store::StateDir;
use disk::DriveSpec;
use disk::discover::{self, Found, Slots};
use disk::facts::{Facts, System};
use shelf::admin::DriveSlot;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Finds disks.
#[derive(Debug)]
pub(crate) struct Finder {
    system: System,
    state: StateDir,
    slots: Slots,
    reserved: BTreeSet<u16>,
    /// Paths of the configuration.
    named: Vec<PathBuf>,
    /// Why disks are not taken, by name, as it was told last.
    told: BTreeMap<String, String>,
    /// It was told that the numbers could not be kept.
    has_told_of_state: bool,
}

impl Finder {
    /// Beside the disks of the configuration.
    pub(crate) fn new(state: StateDir, disks: &[DiskConfig]) -> Self {
        let (slots, wrong) = match state.slots() {
            Ok(text) => Slots::parse(&text),
            Err(reason) => {
                tracing::error!("which disk has which slot is not known: {reason}");
                (Slots::default(), Vec::new())
            }
        };
        for line in wrong {
            tracing::error!("slots: {line:?} is no number and place, and is left out");
        }
        let path = |disk: &DiskConfig| match &disk.spec {
            DriveSpec::Path(path) => Some(path.clone()),
            DriveSpec::Ram { .. } | DriveSpec::Null { .. } => None,
        };
        Self {
            system: System::default(),
            state,
            slots,
            reserved: disks.iter().map(|disk| disk.slot.0).collect(),
            named: disks.iter().filter_map(path).collect(),
            told: BTreeMap::new(),
            has_told_of_state: false,
        }
    }

    /// The disks that are there now and may be taken, each with its slot.
    pub(crate) fn look(&mut self) -> Vec<Place> {
        let facts = self.named.iter();
        let facts = facts.filter_map(|path| Facts::of_path(&self.system, path));
        let named = facts.map(|facts| facts.name).collect();
        let found = discover::discover(&self.system, &named);
        let limits = (&self.reserved, FOUND_MAX);
        if discover::assign(&self.system, &found, &mut self.slots, limits) || self.has_told_of_state
        {
            self.keep();
        }
        self.tell(&found);
        let taken = found.iter().filter(|disk| disk.refusal.is_none());
        let place = |disk: &Found| {
            let slot = self
                .slots
                .of(disk)
                .filter(|slot| !self.reserved.contains(slot))?;
            let place = disk.facts.place.clone().unwrap_or_default();
            Some(Place {
                slot: DriveSlot(slot),
                spec: DriveSpec::Path(Path::new("/dev").join(&disk.facts.name)),
                io_poll: true,
                origin: format!("found at {place}"),
            })
        };
        taken.filter_map(place).collect()
    }

    /// A slot is of the configuration from now on, and so is its disk.
    pub(crate) fn reserve(&mut self, disk: &DiskConfig) {
        self.reserved.insert(disk.slot.0);
        if let DriveSpec::Path(path) = &disk.spec {
            self.named.push(path.clone());
        }
    }

    /// A slot is of the configuration no more: its disk may be found.
    pub(crate) fn release(&mut self, slot: DriveSlot, spec: &DriveSpec) {
        self.reserved.remove(&slot.0);
        if let DriveSpec::Path(path) = spec {
            self.named.retain(|named| named != path);
        }
    }

    /// Whether the configuration says what is in a slot.
    pub(crate) fn is_reserved(&self, slot: DriveSlot) -> bool {
        self.reserved.contains(&slot.0)
    }

    fn keep(&mut self) {
        match self.state.save_slots(&self.slots.text()) {
            Ok(()) => self.has_told_of_state = false,
            Err(reason) if !self.has_told_of_state => {
                tracing::error!("slots may be numbered anew by the next start: {reason}");
                self.has_told_of_state = true;
            }
            Err(_) => {}
        }
    }

    /// Logs why disks are not taken, when it is news.
    fn tell(&mut self, found: &[Found]) {
        let is_left = |disk: &Found| disk.refusal.is_none() && self.slots.of(disk).is_none();
        let reason = |disk: &Found| {
            let left = || is_left(disk).then(|| format!("all {FOUND_MAX} slots are given away"));
            disk.refusal.clone().or_else(left)
        };
        let now: BTreeMap<String, String> = found
            .iter()
            .filter_map(|disk| Some((disk.facts.name.clone(), reason(disk)?)))
            .collect();
        for (name, reason) in &now {
            if self.told.get(name) != Some(reason) {
                tracing::info!("disk {name} is not taken: {reason}");
            }
        }
        self.told = now;
    }
}
