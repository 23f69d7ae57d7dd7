//! Finding disks: which ones there are, which of them may be taken, and the number of the slot of each.
//!
//! Invariants:
//! * a look changes nothing, and opens no device;
//! * a disk of which anything is in use (mounted, swapped on, held by device mapper or md, booted from), that
//!   cannot be written, that has no medium or can be taken out by hand is not taken, and neither is what
//!   is no hardware; why is told of whatever is a disk;
//! * a place that has a number keeps it, whatever else comes and goes, and however the firmware numbers the
//!   buses of PCI ([`assign`]). A disk that is moved has the number of where it is;
//! * no two disks are taken at one place.

mod uses;

use crate::facts::{Bay, Bus, Facts, System, bays};
use shelf::plane::Unit;
use std::collections::{BTreeMap, BTreeSet};
use uses::Uses;

/// A disk that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What is known of it.
    pub facts: Facts,
    /// Why it is not taken.
    pub refusal: Option<String>,
}

impl Found {
    /// What its slot is known by: its route, and the bay that it is in, if any.
    fn keys(&self) -> impl Iterator<Item = String> {
        let bay = self.facts.bay.as_ref().map(bay_key);
        self.facts.route.clone().into_iter().chain(bay)
    }
}

/// All disks, but for those with these names of the kernel's, or with parts that have.
#[must_use]
pub fn discover(system: &System, named: &BTreeSet<String>) -> Vec<Found> {
    let uses = Uses::of(system);
    let all = system.block_devices();
    let facts = all.iter().filter_map(|name| Facts::of(system, name));
    let disks = facts.filter(|facts| facts.bus != Bus::Virtual && !facts.is_partition);
    let is_named = |facts: &Facts| {
        let mut names = uses::with_partitions(system, &facts.name).into_iter();
        names.any(|name| named.contains(&name))
    };
    let mut found: Vec<Found> = disks
        .filter(|facts| !is_named(facts))
        .map(|facts| Found {
            refusal: refusal(system, &facts, &uses),
            facts,
        })
        .collect();
    refuse_seconds(&mut found);
    found
}

/// Of disks that the kernel says are at one place only the first is taken: a slot has one disk.
fn refuse_seconds(found: &mut [Found]) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for disk in found.iter_mut().filter(|disk| disk.refusal.is_none()) {
        let keys: Vec<String> = disk.keys().collect();
        match keys.iter().find_map(|key| taken.get(key)) {
            Some(first) => {
                let text = "is at the same place: name it in a [[disk]] to use it";
                disk.refusal = Some(format!("{first} {text}"));
            }
            None => taken.extend(keys.into_iter().map(|key| (key, disk.facts.name.clone()))),
        }
    }
}

/// Why a disk is not taken.
fn refusal(system: &System, facts: &Facts, uses: &Uses) -> Option<String> {
    if facts.size_bytes == 0 {
        return Some("it has no medium".to_owned());
    }
    if facts.is_removable {
        let text =
            "it can be taken out by hand (USB, a card, a CD): name it in a [[disk]] to use it";
        return Some(text.to_owned());
    }
    if facts.is_read_only {
        return Some("it is read-only".to_owned());
    }
    let is_served = |bytes: &u32| Unit::of_sector_bytes(*bytes).is_some();
    if let Some(bytes) = facts.logical_sector_bytes.filter(|bytes| !is_served(bytes)) {
        return Some(format!(
            "its sectors have {bytes} bytes: disks with sectors of 512 (512n, 512e) or 4096 bytes (4Kn) are served"
        ));
    }
    if facts.place.is_none() && facts.bay.is_none() {
        let text = "where it is attached is not known: name it in a [[disk]] to use it";
        return Some(text.to_owned());
    }
    uses.of_disk(system, &facts.name)
}

/// The numbers of places.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Slots(BTreeMap<String, u16>);

impl Slots {
    /// From lines of a number and a place; and the lines that are none.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let (mut slots, mut wrong) = (Self::default(), Vec::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            let parts = line.split_once(' ');
            let entry = parts.and_then(|(number, key)| Some((number.parse().ok()?, key)));
            match entry {
                Some((number, key)) if !slots.has(number) && !slots.0.contains_key(key) => {
                    slots.0.insert(key.to_owned(), number);
                }
                _ => wrong.push(line.to_owned()),
            }
        }
        (slots, wrong)
    }

    /// As [`Slots::parse`] takes it, in the order of the numbers.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines: Vec<(u16, &String)> =
            self.0.iter().map(|(key, number)| (*number, key)).collect();
        lines.sort();
        let line = |(number, key): &(u16, &String)| format!("{number} {key}\n");
        lines.iter().map(line).collect()
    }

    fn has(&self, number: u16) -> bool {
        self.0.values().any(|known| *known == number)
    }

    /// The number of a bay.
    #[must_use]
    pub fn of_bay(&self, bay: &Bay) -> Option<u16> {
        self.0.get(&bay_key(bay)).copied()
    }

    /// The number of the place of a disk.
    #[must_use]
    pub fn of(&self, found: &Found) -> Option<u16> {
        let mut numbers = found.keys().filter_map(|key| self.0.get(&key).copied());
        numbers.next()
    }
}

/// Gives numbers below `limit` to the places of disks and to the bays of enclosures that have none, but not
/// those that are reserved: bays of the first enclosure the numbers that it gives them, if they are free, and
/// all others the lowest that no place has or had; enclosures first, then NVMe, then the others. Whether any
/// was given.
pub fn assign(
    system: &System,
    found: &[Found],
    slots: &mut Slots,
    (reserved, limit): (&BTreeSet<u16>, u16),
) -> bool {
    let mut wanted: Vec<(String, Option<u16>)> = Vec::new();
    let bays = bays(system);
    let first = bays.first().map(|bay| bay.enclosure.clone());
    for bay in &bays {
        let is_first = first.as_ref() == Some(&bay.enclosure);
        let number = u16::try_from(bay.number).ok().filter(|_| is_first);
        wanted.push((bay_key(bay), number));
    }
    let mut others: Vec<&Found> = found.iter().filter(|disk| disk.refusal.is_none()).collect();
    others.retain(|disk| disk.facts.bay.is_none());
    others.sort_by_key(|disk| {
        let place = disk.facts.place.as_deref().unwrap_or_default();
        (disk.facts.bus != Bus::Nvme, natural(place))
    });
    let route = |disk: &&Found| Some((disk.facts.route.clone()?, None));
    wanted.extend(others.iter().filter_map(route));
    // A disk keeps the number of its place when its enclosure begins to tell its bay.
    let by_place = |key: &String| {
        let mut disks = found.iter().filter(|disk| disk.facts.bay.is_some());
        disks.any(|disk| disk.keys().any(|own| own == *key) && slots.of(disk).is_some())
    };
    let new: Vec<_> = wanted
        .into_iter()
        .filter(|(key, _)| !slots.0.contains_key(key) && !by_place(key))
        .collect();
    let before = slots.0.len();
    let is_free = |slots: &Slots, number: u16| {
        number < limit && !slots.has(number) && !reserved.contains(&number)
    };
    // First those that can have the numbers that they say, so that no other takes them.
    let mut others = Vec::new();
    for (key, number) in new {
        // Two bays of one number, with a disk in each: they have one slot.
        if slots.0.contains_key(&key) || others.contains(&key) {
            continue;
        }
        match number.filter(|number| is_free(slots, *number)) {
            Some(number) => drop(slots.0.insert(key, number)),
            None => others.push(key),
        }
    }
    for key in others {
        if let Some(number) = (0..limit).find(|number| is_free(slots, *number)) {
            slots.0.insert(key, number);
        }
    }
    slots.0.len() > before
}

fn bay_key(bay: &Bay) -> String {
    format!("enclosure {} bay {}", bay.enclosure, bay.number)
}

/// Sorts `ata-2` before `ata-10`.
fn natural(place: &str) -> Vec<(String, u64)> {
    let part = |part: &str| {
        let text = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = part[text.len()..].parse().unwrap_or(0);
        (text.to_owned(), number)
    };
    place.split('-').map(part).collect()
}

#[cfg(test)]
mod tests;
