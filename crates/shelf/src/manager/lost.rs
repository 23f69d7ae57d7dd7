//! Lost sectors of RAIDs with parity ([`raid::lost`]), as the administration keeps them: in the record, and,
//! for others, in md's bad-block logs.
//!
//! md knows nothing of sectors that are consistent and yet lost. So that it does not give what nobody wrote,
//! their parity is in its bad-block logs, and they are, too, on a member that was rebuilt since. The data
//! path is not told of these: it computes with them, and keeps only clients from what is lost.
//!
//! Invariants:
//! * whatever is in the list is in the logs before: without the list, as Linux or an older version of ours
//!   sees it, what is lost can be read by nobody, and writes beside it fail;
//! * before a device counts as holding lost sectors they are in its log;
//! * when what was set aside for others is really bad, it is taken from the list first;
//! * a write of lost sectors is at home before they are taken from the logs, and these before the list. It is
//!   answered when all of that is durable.

use super::raid::{Metadata, Raid};
use super::rounds::Rounds;
use super::twin::{Device, devices_mut};
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, PartId};
use crate::target::MendTicket;
use raid::bad_blocks::{BadBlocks, BadRange};
use raid::log::recovery::{MemberRange, Report};
use raid::lost::{self, LostRange, shared};
use raid::record::Record;

/// What ends it that sectors are unreadable.
const WRITTEN: &str = "they are written";

/// The same of sectors that are not in the list.
const WRITTEN_AT_ONCE: &str = "all that is lost of their stripe is written at once; before that, writes to \
    the other sectors beside them fail";

/// The list after a recovery, and whether all that is unreadable is in it.
fn list_with(raid: &Raid, unreadable: &[MemberRange]) -> (Vec<LostRange>, bool) {
    let mut list = raid.record.lost.clone();
    let mut is_all = true;
    let of = |range: &MemberRange| BadRange {
        sector: range.member_sector,
        sectors: u64::from(range.sectors),
    };
    for range in unreadable {
        // What a member has that is there is not what parity says.
        let mut same_stripes = unreadable
            .iter()
            .filter(|other| of(other).overlaps(&of(range)));
        let is_absent = |other: &MemberRange| {
            let member = &raid.members[usize::from(other.element)];
            !member.is_in_use()
        };
        let BadRange { sector, sectors } = of(range);
        is_all &= same_stripes.all(is_absent)
            && lost::add(&mut list, (range.element, sector, sectors).into());
    }
    if is_all {
        (list, true)
    } else {
        // Half of a stripe is none.
        let mut list = raid.record.lost.clone();
        for range in unreadable {
            list = lost::without(&list, None, &of(range));
        }
        (list, false)
    }
}

/// What ends it that these sectors are unreadable, in words.
pub(super) fn what_mends(raid: &Raid, report: &Report) -> &'static str {
    if list_with(raid, &report.unreadable).1 {
        WRITTEN
    } else {
        WRITTEN_AT_ONCE
    }
}

impl Raid {
    /// The bad blocks of an element's device that are not only for others.
    pub(super) fn real_bad_blocks(&self, element: u8, metadata: &Metadata) -> BadBlocks {
        let mut bad = metadata.bad_blocks.clone();
        if self.record.lost.is_empty() {
            return bad;
        }
        for range in self.set_aside(element, metadata) {
            // A list without room for the rest of a range keeps all of it: then it is not computed with.
            let _ = bad.remove(&range);
        }
        bad
    }

    /// The sectors of an element's device that are in its log only for others, if they are there.
    fn set_aside(&self, element: u8, metadata: &Metadata) -> Vec<BadRange> {
        let offset = metadata.superblock.data_offset_sectors();
        let aside = lost::set_aside(&self.geometry, &self.record.lost, element);
        let on_device = |range: BadRange| BadRange {
            sector: range.sector + offset,
            ..range
        };
        aside.into_iter().map(on_device).collect()
    }

    /// Of a range of a drive that was written, what is in its log for others and is to stay there.
    pub(super) fn stays_aside_on(&self, drive: DriveSlot, range: &BadRange) -> Vec<BadRange> {
        let mut aside = Vec::new();
        for (element, member) in self.elements() {
            let own = member.metadata().filter(|_| member.drive() == Some(drive));
            let twin = member.twin().filter(|twin| twin.drive == drive);
            for metadata in own.into_iter().chain(twin.map(|twin| &twin.metadata)) {
                let all = self.set_aside(element, metadata);
                aside.extend(all.iter().filter_map(|aside| shared(aside, range)));
            }
        }
        aside
    }
}

impl Manager {
    /// A recovery has made stripes consistent of which sectors are lost, and noted them in the logs of those
    /// that are there: from now on they are in the list. The next record makes that durable.
    pub(super) fn list_lost(&mut self, id: PartId, report: &Report) -> &'static str {
        let Some(raid) = self.raids.get_mut(&id) else {
            return WRITTEN;
        };
        let (list, is_all) = list_with(raid, &report.unreadable);
        raid.record.lost = list;
        if is_all { WRITTEN } else { WRITTEN_AT_ONCE }
    }

    /// Sectors of an element are to be noted as bad that may be set aside for others: then that is over, and
    /// what was lost beside them is as if it had never been in the list.
    pub(super) fn end_aside(
        &mut self,
        id: PartId,
        element: u8,
        ranges: &[BadRange],
    ) -> Result<(), AdminError> {
        let Some(raid) = self
            .raids
            .get(&id)
            .filter(|raid| !raid.record.lost.is_empty())
        else {
            return Ok(());
        };
        let aside = lost::set_aside(&raid.geometry, &raid.record.lost, element);
        let mut list = raid.record.lost.clone();
        for range in ranges {
            for aside in &aside {
                if let Some(both) = shared(aside, range) {
                    list = lost::without(&list, None, &both);
                }
            }
        }
        if list == raid.record.lost {
            return Ok(());
        }
        self.note_lost(id)?;
        self.change_list(id, list)
    }

    fn change_list(&mut self, id: PartId, list: Vec<LostRange>) -> Result<(), AdminError> {
        let Some(raid) = self.raids.get(&id) else {
            return Err(AdminError::NoSuchLun(id.lun));
        };
        let record = Record {
            lost: list,
            ..raid.record.clone()
        };
        self.record(id, record)
    }

    /// Sees to it that lost sectors and their parity are in the logs of all devices that have them, or get
    /// them.
    pub(super) fn note_lost(&mut self, id: PartId) -> Result<(), AdminError> {
        let Some(mut rounds) = self.rounds(id) else {
            return Ok(());
        };
        let noted = rounds.note_lost();
        noted.map_err(|(device, reason)| {
            let element = id.element(device.element);
            AdminError::Io(format!("lost sectors of element {element}: {reason}"))
        })
    }

    /// The data path has written lost sectors of an element while the redo log was in this epoch, and all of
    /// it is at home: they are lost no more. The write that waits for that is told.
    pub(super) fn lost_written(
        &mut self,
        number: LunNumber,
        part: u8,
        (element, range): (u8, &BadRange),
        epoch: u64,
        ticket: MendTicket,
    ) {
        let id = PartId { lun: number, part };
        let now = self.raids.get(&id).and_then(|raid| raid.record.log);
        if now.is_none_or(|log| log.epoch() != epoch) {
            // It was served anew since, and may have lost them again; nobody waits any more.
            return;
        }
        let found = self.find_again(id, element, range);
        if let Err(error) = &found {
            self.notices.push(error.to_string());
        }
        if let Err(reason) = self.plane.bad_sectors_settled(ticket, found.is_ok()) {
            self.notices.push(reason);
        }
    }

    fn find_again(&mut self, id: PartId, element: u8, range: &BadRange) -> Result<(), AdminError> {
        let Some(raid) = self.raids.get(&id) else {
            return Ok(());
        };
        let list = lost::without(&raid.record.lost, Some(element), range);
        if list == raid.record.lost {
            return Ok(());
        }
        // What is not set aside for anybody any more.
        let mut good = Vec::new();
        for device in 0..raid.geometry.members() {
            let before = lost::set_aside(&raid.geometry, &raid.record.lost, device);
            let after = lost::set_aside(&raid.geometry, &list, device);
            let mut over = BadBlocks::default();
            for range in before {
                over.add(range)
                    .map_err(|error| AdminError::Io(error.to_string()))?;
            }
            for range in after {
                over.remove(&range)
                    .map_err(|error| AdminError::Io(error.to_string()))?;
            }
            good.extend(over.ranges().iter().map(|range| (device, *range)));
        }
        let Some(mut rounds) = self.rounds(id) else {
            return Ok(());
        };
        let members = rounds.raid.drives_in_use();
        let is_safe = rounds.take_from_logs(&good);
        let has_lost_one = rounds.raid.drives_in_use() != members;
        let changed = if is_safe {
            self.change_list(id, list)
        } else {
            Err(AdminError::Io(format!(
                "lost sectors of element {} stay so, because the bad-block logs cannot be written",
                id.element(element)
            )))
        };
        if has_lost_one || changed.is_ok() {
            self.attach_if_live(id.lun)?;
        }
        changed
    }
}

impl Rounds<'_> {
    /// See [`Manager::note_lost`].
    pub(super) fn note_lost(&mut self) -> Result<(), (Device, String)> {
        if self.raid.record.lost.is_empty() {
            return Ok(());
        }
        let (geometry, list) = (self.raid.geometry, self.raid.record.lost.clone());
        let mut lacking = Vec::new();
        for entry in devices_mut(&mut self.raid.members) {
            let offset = entry.metadata.superblock.data_offset_sectors();
            let aside = lost::set_aside(&geometry, &list, entry.device.element);
            let noted = entry.metadata.bad_blocks.ranges();
            let is_noted = |range: &BadRange| {
                let (sector, end) = (range.sector + offset, range.end() + offset);
                noted
                    .iter()
                    .any(|own| own.sector <= sector && end <= own.end())
            };
            let lacks: Vec<BadRange> = aside.into_iter().filter(|range| !is_noted(range)).collect();
            if !lacks.is_empty() {
                lacking.push((entry.device, lacks));
            }
        }
        for (device, ranges) in lacking {
            self.add_bad_blocks(device, &ranges)
                .map_err(|reason| (device, reason))?;
        }
        Ok(())
    }

    /// Takes ranges of elements from the logs of their devices. Whether all of it can be read after a
    /// restart.
    fn take_from_logs(&mut self, good: &[(u8, BadRange)]) -> bool {
        let mut on_drives: Vec<(DriveSlot, BadRange)> = Vec::new();
        for entry in devices_mut(&mut self.raid.members) {
            let offset = entry.metadata.superblock.data_offset_sectors();
            let own = good
                .iter()
                .filter(|(element, _)| *element == entry.device.element);
            on_drives.extend(own.map(|(_, range)| {
                let sector = range.sector + offset;
                (entry.drive, BadRange { sector, ..*range })
            }));
        }
        on_drives
            .iter()
            .all(|(drive, range)| self.remove_bad_blocks(*drive, range, &[]))
    }
}
