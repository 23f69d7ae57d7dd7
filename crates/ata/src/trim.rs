//! DATA SET MANAGEMENT with the TRIM bit: the ranges that come with it (ACS, conformance row 103).
//!
//! The data are blocks of 512 bytes, each of [`ENTRIES_PER_BLOCK`] entries of eight bytes, little-endian: the
//! first sector in the lower 48 bits, the number of sectors in the upper 16. Entries without sectors say
//! nothing.

/// The feature register: TRIM.
pub const FEATURE: u8 = 0x01;

/// Entries of a block.
pub const ENTRIES_PER_BLOCK: usize = 64;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 8;

/// Most blocks of a command (word 105): what a frame carries at the smallest MTU that is served, so that it
/// is the same on every port. A command concerns 4 GiB at most.
pub const BLOCKS_MAX: u8 = 2;

/// Most entries of a command.
pub const ENTRIES_MAX: usize = BLOCKS_MAX as usize * ENTRIES_PER_BLOCK;

/// One range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// First sector.
    pub lba: u64,
    /// Sectors; 0 says nothing.
    pub sectors: u16,
}

impl Entry {
    /// Decodes one.
    #[must_use]
    pub const fn decode(bytes: [u8; ENTRY_BYTES]) -> Self {
        let [l0, l1, l2, l3, l4, l5, s0, s1] = bytes;
        Self {
            lba: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, 0, 0]),
            sectors: u16::from_le_bytes([s0, s1]),
        }
    }

    /// Encodes it; of the address the lower 48 bits.
    #[must_use]
    pub const fn encode(self) -> [u8; ENTRY_BYTES] {
        let [l0, l1, l2, l3, l4, l5, _, _] = self.lba.to_le_bytes();
        let [s0, s1] = self.sectors.to_le_bytes();
        [l0, l1, l2, l3, l4, l5, s0, s1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_103_entries_are_little_endian() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let entry = Entry::decode(bytes);
        assert_eq!(entry.lba, 0x0605_0403_0201);
        assert_eq!(entry.sectors, 0x0807);
        assert_eq!(entry.encode(), bytes);
        assert_eq!(
            Entry {
                lba: u64::MAX,
                ..entry
            }
            .encode()[..6],
            [0xff; 6]
        );
    }
}
