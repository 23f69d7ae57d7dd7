//! What the logs of all members hold, sorted by slice and group.

use super::{
    Entry, Header, HeaderError, Kind, LoggedRaid, MemberIo, Part, PresentMember, RecoveryError,
    Round, SECTOR_BYTES, failed, present, slice_sectors,
};
#[cfg(test)]
use super::{Planted, is_planted};
use crate::log::codec::HEADER_BYTES;
use std::collections::BTreeMap;
use std::fmt;

/// Places are read several at a time, about this many bytes.
const READ_BYTES: usize = 1 << 20;

/// All rounds that count for recovery.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The highest group seen, 0 for none.
    pub(super) highest_group: u64,
    /// The members' tags by group.
    pub(super) tags: BTreeMap<u64, Vec<u32>>,
    /// By slice, then by group.
    pub(super) slices: BTreeMap<u64, BTreeMap<u64, Round>>,
}

impl Records {
    /// Reads the logs of all members that are present.
    pub(super) fn collect<M: MemberIo>(
        raid: &LoggedRaid<'_>,
        io: &mut M,
    ) -> Result<Self, RecoveryError<M::Error>> {
        let mut records = Self::default();
        for (element, member) in present(raid) {
            records.read_member(raid, io, element, member)?;
        }
        records.drop_retired(raid);
        Ok(records)
    }

    /// How many groups are looked at.
    pub(super) fn groups(&self) -> usize {
        self.tags.len()
    }

    fn read_member<M: MemberIo>(
        &mut self,
        raid: &LoggedRaid<'_>,
        io: &mut M,
        element: u8,
        member: &PresentMember,
    ) -> Result<(), RecoveryError<M::Error>> {
        let place_bytes = usize::from(raid.parameters.slot_sectors()) * SECTOR_BYTES;
        let places = usize::try_from(raid.parameters.places()).unwrap_or(usize::MAX);
        let places_at_once = (READ_BYTES / place_bytes).clamp(1, places);
        let mut buffer = vec![0; places_at_once * place_bytes];
        let end = member.log_area.sector + raid.parameters.used_sectors();
        let mut sector = member.log_area.sector;
        while sector < end {
            let left = usize::try_from(end - sector).unwrap_or(usize::MAX);
            let bytes = buffer.len().min(left.saturating_mul(SECTOR_BYTES));
            let chunk = &mut buffer[..bytes];
            io.read(element, sector, chunk)
                .map_err(failed(element, sector))?;
            for place in chunk.chunks_exact(place_bytes) {
                self.read_place(raid, element, member, sector, place)?;
                sector += u64::from(raid.parameters.slot_sectors());
            }
        }
        Ok(())
    }

    /// Notes the record in a place, if there is one of this member.
    fn read_place<E: fmt::Display>(
        &mut self,
        raid: &LoggedRaid<'_>,
        element: u8,
        member: &PresentMember,
        sector: u64,
        place: &[u8],
    ) -> Result<(), RecoveryError<E>> {
        let Some(block) = place.first_chunk::<HEADER_BYTES>() else {
            unreachable!("a place is longer than a header")
        };
        let header = match Header::decode(block) {
            Ok(header) => header,
            // What a newer program logged may be all that there is of a write that was answered.
            Err(HeaderError::Version {
                version,
                set_uuid,
                epoch,
            }) if set_uuid == raid.set_uuid && epoch == raid.parameters.epoch() => {
                return Err(RecoveryError::Version { element, version });
            }
            Err(_) => return Ok(()),
        };
        let is_ours = header.set_uuid() == raid.set_uuid
            && header.epoch() == raid.parameters.epoch()
            && header.element() == element
            && header.members() == raid.geometry.members()
            && header.tag(element) == member.tag;
        if !is_ours {
            return Ok(());
        }
        let group = header.group();
        let damaged = |what| RecoveryError::Damaged {
            group,
            element,
            what,
        };
        let own_tags = (0..header.members()).map(|element| header.tag(element));
        let own_tags: Vec<u32> = own_tags.collect();
        self.highest_group = self.highest_group.max(group);
        if *self.tags.entry(group).or_insert_with(|| own_tags.clone()) != own_tags {
            return Err(damaged("it names other devices than another member's"));
        }
        for entry in header.entries() {
            let slice = slice_of(raid, &entry).ok_or_else(|| damaged("it leaves its slice"))?;
            let part = part(&entry, sector, place);
            let rounds = self.slices.entry(slice).or_default();
            let round = rounds.entry(group).or_insert_with(|| Round {
                kind: entry.kind,
                participants: entry.place.participants,
                range_start: entry.place.range_start,
                range_sectors: entry.place.range_sectors,
                parts: BTreeMap::new(),
            });
            if !tells_the_same(round, &entry) {
                return Err(damaged("it tells another round than another member's"));
            }
            if round.parts.insert(element, part).is_some() {
                return Err(damaged("it has two rounds of one slice"));
            }
        }
        Ok(())
    }

    fn drop_retired(&mut self, raid: &LoggedRaid<'_>) {
        let floor = self
            .highest_group
            .saturating_sub(u64::from(raid.parameters.slots()));
        #[cfg(test)]
        let floor = if is_planted(Planted::NoWindow) {
            0
        } else {
            floor
        };
        self.tags.retain(|group, _| *group > floor);
        for rounds in self.slices.values_mut() {
            rounds.retain(|group, _| *group > floor);
        }
        self.slices.retain(|_, rounds| !rounds.is_empty());
    }
}

/// The slice of an entry; `None` when its home leaves the slice or the member.
fn slice_of(raid: &LoggedRaid<'_>, entry: &Entry) -> Option<u64> {
    let slice_sectors = u64::from(slice_sectors(raid.geometry.chunk_sectors()));
    let place = &entry.place;
    let slice = place.member_sector / slice_sectors;
    let start = slice * slice_sectors;
    let home_end = place.member_sector.checked_add(u64::from(entry.sectors))?;
    let range_start = start + u64::from(place.range_start);
    let range_end = range_start + u64::from(place.range_sectors);
    let is_inside = home_end <= start + slice_sectors && home_end <= raid.geometry.member_sectors();
    // An intent overwrites the same on all members.
    let is_range = place.member_sector == range_start && home_end == range_end;
    (is_inside && (entry.kind == Kind::Redo || is_range)).then_some(slice)
}

fn tells_the_same(round: &Round, entry: &Entry) -> bool {
    round.kind == entry.kind
        && round.participants == entry.place.participants
        && round.range_start == entry.place.range_start
        && round.range_sectors == entry.place.range_sectors
}

/// The part of a member, from a place that begins at a sector of its device.
fn part(entry: &Entry, sector: u64, place: &[u8]) -> Part {
    let Some(payload_sector) = entry.payload_sector else {
        return Part {
            entry: *entry,
            payload_sector: 0,
            is_whole: true,
        };
    };
    let start = usize::from(payload_sector) * SECTOR_BYTES;
    let content = place.get(start..start + usize::from(entry.sectors) * SECTOR_BYTES);
    let is_whole = content.is_some_and(|content| entry.is_content(content));
    #[cfg(test)]
    let is_whole = is_whole || is_planted(Planted::IgnoresTornContent);
    Part {
        entry: *entry,
        payload_sector: sector + u64::from(payload_sector),
        is_whole,
    }
}
