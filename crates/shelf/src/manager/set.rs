//! A set: the members of one md array that are on the drives, put together to a LUN.
//!
//! * The member with the highest event count is the freshest; one more than one event behind it, or
//!   one that it or that calls it failed, missed changes and is not used.
//! * The freshest superblock says whether the set is dirty, and the write-intent bitmaps of those that
//!   are used where it may be.
//! * A member with bad blocks, of which it is not known which they are, is not used, if the others hold
//!   all data; else nothing is served.
//! * A member that calls the freshest failed and is called so by it is the other half of a mirror whose
//!   halves were served apart: which one is to be served, somebody has to say.
//! * The record with the highest generation counts; the others are to be brought up to it.

use super::bad_blocks;
use super::raid::{Member, Metadata, Raid};
use super::recovery::{self, LogState};
use super::regions;
use super::scan::Candidate;
use crate::admin::{DriveSlot, LunNumber, PartId};
use raid::bitmap::Bitmap;
use raid::md::{Resync, Role, Superblock};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::{Record, StoredRecord};
use std::cmp::Reverse;
use uuid::Uuid;

/// A set of members, put together.
pub(super) struct Set {
    pub(super) uuid: Uuid,
    pub(super) raid: Raid,
    pub(super) freshest: Superblock,
    /// Whether all members hold the record that counts.
    pub(super) is_level: bool,
    /// Drives with bad blocks that are not known, which are given up for it.
    pub(super) given_up: Vec<DriveSlot>,
    /// Drives that claim to be in the set, and are not: why.
    pub(super) spurious: Vec<(DriveSlot, String)>,
}

/// Puts the members of one set together. `None` for no members.
pub(super) fn put_together(uuid: Uuid, mut group: Vec<Candidate>) -> Option<Set> {
    group.sort_by_key(|candidate| {
        let superblock = &candidate.superblock;
        let freshness = (superblock.events(), candidate.stored.generation);
        (Reverse(freshness), superblock.dev_number(), candidate.drive)
    });
    let freshest = group.first()?.clone();
    let mut spurious = Vec::new();
    let places = place(uuid, group, &freshest, &mut spurious);
    let (generation, record, is_level) = newest_record(&places, &freshest);
    let (is_dirty, sync_from) = match freshest.superblock.resync() {
        Resync::Clean => (false, 0),
        Resync::DirtyFrom(sector) => (true, freshest.geometry.lba_of_md_resync(sector)),
    };
    let (mut unfit, bad) = judge_bad_blocks(&places, &freshest);
    let events_ahead = events_ahead(&places, &freshest, &bad);
    let is_used = |place: &Candidate| keeps_up(place, &freshest) && !bad.contains(&place.drive);
    let used: Vec<&Candidate> = places
        .iter()
        .flatten()
        .filter(|place| is_used(place))
        .collect();
    let bitmap = regions::find_bitmap(&used, &freshest, is_dirty).unwrap_or_else(|reason| {
        unfit.get_or_insert(reason);
        None
    });
    let log_state = recovery::found(&record, is_dirty, freshest.superblock.is_written_by_shelf());
    let is_in_log = log_state == LogState::Pending && record.parity_synced;
    let is_unsynced = is_dirty
        && !is_in_log
        && freshest.geometry.level().is_redundant()
        && !bitmap
            .as_ref()
            .is_some_and(|bitmap| bitmap.set().is_empty());
    let id = PartId {
        lun: LunNumber::new(record.lun)?,
        part: record.part,
    };
    let (rivals, late) = (rivals(&places, &freshest), late(&places, &freshest));
    let members = places
        .into_iter()
        .map(|place| member(place, &freshest, &bad, bitmap.as_ref()))
        .collect();
    let raid = Raid {
        unfit,
        rivals,
        late,
        set_uuid: Some(uuid),
        events_ahead,
        generation,
        events: freshest.superblock.events(),
        is_dirty,
        is_unsynced,
        sync_from,
        unsynced_regions: bitmap.as_ref().map(|bitmap| bitmap.set().clone().into()),
        bitmap,
        log_state,
        ..Raid::new(id, freshest.geometry, members, record)
    };
    let given_up = bad;
    Some(Set {
        uuid,
        raid,
        given_up,
        freshest: freshest.superblock,
        is_level,
        spurious,
    })
}

/// The record that counts, its generation, and whether all members hold it.
fn newest_record(places: &[Option<Candidate>], freshest: &Candidate) -> (u64, Record, bool) {
    let own = |stored: &StoredRecord| Record {
        element: 0,
        ..stored.record.clone()
    };
    let normal = || {
        places
            .iter()
            .flatten()
            .filter(|candidate| keeps_up(candidate, freshest))
            .map(|candidate| &candidate.stored)
    };
    let newest = normal()
        .max_by_key(|stored| stored.generation)
        .unwrap_or(&freshest.stored);
    let (generation, record) = (newest.generation, own(newest));
    let is_level = normal().all(|stored| stored.generation == generation && own(stored) == record);
    (generation, record, is_level)
}

/// Elements that are away, and that nobody called failed.
fn late(places: &[Option<Candidate>], freshest: &Candidate) -> Vec<u8> {
    let is_late = |element: &u8| {
        let role = freshest.geometry.md_role(*element);
        let mut active = freshest.superblock.active_devices();
        places[usize::from(*element)].is_none() && active.any(|(_, active)| active == role)
    };
    (0..freshest.geometry.members()).filter(is_late).collect()
}

/// The drives of the other half of a mirror whose halves were served apart.
fn rivals(places: &[Option<Candidate>], freshest: &Candidate) -> Vec<DriveSlot> {
    places
        .iter()
        .flatten()
        .filter(|candidate| is_rival(candidate, freshest))
        .map(|candidate| candidate.drive)
        .collect()
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
        let record = &candidate.stored.record;
        let (lun, part, element) = (record.lun, record.part, record.element);
        if candidate.geometry != freshest.geometry {
            let what = format!("a member of another shape of LUN {lun} (set {uuid})");
            spurious.push((candidate.drive, what));
        } else if places[usize::from(element)].is_some() {
            let is_copy =
                places[usize::from(element)]
                    .as_ref()
                    .is_some_and(|placed: &Candidate| {
                        placed.superblock.dev_number() == candidate.superblock.dev_number()
                    });
            let kind = if is_copy { "a copy of" } else { "a former" };
            let what = format!("{kind} element {lun}.{part}.{element} (set {uuid})");
            spurious.push((candidate.drive, what));
        } else {
            places[usize::from(element)] = Some(candidate);
        }
    }
    places
}

fn member(
    place: Option<Candidate>,
    freshest: &Candidate,
    bad: &[DriveSlot],
    bitmap: Option<&Bitmap>,
) -> Member {
    let Some(candidate) = place else {
        return Member::Missing;
    };
    if !keeps_up(&candidate, freshest) || bad.contains(&candidate.drive) {
        return Member::Failed {
            drive: candidate.drive,
        };
    }
    let data_offset_sectors = candidate.superblock.data_offset_sectors();
    let recovery = candidate.superblock.recovery();
    let metadata = Box::new(Metadata {
        slot: candidate.stored.slot,
        has_bitmap: regions::holds(&candidate, bitmap),
        bad_blocks: candidate.bad_blocks.unwrap_or_default(),
        superblock: candidate.superblock,
    });
    match recovery {
        None => Member::Normal {
            drive: candidate.drive,
            data_offset_sectors,
            metadata: Some(metadata),
        },
        Some(done_sectors) => Member::Rebuilding {
            drive: candidate.drive,
            data_offset_sectors,
            metadata,
            done_lba: candidate.geometry.lba_before(done_sectors),
            lacks: None,
        },
    }
}

/// Somebody noted sectors of a member that hold old data or none, in a log that cannot be read: such a
/// member is given up. Gives the drives to give up, or why there is nothing to serve without them.
fn judge_bad_blocks(
    places: &[Option<Candidate>],
    freshest: &Candidate,
) -> (Option<String>, Vec<DriveSlot>) {
    let is_bad = bad_blocks::are_unknown;
    let bad: Vec<DriveSlot> = places
        .iter()
        .flatten()
        .filter(|candidate| is_bad(candidate) && keeps_up(candidate, freshest))
        .map(|candidate| candidate.drive)
        .collect();
    let is_good = |element: u8| {
        places[usize::from(element)]
            .as_ref()
            .is_some_and(|candidate| {
                let is_whole = candidate.superblock.recovery().is_none();
                is_whole && keeps_up(candidate, freshest) && !is_bad(candidate)
            })
    };
    if bad.is_empty() || freshest.geometry.can_serve(is_good) {
        return (None, bad);
    }
    let slots: Vec<String> = bad.iter().map(ToString::to_string).collect();
    let reason = format!(
        "bad blocks were noted on the drives in slots {}, in a log that cannot be read, and the other \
         members do not hold all data; copy the data off with Linux",
        slots.join(", ")
    );
    (Some(reason), Vec::new())
}

/// Whether a member and the freshest call each other failed: each went on without the other.
fn is_rival(candidate: &Candidate, freshest: &Candidate) -> bool {
    let (own, fresh) = (&candidate.superblock, &freshest.superblock);
    own.role(fresh.dev_number()) == Role::Faulty && fresh.role(own.dev_number()) == Role::Faulty
}

/// The event count at which all who are not members are two events behind. One that is away, and
/// that nobody called failed, may have taken a round that no other took.
fn events_ahead(places: &[Option<Candidate>], freshest: &Candidate, bad: &[DriveSlot]) -> u64 {
    let is_used =
        |candidate: &Candidate| keeps_up(candidate, freshest) && !bad.contains(&candidate.drive);
    let is_member = |device: u32| {
        places
            .iter()
            .flatten()
            .any(|candidate| candidate.superblock.dev_number() == device && is_used(candidate))
    };
    let stale = places
        .iter()
        .flatten()
        .filter(|candidate| !is_used(candidate))
        .map(|candidate| candidate.superblock.events() + 2);
    let mut active = freshest.superblock.active_devices();
    let away = active
        .any(|(device, _)| !is_member(device))
        .then(|| freshest.superblock.events() + 3);
    stale.chain(away).max().unwrap_or(0)
}

/// Whether a member has missed nothing that the freshest one knows, and does not deny it either.
fn keeps_up(candidate: &Candidate, freshest: &Candidate) -> bool {
    #[cfg(feature = "planted")]
    if planted::is(Bug::StaleMemberAccepted) {
        return true;
    }
    let (own, fresh) = (&candidate.superblock, &freshest.superblock);
    own.events() + 1 >= fresh.events()
        && calls_active(fresh, candidate)
        && (calls_active(own, freshest) || has_just_joined(freshest, own))
}

/// Whether a superblock calls a member one, and by its role.
fn calls_active(superblock: &Superblock, member: &Candidate) -> bool {
    let role = member.geometry.md_role(member.stored.record.element);
    superblock.role(member.superblock.dev_number()) == Role::Active(role)
}

/// Whether the freshest member joined with its last event, which another one missed: a device that
/// joins takes that round first.
fn has_just_joined(freshest: &Candidate, other: &Superblock) -> bool {
    let fresh = &freshest.superblock;
    fresh.recovery() == Some(0)
        && fresh.dev_number() >= u32::from(freshest.geometry.members())
        && fresh.events() == other.events() + 1
}
