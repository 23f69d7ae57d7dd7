//! What has to be read before a stripe can be written, or a lost block of it be given.
//!
//! A stripe is handled in *slices*: for one row of chunks, up to [`SLICE_SECTORS_MAX`] sectors of
//! member address space, the same on every element. What is in memory of a block, and what is to be
//! written, is told sector by sector with a [`SectorMask`].
//!
//! Three ways lead from the old parity to the new one:
//!
//! * *read-modify-write* (RMW) reads what is overwritten, and P and Q, and adds the difference;
//! * *reconstruct-write* (RCW) reads the data that is not overwritten and computes P and Q anew;
//! * *recovery* reads whatever is left of the stripe, computes what is lost, and goes on as RCW.
//!
//! Invariants:
//! * the parity of the sectors outside [`WritePlan::range`] is not touched;
//! * RMW is planned only where parity is known to match, and only if it reads strictly less than RCW;
//! * a plan reads only blocks that can be read, and only sectors that are not in memory.

use crate::geometry::{MEMBERS_MAX, RowLayout};
use crate::parity::Role;

/// Most sectors of a slice: 8 KiB, what Linux sends in a frame at MTU 9000.
pub const SLICE_SECTORS_MAX: u32 = 16;

/// Sectors of a slice; bit i is its i-th sector.
pub type SectorMask = u16;

/// A run of sectors of a slice.
///
/// # Panics
/// When it leaves the slice.
#[must_use]
pub fn sector_mask(start: u32, sectors: u32) -> SectorMask {
    assert!(
        start + sectors <= SLICE_SECTORS_MAX,
        "a run leaves the slice"
    );
    let bits = ((1_u32 << sectors) - 1) << start;
    SectorMask::try_from(bits).unwrap_or(SectorMask::MAX)
}

/// The run from the first to the last sector of a mask.
#[must_use]
pub fn hull(mask: SectorMask) -> SectorMask {
    if mask == 0 {
        return 0;
    }
    let (start, end) = (
        mask.trailing_zeros(),
        SectorMask::BITS - mask.leading_zeros(),
    );
    sector_mask(start, end - start)
}

/// Start and length of a mask that is one run; of the hull of another.
#[must_use]
pub fn run_of(mask: SectorMask) -> (u32, u32) {
    let hull = hull(mask);
    (hull.trailing_zeros() % SectorMask::BITS, hull.count_ones())
}

/// What is known of one block of a slice.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Block {
    /// The element is there, in sync, and its block can be read.
    pub is_readable: bool,
    /// The element is there: what is written reaches it.
    pub is_writable: bool,
    /// Sectors whose content is in memory.
    pub valid: SectorMask,
    /// Sectors that are to be written. Of data blocks only.
    pub new: SectorMask,
}

/// The blocks of a slice by element.
pub type Blocks = [Block; MEMBERS_MAX as usize];

/// No element is there and nothing is in memory.
pub const NO_BLOCKS: Blocks = [Block {
    is_readable: false,
    is_writable: false,
    valid: 0,
    new: 0,
}; MEMBERS_MAX as usize];

/// How the new parity comes about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// No parity can be written: there is only data.
    DataOnly,
    /// Old data and parity plus the difference.
    ReadModifyWrite,
    /// From all data.
    Reconstruct,
    /// Lost data is computed first, then as [`Method::Reconstruct`].
    Recover,
}

/// What a write needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WritePlan {
    /// How the new parity comes about.
    pub method: Method,
    /// The sectors of the slice whose parity changes; one run.
    pub range: SectorMask,
    /// What is to be read of each element.
    pub reads: Reads,
}

/// Sectors to be read of each element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reads(pub [SectorMask; MEMBERS_MAX as usize]);

impl Reads {
    const NONE: Self = Self([0; MEMBERS_MAX as usize]);

    /// How many elements are read.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().filter(|mask| **mask != 0).count()
    }

    /// Adds sectors of an element, but for those in memory. Returns whether they can be had.
    fn want(&mut self, blocks: &Blocks, element: u8, sectors: SectorMask) -> bool {
        let block = &blocks[usize::from(element)];
        let missing = sectors & !block.valid;
        // One read: what lies between is read along.
        self.0[usize::from(element)] = hull(self.0[usize::from(element)] | missing);
        missing == 0 || block.is_readable
    }
}

/// Plans a write of everything that is new in `blocks`. `None` when more is lost than parity makes
/// good. `is_synced` tells whether the old parity is known to match.
#[must_use]
pub fn plan_write(layout: &RowLayout, blocks: &Blocks, is_synced: bool) -> Option<WritePlan> {
    let new = elements(layout).fold(0, |sum, element| sum | blocks[usize::from(element)].new);
    let range = hull(new);
    let plan = |method, reads| WritePlan {
        method,
        range,
        reads,
    };
    let parities = parities(layout);
    let is_written = |element: &u8| blocks[usize::from(*element)].is_writable;
    let lost_data = data(layout)
        .filter(|element| blocks[usize::from(*element)].new != 0)
        .any(|element| !is_written(&element));
    if !parities.clone().any(|element| is_written(&element)) {
        let reads = gaps(layout, blocks)?;
        return (!lost_data).then_some(plan(Method::DataOnly, reads));
    }
    let rmw = is_synced
        .then(|| read_modify_write(layout, blocks, range))
        .flatten();
    let rcw = reconstruct(layout, blocks, range);
    match (rmw, rcw) {
        (Some(rmw), Some(rcw)) if rmw.count() < rcw.count() => {
            Some(plan(Method::ReadModifyWrite, rmw))
        }
        (_, Some(rcw)) => Some(plan(Method::Reconstruct, rcw)),
        (Some(rmw), None) => Some(plan(Method::ReadModifyWrite, rmw)),
        (None, None) => {
            let reads = plan_recovery(layout, blocks, range)?;
            Some(plan(Method::Recover, reads))
        }
    }
}

/// Plans the recovery of all data blocks of a range that are not in memory and cannot be read. `None`
/// when more is lost than parity makes good.
#[must_use]
pub fn plan_recovery(layout: &RowLayout, blocks: &Blocks, range: SectorMask) -> Option<Reads> {
    let mut reads = Reads::NONE;
    let lost = data(layout)
        .filter(|element| !reads.want(blocks, *element, range))
        .count();
    // What cannot be read is not read.
    for element in data(layout) {
        if !blocks[usize::from(element)].is_readable {
            reads.0[usize::from(element)] = 0;
        }
    }
    let mut found = 0;
    for element in parities(layout) {
        let block = &blocks[usize::from(element)];
        let is_there = block.is_readable || block.valid & range == range;
        if found < lost && is_there {
            reads.want(blocks, element, range);
            found += 1;
        }
    }
    (found >= lost).then_some(reads)
}

/// Plans a read of sectors of elements. Gives the range in which lost data is to be computed first, 0
/// for none, and the reads; `None` when more is lost than parity makes good.
#[must_use]
pub fn plan_read(
    layout: &RowLayout,
    blocks: &Blocks,
    wanted: &[SectorMask; MEMBERS_MAX as usize],
) -> Option<(SectorMask, Reads)> {
    let lost = elements(layout)
        .map(|element| (&blocks[usize::from(element)], wanted[usize::from(element)]))
        .filter(|(block, _)| !block.is_readable)
        .fold(0, |lost, (block, wanted)| lost | (wanted & !block.valid));
    let range = hull(lost);
    let mut reads = if range == 0 {
        Reads::NONE
    } else {
        plan_recovery(layout, blocks, range)?
    };
    for element in elements(layout) {
        if blocks[usize::from(element)].is_readable {
            reads.want(blocks, element, wanted[usize::from(element)]);
        }
    }
    Some((range, reads))
}

/// Everything of a range that can be read and is not in memory: for checking and rebuilding.
#[must_use]
pub fn plan_all(layout: &RowLayout, blocks: &Blocks, range: SectorMask) -> Reads {
    let mut reads = Reads::NONE;
    for element in elements(layout) {
        if blocks[usize::from(element)].is_readable {
            reads.want(blocks, element, range);
        }
    }
    reads
}

/// Which blocks of a range are neither in memory nor can be read.
pub fn lost<'a>(
    layout: &'a RowLayout,
    blocks: &'a Blocks,
    range: SectorMask,
) -> impl Iterator<Item = (u8, Role)> + 'a {
    elements(layout)
        .filter(move |element| {
            let block = &blocks[usize::from(*element)];
            !block.is_readable && block.valid & range != range
        })
        .map(|element| (element, layout.role(element)))
}

/// Sectors between those that are written of a block: they are written along, so they must be known.
fn gaps(layout: &RowLayout, blocks: &Blocks) -> Option<Reads> {
    let mut reads = Reads::NONE;
    for element in data(layout) {
        let new = blocks[usize::from(element)].new;
        if !reads.want(blocks, element, hull(new) & !new) {
            return None;
        }
    }
    Some(reads)
}

fn read_modify_write(layout: &RowLayout, blocks: &Blocks, range: SectorMask) -> Option<Reads> {
    let mut reads = Reads::NONE;
    for element in data(layout) {
        if !reads.want(blocks, element, hull(blocks[usize::from(element)].new)) {
            return None;
        }
    }
    for element in parities(layout) {
        let is_written = blocks[usize::from(element)].is_writable;
        if is_written && !reads.want(blocks, element, range) {
            return None;
        }
    }
    Some(reads)
}

fn reconstruct(layout: &RowLayout, blocks: &Blocks, range: SectorMask) -> Option<Reads> {
    let mut reads = Reads::NONE;
    for element in data(layout) {
        let new = blocks[usize::from(element)].new;
        if !reads.want(blocks, element, range & !new) {
            return None;
        }
    }
    Some(reads)
}

fn elements(layout: &RowLayout) -> impl Iterator<Item = u8> + Clone + use<> {
    0..layout.members()
}

fn data(layout: &RowLayout) -> impl Iterator<Item = u8> + Clone + use<> {
    let layout = *layout;
    (0..layout.columns()).map(move |column| layout.data(column))
}

fn parities(layout: &RowLayout) -> impl Iterator<Item = u8> + Clone + use<> {
    [Some(layout.p()), layout.q()].into_iter().flatten()
}

#[cfg(test)]
#[path = "stripe_tests.rs"]
mod tests;
