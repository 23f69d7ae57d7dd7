//! Passes: what the data path reports of resynchronisations and rebuilds.
//!
//! One pass does both, from the first sector that either needs, and over the regions that either needs.
//! While a LUN is served its superblocks say "dirty from the start", since any write may be in flight
//! when the power goes. How far a resync is becomes durable when the LUN goes offline in good order, so
//! that the next pass goes on from there; after a crash it goes over the regions whose bits are set in
//! the write-intent bitmap, and those behind it were cleared meanwhile. How far a member is rebuilt
//! becomes durable with each report.

use super::lun::{Lun, Member};
use super::{LunNumber, Manager};
use crate::target::Lacking;
use raid::bad_blocks::BadRange;
use raid::md::Resync;

impl Manager {
    /// Everything before `lba` is done.
    pub fn sync_reached(&mut self, number: LunNumber, pass: u64, lba: u64) {
        let Some(rounds) = &mut self.rounds(number) else {
            return;
        };
        if rounds.lun.sync_pass != pass {
            return;
        }
        if rounds.lun.sync_start().is_none() {
            self.scrub_reached(number, lba);
            return;
        }
        if rounds.lun.is_unsynced {
            rounds.lun.sync_from = rounds.lun.sync_from.max(lba);
        }
        if !rounds.lun.is_rebuilding() {
            return;
        }
        note_rebuilt(rounds.lun, lba);
        let in_use = |lun: &Lun| lun.members.iter().filter(|m| m.is_in_use()).count();
        let before = in_use(rounds.lun);
        let result = rounds.checkpoint();
        let has_lost_one = in_use(rounds.lun) < before;
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
    pub fn sync_unreadable(&mut self, number: LunNumber, part: u8, pass: u64, lacking: &Lacking) {
        let is_present = |lun: &Lun| lun.is_live && lun.sync_pass == pass;
        if part != 0 || !self.luns.get(&number).is_some_and(is_present) {
            return;
        }
        let range = BadRange {
            sector: lacking.member_sector,
            sectors: 1,
        };
        let lacking = (0..u64::BITS)
            .filter(|element| lacking.elements >> element & 1 == 1)
            .filter_map(|element| u8::try_from(element).ok());
        let noted = lacking
            .filter(|element| {
                let member = self.luns[&number].members.get(usize::from(*element));
                member.is_some_and(super::lun::Member::is_in_use)
            })
            .collect::<Vec<u8>>()
            .into_iter()
            .try_for_each(|element| self.add_bad_blocks(number, part, element, &[range]));
        let Some(lun) = self.luns.get_mut(&number) else {
            return;
        };
        lun.sync_noted += 1;
        let sector = range.sector;
        let text = match noted {
            Ok(()) => format!(
                "LUN {number}: member sector {sector} can be read from no member: it is noted as bad on what is                  being rebuilt, and reads of it are errors until it is written"
            ),
            Err(error) => {
                lun.is_sync_stopped = true;
                format!(
                    "LUN {number}: the rebuild ends incomplete at member sector {sector}, which can be read                      from no member, because that cannot be noted: {error}; write what is unreadable anew,                      then take the LUN offline and online to go on"
                )
            }
        };
        self.notices.push(text);
        if let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// A pass has come to its end. If it was complete the mirrors agree and the members that were
    /// rebuilt hold everything, so that reads may use all of them; else the LUN stays as it is until it
    /// goes online the next time.
    pub fn sync_ended(&mut self, number: LunNumber, pass: u64, complete: bool) {
        let Some(lun) = self
            .luns
            .get_mut(&number)
            .filter(|lun| lun.sync_pass == pass)
        else {
            return;
        };
        if !lun.is_live {
            return;
        }
        if lun.sync_start().is_none() {
            if lun.check_start().is_some() {
                self.scrub_ended(number, complete);
            }
            return;
        }
        if complete {
            if std::mem::take(&mut lun.is_unsynced) {
                lun.unsynced_regions = None;
                lun.sync_from = 0;
                self.notices
                    .push(format!("LUN {number}: its members are synchronised"));
            }
            self.finish_rebuild(number);
            let waited = |lun: &Lun| lun.check_start().is_some();
            if self.luns.get(&number).is_some_and(waited) {
                self.begin_pass(number);
            }
        } else {
            lun.is_sync_stopped = true;
            self.notices.push(format!(
                "LUN {number}: not everything could be synchronised or rebuilt: some sectors can be read \
                 from no member"
            ));
        }
        // Until then another unclean stop costs another pass.
        if let Err(error) = self.note_parity(number) {
            self.notices.push(error.to_string());
        }
        if let Err(error) = self.attach_if_live(number) {
            self.notices.push(error.to_string());
        }
    }

    /// Makes durable that the members that were rebuilt hold everything, then uses them so.
    fn finish_rebuild(&mut self, number: LunNumber) {
        let Some(rounds) = &mut self.rounds(number) else {
            return;
        };
        if !rounds.lun.is_rebuilding() {
            return;
        }
        note_rebuilt(rounds.lun, u64::MAX);
        let before = rounds.lun.members.clone();
        let mut done = Vec::new();
        for (element, member) in (0..).zip(&mut rounds.lun.members) {
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
            rounds.lun.members = before;
            rounds.lun.is_sync_stopped = true;
            let text =
                format!("LUN {number}: the end of a rebuild could not be recorded: {reason}");
            self.notices.push(text);
            return;
        }
        for (element, drive) in done {
            let id = rounds.lun.element_id(element);
            let text = format!("recovery complete: drive in slot {drive} (device {id})");
            rounds.notices.push(text);
        }
    }
}

/// Everything before a sector is rebuilt.
fn note_rebuilt(lun: &mut Lun, lba: u64) {
    let end = lba.min(lun.geometry.capacity_sectors());
    for member in &mut lun.members {
        if let Member::Rebuilding { done_lba, .. } = member {
            *done_lba = end.max(*done_lba);
        }
    }
}
