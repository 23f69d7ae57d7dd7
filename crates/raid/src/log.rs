//! The redo log of raid5 and raid6, which closes the write hole: records before homes.
//!
//! A write changes blocks of several members, and a crash may leave some of them old and some new. If
//! then a member is lost, too, what it held is computed from a mixture. Therefore every member that
//! takes part in a write first gets, *in its own log area*, what its own home is about to get. A
//! member that is lost takes its record and its home with it, and that is one symbol of the codeword;
//! everything that survives can be brought to the new codeword.
//!
//! *Slice*: for one row of chunks, [`slice_sectors`] sectors of member address space, the same on all
//! members. *Round*: one write of one slice. *Group*: a log transaction with the rounds of many slices;
//! one record on each member that takes part. *Home*: where the content belongs.
//!
//! The data path keeps to these rules:
//!
//! 1. rounds of one slice follow each other: the next begins when the homes of the last are durable;
//! 2. groups are numbered from 1 in each epoch, without gaps, and an epoch is durable in the private
//!    record of all members before its first group: every time that the LUN begins to be served;
//! 3. a group reaches at least p + 1 members (p = number of parities), or all that are present. One
//!    with fewer participants, as one that only rebuilds a member, is written to further members
//!    without entries: its number has to outlive p of them;
//! 4. the records of a group are durable on all participants before any of its homes is written;
//! 5. a write is answered when its homes are durable. When all are, the group is *retired*;
//! 6. group g is written only when group g - [`slots`](LogParameters::slots) is retired;
//! 7. when a member fails meanwhile, that is made durable in the superblocks first. Then the round goes
//!    on without it; or, with the same content, is done again under a new group. Then the older group
//!    is *superseded*, and counts as retired when the newer one is;
//! 8. only a round that overwrites a range of *every* present member may be an *intent*: checksums and
//!    no content. All others are *redo*, and all while a member is being rebuilt: it counts as lost;
//! 9. a member that was given up and comes back has another tag (a new device UUID): a group that went
//!    on without it would look incomplete to it.
//!
//! The area has twice as many places as groups may be live. With L the highest group that a crash left
//! to be seen, a group up to L + slots may have been under way, and torn what lay in its place: groups
//! up to L - slots, which are retired. What is younger is whole if it ever was. [`recovery`] depends on
//! it: taken for incomplete, a retired group would give way to an older one.
//!
//! Nothing here allocates but recovery.

use crate::layout::Area;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod codec;
pub mod recovery;

pub use codec::{
    ContentChecksum, ENTRIES_MAX, Entry, EntryPlace, HEADER_BYTES, HEADER_SECTORS, Header,
    HeaderError, Kind, NoRoom, RecordIdentity, RecordWriter,
};

/// Sectors of a slot: at least 16 KiB, header and content of a slice.
const SLOT_SECTORS_MIN: u64 = 32;

/// At most 128 KiB: 15 slices of 8 KiB, after which a group gains nothing from being larger.
const SLOT_SECTORS_MAX: u64 = 256;

/// Most groups that may be live.
const SLOTS_MAX: u64 = 64;

/// Fewer live groups than this would be written one after another.
const SLOTS_MIN: u64 = 2;

/// Places in the area for each group that may be live; see the module.
const PLACES_PER_SLOT: u64 = 2;

/// How the members of a LUN divide their log areas; the same for all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogParameters {
    /// Sectors of a place for a record.
    slot_sectors: u16,
    /// How many groups may be live.
    slots: u16,
    /// Counts the times that the LUN began to be served; records of other epochs are void.
    epoch: u64,
}

impl LogParameters {
    /// Parameters of a new LUN, in epoch 1, whose smallest log area has this many sectors. `None` when
    /// that is too little for a log.
    #[must_use]
    pub fn for_areas(smallest_area_sectors: u64) -> Option<Self> {
        let slot_sectors = (smallest_area_sectors / 16).clamp(SLOT_SECTORS_MIN, SLOT_SECTORS_MAX);
        let slot_sectors = slot_sectors / 8 * 8;
        let slots = (smallest_area_sectors / slot_sectors / PLACES_PER_SLOT).min(SLOTS_MAX);
        (slots >= SLOTS_MIN).then_some(())?;
        Some(Self {
            slot_sectors: u16::try_from(slot_sectors).ok()?,
            slots: u16::try_from(slots).ok()?,
            epoch: 1,
        })
    }

    /// The same in the next epoch, where groups begin at 1 again.
    #[must_use]
    pub const fn next_epoch(self) -> Self {
        Self {
            epoch: self.epoch + 1,
            ..self
        }
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many groups may be live: group g is written only when group g - `slots` is retired.
    #[must_use]
    pub const fn slots(&self) -> u16 {
        self.slots
    }

    /// The longest record, in sectors.
    #[must_use]
    pub const fn slot_sectors(&self) -> u16 {
        self.slot_sectors
    }

    /// How many records an area holds.
    #[must_use]
    pub const fn places(&self) -> u64 {
        self.slots as u64 * PLACES_PER_SLOT
    }

    /// Sectors of an area that are used.
    #[must_use]
    pub const fn used_sectors(&self) -> u64 {
        self.places() * self.slot_sectors as u64
    }

    /// Whether a log of these parameters, which may come from a disk, fits into an area.
    #[must_use]
    pub const fn fits(&self, area: Area) -> bool {
        self.slots as u64 >= SLOTS_MIN
            && self.slot_sectors > HEADER_SECTORS
            && self.slot_sectors.is_multiple_of(8)
            && self.used_sectors() <= area.sectors
    }

    /// The sector of a member's device where the record of a group begins.
    #[must_use]
    pub const fn record_sector(&self, area: Area, group: u64) -> u64 {
        area.sector + group % self.places() * self.slot_sectors as u64
    }
}

/// Sectors of a slice: 8 KiB, or a chunk if that is less.
#[must_use]
pub const fn slice_sectors(chunk_sectors: u32) -> u32 {
    if chunk_sectors < crate::stripe::SLICE_SECTORS_MAX {
        chunk_sectors
    } else {
        crate::stripe::SLICE_SECTORS_MAX
    }
}

/// What tells a member from one that took its place; never 0, which stands for no member.
#[must_use]
pub fn member_tag(device_uuid: Uuid) -> u32 {
    crc32c::crc32c(device_uuid.as_bytes()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_follow_from_the_area() {
        let of = |sectors| {
            LogParameters::for_areas(sectors)
                .map(|log| (log.slot_sectors(), log.slots(), log.epoch()))
        };
        assert_eq!(of(0), None);
        assert_eq!(of(127), None);
        assert_eq!(of(128), Some((32, 2, 1)));
        assert_eq!(of(512), Some((32, 8, 1)));
        assert_eq!(of(2048), Some((128, 8, 1)));
        assert_eq!(of(127 * 2048), Some((256, 64, 1)));
    }

    #[test]
    fn no_member_has_the_tag_0() {
        assert_ne!(member_tag(Uuid::nil()), 0);
        assert_ne!(
            member_tag(Uuid::from_u128(1)),
            member_tag(Uuid::from_u128(2))
        );
    }

    #[test]
    fn parameters_that_do_not_fit_are_told() {
        let log = LogParameters::for_areas(512).unwrap();
        let area = |sectors| Area {
            sector: 256,
            sectors,
        };
        assert!(log.fits(area(512)));
        assert!(!log.fits(area(511)));
        let read = |text| serde_json::from_str::<LogParameters>(text).unwrap();
        assert!(!read(r#"{"slot_sectors":32,"slots":0,"epoch":1}"#).fits(area(512)));
        assert!(!read(r#"{"slot_sectors":8,"slots":2,"epoch":1}"#).fits(area(512)));
    }

    proptest! {
        #[test]
        fn records_lie_in_the_area(sectors in 128_u64..300_000, group in any::<u64>()) {
            let log = LogParameters::for_areas(sectors).unwrap();
            let area = Area { sector: 256, sectors };
            prop_assert!(log.fits(area));
            let sector = log.record_sector(area, group);
            prop_assert!(sector >= 256 && sector.is_multiple_of(8));
            prop_assert!(sector + u64::from(log.slot_sectors()) <= 256 + sectors);
        }
    }
}
