//! What a drive reads and writes at once, in sectors of 512 bytes.
//!
//! Everything in the shelf counts sectors of 512 bytes, as initiators do. A drive whose own sectors have 4096
//! bytes (4Kn) takes only multiples of eight of them, at multiples of eight. What is to be done on such a
//! drive is *widened*: to the units that it touches.
//!
//! Invariants:
//! * every unit is a power of two, and divides every chunk;
//! * what was widened is aligned, holds what it was, and adds less than a unit at either end.

use crate::geometry::CHUNK_SECTORS_MIN;
use crate::stripe::{SLICE_SECTORS_MAX, SectorMask, hull, sector_mask};

/// Bytes of a sector.
const SECTOR_BYTES: u32 = 512;

/// Sectors that a drive reads and writes at once: 1, or 8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Unit(UnitSectors);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
enum UnitSectors {
    #[default]
    One = 1,
    Eight = 8,
}

const _: () = assert!(CHUNK_SECTORS_MIN == Unit::BLOCK.sectors() && SLICE_SECTORS_MAX == 16);

impl Unit {
    /// A sector of 512 bytes.
    pub const SECTOR: Self = Self(UnitSectors::One);

    /// Eight of them: 4096 bytes.
    pub const BLOCK: Self = Self(UnitSectors::Eight);

    /// That of a drive with logical sectors of so many bytes; `None` for sizes that are not served.
    #[must_use]
    pub const fn of_sector_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(Self::SECTOR),
            4096 => Some(Self::BLOCK),
            _ => None,
        }
    }

    /// How many sectors of 512 bytes it is.
    #[must_use]
    pub const fn sectors(self) -> u32 {
        self.0 as u32
    }

    /// How many bytes it is.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.sectors() * SECTOR_BYTES
    }

    /// Whether a number of sectors is a multiple of it.
    #[must_use]
    pub fn divides(self, sectors: u64) -> bool {
        sectors.is_multiple_of(u64::from(self.sectors()))
    }

    /// The last multiple of it that is not behind a sector.
    #[must_use]
    pub const fn floor(self, sector: u64) -> u64 {
        sector & !(self.sectors() as u64 - 1)
    }

    /// Widens a range: its first sector, and how many it is.
    #[must_use]
    pub fn around(self, sector: u64, sectors: u32) -> (u64, u32) {
        let start = self.floor(sector);
        // Less than a unit.
        let before = u32::try_from(sector - start).unwrap_or(0);
        (start, (before + sectors).next_multiple_of(self.sectors()))
    }

    /// Widens the run from the first to the last sector of a mask. Slices hold whole units.
    #[must_use]
    pub fn around_mask(self, mask: SectorMask) -> SectorMask {
        let mask = hull(mask);
        if mask == 0 || self == Self::SECTOR {
            return mask;
        }
        let (start, sectors) = self.around(u64::from(mask.trailing_zeros()), mask.count_ones());
        sector_mask(u32::try_from(start).unwrap_or(0), sectors)
    }

    /// The sectors of the first unit that a mask has something of.
    #[must_use]
    pub fn first_of(self, mask: SectorMask) -> SectorMask {
        mask & self.around_mask(mask & mask.wrapping_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_that_are_served() {
        assert_eq!(Unit::of_sector_bytes(512), Some(Unit::SECTOR));
        assert_eq!(Unit::of_sector_bytes(4096), Some(Unit::BLOCK));
        for bytes in [0, 520, 1024, 4160, 8192, 65536] {
            assert_eq!(Unit::of_sector_bytes(bytes), None, "{bytes}");
        }
        assert_eq!((Unit::SECTOR.bytes(), Unit::BLOCK.bytes()), (512, 4096));
        assert_eq!(Unit::default(), Unit::SECTOR);
        assert!(Unit::BLOCK > Unit::SECTOR);
    }

    #[test]
    fn a_frame_at_mtu_9000_becomes_24_sectors_at_most() {
        let widest = (0..8).map(|lba| Unit::BLOCK.around(lba, 17).1).max();
        assert_eq!(widest, Some(24));
        assert_eq!(Unit::BLOCK.around(7, 17), (0, 24));
        assert_eq!(Unit::BLOCK.around(16, 8), (16, 8));
    }

    #[test]
    fn masks_are_widened_within_the_slice() {
        let widened = [0, 1, 0x80, 0x100, 0x180, 0x8001].map(|mask| Unit::BLOCK.around_mask(mask));
        assert_eq!(widened, [0, 0xff, 0xff, 0xff00, 0xffff, 0xffff]);
        assert_eq!(Unit::SECTOR.around_mask(0b1010), 0b1110);
        assert_eq!(Unit::SECTOR.first_of(0b1010), 0b10);
        let firsts = [0, 0x8000, 0xffff, 0xff00].map(|mask| Unit::BLOCK.first_of(mask));
        assert_eq!(firsts, [0, 0x8000, 0xff, 0xff00]);
    }

    proptest! {
        #[test]
        fn what_is_widened_is_aligned_and_no_longer_than_needed(
            lba in 0_u64..1 << 48,
            sectors in 1_u32..=24,
            is_block: bool,
        ) {
            let unit = if is_block { Unit::BLOCK } else { Unit::SECTOR };
            let (start, count) = unit.around(lba, sectors);
            prop_assert!(unit.divides(start) && unit.divides(count.into()));
            let (end, widened_end) = (lba + u64::from(sectors), start + u64::from(count));
            prop_assert!(start <= lba && end <= widened_end);
            let size = u64::from(unit.sectors());
            prop_assert!(lba - start < size && widened_end - end < size);
        }
    }
}
