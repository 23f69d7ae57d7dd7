//! Rounds of writes: one change, written to every member of a RAID.
//!
//! * A *record round* writes the same record with a higher generation to each member's idle slot.
//!   After a crash within it the highest generation counts and is completed at start, so the change
//!   is done as soon as one member has it.
//! * A *superblock round* writes the members' roles and the dirty mark with a higher event count.
//!   The freshest superblock counts.
//! * Before the superblocks the write-intent bitmap is written, with an event count that is not behind
//!   theirs: else it would be stale ([`super::regions`]).
//! * A kernel takes a member that is one event behind the freshest for as good as that. So a change
//!   that leaves a member out ends only when the others are two events ahead of it; in steps of one,
//!   so that a crash leaves none of the others behind.
//! * Linux gives a device that it rebuilt a number of its own. So whoever is not a member of ours is
//!   failed over the whole table of roles.
//!
//! A member that fails a write is given up if the others hold all data, durably: with another
//! superblock round on them, repeated until it fails nobody. Otherwise the round is undone as far as
//! the drives let it.

use super::Manager;
use super::drives::Drives;
use super::lun::BEING_COPIED;
use super::raid::{Member, Metadata, Raid};
use super::twin::{Device, DeviceMut, devices_mut};
use crate::admin::PartId;
use raid::layout::SUPERBLOCK_SECTOR;
use raid::md::{Resync, Superblock};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::{Record, encode};

/// Devices that failed a write, and how.
pub(super) type Failures = Vec<(Device, String)>;

/// A RAID and what its rounds need.
pub(super) struct Rounds<'a> {
    pub(super) drives: &'a mut Drives,
    pub(super) raid: &'a mut Raid,
    pub(super) notices: &'a mut Vec<String>,
    pub(super) now_unix_seconds: u64,
}

impl Manager {
    /// The rounds of a RAID that is there.
    pub(super) fn rounds(&mut self, id: PartId) -> Option<Rounds<'_>> {
        let now_unix_seconds = (self.now_unix_seconds)();
        let raid = self.raids.get_mut(&id)?;
        Some(Rounds {
            drives: &mut self.drives,
            raid,
            notices: &mut self.notices,
            now_unix_seconds,
        })
    }
}

impl Rounds<'_> {
    /// Makes a record durable on every member. On an error the old one counts, unless the drives
    /// refuse that too; the text says so.
    pub(super) fn record(&mut self, record: Record) -> Result<(), String> {
        if !self.raid.is_recorded() {
            self.raid.record = record;
            return Ok(());
        }
        self.check_touchable()?;
        let generation = self.next_generation();
        let failures = self.write_records(generation, &record);
        self.raid.generation = generation;
        if failures.is_empty() {
            self.raid.record = record;
            return Ok(());
        }
        if self.can_lose(&failures) {
            self.raid.record = record;
            return self.give_up(&failures);
        }
        let old = self.raid.record.clone();
        let generation = self.next_generation();
        let undo_failures = self.write_records(generation, &old);
        self.raid.generation = generation;
        let end = if undo_failures.is_empty() {
            "nothing was changed"
        } else {
            "it may show after a restart"
        };
        Err(format!("{}; {end}", reasons(&failures)))
    }

    /// Whether something may be written to the members.
    fn check_touchable(&self) -> Result<(), String> {
        if self.raid.is_copied {
            return Err(BEING_COPIED.to_owned());
        }
        let reason = self
            .raid
            .unfit
            .as_ref()
            .filter(|_| self.raid.is_untouchable);
        reason.map_or(Ok(()), |reason| Err(reason.clone()))
    }

    /// A generation that wins over every other on any member. An unfinished change on an absent
    /// member is one ahead at most, so a change made without it goes two ahead.
    fn next_generation(&self) -> u64 {
        self.raid.generation + if self.raid.all_normal() { 1 } else { 2 }
    }

    /// Writes a record to the idle slot of every member, and gives the members that failed.
    pub(super) fn write_records(&mut self, generation: u64, record: &Record) -> Failures {
        let mut failures = Vec::new();
        for entry in devices_mut(&mut self.raid.members) {
            let (drive, metadata) = (entry.drive, entry.metadata);
            let element = entry.device.element;
            let slot = 1 - metadata.slot;
            let sector = Metadata::places(&metadata.superblock).slots[slot].sector;
            let own = Record {
                element,
                ..record.clone()
            };
            let written = encode(&Metadata::owner(&metadata.superblock), generation, &own)
                .map_err(|error| error.to_string())
                .and_then(|bytes| self.drives.write(drive, sector, &bytes));
            match written {
                Ok(()) => metadata.slot = slot,
                Err(reason) => failures.push((entry.device, reason)),
            }
        }
        failures
    }

    /// Makes roles, the dirty mark and how far members are rebuilt durable on every member. Whoever is
    /// not in use gets the role of a failed device: from now on the members are ahead of it.
    pub(super) fn superblocks(&mut self, resync: Resync) -> Result<(), String> {
        self.check_touchable()?;
        let before = self.raid.members.clone();
        // Until all members say clean, some may say dirty.
        self.raid.is_dirty |= resync != Resync::Clean;
        loop {
            self.raid.events += 1;
            let mut failures = self.write_bitmap_for_events();
            if failures.is_empty() {
                failures = self.write_superblocks(resync);
            } else {
                // No superblock has this count: the next round is not a step further.
                self.raid.events -= 1;
            }
            if failures.is_empty() && self.raid.events < self.raid.events_ahead {
                continue;
            }
            if failures.is_empty() {
                self.raid.is_dirty = resync != Resync::Clean;
                self.note_events_cleared();
                return Ok(());
            }
            if !self.can_lose(&failures) {
                self.raid.members = before;
                return Err(reasons(&failures));
            }
            self.mark_failed(&failures);
        }
    }

    /// Writes every member's superblock as it is to be, and gives the members that failed. Twins come
    /// first: none may say clean still when its members say dirty ([`Superblock::is_spoilt_by_linux`]).
    pub(super) fn write_superblocks(&mut self, resync: Resync) -> Failures {
        let mut failures = self.write_superblocks_of(resync, true);
        failures.extend(self.write_superblocks_of(resync, false));
        failures
    }

    fn write_superblocks_of(&mut self, resync: Resync, of_twins: bool) -> Failures {
        let raid = &mut *self.raid;
        let active = raid.active_devices();
        let name = md_name(raid.record.shelf, raid.id);
        let mut failures = Vec::new();
        let devices = devices_mut(&mut raid.members);
        for entry in devices.filter(|entry| entry.device.is_twin == of_twins) {
            let recovery = entry
                .rebuilt_before
                .map(|lba| raid.geometry.member_sectors_before(lba));
            let drive = entry.drive;
            let superblock = &mut entry.metadata.superblock;
            // One whose member failed stays a replacement until it holds everything.
            let is_replacement = superblock.is_replacement() && !entry.is_normal;
            superblock.set_replacement(is_replacement);
            superblock.set_active_devices(&active);
            superblock.set_recovery(recovery);
            superblock.set_name(&name);
            superblock.set_has_bitmap(raid.bitmap.is_some());
            superblock.set_resync(resync);
            superblock.set_events(raid.events, self.now_unix_seconds);
            let block = superblock.encode();
            if let Err(reason) = self.drives.write(drive, SUPERBLOCK_SECTOR, &block) {
                failures.push((entry.device, reason));
            }
        }
        failures
    }

    /// Rewrites every member's superblock with nothing changed but the name. Not an event: a member
    /// that misses it is as good as the others.
    pub(super) fn rename(&mut self) -> Result<(), String> {
        let name = md_name(self.raid.record.shelf, self.raid.id);
        let mut failures = Vec::new();
        for entry in devices_mut(&mut self.raid.members) {
            entry.metadata.superblock.set_name(&name);
            let block = entry.metadata.superblock.encode();
            if let Err(reason) = self.drives.write(entry.drive, SUPERBLOCK_SECTOR, &block) {
                failures.push((entry.device, reason));
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(reasons(&failures))
        }
    }

    /// Writes the bad-block log of every member.
    pub(super) fn write_bad_block_logs(&mut self, log: &[u8]) -> Result<(), String> {
        for entry in devices_mut(&mut self.raid.members) {
            let sector = Metadata::places(&entry.metadata.superblock)
                .bad_blocks
                .sector;
            self.drives.write(entry.drive, sector, log)?;
        }
        Ok(())
    }

    /// What the superblocks are to say of the mirrors now.
    pub(super) const fn present_resync(&self) -> Resync {
        if self.raid.is_dirty {
            Resync::DirtyFrom(0)
        } else {
            Resync::Clean
        }
    }

    /// Whether the RAID can serve without the members that failed.
    pub(super) fn can_lose(&self, failures: &Failures) -> bool {
        let lost = failures.iter().filter(|(device, _)| !device.is_twin);
        let lost: Vec<u8> = lost.map(|(device, _)| device.element).collect();
        self.raid.is_redundant() && self.raid.can_serve_without(&lost)
    }

    /// Gives up members, durably.
    pub(super) fn give_up(&mut self, failures: &Failures) -> Result<(), String> {
        let before = self.raid.members.clone();
        self.mark_failed(failures);
        let resync = self.present_resync();
        self.superblocks(resync)
            .inspect_err(|_| self.raid.members = before)
    }

    pub(super) fn mark_failed(&mut self, failures: &Failures) {
        // Even the last round may have reached them.
        let ahead = self.raid.events + 2;
        #[cfg(feature = "planted")]
        let ahead = ahead - 2 * u64::from(planted::is(Bug::OneEventAhead));
        self.raid.events_ahead = self.raid.events_ahead.max(ahead);
        // A twin that fails, too, does not take the place of its member.
        let twins = failures.iter().filter(|(device, _)| device.is_twin);
        for (device, reason) in twins {
            let member = &mut self.raid.members[usize::from(device.element)];
            if member.take_twin_if(|_| true).is_some() {
                let id = self.raid.element_id(device.element);
                let text =
                    format!("the replacement of element {id} failed and is dropped: {reason}");
                self.notices.push(text);
            }
        }
        for (device, reason) in failures.iter().filter(|(device, _)| !device.is_twin) {
            let id = self.raid.element_id(device.element);
            self.notices.push(format!("element {id} failed: {reason}"));
            let member = &mut self.raid.members[usize::from(device.element)];
            if let Some(twin) = member.take_twin_if(|_| true) {
                let text = format!(
                    "the drive in slot {} takes its place, and is rebuilt from where it is",
                    twin.drive
                );
                self.notices.push(text);
                *member = twin.into_rebuilding();
            } else if let Some(drive) = member.drive() {
                *member = Member::Failed { drive };
            }
        }
    }

    /// Brings members that missed the last superblock round up to the freshest, so that another
    /// interruption does not leave them two rounds behind.
    pub(super) fn level_superblocks(&mut self, freshest: &Superblock) -> Result<(), String> {
        let mut failures = Vec::new();
        let is_behind =
            |entry: DeviceMut<'_>| entry.metadata.superblock.events() != freshest.events();
        if devices_mut(&mut self.raid.members).any(is_behind) {
            failures = self.write_bitmap();
        }
        for entry in devices_mut(&mut self.raid.members) {
            let superblock = &mut entry.metadata.superblock;
            let has_no_bitmap = failures.iter().any(|(failed, _)| *failed == entry.device);
            if superblock.events() == freshest.events() || has_no_bitmap {
                continue;
            }
            superblock.copy_roles(freshest);
            superblock.set_resync(freshest.resync());
            superblock.set_events(freshest.events(), self.now_unix_seconds);
            let block = superblock.encode();
            if let Err(reason) = self.drives.write(entry.drive, SUPERBLOCK_SECTOR, &block) {
                failures.push((entry.device, reason));
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(reasons(&failures))
        }
    }
}

/// The name of the md array that is a RAID, for the eyes of Linux administrators.
pub(super) fn md_name(shelf: u16, id: PartId) -> String {
    if id.part == 0 {
        format!("{shelf}:{}", id.lun)
    } else {
        format!("{shelf}:{id}")
    }
}

/// What went wrong, in a line.
pub(super) fn reasons(failures: &Failures) -> String {
    let reasons: Vec<&str> = failures.iter().map(|(_, reason)| reason.as_str()).collect();
    reasons.join("; ")
}
