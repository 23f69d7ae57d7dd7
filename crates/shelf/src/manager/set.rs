//! A set: the members of one md array that are on the drives, put together to a LUN.
//!
//! * The member with the highest event count is the freshest; one more than one event behind it, or
//!   one that it or that calls it failed, missed changes and is not used.
//! * The freshest superblock says whether the set is dirty.
//! * The record with the highest generation counts; the others are to be brought up to it.

use super::LunNumber;
use super::lun::{Lun, Member, Metadata};
use super::scan::Candidate;
use crate::admin::DriveSlot;
use raid::md::{Resync, Role, Superblock};
use raid::record::Record;
use std::cmp::Reverse;
use uuid::Uuid;

/// A set of members, put together.
pub(super) struct Set {
    pub(super) uuid: Uuid,
    pub(super) lun: Lun,
    pub(super) freshest: Superblock,
    /// Whether all members hold the record that counts.
    pub(super) is_level: bool,
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
    let events_ahead = events_ahead(&places, &freshest);
    let lun = Lun {
        number: LunNumber::new(record.lun)?,
        geometry: freshest.geometry,
        members: places
            .into_iter()
            .map(|place| member(place, &freshest))
            .collect(),
        events_ahead,
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

/// The event count at which all who are not members are two events behind. One that is away, and
/// that nobody called failed, may have taken a round that no other took.
fn events_ahead(places: &[Option<Candidate>], freshest: &Candidate) -> u64 {
    let is_member = |device: u32| {
        places.iter().flatten().any(|candidate| {
            candidate.superblock.dev_number() == device && keeps_up(candidate, freshest)
        })
    };
    let stale = places
        .iter()
        .flatten()
        .filter(|candidate| !keeps_up(candidate, freshest))
        .map(|candidate| candidate.superblock.events() + 2);
    let mut active = freshest.superblock.active_devices();
    let away = active
        .any(|(device, _)| !is_member(device))
        .then(|| freshest.superblock.events() + 3);
    stale.chain(away).max().unwrap_or(0)
}

/// Whether a member has missed nothing that the freshest one knows, and does not deny it either.
fn keeps_up(candidate: &Candidate, freshest: &Candidate) -> bool {
    let (own, fresh) = (&candidate.superblock, &freshest.superblock);
    own.events() + 1 >= fresh.events() && calls_active(fresh, own) && calls_active(own, fresh)
}

/// Whether one member calls another a member. Ours have the device numbers of their roles.
fn calls_active(one: &Superblock, other: &Superblock) -> bool {
    let device = other.dev_number();
    matches!(one.role(device), Role::Active(role) if u32::from(role) == device)
}
