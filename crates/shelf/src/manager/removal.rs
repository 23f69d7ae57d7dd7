//! Taking a LUN from its drives.

use super::drives::Drives;
use super::rounds::{Rounds, reasons};
use crate::admin::DriveSlot;
use raid::layout::{MetadataPlaces, SUPERBLOCK_SECTOR};
use raid::md::Superblock;
use raid::md::raw::BLOCK_BYTES;
use raid::record::{Record, RecordState};

impl Rounds<'_> {
    /// Begins to remove the LUN of which this is the first RAID: every member says so, then the store. What
    /// remains to be done is to erase all of its RAIDs, this one last.
    ///
    /// # Errors
    /// When no member took the record, or the store did not take the sets; then nothing is to be erased.
    pub(super) fn begin_removal(
        &mut self,
        note_removed: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let record = Record {
            state: RecordState::Removing,
            ..self.raid.record.clone()
        };
        // Two ahead, as an earlier change may be unfinished on an absent member.
        let generation = self.raid.generation + 2;
        let failures = self.write_records(generation, &record);
        let in_use = self.raid.drives_in_use().len();
        if in_use > 0 && failures.len() == in_use {
            return Err(reasons(&failures));
        }
        self.raid.generation = generation;
        if let Err(reason) = note_removed() {
            let old = self.raid.record.clone();
            self.raid.generation += 1;
            let undo_failures = self.write_records(self.raid.generation, &old);
            let end = if undo_failures.is_empty() {
                "nothing was changed"
            } else {
                "it may be gone after a restart"
            };
            return Err(format!("{reason}; {end}"));
        }
        // They do not know that the LUN is removed, so they are to be erased first.
        self.mark_failed(&failures);
        Ok(())
    }

    /// Erases our metadata from every drive of the RAID, those that are no longer part of it first:
    /// their records do not know that it is removed. Drives that fail keep it, and are not free.
    pub(super) fn erase(&mut self) -> Vec<String> {
        let mut drives: Vec<_> = self
            .raid
            .members
            .iter()
            .flat_map(|member| member.drives().map(|drive| (member.is_normal(), drive)))
            .collect();
        drives.sort_by_key(|(is_normal, _)| *is_normal);
        let mut failures = Vec::new();
        for (_, drive) in drives {
            match erase_drive(self.drives, drive) {
                Ok(()) => self.drives.erased(drive),
                Err(reason) => {
                    let what = format!("what LUN {} left: not erased", self.raid.id.lun);
                    self.drives.left(drive, what);
                    failures.push(reason);
                }
            }
        }
        failures
    }
}

/// Erases the superblock of a drive, then its records, wherever either layout has them. From the
/// first write on the drive is no member.
pub(super) fn erase_drive(drives: &mut Drives, drive: DriveSlot) -> Result<(), String> {
    let mut block = [0; BLOCK_BYTES];
    drives.read(drive, SUPERBLOCK_SECTOR, &mut block)?;
    let places = Superblock::decode(&block)
        .ok()
        .and_then(|superblock| MetadataPlaces::of(superblock.data_offset_sectors()));
    drives.write(drive, SUPERBLOCK_SECTOR, &[0; BLOCK_BYTES])?;
    for slot in places.iter().flat_map(|places| &places.slots) {
        drives.write(drive, slot.sector, &[0; BLOCK_BYTES])?;
    }
    Ok(())
}
