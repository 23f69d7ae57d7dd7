//! What clients write: sectors that say where they belong and which write they come from, in every
//! byte, so that a mixture of two writes never passes for either.
//!
//! ```text
//! word 0: MARK ^ LBA    1: value    2..62: follow from LBA and value    63: END_MARK ^ LBA
//! ```

use crate::random::mix;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

const MARK: u64 = 0x7369_6d5f_9d3c_1b47;
const END_MARK: u64 = 0x656e_645f_44a1_c2e9;
const WORDS: usize = SECTOR / 8;
/// No LUN of a simulation has as many sectors.
const LBA_END: u64 = 1 << 32;

/// What a sector holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// The sector of this LBA as the write with this number left it.
    Written(u64),
    /// What was there before anybody wrote, by its hash.
    Initial(u64),
    /// The sector of another LBA, or a mixture.
    Wrong,
}

/// Fills sectors from `lba` on with what write number `value` puts there.
pub fn fill(lba: u64, value: u64, data: &mut [u8]) {
    for (sector, lba) in data.as_chunks_mut::<SECTOR>().0.iter_mut().zip(lba..) {
        for (word, index) in sector.as_chunks_mut::<8>().0.iter_mut().zip(0..) {
            *word = word_of(lba, value, index).to_le_bytes();
        }
    }
}

/// Reads the sector that a target gave for `lba`.
#[must_use]
pub fn read(lba: u64, sector: &[u8; SECTOR]) -> Content {
    let words = sector.as_chunks::<8>().0;
    let word = |index: usize| u64::from_le_bytes(words[index]);
    let is_marked = word(0) ^ MARK < LBA_END || word(WORDS - 1) ^ END_MARK < LBA_END;
    if !is_marked {
        return Content::Initial(hash(sector));
    }
    let value = word(1);
    let matches = (0..WORDS).all(|index| word(index) == word_of(lba, value, index));
    if matches {
        Content::Written(value)
    } else {
        Content::Wrong
    }
}

/// A hash of some bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    words.iter().fold(bytes.len() as u64, |hash, word| {
        mix(hash.rotate_left(5) ^ u64::from_le_bytes(*word))
    })
}

fn word_of(lba: u64, value: u64, index: usize) -> u64 {
    match index {
        0 => MARK ^ lba,
        1 => value,
        63 => END_MARK ^ lba,
        _ => {
            let step = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mix(value.rotate_left(24) ^ lba).wrapping_add(step)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_tells_its_write_and_no_mixture_passes() {
        let (mut old, mut new) = ([0; SECTOR], [0; SECTOR]);
        fill(77, 5, &mut old);
        fill(77, 6, &mut new);
        assert_eq!(read(77, &old), Content::Written(5));
        assert_eq!(read(78, &old), Content::Wrong);
        for cut in 1..SECTOR {
            let mut mixed = old;
            mixed[cut..].copy_from_slice(&new[cut..]);
            let found = read(77, &mixed);
            assert!(
                found == Content::Wrong || mixed == old || mixed == new,
                "{cut}"
            );
        }
        assert!(matches!(read(77, &[0; SECTOR]), Content::Initial(_)));
    }
}
