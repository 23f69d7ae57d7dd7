//! CRC-32C of what passes through the redo log: the same as of the crate `crc32c`, and three times as fast
//! where the processor multiplies polynomials in wide vectors.
//!
//! A CRC is the remainder of the message, taken as a polynomial, by that of the CRC. Sixteen bytes with d
//! bits behind them may be replaced by anything that leaves the same remainder: their product with x^d
//! modulo the polynomial, added to the last sixteen of these bits. That is *folding*, and it is done in many
//! lanes of sixteen bytes side by side; what is left in the end is a message of sixteen bytes.
//!
//! Bytes come lowest bit first, so that in a lane the coefficient of the highest power is bit 0. The product
//! of two such words of 64 bits stands one bit too low in its 128, which the keys make up for.

#[cfg(target_arch = "x86_64")]
use crate::simd;

/// Bytes that are folded at a time: four vectors of 64.
pub(crate) const FOLD_BYTES: usize = 256;

/// Bytes of a lane.
pub(crate) const LANE_BYTES: usize = 16;

/// What lanes are multiplied with, for their low and their high word.
pub(crate) struct Keys {
    /// To where they stand in the next [`FOLD_BYTES`].
    pub(crate) by_step: [u64; 2],
    /// To where they stand in the next vector.
    pub(crate) by_vector: [u64; 2],
    /// From the first three lanes of a vector to the last.
    pub(crate) by_lanes: [[u64; 2]; 3],
}

const KEYS: Keys = Keys {
    by_step: key(FOLD_BYTES),
    by_vector: key(64),
    by_lanes: [key(48), key(32), key(16)],
};

/// The polynomial of CRC-32C without x^32; the highest power is bit 0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Moves a lane on by so many bytes. Its low word has 64 more powers of x than its high one.
const fn key(bytes: usize) -> [u64; 2] {
    [power(8 * bytes + 63), power(8 * bytes - 1)]
}

/// x^n modulo the polynomial, as a word of a lane.
const fn power(n: usize) -> u64 {
    let mut coefficients = 0x8000_0000_u32;
    let mut done = 0;
    while done < n {
        let carry = coefficients & 1;
        coefficients = (coefficients >> 1) ^ (carry * POLYNOMIAL);
        done += 1;
    }
    (coefficients as u64) << 32
}

/// CRC-32C of bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(remainder) = simd::fold(bytes, &KEYS) {
        let (_, rest) = bytes.split_at(bytes.len() / FOLD_BYTES * FOLD_BYTES);
        // What the CRC begins with is in the remainder already: it goes on from the state 0.
        let folded = crc32c::crc32c_append(u32::MAX, &remainder);
        return crc32c::crc32c_append(folded, rest);
    }
    crc32c::crc32c(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_is_that_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn it_is_the_same_as_that_of_the_crate(
            bytes in prop::collection::vec(any::<u8>(), 0..5000),
            from in 0..100_usize,
        ) {
            let bytes = &bytes[from.min(bytes.len())..];
            prop_assert_eq!(crc32c(bytes), crc32c::crc32c(bytes));
        }
    }
}
