//! A drive that joins a RAID in the place of a member that is gone, to be rebuilt, or beside one that still
//! works, to take its place ([`super::twin`]).
//!
//! How it survives a crash at any write: the drive gets its record and its empty logs, and last its
//! superblock, one event ahead of the others; that makes it a member, and the others learn of it from
//! it. Then all take the round. What the drive was before (a spare, a failed member) it stays until
//! that superblock: the record goes to the private slot that its present superblock does not use.

use super::drives::Drives;
use super::raid::{Member, Metadata};
use super::removal::erase_drive;
use super::rounds::{Rounds, reasons};
use super::twin::{Device, Twin, devices_mut};
use crate::admin::DriveSlot;
use raid::bad_blocks::BadBlocks;
use raid::layout::{MemberLayout, MetadataPlaces, SUPERBLOCK_SECTOR};
use raid::md::raw::BLOCK_BYTES;
use raid::md::{EMPTY_BAD_BLOCK_LOG, JoiningDevice, Role, Superblock};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::{Record, RecordError, SLOT_BYTES, encode, read_slots, read_spare_slots};
use raid::regions::RegionSet;
use std::sync::Arc;
use uuid::Uuid;

/// A drive that is to join.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) drive: DriveSlot,
    pub(super) layout: MemberLayout,
    pub(super) device_uuid: Uuid,
    /// What the drive is now; `None` when it is nothing of ours, or divided in another way.
    pub(super) present: Option<Present>,
}

/// A device of ours, as its drive has it.
#[derive(Clone, Debug)]
pub(super) struct Present {
    superblock: Superblock,
    /// The private slot that holds its record.
    slot: usize,
    /// Which element of its RAID it is; `None` for a spare.
    element: Option<u8>,
    /// The device numbers that records on it are of: given again to this drive, they would count again.
    dev_numbers: Vec<u32>,
}

/// How a drive is to be divided, and what it is now: as it is divided already, if it is a device of
/// ours, else as a new one. `None` for one that is too small.
pub(super) fn divide(
    drives: &mut Drives,
    drive: DriveSlot,
    size_sectors: u64,
    chunk_sectors: u32,
) -> Result<Option<(MemberLayout, Option<Present>)>, String> {
    let Ok(new) = MemberLayout::new(size_sectors, chunk_sectors) else {
        return Ok(None);
    };
    let mut block = [0; BLOCK_BYTES];
    drives.read(drive, SUPERBLOCK_SECTOR, &mut block)?;
    let Ok(superblock) = Superblock::decode(&block) else {
        return Ok(Some((new, None)));
    };
    let data_offset_sectors = superblock.data_offset_sectors();
    let Some(places) = MetadataPlaces::of(data_offset_sectors) else {
        return Ok(Some((new, None)));
    };
    let mut slots = Box::new([[0; SLOT_BYTES]; 2]);
    for (area, bytes) in places.slots.iter().zip(slots.iter_mut()) {
        if area.sector + area.sectors > size_sectors {
            return Ok(Some((new, None)));
        }
        drives.read(drive, area.sector, bytes)?;
    }
    let [a, b] = &*slots;
    let owner = Metadata::owner(&superblock);
    let members = read_slots([a, b], &owner);
    let others = members
        .damage
        .iter()
        .flatten()
        .filter_map(|error| match error {
            RecordError::OtherMember { dev_number, .. } => Some(*dev_number),
            _ => None,
        });
    let dev_numbers = others.chain([owner.dev_number]).collect();
    let member = members.newest;
    let member = member.map(|stored| (stored.slot, Some(stored.record.element)));
    let spare = read_spare_slots([a, b], &owner).newest;
    let spare = spare.map(|stored| (stored.slot, None));
    let Some((slot, element)) = member
        .or(spare)
        .filter(|_| data_offset_sectors < size_sectors)
    else {
        return Ok(Some((new, None)));
    };
    let room = size_sectors - data_offset_sectors;
    let present = MemberLayout {
        data_offset_sectors,
        data_sectors: room - room % u64::from(chunk_sectors.max(8)),
    };
    let device = Present {
        superblock,
        slot,
        element,
        dev_numbers,
    };
    Ok(Some((present, Some(device))))
}

impl Rounds<'_> {
    /// Makes a drive the member that an element lacks, or the twin of the one that it has, with nothing
    /// filled yet.
    ///
    /// # Errors
    /// When the drive or too many members fail a write. Then the element is as it was, but the drive
    /// may not be what it was.
    pub(super) fn join(&mut self, device: Device, joining: &Joining) -> Result<(), String> {
        let index = usize::from(device.element);
        let template = self.template()?;
        let used = joining.present.as_ref().map(|present| &present.dev_numbers);
        let dev_number = template
            .free_dev_number(used.map_or(&[], Vec::as_slice))
            .ok_or("no device number is left in the md superblocks")?;
        let mut superblock = template.join(&JoiningDevice {
            device_uuid: joining.device_uuid,
            dev_number,
            role: self.raid.geometry.md_role(device.element),
            layout: joining.layout,
        });
        superblock.set_replacement(device.is_twin);
        let before = self.raid.members.clone();
        let lacks = if device.is_twin {
            None
        } else {
            self.known_lack(device.element, joining.present.as_ref())
        };
        let joined = Twin {
            drive: joining.drive,
            data_offset_sectors: joining.layout.data_offset_sectors,
            metadata: self.prepare(device.element, joining, superblock)?,
            done_lba: 0,
            lacks,
            is_whole: false,
        };
        match &mut self.raid.members[index] {
            Member::Normal { twin, .. } if device.is_twin => *twin = Some(Box::new(joined)),
            member => *member = joined.into_rebuilding(),
        }
        if template.role(dev_number) == Role::Faulty {
            // Whoever had the number before is to be told by its events.
            self.raid.events_ahead = self.raid.events_ahead.max(self.raid.events + 3);
        }
        let joined = self.join_first(joining.drive).and_then(|()| {
            let resync = self.present_resync();
            self.superblocks(resync)
        });
        let Err(mut reason) = joined else {
            let in_use = self.raid.drives_in_use();
            if in_use.contains(&joining.drive) {
                return Ok(());
            }
            return Err(format!("the drive in slot {} failed", joining.drive));
        };
        self.raid.members = before;
        self.raid.events_ahead = self.raid.events_ahead.max(self.raid.events + 3);
        if let Err(error) = erase_drive(self.drives, joining.drive) {
            reason.push_str("; not erased: ");
            reason.push_str(&error);
        }
        Err(reason)
    }

    /// The regions in which a drive that was this element of the set lacks something: those whose bits
    /// were set since it left. `None` when that is not known, because bits were cleared since, because
    /// it did not hold everything itself, or because it went on without the others.
    fn known_lack(&self, element: u8, present: Option<&Present>) -> Option<Arc<RegionSet>> {
        let present = present.filter(|present| present.element == Some(element))?;
        let own = &present.superblock;
        let bitmap = self.raid.bitmap.as_ref()?;
        let is_of_set = Some(own.set_uuid()) == self.raid.set_uuid;
        let is_whole = own.recovery().is_none() && !own.has_bad_blocks();
        let events = bitmap.events_cleared()..=self.raid.events;
        let mut others = self.raid.active_devices().into_iter();
        let denies_nobody = others.all(|(device, _)| own.role(device) != Role::Faulty);
        #[cfg(feature = "planted")]
        if planted::is(Bug::LackForgotten) {
            return Some(Arc::new(RegionSet::empty(bitmap.map().regions())));
        }
        (is_of_set && is_whole && denies_nobody && events.contains(&own.events()))
            .then(|| Arc::new(bitmap.set().clone()))
    }

    /// A superblock of the set.
    fn template(&self) -> Result<Superblock, String> {
        let mut whole = self.raid.members.iter().filter(|member| member.is_normal());
        let metadata = whole.find_map(Member::metadata);
        metadata
            .map(|metadata| metadata.superblock.clone())
            .ok_or_else(|| "the RAID has no metadata".to_owned())
    }

    /// Writes everything that a new member needs, but for its superblock.
    fn prepare(
        &mut self,
        element: u8,
        joining: &Joining,
        superblock: Superblock,
    ) -> Result<Metadata, String> {
        let drive = joining.drive;
        let places = Metadata::places(&superblock);
        let slot = joining
            .present
            .as_ref()
            .map_or(0, |present| 1 - present.slot);
        if joining.present.is_none() {
            erase_drive(self.drives, drive)?;
            // A boot sector or file system at the start would make others take the drive for theirs.
            self.drives.write(drive, 0, &[0; 4096])?;
            for area in &places.slots {
                self.drives.write(drive, area.sector, &[0; BLOCK_BYTES])?;
            }
        }
        let log = places.bad_blocks.sector;
        self.drives.write(drive, log, &EMPTY_BAD_BLOCK_LOG)?;
        let record = Record {
            element,
            ..self.raid.record.clone()
        };
        let bytes = encode(&Metadata::owner(&superblock), self.raid.generation, &record)
            .map_err(|error| error.to_string())?;
        self.drives
            .write(drive, places.slots[slot].sector, &bytes)?;
        Ok(Metadata {
            superblock,
            slot,
            // The next round of superblocks writes it.
            has_bitmap: false,
            bad_blocks: BadBlocks::default(),
        })
    }

    /// Writes the superblock of the member that joins, one event ahead of the others; before it, to
    /// all, the bitmap that is good for that.
    fn join_first(&mut self, joining: DriveSlot) -> Result<(), String> {
        let resync = self.present_resync();
        self.raid.events += 1;
        let failures = self.write_bitmap_for_events();
        self.raid.events -= 1;
        if !failures.is_empty() {
            return Err(reasons(&failures));
        }
        let (active, events) = (self.raid.active_devices(), self.raid.events + 1);
        let mut devices = devices_mut(&mut self.raid.members);
        let Some(entry) = devices.find(|entry| entry.drive == joining) else {
            unreachable!("it was just put there")
        };
        let (drive, superblock) = (entry.drive, &mut entry.metadata.superblock);
        superblock.set_active_devices(&active);
        superblock.set_resync(resync);
        superblock.set_events(events, self.now_unix_seconds);
        let block = superblock.encode();
        self.drives.write(drive, SUPERBLOCK_SECTOR, &block)
    }

    /// Makes durable how far members are rebuilt. Not an event: nobody else is concerned.
    pub(super) fn checkpoint(&mut self) -> Result<(), String> {
        let mut failures = Vec::new();
        for entry in devices_mut(&mut self.raid.members) {
            let Some(done_lba) = entry.rebuilt_before else {
                continue;
            };
            let done_sectors = self.raid.geometry.member_sectors_before(done_lba);
            #[cfg(feature = "planted")]
            let done_sectors = if planted::is(Bug::CheckpointAhead) {
                self.raid.geometry.member_sectors()
            } else {
                done_sectors
            };
            entry.metadata.superblock.set_recovery(Some(done_sectors));
            let block = entry.metadata.superblock.encode();
            if let Err(reason) = self.drives.write(entry.drive, SUPERBLOCK_SECTOR, &block) {
                failures.push((entry.device, reason));
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        self.give_up(&failures)
    }
}
