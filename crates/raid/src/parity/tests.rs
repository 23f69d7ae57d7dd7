//! Every kernel of this machine against arithmetic done byte by byte and bit by bit.

use super::*;
use proptest::prelude::*;

/// Data blocks of the widest stripe: 36 members.
const WIDTH_MAX: usize = 34;

/// Multiplication as on paper: polynomials over bits, then the remainder by 0x11d.
pub(super) fn multiply_bitwise(a: u8, b: u8) -> u8 {
    let mut product = 0_u16;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            product ^= u16::from(a) << bit;
        }
    }
    for bit in (8..16).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x11d << (bit - 8);
        }
    }
    u8::try_from(product).unwrap()
}

/// P and Q by their definition.
fn slow_pq(data: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
    let (mut p, mut q) = (vec![0; data[0].len()], vec![0; data[0].len()]);
    let mut power = 1;
    for block in data {
        for (at, byte) in block.iter().enumerate() {
            p[at] ^= byte;
            q[at] ^= multiply_bitwise(power, *byte);
        }
        power = multiply_bitwise(power, 2);
    }
    (p, q)
}

/// Bytes without a pattern that parity could hide in (SplitMix64).
fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0xd134_2543_de82_ef95);
    let byte = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 56) as u8
    };
    (0..len).map(byte).collect()
}

/// A stripe of noise.
fn stripe(width: usize, len: usize) -> Vec<Vec<u8>> {
    (0..width)
        .map(|index| noise(width * 256 + index, len))
        .collect()
}

fn slices(blocks: &[Vec<u8>]) -> Vec<&[u8]> {
    blocks.iter().map(Vec::as_slice).collect()
}

/// The role of the block at this place of the order data, P, Q.
fn role(index: usize, width: usize) -> Role {
    match index.checked_sub(width) {
        None => Role::Data(index),
        Some(0) => Role::P,
        Some(_) => Role::Q,
    }
}

#[test]
fn the_best_kernel_is_the_first_and_the_portable_one_is_always_there() {
    let kernels = Kernel::available();
    assert_eq!(Kernel::best(), kernels[0]);
    assert_eq!(kernels.last().unwrap().name(), "scalar");
    let mut names: Vec<_> = kernels.iter().map(|kernel| kernel.name()).collect();
    names.dedup();
    assert_eq!(names.len(), kernels.len());
    assert_eq!(format!("{:?}", kernels.last().unwrap()), "Kernel(scalar)");
}

/// 01 + 80 + ff = 7e. 2 * 80 = 1d; 2 * ff = e3, 2 * e3 = db; 01 + 1d + db = c7.
#[test]
fn p_and_q_are_what_one_computes_on_paper() {
    for kernel in Kernel::available() {
        for len in [1, 7, 64, 512, 4096 + 65] {
            let data = [vec![0x01; len], vec![0x80; len], vec![0xff; len]];
            let (mut p, mut q) = (vec![0; len], vec![0; len]);
            kernel.pq_parity(&slices(&data), &mut p, &mut q).unwrap();
            assert_eq!((p, q), (vec![0x7e; len], vec![0xc7; len]), "{kernel:?}");
        }
    }
}

#[test]
fn the_coefficient_of_each_data_block_is_its_power_of_2() {
    for kernel in Kernel::available() {
        for index in 0..DATA_BLOCKS_MAX {
            let mut data = vec![vec![0; 512]; DATA_BLOCKS_MAX];
            data[index].fill(1);
            let (mut p, mut q) = (vec![9; 512], vec![9; 512]);
            kernel.pq_parity(&slices(&data), &mut p, &mut q).unwrap();
            let power = (0..index).fold(1, |power, _| multiply_bitwise(power, 2));
            assert_eq!(
                (p, q),
                (vec![1; 512], vec![power; 512]),
                "{kernel:?} {index}"
            );
        }
    }
}

/// In one pass all is as in two, for the widest stripe of a RAID, with Q and without, and for lengths that
/// are whole steps of vectors, none, and something in between.
#[test]
fn parity_and_checksums_are_those_of_separate_passes() {
    for kernel in Kernel::available() {
        for (width, len) in [(2, 512), (8, 8192), (34, 4096), (3, 1000), (1, 8), (5, 0)] {
            let data = stripe(width, len);
            let data = slices(&data);
            let (mut p, mut q) = (vec![0; len], vec![0; len]);
            kernel.pq_parity(&data, &mut p, &mut q).unwrap();
            let blocks = data.iter().copied().chain([&p[..], &q[..]]);
            let expected: Vec<u64> = blocks.map(|block| kernel.nh(block)).collect();
            let key = checksum::key(len);
            let (mut new_p, mut new_q) = (vec![1; len], vec![1; len]);
            let mut sums = vec![7; width + 2];
            kernel.parity_and_checksums(&data, &mut new_p, Some(&mut new_q), key, &mut sums);
            assert_eq!((&new_p, &new_q), (&p, &q), "{kernel:?} {width} {len}");
            assert_eq!(sums, expected, "{kernel:?} {width} {len}");
            new_p.fill(1);
            let mut sums = vec![7; width + 1];
            kernel.parity_and_checksums(&data, &mut new_p, None, key, &mut sums);
            assert_eq!(new_p, p, "{kernel:?} {width} {len}");
            assert_eq!(sums, expected[..=width], "{kernel:?} {width} {len}");
        }
    }
}

#[test]
fn checksums_of_blocks_of_different_lengths_are_refused() {
    let (data, mut p, mut q) = ([0; 512], [0; 512], [0; 504]);
    let refused = parity_and_checksums(&[&data], &mut p, Some(&mut q), &mut [0; 3]);
    assert!(matches!(
        refused,
        Err(ParityError::Length { role: Role::Q, .. })
    ));
    let refused = parity_and_checksums(&[&data[8..]], &mut p, None, &mut [0; 2]);
    assert!(matches!(refused, Err(ParityError::Length { .. })));
    assert_eq!(
        parity_and_checksums(&[], &mut p, None, &mut [0]),
        Err(ParityError::DataBlocks(0))
    );
}

#[test]
#[should_panic(expected = "a checksum for each")]
fn a_checksum_too_few_is_a_bug() {
    let (data, mut p) = ([0; 512], [0; 512]);
    let _ = parity_and_checksums(&[&data], &mut p, None, &mut [0]);
}

/// Updates multiply by a constant: here each byte by each power of 2, which are all but 0.
#[test]
fn every_kernel_multiplies_every_byte_by_every_element() {
    let old: Vec<u8> = vec![0; 512];
    let new: Vec<u8> = (0..=255).chain(0..=255).collect();
    for kernel in Kernel::available() {
        let mut power = 1;
        for index in 0..DATA_BLOCKS_MAX {
            let mut q = vec![0; 512];
            kernel
                .update_parity(index, &old, &new, None, Some(&mut q))
                .unwrap();
            let expected = new.iter().map(|byte| multiply_bitwise(power, *byte));
            assert!(expected.eq(q), "{kernel:?} 2^{index}");
            power = multiply_bitwise(power, 2);
        }
    }
}

/// Recovers blocks of a stripe given in the order data, P, Q, and compares them with what they were.
fn expect_recovered(kernel: Kernel, blocks: &[Vec<u8>], lost: &[usize], wanted: &[usize]) {
    let width = blocks.len() - 2;
    let left = |index: usize| (!lost.contains(&index)).then(|| &blocks[index][..]);
    let data: Vec<_> = (0..width).map(left).collect();
    let mut outs = vec![vec![0xa5; blocks[0].len()]; wanted.len()];
    let places = wanted.iter().zip(&mut outs);
    let mut places: Vec<_> = places
        .map(|(index, out)| Wanted {
            role: role(*index, width),
            out,
        })
        .collect();
    kernel
        .recover(&data, left(width), left(width + 1), &mut places)
        .unwrap();
    for (index, out) in wanted.iter().zip(outs) {
        assert!(
            out == blocks[*index],
            "{kernel:?} {width}+2 lost {lost:?} wanted {wanted:?}"
        );
    }
}

#[test]
fn every_loss_of_one_or_two_blocks_is_recovered_for_every_width() {
    // Two steps of the widest kernel and a tail.
    let len = 512 + 13;
    for width in 1..=WIDTH_MAX {
        let mut blocks = stripe(width, len);
        let (p, q) = slow_pq(&slices(&blocks));
        blocks.extend([p, q]);
        for kernel in Kernel::available() {
            for one in 0..width + 2 {
                expect_recovered(kernel, &blocks, &[one], &[one]);
                for two in one + 1..width + 2 {
                    expect_recovered(kernel, &blocks, &[one, two], &[one, two]);
                    expect_recovered(kernel, &blocks, &[one, two], &[two]);
                }
                expect_recovered(kernel, &blocks, &[one, (one + 1) % (width + 2)], &[one]);
            }
        }
    }
}

#[test]
fn the_widest_stripe_of_all_is_recovered_from_its_ends() {
    let mut blocks = stripe(DATA_BLOCKS_MAX, 600);
    let (p, q) = slow_pq(&slices(&blocks));
    blocks.extend([p, q]);
    for kernel in Kernel::available() {
        expect_recovered(kernel, &blocks, &[0, 254], &[254, 0]);
        expect_recovered(kernel, &blocks, &[254, 255], &[254, 255]);
        expect_recovered(kernel, &blocks, &[254, 256], &[256, 254]);
    }
}

#[test]
fn nothing_wanted_is_nothing_done() {
    let data = [None, Some(&[1_u8; 8][..])];
    assert_eq!(recover(&data, Some(&[3; 8]), None, &mut []), Ok(()));
}

proptest! {
    /// Widths, lengths and alignments at random; `xor_parity` gives the same P as `pq_parity`.
    #[test]
    fn every_kernel_computes_what_the_definition_says(
        width in 1..=WIDTH_MAX,
        len in prop_oneof![0_usize..1200, Just(512), Just(4096)],
        offsets in prop::collection::vec(0_usize..64, WIDTH_MAX + 2),
        seed in 0_usize..1 << 32,
    ) {
        let blocks: Vec<_> = (0..width).map(|index| noise(seed + index, 64 + len)).collect();
        let data = blocks.iter().zip(&offsets);
        let data: Vec<_> = data.map(|(block, offset)| &block[*offset..][..len]).collect();
        let (p_expected, q_expected) = slow_pq(&data);
        for kernel in Kernel::available() {
            let (mut p, mut q) = (vec![0xee; 128 + len], vec![0xee; 128 + len]);
            let (p_at, q_at) = (offsets[WIDTH_MAX], offsets[WIDTH_MAX + 1]);
            kernel.pq_parity(&data, &mut p[p_at..][..len], &mut q[q_at..][..len]).unwrap();
            prop_assert_eq!(&p[p_at..][..len], &p_expected, "{:?}", kernel);
            prop_assert_eq!(&q[q_at..][..len], &q_expected, "{:?}", kernel);
            prop_assert!(p[..p_at].iter().chain(&p[p_at + len..]).all(|byte| *byte == 0xee));
            prop_assert!(q[..q_at].iter().chain(&q[q_at + len..]).all(|byte| *byte == 0xee));
            p.fill(0);
            kernel.xor_parity(&data, &mut p[p_at..][..len]).unwrap();
            prop_assert_eq!(&p[p_at..][..len], &p_expected, "{:?}", kernel);
        }
    }

    #[test]
    fn an_update_gives_what_computing_anew_gives(
        width in 1..=WIDTH_MAX,
        len in 0_usize..1200,
        index in any::<prop::sample::Index>(),
        shift in 0_usize..64,
        seed in 0_usize..1 << 32,
    ) {
        let index = index.index(width);
        let mut blocks: Vec<_> = (0..width).map(|index| noise(seed + index, len)).collect();
        let (p_old, q_old) = slow_pq(&slices(&blocks));
        let new = noise(seed + width, shift + len);
        let old = std::mem::replace(&mut blocks[index], new[shift..].to_vec());
        let expected = slow_pq(&slices(&blocks));
        for kernel in Kernel::available() {
            let (mut p, mut q) = (p_old.clone(), q_old.clone());
            let new = &new[shift..];
            kernel.update_parity(index, &old, new, Some(&mut p), Some(&mut q)).unwrap();
            prop_assert_eq!(&(p, q), &expected, "{:?}", kernel);
            let (mut p, mut q) = (p_old.clone(), q_old.clone());
            kernel.update_parity(index, &old, new, Some(&mut p), None).unwrap();
            kernel.update_parity(index, &old, new, None, Some(&mut q)).unwrap();
            prop_assert_eq!(&(p, q), &expected, "{:?}", kernel);
        }
    }

    /// P and Q of a sum are the sums of P and Q; those of one block over and over are a multiple.
    #[test]
    fn parity_is_linear(width in 1..=WIDTH_MAX, len in 1_usize..700, seed in 0_usize..1 << 32) {
        let one: Vec<_> = (0..width).map(|index| noise(seed + index, len)).collect();
        let two: Vec<_> = (0..width).map(|index| noise(seed + 100 + index, len)).collect();
        let sum = |a: &[u8], b: &[u8]| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
        let both: Vec<_> = one.iter().zip(&two).map(|(a, b)| sum(a, b)).collect();
        for kernel in Kernel::available() {
            let pq = |data: &[Vec<u8>]| {
                let (mut p, mut q) = (vec![0; len], vec![0; len]);
                kernel.pq_parity(&slices(data), &mut p, &mut q).unwrap();
                (p, q)
            };
            let ((p1, q1), (p2, q2)) = (pq(&one), pq(&two));
            prop_assert_eq!(pq(&both), (sum(&p1, &p2), sum(&q1, &q2)));
            let (_, q) = pq(&vec![one[0].clone(); width]);
            // 1 + 2 + 4 + .. = 2^width - 1, as 2 - 1 is 1 + 2 = 3 here: divided by 3.
            let factor = field::divide(power_of_2(width) ^ 1, 3);
            let times = one[0].iter().map(|byte| multiply_bitwise(factor, *byte));
            prop_assert!(times.eq(q));
        }
    }

    /// The verdict on damage to any of the blocks of a stripe.
    #[test]
    fn a_block_that_is_wrong_is_named(
        width in 1..=WIDTH_MAX,
        len in 1_usize..9000,
        wrong in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..20),
    ) {
        let mut blocks = stripe(width, len);
        let (p, q) = slow_pq(&slices(&blocks));
        blocks.extend([p, q]);
        let wrong = wrong.index(width + 2);
        let right = blocks[wrong].clone();
        for (at, error) in damage {
            blocks[wrong][at.index(len)] ^= error;
        }
        prop_assume!(blocks[wrong] != right);
        for kernel in Kernel::available() {
            let all = slices(&blocks);
            let (data, parity) = all.split_at(width);
            let verdict = kernel.check_parity(data, parity[0], Some(parity[1]));
            prop_assert_eq!(verdict, Ok(Verdict::Wrong(role(wrong, width))), "{:?}", kernel);
            let verdict = kernel.check_parity(data, parity[0], None);
            let in_q = role(wrong, width) == Role::Q;
            let expected = if in_q { Verdict::Consistent } else { Verdict::Inconsistent };
            prop_assert_eq!(verdict, Ok(expected), "{:?}", kernel);
        }
    }
}

#[test]
fn a_stripe_in_order_is_consistent() {
    for (width, len) in [(1, 0), (1, 1), (2, 512), (8, 65536), (34, 4097)] {
        let blocks = stripe(width, len);
        let (p, q) = slow_pq(&slices(&blocks));
        for kernel in Kernel::available() {
            let data = slices(&blocks);
            assert_eq!(
                kernel.check_parity(&data, &p, Some(&q)),
                Ok(Verdict::Consistent)
            );
            assert_eq!(
                kernel.check_parity(&data, &p, None),
                Ok(Verdict::Consistent)
            );
        }
    }
}

#[test]
fn two_wrong_blocks_are_not_taken_for_one() {
    let len = 10_000;
    let blocks = stripe(8, len);
    let (p, q) = slow_pq(&slices(&blocks));
    // In different bytes, near and in another piece of the work; then dQ / dP = 2^40 in one byte.
    for at in [1, 9_000] {
        let mut blocks = blocks.clone();
        blocks[3][0] ^= 1;
        blocks[4][at] ^= 1;
        let verdict = check_parity(&slices(&blocks), &p, Some(&q));
        assert_eq!(verdict, Ok(Verdict::Inconsistent));
    }
    let (mut p, mut q) = (p, q);
    p[77] ^= 1;
    q[77] ^= power_of_2(40);
    let verdict = check_parity(&slices(&blocks), &p, Some(&q));
    assert_eq!(verdict, Ok(Verdict::Inconsistent));
}

#[test]
fn stripes_without_blocks_or_with_too_many_are_refused() {
    let out = &mut [7_u8; 4][..];
    assert_eq!(xor_parity(&[], out), Err(ParityError::DataBlocks(0)));
    let many = vec![&[0_u8; 4][..]; 256];
    assert_eq!(xor_parity(&many, out), Err(ParityError::DataBlocks(256)));
    assert_eq!(
        pq_parity(&many, out, &mut [0; 4]),
        Err(ParityError::DataBlocks(256))
    );
    assert_eq!(
        check_parity(&many, &[0; 4], None),
        Err(ParityError::DataBlocks(256))
    );
    let none = recover(&[], None, None, &mut []);
    assert_eq!(none, Err(ParityError::DataBlocks(0)));
    let beyond = update_parity(255, &[0; 4], &[1; 4], Some(&mut *out), None);
    assert_eq!(beyond, Err(ParityError::NoSuchBlock(Role::Data(255))));
    assert_eq!(out, [7; 4]);
}

#[test]
fn blocks_of_different_lengths_are_refused_and_named() {
    let length = |role, len_bytes, others_bytes| {
        Err(ParityError::Length {
            role,
            len_bytes,
            others_bytes,
        })
    };
    let (four, five) = (&[0_u8; 4][..], &[0_u8; 5][..]);
    let (p, q) = (&mut [7_u8; 4][..], &mut [7_u8; 5][..]);
    let uneven = length(Role::Data(1), 5, 4);
    assert_eq!(xor_parity(&[four, five], p), uneven);
    assert_eq!(pq_parity(&[four, four], p, q), length(Role::Q, 5, 4));
    assert_eq!(
        update_parity(3, four, five, None, None),
        length(Role::Data(3), 4, 5)
    );
    assert_eq!(
        update_parity(3, five, five, Some(p), None),
        length(Role::P, 4, 5)
    );
    assert_eq!(
        update_parity(3, four, four, None, Some(q)),
        length(Role::Q, 5, 4)
    );
    assert_eq!(
        check_parity(&[four], four, Some(five)).map(|_| ()),
        length(Role::Q, 5, 4)
    );
    assert_eq!(check_parity(&[four, five], four, None).map(|_| ()), uneven);
    let data = [None, Some(four)];
    assert_eq!(
        recover(&data, Some(five), None, &mut []),
        length(Role::P, 5, 4)
    );
    let role = Role::Data(0);
    let mut wanted = [Wanted { role, out: q }];
    assert_eq!(
        recover(&data, Some(four), None, &mut wanted),
        length(role, 5, 4)
    );
    assert_eq!((&*p, &*q), (&[7; 4][..], &[7; 5][..]));
    let error = length(Role::Data(1), 5, 4).unwrap_err().to_string();
    assert_eq!(
        error,
        "data block 1 has 5 bytes where others have 4: make them equal"
    );
}

#[test]
fn what_cannot_be_recovered_is_refused() {
    let block = Some(&[0_u8; 4][..]);
    let lost = |lost| Err(ParityError::TooManyLost { lost });
    assert_eq!(recover(&[None, None, None], block, block, &mut []), lost(3));
    assert_eq!(recover(&[None, None], block, None, &mut []), lost(3));
    assert_eq!(recover(&[None, None], None, None, &mut []), lost(4));
    let (mut a, mut b) = ([7; 4], [7; 4]);
    let mut want = |one, two| {
        let mut wanted = [(one, &mut a), (two, &mut b)].map(|(role, out)| Wanted { role, out });
        recover(&[None, block], block, None, &mut wanted)
    };
    use Role::{Data, P, Q};
    assert_eq!(want(Data(0), Data(1)), Err(ParityError::NotLost(Data(1))));
    assert_eq!(want(Data(0), Data(0)), Err(ParityError::NotLost(Data(0))));
    assert_eq!(want(Q, P), Err(ParityError::NotLost(P)));
    assert_eq!(want(Q, Data(2)), Err(ParityError::NoSuchBlock(Data(2))));
    assert_eq!((a, b), ([7; 4], [7; 4]));
}
