//! The checksum of contents in the redo log: NH, as in UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway,
//! CRYPTO '99), with 32-bit words and without its zero factors.
//!
//! Content is a row of words of 64 bits, little endian. A key as long as the longest content is added to it,
//! in halves of 32 bits, without a carry between them; with x the lower half of such a sum and y the upper
//! one, each word counts as x·y + x + 2^32·y, and the checksum is the sum of all, modulo 2^64. That is
//! (2^32 + x)·(1 + y) - 2^32: no factor can be zero.
//!
//! * Whatever two different contents of one length are: at most one key in 2^32 gives both the same checksum.
//!   The key is a constant that knows nothing of what is written, nor does that of the key.
//! * Contents that differ in one aligned word of 32 bits only never have the same checksum.
//! * The length is not in it: a log entry has it beside the checksum.
//!
//! Why: of two words that differ, say that their X = 2^32 + x do, X and X'. All of the key be given but what
//! is added to the upper halves. Two values of it, t apart, that made the sums of both contents equal would
//! give X·t = X'·t or X·t = X'·(t - 2^32), modulo 2^64. |X - X'|·t is less than 2^64, and not 0; and
//! X·t + X'·(2^32 - t) is 2^64 only if X and X' are both 2^32. If only the upper halves differ, the same is
//! said of y. If only one of the halves of one word differs, the other factor is the same, and not zero.
//!
//! A multiplication for eight bytes is all that it takes: 200 GB/s from L2, where a CRC-32C folded in vectors
//! of 64 bytes came to 67 (Zen 5); and no processor lacks the instructions.
//!
//! Budget (`corebench stages checksum`): 80 ns, 2400 instructions.

use crate::parity::Kernel;
use crate::stripe::SLICE_SECTORS_MAX;

/// The longest content: a slice.
pub const CONTENT_BYTES_MAX: usize = SLICE_SECTORS_MAX as usize * 512;

/// Bytes of a word of content.
const WORD_BYTES: usize = 8;

/// The key, as bytes: vectors of it are loaded like those of content.
#[repr(align(64))]
pub(crate) struct Key(pub(crate) [u8; CONTENT_BYTES_MAX]);

/// Words of SplitMix64 (Steele, Lea, Flood 2014) from the first digits of pi. It is part of the format.
pub(crate) static KEY: Key = {
    let mut key = [0; CONTENT_BYTES_MAX];
    let mut state = 0x243f_6a88_85a3_08d3_u64;
    let mut at = 0;
    while at < key.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let bytes = word.to_le_bytes();
        let mut byte = 0;
        while byte < WORD_BYTES {
            key[at + byte] = bytes[byte];
            byte += 1;
        }
        at += WORD_BYTES;
    }
    Key(key)
};

/// The checksum of a content.
///
/// # Panics
/// When it is longer than [`CONTENT_BYTES_MAX`], or no whole words.
#[must_use]
pub fn nh(content: &[u8]) -> u64 {
    Kernel::best().nh(content)
}

impl Kernel {
    /// [`nh`] by this kernel.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn nh(self, content: &[u8]) -> u64 {
        self.checksum(content, key(content.len()))
    }
}

/// The key of contents that are so long.
pub(crate) fn key(bytes: usize) -> &'static [u8] {
    assert!(bytes <= CONTENT_BYTES_MAX, "content of one slice");
    assert!(bytes.is_multiple_of(WORD_BYTES), "whole words");
    &KEY.0[..bytes]
}

/// The same, portable.
pub(crate) fn portable(content: &[u8], key: &[u8]) -> u64 {
    let (words, _) = content.as_chunks::<WORD_BYTES>();
    let (keys, _) = key.as_chunks::<WORD_BYTES>();
    let counted = words.iter().zip(keys).map(|(word, key)| {
        let ((low, high), (low_key, high_key)) = (halves(*word), halves(*key));
        let x = u64::from(low.wrapping_add(low_key));
        let y = u64::from(high.wrapping_add(high_key));
        (x * y).wrapping_add(x | y << 32)
    });
    counted.fold(0, u64::wrapping_add)
}

const fn halves([a, b, c, d, e, f, g, h]: [u8; WORD_BYTES]) -> (u32, u32) {
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The words of a content, counted as the module says.
    fn as_the_module_says(content: &[u8]) -> u64 {
        let half = |bytes: &[u8], at: usize| {
            u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
        };
        let sum = (0..content.len()).step_by(8).fold(0_u128, |sum, at| {
            let keyed = |at| (half(content, at) + half(&KEY.0, at)) & 0xffff_ffff;
            let (x, y) = (u128::from(keyed(at)), u128::from(keyed(at + 4)));
            sum + ((1 << 32) + x) * (1 + y) - (1 << 32)
        });
        u64::try_from(sum % (1 << 64)).unwrap()
    }

    /// On disks lie sums of earlier programs. The values are of a program written for this, not of this code.
    #[test]
    fn the_key_and_the_sums_are_for_ever() {
        assert_eq!(crc32c::crc32c(&KEY.0), 0x0f4f_8882);
        assert_eq!(nh(&[0; CONTENT_BYTES_MAX]), 0xcf7e_1899_11a9_f883);
        assert_eq!(nh(&[0xa5; 512]), 0x50f8_0ddd_15cd_3345);
        let content: Vec<u8> = (0..512_u32).map(|at| (at * 7).to_le_bytes()[0]).collect();
        assert_eq!(nh(&content), 0x5b73_5191_5e75_6882);
        assert_eq!(nh(&[]), 0);
    }

    #[test]
    #[should_panic(expected = "content of one slice")]
    fn what_is_longer_than_the_key_has_none() {
        let _ = nh(&[0; CONTENT_BYTES_MAX + 8]);
    }

    #[test]
    #[should_panic(expected = "whole words")]
    fn what_is_no_whole_words_has_none() {
        let _ = nh(&[0; 511]);
    }

    /// Sectors of small numbers, as of file systems, and what is like them: no two have one checksum.
    #[test]
    fn contents_that_are_much_alike_have_different_sums() {
        let mut sums = std::collections::HashSet::new();
        let mut count = 0;
        for word in (0..512).step_by(4) {
            for value in (1..100_u32).chain([u32::MAX, 1 << 31]) {
                let mut content = [0; 512];
                content[word..word + 4].copy_from_slice(&value.to_le_bytes());
                sums.insert(nh(&content));
                count += 1;
            }
        }
        for byte in 0..=255 {
            sums.insert(nh(&[byte; 512]));
            count += 1;
        }
        assert_eq!(sums.len(), count);
    }

    proptest! {
        #[test]
        fn every_kernel_counts_as_the_module_says(
            words in prop::collection::vec(any::<[u8; 8]>(), 0..=1024),
            from in 0..20_usize,
        ) {
            let content = words.as_flattened();
            let content = &content[(8 * from).min(content.len())..];
            for kernel in Kernel::available() {
                prop_assert_eq!(kernel.nh(content), as_the_module_says(content), "{:?}", kernel);
            }
        }

        #[test]
        fn a_word_that_changes_changes_the_sum(
            mut words in prop::collection::vec(any::<u32>(), 128),
            place in 0..128_usize,
            value in any::<u32>(),
            zero_x in any::<bool>(),
        ) {
            let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
            if zero_x {
                // The other half of the word of 64 bits and its key are 0 together: a plain product would be.
                let other = place ^ 1;
                let key = u32::from_le_bytes(KEY.0[4 * other..4 * other + 4].try_into().unwrap());
                words[other] = key.wrapping_neg();
            }
            let before = nh(&bytes(&words));
            let is_other = std::mem::replace(&mut words[place], value) != value;
            prop_assert_eq!(nh(&bytes(&words)) != before, is_other);
        }
    }
}
