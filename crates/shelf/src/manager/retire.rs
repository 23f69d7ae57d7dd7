//! Disks that are retired: members that work, and do it badly.
//!
//! Read errors that the others made good are counted for each drive that is an element, and halved every
//! hour. At [`READ_ERRORS_LIMIT`] the member is replaced by a spare while it works ([`super::twin`]); if
//! there is none that fits, that is told, once. A drive that cannot write anew what it could not read is
//! given up if the others are redundant without it; else it is kept, with these sectors noted as bad, and
//! counts as one that reached the limit: the last redundancy is never given up.
//!
//! The counts are of this run of the shelf: a drive that goes bad shows that again soon.
//!
//! A drive that says by SMART that it will fail ([`DriveStatus::is_failing`]: never for what it has said
//! once) is replaced likewise. No drive is replaced by one that says the same of itself.

use super::drives::{Drives, Entry};
use super::raid::{Member, Raid};
use super::twin::Device;
use super::{LunNumber, Manager};
#[cfg(doc)]
use crate::admin::DriveStatus;
use crate::admin::{DriveSlot, ElementId, ElementStatus, PartId, READ_ERRORS_LIMIT};
use crate::manager::MemberFailure;
use crate::smart::Smart;
use raid::bad_blocks::BadRange;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often counts are halved.
const HALVING_INTERVAL: Duration = Duration::from_hours(1);

/// Why a member is to be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// It had many read errors.
    ReadErrors,
    /// Its drive says that it will fail.
    Predicted,
}

/// What is counted of drives.
#[derive(Clone, Debug, Default)]
pub(super) struct Wear {
    read_errors: BTreeMap<DriveSlot, u32>,
    /// Halvings since the start.
    halvings: u128,
    /// Elements of which it was told that there is no spare for them.
    told: Vec<ElementId>,
}

impl Wear {
    /// Read errors of a drive.
    pub(super) fn read_errors(&self, drive: DriveSlot) -> u32 {
        self.read_errors.get(&drive).copied().unwrap_or(0)
    }

    fn count(&mut self, drive: DriveSlot, errors: u32) {
        let count = self.read_errors.entry(drive).or_default();
        *count = count.saturating_add(errors);
    }

    /// Whatever drive comes into a slot has a count of its own.
    pub(super) fn forget(&mut self, drive: DriveSlot) {
        self.read_errors.remove(&drive);
    }

    /// Fills in the rows of elements.
    pub(super) fn fill_in(&self, elements: &mut [ElementStatus]) {
        for element in elements {
            element.read_errors = element.drive.map_or(0, |drive| self.read_errors(drive));
        }
    }
}

impl Manager {
    /// The data path could not read a range of a member's drive, and took what the others hold, if they
    /// hold it. Sectors that are known to be bad do not count again.
    pub(super) fn member_not_read(
        &mut self,
        number: LunNumber,
        part: u8,
        member: u8,
        drive: DriveSlot,
        range: &BadRange,
    ) {
        let Some(raid) = self.raids.get(&PartId { lun: number, part }) else {
            return;
        };
        let is_made_good = raid.is_redundant() && raid.can_serve_without(&[member]);
        let own = raid.members.get(usize::from(member));
        let own = own.filter(|own| own.drive() == Some(drive));
        let is_known = |own: &Member| {
            let metadata = own.metadata();
            metadata.is_some_and(|metadata| metadata.bad_blocks.overlaps(range))
        };
        if is_made_good && own.is_some_and(|own| !is_known(own)) {
            self.wear.count(drive, 1);
        }
    }

    /// A member could not write anew what it could not read; `range` is of its drive. Everybody was
    /// answered.
    pub(super) fn member_not_repaired(
        &mut self,
        number: LunNumber,
        part: u8,
        member: u8,
        drive: DriveSlot,
        range: &BadRange,
    ) -> MemberFailure {
        let id = PartId { lun: number, part };
        let Some(raid) = self.raids.get(&id) else {
            return MemberFailure::GivenUp;
        };
        let own = raid.members.get(usize::from(member));
        let own = own.filter(|own| own.drive() == Some(drive) && own.is_normal());
        let offset = own.and_then(Member::metadata);
        let offset = offset.map(|metadata| metadata.superblock.data_offset_sectors());
        let Some(sector) = offset.and_then(|offset| range.sector.checked_sub(offset)) else {
            return MemberFailure::GivenUp;
        };
        let is_noted = own.and_then(Member::metadata);
        if is_noted.is_some_and(|metadata| metadata.bad_blocks.overlaps(range)) {
            // It was tried once more.
            return MemberFailure::Kept;
        }
        if !raid.is_redundant_without(member) {
            let own = BadRange { sector, ..*range };
            match self.note_bad_blocks(id, Device::member(member), &[own]) {
                Ok(()) => {
                    self.wear.count(drive, READ_ERRORS_LIMIT);
                    self.notices.push(format!(
                        "element {} cannot write {} sectors that it could not read, and is kept, because \
                         the others would not be redundant without it: they are noted as bad",
                        id.element(member),
                        range.sectors
                    ));
                    return MemberFailure::Kept;
                }
                Err(error) => self.notices.push(error.to_string()),
            }
        }
        let reason = format!(
            "{} sectors at sector {} could be neither read nor written",
            range.sectors, range.sector
        );
        match self.member_failed(number, part, member, drive, &reason) {
            Ok(failure) => failure,
            Err(error) => {
                self.notices.push(error.to_string());
                MemberFailure::Kept
            }
        }
    }

    /// A drive has told of its health. The path is that under which it was asked: what another drive told
    /// that was in the slot before does not count.
    pub fn drive_told(&mut self, drive: DriveSlot, path: &str, smart: Smart) {
        let entry = self.drives.get_mut(drive);
        let Some(entry) = entry.filter(|entry| entry.drive.path == path) else {
            return;
        };
        let before = entry.predicts_failure();
        entry.told(smart);
        let now = entry.predicts_failure();
        if now && !before {
            let name = self.drive_name(drive);
            let text = format!("WARNING: drive {name} says by SMART that it will fail");
            self.notices.push(text);
        }
    }

    /// A drive was asked for its health, and has not told, for this reason. What it told before still holds.
    pub fn drive_not_told(&mut self, drive: DriveSlot, path: &str, reason: String) {
        let entry = self.drives.get_mut(drive);
        if let Some(entry) = entry.filter(|entry| entry.drive.path == path) {
            entry.not_told(reason);
        }
    }

    /// Halves what was counted, if an hour has gone by, and replaces one of those that reached the limit.
    pub(super) fn retire(&mut self, uptime: Duration) {
        let halvings = uptime.as_secs() / HALVING_INTERVAL.as_secs();
        while self.wear.halvings < u128::from(halvings) {
            self.wear.halvings += 1;
            self.wear.read_errors.retain(|_, errors| {
                *errors /= 2;
                *errors > 0
            });
        }
        if self.is_stopping {
            return;
        }
        let health = (&self.wear, &self.drives);
        let worn = self.raids.values().flat_map(|raid| raid.worn(health));
        let worn: Vec<(ElementId, Fault)> = worn.collect();
        let is_worn = |id: &ElementId| worn.iter().any(|(worn, _)| worn == id);
        self.wear.told.retain(is_worn);
        for (id, fault) in worn {
            if self.retire_element(id, fault) {
                return;
            }
            if !self.wear.told.contains(&id) {
                self.wear.told.push(id);
                let fault = match fault {
                    Fault::ReadErrors => format!("had {READ_ERRORS_LIMIT} read errors or more"),
                    Fault::Predicted => {
                        "is on a drive that says by SMART that it will fail".to_owned()
                    }
                };
                self.notices.push(format!(
                    "element {id} {fault}, and there is no spare that fits to replace it"
                ));
            }
        }
    }

    /// Replaces an element by the best spare there is. Returns whether it is being replaced.
    fn retire_element(&mut self, id: ElementId, fault: Fault) -> bool {
        for slot in self.spares_for(id) {
            if self.drives.get(slot).is_none_or(Entry::predicts_failure) {
                continue;
            }
            let name = self.drive_name(slot);
            match self.begin_twin(id, slot, false) {
                Ok(()) => {
                    let fault = match fault {
                        Fault::ReadErrors => "which had read errors",
                        Fault::Predicted => "whose drive says by SMART that it will fail",
                    };
                    self.notices
                        .push(format!("spare {name} is to replace {id}, {fault}"));
                    return true;
                }
                Err(error) => self.spare_not_taken(slot, &error),
            }
        }
        false
    }
}

impl Raid {
    /// Whether the others hold everything without a member, and would if another one were lost.
    fn is_redundant_without(&self, member: u8) -> bool {
        let elements = 0..self.geometry.members();
        let mut others = elements.filter(|other| *other != member);
        others.all(|other| self.can_serve_without(&[member, other]))
    }

    /// The elements that are to be replaced for what their drives did.
    fn worn<'a>(
        &'a self,
        (wear, drives): (&'a Wear, &'a Drives),
    ) -> impl Iterator<Item = (ElementId, Fault)> + 'a {
        let can_copy = self.is_redundant() && self.can_serve() && self.rivals.is_empty();
        let fault = move |member: &Member| {
            let is_whole = can_copy && member.is_normal() && member.twin().is_none();
            let drive = member.drive().filter(|_| is_whole)?;
            if wear.read_errors(drive) >= READ_ERRORS_LIMIT {
                return Some(Fault::ReadErrors);
            }
            let is_failing = drives.get(drive)?.is_failing();
            is_failing.then_some(Fault::Predicted)
        };
        self.elements()
            .filter_map(move |(element, member)| Some((self.element_id(element), fault(member)?)))
    }
}
