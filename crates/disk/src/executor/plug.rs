//! Drives that come and go while the executor runs.
//!
//! Invariants:
//! * whatever a drive needs of memory comes with it ([`NewDrive`]), and leaves with it ([`RemovedDrive`]):
//!   adding and removing allocate and free nothing here, and close no file;
//! * a drive leaves when nothing of it is in the kernel's hands, waits, or is to be given back; until then it
//!   stays, and its slot takes no other: what was written to the drive before cannot land on the next one.

use super::{Entry, Executor, Home, IN_FLIGHT_MAX, Pending, ZEROES_IN_FLIGHT};
use crate::commit::GroupCommit;
use crate::drive::{Drive, Medium};
use shelf::admin::DriveSlot;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// How many drives there may ever be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DriveRoom {
    /// One more than the highest slot.
    pub slots: usize,
    /// Drives at a time.
    pub drives: usize,
}

impl DriveRoom {
    /// Room for these drives and no more.
    #[must_use]
    pub fn for_drives(drives: &[(DriveSlot, Arc<Drive>)]) -> Self {
        let slots = drives.iter().map(|(slot, _)| usize::from(slot.0) + 1);
        Self {
            slots: slots.max().unwrap_or(0),
            drives: drives.len(),
        }
    }

    /// Places for files; the kernel refuses a table without any.
    pub(super) fn files(self) -> u32 {
        u32::try_from(self.drives.max(1)).unwrap_or(u32::MAX)
    }
}

/// A drive that is to be added, with the memory that it needs.
#[derive(Debug)]
pub struct NewDrive {
    slot: DriveSlot,
    drive: Arc<Drive>,
    group: GroupCommit,
}

impl NewDrive {
    /// A drive for a slot.
    #[must_use]
    pub fn new(slot: DriveSlot, drive: Arc<Drive>) -> Self {
        let ios = if drive.writes_durably() {
            ZEROES_IN_FLIGHT
        } else {
            IN_FLIGHT_MAX
        };
        Self {
            slot,
            drive,
            group: GroupCommit::new(ios),
        }
    }

    /// Its slot.
    #[must_use]
    pub const fn slot(&self) -> DriveSlot {
        self.slot
    }

    /// The drive.
    #[must_use]
    pub fn drive(&self) -> &Drive {
        &self.drive
    }
}

/// What is left of a drive that was removed, to be dropped where time is.
#[derive(Debug)]
pub struct RemovedDrive {
    _entry: Entry,
}

/// What came of a removal.
#[derive(Debug)]
pub enum Removal {
    /// I/O of the drive has not ended: to be asked again.
    Busy,
    /// There is none in the slot any more.
    Done(Option<RemovedDrive>),
}

fn busy_slot() -> io::Error {
    io::Error::other("there is a drive in that slot, or the slot is beyond the last")
}

impl Executor {
    /// Takes a drive into an empty slot.
    ///
    /// # Errors
    /// When the slot is not empty, there is no room for another drive, or the kernel refuses its file.
    pub fn add(&mut self, new: NewDrive) -> io::Result<()> {
        let index = usize::from(new.slot.0);
        if !matches!(self.drives.get(index), Some(None)) {
            return Err(busy_slot());
        }
        let home = match new.drive.medium() {
            Medium::Ram(_) => Home::Ram,
            Medium::Null => Home::Null,
            Medium::File(file) => {
                let free = self.free_files.last().copied();
                let place = free.ok_or_else(|| io::Error::other("too many drives"))?;
                self.ring.set_file(place, file.as_raw_fd())?;
                self.free_files.pop();
                Home::File(place)
            }
        };
        self.drives[index] = Some(Entry {
            home,
            group: new.group,
            is_grouped: !new.drive.writes_durably(),
            is_polled: new.drive.is_polled() && self.ring.has_polled_ring(),
            drive: new.drive,
        });
        Ok(())
    }

    /// Gives up a drive, if all of its I/O is over.
    ///
    /// # Errors
    /// When the kernel does not let go of its file.
    pub fn remove(&mut self, slot: DriveSlot) -> io::Result<Removal> {
        let Some(entry) = self.drives.get_mut(usize::from(slot.0)) else {
            return Ok(Removal::Done(None));
        };
        let home = match entry {
            None => return Ok(Removal::Done(None)),
            Some(entry) if !entry.group.is_empty() => return Ok(Removal::Busy),
            Some(entry) => entry.home,
        };
        if self.has_io_on(slot) {
            return Ok(Removal::Busy);
        }
        if let Home::File(place) = home {
            self.ring.set_file(place, -1)?;
            self.free_files.push(place);
        }
        let removed = self.drives[usize::from(slot.0)].take();
        Ok(Removal::Done(
            removed.map(|entry| RemovedDrive { _entry: entry }),
        ))
    }

    /// Whether an I/O of a drive is in the kernel's hands, waits, or is to be given back.
    fn has_io_on(&self, slot: DriveSlot) -> bool {
        let is_on = |pending: &Pending| match pending {
            Pending::Io(job) => job.io.drive == slot,
            Pending::Commit(drive, _) => *drive == slot,
        };
        let mut started = self.pending.iter().flatten();
        started.any(|(pending, _)| is_on(pending))
            || self.waiting.iter().any(is_on)
            || self.deferred.iter().any(|(_, io)| io.drive == slot)
            || self.done.iter().any(|over| over.io.drive == slot)
            || self.fallbacks.contains(&slot)
    }
}

#[cfg(test)]
mod tests;
