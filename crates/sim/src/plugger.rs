//! Somebody who pulls disks and inserts them while the shelf runs, in whichever slot is empty.
//!
//! The shelf is told as the daemon tells it: that a drive is gone, when it is; that there is one, when the
//! LUN and the worker have let go of the one before, and nothing that either drive was asked is open. From
//! then on an I/O to the empty slot is a violation.
//!
//! Their decisions have a random source of their own: a run without them is what it was before they came.

use crate::plane::Shared;
use crate::random::Random;
use crate::world::World;
use shelf::admin::{Admin, DriveRole, DriveSlot};
use shelf::manager::Manager;
use shelf::patience::DriveKind;

/// Events between two things that happen, at most.
const PAUSE: u64 = 500;

/// Somebody who pulls and inserts disks.
#[derive(Debug)]
pub(crate) struct Plugger {
    random: Random,
    /// The count of events at which something happens next.
    next: u64,
    /// A slot whose drive was pulled, and that is not let go of.
    leaving: Option<DriveSlot>,
}

impl Plugger {
    pub(crate) fn new(mut random: Random) -> Self {
        let next = random.below(PAUSE);
        Self {
            random,
            next,
            leaving: None,
        }
    }

    /// The shelf was started anew: it knows what is in which slot.
    pub(crate) fn starts_anew(&mut self) {
        self.leaving = None;
    }

    /// Does something, if it is time.
    pub(crate) fn act(&mut self, shared: &Shared, manager: &mut Manager) {
        if let Some(slot) = self.leaving {
            let mut world = shared.lock();
            if manager.may_insert(slot) && world.is_idle(slot) {
                world.empty(slot);
                self.leaving = None;
            }
            return;
        }
        {
            let world = shared.lock();
            if !world.has_power || world.counts.events < self.next {
                return;
            }
            self.next = world.counts.events + self.random.between(1..=PAUSE);
        }
        let inserted = self.random.chance(600) && self.insert(shared, manager);
        if !inserted {
            self.pull(shared, manager);
        }
    }

    fn pull(&mut self, shared: &Shared, manager: &mut Manager) {
        let slot = {
            let world = &mut *shared.lock();
            let filled = (0..).zip(&world.slots);
            let filled: Vec<(u16, usize)> = filled
                .filter_map(|(slot, disk)| Some((slot, (*disk)?)))
                .collect();
            let (slot, disk) = self.random.pick(&filled);
            if !world.pull(disk, &mut self.random) {
                return;
            }
            world.note(|| format!("disk {disk} is pulled from slot {slot}"));
            DriveSlot(slot)
        };
        manager.drive_pulled(slot);
        self.leaving = Some(slot);
    }

    /// Inserts the disk that is in no slot. Whether there is one.
    fn insert(&mut self, shared: &Shared, manager: &mut Manager) -> bool {
        let drive = {
            let mut world = shared.lock();
            let away = (0..world.disks.len()).find(|disk| !world.slots.contains(&Some(*disk)));
            let empty: Vec<u16> = (0..)
                .zip(&world.slots)
                .filter_map(|(slot, disk)| disk.is_none().then_some(slot))
                .collect();
            let (Some(disk), false) = (away, empty.is_empty()) else {
                return false;
            };
            let slot = DriveSlot(self.random.pick(&empty));
            if world.owed.contains_key(&disk) || !manager.may_insert(slot) {
                return false;
            }
            world.fill(slot, disk);
            world.note(|| format!("disk {disk} is inserted into slot {slot}"));
            shared.drive(slot.0, Some(disk))
        };
        let (slot, path) = (drive.slot, drive.path.clone());
        manager.drive_inserted(drive);
        let drives = manager.drives();
        let is_element = drives
            .iter()
            .any(|drive| drive.slot == slot && matches!(drive.role, DriveRole::Element(_)));
        let mut world = shared.lock();
        world.note(|| format!("{path} is in slot {slot}, an element: {is_element}"));
        world.counts.inserted += 1;
        world.counts.taken_back += u64::from(is_element);
        true
    }
}

impl World {
    /// Takes a disk out, if the LUN can do without it. What it was asked and has not reported may be on it.
    fn pull(&mut self, disk: usize, random: &mut Random) -> bool {
        if self.disks[disk].is_gone {
            // It is dead already, and taken out.
            return true;
        }
        if !self.can_lose(disk) {
            return false;
        }
        self.lose(disk);
        let landing = self.landing;
        self.disks[disk].pull(landing, random);
        true
    }

    /// Whether nothing is open that the drive of a slot was asked.
    fn is_idle(&self, slot: DriveSlot) -> bool {
        let disk = self.slots[usize::from(slot.0)];
        let mut flights = self.in_flight.values();
        disk.is_none_or(|disk| {
            !self.owed.contains_key(&disk) && !flights.any(|flight| flight.disk == disk)
        })
    }

    fn empty(&mut self, slot: DriveSlot) {
        self.slots[usize::from(slot.0)] = None;
        self.patience.remove(slot);
    }

    fn fill(&mut self, slot: DriveSlot, disk: usize) {
        self.slots[usize::from(slot.0)] = Some(disk);
        self.disks[disk].is_gone = false;
        // One that was empty at the start is watched, too.
        self.patience.remove(slot);
        self.patience.add(slot, DriveKind::Rotating);
        self.tell_workers(|target| target.set_suspect(slot, false));
        self.redundancy_changes();
    }
}
