//! Spares: drives that wait for a member to fail.
//!
//! A spare carries an md superblock in which it has no role, so that neither Linux nor `make` takes it
//! for empty, and a record that says whose spare it is. It is found again in whichever slot. From the
//! pool a RAID that lacks a member takes the smallest spare that is large enough; one that is dedicated
//! to its LUN first, and never one that is dedicated to another.
//!
//! How adding survives a crash: the superblock is written last and makes the drive a spare; removing
//! erases it first. A spare that is taken is a spare until it is a member ([`super::join`]).

use super::drives::{Drives, Usage};
use super::join::divide;
use super::members::{expect_unused, up};
use super::raid::Metadata;
use super::removal::erase_drive;
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, ElementId, SpareStatus};
use aoe::Shelf;
use raid::geometry::CHUNK_SECTORS_DEFAULT;
use raid::layout::{DEVICE_SECTORS_MIN, MemberLayout, SUPERBLOCK_SECTOR};
use raid::md::raw::BLOCK_BYTES;
use raid::md::{EMPTY_BAD_BLOCK_LOG, NewSpare, Superblock};
use raid::record::{SpareRecord, StoredRecord, encode_spare};
use std::time::Duration;

/// Most spares; the limit of Coraid's shelves.
pub(super) const SPARES_MAX: usize = 16;

/// How often each spare is read.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// A spare that was found on a drive.
#[derive(Clone, Debug)]
pub(super) struct Spare {
    pub(super) drive: DriveSlot,
    superblock: Superblock,
    /// Which private slot holds the record.
    slot: usize,
    generation: u64,
    record: SpareRecord,
    /// Why it did not answer its last check.
    fault: Option<String>,
}

impl Spare {
    pub(super) fn new(
        drive: DriveSlot,
        superblock: Superblock,
        stored: StoredRecord<SpareRecord>,
    ) -> Self {
        Self {
            drive,
            superblock,
            slot: stored.slot,
            generation: stored.generation,
            record: stored.record,
            fault: None,
        }
    }

    pub(super) const fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    pub(super) fn dedicated_to(&self) -> Option<LunNumber> {
        self.record.dedicated_to_lun.and_then(LunNumber::new)
    }

    /// The shelf whose spare it is.
    pub(super) const fn shelf(&self) -> u16 {
        self.record.spare_of_shelf
    }

    /// Makes it a spare of another shelf, durably.
    pub(super) fn move_to(
        &mut self,
        drives: &mut Drives,
        shelf: Shelf,
        dedicated_to: Option<LunNumber>,
    ) -> Result<(), String> {
        let record = SpareRecord {
            spare_of_shelf: shelf.0,
            next_shelf: None,
            dedicated_to_lun: dedicated_to.map(LunNumber::get),
        };
        self.change(drives, record)
    }

    /// Makes another record durable.
    fn change(&mut self, drives: &mut Drives, record: SpareRecord) -> Result<(), String> {
        let slot = 1 - self.slot;
        write_record(
            drives,
            self.drive,
            &self.superblock,
            (slot, self.generation + 1),
            &record,
        )?;
        self.slot = slot;
        self.generation += 1;
        self.record = record;
        Ok(())
    }
}

fn write_record(
    drives: &mut Drives,
    drive: DriveSlot,
    superblock: &Superblock,
    (slot, generation): (usize, u64),
    record: &SpareRecord,
) -> Result<(), String> {
    let sector = Metadata::places(superblock).slots[slot].sector;
    let bytes = encode_spare(&Metadata::owner(superblock), generation, record)
        .map_err(|error| error.to_string())?;
    drives.write(drive, sector, &bytes)
}

impl Manager {
    pub(super) fn list_spares(&self) -> Vec<SpareStatus> {
        let status = |spare: &Spare| SpareStatus {
            drive: spare.drive,
            size_bytes: self
                .drives
                .get(spare.drive)
                .map_or(0, super::drives::Entry::size_bytes),
            dedicated_to: spare.dedicated_to(),
            fault: spare.fault.clone(),
        };
        self.spares.iter().map(status).collect()
    }

    pub(super) fn make_spare(
        &mut self,
        slot: DriveSlot,
        dedicated_to: Option<LunNumber>,
        force: bool,
    ) -> Result<(), AdminError> {
        let shelf = self.shelf.ok_or(AdminError::ShelfUnset)?;
        if let Some(lun) = dedicated_to.filter(|lun| self.lun(*lun).is_err()) {
            return Err(AdminError::NoSuchLun(lun));
        }
        let layout = self.fit_spare(slot, force)?;
        if self.spares.len() >= SPARES_MAX {
            return Err(AdminError::TooManySpares);
        }
        let superblock = Superblock::spare(&NewSpare {
            set_uuid: (self.new_uuid)(),
            device_uuid: (self.new_uuid)(),
            name: &format!("{shelf}:spare"),
            created_unix_seconds: (self.now_unix_seconds)(),
            layout,
        });
        let spare = Spare {
            drive: slot,
            superblock,
            slot: 0,
            generation: 1,
            record: SpareRecord {
                spare_of_shelf: shelf.0,
                next_shelf: None,
                dedicated_to_lun: dedicated_to.map(LunNumber::get),
            },
            fault: None,
        };
        if let Err(reason) = self.write_spare(&spare) {
            let text = format!("{} is no spare: {reason}", self.drive_name(slot));
            return Err(AdminError::Io(text));
        }
        self.take_in_spare(spare);
        Ok(())
    }

    /// Whether a drive may become a spare, and how it is divided.
    fn fit_spare(&self, slot: DriveSlot, force: bool) -> Result<MemberLayout, AdminError> {
        let drive = self.drive_name(slot);
        let Some(entry) = self.drives.get(slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        let size_sectors = up(entry, &drive)?;
        self.expect_quiet(slot)?;
        expect_unused(entry, &drive, force)?;
        MemberLayout::new(size_sectors, CHUNK_SECTORS_DEFAULT).map_err(|_| {
            AdminError::DriveTooSmall {
                drive,
                size_bytes: size_sectors * 512,
                needed_bytes: DEVICE_SECTORS_MIN * 512,
            }
        })
    }

    fn write_spare(&mut self, spare: &Spare) -> Result<(), String> {
        let (drive, superblock) = (spare.drive, &spare.superblock);
        erase_drive(&mut self.drives, drive)?;
        // A boot sector or file system at the start would make others take the drive for theirs.
        self.drives.write(drive, 0, &[0; 4096])?;
        let places = Metadata::places(superblock);
        let log = places.bad_blocks.sector;
        self.drives.write(drive, log, &EMPTY_BAD_BLOCK_LOG)?;
        self.drives
            .write(drive, places.slots[1].sector, &[0; BLOCK_BYTES])?;
        write_record(&mut self.drives, drive, superblock, (0, 1), &spare.record)?;
        self.drives
            .write(drive, SUPERBLOCK_SECTOR, &superblock.encode())
    }

    /// Takes a spare into the pool.
    pub(super) fn take_in_spare(&mut self, spare: Spare) {
        self.drives.set_usage(spare.drive, Usage::Spare);
        self.spares.push(spare);
        self.spares.sort_by_key(|spare| spare.drive);
        // There may be one that is large enough now.
        self.unhealed.clear();
    }

    /// Takes spares that were found on the drives into the pool, if they are ours.
    pub(super) fn take_in_spares(&mut self, found: Vec<Spare>) {
        self.spares.clear();
        self.spares_elsewhere.clear();
        for mut spare in found {
            let is_own = |shelf: u16| self.shelf.is_some_and(|own| own.0 == shelf);
            let (shelf, next) = (spare.record.spare_of_shelf, spare.record.next_shelf);
            if !is_own(shelf) && !next.is_some_and(is_own) {
                let what = format!("a spare of shelf {shelf}");
                self.drives.set_usage(spare.drive, Usage::Foreign(what));
                self.spares_elsewhere.push(spare);
                continue;
            }
            if let Some(own) = self.shelf.filter(|_| next.is_some()) {
                let record = SpareRecord {
                    spare_of_shelf: own.0,
                    next_shelf: None,
                    ..spare.record.clone()
                };
                if let Err(reason) = spare.change(&mut self.drives, record) {
                    self.notices.push(format!(
                        "an interrupted change of shelf was not finished: {reason}"
                    ));
                }
            }
            self.take_in_spare(spare);
        }
    }

    /// Changes the records of all spares; all are tried.
    pub(super) fn change_spares(
        &mut self,
        change: impl Fn(&mut SpareRecord),
    ) -> Result<(), AdminError> {
        let mut result = Ok(());
        for spare in &mut self.spares {
            let mut record = spare.record.clone();
            change(&mut record);
            if record != spare.record {
                let changed = spare.change(&mut self.drives, record);
                result = result.and(changed.map_err(|reason| {
                    AdminError::Io(format!("the spare could not be changed: {reason}"))
                }));
            }
        }
        result
    }

    /// Spares that were for a LUN alone are for all: the LUN is no more. Gives what could not be changed.
    pub(super) fn free_spares_of(&mut self, number: LunNumber) -> Result<(), String> {
        let is_of_lun = |spare: &&Spare| spare.dedicated_to() == Some(number);
        let drives: Vec<DriveSlot> = self
            .spares
            .iter()
            .filter(is_of_lun)
            .map(|spare| spare.drive)
            .collect();
        let mut failures = Vec::new();
        for drive in drives {
            let name = self.drive_name(drive);
            let Some(spare) = self.spares.iter_mut().find(|spare| spare.drive == drive) else {
                continue;
            };
            let record = SpareRecord {
                dedicated_to_lun: None,
                ..spare.record.clone()
            };
            match spare.change(&mut self.drives, record) {
                Ok(()) => self.notices.push(format!(
                    "spare {name} was for LUN {number} alone, which is removed: it is one for all LUNs now"
                )),
                Err(reason) => failures.push(format!(
                    "spare {name} is still kept for a LUN {number}: {reason}"
                )),
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(failures.join("; "))
    }

    pub(super) fn unmake_spare(&mut self, slot: DriveSlot, force: bool) -> Result<(), AdminError> {
        let drive = self.drive_name(slot);
        if self.drives.get(slot).is_none() {
            return Err(AdminError::NoSuchDrive(drive));
        }
        if !self.spares.iter().any(|spare| spare.drive == slot) {
            return Err(AdminError::NotASpare(drive));
        }
        match erase_drive(&mut self.drives, slot) {
            Ok(()) => self.drives.erased(slot),
            Err(reason) if force => {
                self.notices
                    .push(format!("a spare was removed, but is not erased: {reason}"));
                self.drives
                    .left(slot, "a removed spare: not erased".to_owned());
            }
            Err(reason) => {
                let text = format!("{drive} is still a spare: {reason}; with -f it is forgotten");
                return Err(AdminError::Io(text));
            }
        }
        self.spares.retain(|spare| spare.drive != slot);
        Ok(())
    }

    /// A spare that became a member is in the pool no more.
    pub(super) fn spare_was_taken(&mut self, slot: DriveSlot) {
        self.spares.retain(|spare| spare.drive != slot);
    }

    /// Gives a RAID that lacks a member a spare that fits: one, since each is a change of its own. That
    /// there is none for an element is told once.
    pub(super) fn heal(&mut self) {
        if self.is_stopping {
            return;
        }
        for id in self.elements_to_heal() {
            let has_spares = !self.spares.is_empty();
            if self.heal_element(id) {
                return;
            }
            if has_spares && self.unhealed.insert(id) {
                self.notices.push(format!("no spare large enough for {id}"));
            }
        }
    }

    /// Elements that take no I/O, of RAIDs that can rebuild them. One that is only late gets its time.
    fn elements_to_heal(&self) -> Vec<ElementId> {
        let mut wanting = Vec::new();
        for raid in self.raids.values() {
            if !raid.is_redundant() || !raid.can_serve() || !raid.rivals.is_empty() {
                continue;
            }
            for (element, member) in raid.elements() {
                let is_late = raid.late.contains(&element) && !self.is_grace_over;
                let id = raid.element_id(element);
                if !member.is_in_use() && !is_late && !self.may_return(id) {
                    wanting.push(id);
                }
            }
        }
        wanting
    }

    /// Rebuilds an element on the best spare there is. Returns whether it is being rebuilt.
    fn heal_element(&mut self, id: ElementId) -> bool {
        for slot in self.spares_for(id) {
            let name = self.drive_name(slot);
            match self.rebuild(id, slot, false) {
                Ok(()) => {
                    self.notices
                        .push(format!("spare {name} allocated for {id}"));
                    return true;
                }
                Err(error) => self.spare_not_taken(slot, &error),
            }
        }
        false
    }

    /// A spare could not become a member.
    pub(super) fn spare_not_taken(&mut self, slot: DriveSlot, error: &AdminError) {
        let name = self.drive_name(slot);
        if let Some(spare) = self.spares.iter_mut().find(|spare| spare.drive == slot) {
            spare.fault = Some(error.to_string());
        }
        self.notices
            .push(format!("spare {name} was not taken: {error}"));
    }

    /// Spares that are large enough for an element, the best first. Behind all others are those that say that
    /// they will fail: for a RAID that has lost a member they are better than none.
    pub(super) fn spares_for(&mut self, id: ElementId) -> Vec<DriveSlot> {
        let Some(raid) = self.raids.get(&id.raid()) else {
            return Vec::new();
        };
        let needed_sectors = raid.geometry.member_sectors();
        let chunk_sectors = raid.geometry.chunk_sectors();
        let mut fitting = Vec::new();
        for spare in &self.spares {
            let dedicated = spare.dedicated_to();
            if spare.fault.is_some() || dedicated.is_some_and(|lun| lun != id.lun) {
                continue;
            }
            let Some(entry) = self.drives.get(spare.drive) else {
                continue;
            };
            let is_last_resort = entry.predicts_failure();
            let Some(size_sectors) = entry.size_sectors() else {
                continue;
            };
            let divided = divide(&mut self.drives, spare.drive, size_sectors, chunk_sectors);
            let layout = divided.ok().flatten().map(|(layout, _)| layout);
            let fits = layout.is_some_and(|layout| {
                self.expect_fitting_unit(id.raid(), spare.drive, layout.data_offset_sectors)
                    .is_ok()
            });
            let room = layout.map_or(0, |layout| layout.data_sectors);
            if fits && room >= needed_sectors {
                fitting.push((
                    is_last_resort,
                    dedicated.is_none(),
                    size_sectors,
                    spare.drive,
                ));
            }
        }
        fitting.sort_unstable();
        fitting.into_iter().map(|(.., drive)| drive).collect()
    }

    /// Reads every spare, if a minute has gone by: its superblock, and one sector somewhere.
    pub(super) fn check_spares(&mut self, now: Duration) {
        if now < self.next_spare_check {
            return;
        }
        self.next_spare_check = now + CHECK_INTERVAL;
        for index in 0..self.spares.len() {
            let drive = self.spares[index].drive;
            let fault = self.check_spare(index, now).err();
            let name = self.drive_name(drive);
            let spare = &mut self.spares[index];
            match (&spare.fault, &fault) {
                (None, Some(reason)) => self.notices.push(format!("spare {name} is bad: {reason}")),
                (Some(_), None) => self.notices.push(format!("spare {name} is well again")),
                _ => {}
            }
            spare.fault = fault;
        }
    }

    fn check_spare(&mut self, index: usize, now: Duration) -> Result<(), String> {
        let spare = &self.spares[index];
        let mut block = [0; BLOCK_BYTES];
        self.drives
            .read(spare.drive, SUPERBLOCK_SECTOR, &mut block)?;
        let is_same = Superblock::decode(&block)
            .is_ok_and(|found| found.set_uuid() == spare.superblock.set_uuid());
        if !is_same {
            return Err("its superblock was overwritten".to_owned());
        }
        let size_sectors = self
            .drives
            .get(spare.drive)
            .and_then(|entry| entry.size_sectors());
        // Anywhere, and everywhere in the course of time: the step is prime.
        let steps = now.as_secs() / CHECK_INTERVAL.as_secs();
        let sector = (steps % (1 << 32)) * 1_000_003 % size_sectors.unwrap_or(1);
        self.drives.read(spare.drive, sector, &mut block[..512])
    }
}
