//! Passes: what the data path reports of resynchronisations and rebuilds.
//!
//! One pass does both, from the first sector that either needs, and over the regions that either needs.
//! While a LUN is served its superblocks say "dirty from the start", since any write may be in flight
//! when the power goes. How far a resync is becomes durable when the LUN goes offline in good order, so
//! that the next pass goes on from there; after a crash it goes over the regions whose bits are set in
//! the write-intent bitmap, and those behind it were cleared meanwhile. How far a member is rebuilt
//! becomes durable with each report.

use super::raid::{Member, Raid};
use super::{LunNumber, Manager};
use crate::admin::PartId;
use raid::md::Resync;

impl Manager {
    /// Everything before `lba` is done.
    pub fn sync_reached(&mut self, number: LunNumber, part: u8, pass: u64, lba: u64) {
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
        if !rounds.raid.is_rebuilding() {
            return;
        }
        note_rebuilt(rounds.raid, lba);
        let in_use = |raid: &Raid| raid.members.iter().filter(|m| m.is_in_use()).count();
        let before = in_use(rounds.raid);
        let result = rounds.checkpoint();
        let has_lost_one = in_use(rounds.raid) < before;
        if let Err(reason) = result {
            self.notices.push(format!(
                "LUN {number}: how far it is rebuilt could not be recorded: {reason}"
            ));
        }
        if has_lost_one && let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// A pass has come to its end. If it was complete the mirrors agree and the members that were
    /// rebuilt hold everything, so that reads may use all of them; else the LUN stays as it is until it
    /// goes online the next time.
    pub fn sync_ended(&mut self, number: LunNumber, part: u8, pass: u64, complete: bool) {
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

    /// Makes durable that the members that were rebuilt hold everything, then uses them so.
    fn finish_rebuild(&mut self, id: PartId) {
        let number = id.lun;
        let Some(rounds) = &mut self.rounds(id) else {
            return;
        };
        if !rounds.raid.is_rebuilding() {
            return;
        }
        note_rebuilt(rounds.raid, u64::MAX);
        let before = rounds.raid.members.clone();
        let mut done = Vec::new();
        for (element, member) in (0..).zip(&mut rounds.raid.members) {
            let Member::Rebuilding {
                drive,
                data_offset_sectors,
                metadata,
                ..
            } = &member
            else {
                continue;
            };
            done.push((element, *drive));
            *member = Member::Normal {
                drive: *drive,
                data_offset_sectors: *data_offset_sectors,
                metadata: Some(metadata.clone()),
            };
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
    }
}

/// Everything before a sector is rebuilt.
fn note_rebuilt(raid: &mut Raid, lba: u64) {
    let end = lba.min(raid.geometry.capacity_sectors());
    for member in &mut raid.members {
        if let Member::Rebuilding { done_lba, .. } = member {
            *done_lba = end.max(*done_lba);
        }
    }
}
