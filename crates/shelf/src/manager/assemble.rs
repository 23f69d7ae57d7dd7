//! Assembly: from members on drives to LUNs.
//!
//! Members are grouped by the UUID of their set, wherever they are; [`super::set`] puts a set together.
//!
//! A set of another shelf is not touched. Of two sets with the same LUN number the one with more
//! changes is served, and the other left alone.

use super::drives::Usage;
use super::lun::{Lun, Member};
use super::scan::{Candidate, scan};
use super::set::{Set, put_together};
use super::{LunNumber, Manager};
use raid::record::RecordState;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

impl Manager {
    /// Puts together what the idle drives hold, finishes or undoes what was interrupted, and serves
    /// what was served.
    pub(super) fn assemble(&mut self) {
        let mut groups: BTreeMap<Uuid, Vec<Candidate>> = BTreeMap::new();
        for candidate in scan(&mut self.drives, &mut self.notices) {
            groups
                .entry(candidate.superblock.set_uuid())
                .or_default()
                .push(candidate);
        }
        let mut sets: Vec<Set> = groups
            .into_iter()
            .filter_map(|(uuid, group)| put_together(uuid, group))
            .collect();
        sets.sort_by_key(|set| {
            Reverse((
                set.lun.generation,
                set.lun.events,
                set.lun.record.created_unix_seconds,
            ))
        });
        let mut adopted = Vec::new();
        for mut set in sets {
            for (drive, what) in std::mem::take(&mut set.spurious) {
                self.drives.set_usage(drive, Usage::Foreign(what));
            }
            adopted.extend(self.adopt(set));
        }
        adopted.sort_unstable();
        for number in adopted {
            self.serve_again(number);
        }
    }

    /// Takes a set as a LUN, if it is ours and there. Gives its number.
    fn adopt(&mut self, set: Set) -> Option<LunNumber> {
        let Set {
            uuid,
            mut lun,
            mut is_level,
            freshest,
            ..
        } = set;
        let number = lun.number;
        let is_own = |number: u16| self.shelf.is_some_and(|shelf| shelf.0 == number);
        let shelf = lun.record.shelf;
        if let Some(next) = lun
            .record
            .next_shelf
            .take_if(|next| is_own(shelf) || is_own(*next))
        {
            // A change of the shelf number was interrupted; ours says whether it happened.
            lun.record.shelf = if is_own(next) { next } else { shelf };
            is_level = false;
        }
        if !is_own(lun.record.shelf) {
            let usage = Usage::Elsewhere {
                shelf: lun.record.shelf,
                lun: number.get(),
            };
            self.mark(&lun, &usage);
            return None;
        }
        if lun.record.state != RecordState::Complete {
            self.discard(lun);
            return None;
        }
        if self.luns.contains_key(&number) {
            let what = format!("LUN {number} of this shelf a second time (set {uuid})");
            self.notices
                .push(format!("not served, because there is another: {what}"));
            self.mark(&lun, &Usage::Foreign(what));
            return None;
        }
        for (element, member) in lun.elements() {
            if let Some(drive) = member.drive() {
                self.drives.claim(drive, lun.element_id(element));
            }
        }
        let record = lun.record.clone();
        self.luns.insert(number, lun);
        let leveled = self
            .rounds(number)
            .map_or(Ok(()), |mut rounds| rounds.level_superblocks(&freshest));
        if let Err(reason) = leveled {
            self.notices
                .push(format!("LUN {number}: a member stays behind: {reason}"));
        }
        if !is_level && let Err(error) = self.record(number, record) {
            self.notices
                .push(format!("an interrupted change was not finished: {error}"));
        }
        Some(number)
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
            RecordState::Complete | RecordState::Removing => "the removal of LUN",
        };
        let left_over = Usage::Foreign(format!("what an interruption of {what} {number} left"));
        self.mark(&lun, &left_over);
        let now_unix_seconds = (self.now_unix_seconds)();
        let mut lun = lun;
        let mut rounds = super::rounds::Rounds {
            drives: &mut self.drives,
            lun: &mut lun,
            notices: &mut self.notices,
            now_unix_seconds,
        };
        let failures = match rounds.remove() {
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
        let Some(lun) = self.luns.get(&number) else {
            return;
        };
        if !lun.all_normal() {
            let absent = lun.absent_elements();
            self.notices
                .push(format!("LUN {number} lacks elements: {absent}"));
        }
        if !lun.record.online {
            return;
        }
        if !lun.can_serve() {
            self.notices.push(format!(
                "LUN {number} stays offline: too many elements are missing"
            ));
            return;
        }
        if let Err(error) = self.go_live(number) {
            self.notices
                .push(format!("LUN {number} stays offline: {error}"));
        }
    }
}
