//! How much of a drive is used.
//!
//! It is written on the drive, in its last block ([`raid::drive_record::Clip`]), which a drive that is used
//! in part has to spare: so it moves with the drive, needs no name for it, and is there while the drive is
//! in a LUN and when it has left it. One write sets it, one takes it away.
//!
//! Invariant: a drive that is used keeps its size. So what lies in the last block of a member that is longer
//! than the size says is data of a LUN, and no record, whoever wrote it.

use super::drives::Drives;
use super::members::{expect_unused, up};
use super::{DriveSlot, Manager};
use crate::admin::AdminError;
use aoe::SECTOR_BYTES;
use raid::drive_record::{CLIP_SECTORS, Clip, RECORD_BYTES};
use raid::layout::{DEVICE_SECTORS_MIN, SUPERBLOCK_SECTOR};
use raid::md::Superblock;
use raid::md::raw::BLOCK_BYTES;

const SECTOR: u64 = SECTOR_BYTES as u64;

impl Manager {
    /// Whether so many bytes of a drive may be used from now on, or all of it; the sectors that would be.
    pub(super) fn fit_size(
        &self,
        slot: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<u64, AdminError> {
        let drive = self.drive_name(slot);
        let Some(entry) = self.drives.get(slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        up(entry, &drive)?;
        self.expect_no_job(slot)?;
        self.expect_quiet(slot)?;
        expect_unused(entry, &drive, force)?;
        let whole = entry.whole_sectors();
        let too_small = |size_bytes, needed_sectors| AdminError::DriveTooSmall {
            drive: drive.clone(),
            size_bytes,
            needed_bytes: needed_sectors * SECTOR,
        };
        let room = Clip::sector(whole)
            .ok_or_else(|| too_small(whole * SECTOR, DEVICE_SECTORS_MIN + CLIP_SECTORS))?;
        let Some(bytes) = bytes else {
            return Ok(whole);
        };
        let sectors = bytes / SECTOR;
        // Whole blocks, as drives have them.
        let sectors = sectors - sectors % CLIP_SECTORS;
        if sectors < DEVICE_SECTORS_MIN {
            return Err(too_small(bytes, DEVICE_SECTORS_MIN));
        }
        if sectors > room {
            let most_bytes = room * SECTOR;
            return Err(AdminError::SizeTooLarge { drive, most_bytes });
        }
        Ok(sectors)
    }

    /// Uses so many bytes of a drive, or all of it.
    pub(super) fn change_size(
        &mut self,
        slot: DriveSlot,
        bytes: Option<u64>,
        force: bool,
    ) -> Result<(), AdminError> {
        self.settle_jobs();
        let used_sectors = self.fit_size(slot, bytes, force)?;
        let whole = self
            .drives
            .get(slot)
            .map(super::drives::Entry::whole_sectors);
        let whole_sectors = whole.unwrap_or(0);
        let place = Clip::sector(whole_sectors).unwrap_or(0);
        let clip = bytes.map(|_| Clip {
            used_sectors,
            whole_sectors,
        });
        let record = clip.map_or([0; RECORD_BYTES], |clip| clip.encode());
        let mut block = [0; BLOCK_BYTES];
        block[..RECORD_BYTES].copy_from_slice(&record);
        let written = self.drives.write(slot, place, &block);
        if let Err(reason) = written {
            let name = self.drive_name(slot);
            let text = format!("the size of {name} was not changed: {reason}");
            return Err(AdminError::Io(text));
        }
        if let Some(entry) = self.drives.get_mut(slot) {
            entry.clip = clip;
        }
        Ok(())
    }
}

/// Reads how much of a drive in no LUN is used. One that cannot be read there is used as before.
pub(super) fn read_clip(drives: &mut Drives, slot: DriveSlot, whole_sectors: u64) {
    let Some(place) = Clip::sector(whole_sectors) else {
        return;
    };
    let (mut record, mut block) = ([0; RECORD_BYTES], [0; BLOCK_BYTES]);
    if drives.read(slot, place, &mut record).is_err() {
        return;
    }
    let mut clip = Clip::decode(&record, whole_sectors);
    if let Some(found) = clip
        && drives
            .read(slot, SUPERBLOCK_SECTOR, &mut block)
            .is_ok_and(|()| reaches_beyond(&block, found.used_sectors))
    {
        clip = None;
    }
    if let Some(entry) = drives.get_mut(slot) {
        entry.clip = clip;
    }
}

/// Whether a superblock is one of a member that is longer.
fn reaches_beyond(block: &[u8; BLOCK_BYTES], sectors: u64) -> bool {
    let Ok(superblock) = Superblock::decode(block) else {
        return false;
    };
    let start = superblock.data_offset_sectors();
    let end = start.checked_add(superblock.data_sectors());
    end.is_none_or(|end| end > sectors)
}
