//! Self-describing sectors: each one says where it belongs, which run wrote it and how often that
//! run had written it before.
//!
//! ```text
//!   0 magic          8 LBA            16 run          24 generation   28 block sectors   30 zero
//!  32 pattern that follows from LBA, run and generation              508 CRC-32C of 0..508
//! ```
//!
//! All numbers are little-endian. *Block sectors* is the size of the writes of the run; writes begin
//! at multiples of it, so a reader knows which neighbours were written together. The pattern makes
//! sectors differ from one another in most of their bytes: half of one and half of another cannot
//! pass for either.

use crate::model::Generation;
use aoe::SECTOR_BYTES;

/// Marks a sector as ours. Chosen at random; no file system begins a sector with it.
const MAGIC: u64 = 0x5ee1_9c4d_aa27_f0b3;

const PATTERN_START: usize = 32;
const CRC_START: usize = SECTOR_BYTES - size_of::<u32>();

/// Which run wrote a sector. Runs must differ in it: the time of their start will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunId(pub u64);

/// What a sector says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The sector's address.
    pub lba: u64,
    /// The run that wrote it.
    pub run: RunId,
    /// How many writes of the run to this block there had been, this one included.
    pub generation: Generation,
    /// Sectors that the run wrote at once.
    pub block_sectors: u16,
}

/// Why a sector tells nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectorFault {
    /// No stamp: never written by a verifying run.
    Unstamped,
    /// A stamp with a wrong checksum: torn inside the sector, or damaged.
    Corrupt,
}

impl Stamp {
    /// Fills a sector.
    pub fn write(&self, sector: &mut [u8; SECTOR_BYTES]) {
        put(sector, 0, &MAGIC.to_le_bytes());
        put(sector, 8, &self.lba.to_le_bytes());
        put(sector, 16, &self.run.0.to_le_bytes());
        put(sector, 24, &self.generation.0.to_le_bytes());
        put(sector, 28, &self.block_sectors.to_le_bytes());
        put(sector, 30, &[0; 2]);
        let seed = self.run.0 ^ self.lba.rotate_left(20) ^ (u64::from(self.generation.0) << 40);
        let (words, last) = sector[PATTERN_START..CRC_START].as_chunks_mut::<8>();
        for (word, index) in words.iter_mut().zip(0..) {
            *word = spread(seed.wrapping_add(index)).to_le_bytes();
        }
        last.fill(0);
        let crc = crc32c::crc32c(&sector[..CRC_START]);
        put(sector, CRC_START, &crc.to_le_bytes());
    }

    /// Reads the stamp of a sector.
    ///
    /// # Errors
    /// The sector has no stamp, or one whose checksum is wrong.
    pub fn read(sector: &[u8; SECTOR_BYTES]) -> Result<Self, SectorFault> {
        if u64::from_le_bytes(get(sector, 0)) != MAGIC {
            return Err(SectorFault::Unstamped);
        }
        let crc = u32::from_le_bytes(get(sector, CRC_START));
        if crc32c::crc32c(&sector[..CRC_START]) != crc {
            return Err(SectorFault::Corrupt);
        }
        Ok(Self {
            lba: u64::from_le_bytes(get(sector, 8)),
            run: RunId(u64::from_le_bytes(get(sector, 16))),
            generation: Generation(u32::from_le_bytes(get(sector, 24))),
            block_sectors: u16::from_le_bytes(get(sector, 28)),
        })
    }

    /// Whether the sector after this one belongs to the same write of a run.
    #[must_use]
    pub fn is_written_with_next(&self) -> bool {
        self.block_sectors > 1
            && !self
                .lba
                .wrapping_add(1)
                .is_multiple_of(self.block_sectors.into())
    }
}

/// Fills `data`, whose length is a multiple of 512, as one write of `first` and its neighbours.
pub fn write_block(first: Stamp, data: &mut [u8]) {
    let (sectors, _) = data.as_chunks_mut::<SECTOR_BYTES>();
    for (sector, lba) in sectors.iter_mut().zip(first.lba..) {
        Stamp { lba, ..first }.write(sector);
    }
}

/// Spreads the bits of a number over a word (one round of multiply and fold).
const fn spread(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn put(sector: &mut [u8; SECTOR_BYTES], start: usize, bytes: &[u8]) {
    sector[start..start + bytes.len()].copy_from_slice(bytes);
}

fn get<const N: usize>(sector: &[u8; SECTOR_BYTES], start: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&sector[start..start + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn stamp()(lba in any::<u64>(), run in any::<u64>(), generation in any::<u32>(), block_sectors in any::<u16>()) -> Stamp {
            Stamp { lba, run: RunId(run), generation: Generation(generation), block_sectors }
        }
    }

    fn sector(stamp: Stamp) -> [u8; 512] {
        let mut sector = [0xee; 512];
        stamp.write(&mut sector);
        sector
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(stamp in stamp()) {
            prop_assert_eq!(Stamp::read(&sector(stamp)), Ok(stamp));
        }

        #[test]
        fn one_changed_byte_never_passes(stamp in stamp(), index in 0usize..512, change in 1u8..) {
            let mut bytes = sector(stamp);
            bytes[index] ^= change;
            let fault = if index < 8 { SectorFault::Unstamped } else { SectorFault::Corrupt };
            prop_assert_eq!(Stamp::read(&bytes), Err(fault));
        }

        #[test]
        fn a_mix_of_two_generations_never_passes(stamp in stamp(), cut in 28usize..508) {
            let mut bytes = sector(stamp);
            let newer = Generation(stamp.generation.0.wrapping_add(1));
            let other = sector(Stamp { generation: newer, ..stamp });
            bytes[cut..].copy_from_slice(&other[cut..]);
            prop_assert_eq!(Stamp::read(&bytes), Err(SectorFault::Corrupt));
        }
    }

    #[test]
    fn a_block_is_stamped_sector_by_sector() {
        let first = Stamp {
            lba: 32,
            run: RunId(5),
            generation: Generation(3),
            block_sectors: 16,
        };
        let mut data = vec![0; 8192];
        write_block(first, &mut data);
        let (sectors, _) = data.as_chunks::<512>();
        for (index, sector) in sectors.iter().enumerate() {
            let stamp = Stamp::read(sector).unwrap();
            assert_eq!(stamp.lba, 32 + index as u64);
            assert_eq!(stamp.is_written_with_next(), index != 15);
        }
    }
}
