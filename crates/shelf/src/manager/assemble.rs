//! Assembly: from members on drives to LUNs.
//!
//! Members are grouped by the UUID of their set, wherever they are. Within a set:
//! * the member with the highest event count is the freshest; one more than one event behind it, or
//!   one that it or that calls it failed, missed changes and is not used;
//! * the freshest superblock says whether the set is dirty;
//! * the record with the highest generation counts, and the others are brought up to it.
//!
//! A set of another shelf is not touched. Of two sets with the same LUN number the one with more
//! changes is served, and the other left alone.

use super::drives::Usage;
use super::lun::{Lun, Member, Metadata};
use super::scan::{Candidate, scan};
use super::{LunNumber, Manager};
use crate::admin::DriveSlot;
use raid::md::{Resync, Role, Superblock};
use raid::record::{Record, RecordState};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A set of members, put together.
struct Set {
    uuid: Uuid,
    lun: Lun,
    freshest: Superblock,
    /// Whether all members hold the record that counts.
    is_level: bool,
    /// Drives that claim to be in the set, and are not: why.
    spurious: Vec<(DriveSlot, String)>,
}

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

/// Puts the members of one set together. `None` for no members.
fn put_together(uuid: Uuid, mut group: Vec<Candidate>) -> Option<Set> {
    group.sort_by_key(|candidate| {
        let superblock = &candidate.superblock;
        let freshness = (superblock.events(), candidate.stored.generation);
        (Reverse(freshness), superblock.dev_number(), candidate.drive)
    });
    let freshest = group.first()?.clone();
    let mut spurious = Vec::new();
    let places = place(uuid, group, &freshest, &mut spurious);
    let normal = || {
        places
            .iter()
            .flatten()
            .filter(|candidate| keeps_up(candidate, &freshest))
    };
    let newest = normal()
        .map(|candidate| &candidate.stored)
        .max_by_key(|stored| stored.generation)
        .unwrap_or(&freshest.stored);
    let generation = newest.generation;
    let record = Record {
        element: 0,
        ..newest.record.clone()
    };
    let is_level = normal().all(|candidate| {
        let own = Record {
            element: 0,
            ..candidate.stored.record.clone()
        };
        (candidate.stored.generation, own) == (generation, record.clone())
    });
    let (is_dirty, sync_from) = match freshest.superblock.resync() {
        Resync::Clean => (false, 0),
        Resync::DirtyFrom(sector) => (true, sector.min(freshest.geometry.capacity_sectors())),
    };
    let lun = Lun {
        number: LunNumber::new(record.lun)?,
        geometry: freshest.geometry,
        members: places
            .into_iter()
            .map(|place| member(place, &freshest))
            .collect(),
        generation,
        events: freshest.superblock.events(),
        is_dirty,
        is_unsynced: is_dirty && freshest.geometry.level().is_redundant(),
        sync_from,
        sync_pass: 0,
        is_sync_stopped: false,
        is_live: false,
        is_view_stale: false,
        record,
    };
    Some(Set {
        uuid,
        lun,
        freshest: freshest.superblock,
        is_level,
        spurious,
    })
}

/// Gives every candidate, in this order, its place among the elements, or says why it has none.
fn place(
    uuid: Uuid,
    group: Vec<Candidate>,
    freshest: &Candidate,
    spurious: &mut Vec<(DriveSlot, String)>,
) -> Vec<Option<Candidate>> {
    let mut places = vec![None; usize::from(freshest.geometry.members())];
    for candidate in group {
        let (lun, element) = (candidate.stored.record.lun, candidate.stored.record.element);
        if candidate.geometry != freshest.geometry {
            let what = format!("a member of another shape of LUN {lun} (set {uuid})");
            spurious.push((candidate.drive, what));
        } else if places[usize::from(element)].is_some() {
            let what = format!("a copy of element {lun}.0.{element} (set {uuid})");
            spurious.push((candidate.drive, what));
        } else {
            places[usize::from(element)] = Some(candidate);
        }
    }
    places
}

fn member(place: Option<Candidate>, freshest: &Candidate) -> Member {
    let Some(candidate) = place else {
        return Member::Missing;
    };
    if !keeps_up(&candidate, freshest) {
        return Member::Failed {
            drive: candidate.drive,
        };
    }
    Member::Normal {
        drive: candidate.drive,
        data_offset_sectors: candidate.superblock.data_offset_sectors(),
        metadata: Some(Box::new(Metadata {
            slot: candidate.stored.slot,
            superblock: candidate.superblock,
        })),
    }
}

/// Whether a member has missed nothing that the freshest one knows, and does not deny it either.
fn keeps_up(candidate: &Candidate, freshest: &Candidate) -> bool {
    let (own, fresh) = (&candidate.superblock, &freshest.superblock);
    let is_active = |role: Role| matches!(role, Role::Active(_));
    own.events() + 1 >= fresh.events()
        && is_active(fresh.role(own.dev_number()))
        && is_active(own.role(fresh.dev_number()))
}
