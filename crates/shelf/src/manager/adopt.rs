//! LUNs of other shelves, taken over with their drives.
//!
//! How it survives a crash at any write: the record of the LUN's first RAID gets our shelf number and the
//! new LUN number. From the first member on that has it, the LUN is ours: a start levels the others, and
//! takes the LUN's other RAIDs by their sets, whatever their own records say ([`super::further`]). A spare
//! is one write.

use super::drives::Usage;
use super::further::names;
use super::raid::{Member, Raid};
use super::rounds::Rounds;
use super::scan::Occasion;
use super::set::Set;
use super::spares::{SPARES_MAX, Spare};
use super::{LunNumber, Manager};
use crate::admin::{AdminError, DriveSlot, ElsewhereStatus};
use aoe::SECTOR_BYTES;
use raid::record::{FurtherRaid, Record, RecordState};

impl Manager {
    /// A set of another shelf is not touched, and may be taken over.
    pub(super) fn leave_elsewhere(&mut self, set: Set) {
        let usage = Usage::Elsewhere {
            shelf: set.raid.record.shelf,
            lun: set.raid.record.lun,
        };
        self.mark(&set.raid, &usage);
        self.elsewhere.push(set);
    }

    /// Sets of other shelves whose drives were not used for something else since.
    fn sets_elsewhere(&self) -> impl Iterator<Item = &Set> {
        let is_there = |set: &&Set| {
            let mut drives = set.raid.members.iter().flat_map(Member::drives);
            drives.all(|slot| {
                let entry = self.drives.get(slot);
                entry.is_some_and(|entry| matches!(entry.usage, Usage::Elsewhere { .. }))
            })
        };
        self.elsewhere.iter().filter(is_there)
    }

    fn spares_elsewhere(&self) -> impl Iterator<Item = &Spare> {
        let is_there = |spare: &&Spare| {
            let entry = self.drives.get(spare.drive);
            entry.is_some_and(|entry| matches!(entry.usage, Usage::Foreign(_)))
        };
        self.spares_elsewhere.iter().filter(is_there)
    }

    pub(super) fn list_elsewhere(&self, number: Option<LunNumber>) -> Vec<ElsewhereStatus> {
        let firsts = self.sets_elsewhere().filter(|set| set.raid.id.part == 0);
        let mut listed: Vec<ElsewhereStatus> = firsts
            .map(|set| self.elsewhere_status(set, number.unwrap_or(set.raid.id.lun)))
            .collect();
        let spare = |spare: &Spare| ElsewhereStatus {
            shelf: spare.shelf(),
            lun: None,
            levels: Vec::new(),
            size_bytes: self
                .drives
                .get(spare.drive)
                .map_or(0, super::drives::Entry::size_bytes),
            drives: vec![spare.drive],
            refusal: None,
            remark: None,
        };
        listed.extend(self.spares_elsewhere().map(spare));
        listed.sort_by_key(|status| (status.shelf, status.lun.is_none(), status.lun));
        listed
    }

    fn elsewhere_status(&self, first: &Set, number: LunNumber) -> ElsewhereStatus {
        let record = &first.raid.record;
        let further = self.further_of(record);
        let drives = |raid: &Raid| -> Vec<DriveSlot> {
            raid.members.iter().flat_map(Member::drives).collect()
        };
        let own_sectors = first.raid.geometry.capacity_sectors();
        let further_sectors: u64 = record
            .further
            .iter()
            .map(|raid| raid.capacity_sectors)
            .sum();
        let late: Vec<String> = std::iter::once(first)
            .chain(further.iter().copied())
            .filter(|set| !set.raid.late.is_empty())
            .map(|set| set.raid.element_names(&set.raid.late))
            .collect();
        ElsewhereStatus {
            shelf: record.shelf,
            lun: Some(first.raid.id.lun),
            levels: std::iter::once(record.level)
                .chain(record.further.iter().map(|raid| raid.level))
                .collect(),
            size_bytes: (own_sectors + further_sectors) * SECTOR_BYTES as u64,
            drives: std::iter::once(first)
                .chain(further.iter().copied())
                .flat_map(|set| drives(&set.raid))
                .collect(),
            refusal: self.adoption_refusal(first, number),
            remark: (!late.is_empty()).then(|| {
                let late = late.join(", ");
                format!("elements {late} are away: it stays offline")
            }),
        }
    }

    /// The other RAIDs of a LUN of another shelf that are there.
    fn further_of(&self, record: &Record) -> Vec<&Set> {
        let sets = self.sets_elsewhere();
        let of_lun = sets.filter(|set| names(record, set.uuid).is_some());
        of_lun.collect()
    }

    /// Why a LUN of another shelf cannot be one of ours under this number.
    fn adoption_refusal(&self, first: &Set, number: LunNumber) -> Option<String> {
        let raid = &first.raid;
        let record = &raid.record;
        if record.state != RecordState::Complete {
            return Some("its making or its removal was interrupted".to_owned());
        }
        if self.is_removed(raid) {
            return Some("it was a LUN of this shelf and was removed".to_owned());
        }
        if self.lun(number).is_ok() {
            return Some(format!(
                "LUN {number} exists; give it another number: restore {} {} NUMBER",
                record.shelf, record.lun
            ));
        }
        let is_same = |set: &&Set| set.raid.id == raid.id && set.raid.record.shelf == record.shelf;
        if self.sets_elsewhere().filter(is_same).count() > 1 {
            return Some("there are two of that number: pull the drives of one of them".to_owned());
        }
        let second = |usage: &Usage| matches!(usage, Usage::Second { lun, .. } if *lun == number);
        if self.drives.iter().any(|entry| second(&entry.usage)) {
            return Some(format!(
                "a second LUN {number} of this shelf is on drives that are in no LUN"
            ));
        }
        let further = self.further_of(record);
        let is_here = |wanted: &FurtherRaid| further.iter().any(|set| set.uuid == wanted.set_uuid);
        let mut numbered = (1_u8..).zip(&record.further);
        if let Some((part, _)) = numbered.find(|(_, wanted)| !is_here(wanted)) {
            let lun = record.lun;
            return Some(format!(
                "raid {lun}.{part} is missing: none of its drives is here"
            ));
        }
        std::iter::once(first)
            .chain(further)
            .find_map(|set| refusal_of(&set.raid))
    }

    pub(super) fn adopt_lun(
        &mut self,
        shelf: u16,
        lun: LunNumber,
        number: LunNumber,
    ) -> Result<(), AdminError> {
        let own = self.shelf.ok_or(AdminError::ShelfUnset)?;
        if self.is_stopping {
            return Err(AdminError::Stopping);
        }
        self.assemble(Occasion::Elsewhere);
        let is_it = |set: &Set| {
            set.raid.id.part == 0 && set.raid.id.lun == lun && set.raid.record.shelf == shelf
        };
        let Some(first) = self.sets_elsewhere().find(|set| is_it(set)) else {
            return Err(self.nothing_elsewhere(shelf, Some(lun)));
        };
        if let Some(reason) = self.adoption_refusal(first, number) {
            return Err(AdminError::NotAdoptable { shelf, lun, reason });
        }
        let is_whole = std::iter::once(first)
            .chain(self.further_of(&first.raid.record))
            .all(|set| set.raid.late.is_empty());
        let record = Record {
            shelf: own.0,
            next_shelf: None,
            lun: number.get(),
            online: first.raid.record.online && is_whole,
            ..first.raid.record.clone()
        };
        self.free_spares_of(number).map_err(AdminError::Io)?;
        let Some(place) = self.elsewhere.iter().position(is_it) else {
            return Err(self.nothing_elsewhere(shelf, Some(lun)));
        };
        let mut set = self.elsewhere.swap_remove(place);
        let mut rounds = Rounds {
            now_unix_seconds: (self.now_unix_seconds)(),
            drives: &mut self.drives,
            raid: &mut set.raid,
            notices: &mut self.notices,
        };
        let recorded = rounds.record(record);
        // From here on it is found as ours, as after a start.
        self.assemble(Occasion::Elsewhere);
        recorded.map_err(|reason| AdminError::NotAdoptable { shelf, lun, reason })?;
        for id in self.ids(number) {
            self.rename(id, own);
        }
        self.lun(number).map(|_| ())
    }

    fn nothing_elsewhere(&self, shelf: u16, lun: Option<LunNumber>) -> AdminError {
        let of_shelf = |set: &Set| set.raid.record.shelf == shelf;
        let is_any = self.sets_elsewhere().any(of_shelf)
            || self.spares_elsewhere().any(|spare| spare.shelf() == shelf);
        let what = lun.filter(|_| is_any);
        let what = what.map_or_else(|| "anything".to_owned(), |lun| format!("LUN {lun}"));
        AdminError::NothingElsewhere { what, shelf }
    }

    pub(super) fn adopt_spares_of(&mut self, shelf: u16) -> Result<(), AdminError> {
        let own = self.shelf.ok_or(AdminError::ShelfUnset)?;
        let found: Vec<Spare> = self
            .spares_elsewhere()
            .filter(|spare| spare.shelf() == shelf)
            .cloned()
            .collect();
        for mut spare in found {
            if self.spares.len() >= SPARES_MAX {
                return Err(AdminError::TooManySpares);
            }
            let dedicated_to = spare.dedicated_to().filter(|lun| self.lun(*lun).is_ok());
            let moved = spare.move_to(&mut self.drives, own, dedicated_to);
            moved.map_err(|reason| {
                let drive = self.drive_name(spare.drive);
                AdminError::Io(format!("spare {drive} is not taken over: {reason}"))
            })?;
            let drive = spare.drive;
            self.take_in_spare(spare);
            self.spares_elsewhere.retain(|spare| spare.drive != drive);
        }
        Ok(())
    }
}

/// Why a RAID of another shelf cannot be taken over as it is.
fn refusal_of(raid: &Raid) -> Option<String> {
    let halves = "its halves were served apart: pull the drives of one of them";
    raid.refusal()
        .or_else(|| (!raid.rivals.is_empty()).then(|| halves.to_owned()))
}
