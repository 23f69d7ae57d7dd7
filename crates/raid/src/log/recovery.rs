//! Recovery: after an unclean stop, and before anything is served, brings every slice that was being
//! written to one codeword.
//!
//! 1. All records of all present members are read; those of another array, epoch, element or device
//!    are void.
//! 2. L is the highest group seen. Groups up to L - slots are retired and not looked at.
//! 3. Of each slice the youngest *complete* round counts: every participant that is present, and is
//!    the device that it was, has the record and its content. A round that is not complete never
//!    touched a home; what is older than the one that counts is done, or was superseded by it.
//! 4. Redo: the content goes to its homes. What a lost member held is what the codeword says.
//! 5. Intent: see [`intent`].
//!
//! Invariants:
//! * no sector outside the rounds of groups L - slots + 1 to L is written;
//! * a sector that no round wrote reads as before, also when up to p members are lost;
//! * a sector that a round wrote is old or new, or is reported as unreadable;
//! * doing it again, also after a crash at any write, ends the same.
//!
//! When it is done the caller makes the next epoch durable in the private records of all members, and
//! only then serves.

use super::codec::{Entry, Header, HeaderError, Kind};
use super::{LogParameters, slice_sectors};
use crate::Geometry;
use crate::bad_blocks::BadRange;
use crate::layout::Area;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

mod collect;
mod intent;

use collect::Records;

/// Access to the members' devices. Sectors are counted from the start of the device.
pub trait MemberIo {
    /// What goes wrong.
    type Error: fmt::Display;

    /// Reads whole sectors.
    ///
    /// # Errors
    /// When not all could be read.
    fn read(&mut self, element: u8, sector: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes whole sectors. They need not be durable before [`Self::flush`].
    ///
    /// # Errors
    /// When not all could be written.
    fn write(&mut self, element: u8, sector: u64, data: &[u8]) -> Result<(), Self::Error>;

    /// Makes everything durable that was written.
    ///
    /// # Errors
    /// When it may not be durable.
    fn flush(&mut self, element: u8) -> Result<(), Self::Error>;
}

/// A member that is present: in sync, or being rebuilt. A stale or failed one is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PresentMember {
    /// [`super::member_tag`] of its device.
    pub tag: u32,
    /// Its log area.
    pub log_area: Area,
    /// Where its data begins.
    pub data_offset_sectors: u64,
    /// It holds what it should before this sector, counted from there; the size of the member for
    /// one that is in sync.
    pub synced_sectors: u64,
}

/// A RAID whose log is to be recovered.
#[derive(Clone, Copy, Debug)]
pub struct LoggedRaid<'a> {
    /// UUID of the array.
    pub set_uuid: Uuid,
    /// Its geometry: raid5 or raid6.
    pub geometry: Geometry,
    /// What the private record says.
    pub parameters: LogParameters,
    /// Members in element order.
    pub members: &'a [Option<PresentMember>],
    /// By element, the ranges that hold old data or none though the member is there, counted from its
    /// data offset: its bad blocks.
    pub bad_blocks: &'a [(u8, BadRange)],
}

/// Sectors of a member, counted from its data offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MemberRange {
    /// The member.
    pub element: u8,
    /// First sector.
    pub member_sector: u64,
    /// How many.
    pub sectors: u16,
}

/// What a recovery did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// The highest group seen; 0 for none.
    pub highest_group: u64,
    /// How many groups were looked at.
    pub groups: usize,
    /// Slices whose content was written again from the log.
    pub slices_replayed: usize,
    /// Slices that were overwritten as a whole, and checked.
    pub slices_checked: usize,
    /// Slices of these that did not match and were made to.
    pub slices_repaired: usize,
    /// What lost or unfinished members hold of the data and cannot be computed: neither the old nor
    /// the new content is known. It was being overwritten, and the write was not answered.
    pub unreadable: Vec<MemberRange>,
    /// Parity of the same stripes on members that are present: it matches nothing, and belongs into
    /// these members' bad-block logs, so that nobody computes anything from it.
    pub bad_parity: Vec<MemberRange>,
}

/// Why a log was not recovered. Nothing may be served then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoveryError<E: fmt::Display> {
    /// The RAID is none that has a log, or lacks more members than it can.
    #[error("the redo log cannot be used: {0}")]
    Raid(&'static str),
    /// A member could not be read or written. It can be given up, and the recovery done without it.
    #[error("element {element} failed in recovery at sector {sector}: {error}")]
    Member {
        /// The member.
        element: u8,
        /// Where, on its device.
        sector: u64,
        /// How.
        error: E,
    },
    /// A newer program wrote to the log in this epoch.
    #[error(
        "the redo log on element {element} has records of version {version}, which this program does not \
         know: use a newer one"
    )]
    Version {
        /// A member with such a record.
        element: u8,
        /// The version.
        version: u32,
    },
    /// The members' records of a group contradict each other.
    #[error(
        "the log records of group {group} are damaged although their checksums are right, on element \
         {element}: {what}; only a backup can tell what was written"
    )]
    Damaged {
        /// The group.
        group: u64,
        /// A member with such a record.
        element: u8,
        /// What contradicts.
        what: &'static str,
    },
}

/// A round as the members' records tell it.
#[derive(Clone, Debug)]
struct Round {
    kind: Kind,
    participants: u64,
    range_start: u16,
    range_sectors: u16,
    /// By element.
    parts: BTreeMap<u8, Part>,
}

/// One member's part of a round.
#[derive(Clone, Copy, Debug)]
struct Part {
    entry: Entry,
    /// Where the content lies on the device; without meaning for an intent.
    payload_sector: u64,
    /// The content is whole. An intent has none to be torn.
    is_whole: bool,
}

/// A deliberately wrong rule, to show that the tests find it.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    AcceptsIncomplete,
    NoWindow,
    NoTags,
    IgnoresTornContent,
    OldestFirst,
    GuessesMixtures,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
fn is_planted(rule: Planted) -> bool {
    PLANTED.get() == Some(rule)
}

/// Recovers the log of a RAID; see the module. When this returns all is durable.
///
/// # Errors
/// When the RAID has no log, a member fails, or records contradict each other.
pub fn recover<M: MemberIo>(
    raid: &LoggedRaid<'_>,
    io: &mut M,
) -> Result<Report, RecoveryError<M::Error>> {
    check_raid(raid).map_err(RecoveryError::Raid)?;
    let records = Records::collect(raid, io)?;
    let mut report = Report {
        highest_group: records.highest_group,
        groups: records.groups(),
        ..Report::default()
    };
    for (slice, rounds) in &records.slices {
        let Some(round) = youngest_complete(raid, &records, rounds) else {
            continue;
        };
        match round.kind {
            Kind::Redo => {
                replay(raid, io, round)?;
                report.slices_replayed += 1;
            }
            Kind::Intent => {
                let start = slice * u64::from(slice_sectors(raid.geometry.chunk_sectors()));
                let start = start + u64::from(round.range_start);
                intent::settle(raid, io, round, start, &mut report)?;
            }
        }
    }
    for (element, _) in present(raid) {
        io.flush(element).map_err(failed(element, 0))?;
    }
    report.unreadable.sort_unstable();
    report.bad_parity.sort_unstable();
    Ok(report)
}

fn check_raid(raid: &LoggedRaid<'_>) -> Result<(), &'static str> {
    let geometry = &raid.geometry;
    if geometry.parity_count() == 0 {
        return Err("its level has no parity");
    }
    if raid.members.len() != usize::from(geometry.members()) {
        return Err("the number of members is not the one of its level");
    }
    let is_present = |element: u8| raid.members[usize::from(element)].is_some();
    if !geometry.can_serve(is_present) {
        return Err("too many members are missing or failed");
    }
    if !present(raid).all(|(_, member)| raid.parameters.fits(member.log_area)) {
        return Err("a member has no room for it");
    }
    Ok(())
}

/// The members that are there.
fn present<'a>(raid: &LoggedRaid<'a>) -> impl Iterator<Item = (u8, &'a PresentMember)> + use<'a> {
    (0..)
        .zip(raid.members)
        .filter_map(|(element, member)| Some((element, member.as_ref()?)))
}

fn failed<E: fmt::Display>(element: u8, sector: u64) -> impl FnOnce(E) -> RecoveryError<E> {
    move |error| RecoveryError::Member {
        element,
        sector,
        error,
    }
}

fn youngest_complete<'a>(
    raid: &LoggedRaid<'_>,
    records: &Records,
    rounds: &'a BTreeMap<u64, Round>,
) -> Option<&'a Round> {
    let mut complete = rounds
        .iter()
        .filter(|(group, round)| is_complete(raid, &records.tags[*group], round))
        .map(|(_, round)| round);
    #[cfg(test)]
    if is_planted(Planted::OldestFirst) {
        return complete.next();
    }
    complete.next_back()
}

/// Whether every participant that is there, and is the device that it was, has its part.
fn is_complete(raid: &LoggedRaid<'_>, tags: &[u32], round: &Round) -> bool {
    #[cfg(test)]
    if is_planted(Planted::AcceptsIncomplete) {
        return true;
    }
    present(raid)
        .filter(|(element, _)| round.participants & (1 << element) != 0)
        .filter(|(element, member)| {
            #[cfg(test)]
            if is_planted(Planted::NoTags) {
                return true;
            }
            tags[usize::from(*element)] == member.tag
        })
        .all(|(element, _)| round.parts.get(&element).is_some_and(|part| part.is_whole))
}

/// Writes what a round wrote.
fn replay<M: MemberIo>(
    raid: &LoggedRaid<'_>,
    io: &mut M,
    round: &Round,
) -> Result<(), RecoveryError<M::Error>> {
    for (&element, part) in &round.parts {
        let Some(member) = raid.members[usize::from(element)] else {
            continue;
        };
        let mut content = vec![0; usize::from(part.entry.sectors) * SECTOR_BYTES];
        io.read(element, part.payload_sector, &mut content)
            .map_err(failed(element, part.payload_sector))?;
        let home = member.data_offset_sectors + part.entry.place.member_sector;
        io.write(element, home, &content)
            .map_err(failed(element, home))?;
    }
    Ok(())
}

const SECTOR_BYTES: usize = 512;

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
