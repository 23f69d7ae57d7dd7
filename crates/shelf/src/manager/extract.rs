//! Copies of one drive onto another (`extract`): which drive may be copied, and onto which.
//!
//! It is for drives that this shelf makes nothing of: with an array or a file system of others, or with
//! bytes that nobody knows. Such a copy is the old drive a second time, for whoever knows that: one of them
//! is to be pulled before its host looks for it. Here both are foreign, and an array of others of which a
//! device is there twice is not taken over ([`super::import`]).
//!
//! A member of a LUN is not copied so. The copy would have its name, and after a restart nothing on either
//! would tell which of them has missed what was written since. `replace` makes a copy with a name of its own,
//! while the LUN is served; but it needs redundancy. So of a RAID without any, which is offline, a member can
//! be copied, and the copy takes its place:
//!
//! 1. while the copy runs the LUN is not served, and nothing of it is changed. The new drive has the mark in
//!    the place of the superblock: a power cut leaves a drive that is nobody's;
//! 2. at the end the new drive gets the bad-block log, with what could not be read, and the record; then one
//!    round of superblocks, in which it has the number of the old one, a name of its own, and one event more.
//!    The freshest of two devices with one number is the element ([`super::set`]). Before that superblock the
//!    old drive is, after it the new one, and each holds all that was ever acknowledged;
//! 3. the round ends two events ahead of the old drive, which so misses changes for whoever looks, and the
//!    superblock of the old drive says, if it takes that, that it is a member no more: so it is not served
//!    either when it is all that is there. A start that finds both finishes this before anything is served.
//!
//! Invariants:
//! * nobody else makes anything of either drive while the copy runs;
//! * nothing is written to the old drive, but for the last step of a member that leaves;
//! * what could not be read of a member is an error to read, never zeroes;
//! * the new drive carried nothing, and carries a mark until it holds everything. The mark says of which
//!   drive it is a copy: none goes on with what another one was begun with.

use super::bad_blocks::write_log;
use super::drives::{Entry, Usage};
use super::lun::BEING_COPIED;
use super::members::up;
use super::raid::{Member, Metadata};
use super::removal::erase_drive;
use super::rounds::Rounds;
use super::scan::find_own;
use super::twin::devices_mut;
use super::{DriveSlot, LunNumber, Manager};
use crate::admin::{AdminError, ElementId, PartId};
use crate::job::{BadSectors, Extract, JobEnd, JobKind, JobReport};
use raid::Unit;
use raid::bad_blocks::BadRange;
use raid::drive_record::{Mark, Work, fingerprint};
use raid::layout::{DEVICE_SECTORS_MIN, SUPERBLOCK_SECTOR};
use raid::md::Superblock;
use raid::md::raw::BLOCK_BYTES;
use raid::record::{Record, encode};
use uuid::Uuid;

/// Bytes at the beginning of a drive by which a copy knows it again: where partition tables and superblocks
/// lie.
const HEAD_BYTES: usize = 8192;

impl Manager {
    /// Whether one drive may be copied onto another; gives the sectors of the old one, and what it is.
    pub(super) fn fit_extract(
        &mut self,
        slot: DriveSlot,
        extract: Extract,
    ) -> Result<(u64, Extract), AdminError> {
        let old = self.drive_name(extract.source);
        let drive = self.drive_name(slot);
        let refused = |reason: String| AdminError::JobRefused {
            drive: drive.clone(),
            kind: JobKind::Extract(extract),
            reason,
        };
        if extract.source == slot {
            return Err(refused("it is the drive to copy".to_owned()));
        }
        let Some(source) = self.drives.get(extract.source) else {
            return Err(AdminError::NoSuchDrive(old));
        };
        up(source, &old)?;
        self.expect_no_job(extract.source)?;
        self.expect_quiet(extract.source)?;
        let Some(target) = self.drives.get(slot) else {
            return Err(AdminError::NoSuchDrive(drive));
        };
        let sectors = source.whole_sectors();
        let sizes = (sectors, target.whole_sectors());
        let units = [extract.source, slot].map(|slot| self.drives.unit(slot));
        expect_room(&old, sizes, units).map_err(&refused)?;
        may_be_written(target).map_err(&refused)?;
        let element = self.may_be_copied(extract.source, &old);
        let element = element.map_err(&refused)?;
        let extract = Extract { element, ..extract };
        self.expect_continued(slot, extract, sectors)
            .map_err(&refused)?;
        Ok((sectors, extract))
    }

    /// Whether a drive may be copied. Gives the element that it is, whose place the copy takes; of any other
    /// drive nothing of this shelf is to be on it.
    fn may_be_copied(&mut self, slot: DriveSlot, old: &str) -> Result<Option<ElementId>, String> {
        let Some(entry) = self.drives.get(slot) else {
            return Ok(None);
        };
        let sectors = entry.whole_sectors();
        match &entry.usage {
            Usage::Element(id) => return self.may_move(*id, slot, old).map(Some),
            Usage::Spare => return Err(format!("{old} is a spare, which holds nothing to copy")),
            Usage::Unfinished(_) => {
                let what = entry.usage.foreign().unwrap_or_default();
                return Err(format!("{old} carries {what}"));
            }
            _ => {}
        }
        if let Ok(device) = &entry.drive.drive
            && device.keeps_nothing()
        {
            return Err(format!("{old} is a null drive, which keeps nothing"));
        }
        match find_own(&mut self.drives, slot, sectors) {
            Ok(None) => Ok(None),
            Ok(Some(own)) => Err(format!(
                "{old} is {own}: a copy has its name, and after a restart nobody could tell which of them has \
                 the newer data; restore finds LUNs of which all drives are here, and replace then copies an \
                 element"
            )),
            Err(reason) => Err(format!(
                "whether {old} is of a LUN cannot be told: {reason}"
            )),
        }
    }

    /// Whether a copy of an element may take its place; if not, why, and what does that.
    fn may_move(&self, id: ElementId, slot: DriveSlot, old: &str) -> Result<ElementId, String> {
        let lun = id.lun;
        let Some(raid) = self.raids.get(&id.raid()).filter(|raid| raid.is_recorded()) else {
            return Err(format!("{old} is {id}, of a LUN that keeps no records"));
        };
        let is_live = self.lun(lun).is_ok_and(|lun| lun.is_live());
        let is_online = self.lun(lun).is_ok_and(|lun| lun.record().online);
        let member = &raid.members[usize::from(id.member)];
        if raid.is_redundant() && raid.can_serve() {
            let first = if is_live {
                String::new()
            } else {
                format!("online {lun}, then ")
            };
            let does = if member.is_in_use() {
                "copies it while the LUN is served, with what the others hold in the place of what cannot be read"
            } else {
                "makes it anew of what the others hold"
            };
            return Err(format!("{old} is {id}; {first}replace {id} DRIVE {does}"));
        }
        let is_whole = raid.all_normal() && raid.late.is_empty() && raid.rivals.is_empty();
        if raid.is_redundant() || !is_whole || raid.refusal().is_some() {
            return Err(format!(
                "{old} is {id} of raid {}, of which elements are failed or missing: which of the drives holds the \
                 newest data is not settled while one is copied; bring them back, or stop ledged, on the box \
                 ddrescue OLD NEW MAPFILE, pull the old drive for good, start ledged",
                id.raid()
            ));
        }
        if is_live || is_online {
            return Err(format!(
                "{old} is {id}; nothing of its LUN may be written while it is copied: offline {lun} first"
            ));
        }
        if member.drive() != Some(slot) {
            return Err(format!("{old} is not {id} any more"));
        }
        Ok(id)
    }

    /// Refuses a LUN of which an element is being copied.
    pub(super) fn expect_not_copied(&self, number: LunNumber) -> Result<(), AdminError> {
        let lun = self.lun(number)?;
        if lun.raids().any(|raid| raid.is_copied) {
            return Err(AdminError::Io(format!("LUN {number}: {BEING_COPIED}")));
        }
        Ok(())
    }

    /// A copy of an element begins: its LUN stays as it is.
    pub(super) fn hold_still(&mut self, kind: JobKind) {
        if let JobKind::Extract(extract) = kind
            && let Some(id) = extract.element
            && let Some(raid) = self.raids.get_mut(&id.raid())
        {
            raid.is_copied = true;
        }
    }

    /// Whether a copy that does not begin at the beginning goes on with one of the same drive.
    fn expect_continued(
        &mut self,
        slot: DriveSlot,
        extract: Extract,
        sectors: u64,
    ) -> Result<(), String> {
        let first = extract.first_sector;
        if first == 0 {
            return Ok(());
        }
        let old = self.drive_name(extract.source);
        if first > sectors {
            return Err(format!("{old} ends before sector {first}"));
        }
        let mut block = [0; BLOCK_BYTES];
        self.drives.read(slot, SUPERBLOCK_SECTOR, &mut block)?;
        let mark = Mark::decode(&block).filter(|mark| mark.work == Work::Extract);
        match mark {
            None => Err(format!(
                "it holds no copy that did not end, with which one could go on from sector {first}"
            )),
            Some(mark) if mark.source != self.known_by(extract, sectors) => Err(format!(
                "the copy on it is not one of {old}, or that cannot be told any more; begin anew, without -s"
            )),
            Some(_) => Ok(()),
        }
    }

    /// What the mark of a copy says of the drive that is copied. A LUN that went online since has another
    /// generation of its record.
    pub(super) fn known_by(&mut self, extract: Extract, sectors: u64) -> u64 {
        let mut head = vec![0; HEAD_BYTES];
        if self.drives.read(extract.source, 0, &mut head).is_err() {
            head.clear();
        }
        let lun = extract.element.map(|id| PartId::first(id.lun));
        if let Some(raid) = lun.and_then(|first| self.raids.get(&first)) {
            head.extend(raid.generation.to_le_bytes());
        }
        fingerprint(sectors, &head)
    }

    /// A copy has ended: the drive that was copied is what it was before, or a former element.
    pub(super) fn extract_ended(
        &mut self,
        (slot, extract): (DriveSlot, Extract),
        was: Option<Usage>,
        report: &JobReport,
    ) {
        let is_complete = report.progress.end == Some(JobEnd::Complete)
            && self.drives.get(slot).is_some_and(|entry| !entry.is_empty());
        if let Some(id) = extract.element {
            let held = self.raids.get_mut(&id.raid());
            let is_held = held.is_some_and(|raid| std::mem::take(&mut raid.is_copied));
            if !is_complete {
                return;
            }
            let moved = if is_held {
                self.move_element(id, (extract.source, slot), &report.progress.bad)
            } else {
                Err("its LUN was put together anew meanwhile".to_owned())
            };
            if let Err(reason) = moved {
                self.drives.set_unfinished(slot, Work::Extract);
                let name = self.drive_name(slot);
                let text =
                    format!("WARNING: drive {name} does not take the place of {id}: {reason}");
                self.notices.push(text);
            }
            return;
        }
        let Some(was) = was else { return };
        if is_complete {
            match was.foreign() {
                Some(what) => self.drives.left(slot, what),
                None => self.drives.erased(slot),
            }
        }
        if let Some(entry) = self.drives.get_mut(extract.source)
            && matches!(entry.usage, Usage::Working(JobKind::Extract(_)))
        {
            entry.usage = was;
        }
    }

    /// A drive holds all of an element but its superblock, or as much as could be read: it becomes the
    /// element.
    fn move_element(
        &mut self,
        id: ElementId,
        (old, new): (DriveSlot, DriveSlot),
        bad: &BadSectors,
    ) -> Result<(), String> {
        let device_uuid = (self.new_uuid)();
        let mut rounds = self.rounds(id.raid()).ok_or("no such RAID")?;
        let former = rounds.take_copy(id.member, (old, new), device_uuid, bad)?;
        self.drives.claim(new, id);
        self.note_outgoing(id.lun);
        let name = self.drive_name(new);
        self.notices
            .push(format!("drive {name} takes the place of element {id}"));
        self.dismiss(id.raid(), old, former);
        Ok(())
    }

    /// Tells a drive that it is no member any more, if it takes that.
    fn dismiss(&mut self, id: PartId, drive: DriveSlot, mut former: Superblock) {
        former.set_active_devices(&[]);
        let block = former.encode();
        if let Err(reason) = self.drives.write(drive, SUPERBLOCK_SECTOR, &block) {
            let name = self.drive_name(drive);
            self.notices.push(format!(
                "WARNING: pull drive {name} for good: it could not be told that it is of raid {id} no more: {reason}"
            ));
        }
    }

    /// A power cut came after a copy had become an element: the old drive is left behind.
    pub(super) fn finish_moves(&mut self, id: PartId) {
        let Some(mut rounds) = self.rounds(id) else {
            return;
        };
        // With a member missing it is not served either, and those that are there are to know it.
        if rounds.raid.outrun.is_empty() || rounds.raid.is_redundant() || !rounds.raid.all_normal()
        {
            return;
        }
        let outrun = std::mem::take(&mut rounds.raid.outrun);
        let resync = rounds.present_resync();
        if let Err(reason) = rounds.superblocks(resync) {
            rounds.raid.unfit = Some(format!(
                "a copy has taken the place of an element, which could not be recorded: {reason}"
            ));
            return;
        }
        for (drive, former) in outrun {
            self.dismiss(id, drive, former);
        }
    }
}

impl Rounds<'_> {
    /// Makes a drive that holds all of a member but its superblock that member, durably; what is bad was not
    /// read, and is not to be. Gives the superblock of the one that was.
    ///
    /// # Errors
    /// When the bad-block log does not hold what is bad, or a drive fails a write. Then the member is what it
    /// was.
    fn take_copy(
        &mut self,
        element: u8,
        (old, new): (DriveSlot, DriveSlot),
        device_uuid: Uuid,
        bad: &BadSectors,
    ) -> Result<Superblock, String> {
        let before = self.raid.members.clone();
        let member = &mut self.raid.members[usize::from(element)];
        let Member::Normal {
            drive,
            metadata: Some(metadata),
            ..
        } = member
        else {
            return Err("it is not in use any more".to_owned());
        };
        if *drive != old {
            return Err("another drive is the element by now".to_owned());
        }
        let former = metadata.superblock.clone();
        metadata.superblock = former.copied(device_uuid);
        *drive = new;
        let written = self.prepare_copy((element, new), bad).and_then(|()| {
            // Even the last round reached the one that was.
            self.raid.events_ahead = self.raid.events_ahead.max(self.raid.events + 2);
            let resync = self.present_resync();
            self.superblocks(resync)
        });
        let Err(mut reason) = written else {
            return Ok(former);
        };
        self.raid.members = before;
        self.raid.events_ahead = self.raid.events_ahead.max(self.raid.events + 3);
        if let Err(error) = erase_drive(self.drives, new) {
            reason.push_str("; not erased: ");
            reason.push_str(&error);
        }
        Err(reason)
    }

    /// Writes what a copy of a member needs beside its superblock. It holds what the old drive held there, if
    /// that could be read.
    fn prepare_copy(
        &mut self,
        (element, new): (u8, DriveSlot),
        bad: &BadSectors,
    ) -> Result<(), String> {
        let (generation, record) = (self.raid.generation, self.raid.record.clone());
        let devices = devices_mut(&mut self.raid.members);
        let mut own = devices.filter(|entry| entry.drive == new);
        let metadata = own.next().ok_or("no drive of ours holds it")?.metadata;
        let data_begin = metadata.superblock.data_offset_sectors();
        let data_end = data_begin + metadata.superblock.data_sectors();
        for run in bad.ranges() {
            let (begin, end) = (run.start.max(data_begin), run.end.min(data_end));
            if begin < end {
                let range = BadRange {
                    sector: begin,
                    sectors: end - begin,
                };
                metadata.bad_blocks.add(range).map_err(|error| {
                    format!(
                        "what could not be read cannot be noted, and would read as zeroes: {error}"
                    )
                })?;
            }
        }
        if !metadata.bad_blocks.is_empty() {
            write_log(self.drives, new, metadata)?;
            metadata.superblock.set_has_bad_blocks(true);
        }
        let own = Record { element, ..record };
        let owner = Metadata::owner(&metadata.superblock);
        let bytes = encode(&owner, generation, &own).map_err(|error| error.to_string())?;
        let places = Metadata::places(&metadata.superblock);
        self.drives
            .write(new, places.slots[metadata.slot].sector, &bytes)
    }
}

/// Whether a drive has room for another one, and sectors as that has.
fn expect_room(old: &str, (sectors, room): (u64, u64), units: [Unit; 2]) -> Result<(), String> {
    if sectors < DEVICE_SECTORS_MIN {
        return Err(format!("{old} has only {sectors} sectors"));
    }
    let [own, other] = units.map(Unit::bytes);
    if own != other {
        return Err(format!(
            "{old} has sectors of {own} bytes, and it has sectors of {other}: what counts in sectors, as partition \
             tables do, would mean something else on it"
        ));
    }
    if sectors > room {
        let bytes = [sectors, room].map(|sectors| sectors * 512);
        return Err(format!(
            "it is not large enough: it has {} bytes, {old} has {}",
            bytes[1], bytes[0]
        ));
    }
    Ok(())
}

/// Whether a drive carries nothing, so that all of it may be written.
fn may_be_written(entry: &Entry) -> Result<(), String> {
    if entry.clip.is_some() {
        return Err("only a part of it is used; setsize -c uses all of it".to_owned());
    }
    match &entry.usage {
        Usage::Unfinished(_) => Ok(()),
        usage => match usage.foreign() {
            Some(what) => Err(format!("it carries {what}; erase empties it")),
            None => Ok(()),
        },
    }
}
