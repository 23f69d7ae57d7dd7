//! Slots that a new configuration adds, takes out, or leads to other disks.
//!
//! Invariants:
//! * a slot whose drive is used keeps it, and whoever asked is told by what;
//! * what is refused changes nothing;
//! * a drive that cannot be used is no reason to refuse a slot: as at a start, the slot shows why.

use super::{Slot, Slots, State};
use crate::administration::Administration;
use crate::config::DiskConfig;
use crate::drives::{self, Place};
use crate::finder::Finder;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use disk::DriveSpec;
use engine::Workers;
use shelf::admin::DriveSlot;
use shelf::manager::NoDrive;
use std::time::Duration;

/// How long the thread that follows slots may be busy with something else: opening a disk that hangs, say.
const PATIENCE: Duration = Duration::from_secs(30);

/// A change of the slots.
#[derive(Clone, Debug)]
pub(crate) enum SlotChange {
    /// A slot that was not there.
    Add(DiskConfig),
    /// It has no disk in the configuration any more.
    Remove(DriveSlot),
    /// It leads to another path.
    Path(DiskConfig),
    /// Disks are found from now on: beside those of the configuration.
    Find(Vec<DiskConfig>),
}

/// A change that somebody waits for.
pub(super) struct Asked {
    change: SlotChange,
    answer: Sender<Result<(), String>>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.change.fmt(f)
    }
}

impl Asked {
    /// Makes the change, and tells whoever waits what came of it.
    pub(super) fn answer(self, make: impl FnOnce(SlotChange) -> Result<(), String>) {
        // Nobody listens any more when it took longer than whoever asked has waited.
        let _ = self.answer.send(make(self.change));
    }
}

/// By which the slots are changed; clones are of the same.
#[derive(Clone, Debug)]
pub(crate) struct SlotChanges(Sender<Asked>);

impl SlotChanges {
    pub(super) fn new() -> (Self, Receiver<Asked>) {
        let (sender, receiver) = unbounded();
        (Self(sender), receiver)
    }

    /// Has a change made, and waits for that.
    pub(crate) fn make(&self, change: SlotChange) -> Result<(), String> {
        let (answer, told) = bounded(1);
        let asked = Asked { change, answer };
        let nobody = "nobody follows the slots any more";
        self.0.send(asked).map_err(|_| nobody.to_owned())?;
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(format!(
                "it is not done yet after {seconds} s: some disk hangs; look whether it is there"
            ))
        })
    }
}

impl Slots {
    pub(super) fn change(
        &mut self,
        change: SlotChange,
        administration: &Administration,
        workers: &Workers,
    ) -> Result<(), String> {
        match change {
            SlotChange::Add(disk) => self.add(&disk, administration, workers),
            SlotChange::Remove(slot) => self.remove(slot, administration, workers),
            SlotChange::Path(disk) => self.lead_elsewhere(&disk, administration, workers),
            SlotChange::Find(disks) => {
                self.finder = Some(Finder::new(self.state.clone(), &disks));
                Ok(())
            }
        }
    }

    fn add(
        &mut self,
        disk: &DiskConfig,
        administration: &Administration,
        workers: &Workers,
    ) -> Result<(), String> {
        let number = disk.slot;
        if usize::from(number.0) >= self.room.slots {
            return Err(format!(
                "room was made for slots 0 to {}: needs a restart",
                self.room.slots - 1
            ));
        }
        if self.slots.len() >= self.room.drives {
            return Err(format!(
                "room was made for {} disks: needs a restart",
                self.room.drives
            ));
        }
        if let Some(other) = self.slots.iter().find(|slot| slot.place.slot == number) {
            return Err(if other.is_removed {
                "the disk that was in it is not let go of yet; reload once more".to_owned()
            } else {
                format!(
                    "there is a disk in it that was {}; take another number",
                    other.place.origin
                )
            });
        }
        if let Some(finder) = &mut self.finder {
            finder.reserve(disk);
        }
        let place = Place::from(disk);
        // Listed from now on, whether it is there or not.
        let awaited = drives::without_drive(&place, NoDrive::Missing);
        administration.lock().drive_inserted(awaited);
        let is_memory = !matches!(place.spec, DriveSpec::Path(_));
        let mut slot = Slot::new(place, State::Empty { refused: None }, None);
        slot.is_new_memory = is_memory;
        slot.look(administration, workers, self.patience);
        if matches!(slot.state, State::Empty { .. }) && slot.told.is_none() {
            let path = &slot.place.spec;
            tracing::warn!("slot {number}: {path} is not there, and is waited for");
        }
        self.slots.push(slot);
        Ok(())
    }

    fn remove(
        &mut self,
        number: DriveSlot,
        administration: &Administration,
        workers: &Workers,
    ) -> Result<(), String> {
        let mut slots = self.slots.iter_mut();
        let Some(slot) = slots.find(|slot| slot.place.slot == number) else {
            return Ok(());
        };
        if matches!(slot.state, State::Leaving) {
            return Err("its drive was pulled, and is not let go of yet".to_owned());
        }
        administration.lock().slot_removed(number)?;
        slot.is_removed = true;
        slot.state = State::Leaving;
        slot.look(administration, workers, self.patience);
        if let Some(finder) = &mut self.finder {
            finder.release(number, &slot.place.spec);
        }
        if matches!(slot.state, State::Empty { .. }) {
            self.slots.retain(|slot| slot.place.slot != number);
        }
        Ok(())
    }

    fn lead_elsewhere(
        &mut self,
        disk: &DiskConfig,
        administration: &Administration,
        workers: &Workers,
    ) -> Result<(), String> {
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| slot.place.slot == disk.slot);
        if let Some(slot) = slot
            && matches!(slot.state, State::Holds(_))
            && crate::config::same_file(&slot.place.spec, &disk.spec)
        {
            // Another name of the same.
            slot.place = Place::from(disk);
            return Ok(());
        }
        self.remove(disk.slot, administration, workers)?;
        self.add(disk, administration, workers)
    }
}
