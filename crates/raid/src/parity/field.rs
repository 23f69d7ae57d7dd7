//! GF(2^8) as md uses it: polynomial 0x11d, generator 2.
//!
//! Addition is XOR. All tables here are computed at compile time.

/// What x^8 is reduced to: the polynomial 0x11d without its highest term.
pub(crate) const REDUCTION: u8 = 0x1d;
/// How many powers of 2 differ, and so how many data blocks a Q can tell apart.
pub(crate) const ORDER: usize = 255;

/// 2^i for i below twice the order, so that a difference of two logarithms needs no reduction.
static POWERS: [u8; 2 * ORDER] = powers();
/// The exponent of each element; that of 0 is not used.
static LOGARITHMS: [u8; 256] = logarithms();
/// What kernels need to multiply by each element.
static FACTORS: [Factor; 256] = factors();

/// Multiplication by one element, in the forms that kernels use.
///
/// Multiplication by a constant is linear in the bits of the other factor. So it is the sum of what
/// the low and the high four bits give, and it is a matrix of 8 × 8 bits.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(crate) struct Factor {
    /// The element.
    pub(crate) value: u8,
    /// Its product with 0..16.
    pub(crate) low: [u8; 16],
    /// Its product with 0x00, 0x10, .. 0xf0.
    pub(crate) high: [u8; 16],
    /// Its bit matrix as `gf2p8affineqb` wants it: the byte 7-i is the row that gives bit i.
    pub(crate) matrix: u64,
}

/// `a` times 2.
pub(crate) const fn double(a: u8) -> u8 {
    let carry = if a & 0x80 == 0 { 0 } else { REDUCTION };
    (a << 1) ^ carry
}

/// 2^`exponent`.
pub(crate) fn power_of_2(exponent: usize) -> u8 {
    POWERS[exponent % ORDER]
}

/// `a` divided by `b`, which must not be 0.
pub(crate) fn divide(a: u8, b: u8) -> u8 {
    assert_ne!(b, 0, "division by 0 in GF(2^8)");
    match a {
        0 => 0,
        _ => POWERS[logarithm(a) + ORDER - logarithm(b)],
    }
}

/// The exponent to which 2 must be raised to give `a`, which must not be 0.
pub(crate) fn logarithm(a: u8) -> usize {
    debug_assert_ne!(a, 0, "0 has no logarithm in GF(2^8)");
    usize::from(LOGARITHMS[usize::from(a)])
}

/// How to multiply by `value`.
pub(crate) fn factor(value: u8) -> &'static Factor {
    &FACTORS[usize::from(value)]
}

const fn powers() -> [u8; 2 * ORDER] {
    let mut powers = [1; 2 * ORDER];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = double(powers[i - 1]);
        i += 1;
    }
    powers
}

const fn logarithms() -> [u8; 256] {
    let powers = powers();
    let mut logarithms = [0; 256];
    let mut exponent = 0_u8;
    while exponent < 255 {
        logarithms[powers[exponent as usize] as usize] = exponent;
        exponent += 1;
    }
    logarithms
}

const fn factors() -> [Factor; 256] {
    let mut factors = [factor_of(0); 256];
    let mut value = 0_u8;
    while value < 255 {
        value += 1;
        factors[value as usize] = factor_of(value);
    }
    factors
}

const fn factor_of(value: u8) -> Factor {
    // The products with 1, 2, 4, .. 128: the columns of the matrix.
    let mut columns = [value; 8];
    let mut i = 1;
    while i < 8 {
        columns[i] = double(columns[i - 1]);
        i += 1;
    }
    let mut factor = Factor {
        value,
        low: [0; 16],
        high: [0; 16],
        matrix: 0,
    };
    let mut n = 0;
    while n < 16 {
        let mut bit = 0;
        while bit < 4 {
            if n >> bit & 1 == 1 {
                factor.low[n] ^= columns[bit];
                factor.high[n] ^= columns[bit + 4];
            }
            bit += 1;
        }
        n += 1;
    }
    let mut row = 0;
    while row < 8 {
        let mut column = 0;
        while column < 8 {
            let bit = (columns[column] >> row & 1) as u64;
            factor.matrix |= bit << (8 * (7 - row) + column);
            column += 1;
        }
        row += 1;
    }
    factor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::tests::multiply_bitwise;

    #[test]
    fn the_field_has_the_powers_that_md_has() {
        assert_eq!(power_of_2(7), 0x80);
        assert_eq!(power_of_2(8), 0x1d);
        assert_eq!(power_of_2(9), 0x3a);
        assert_eq!(power_of_2(254), 0x8e);
        assert_eq!(power_of_2(255), 1);
        assert_eq!(multiply_bitwise(0x80, 0x80), 0x13);
        let mut seen: Vec<u8> = (0..ORDER).map(power_of_2).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(1..=255), "2 generates every element");
    }

    #[test]
    fn division_undoes_multiplication_and_logarithms_undo_powers() {
        for a in 0..=255 {
            for b in 1..=255 {
                assert_eq!(multiply_bitwise(divide(a, b), b), a);
            }
            if a != 0 {
                assert_eq!(power_of_2(logarithm(a)), a);
            }
        }
    }

    #[test]
    fn every_form_of_a_factor_multiplies_alike() {
        for c in 0..=255_u8 {
            let factor = factor(c);
            assert_eq!(factor.value, c);
            for x in 0..=255_u8 {
                let expected = multiply_bitwise(c, x);
                let (low, high) = (usize::from(x & 15), usize::from(x >> 4));
                assert_eq!(factor.low[low] ^ factor.high[high], expected);
                let rows = factor.matrix.to_be_bytes();
                let bits = (0..8).map(|i| u8::from((rows[i] & x).count_ones() % 2 == 1) << i);
                assert_eq!(bits.fold(0, |sum, bit| sum | bit), expected);
            }
        }
    }
}
