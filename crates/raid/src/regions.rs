//! Regions of an array: what one bit of the write-intent bitmap stands for, and sets of them.
//!
//! ```text
//! raid1, raid10   region r = array sectors  r * size .. (r + 1) * size
//! raid5, raid6    region r = member sectors r * size .. (r + 1) * size, on every member
//! ```
//!
//! Invariants:
//! * a write concerns every region that holds a sector which it may change on any member; with parity
//!   those are the regions of its whole rows, since parity changes with data;
//! * a [`RegionSet`] lies in memory as md's bitmap lies on the disk: least significant bit first.
//!
//! Source: md v1.2 write-intent bitmap, version 4.

use crate::Geometry;
use std::ops::RangeInclusive;

/// Most regions that an array may have. Ours have fewer than a million; the limit bounds what the
/// bitmap of an array that others made takes in memory.
pub const REGIONS_MAX: u32 = 1 << 22;

/// Regions whose bits are set together: neighbours of a written region are likely to be written next,
/// and their bits share a byte.
pub const REGION_GROUP: u32 = 8;

/// Number of a region, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RegionIndex(pub u32);

impl RegionIndex {
    /// The first region of its group of [`REGION_GROUP`].
    #[must_use]
    pub const fn group(self) -> Self {
        Self(self.0 - self.0 % REGION_GROUP)
    }

    const fn place(self) -> usize {
        self.0 as usize
    }
}

/// How the sectors of an array fall into regions. Small and immutable: copy it into every worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegionMap {
    /// Sectors that are counted: of a member with parity, else of the array.
    sync_sectors: u64,
    /// Exponent of the sectors of a region.
    shift: u32,
    /// Sectors of the array in a row of chunks, and of a member; both 1 without parity.
    row_array_sectors: u64,
    row_member_sectors: u64,
    regions: u32,
}

impl RegionMap {
    /// The map with regions of `1 << shift` sectors; `None` when that makes more than [`REGIONS_MAX`].
    #[must_use]
    pub fn new(geometry: &Geometry, shift: u32) -> Option<Self> {
        let sync_sectors = geometry.bitmap_sectors();
        let size = 1_u64.checked_shl(shift)?;
        let regions = u32::try_from(sync_sectors.div_ceil(size)).ok()?;
        let (row_array_sectors, row_member_sectors) = if geometry.parity_count() > 0 {
            let chunk = u64::from(geometry.chunk_sectors());
            (chunk * u64::from(geometry.columns()), chunk)
        } else {
            (1, 1)
        };
        (regions <= REGIONS_MAX).then_some(Self {
            sync_sectors,
            shift,
            row_array_sectors,
            row_member_sectors,
            regions,
        })
    }

    /// Number of regions.
    #[must_use]
    pub const fn regions(&self) -> u32 {
        self.regions
    }

    /// Sectors of a region; the last one may be shorter.
    #[must_use]
    pub const fn region_sectors(&self) -> u64 {
        1 << self.shift
    }

    /// Sectors that all regions together have: of a member with parity, else of the array.
    #[must_use]
    pub const fn sync_sectors(&self) -> u64 {
        self.sync_sectors
    }

    /// The regions that a write of array sectors `lba` to `lba + sectors` concerns.
    ///
    /// # Panics
    /// When the range is empty or ends beyond the array.
    #[must_use]
    pub fn of_range(&self, lba: u64, sectors: u64) -> RangeInclusive<u32> {
        assert!(sectors > 0, "no region holds nothing");
        let (mut first, mut last) = (lba, lba + (sectors - 1));
        // Without parity no division: this is asked for every write.
        if self.row_array_sectors > 1 {
            first = first / self.row_array_sectors * self.row_member_sectors;
            last = last / self.row_array_sectors * self.row_member_sectors
                + (self.row_member_sectors - 1);
        }
        let index = |sector: u64| {
            assert!(sector < self.sync_sectors, "beyond the end of the array");
            let Ok(index) = u32::try_from(sector >> self.shift) else {
                unreachable!("there are fewer regions")
            };
            index
        };
        index(first)..=index(last)
    }

    /// The first array sector that a region concerns.
    #[must_use]
    pub const fn start_lba(&self, region: RegionIndex) -> u64 {
        let sector = (region.0 as u64) << self.shift;
        sector / self.row_member_sectors * self.row_array_sectors
    }

    /// The first array sector behind all that a region concerns.
    #[must_use]
    pub fn end_lba(&self, region: RegionIndex) -> u64 {
        let end = ((u64::from(region.0) + 1) << self.shift).min(self.sync_sectors);
        end.div_ceil(self.row_member_sectors) * self.row_array_sectors
    }

    /// The first array sector from `lba` on that some region of the set concerns.
    ///
    /// # Panics
    /// When `lba` lies beyond the array, or the set is of another map.
    #[must_use]
    pub fn next_lba(&self, set: &RegionSet, lba: u64) -> Option<u64> {
        assert_eq!(set.regions, self.regions, "a set of another map");
        let here = self.of_range(lba, 1);
        let next = set.next_from(*here.start())?;
        if next.0 <= *here.end() {
            Some(lba)
        } else {
            Some(self.start_lba(next))
        }
    }
}

impl Geometry {
    /// What md counts in for bitmap and resync: the sectors of a member for RAID 1, 5 and 6 (of a
    /// mirror that is the array), of the array for RAID 10.
    #[must_use]
    pub const fn bitmap_sectors(&self) -> u64 {
        if self.parity_count() > 0 {
            self.member_sectors()
        } else {
            self.capacity_sectors()
        }
    }
}

/// A set of the regions of one array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegionSet {
    regions: u32,
    bits: Box<[u8]>,
}

impl RegionSet {
    /// No region of an array with so many.
    #[must_use]
    pub fn empty(regions: u32) -> Self {
        Self {
            regions,
            bits: vec![0; (regions as usize).div_ceil(8)].into(),
        }
    }

    /// Every region of an array with so many.
    #[must_use]
    pub fn full(regions: u32) -> Self {
        let mut set = Self::empty(regions);
        set.bits.fill(0xff);
        set.drop_surplus();
        set
    }

    /// What a bitmap says. Bits beyond the last region are disregarded; those that are not there are
    /// not set.
    #[must_use]
    pub fn from_bytes(regions: u32, bytes: &[u8]) -> Self {
        let mut set = Self::empty(regions);
        for (own, byte) in set.bits.iter_mut().zip(bytes) {
            *own = *byte;
        }
        set.drop_surplus();
        set
    }

    fn drop_surplus(&mut self) {
        let surplus = self.regions % 8;
        if let Some(last) = self.bits.last_mut().filter(|_| surplus > 0) {
            *last &= (1 << surplus) - 1;
        }
    }

    /// The bits, least significant first, as they lie in the bitmap.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// How many regions the array has.
    #[must_use]
    pub const fn regions(&self) -> u32 {
        self.regions
    }

    /// How many regions are in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether no region is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|&byte| byte == 0)
    }

    /// Whether a region is in the set; one that the array does not have is not.
    #[must_use]
    pub fn contains(&self, region: RegionIndex) -> bool {
        self.bits
            .get(region.place() / 8)
            .is_some_and(|byte| byte & (1 << (region.0 % 8)) != 0)
    }

    /// Adds a region. Returns whether it was not there.
    ///
    /// # Panics
    /// When the array has no such region.
    pub fn insert(&mut self, region: RegionIndex) -> bool {
        assert!(region.0 < self.regions, "no such region");
        let byte = &mut self.bits[region.place() / 8];
        let before = *byte;
        *byte |= 1 << (region.0 % 8);
        *byte != before
    }

    /// Takes a region out. Returns whether it was there.
    ///
    /// # Panics
    /// When the array has no such region.
    pub fn remove(&mut self, region: RegionIndex) -> bool {
        assert!(region.0 < self.regions, "no such region");
        let byte = &mut self.bits[region.place() / 8];
        let before = *byte;
        *byte &= !(1 << (region.0 % 8));
        *byte != before
    }

    /// Adds all of another set of the same array.
    ///
    /// # Panics
    /// When it is of an array with another number of regions.
    pub fn insert_all(&mut self, other: &Self) {
        self.combine(other, |own, other| own | other);
    }

    /// Takes out all of another set of the same array.
    ///
    /// # Panics
    /// As [`Self::insert_all`].
    pub fn remove_all(&mut self, other: &Self) {
        self.combine(other, |own, other| own & !other);
    }

    /// Keeps what is in another set of the same array, too.
    ///
    /// # Panics
    /// As [`Self::insert_all`].
    pub fn retain_all(&mut self, other: &Self) {
        self.combine(other, |own, other| own & other);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(u8, u8) -> u8) {
        assert_eq!(self.regions, other.regions, "sets of different arrays");
        for (own, other) in self.bits.iter_mut().zip(&other.bits) {
            *own = with(*own, *other);
        }
    }

    /// The first region of the set from this one on.
    #[must_use]
    pub fn next_from(&self, first: u32) -> Option<RegionIndex> {
        let place = first as usize / 8;
        let head = *self.bits.get(place)? & (0xff << (first % 8));
        let bytes = std::iter::once(head).chain(self.bits[place + 1..].iter().copied());
        (place..)
            .zip(bytes)
            .find(|(_, byte)| *byte != 0)
            .and_then(|(place, byte)| u32::try_from(place * 8).ok().map(|base| (base, byte)))
            .map(|(base, byte)| RegionIndex(base + byte.trailing_zeros()))
    }

    /// The regions of the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = RegionIndex> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let found = self.next_from(next)?;
            next = found.0 + 1;
            Some(found)
        })
    }
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
