//! Bad blocks of members: sectors that hold old data or none, though the member is in use.
//!
//! They are noted in md's bad-block log, by Linux or by us. The data path does not read them, and tells
//! when it has written them; then they are good again.
//!
//! Invariants:
//! * the log is durable before the superblock says that there is one, and that before the call returns:
//!   a range that was noted is never read after a restart;
//! * the workers know the list of a drive before they get a view with it;
//! * a range is taken out only after a write of all that is taken out was durable; the write is answered
//!   only after that is durable, too.

use super::lun::ids_of;
use super::raid::{Member, Metadata, Raid};
use super::rounds::Rounds;
use super::scan::Candidate;
use super::twin::{Device, devices_mut};
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, PartId};
use crate::target::MendTicket;
use raid::bad_blocks::{BadBlockError, BadBlocks, BadRange, LOG_BYTES};
use raid::layout::Area;
use raid::lost::shared;
use raid::md::Superblock;
use std::sync::Arc;

impl Manager {
    /// Notes sectors of a member that hold old data or none: durably, and for the data path. Ranges are in
    /// member sectors.
    ///
    /// # Errors
    /// No such LUN or member, or the log is full: then nothing is noted. Or it could not be written: then
    /// the data path does not read the sectors, but a restart may not know. Either way the member should be
    /// given up.
    pub fn add_bad_blocks(
        &mut self,
        number: LunNumber,
        part: u8,
        member: u8,
        ranges: &[BadRange],
    ) -> Result<(), AdminError> {
        let id = PartId { lun: number, part };
        self.note_bad_blocks(id, Device::member(member), ranges)
    }

    /// As [`Manager::add_bad_blocks`], of either device of an element.
    pub(super) fn note_bad_blocks(
        &mut self,
        id: PartId,
        device: Device,
        ranges: &[BadRange],
    ) -> Result<(), AdminError> {
        self.end_aside(id, device.element, ranges)?;
        let added = match self.rounds(id) {
            Some(mut rounds) => rounds.add_bad_blocks(device, ranges),
            None => {
                self.lun(id.lun)?;
                Err("it does not exist".to_owned())
            }
        };
        // Whatever is in the list by now is not to be read.
        self.tell_bad_blocks(id.lun)?;
        added.map_err(|reason| {
            let element = id.element(device.element);
            let of = if device.is_twin {
                "the replacement of "
            } else {
                ""
            };
            AdminError::Io(format!("bad blocks of {of}element {element}: {reason}"))
        })
    }

    /// The data path has written sectors of a drive that were bad: they are good again. The write that
    /// waits for that is told when the log says so durably, or whether others hold what was written.
    pub(super) fn bad_blocks_written(
        &mut self,
        drive: DriveSlot,
        range: &BadRange,
        ticket: Option<MendTicket>,
    ) {
        let is_safe = self.take_from_log(drive, range);
        if let Some(ticket) = ticket
            && let Err(reason) = self.plane.bad_sectors_settled(ticket, is_safe)
        {
            self.notices.push(reason);
        }
    }

    /// Takes sectors from the log of a drive. Whether they can be read after a restart: from it, or because
    /// it is not the last to hold them.
    fn take_from_log(&mut self, drive: DriveSlot, range: &BadRange) -> bool {
        let is_on = |raid: &&Raid| {
            let mut drives = raid.members.iter().flat_map(Member::drives);
            drives.any(|own| own == drive)
        };
        let Some(id) = self.raids.values().find(is_on).map(|raid| raid.id) else {
            // It was given up since.
            return true;
        };
        let Some(mut rounds) = self.rounds(id) else {
            return true;
        };
        let members = rounds.raid.drives_in_use();
        let aside = rounds.raid.stays_aside_on(drive, range);
        let is_safe = rounds.remove_bad_blocks(drive, range, &aside);
        let told = if rounds.raid.drives_in_use() == members {
            self.tell_bad_blocks(id.lun)
        } else {
            self.attach_if_live(id.lun)
        };
        if let Err(error) = told {
            self.notices.push(error.to_string());
        }
        is_safe
    }

    /// Tells the workers the lists of the members of a LUN, if they do not know them.
    pub(super) fn tell_bad_blocks(&mut self, number: LunNumber) -> Result<(), AdminError> {
        let raids = self.raids.range(ids_of(number));
        for (drive, bad) in raids.flat_map(|(_, raid)| real_bad_blocks(raid)) {
            let ranges: Arc<[BadRange]> = bad.ranges().into();
            let told = self.told_bad_blocks.get(&drive);
            if told.map_or(ranges.is_empty(), |told| *told == ranges) {
                continue;
            }
            self.plane
                .set_bad_blocks(drive, Arc::clone(&ranges))
                .map_err(AdminError::Io)?;
            self.told_bad_blocks.insert(drive, ranges);
        }
        Ok(())
    }
}

/// What is really bad of each drive of a RAID.
fn real_bad_blocks(raid: &Raid) -> impl Iterator<Item = (DriveSlot, BadBlocks)> + '_ {
    raid.elements().flat_map(move |(element, member)| {
        let own = member.drive().zip(member.metadata());
        let twin = member.twin().map(|twin| (twin.drive, &twin.metadata));
        let devices = own.into_iter().chain(twin);
        devices.map(move |(drive, metadata)| (drive, raid.real_bad_blocks(element, metadata)))
    })
}

impl Rounds<'_> {
    /// Notes bad blocks of a device, in member sectors.
    pub(super) fn add_bad_blocks(
        &mut self,
        device: Device,
        ranges: &[BadRange],
    ) -> Result<(), String> {
        let found = devices_mut(&mut self.raid.members).find(|entry| entry.device == device);
        let Some(entry) = found else {
            return Err("no drive of ours holds it".to_owned());
        };
        let (drive, metadata) = (entry.drive, entry.metadata);
        let data_offset_sectors = metadata.superblock.data_offset_sectors();
        let before = metadata.bad_blocks.clone();
        for range in ranges {
            let sector = range.sector.saturating_add(data_offset_sectors);
            let range = BadRange { sector, ..*range };
            if let Err(error) = metadata.bad_blocks.add(range) {
                metadata.bad_blocks = before;
                return Err(error.to_string());
            }
        }
        write_log(self.drives, drive, metadata)?;
        if metadata.superblock.has_bad_blocks() {
            return Ok(());
        }
        metadata.superblock.set_has_bad_blocks(true);
        let resync = self.present_resync();
        self.superblocks(resync)
    }

    /// Takes sectors of a drive from its bad-block log, but for those that stay there for others. Whether
    /// what they hold can be read after a restart.
    pub(super) fn remove_bad_blocks(
        &mut self,
        drive: DriveSlot,
        range: &BadRange,
        aside: &[BadRange],
    ) -> bool {
        let found = devices_mut(&mut self.raid.members).find(|entry| entry.drive == drive);
        let Some(entry) = found else {
            return true;
        };
        let (device, metadata) = (entry.device, entry.metadata);
        let before = metadata.bad_blocks.clone();
        match remove_but(&mut metadata.bad_blocks, range, aside) {
            Ok(false) => return true,
            Ok(true) => {}
            Err(error) => {
                // All of the range that they are in stays.
                let failures = vec![(device, error.to_string())];
                self.notices.push(format!(
                    "sectors of the drive in slot {drive} stay noted as bad: {error}"
                ));
                return self.can_lose(&failures);
            }
        }
        if let Err(reason) = write_log(self.drives, drive, metadata) {
            metadata.bad_blocks = before;
            let reason = format!("the bad-block log was not written: {reason}");
            self.notices.push(reason.clone());
            // The old log or the new one may be there.
            let failures = vec![(device, reason)];
            return self.can_lose(&failures) && self.give_up(&failures).is_ok();
        }
        if metadata.bad_blocks.is_empty() {
            // The next change of the superblocks says so; an empty list is none, too.
            metadata.superblock.set_has_bad_blocks(false);
        }
        true
    }
}

/// Takes a range from a list, but for what is to stay of it. Whether anything is changed.
fn remove_but(
    bad: &mut BadBlocks,
    range: &BadRange,
    aside: &[BadRange],
) -> Result<bool, BadBlockError> {
    let before = bad.clone();
    let change = |bad: &mut BadBlocks| {
        bad.remove(range)?;
        let known = before.ranges();
        let stays = aside
            .iter()
            .flat_map(|aside| known.iter().filter_map(|known| shared(known, aside)));
        stays.into_iter().try_for_each(|range| bad.add(range))
    };
    if let Err(error) = change(bad) {
        *bad = before;
        return Err(error);
    }
    Ok(*bad != before)
}

/// Writes the bad-block log of a member.
pub(super) fn write_log(
    drives: &mut super::drives::Drives,
    drive: DriveSlot,
    metadata: &Metadata,
) -> Result<(), String> {
    let area = log_area(&metadata.superblock)
        .ok_or_else(|| format!("drive in slot {drive} has no room for a bad-block log"))?;
    drives.write(drive, area.sector, &metadata.bad_blocks.encode())
}

/// Where the log lies that we write: one of the size and the sectors of ours.
fn log_area(superblock: &Superblock) -> Option<Area> {
    let (area, shift) = superblock.bad_blocks_area()?;
    (shift == 0 && area.sectors * 512 == LOG_BYTES as u64).then_some(area)
}

/// Reads the bad blocks of a member, or says why they are not known.
pub(super) fn read(
    drives: &mut super::drives::Drives,
    drive: DriveSlot,
    superblock: &Superblock,
) -> Result<Result<BadBlocks, String>, String> {
    if !superblock.has_bad_blocks() {
        return Ok(Ok(BadBlocks::default()));
    }
    let Some(area) = log_area(superblock) else {
        return Ok(Err("its log is of another shape than ours".to_owned()));
    };
    let mut log = [0; LOG_BYTES];
    drives.read(drive, area.sector, &mut log)?;
    Ok(BadBlocks::decode(&log, 0).map_err(|error| error.to_string()))
}

/// Whether it is not known which sectors of a member are bad.
pub(super) const fn are_unknown(candidate: &Candidate) -> bool {
    candidate.bad_blocks.is_err()
}
