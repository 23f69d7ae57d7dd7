//! Assembly: from members on drives to LUNs.
//!
//! Members are grouped by the UUID of their set, wherever they are; [`super::set`] puts a set together.
//!
//! A set of another shelf is not touched, nor is one whose LUN was removed while a member was away. Of
//! two sets with the same LUN number the newer one is taken; an older one only when the newer cannot
//! serve, and then it waits for somebody to ask for it. The other is left alone. What was served is
//! served again, also without members that are late; but not when its halves were served apart.

use super::drives::Usage;
use super::lun::{Lun, Member};
use super::rounds::Rounds;
use super::scan::{Candidate, scan};
use super::set::{Set, put_together};
use super::{LunNumber, Manager};
use crate::admin::DriveSlot;
use raid::md::Superblock;
use raid::record::{Record, RecordState};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

impl Manager {
    /// Puts together what the idle drives hold, finishes or undoes what was interrupted, and serves
    /// what was served.
    pub(super) fn assemble(&mut self) {
        let mut groups: BTreeMap<Uuid, Vec<Candidate>> = BTreeMap::new();
        let (candidates, spares) = scan(&mut self.drives, &mut self.notices);
        for candidate in candidates {
            groups
                .entry(candidate.superblock.set_uuid())
                .or_default()
                .push(candidate);
        }
        self.take_in_spares(spares);
        let mut sets: Vec<Set> = groups
            .into_iter()
            .filter_map(|(uuid, group)| put_together(uuid, group))
            .collect();
        for set in &mut sets {
            self.settle_shelf(set);
        }
        let newest = self.newest_sets(&sets);
        sets.sort_by_key(|set| Reverse((set.lun.can_serve(), age(&set.lun))));
        let mut adopted = Vec::new();
        for mut set in sets {
            for (drive, what) in std::mem::take(&mut set.spurious) {
                self.drives.set_usage(drive, Usage::Foreign(what));
            }
            adopted.extend(self.adopt(set, &newest));
        }
        adopted.sort_unstable();
        for number in adopted {
            self.serve_again(number);
            self.take_returned(number);
        }
    }

    fn is_own(&self, shelf: u16) -> bool {
        self.shelf.is_some_and(|own| own.0 == shelf)
    }

    /// If a change of the shelf number was interrupted, ours says whether it happened.
    fn settle_shelf(&self, set: &mut Set) {
        let record = &mut set.lun.record;
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
    fn is_there(&self, lun: &Lun) -> bool {
        self.is_own(lun.record.shelf)
            && lun.record.state == RecordState::Complete
            && !self.is_removed(lun)
    }

    fn is_removed(&self, lun: &Lun) -> bool {
        lun.set_uuid
            .is_some_and(|set| self.removed_sets.contains(&set))
    }

    /// The age of the newest set of each LUN number.
    fn newest_sets(&self, sets: &[Set]) -> BTreeMap<LunNumber, Age> {
        let mut newest = BTreeMap::new();
        for set in sets.iter().filter(|set| self.is_there(&set.lun)) {
            let known = newest.entry(set.lun.number).or_insert(age(&set.lun));
            *known = age(&set.lun).max(*known);
        }
        newest
    }

    /// Takes a set as a LUN, if it is ours and there. Gives its number.
    fn adopt(&mut self, set: Set, newest: &BTreeMap<LunNumber, Age>) -> Option<LunNumber> {
        let (uuid, mut lun) = (set.uuid, set.lun);
        let number = lun.number;
        if lun.record.state == RecordState::Complete && self.is_removed(&lun) {
            let what = format!("removed LUN {number} (set {uuid})");
            self.notices.push(format!("not served: {what}"));
            self.mark(&lun, &Usage::Foreign(what));
            return None;
        }
        if !self.is_own(lun.record.shelf) {
            let usage = Usage::Elsewhere {
                shelf: lun.record.shelf,
                lun: number.get(),
            };
            self.mark(&lun, &usage);
            return None;
        }
        if lun.record.state == RecordState::Importing {
            self.discard_import(&lun);
            return None;
        }
        if lun.record.state != RecordState::Complete {
            self.discard(lun);
            return None;
        }
        if newest
            .get(&number)
            .is_some_and(|newest| age(&lun) < *newest)
        {
            self.take_older_offline(&mut lun);
        }
        if self.luns.contains_key(&number) {
            let usage = Usage::Second {
                lun: number,
                set: uuid,
            };
            self.notices.push(format!(
                "not served, because there is another: {}",
                usage.foreign().unwrap_or_default()
            ));
            self.mark(&lun, &usage);
            return None;
        }
        self.take(lun, &set.freshest, set.is_level);
        self.note_given_up(number, &set.given_up);
        Some(number)
    }

    /// Takes a set as a LUN, and brings its members to one state.
    fn take(&mut self, lun: Lun, freshest: &Superblock, is_level: bool) {
        let number = lun.number;
        for (element, member) in lun.elements() {
            if let Some(drive) = member.drive() {
                self.drives.claim(drive, lun.element_id(element));
            }
        }
        let record = lun.record.clone();
        self.luns.insert(number, lun);
        let leveled = self
            .rounds(number)
            .map_or(Ok(()), |mut rounds| rounds.level_superblocks(freshest));
        if let Err(reason) = leveled {
            self.notices
                .push(format!("LUN {number}: a member stays behind: {reason}"));
        }
        if !is_level && let Err(error) = self.record(number, record) {
            self.notices
                .push(format!("an interrupted change was not finished: {error}"));
        }
    }

    /// An older set of a LUN number is not served by itself, also when the newer one is away some day.
    fn take_older_offline(&mut self, lun: &mut Lun) {
        let number = lun.number;
        lun.doubt = Some(format!(
            "there is a newer LUN {number} on other drives, which cannot serve; online {number} serves \
             this older one"
        ));
        if !lun.record.online {
            return;
        }
        let record = Record {
            online: false,
            ..lun.record.clone()
        };
        let mut rounds = Rounds {
            now_unix_seconds: (self.now_unix_seconds)(),
            drives: &mut self.drives,
            lun,
            notices: &mut self.notices,
        };
        if let Err(reason) = rounds.record(record) {
            self.notices.push(format!(
                "an older LUN {number} is still recorded as online: {reason}"
            ));
        }
    }

    /// Tells of members that are given up because their bad blocks are not known.
    fn note_given_up(&mut self, number: LunNumber, given_up: &[DriveSlot]) {
        for &slot in given_up {
            let drive = self.drive_name(slot);
            self.notices.push(format!(
                "LUN {number}: drive {drive} is failed: its bad-block log cannot be read"
            ));
        }
    }

    fn mark(&mut self, lun: &Lun, usage: &Usage) {
        for drive in lun.members.iter().filter_map(Member::drive) {
            self.drives.set_usage(drive, usage.clone());
        }
    }

    /// Erases a LUN whose making or removal was interrupted.
    fn discard(&mut self, lun: Lun) {
        let number = lun.number;
        let what = match lun.record.state {
            RecordState::Making => "the making of LUN",
            RecordState::Importing | RecordState::Complete | RecordState::Removing => {
                "the removal of LUN"
            }
        };
        let left_over = Usage::Foreign(format!("what an interruption of {what} {number} left"));
        self.mark(&lun, &left_over);
        let mut lun = lun;
        let failures = match self.remove_from_drives(&mut lun) {
            Ok(failures) => failures,
            Err(reason) => vec![reason],
        };
        self.notices
            .push(format!("{what} {number} was interrupted; it is removed"));
        let not_erased = |reason| format!("not erased: {reason}");
        self.notices.extend(failures.into_iter().map(not_erased));
    }

    /// Serves a LUN that was served when the shelf stopped.
    fn serve_again(&mut self, number: LunNumber) {
        self.doubt_log(number);
        let Some(lun) = self.luns.get(&number) else {
            return;
        };
        if !lun.members.iter().all(Member::is_in_use) {
            let absent = lun.absent_elements();
            self.notices
                .push(format!("LUN {number} lacks elements: {absent}"));
        }
        let is_online = lun.record.online;
        if let Some(reason) = self.reason_to_wait(lun) {
            self.notices
                .push(format!("LUN {number} stays offline: {reason}"));
            return;
        }
        if !is_online {
            return;
        }
        if !lun.late.is_empty() {
            let late = lun.element_names(&lun.late);
            self.notices.push(format!(
                "WARNING: LUN {number} is served without elements {late}, which were in use when it was \
                 served last; they miss every write from now on, and are rebuilt when their drives come \
                 back"
            ));
            let away = lun.late.iter().chain(&lun.record.away).copied().collect();
            let record = Record {
                away,
                ..lun.record.clone()
            };
            if let Err(error) = self.record(number, record) {
                self.notices.push(error.to_string());
            }
        }
        if let Err(error) = self.go_live(number) {
            self.notices
                .push(format!("LUN {number} stays offline: {error}"));
        }
    }

    /// Rebuilds members whose drives were only away, and are back.
    fn take_returned(&mut self, number: LunNumber) {
        let Some(lun) = self.luns.get(&number) else {
            return;
        };
        if !lun.is_redundant() || !lun.can_serve() || self.reason_to_wait(lun).is_some() {
            return;
        }
        let returned: Vec<_> = lun
            .elements()
            .filter(|(element, _)| lun.record.away.contains(element))
            .filter_map(|(element, member)| match member {
                Member::Failed { drive } => Some((lun.element_id(element), *drive)),
                _ => None,
            })
            .collect();
        for (id, drive) in returned {
            if let Err(error) = self.rebuild(id, drive, false) {
                self.notices
                    .push(format!("element {id} is back, and not used: {error}"));
            }
        }
    }

    /// Why a LUN is not served again by itself.
    pub(super) fn reason_to_wait(&self, lun: &Lun) -> Option<String> {
        if let Some(reason) = lun.refusal().filter(|_| lun.record.online) {
            return Some(reason);
        }
        if lun.rivals.is_empty() {
            return lun.doubt.clone();
        }
        let names = |drives: &mut dyn Iterator<Item = DriveSlot>| {
            let names: Vec<String> = drives.map(|slot| self.drive_name(slot)).collect();
            names.join(", ")
        };
        let mut normal = lun.members.iter().filter(|member| member.is_normal());
        let fresher = names(&mut normal.by_ref().filter_map(Member::drive));
        let other = names(&mut lun.rivals.iter().copied());
        let number = lun.number;
        Some(format!(
            "its halves were served apart, drives {fresher} without drives {other} and the other way \
             round; online {number} serves {fresher}, the fresher half, and gives up what was \
             written to {other}"
        ))
    }
}

/// Tells the newer of two sets with one LUN number: when it was made, then how often it was changed.
type Age = (u64, u64, u64);

const fn age(lun: &Lun) -> Age {
    (lun.record.created_unix_seconds, lun.generation, lun.events)
}
