//! Passes: what the data path reports of resynchronisations and rebuilds.
//!
//! One pass does both, from the first sector that either needs, and over the regions that either needs.
//! While a LUN is served its superblocks say "dirty from the start", since any write may be in flight
//! when the power goes. How far a resync is becomes durable when the LUN goes offline in good order, so
//! that the next pass goes on from there; after a crash it goes over the regions whose bits are set in
//! the write-intent bitmap, and those behind it were cleared meanwhile. How far a member is rebuilt
//! becomes durable with each report.

use super::raid::{Member, Raid};
use super::twin::{Device, devices_mut};
use super::{LunNumber, Manager};
use crate::admin::{AdminError, PartId};
use crate::target::Lacking;
use raid::bad_blocks::BadRange;
use raid::md::Resync;

impl Manager {
    /// Everything before `lba` is done.
    pub(super) fn sync_reached(&mut self, number: LunNumber, part: u8, pass: u64, lba: u64) {
        let id = PartId { lun: number, part };
        let Some(rounds) = &mut self.rounds(id) else {
            return;
        };
        if rounds.raid.sync_pass != pass {
            return;
        }
        if rounds.raid.sync_start().is_none() {
            self.scrub_reached(id, lba);
            return;
        }
        if rounds.raid.is_unsynced {
            rounds.raid.sync_from = rounds.raid.sync_from.max(lba);
        }
        if !rounds.raid.is_copying() {
            return;
        }
        // Others would take what was rebuilt for good.
        if let Err((_, reason)) = rounds.note_lost() {
            self.notices.push(format!(
                "LUN {number}: how far it is rebuilt is not recorded: {reason}"
            ));
            return;
        }
        note_rebuilt(rounds.raid, lba);
        let before = rounds.raid.drives_in_use();
        let result = rounds.checkpoint();
        let has_lost_one = rounds.raid.drives_in_use() != before;
        if let Err(reason) = result {
            self.notices.push(format!(
                "LUN {number}: how far it is rebuilt could not be recorded: {reason}"
            ));
        }
        if has_lost_one && let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// A pass has met a sector that nobody can give: notes it as bad on those that were to get it, which
    /// hold something else there, and lets the step end. When it cannot be noted the pass is over, and
    /// whoever was being rebuilt does not count as such.
    pub(super) fn sync_unreadable(
        &mut self,
        number: LunNumber,
        part: u8,
        pass: u64,
        lacking: &Lacking,
    ) {
        let id = PartId { lun: number, part };
        let is_present = |raid: &Raid| raid.is_live && raid.sync_pass == pass;
        if !self.raids.get(&id).is_some_and(is_present) {
            return;
        }
        let noted = self.note_lacking(id, lacking);
        let Some(raid) = self.raids.get_mut(&id) else {
            return;
        };
        raid.sync_noted += 1;
        let sector = lacking.member_sector;
        let sector = match lacking.sectors {
            1 => format!("sector {sector}"),
            sectors => format!("sectors {sector} to {}", sector + u64::from(sectors) - 1),
        };
        let text = match noted {
            Ok(()) => format!(
                "LUN {number}: member {sector} of raid {id} can be read from no member: it is noted \
                 as bad on what is being rebuilt, and reads of it are errors until it is written"
            ),
            Err(error) => {
                raid.is_sync_stopped = true;
                format!(
                    "LUN {number}: the rebuild of raid {id} ends incomplete at member {sector}, \
                     which can be read from no member, because that cannot be noted: {error}; write what \
                     is unreadable anew, then take the LUN offline and online to go on"
                )
            }
        };
        self.notices.push(text);
        if let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// Notes a sector, or a unit of them, as bad on those that lack it.
    fn note_lacking(&mut self, id: PartId, lacking: &Lacking) -> Result<(), AdminError> {
        let range = BadRange {
            sector: lacking.member_sector,
            sectors: lacking.sectors.into(),
        };
        let raid = &mut self
            .raids
            .get_mut(&id)
            .ok_or(AdminError::NoSuchLun(id.lun))?;
        let lacks = |device: &Device| {
            let bits = if device.is_twin {
                lacking.twins
            } else {
                lacking.elements
            };
            bits >> device.element & 1 == 1
        };
        let devices = devices_mut(&mut raid.members).map(|entry| entry.device);
        let devices: Vec<Device> = devices.filter(lacks).collect();
        for device in devices {
            self.note_bad_blocks(id, device, &[range])?;
        }
        Ok(())
    }

    /// A pass has come to its end. If it was complete the mirrors agree and the members that were
    /// rebuilt hold everything, so that reads may use all of them; else the LUN stays as it is until it
    /// goes online the next time.
    pub(super) fn sync_ended(&mut self, number: LunNumber, part: u8, pass: u64, complete: bool) {
        let id = PartId { lun: number, part };
        let Some(raid) = self
            .raids
            .get_mut(&id)
            .filter(|raid| raid.sync_pass == pass)
        else {
            return;
        };
        if !raid.is_live {
            return;
        }
        if raid.sync_start().is_none() {
            if raid.check_start().is_some() {
                self.scrub_ended(id, complete);
            }
            return;
        }
        if complete {
            if std::mem::take(&mut raid.is_unsynced) {
                raid.unsynced_regions = None;
                raid.sync_from = 0;
                self.notices
                    .push(format!("LUN {number}: its members are synchronised"));
            }
            self.finish_rebuild(id);
            let waited = |raid: &Raid| raid.check_start().is_some();
            if self.raids.get(&id).is_some_and(waited) {
                self.begin_pass(id);
            }
        } else {
            raid.is_sync_stopped = true;
            self.notices.push(format!(
                "LUN {number}: not everything could be synchronised or rebuilt: some sectors can be read \
                 from no member"
            ));
        }
        // Until then another unclean stop costs another pass.
        if let Err(error) = self.note_parity(id) {
            self.notices.push(error.to_string());
        }
        if let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// Makes durable that the devices that were filled hold everything, then uses them so.
    fn finish_rebuild(&mut self, id: PartId) {
        let number = id.lun;
        let Some(rounds) = &mut self.rounds(id) else {
            return;
        };
        if !rounds.raid.is_copying() {
            return;
        }
        if let Err((_, reason)) = rounds.note_lost() {
            rounds.raid.is_sync_stopped = true;
            let text = format!("LUN {number}: the end of a rebuild is not recorded: {reason}");
            self.notices.push(text);
            return;
        }
        note_rebuilt(rounds.raid, u64::MAX);
        let before = rounds.raid.members.clone();
        let mut done = Vec::new();
        for (element, member) in (0..).zip(&mut rounds.raid.members) {
            // A replacement becomes an element in a round of its own.
            if let Some(drive) = member.end_rebuild(|superblock| !superblock.is_replacement()) {
                done.push((element, drive));
            }
            member.note_whole_twin();
        }
        if let Err(reason) = rounds.superblocks(Resync::DirtyFrom(0)) {
            rounds.raid.members = before;
            rounds.raid.is_sync_stopped = true;
            let text =
                format!("LUN {number}: the end of a rebuild could not be recorded: {reason}");
            self.notices.push(text);
            return;
        }
        for (element, drive) in done {
            let id = rounds.raid.element_id(element);
            let text = format!("recovery complete: drive in slot {drive} (device {id})");
            rounds.notices.push(text);
        }
        self.take_twins(id);
    }
}

/// Everything before a sector is rebuilt.
fn note_rebuilt(raid: &mut Raid, lba: u64) {
    let end = lba.min(raid.geometry.capacity_sectors());
    for member in &mut raid.members {
        match member {
            Member::Rebuilding { done_lba, .. } => *done_lba = end.max(*done_lba),
            Member::Normal {
                twin: Some(twin), ..
            } => twin.done_lba = end.max(twin.done_lba),
            _ => {}
        }
    }
}
