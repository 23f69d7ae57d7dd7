//! A set: the members of one md array that are on the drives, put together to a LUN.
//!
//! * The member with the highest event count is the freshest; one more than one event behind it, or
//!   one that it or that calls it failed, missed changes and is not used.
//! * The freshest superblock says whether the set is dirty, and the write-intent bitmaps of those that
//!   are used where it may be.
//! * When some of the members carry records of another version, nothing is served and nothing written: that
//!   version may have begun to change the set, and knows what the others say.
//! * A member with bad blocks, of which it is not known which they are, is not used, if the others hold
//!   all data; else nothing is served.
//! * A member that calls the freshest failed and is called so by it is the other half of a mirror whose
//!   halves were served apart: which one is to be served, somebody has to say.
//! * Of two devices of one element that keep up, one of them called a replacement, that one is its twin;
//!   a replacement alone is the element as far as it is filled.
//! * The record with the highest generation counts; the others are to be brought up to it.

use super::bad_blocks;
use super::raid::{Member, Metadata, Raid};
use super::recovery::{self, LogState};
use super::regions;
use super::scan::{Candidate, OtherVersion};
use super::twin::{self, Twin};
use crate::admin::{DriveSlot, LunNumber, PartId};
use raid::bitmap::Bitmap;
use raid::md::{Resync, Role, Superblock};
#[cfg(feature = "planted")]
use raid::planted::{self, Bug};
use raid::record::{Record, StoredRecord};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A set of members, put together.
#[derive(Clone)]
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

/// Puts together the members of all sets, in the order of their UUIDs.
pub(super) fn put_all_together(
    candidates: Vec<Candidate>,
    other_versions: &[OtherVersion],
) -> Vec<Set> {
    let mut groups = BTreeMap::<Uuid, Vec<Candidate>>::new();
    for candidate in candidates {
        let group = groups.entry(candidate.superblock.set_uuid()).or_default();
        group.push(candidate);
    }
    let put = |(uuid, group)| put_together(uuid, group, other_versions);
    groups.into_iter().filter_map(put).collect()
}

/// Puts the members of one set together; some of its members may be among those that another version wrote.
/// `None` for no members.
pub(super) fn put_together(
    uuid: Uuid,
    mut group: Vec<Candidate>,
    other_versions: &[OtherVersion],
) -> Option<Set> {
    group.sort_by_key(|candidate| {
        let superblock = &candidate.superblock;
        let freshness = (superblock.events(), candidate.stored.generation);
        (Reverse(freshness), superblock.dev_number(), candidate.drive)
    });
    let freshest = group.first()?.clone();
    let is_begun = judge_versions(&group, &freshest, other_versions);
    let (mut spurious, outrun) = (Vec::new(), outrun(&group));
    let (places, twins) = place(group, &freshest, &mut spurious);
    let present = || places.iter().chain(&twins).flatten();
    let (generation, record, is_level) = newest_record(present, &freshest);
    let (is_dirty, sync_from) = match freshest.superblock.resync() {
        Resync::Clean => (false, 0),
        Resync::DirtyFrom(sector) => (true, freshest.geometry.lba_of_md_resync(sector)),
    };
    let (mut unfit, bad) = judge_bad_blocks(&places, &freshest);
    let events_ahead = events_ahead(present, &freshest, &bad, &outrun);
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
    let is_unsynced = is_dirty && !is_in_log && may_differ(&freshest, bitmap.as_ref());
    let id = PartId {
        lun: LunNumber::new(record.lun)?,
        part: record.part,
    };
    let (rivals, late) = (rivals(&places, &freshest), late(&places, &freshest));
    let seats = Seats {
        freshest: &freshest,
        bad: &bad,
        bitmap: bitmap.as_ref(),
        is_torn: is_dirty && !is_unsynced,
    };
    let seat = |(place, twin)| seats.member(place, twin);
    let members = places.into_iter().zip(twins).map(seat).collect();
    let raid = Raid {
        is_untouchable: is_begun.is_some(),
        unfit: is_begun.or(unfit),
        rivals,
        late,
        outrun,
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
    Some(Set {
        uuid,
        raid,
        given_up: bad,
        freshest: freshest.superblock,
        is_level,
        spurious,
    })
}

/// Whether members of a dirty set may differ anywhere.
fn may_differ(freshest: &Candidate, bitmap: Option<&Bitmap>) -> bool {
    let is_empty = bitmap.is_some_and(|bitmap| bitmap.set().is_empty());
    freshest.geometry.level().is_redundant() && !is_empty
}

/// The record that counts, its generation, and whether all devices hold it.
fn newest_record<'a, I: Iterator<Item = &'a Candidate>>(
    present: impl Fn() -> I,
    freshest: &Candidate,
) -> (u64, Record, bool) {
    let own = |stored: &StoredRecord| Record {
        element: 0,
        ..stored.record.clone()
    };
    let normal = || {
        present()
            .filter(|candidate| keeps_up(candidate, freshest))
            .map(|candidate| &candidate.stored)
    };
    let newest = normal()
        .max_by_key(|stored| stored.generation)
        .unwrap_or(&freshest.stored);
    let (generation, mut record) = (newest.generation, own(newest));
    if !freshest.superblock.is_written_by_shelf() {
        // Linux went by what is in the bad-block logs.
        record.lost.clear();
    }
    let is_level = normal().all(|stored| stored.generation == generation && own(stored) == record);
    (generation, record, is_level)
}

/// Elements that are away, and that nobody called failed; also such as have only their replacement.
fn late(places: &[Option<Candidate>], freshest: &Candidate) -> Vec<u8> {
    let is_late = |element: &u8| {
        let role = freshest.geometry.md_role(*element);
        let place = places[usize::from(*element)].as_ref();
        let own = place.map(|place| place.superblock.dev_number());
        let is_original = place.is_some_and(|place| !place.superblock.is_replacement());
        let mut active = freshest.superblock.active_devices();
        !is_original && active.any(|(device, active)| active == role && Some(device) != own)
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

/// By element, a candidate.
type Places = Vec<Option<Candidate>>;

/// Gives every candidate, in this order, its place among the elements or their twins, or says why it has
/// none.
fn place(
    group: Vec<Candidate>,
    freshest: &Candidate,
    spurious: &mut Vec<(DriveSlot, String)>,
) -> (Places, Places) {
    let mut places = vec![None; usize::from(freshest.geometry.members())];
    let mut twins = places.clone();
    let (replacements, originals): (Vec<_>, Vec<_>) = group
        .into_iter()
        .partition(|candidate| candidate.superblock.is_replacement());
    let mut object = |kind: &str, candidate: &Candidate| {
        spurious.push((candidate.drive, candidate.called(kind)));
    };
    for candidate in originals {
        let slot: &mut Option<Candidate> =
            &mut places[usize::from(candidate.stored.record.element)];
        match slot {
            _ if candidate.geometry != freshest.geometry => {
                object("a member of another shape than", &candidate);
            }
            Some(placed) => object(kind_of(placed, &candidate), &candidate),
            None => *slot = Some(candidate),
        }
    }
    for candidate in replacements {
        let element = usize::from(candidate.stored.record.element);
        let (slot, twin) = (&mut places[element], &mut twins[element]);
        let is_kept = |placed: &Option<Candidate>| {
            placed
                .as_ref()
                .is_some_and(|placed| keeps_up(placed, freshest))
        };
        if candidate.geometry != freshest.geometry {
            object("a member of another shape than", &candidate);
        } else if !keeps_up(&candidate, freshest) {
            let is_later = |former: &Candidate| {
                let events = |candidate: &Candidate| candidate.superblock.events();
                !keeps_up(former, freshest) && events(former) < events(&candidate)
            };
            if slot.as_ref().is_some_and(is_later) {
                // It had taken the place of the one that failed before, and has failed itself.
                if let Some(former) = slot.replace(candidate) {
                    object("a former", &former);
                }
            } else {
                object("a former replacement of", &candidate);
            }
        } else if !is_kept(slot) {
            // The one that it was to replace failed, or is away.
            if let Some(former) = slot.replace(candidate) {
                object("a former", &former);
            }
        } else {
            let is_whole = slot
                .as_ref()
                .is_some_and(|slot| slot.superblock.recovery().is_none());
            match twin {
                None if is_whole => *twin = Some(candidate),
                Some(placed) => object(kind_of(placed, &candidate), &candidate),
                None => object("a replacement of unfinished", &candidate),
            }
        }
    }
    (places, twins)
}

/// The devices whose number a fresher one has, under another name, and that do not know it: a copy has taken
/// their places ([`super::extract`]).
fn outrun(group: &[Candidate]) -> Vec<(DriveSlot, Superblock)> {
    let is_outrun = |one: &&Candidate| {
        let own = &one.superblock;
        let is_fresher = |other: &Candidate| {
            let fresh = &other.superblock;
            fresh.dev_number() == own.dev_number()
                && fresh.device_uuid() != own.device_uuid()
                && fresh.events() > own.events()
        };
        matches!(own.role(own.dev_number()), Role::Active(_)) && group.iter().any(is_fresher)
    };
    let outrun = group.iter().filter(is_outrun);
    outrun
        .map(|one| (one.drive, one.superblock.clone()))
        .collect()
}

/// What a candidate is whose place has another one.
fn kind_of(placed: &Candidate, candidate: &Candidate) -> &'static str {
    let device = |candidate: &Candidate| {
        let own = &candidate.superblock;
        (own.dev_number(), own.device_uuid())
    };
    // A device whose place a copy has taken has its number, and another name.
    if device(placed) == device(candidate) {
        "a copy of"
    } else {
        "a former"
    }
}

/// What candidates become members by.
struct Seats<'a> {
    freshest: &'a Candidate,
    /// Drives that are given up, because it is not known which of their sectors are bad.
    bad: &'a [DriveSlot],
    bitmap: Option<&'a Bitmap>,
    /// What was being written is made good from the redo log, which does not know replacements.
    is_torn: bool,
}

impl Seats<'_> {
    fn is_usable(&self, candidate: &Candidate) -> bool {
        keeps_up(candidate, self.freshest) && !self.bad.contains(&candidate.drive)
    }

    /// The member of an element with these devices.
    fn member(&self, place: Option<Candidate>, twin: Option<Candidate>) -> Member {
        let failed = place.as_ref().map(|place| place.drive);
        let place = place.filter(|place| self.is_usable(place));
        let twin = twin.filter(|twin| self.is_usable(twin));
        match (place, twin) {
            (Some(place), twin) => self.original(place, twin),
            (None, Some(twin)) => self.twin(twin).into_rebuilding(),
            (None, None) => failed.map_or(Member::Missing, |drive| Member::Failed { drive }),
        }
    }

    fn original(&self, candidate: Candidate, twin: Option<Candidate>) -> Member {
        if candidate.superblock.is_replacement() && !self.has_taken_place(&candidate) {
            return self.twin(candidate).into_rebuilding();
        }
        let drive = candidate.drive;
        let data_offset_sectors = candidate.superblock.data_offset_sectors();
        let recovery = candidate.superblock.recovery();
        let geometry = candidate.geometry;
        let metadata = Box::new(self.metadata(candidate));
        match recovery {
            None => Member::Normal {
                drive,
                data_offset_sectors,
                metadata: Some(metadata),
                twin: twin.map(|twin| Box::new(self.twin(twin))),
            },
            Some(done_sectors) => Member::Rebuilding {
                drive,
                data_offset_sectors,
                metadata,
                done_lba: geometry.lba_before(done_sectors),
                lacks: None,
            },
        }
    }

    /// Whether a replacement holds everything, and nobody else is called the element any more: then it
    /// became that while no write was under way.
    fn has_taken_place(&self, candidate: &Candidate) -> bool {
        let role = candidate.geometry.md_role(candidate.stored.record.element);
        let own = candidate.superblock.dev_number();
        let mut active = self.freshest.superblock.active_devices();
        candidate.superblock.recovery().is_none()
            && !active.any(|(device, active)| active == role && device != own)
    }

    fn twin(&self, candidate: Candidate) -> Twin {
        let recovery = candidate.superblock.recovery();
        let all = candidate.geometry.capacity_sectors();
        let done_lba = recovery.map_or(all, |done| candidate.geometry.lba_before(done));
        let (done_lba, lacks) = if self.is_torn {
            twin::torn(self.bitmap, done_lba)
        } else {
            (done_lba, None)
        };
        Twin {
            drive: candidate.drive,
            data_offset_sectors: candidate.superblock.data_offset_sectors(),
            metadata: self.metadata(candidate),
            done_lba,
            lacks,
            is_whole: false,
        }
    }

    fn metadata(&self, candidate: Candidate) -> Metadata {
        Metadata {
            slot: candidate.stored.slot,
            has_bitmap: regions::holds(&candidate, self.bitmap),
            bad_blocks: candidate.bad_blocks.unwrap_or_default(),
            superblock: candidate.superblock,
        }
    }
}

/// Why a set is not served that another version has begun with. A device that the freshest member does not
/// call one any more has left before, and one whose number another has is a former one: they do not count.
fn judge_versions(
    group: &[Candidate],
    freshest: &Candidate,
    other_versions: &[OtherVersion],
) -> Option<String> {
    let fresh = &freshest.superblock;
    let is_member = |other: &&OtherVersion| {
        let own = &other.superblock;
        let number = own.dev_number();
        let mut numbers = group.iter().map(|known| known.superblock.dev_number());
        let is_active = matches!(fresh.role(number), Role::Active(_));
        own.set_uuid() == fresh.set_uuid()
            && (own.events() > fresh.events() || is_active && !numbers.any(|known| known == number))
    };
    let members: Vec<&OtherVersion> = other_versions.iter().filter(is_member).collect();
    let format = members.first()?.format;
    let slots: Vec<String> = members
        .iter()
        .map(|other| other.drive.to_string())
        .collect();
    Some(format!(
        "its drives in slots {} carry records of format {format}, which another version of this software \
         wrote, the others do not; it is neither served nor changed: use that version, or, if these drives \
         are not to be used any more, pull them",
        slots.join(", ")
    ))
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
fn events_ahead<'a, I: Iterator<Item = &'a Candidate>>(
    present: impl Fn() -> I,
    freshest: &Candidate,
    bad: &[DriveSlot],
    outrun: &[(DriveSlot, Superblock)],
) -> u64 {
    let is_used =
        |candidate: &Candidate| keeps_up(candidate, freshest) && !bad.contains(&candidate.drive);
    let is_member = |device: u32| {
        let mut used = present().filter(|candidate| is_used(candidate));
        used.any(|candidate| candidate.superblock.dev_number() == device)
    };
    let stale = present()
        .filter(|candidate| !is_used(candidate))
        .map(|candidate| candidate.superblock.events() + 2);
    let mut active = freshest.superblock.active_devices();
    let away = active
        .any(|(device, _)| !is_member(device))
        .then(|| freshest.superblock.events() + 3);
    let outrun = outrun.iter().map(|(_, former)| former.events() + 2);
    stale.chain(away).chain(outrun).max().unwrap_or(0)
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
