//! The portable kernel: words of eight bytes, no tables.
//!
//! It is what machines without the vector extensions use, the twin that the vector kernels are
//! tested against, and what finishes the last bytes after them. Each function works on as many bytes
//! of every source, from `start` on, as the outputs have.

use super::field::{Factor, REDUCTION};
use super::kernel::{Column, Output};

/// Bytes in work at a time: enough words for the compiler to use what vectors every processor of
/// the architecture has.
const BLOCK_BYTES: usize = 64;
/// A block as words.
type Block = [u64; BLOCK_BYTES / 8];
const ZERO: Block = [0; BLOCK_BYTES / 8];

/// The sum of the columns and `extra`.
pub(crate) fn sum<C: Column>(data: &[C], extra: Option<&[u8]>, start: usize, out: &mut [u8]) {
    for (offset, count) in blocks(out.len()) {
        let columns = data.iter().filter_map(Column::bytes).chain(extra);
        let blocks = columns.map(|bytes| load(bytes, start + offset, count));
        store(blocks.fold(ZERO, add), &mut out[offset..offset + count]);
    }
}

/// P and Q of the columns.
pub(crate) fn pq<C: Column>(data: &[C], start: usize, p: &mut [u8], q: &mut [u8]) {
    for (offset, count) in blocks(p.len()) {
        let (p_sum, q_sum) = horner(data, start + offset, count);
        store(p_sum, &mut p[offset..offset + count]);
        store(q_sum, &mut q[offset..offset + count]);
    }
}

/// Sums of multiples of P and Q of the columns, to which `p` and `q` are added first.
pub(crate) fn solve<C: Column>(
    data: &[C],
    p: Option<&[u8]>,
    q: Option<&[u8]>,
    start: usize,
    outputs: &mut [Output<'_>],
) {
    let len = outputs.first().map_or(0, |output| output.bytes.len());
    for (offset, count) in blocks(len) {
        let at = start + offset;
        let (mut p_sum, mut q_sum) = horner(data, at, count);
        p_sum = add(p_sum, p.map_or(ZERO, |p| load(p, at, count)));
        q_sum = add(q_sum, q.map_or(ZERO, |q| load(q, at, count)));
        for output in &mut *outputs {
            let of_p = multiply(p_sum, output.p_factor);
            let of_q = multiply(q_sum, output.q_factor);
            store(add(of_p, of_q), &mut output.bytes[offset..offset + count]);
        }
    }
}

/// Adds `old` + `new` to `p`, and a multiple of it to `q`.
pub(crate) fn delta(
    old: &[u8],
    new: &[u8],
    factor: &Factor,
    mut p: Option<&mut [u8]>,
    mut q: Option<&mut [u8]>,
) {
    for (at, count) in blocks(old.len()) {
        let change = add(load(old, at, count), load(new, at, count));
        if let Some(p) = p.as_deref_mut() {
            let sum = add(load(p, at, count), change);
            store(sum, &mut p[at..at + count]);
        }
        if let Some(q) = q.as_deref_mut() {
            let sum = add(load(q, at, count), multiply(change, factor));
            store(sum, &mut q[at..at + count]);
        }
    }
}

/// P and Q of a block of the columns. Q is evaluated by Horner's rule, from the highest power down:
/// one doubling for each column, whether it is there or not.
fn horner<C: Column>(data: &[C], at: usize, count: usize) -> (Block, Block) {
    let (mut p, mut q) = (ZERO, ZERO);
    for column in data.iter().rev() {
        q = q.map(double);
        if let Some(bytes) = column.bytes() {
            let block = load(bytes, at, count);
            (p, q) = (add(p, block), add(q, block));
        }
    }
    (p, q)
}

/// Offsets and lengths of the blocks of `len` bytes; the last one may be short.
fn blocks(len: usize) -> impl Iterator<Item = (usize, usize)> {
    let offsets = (0..len).step_by(BLOCK_BYTES);
    offsets.map(move |offset| (offset, BLOCK_BYTES.min(len - offset)))
}

/// A block; the bytes that a short one lacks are 0, whose every multiple is 0.
fn load(bytes: &[u8], at: usize, count: usize) -> Block {
    let bytes = &bytes[at..at + count];
    let mut whole = [0; BLOCK_BYTES];
    match bytes.as_array() {
        Some(bytes) => whole = *bytes,
        None => whole[..count].copy_from_slice(bytes),
    }
    let (words, _) = whole.as_chunks();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

fn store(block: Block, out: &mut [u8]) {
    let (words, rest) = out.as_chunks_mut();
    let mut block = block.iter();
    for (out, word) in words.iter_mut().zip(&mut block) {
        *out = word.to_le_bytes();
    }
    if let Some(word) = block.next() {
        rest.copy_from_slice(&word.to_le_bytes()[..rest.len()]);
    }
}

fn add(a: Block, b: Block) -> Block {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// Each byte times 2.
fn double(word: u64) -> u64 {
    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    let carries = (word >> 7) & LOW_BITS;
    let doubled = (word & !(LOW_BITS << 7)) << 1;
    // Each carry is a byte of its own, so the product does not run over.
    doubled ^ (carries * u64::from(REDUCTION))
}

/// Each byte times the factor.
fn multiply(block: Block, factor: &Factor) -> Block {
    let (mut product, mut multiple, mut value) = (ZERO, block, factor.value);
    while value != 0 {
        if value & 1 == 1 {
            product = add(product, multiple);
        }
        multiple = multiple.map(double);
        value >>= 1;
    }
    product
}
