//! md's write-intent bitmap, version 4: which regions of an array may differ after a crash.
//!
//! ```text
//!   0 magic "bitm"   4 version   8 set UUID   24 events   32 events cleared   40 sync size
//!  48 state   52 chunk bytes   56 daemon sleep   60 write behind   64 sectors reserved   68 nodes
//! 256 one bit a region, least significant first
//! ```
//!
//! Invariants:
//! * a bit is durable on every member in use before any sector of its region is written, and stays
//!   until the region is known to agree again, and while a member is missing;
//! * a bitmap whose event count is behind that of the superblock beside it is stale: it knows nothing
//!   of the last writes. So it is written before the superblocks are;
//! * `events_cleared` follows the event count while no member is missing: a member that has missed
//!   nothing before lacks only what the bits say.
//!
//! It is written and read in pages of 4 KiB; header and first bits share one.
//!
//! Source: md v1.2 write-intent bitmap. Versions 5 (clustered) and 6 (lockless, Linux 6.18 and later)
//! are refused: what their bits mean is another thing.

use crate::Geometry;
use crate::regions::{RegionIndex, RegionMap, RegionSet};
use std::collections::BTreeSet;
use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header; bits follow.
pub const HEADER_BYTES: usize = 256;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// Sectors of a page.
pub const PAGE_SECTORS: u64 = 8;

const MAGIC: [u8; 4] = *b"bitm";
const VERSION: u32 = 4;
/// As version 4 on little-endian machines, where all of md's bitmaps that we meet come from.
const VERSION_HOST_ENDIAN: u32 = 3;

/// Bits of the state word.
const STATE_STALE: u32 = 1 << 1;

/// Seconds between md's sweeps; its default.
const DAEMON_SLEEP_SECONDS: u32 = 5;

/// Most writes that md lets run behind.
const WRITE_BEHIND_MAX: u32 = 16_383;

/// Smallest region that md takes.
const CHUNK_BYTES_MIN: u32 = 512;

/// Exponents of the smallest regions that we choose, in sectors: 64 MiB where there is room for many
/// bits, as mdadm does, and 64 KiB on small members.
const LARGE_SHIFT: u32 = 17;
const SMALL_SHIFT: u32 = 7;

/// Exponent of the largest region: 2 GiB, the largest power of two that the header can tell.
const SHIFT_MAX: u32 = 22;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    version: U32,
    set_uuid: [u8; 16],
    events: U64,
    events_cleared: U64,
    sync_sectors: U64,
    state: U32,
    chunk_bytes: U32,
    daemon_sleep_seconds: U32,
    write_behind: U32,
    sectors_reserved: U32,
    nodes: U32,
    cluster_name: [u8; 64],
    pad: [u8; 120],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RawHeader>() == HEADER_BYTES);
    assert!(offset_of!(RawHeader, events) == 24);
    assert!(offset_of!(RawHeader, sync_sectors) == 40);
    assert!(offset_of!(RawHeader, chunk_bytes) == 52);
    assert!(offset_of!(RawHeader, sectors_reserved) == 64);
    assert!(offset_of!(RawHeader, cluster_name) == 72);
};

/// Why there is no bitmap to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BitmapError {
    /// No bitmap is here.
    #[error("no write-intent bitmap where the md superblock says that one is")]
    Magic,
    /// A version whose bits mean another thing.
    #[error(
        "write-intent bitmap of version {0}; this version reads 3 and 4: on Linux, mdadm --grow \
         --bitmap=none and then --bitmap=internal makes one of version 4"
    )]
    Version(u32),
    /// Of another array.
    #[error("write-intent bitmap of another array ({0})")]
    OtherSet(Uuid),
    /// A number in the header that md would not take.
    #[error("damaged write-intent bitmap: {what} is {value}")]
    Damaged {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u64,
    },
    /// Of an array of another size.
    #[error("write-intent bitmap for {found} sectors; the array has {expected}")]
    SyncSectors {
        /// As stored.
        found: u64,
        /// What the array has.
        expected: u64,
    },
    /// Its bits do not fit before the data, or are more than this version keeps in memory.
    #[error("write-intent bitmap with regions of {0} bytes is too long")]
    TooLong(u32),
}

impl BitmapError {
    /// Whether an array with such a bitmap must be left alone. Otherwise it is as if every bit was set.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Version(_) | Self::TooLong(_))
    }
}

/// The bitmap of an array, as it is to be on every member.
#[derive(Clone, Debug)]
pub struct Bitmap {
    raw: RawHeader,
    map: RegionMap,
    set: RegionSet,
    /// Pages that were changed and not taken by [`Self::take_changed`].
    changed: BTreeSet<usize>,
}

impl Bitmap {
    /// A bitmap without any bit set for an array whose members have `room_sectors` for it. `None` when
    /// even the largest regions need more.
    #[must_use]
    pub fn new(set_uuid: Uuid, geometry: &Geometry, room_sectors: u64) -> Option<Self> {
        let smallest = if room_sectors > PAGE_SECTORS {
            LARGE_SHIFT
        } else {
            SMALL_SHIFT
        };
        let fits = |map: &RegionMap| pages(map) as u64 * PAGE_SECTORS <= room_sectors;
        let (shift, map) = (smallest..=SHIFT_MAX)
            .filter_map(|shift| Some((shift, RegionMap::new(geometry, shift)?)))
            .find(|(_, map)| fits(map))?;
        let mut raw = RawHeader::new_zeroed();
        raw.magic = MAGIC;
        raw.version = U32::new(VERSION);
        raw.set_uuid = set_uuid.into_bytes();
        raw.sync_sectors = U64::new(geometry.bitmap_sectors());
        raw.chunk_bytes = U32::new(512 << shift);
        raw.daemon_sleep_seconds = U32::new(DAEMON_SLEEP_SECONDS);
        raw.sectors_reserved = U32::new(u32::try_from(room_sectors).unwrap_or(0));
        Some(Self {
            raw,
            map,
            set: RegionSet::empty(map.regions()),
            changed: (0..pages(&map)).collect(),
        })
    }

    /// Bytes to read for [`Self::decode`], from the header in the first [`HEADER_BYTES`] of a bitmap.
    ///
    /// # Errors
    /// When there is no bitmap of the array, or none that this version can use in `room_sectors`.
    pub fn length_bytes(
        header: &[u8],
        set_uuid: Uuid,
        geometry: &Geometry,
        room_sectors: u64,
    ) -> Result<usize, BitmapError> {
        check(header, set_uuid, geometry, room_sectors).map(|(_, map)| pages(&map) * PAGE_BYTES)
    }

    /// Reads a bitmap. Bits that are not in `bytes` are taken as not set.
    ///
    /// # Errors
    /// As [`Self::length_bytes`].
    pub fn decode(
        bytes: &[u8],
        set_uuid: Uuid,
        geometry: &Geometry,
        room_sectors: u64,
    ) -> Result<Self, BitmapError> {
        let (mut raw, map) = check(bytes, set_uuid, geometry, room_sectors)?;
        raw.version = U32::new(VERSION);
        let bits = bytes.get(HEADER_BYTES..).unwrap_or_default();
        Ok(Self {
            raw,
            map,
            set: RegionSet::from_bytes(map.regions(), bits),
            changed: BTreeSet::new(),
        })
    }

    /// How the array falls into regions.
    #[must_use]
    pub const fn map(&self) -> &RegionMap {
        &self.map
    }

    /// The regions whose bits are set.
    #[must_use]
    pub const fn set(&self) -> &RegionSet {
        &self.set
    }

    /// Event count of the superblocks that it is good for.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.raw.events.get()
    }

    /// Event count up to which a member may be behind and yet lack no more than the bits say.
    #[must_use]
    pub const fn events_cleared(&self) -> u64 {
        self.raw.events_cleared.get()
    }

    /// Whether it knows of all writes under superblocks with this event count.
    #[must_use]
    pub const fn is_current(&self, superblock_events: u64) -> bool {
        self.raw.state.get() & STATE_STALE == 0 && self.raw.events.get() >= superblock_events
    }

    /// Makes it good for superblocks with this event count.
    pub fn set_events(&mut self, events: u64) {
        if self.raw.events.get() != events || self.raw.state.get() & STATE_STALE != 0 {
            self.raw.events = U64::new(events);
            self.raw.state = U32::new(self.raw.state.get() & !STATE_STALE);
            self.changed.insert(0);
        }
    }

    /// Says that no member was missing at this event count.
    pub fn set_events_cleared(&mut self, events: u64) {
        if self.raw.events_cleared.get() != events {
            self.raw.events_cleared = U64::new(events);
            self.changed.insert(0);
        }
    }

    /// Sets a bit. Returns whether it was not set.
    ///
    /// # Panics
    /// When the array has no such region.
    pub fn insert(&mut self, region: RegionIndex) -> bool {
        let is_new = self.set.insert(region);
        if is_new {
            self.changed.insert(page_of(region));
        }
        is_new
    }

    /// Clears a bit.
    ///
    /// # Panics
    /// When the array has no such region.
    pub fn remove(&mut self, region: RegionIndex) {
        if self.set.remove(region) {
            self.changed.insert(page_of(region));
        }
    }

    /// Makes these the regions whose bits are set.
    ///
    /// # Panics
    /// When the set is of an array with another number of regions.
    pub fn replace(&mut self, set: &RegionSet) {
        let mut gone = self.set.clone();
        gone.remove_all(set);
        for region in gone.iter() {
            self.remove(region);
        }
        for region in set.iter() {
            self.insert(region);
        }
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        pages(&self.map)
    }

    /// The bytes of a page.
    ///
    /// # Panics
    /// When there is no such page.
    #[must_use]
    pub fn page(&self, page: usize) -> [u8; PAGE_BYTES] {
        assert!(page < self.pages(), "no such page");
        let mut bytes = [0; PAGE_BYTES];
        let (header, bits) = if page == 0 {
            bytes[..HEADER_BYTES].copy_from_slice(self.raw.as_bytes());
            (HEADER_BYTES, self.set.as_bytes())
        } else {
            let before = page * PAGE_BYTES - HEADER_BYTES;
            (0, &self.set.as_bytes()[before..])
        };
        let count = bits.len().min(PAGE_BYTES - header);
        bytes[header..header + count].copy_from_slice(&bits[..count]);
        bytes
    }

    /// The pages that were changed since this was asked last, in order: the header comes first, so
    /// that no bit is cleared before it says since when.
    pub fn take_changed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }
}

/// Pages that header and bits take.
const fn pages(map: &RegionMap) -> usize {
    (HEADER_BYTES + (map.regions() as usize).div_ceil(8)).div_ceil(PAGE_BYTES)
}

const fn page_of(region: RegionIndex) -> usize {
    (HEADER_BYTES + region.0 as usize / 8) / PAGE_BYTES
}

/// Judges a header, as md does; the event counts are not judged here.
fn check(
    bytes: &[u8],
    set_uuid: Uuid,
    geometry: &Geometry,
    room_sectors: u64,
) -> Result<(RawHeader, RegionMap), BitmapError> {
    let Ok((raw, _)) = RawHeader::read_from_prefix(bytes) else {
        return Err(BitmapError::Magic);
    };
    if raw.magic != MAGIC {
        return Err(BitmapError::Magic);
    }
    if !(VERSION_HOST_ENDIAN..=VERSION).contains(&raw.version.get()) {
        return Err(BitmapError::Version(raw.version.get()));
    }
    if raw.set_uuid != set_uuid.into_bytes() {
        return Err(BitmapError::OtherSet(Uuid::from_bytes(raw.set_uuid)));
    }
    let chunk_bytes = raw.chunk_bytes.get();
    let damaged = |what, value: u32| {
        let value = u64::from(value);
        Err(BitmapError::Damaged { what, value })
    };
    if !chunk_bytes.is_power_of_two() || chunk_bytes < CHUNK_BYTES_MIN {
        return damaged("the size of a region", chunk_bytes);
    }
    // The same bounds as md's: one second up, and what a timer can hold.
    let sleep = raw.daemon_sleep_seconds.get();
    if sleep == 0 || sleep > i32::MAX.unsigned_abs() {
        return damaged("the time between sweeps", sleep);
    }
    if raw.write_behind.get() > WRITE_BEHIND_MAX {
        return damaged("the number of writes behind", raw.write_behind.get());
    }
    let (found, expected) = (raw.sync_sectors.get(), geometry.bitmap_sectors());
    if found != expected {
        return Err(BitmapError::SyncSectors { found, expected });
    }
    let shift = (chunk_bytes / CHUNK_BYTES_MIN).trailing_zeros();
    RegionMap::new(geometry, shift)
        .filter(|map| pages(map) as u64 * PAGE_SECTORS <= room_sectors)
        .map(|map| (raw, map))
        .ok_or(BitmapError::TooLong(chunk_bytes))
}

#[cfg(test)]
#[path = "bitmap_tests.rs"]
mod tests;
