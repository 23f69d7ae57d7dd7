//! Copies of one drive onto another (`extract`): which drive may be copied, and onto which.
//!
//! It is for drives that this shelf makes nothing of: with an array or a file system of others, or with bytes
//! that nobody knows. Such a copy is the old drive a second time, for whoever knows that: one of them is to be
//! pulled before its host looks for it. Here both are foreign, and an array of others of which a device is
//! there twice is not taken over ([`super::import`]).
//!
//! A member of a LUN is not copied so. The copy would have its name, and after a restart nothing on either
//! would tell which of them has missed what was written since. `replace` makes a copy with a name of its own.
//!
//! Invariants:
//! * nobody else makes anything of either drive while the copy runs;
//! * nothing is written to the old drive;
//! * the new drive carried nothing, and carries a mark until it holds everything. The mark says of which drive
//!   it is a copy: none goes on with what another one was begun with.

use super::drives::{Entry, Usage};
use super::members::up;
use super::scan::find_own;
use super::{DriveSlot, Manager};
use crate::admin::{AdminError, ElementId};
use crate::job::{Extract, JobEnd, JobKind};
use raid::Unit;
use raid::drive_record::{Mark, Work, fingerprint};
use raid::layout::{DEVICE_SECTORS_MIN, SUPERBLOCK_SECTOR};
use raid::md::raw::BLOCK_BYTES;

/// Bytes at the beginning of a drive by which a copy knows it again: where partition tables and superblocks
/// lie.
const HEAD_BYTES: usize = 8192;

impl Manager {
    /// Whether one drive may be copied onto another; gives the sectors of the old one.
    pub(super) fn fit_extract(
        &mut self,
        slot: DriveSlot,
        extract: Extract,
    ) -> Result<u64, AdminError> {
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
        self.may_be_copied(extract.source, &old).map_err(&refused)?;
        self.expect_continued(slot, extract, sectors)
            .map_err(&refused)?;
        Ok(sectors)
    }

    /// Whether a copy of a drive would be taken for nothing of this shelf.
    fn may_be_copied(&mut self, slot: DriveSlot, old: &str) -> Result<(), String> {
        let Some(entry) = self.drives.get(slot) else {
            return Ok(());
        };
        let sectors = entry.whole_sectors();
        match &entry.usage {
            Usage::Element(id) => return Err(self.reason_to_replace(*id, old)),
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
            Ok(None) => Ok(()),
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

    /// Why an element is not copied, and what does that.
    fn reason_to_replace(&self, id: ElementId, old: &str) -> String {
        let lun = id.lun;
        let Some(raid) = self.raids.get(&id.raid()) else {
            return format!("{old} is {id}");
        };
        let is_in_use = self.member(id).is_ok_and(super::raid::Member::is_in_use);
        if raid.is_redundant() && raid.can_serve() && is_in_use {
            let first = if raid.is_live {
                String::new()
            } else {
                format!("online {lun}, then ")
            };
            return format!(
                "{old} is {id}; {first}replace {id} DRIVE copies it while the LUN is served, with what the others \
                 hold in the place of what cannot be read"
            );
        }
        format!(
            "{old} is {id}: a copy has its name, and after a restart nobody could tell which of them has the newer \
             data; nothing makes up for it here: stop ledged, on the box ddrescue OLD NEW MAPFILE, pull the old \
             drive for good, start ledged"
        )
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
            Some(mark) if mark.source != self.known_by(extract.source, sectors) => Err(format!(
                "the copy on it is not one of {old}, or that cannot be told any more; begin anew, without -s"
            )),
            Some(_) => Ok(()),
        }
    }

    /// What the mark of a copy says of the drive that is copied.
    pub(super) fn known_by(&mut self, source: DriveSlot, sectors: u64) -> u64 {
        let mut head = vec![0; HEAD_BYTES];
        let read = self.drives.read(source, 0, &mut head);
        fingerprint(sectors, if read.is_ok() { &head } else { &[] })
    }

    /// A copy has ended: the drive that was copied is what it was before.
    pub(super) fn extract_ended(
        &mut self,
        slot: DriveSlot,
        source: (DriveSlot, Usage),
        end: &JobEnd,
    ) {
        let (source, was) = source;
        if *end == JobEnd::Complete && self.drives.get(slot).is_some_and(|entry| !entry.is_empty())
        {
            match was.foreign() {
                Some(what) => self.drives.left(slot, what),
                None => self.drives.erased(slot),
            }
        }
        if let Some(entry) = self.drives.get_mut(source)
            && matches!(entry.usage, Usage::Working(JobKind::Extract(_)))
        {
            entry.usage = was;
        }
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
