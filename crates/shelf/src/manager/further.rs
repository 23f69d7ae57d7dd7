//! Assembly of the RAIDs of a LUN that are not its first.
//!
//! What the record of the first RAID says counts: the sets that it names are RAIDs of its LUN, whatever
//! number or shelf their own records say; those are corrected. A set that no first RAID names is not
//! touched, but for one that its LUN was about to grow by, which is erased ([`super::grow`]).

use super::drives::{Usage, of_removed};
use super::lun::Lun;
use super::raid::{Member, Raid};
use super::rounds::Rounds;
use super::set::Set;
use super::{LunNumber, Manager};
use crate::admin::PartId;
use raid::record::{Record, RecordState};
use uuid::Uuid;

impl Manager {
    /// Takes a set as a further RAID of a LUN that is there, if that names it. Gives the number of the LUN.
    pub(super) fn adopt_part(&mut self, mut set: Set) -> Option<LunNumber> {
        let owner = Lun::all(&self.raids).find_map(|lun| {
            let part = names(lun.record(), set.uuid)?;
            let id = PartId {
                lun: lun.number(),
                part,
            };
            Some((id, lun.record().shelf))
        });
        let Some((id, shelf)) = owner else {
            self.leave_part(set);
            return None;
        };
        let record = &set.raid.record;
        let is_level = (record.shelf, record.lun) == (shelf, id.lun.get());
        set.raid.record = Record {
            shelf,
            lun: id.lun.get(),
            ..record.clone()
        };
        set.raid.id = id;
        self.take(set.raid, &set.freshest, set.is_level && is_level);
        if let Err(error) = self.complete_part(id) {
            self.notices.push(error.to_string());
        }
        self.note_given_up(id.lun, &set.given_up);
        Some(id.lun)
    }

    /// A further RAID that no LUN here names.
    fn leave_part(&mut self, set: Set) {
        if !self.is_own(set.raid.record.shelf) {
            self.leave_elsewhere(set);
            return;
        }
        let (uuid, raid) = (set.uuid, set.raid);
        let (id, record) = (raid.id, &raid.record);
        if self.is_removed(&raid) {
            let what = of_removed(id, uuid);
            self.notices.push(format!("not served: {what}"));
            self.mark(&raid, &Usage::Foreign(what));
            return;
        }
        let Some(first) = self.raids.get(&PartId::first(id.lun)) else {
            let first = PartId::first(id.lun);
            let what =
                format!("raid {id} (set {uuid}) of a LUN whose raid {first} is on no drive here");
            self.notices.push(format!("not served: {what}"));
            self.mark(&raid, &Usage::Foreign(what));
            return;
        };
        if first.record.serial != record.serial {
            let usage = Usage::Second {
                lun: id.lun,
                set: uuid,
            };
            self.notices.push(format!(
                "not served, because there is another: {}",
                usage.foreign().unwrap_or_default()
            ));
            self.mark(&raid, &usage);
            return;
        }
        let is_complete = record.state == RecordState::Complete;
        // A record that names it may be on a member that is away.
        let is_certain = !first.late.iter().any(|late| record.namers.contains(late));
        if is_complete || !is_certain {
            self.doubt_first(&raid, is_complete);
        } else {
            self.discard_part(raid);
        }
    }

    /// A set says that it is a RAID of a LUN, and the LUN's first RAID does not know it.
    fn doubt_first(&mut self, raid: &Raid, is_complete: bool) {
        let id = raid.id;
        let first = PartId::first(id.lun);
        self.mark(
            raid,
            &Usage::Foreign(format!("raid {id}, which raid {first} does not know")),
        );
        if !is_complete {
            return;
        }
        let drives = raid.members.iter().flat_map(Member::drives);
        let names: Vec<String> = drives.map(|slot| self.drive_name(slot)).collect();
        if let Some(first) = self.raids.get_mut(&first) {
            first.doubt = Some(format!(
                "drives {} hold raid {id}, which the drives of raid {} do not know: these are out of date; \
                 bring back the other drives of that raid; online {} serves it without raid {id}",
                names.join(", "),
                first.id,
                id.lun,
            ));
        }
    }

    /// Erases a RAID that a LUN was about to grow by.
    fn discard_part(&mut self, mut raid: Raid) {
        let number = raid.id.lun;
        let what = format!("what an interruption of the growing of LUN {number} left");
        self.mark(&raid, &Usage::Foreign(what));
        let mut rounds = Rounds {
            now_unix_seconds: (self.now_unix_seconds)(),
            drives: &mut self.drives,
            raid: &mut raid,
            notices: &mut self.notices,
        };
        let failures = rounds.erase();
        self.notices.push(format!(
            "the growing of LUN {number} was interrupted; it has not grown"
        ));
        let not_erased = |reason| format!("not erased: {reason}");
        self.notices.extend(failures.into_iter().map(not_erased));
    }
}

/// Which RAID of its LUN a set is, by what the first one says of the others.
pub(super) fn names(first: &Record, set: Uuid) -> Option<u8> {
    let mut further = (1..).zip(&first.further);
    further.find_map(|(part, raid)| (raid.set_uuid == set).then_some(part))
}
