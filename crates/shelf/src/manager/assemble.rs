//! Assembly: from members on drives to LUNs.
//!
//! Members are grouped by the UUID of their set, wherever they are; [`super::set`] puts a set together.
//!
//! A set of another shelf is not touched, nor is one whose LUN was removed while a member was away. Of
//! two sets with the same LUN number the newer one is taken; an older one only when the newer cannot
//! serve, and then it waits for somebody to ask for it. The other is left alone. What was served is
//! served again, also without members that are late; but not when its halves were served apart.

use super::drives::{Usage, of_removed};
use super::further::names;
use super::lun::{Lun, ids_of};
use super::raid::{Member, Raid};
use super::rounds::Rounds;
use super::scan::{Candidate, Occasion, scan};
use super::set::{Set, put_all_together};
use super::unit::unfit_unit;
use super::{LunNumber, Manager};
use crate::admin::{DriveSlot, PartId};
use raid::md::Superblock;
use raid::record::{Record, RecordState};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

impl Manager {
    /// Puts together what the idle drives hold, finishes or undoes what was interrupted, and serves
    /// what was served.
    pub(super) fn assemble(&mut self, occasion: Occasion) {
        self.elsewhere.clear();
        let mut found = scan(&mut self.drives, occasion, &mut self.notices);
        if self.dissolve_lacking(&found.candidates) {
            found = scan(&mut self.drives, occasion, &mut self.notices);
        }
        self.take_in_spares(found.spares);
        let mut returned = BTreeSet::new();
        let candidates = self.without_former(found.candidates, &mut returned);
        let mut sets = put_all_together(candidates, &found.other_versions);
        for set in &mut sets {
            self.settle_shelf(set);
        }
        for set in &mut sets {
            for (drive, what) in std::mem::take(&mut set.spurious) {
                let set = set.uuid;
                self.drives.set_usage(drive, Usage::Former { what, set });
            }
        }
        let (mut sets, mut others): (Vec<Set>, Vec<Set>) =
            sets.into_iter().partition(|set| set.raid.id.part == 0);
        let newest = self.newest_sets(&sets);
        sets.sort_by_key(|set| Reverse((set.raid.can_serve(), age(&set.raid))));
        let mut adopted = BTreeSet::new();
        for set in sets {
            adopted.extend(self.adopt(set, &newest, &mut others));
        }
        for set in others {
            adopted.extend(self.adopt_part(set));
        }
        if occasion == Occasion::Plug {
            self.doubt_incomplete(&adopted);
        }
        let to_serve: Vec<LunNumber> = adopted
            .iter()
            .copied()
            .filter(|number| {
                let lun = self.lun(*number).ok();
                lun.is_some_and(|lun| lun.record().online && !lun.is_live())
            })
            .collect();
        self.look_for_impostors(&to_serve);
        for number in adopted {
            self.serve_again(number);
            returned.insert(number);
        }
        for number in returned {
            self.take_returned(number);
        }
    }

    /// Leaves out the drives that a LUN which is here has done without: they would be a LUN of the same set,
    /// which the next start takes for what they are, so that what was written to it since would be gone. One
    /// that is missed goes back to its LUN, which is noted.
    fn without_former(
        &mut self,
        mut candidates: Vec<Candidate>,
        returned: &mut BTreeSet<LunNumber>,
    ) -> Vec<Candidate> {
        let present: BTreeSet<Uuid> = self
            .raids
            .values()
            .filter_map(|raid| raid.set_uuid)
            .collect();
        let former = candidates.extract_if(.., |candidate| {
            present.contains(&candidate.superblock.set_uuid())
        });
        for candidate in former {
            if let Some(number) = self.take_back(&candidate) {
                returned.insert(number);
                continue;
            }
            let kind = if candidate.superblock.is_replacement() {
                "a former replacement of"
            } else {
                "a former"
            };
            let (what, set) = (candidate.called(kind), candidate.superblock.set_uuid());
            self.drives
                .set_usage(candidate.drive, Usage::Former { what, set });
        }
        candidates
    }

    pub(super) fn is_own(&self, shelf: u16) -> bool {
        self.shelf.is_some_and(|own| own.0 == shelf)
    }

    /// If a change of the shelf number was interrupted, ours says whether it happened.
    fn settle_shelf(&self, set: &mut Set) {
        let record = &mut set.raid.record;
        let shelf = record.shelf;
        if let Some(next) = record
            .next_shelf
            .take_if(|next| self.is_own(shelf) || self.is_own(*next))
        {
            record.shelf = if self.is_own(next) { next } else { shelf };
            set.is_level = false;
        }
    }

    /// Whether a set is a LUN of this shelf that was made, and not removed.
    fn is_there(&self, raid: &Raid) -> bool {
        self.is_own(raid.record.shelf)
            && raid.record.state == RecordState::Complete
            && !self.is_removed(raid)
    }

    pub(super) fn is_removed(&self, raid: &Raid) -> bool {
        raid.set_uuid
            .is_some_and(|set| self.removed_sets.contains(&set))
    }

    /// The age of the newest set of each LUN number.
    fn newest_sets(&self, sets: &[Set]) -> BTreeMap<LunNumber, Age> {
        let mut newest = BTreeMap::new();
        for set in sets.iter().filter(|set| self.is_there(&set.raid)) {
            let known = newest.entry(set.raid.id.lun).or_insert(age(&set.raid));
            *known = age(&set.raid).max(*known);
        }
        newest
    }

    /// Takes a set as a LUN, if it is ours and there. Gives its number. A LUN that is being removed takes its
    /// other RAIDs with it.
    fn adopt(
        &mut self,
        set: Set,
        newest: &BTreeMap<LunNumber, Age>,
        others: &mut Vec<Set>,
    ) -> Option<LunNumber> {
        if !self.is_own(set.raid.record.shelf) {
            self.leave_elsewhere(set);
            return None;
        }
        let (uuid, mut raid) = (set.uuid, set.raid);
        let (id, number) = (raid.id, raid.id.lun);
        if raid.record.state == RecordState::Complete && self.is_removed(&raid) {
            let what = of_removed(id, uuid);
            self.notices.push(format!("not served: {what}"));
            self.mark(&raid, &Usage::Foreign(what));
            return None;
        }
        if let Some(reason) = raid.reason_to_leave_unfinished() {
            let what = format!("LUN {number}, unfinished (set {uuid}): {reason}");
            self.notices.push(format!("left alone: {what}"));
            self.mark(&raid, &Usage::Foreign(what));
            return None;
        }
        if raid.record.state == RecordState::Importing {
            self.discard_import(&raid);
            return None;
        }
        if raid.record.state != RecordState::Complete {
            let is_of = |other: &mut Set| names(&raid.record, other.uuid).is_some();
            let further = others
                .extract_if(.., is_of)
                .map(|other| other.raid)
                .collect();
            self.discard(raid, further);
            return None;
        }
        let newest = newest.get(&number);
        if newest.is_some_and(|newest| age(&raid) < *newest) {
            self.take_older_offline(&mut raid);
        }
        if self.raids.contains_key(&id) {
            let usage = Usage::Second {
                lun: number,
                set: uuid,
            };
            self.notices.push(format!(
                "not served, because there is another: {}",
                usage.foreign().unwrap_or_default()
            ));
            self.mark(&raid, &usage);
            return None;
        }
        self.take(raid, &set.freshest, set.is_level);
        self.note_given_up(number, &set.given_up);
        Some(number)
    }

    /// Takes a set as a RAID, and brings its members to one state.
    pub(super) fn take(&mut self, mut raid: Raid, freshest: &Superblock, is_level: bool) {
        let (id, number) = (raid.id, raid.id.lun);
        for (element, member) in raid.elements() {
            for drive in member.drives() {
                self.drives.claim(drive, raid.element_id(element));
            }
        }
        if raid.unfit.is_none() {
            raid.unfit = unfit_unit(&self.drives, &raid);
        }
        let record = raid.record.clone();
        let is_untouchable = raid.is_untouchable;
        self.raids.insert(id, raid);
        if is_untouchable {
            return;
        }
        let leveled = self
            .rounds(id)
            .map_or(Ok(()), |mut rounds| rounds.level_superblocks(freshest));
        if let Err(reason) = leveled {
            self.notices
                .push(format!("LUN {number}: a member stays behind: {reason}"));
        }
        if !is_level && let Err(error) = self.record(id, record) {
            self.notices
                .push(format!("an interrupted change was not finished: {error}"));
        }
        self.finish_moves(id);
    }

    /// An older set of a LUN number is not served by itself, also when the newer one is away some day.
    fn take_older_offline(&mut self, raid: &mut Raid) {
        let number = raid.id.lun;
        raid.doubt = Some(format!(
            "there is a newer LUN {number} on other drives, which cannot serve; online {number} serves \
             this older one"
        ));
        if !raid.record.online {
            return;
        }
        let record = Record {
            online: false,
            ..raid.record.clone()
        };
        let mut rounds = Rounds {
            now_unix_seconds: (self.now_unix_seconds)(),
            drives: &mut self.drives,
            raid,
            notices: &mut self.notices,
        };
        if let Err(reason) = rounds.record(record) {
            self.notices.push(format!(
                "an older LUN {number} is still recorded as online: {reason}"
            ));
        }
    }

    /// Tells of members that are given up because their bad blocks are not known.
    pub(super) fn note_given_up(&mut self, number: LunNumber, given_up: &[DriveSlot]) {
        for &slot in given_up {
            let drive = self.drive_name(slot);
            self.notices.push(format!(
                "LUN {number}: drive {drive} is failed: its bad-block log cannot be read"
            ));
        }
    }

    pub(super) fn mark(&mut self, raid: &Raid, usage: &Usage) {
        for drive in raid.members.iter().flat_map(Member::drives) {
            self.drives.set_usage(drive, usage.clone());
        }
    }

    /// Erases a LUN whose making or removal was interrupted.
    fn discard(&mut self, raid: Raid, further: Vec<Raid>) {
        let number = raid.id.lun;
        let what = match raid.record.state {
            RecordState::Making => "the making of LUN",
            RecordState::Importing | RecordState::Complete | RecordState::Removing => {
                "the removal of LUN"
            }
        };
        let left_over = Usage::Foreign(format!("what an interruption of {what} {number} left"));
        self.mark(&raid, &left_over);
        let mut raids = vec![raid];
        raids.extend(further);
        let failures = match self.remove_from_drives(&mut raids) {
            Ok(failures) => failures,
            Err(reason) => vec![reason],
        };
        self.notices
            .push(format!("{what} {number} was interrupted; it is removed"));
        let not_erased = |reason| format!("not erased: {reason}");
        self.notices.extend(failures.into_iter().map(not_erased));
    }

    /// Serves a LUN that was served when the shelf stopped.
    pub(super) fn serve_again(&mut self, number: LunNumber) {
        let ids = self.ids(number);
        for &id in &ids {
            self.doubt_log(id);
        }
        let Ok(lun) = self.lun(number) else {
            return;
        };
        if lun.is_live() {
            return;
        }
        let is_online = lun.record().online;
        let reason = self.reason_to_wait(&lun);
        for (_, raid) in self.raids.range(ids_of(number)) {
            if !raid.members.iter().all(Member::is_in_use) {
                let absent = raid.absent_elements();
                self.notices
                    .push(format!("LUN {number} lacks elements: {absent}"));
            }
        }
        if let Some(reason) = reason {
            self.notices
                .push(format!("LUN {number} stays offline: {reason}"));
            return;
        }
        if !is_online {
            return;
        }
        if self.impostor_trouble(number).is_some() {
            self.notices.push(format!(
                "LUN {number} stays offline until nobody else answers for it"
            ));
            return;
        }
        for id in ids {
            self.note_late(id);
        }
        if let Err(error) = self.go_live(number) {
            self.notices
                .push(format!("LUN {number} stays offline: {error}"));
        }
    }

    /// A RAID is about to be served without members that were in use.
    fn note_late(&mut self, id: PartId) {
        let Some(raid) = self.raids.get(&id).filter(|raid| !raid.late.is_empty()) else {
            return;
        };
        let number = id.lun;
        let (late, replaced): (Vec<u8>, Vec<u8>) = raid
            .late
            .iter()
            .partition(|element| !raid.members[usize::from(**element)].is_in_use());
        if !replaced.is_empty() {
            let names = raid.element_names(&replaced);
            self.notices.push(format!(
                "WARNING: LUN {number} is served without the drives of elements {names}, which were being \
                 replaced: their replacements take their places, and are rebuilt from where they are"
            ));
        }
        if late.is_empty() {
            return;
        }
        let away = late.iter().chain(&raid.record.away).copied().collect();
        let late = raid.element_names(&late);
        self.notices.push(format!(
            "WARNING: LUN {number} is served without elements {late}, which were in use when it was \
             served last; they miss every write from now on, and are rebuilt when their drives come \
             back"
        ));
        let record = Record {
            away,
            ..raid.record.clone()
        };
        if let Err(error) = self.record(id, record) {
            self.notices.push(error.to_string());
        }
    }

    /// Rebuilds members whose drives were only away, and are back.
    fn take_returned(&mut self, number: LunNumber) {
        let Ok(lun) = self.lun(number) else { return };
        if lun.refusal().is_some() || self.reason_to_wait(&lun).is_some() {
            return;
        }
        let returned: Vec<_> = lun
            .raids()
            .filter(|raid| raid.is_redundant())
            .flat_map(Raid::returned)
            .collect();
        for (id, drive) in returned {
            if let Err(error) = self.rebuild(id, drive, false) {
                self.notices
                    .push(format!("element {id} is back, and not used: {error}"));
            }
        }
    }

    /// Why a LUN is not served again by itself.
    pub(super) fn reason_to_wait(&self, lun: &Lun<'_>) -> Option<String> {
        if let Some(reason) = lun.refusal().filter(|_| lun.record().online) {
            return Some(reason);
        }
        lun.raids().find_map(|raid| self.reason_of_raid(raid))
    }

    fn reason_of_raid(&self, raid: &Raid) -> Option<String> {
        if raid.rivals.is_empty() {
            return raid.doubt.clone();
        }
        let names = |drives: &mut dyn Iterator<Item = DriveSlot>| {
            let names: Vec<String> = drives.map(|slot| self.drive_name(slot)).collect();
            names.join(", ")
        };
        let mut normal = raid.members.iter().filter(|member| member.is_normal());
        let fresher = names(&mut normal.by_ref().filter_map(Member::drive));
        let other = names(&mut raid.rivals.iter().copied());
        let number = raid.id.lun;
        Some(format!(
            "its halves were served apart, drives {fresher} without drives {other} and the other way \
             round; online {number} serves {fresher}, the fresher half, and gives up what was \
             written to {other}"
        ))
    }
}

/// Tells the newer of two sets with one LUN number: when it was made, then how often it was changed.
type Age = (u64, u64, u64);

const fn age(raid: &Raid) -> Age {
    (
        raid.record.created_unix_seconds,
        raid.generation,
        raid.events,
    )
}
