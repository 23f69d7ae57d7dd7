//! What goes wrong, other than the power.
//!
//! Members are lost only as long as the level can serve without them: a disk that once failed, was pulled
//! or was absent counts as lost for good. Sectors become unreadable on any disk; where too few copies are
//! left the oracle is told that errors are right.

use crate::disk::{Delivery, SimDisk};
use crate::random::Random;
use crate::run::Stress;
use crate::switch::Micros;
use crate::world::{InFlight, World};
use raid::Geometry;
use raid::parity::Role;
use raid::stripe::SLICE_SECTORS_MAX;
use shelf::target::Io;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultClass {
    /// The power goes. Without it the shelf is only ever stopped in good order.
    Power,
    /// The switch loses, doubles and delays frames.
    Network,
    /// A sector becomes unreadable until it is written.
    Unreadable,
    /// A write fails.
    WriteError,
    /// A disk is pulled; it may come back with what it had.
    Pull,
    /// A disk takes much longer for everything.
    Slow,
    /// A disk does not answer for half a minute, then with errors.
    Hang,
    /// A disk is absent when the shelf starts.
    Absent,
    /// Disks are in other slots when the shelf starts.
    Swap,
    /// An administrator changes things: fails members and takes them back, gives and takes spares, replaces,
    /// scrubs, goes offline and online.
    Command,
    /// A disk reports a write as done that it lost, or put elsewhere.
    Silent,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Power,
        Self::Network,
        Self::Unreadable,
        Self::WriteError,
        Self::Pull,
        Self::Slow,
        Self::Hang,
        Self::Absent,
        Self::Swap,
        Self::Command,
        Self::Silent,
    ];

    /// Those that a shelf has to survive: all but the silent ones.
    pub const LOUD: [Self; 10] = [
        Self::Power,
        Self::Network,
        Self::Unreadable,
        Self::WriteError,
        Self::Pull,
        Self::Slow,
        Self::Hang,
        Self::Absent,
        Self::Swap,
        Self::Command,
    ];

    /// Its word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Network => "network",
            Self::Unreadable => "unreadable",
            Self::WriteError => "write-error",
            Self::Pull => "pull",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Absent => "absent",
            Self::Swap => "swap",
            Self::Command => "command",
            Self::Silent => "silent",
        }
    }
}

impl FromStr for FaultClass {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|class| class.name() == word);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|class| class.name()).collect();
            format!("no such fault; there are: {}", names.join(", "))
        })
    }
}

/// Something that goes wrong while the shelf runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A copy of this sector of the LUN becomes unreadable.
    Unreadable {
        /// The sector.
        lba: u64,
        /// Which of its copies, modulo their number.
        copy: usize,
    },
    /// The next write of a disk fails.
    WriteError {
        /// The disk.
        disk: usize,
    },
    /// A disk is gone.
    Pull {
        /// The disk.
        disk: usize,
    },
    /// A disk becomes so many times slower.
    Slow {
        /// The disk.
        disk: usize,
        /// How many times.
        factor: u64,
    },
    /// A disk does nothing for some time; what it is asked meanwhile it does then, or the kernel has
    /// given up on it.
    Hang {
        /// The disk.
        disk: usize,
        /// For how long.
        micros: Micros,
        /// Whether what it was asked fails.
        fails: bool,
    },
    /// The next write of a disk takes so long, while the disk does others.
    Stick {
        /// The disk.
        disk: usize,
        /// How long.
        micros: Micros,
    },
    /// The administrator gives a command.
    Command,
}

/// A disk that hangs no longer than this is never given up, however slow it is besides: six seconds.
const HANG_HARMLESS: Micros = 6_000_000;

/// How long a slow life goes on after a hang.
const AFTERMATH: Micros = 2_000_000;

/// How long a write sticks: often it lands just after it was given up, when others have taken its place.
fn stick_length(random: &mut Random) -> Micros {
    if random.chance(600) {
        random.between(10_000_000..=12_000_000)
    } else {
        hang_length(random)
    }
}

/// How long disks hang.
fn hang_length(random: &mut Random) -> Micros {
    match random.below(4) {
        0 => random.between(5_000..=200_000),
        1 => random.between(500_000..=HANG_HARMLESS),
        2 => random.between(9_000_000..=40_000_000),
        _ => random.between(10_000_000..=200_000_000),
    }
}
/// No command is longer.
const NEAR: u64 = 32;
/// Of a thousand writes, so many are lost or misdirected in a run with silent faults.
const SILENT: u64 = 4;

/// What is to go wrong, and what has.
#[derive(Clone, Default, Debug)]
pub struct Faults {
    enabled: BTreeSet<FaultClass>,
    /// What happens more often than it would.
    pub(crate) stress: Option<Stress>,
    /// By the count of events, ascending.
    scheduled: VecDeque<(u64, Fault)>,
    /// Disks that are not good any more, or may not be.
    lost: BTreeSet<usize>,
    /// Disks that hang: until when, and whether what they were asked fails then.
    hanging: BTreeMap<usize, (Micros, bool)>,
    /// Disks of which the next write sticks, and for how long.
    sticking: BTreeMap<usize, Micros>,
    /// Disks of which a write has stuck: until when.
    stuck: BTreeMap<usize, Micros>,
    /// Disks that the last view, or one before since they were in sync, did without.
    was_out: BTreeSet<usize>,
    /// Sectors of the LUN of which a copy became unreadable, with the element and its sector.
    spoiled: BTreeMap<u64, (u8, u64)>,
    geometry: Option<Geometry>,
    /// Sectors of the LUN by their sector on the member; for silent faults.
    by_member_sector: BTreeMap<u64, Vec<u64>>,
}

impl Faults {
    /// Nothing yet, of these classes, for a LUN of this shape whose element n is on disk n.
    #[must_use]
    pub fn new(enabled: impl IntoIterator<Item = FaultClass>, geometry: Geometry) -> Self {
        let mut faults = Self {
            enabled: enabled.into_iter().collect(),
            geometry: Some(geometry),
            ..Self::default()
        };
        if faults.enabled.contains(&FaultClass::Silent) {
            for lba in 0..geometry.capacity_sectors() {
                for segment in geometry.segments(lba, 1) {
                    let same = faults.by_member_sector.entry(segment.member_sector);
                    same.or_default().push(lba);
                }
            }
        }
        faults
    }

    /// Whether a class may happen.
    #[must_use]
    pub fn has(&self, class: FaultClass) -> bool {
        self.enabled.contains(&class)
    }

    /// Nothing goes wrong any more.
    pub fn stop(&mut self) {
        self.enabled.clear();
        self.scheduled.clear();
    }

    /// Chooses what goes wrong within the next events.
    pub fn schedule(&mut self, random: &mut Random, from: u64, zones: &[(u64, u64)], disks: usize) {
        self.scheduled.clear();
        let mut chosen = Vec::new();
        let is_sticking = self.stress == Some(Stress::StuckWrites);
        for class in self.enabled.clone() {
            if !random.chance(350) {
                continue;
            }
            let times = match class {
                FaultClass::Unreadable => 4,
                FaultClass::Command => 6,
                _ => 1,
            };
            for _ in 0..times {
                let disk = random.index(disks);
                let (start, len) = random.pick(zones);
                let (lba, copy) = (start + random.below(len), random.index(16));
                let factor = random.between(5..=100);
                let fault = match class {
                    FaultClass::Unreadable => Fault::Unreadable { lba, copy },
                    FaultClass::WriteError => Fault::WriteError { disk },
                    FaultClass::Pull => Fault::Pull { disk },
                    FaultClass::Slow => Fault::Slow { disk, factor },
                    FaultClass::Hang if random.chance(400) || is_sticking => Fault::Stick {
                        disk,
                        micros: stick_length(random),
                    },
                    FaultClass::Hang => Fault::Hang {
                        disk,
                        micros: hang_length(random),
                        fails: random.chance(300),
                    },
                    FaultClass::Command => Fault::Command,
                    _ => continue,
                };
                chosen.push((from + random.below(400), fault));
            }
        }
        chosen.sort_by_key(|(at, _)| *at);
        self.scheduled = chosen.into();
    }

    pub(crate) fn next(&mut self, events: u64) -> Option<Fault> {
        let (at, fault) = *self.scheduled.front()?;
        (at <= events).then(|| {
            self.scheduled.pop_front();
            fault
        })
    }
}

impl World {
    /// Whether the LUN could do without this disk, too.
    pub(crate) fn can_lose(&self, disk: usize) -> bool {
        let lost = &self.faults.lost;
        self.faults.geometry.is_some_and(|geometry| {
            let is_left = |element: u8| {
                let other = self.placement[usize::from(element)];
                other != disk && !lost.contains(&other) && !self.is_of_another(element, other)
            };
            geometry.level().is_redundant() && geometry.can_serve(is_left)
        })
    }

    /// Whether the disk that an element was on last is another element's by now: then it is on none.
    fn is_of_another(&self, element: u8, disk: usize) -> bool {
        let mut members = (0..).zip(&self.members);
        members
            .any(|(other, member)| other != element && member.is_some_and(|(own, _)| own == disk))
    }

    /// The last view has other members: who was lost and is in sync again is good again.
    pub(crate) fn members_change(&mut self) {
        for disk in 0..self.disks.len() {
            let state = &self.disks[disk];
            // One that took the place of its member while a write of it stuck, which nobody can know yet, is
            // about to be given up.
            let is_well = !state.is_gone && !state.fails_next_write && !self.is_stuck(disk);
            if !self.members.contains(&Some((disk, true))) {
                self.faults.was_out.insert(disk);
                // One that took the place of another before it was filled holds too little. And a start after
                // a crash gives up a member of which it cannot read what it has to.
                let is_spoiled = !self.disks[disk].unreadable().is_empty();
                if is_spoiled || self.members.contains(&Some((disk, false))) {
                    self.faults.lost.insert(disk);
                }
            } else if is_well && self.faults.was_out.remove(&disk) {
                self.faults.lost.remove(&disk);
            }
        }
        // With one that is lost in the place of one that was not, too few copies of something may be left.
        self.excuse_spoiled();
    }

    /// Whether a write of a disk sticks, or is going to.
    fn is_stuck(&self, disk: usize) -> bool {
        let until = self.faults.stuck.get(&disk);
        self.faults.sticking.contains_key(&disk) || until.is_some_and(|until| self.now < *until)
    }

    /// Whether the LUN could do without the disk of an element, which is lost then.
    pub(crate) fn may_lose_element(&mut self, element: u8) -> bool {
        let disk = self.placement[usize::from(element)];
        let can = !self.faults.lost.contains(&disk) && self.can_lose(disk);
        if can {
            self.lose(disk);
        }
        can
    }

    /// The disk of an element was not lost after all.
    pub(crate) fn keep_element(&mut self, element: u8) {
        let disk = self.placement[usize::from(element)];
        if self.members.contains(&Some((disk, true))) && !self.disks[disk].is_gone {
            self.faults.lost.remove(&disk);
        }
    }

    pub(crate) fn lose(&mut self, disk: usize) {
        self.faults.lost.insert(disk);
        self.redundancy_changes();
        self.excuse_spoiled();
    }

    /// Tells the oracle of which sectors with a copy that became unreadable too few are left.
    fn excuse_spoiled(&mut self) {
        for lba in self.faults.spoiled.clone().into_keys() {
            self.excuse_if_beyond(lba);
        }
    }

    pub(crate) fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::Unreadable { lba, copy } => self.spoil(lba, copy),
            Fault::Command => self.commands_due += 1,
            Fault::Slow { disk, factor } => self.disks[disk].slowness = factor,
            Fault::WriteError { disk } | Fault::Pull { disk } if !self.can_lose(disk) => {}
            Fault::WriteError { disk } => {
                self.lose(disk);
                self.disks[disk].fails_next_write = true;
            }
            Fault::Pull { disk } => {
                self.lose(disk);
                self.disks[disk].is_gone = true;
            }
            Fault::Hang {
                disk,
                micros,
                fails,
            } => {
                let is_harmless = micros <= HANG_HARMLESS && !fails;
                if is_harmless || self.can_lose(disk) {
                    if !is_harmless {
                        self.lose(disk);
                    }
                    self.faults.hanging.insert(disk, (self.now + micros, fails));
                    self.wait_out(micros);
                }
            }
            Fault::Stick { disk, micros } => {
                if micros <= HANG_HARMLESS || self.can_lose(disk) {
                    if micros > HANG_HARMLESS {
                        self.lose(disk);
                    }
                    self.faults.sticking.insert(disk, micros);
                    self.wait_out(micros);
                }
            }
        }
    }

    /// In a slow life it is seen to the end what comes of a hang.
    fn wait_out(&mut self, micros: Micros) {
        if self.waits && micros > HANG_HARMLESS {
            self.busy_until = self.now + micros + AFTERMATH;
        }
    }

    /// Whether a disk does nothing now.
    pub(crate) fn is_hanging(&self, disk: usize) -> bool {
        let until = self.faults.hanging.get(&disk);
        until.is_some_and(|(until, _)| self.now < *until)
    }

    /// How long an I/O takes in any case, if its disk hangs or it sticks.
    pub(crate) fn hang(&mut self, flight: &mut InFlight, is_write: bool) -> Micros {
        let stuck = is_write
            .then(|| self.faults.sticking.remove(&flight.disk))
            .flatten();
        if let Some(micros) = stuck {
            self.faults.stuck.insert(flight.disk, self.now + micros);
        }
        let hangs = self.faults.hanging.get(&flight.disk);
        let hangs = hangs.filter(|(until, _)| self.now < *until);
        let Some((until, fails)) = hangs else {
            return stuck.unwrap_or(0);
        };
        flight.fails |= *fails;
        stuck.unwrap_or(0) + until - self.now
    }

    /// A copy of a sector becomes unreadable.
    fn spoil(&mut self, lba: u64, copy: usize) {
        let (Some(geometry), Some(view)) = (self.faults.geometry, self.view.clone()) else {
            return;
        };
        let Some(segment) = geometry.segments(lba, 1).next() else {
            return;
        };
        let elements: Vec<u8> = if geometry.parity_count() > 0 {
            (0..geometry.members()).collect()
        } else {
            segment.mirrors.into_iter().collect()
        };
        // The only copy of something is spoiled seldom: nothing is right afterwards but an error.
        let is_only = !geometry.level().is_redundant();
        if is_only && !self.random.chance(200) {
            return;
        }
        let element = elements[copy % elements.len()];
        if self.has_neighbour(element, segment.member_sector) {
            return;
        }
        let Some(member) = view.parts[0].members[usize::from(element)] else {
            return;
        };
        let disk = self.placement[usize::from(element)];
        // Where larger sectors may be in the LUN, all is read by them, and lost by them.
        let unit = self.largest_unit();
        let (first, sectors) = unit.around(segment.member_sector, 1);
        let lbas = (unit.floor(lba)..).take(sectors as usize);
        for (sector, lba) in (first..).zip(lbas.clone()) {
            self.disks[disk].spoil(member.data_offset_sectors + sector);
            self.faults.spoiled.insert(lba, (element, sector));
        }
        self.redundancy_changes();
        for lba in lbas {
            self.excuse_if_beyond(lba);
        }
    }

    /// Whether a command may meet this sector of the members and one near it that another element cannot
    /// read.
    /// What is lost is made good for the whole of what a command reads of a member, so that it would fail
    /// although each sector could be given.
    fn has_neighbour(&self, element: u8, member_sector: u64) -> bool {
        let mut spoiled = self.faults.spoiled.values();
        spoiled.any(|(other, sector)| *other != element && sector.abs_diff(member_sector) <= NEAR)
    }

    /// Tells the oracle if more copies of a sector are bad than redundancy covers.
    fn excuse_if_beyond(&mut self, lba: u64) {
        let Some(geometry) = self.faults.geometry else {
            return;
        };
        let is_bad =
            |_: u8, disk: usize, sector: u64| self.disks[disk].is_bad_in_any_layout(sector);
        if let Some(member_sector) = self.is_beyond(&geometry, lba, is_bad) {
            for lba in lbas_of_row(&geometry, lba, member_sector) {
                self.oracle.excuse(lba);
            }
        }
    }

    /// A write was acknowledged: whatever was noted of the sectors that it wrote, data and parity, from now
    /// on they can be read, unless too much else is bad.
    pub(crate) fn expect_written(&mut self, lba: u64, sectors: u32) {
        let Some(geometry) = self.faults.geometry else {
            return;
        };
        for lba in lba..lba + u64::from(sectors) {
            let Some(segment) = geometry.segments(lba, 1).next() else {
                continue;
            };
            let layout = geometry.row_layout(geometry.row_of(segment.member_sector));
            let is_written = |element: u8| match &layout {
                Some(layout) => {
                    element == segment.mirrors.first
                        || !matches!(layout.role(element), Role::Data(_))
                }
                None => true,
            };
            let is_bad = |element: u8, disk: usize, sector: u64| {
                let disk = &self.disks[disk];
                if is_written(element) {
                    disk.is_unreadable_in_any_layout(sector)
                } else {
                    disk.is_bad_in_any_layout(sector)
                }
            };
            if self.is_beyond(&geometry, lba, is_bad).is_none() {
                self.oracle.expect(lba, self.now);
            }
        }
    }

    /// Whether more copies of a sector are bad than redundancy covers: where it lies on its member.
    fn is_beyond(
        &self,
        geometry: &Geometry,
        lba: u64,
        is_bad: impl Fn(u8, usize, u64) -> bool,
    ) -> Option<u64> {
        let segment = geometry.segments(lba, 1).next()?;
        let sector = segment.member_sector;
        let is_bad = |element: &u8| {
            let disk = self.placement[usize::from(*element)];
            let is_lost = self.faults.lost.contains(&disk) || self.is_of_another(*element, disk);
            is_lost || is_bad(*element, disk, sector)
        };
        let parity = geometry.parity_count();
        let is_beyond = if parity > 0 {
            (0..geometry.members()).filter(is_bad).count() > usize::from(parity)
        } else {
            segment.mirrors.into_iter().all(|element| is_bad(&element))
        };
        is_beyond.then_some(sector)
    }

    /// Whether some sector cannot be read.
    pub(crate) fn has_unreadable(&self) -> bool {
        self.disks.iter().any(SimDisk::has_bad)
    }

    /// How a write is really done; tells the oracle if not as it should.
    pub(crate) fn misdelivery(&mut self, disk: usize, io: &Io) -> Delivery {
        if !self.faults.has(FaultClass::Silent) || !self.random.chance(SILENT) {
            return Delivery::Right;
        }
        let Some(member) = self
            .view
            .as_ref()
            .and_then(|view| view.parts[0].members[usize::from(io.member)])
        else {
            return Delivery::Right;
        };
        let offset = member.data_offset_sectors;
        if io.sector < offset {
            return Delivery::Right;
        }
        self.taint(io.sector - offset, io.sectors);
        if self.random.chance(500) {
            return Delivery::Lost;
        }
        let last = self.disks[disk].sectors() - u64::from(io.sectors);
        let sector = self.random.between(offset..=last);
        let sector = self.disks[disk].unit().floor(sector);
        self.taint(sector - offset, io.sectors);
        Delivery::Misdirected(sector)
    }

    fn taint(&mut self, member_sector: u64, sectors: u32) {
        for sector in member_sector..member_sector + u64::from(sectors) {
            let same = self.faults.by_member_sector.get(&sector).cloned();
            for lba in same.into_iter().flatten() {
                self.oracle.taint(lba);
            }
        }
    }

    /// Whether a disk that was lost is in a slot and answers.
    #[must_use]
    pub fn has_returned_disk(&self) -> bool {
        let is_there =
            |disk: &usize| self.slots.contains(&Some(*disk)) && !self.disks[*disk].is_gone;
        self.faults.lost.iter().any(is_there)
    }

    /// Whether a disk is in no slot, or dead.
    pub(crate) fn has_absent_disk(&self) -> bool {
        let is_away = |disk| !self.slots.contains(&Some(disk)) || self.disks[disk].is_gone;
        (0..self.disks.len()).any(is_away)
    }

    /// Puts the disk that is in no slot into an empty one, and mends those that are dead.
    pub(crate) fn put_disks_back(&mut self) {
        let absent = (0..self.disks.len()).find(|disk| !self.slots.contains(&Some(*disk)));
        if let (Some(disk), Some(slot)) = (absent, self.slots.iter_mut().find(|s| s.is_none())) {
            *slot = Some(disk);
        }
        for disk in &mut self.disks {
            disk.is_gone = false;
        }
        self.redundancy_changes();
    }

    /// The LUN is served without a disk that had part of what was being overwritten: it may be an error.
    /// `whole_only` says whether its stripes can be written as a whole only, because more than the absent
    /// lack something.
    pub(crate) fn tear_interrupted(&mut self, whole_only: bool) {
        let Some(geometry) = self.faults.geometry else {
            return;
        };
        for lba in std::mem::take(&mut self.interrupted) {
            let segment = geometry.segments(lba, 1).next().filter(|_| whole_only);
            let beside = segment.map(|segment| lbas_of_row(&geometry, lba, segment.member_sector));
            self.oracle.tear(lba, beside.into_iter().flatten());
        }
    }

    /// What happens to the disks while the shelf is off.
    pub fn rearrange_disks(&mut self) {
        for disk in 0..self.disks.len() {
            self.disks[disk].slowness = 1;
            self.disks[disk].fails_next_write = false;
            if self.disks[disk].is_gone && self.random.chance(500) {
                self.disks[disk].is_gone = false;
                self.redundancy_changes();
            }
        }
        self.faults.sticking.clear();
        self.faults.stuck.clear();
        if !self.faults.hanging.is_empty() {
            self.faults.hanging.clear();
            self.redundancy_changes();
        }
        let mut absent = None;
        let is_tearing = self.faults.stress == Some(Stress::TornStripes);
        let chance = if is_tearing { 600 } else { 150 };
        if self.faults.has(FaultClass::Absent) && self.random.chance(chance) {
            let disk = self.random.index(self.disks.len());
            if self.can_lose(disk) || self.faults.lost.contains(&disk) {
                self.lose(disk);
                absent = Some(disk);
            }
        }
        self.slots = (0..self.disks.len()).map(Some).collect();
        if self.faults.has(FaultClass::Swap) && self.random.chance(300) {
            self.random.shuffle(&mut self.slots);
        }
        for slot in &mut self.slots {
            if slot.is_some() && *slot == absent {
                *slot = None;
            }
        }
    }
}

/// The sectors of the LUN that fail with one that cannot be made good: without parity only that one; with
/// parity all of its slice, because what commands want of a slice at a time is done, or fails, together, and
/// of the slices beside it, because what cannot be read is asked of all slices of the command.
fn lbas_of_row(geometry: &Geometry, lba: u64, member_sector: u64) -> Vec<u64> {
    if geometry.parity_count() == 0 {
        return vec![lba];
    }
    let chunk = u64::from(geometry.chunk_sectors());
    let columns = u64::from(geometry.columns());
    let first_chunk = geometry.row_of(member_sector) * columns;
    let slice = u64::from(SLICE_SECTORS_MAX);
    let own = member_sector % chunk / slice * slice;
    let (start, end) = (own.saturating_sub(slice), (own + 2 * slice).min(chunk));
    (first_chunk..first_chunk + columns)
        .flat_map(|number| (start..end).map(move |offset| number * chunk + offset))
        .collect()
}
