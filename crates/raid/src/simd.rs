//! Parity and checksums with the vector extensions of x86-64: the unsafe file of this crate.
//!
//! The loops are written once, in the macro `kernels`, and compiled for each extension with its own
//! vectors and its own way to multiply in GF(2^8):
//!
//! | extension | vector | times 2 | times a constant |
//! | --- | --- | --- | --- |
//! | GFNI + AVX-512 | 64 bytes | bit matrix (`gf2p8affineqb`) | bit matrix |
//! | AVX-512BW | 64 bytes | shift, carry mask, reduce | two shuffles as tables of 16 |
//! | AVX2 | 32 bytes | shift, carry mask, reduce | two shuffles as tables of 16 |
//!
//! Invariants that make it sound:
//! * an [`Extension`] exists only if the processor has every feature of its functions;
//! * loads and stores take references to arrays of the vector's size, cut from slices with bounds
//!   checks, so no address is computed here.
//!
//! Each function works on whole steps of a few vectors and returns how many bytes it did; the rest
//! is the caller's.
//!
//! JUSTIFICATION: P and Q of 8 + 2 from L2 at 86 GB/s of data with GFNI, 75 with AVX-512 and 40 with
//! AVX2, against 5.8 with the portable kernel on the same core (Zen 4; `cargo bench -p raid`); from
//! DRAM at 84 % of the speed of a plain read, against 20 %.
#![allow(unsafe_code)]

use crate::geometry::MEMBERS_MAX;
use crate::parity::field::{Factor, factor};
use crate::parity::kernel::{Column, Output};

/// Most blocks that [`Extension::parity_and_checksums`] sums up.
const BLOCKS_MAX: usize = MEMBERS_MAX as usize;

/// A vector extension that this processor has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extension(Set);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Gfni,
    Avx512,
    Avx2,
}

impl Extension {
    /// Those that this processor has, fastest first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        let avx2 = is_x86_feature_detected!("avx2");
        // For the compiler AVX-512F includes AVX2, FMA and F16C.
        let avx512 = avx2
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        let gfni = avx512 && is_x86_feature_detected!("gfni");
        let sets = [(gfni, Set::Gfni), (avx512, Set::Avx512), (avx2, Set::Avx2)];
        sets.into_iter()
            .filter_map(|(present, set)| present.then_some(Self(set)))
    }

    pub(crate) const fn name(self) -> &'static str {
        match self.0 {
            Set::Gfni => "gfni-avx512",
            Set::Avx512 => "avx512",
            Set::Avx2 => "avx2",
        }
    }
}

/// Calls the function of the extension.
macro_rules! call {
    ($extension:expr, $function:ident($($argument:expr),*)) => {
        match $extension.0 {
            // SAFETY: the extension exists, so the processor has AVX-512F, AVX-512BW and GFNI.
            Set::Gfni => unsafe { gfni::$function($($argument),*) },
            // SAFETY: the extension exists, so the processor has AVX-512F and AVX-512BW.
            Set::Avx512 => unsafe { avx512::$function($($argument),*) },
            // SAFETY: the extension exists, so the processor has AVX2.
            Set::Avx2 => unsafe { avx2::$function($($argument),*) },
        }
    };
}

impl Extension {
    /// The sum of the columns and `extra` from `start` on.
    pub(crate) fn sum<C: Column>(
        self,
        data: &[C],
        extra: Option<&[u8]>,
        start: usize,
        out: &mut [u8],
    ) -> usize {
        call!(self, sum(data, extra, start, out))
    }

    /// P and Q of the columns.
    pub(crate) fn pq<C: Column>(self, data: &[C], p: &mut [u8], q: &mut [u8]) -> usize {
        call!(self, pq(data, p, q))
    }

    /// Multiples of the differences in P and Q.
    pub(crate) fn solve<C: Column>(
        self,
        data: &[C],
        p: Option<&[u8]>,
        q: Option<&[u8]>,
        start: usize,
        outputs: &mut [Output<'_>],
    ) -> usize {
        call!(self, solve(data, p, q, start, outputs))
    }

    /// Adds a change of one block to P and Q.
    pub(crate) fn delta(
        self,
        old: &[u8],
        new: &[u8],
        times: &Factor,
        p: Option<&mut [u8]>,
        q: Option<&mut [u8]>,
    ) -> usize {
        call!(self, delta(old, new, times, p, q))
    }

    /// The checksum of content, and of how many bytes of it.
    pub(crate) fn checksum(self, content: &[u8], key: &[u8]) -> (u64, usize) {
        call!(self, checksum(content, key))
    }

    /// P and Q of the blocks, and the checksums of all of them.
    pub(crate) fn parity_and_checksums(
        self,
        data: &[&[u8]],
        p: &mut [u8],
        q: Option<&mut [u8]>,
        key: &[u8],
        checksums: &mut [u64],
    ) -> usize {
        call!(self, parity_and_checksums(data, p, q, key, checksums))
    }
}

/// The loops, for the vector operations that are in scope: `load`, `store`, `zero`, `add`,
/// `double_and_add`, `prepare` and `multiply`; on whole numbers `add_32`, `add_64` and `multiply_halves`.
macro_rules! kernels {
    ($features:literal, $vector:ty, $bytes:literal) => {
        /// Vectors of each source that are in work at a time: few enough for their sums to stay in
        /// registers, enough to make a look at a source worth it. P and Q were slower with 2 and 8.
        const LANES: usize = 4;
        const STEP: usize = LANES * $bytes;
        type Lanes = [$vector; LANES];

        #[inline]
        #[target_feature(enable = $features)]
        fn load_lanes(bytes: &[u8], at: usize) -> Lanes {
            let (vectors, _) = bytes[at..at + STEP].as_chunks::<$bytes>();
            let mut lanes = zeros();
            for (lane, vector) in lanes.iter_mut().zip(vectors) {
                *lane = load(vector);
            }
            lanes
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn store_lanes(lanes: Lanes, bytes: &mut [u8], at: usize) {
            let (vectors, _) = bytes[at..at + STEP].as_chunks_mut::<$bytes>();
            for (lane, vector) in lanes.into_iter().zip(vectors) {
                store(lane, vector);
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn zeros() -> Lanes {
            [zero(); LANES]
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn add_lanes(sums: &mut Lanes, lanes: &Lanes) {
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum = add(*sum, *lane);
            }
        }

        /// P and Q of a step of the columns, by Horner's rule from the highest power down.
        #[inline]
        #[target_feature(enable = $features)]
        fn horner<C: Column>(data: &[C], at: usize) -> (Lanes, Lanes) {
            let (mut p, mut q) = (zeros(), zeros());
            for column in data.iter().rev() {
                let lanes = match column.bytes() {
                    Some(bytes) => load_lanes(bytes, at),
                    None => zeros(),
                };
                add_lanes(&mut p, &lanes);
                for (sum, lane) in q.iter_mut().zip(&lanes) {
                    *sum = double_and_add(*sum, *lane);
                }
            }
            (p, q)
        }

        #[target_feature(enable = $features)]
        pub(super) fn sum<C: Column>(
            data: &[C],
            extra: Option<&[u8]>,
            start: usize,
            out: &mut [u8],
        ) -> usize {
            let end = out.len() - out.len() % STEP;
            for offset in (0..end).step_by(STEP) {
                let at = start + offset;
                let mut sums = match extra {
                    Some(bytes) => load_lanes(bytes, at),
                    None => zeros(),
                };
                for bytes in data.iter().filter_map(C::bytes) {
                    add_lanes(&mut sums, &load_lanes(bytes, at));
                }
                store_lanes(sums, out, offset);
            }
            end
        }

        #[target_feature(enable = $features)]
        pub(super) fn pq<C: Column>(data: &[C], p: &mut [u8], q: &mut [u8]) -> usize {
            let end = p.len() - p.len() % STEP;
            for at in (0..end).step_by(STEP) {
                let (p_sum, q_sum) = horner(data, at);
                store_lanes(p_sum, p, at);
                store_lanes(q_sum, q, at);
            }
            end
        }

        #[target_feature(enable = $features)]
        pub(super) fn solve<C: Column>(
            data: &[C],
            p: Option<&[u8]>,
            q: Option<&[u8]>,
            start: usize,
            outputs: &mut [Output<'_>],
        ) -> usize {
            let len = outputs.first().map_or(0, |output| output.bytes.len());
            let end = len - len % STEP;
            for offset in (0..end).step_by(STEP) {
                let at = start + offset;
                let (mut p_sum, mut q_sum) = horner(data, at);
                if let Some(p) = p {
                    add_lanes(&mut p_sum, &load_lanes(p, at));
                }
                if let Some(q) = q {
                    add_lanes(&mut q_sum, &load_lanes(q, at));
                }
                for output in &mut *outputs {
                    let of_p = prepare(output.p_factor);
                    let of_q = prepare(output.q_factor);
                    let mut lanes = zeros();
                    for ((lane, p), q) in lanes.iter_mut().zip(&p_sum).zip(&q_sum) {
                        *lane = add(multiply(*p, of_p), multiply(*q, of_q));
                    }
                    store_lanes(lanes, output.bytes, offset);
                }
            }
            end
        }

        #[target_feature(enable = $features)]
        pub(super) fn delta(
            old: &[u8],
            new: &[u8],
            times: &Factor,
            mut p: Option<&mut [u8]>,
            mut q: Option<&mut [u8]>,
        ) -> usize {
            let times = prepare(times);
            let end = old.len() - old.len() % STEP;
            for at in (0..end).step_by(STEP) {
                let mut change = load_lanes(old, at);
                add_lanes(&mut change, &load_lanes(new, at));
                // Both are loaded before one is stored: blocks often begin where pages do, and a load
                // waits for a store just before it whose address has the same lowest 12 bits.
                let p_sums = p.as_deref().map(|p| load_lanes(p, at));
                let q_sums = q.as_deref().map(|q| load_lanes(q, at));
                if let (Some(p), Some(mut sums)) = (p.as_deref_mut(), p_sums) {
                    add_lanes(&mut sums, &change);
                    store_lanes(sums, p, at);
                }
                if let (Some(q), Some(mut sums)) = (q.as_deref_mut(), q_sums) {
                    for (sum, lane) in sums.iter_mut().zip(&change) {
                        *sum = add(*sum, multiply(*lane, times));
                    }
                    store_lanes(sums, q, at);
                }
            }
            end
        }

        /// What words of content count; see the module `checksum`.
        #[inline]
        #[target_feature(enable = $features)]
        fn count(word: $vector, key: $vector) -> $vector {
            let keyed = add_32(word, key);
            add_64(keyed, multiply_halves(keyed))
        }

        /// The sum of all words of a vector.
        #[inline]
        #[target_feature(enable = $features)]
        fn sum_of_words(vector: $vector) -> u64 {
            let mut bytes = [0; $bytes];
            store(vector, &mut bytes);
            let (words, _) = bytes.as_chunks::<8>();
            let words = words.iter().map(|word| u64::from_le_bytes(*word));
            words.fold(0, u64::wrapping_add)
        }

        #[target_feature(enable = $features)]
        pub(super) fn checksum(content: &[u8], key: &[u8]) -> (u64, usize) {
            let end = content.len() - content.len() % STEP;
            let mut sums = zeros();
            for at in (0..end).step_by(STEP) {
                let (words, key) = (load_lanes(content, at), load_lanes(key, at));
                for ((sum, word), key) in sums.iter_mut().zip(words).zip(key) {
                    *sum = add_64(*sum, count(word, key));
                }
            }
            let all = sums.into_iter().fold(zero(), |all, sum| add_64(all, sum));
            (sum_of_words(all), end)
        }

        #[target_feature(enable = $features)]
        pub(super) fn parity_and_checksums(
            data: &[&[u8]],
            p: &mut [u8],
            mut q: Option<&mut [u8]>,
            key: &[u8],
            checksums: &mut [u64],
        ) -> usize {
            let end = p.len() - p.len() % STEP;
            let mut sums = [zero(); BLOCKS_MAX];
            let (data_sums, parity_sums) = sums.split_at_mut(data.len());
            let add_counts = |sum: &mut $vector, words: &Lanes, key: &Lanes| {
                for (word, key) in words.iter().zip(key) {
                    *sum = add_64(*sum, count(*word, *key));
                }
            };
            for at in (0..end).step_by(STEP) {
                let key = load_lanes(key, at);
                let (mut p_sum, mut q_sum) = (zeros(), zeros());
                for (block, sum) in data.iter().zip(&mut *data_sums).rev() {
                    let lanes = load_lanes(block, at);
                    add_lanes(&mut p_sum, &lanes);
                    if q.is_some() {
                        for (sum, lane) in q_sum.iter_mut().zip(&lanes) {
                            *sum = double_and_add(*sum, *lane);
                        }
                    }
                    add_counts(sum, &lanes, &key);
                }
                store_lanes(p_sum, p, at);
                add_counts(&mut parity_sums[0], &p_sum, &key);
                if let Some(q) = q.as_deref_mut() {
                    store_lanes(q_sum, q, at);
                    add_counts(&mut parity_sums[1], &q_sum, &key);
                }
            }
            for (checksum, sum) in checksums.iter_mut().zip(sums) {
                *checksum = sum_of_words(sum);
            }
            end
        }
    };
}

/// Operations on 64 bytes that both kernels with AVX-512 share.
mod bytes64 {
    use std::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn load(bytes: &[u8; 64]) -> __m512i {
        // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn store(vector: __m512i, bytes: &mut [u8; 64]) {
        // SAFETY: the reference is to 64 writable bytes; the store needs no alignment.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) };
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn zero() -> __m512i {
        _mm512_setzero_si512()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn add(a: __m512i, b: __m512i) -> __m512i {
        _mm512_xor_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn add_32(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn add_64(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi64(a, b)
    }

    /// In each word of 64 bits, the product of its halves.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn multiply_halves(words: __m512i) -> __m512i {
        _mm512_mul_epu32(words, _mm512_srli_epi64::<32>(words))
    }
}

/// GFNI with AVX-512: any multiplication by a constant is one instruction.
mod gfni {
    use super::bytes64::{add, add_32, add_64, load, multiply_halves, store, zero};
    use super::{BLOCKS_MAX, Column, Factor, Output, factor};
    use std::arch::x86_64::*;

    kernels!("avx512f,avx512bw,gfni", __m512i, 64);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn double_and_add(sum: __m512i, lane: __m512i) -> __m512i {
        add(multiply(sum, prepare(factor(2))), lane)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn prepare(times: &Factor) -> __m512i {
        _mm512_set1_epi64(times.matrix.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn multiply(bytes: __m512i, matrix: __m512i) -> __m512i {
        _mm512_gf2p8affine_epi64_epi8::<0>(bytes, matrix)
    }
}

/// AVX-512 without GFNI.
mod avx512 {
    use super::bytes64::{add, add_32, add_64, load, multiply_halves, store, zero};
    use super::{BLOCKS_MAX, Column, Factor, Output};
    use crate::parity::field::REDUCTION;
    use std::arch::x86_64::*;

    kernels!("avx512f,avx512bw", __m512i, 64);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn double_and_add(sum: __m512i, lane: __m512i) -> __m512i {
        let carries = _mm512_movepi8_mask(sum);
        let reduction = _mm512_maskz_mov_epi8(carries, _mm512_set1_epi8(REDUCTION as i8));
        // The truth table of a three-way XOR.
        _mm512_ternarylogic_epi64::<0x96>(_mm512_add_epi8(sum, sum), reduction, lane)
    }

    /// The tables of products with the low and the high four bits, in every 16 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn prepare(times: &Factor) -> (__m512i, __m512i) {
        (broadcast(&times.low), broadcast(&times.high))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn broadcast(table: &[u8; 16]) -> __m512i {
        // SAFETY: the reference is to 16 readable bytes; the load needs no alignment.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm512_broadcast_i32x4(table)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn multiply(bytes: __m512i, (low, high): (__m512i, __m512i)) -> __m512i {
        let nibble = _mm512_set1_epi8(15);
        let of_low = _mm512_shuffle_epi8(low, _mm512_and_si512(bytes, nibble));
        let bytes = _mm512_srli_epi64::<4>(bytes);
        let of_high = _mm512_shuffle_epi8(high, _mm512_and_si512(bytes, nibble));
        add(of_low, of_high)
    }
}

/// AVX2, which every x86-64 server since 2015 has, and QEMU's emulation too.
mod avx2 {
    use super::{BLOCKS_MAX, Column, Factor, Output};
    use crate::parity::field::REDUCTION;
    use std::arch::x86_64::*;

    kernels!("avx2", __m256i, 32);

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; 32]) -> __m256i {
        // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(vector: __m256i, bytes: &mut [u8; 32]) {
        // SAFETY: the reference is to 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) };
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> __m256i {
        _mm256_setzero_si256()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_32(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_64(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi64(a, b)
    }

    /// In each word of 64 bits, the product of its halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn multiply_halves(words: __m256i) -> __m256i {
        _mm256_mul_epu32(words, _mm256_srli_epi64::<32>(words))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn double_and_add(sum: __m256i, lane: __m256i) -> __m256i {
        // A byte with its highest bit set is negative.
        let carries = _mm256_cmpgt_epi8(zero(), sum);
        let reduction = _mm256_and_si256(carries, _mm256_set1_epi8(REDUCTION as i8));
        add(add(_mm256_add_epi8(sum, sum), reduction), lane)
    }

    /// The tables of products with the low and the high four bits, in both halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn prepare(times: &Factor) -> (__m256i, __m256i) {
        (broadcast(&times.low), broadcast(&times.high))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn broadcast(table: &[u8; 16]) -> __m256i {
        // SAFETY: the reference is to 16 readable bytes; the load needs no alignment.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm256_broadcastsi128_si256(table)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn multiply(bytes: __m256i, (low, high): (__m256i, __m256i)) -> __m256i {
        let nibble = _mm256_set1_epi8(15);
        let of_low = _mm256_shuffle_epi8(low, _mm256_and_si256(bytes, nibble));
        let bytes = _mm256_srli_epi64::<4>(bytes);
        let of_high = _mm256_shuffle_epi8(high, _mm256_and_si256(bytes, nibble));
        add(of_low, of_high)
    }
}
