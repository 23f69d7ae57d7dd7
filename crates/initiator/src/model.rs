//! What may be on the target: a generation for every block of the range in use, while the run goes on.
//!
//! A block is what one command reads or writes. Its *settled* generation is that of the last write
//! that was acknowledged; 0 means that this run has not written it. While a write is on the wire, or
//! after one whose fate is not known, each sector of the block may hold the settled generation or
//! the one after it.
//!
//! ```text
//!           begin_write            settle
//! settled g ───────────▶ busy g+1 ───────▶ settled g+1
//!                            │ doubt
//!                            ▼
//!                        uncertain: g or g+1, for ever
//! ```
//!
//! Invariants:
//! * one write at a time to a block: two on the wire have no order;
//! * an uncertain block is not written again, because the lost write may still be under way;
//! * four bytes of memory for each block, allocated when the model is made.

use std::ops::RangeInclusive;

/// How many writes of a run to one block there have been. 0: none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Generation(pub u32);

/// A write is on the wire.
const BUSY: u32 = 1 << 31;
/// A write was lost or failed.
const UNCERTAIN: u32 = 1 << 30;
/// The settled generation.
const SETTLED: u32 = UNCERTAIN - 1;

/// The generations of the blocks of a range.
#[derive(Debug)]
pub struct GenerationModel {
    blocks: Vec<u32>,
}

impl GenerationModel {
    /// Bytes of memory for each block.
    pub const BYTES_PER_BLOCK: usize = size_of::<u32>();

    /// A model of `count` blocks that this run has not written.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            blocks: vec![0; count],
        }
    }

    /// How many blocks there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.blocks.len()
    }

    /// A write to the block is about to be sent: returns the generation to stamp it with. `None`
    /// when the block may not be written now: one write is on the wire, or its content is not
    /// certain, or it has been written 2^30 times.
    pub fn begin_write(&mut self, block: usize) -> Option<Generation> {
        let state = self.blocks.get_mut(block)?;
        if *state & (BUSY | UNCERTAIN) != 0 || *state == SETTLED {
            return None;
        }
        *state |= BUSY;
        Some(Generation((*state & SETTLED) + 1))
    }

    /// The write was acknowledged: only the new content is right from now on.
    pub fn settle(&mut self, block: usize) {
        if let Some(state) = self
            .blocks
            .get_mut(block)
            .filter(|state| **state & BUSY != 0)
        {
            *state = (*state & SETTLED) + 1;
        }
    }

    /// The write was lost or failed: each sector may hold the old or the new content.
    pub fn doubt(&mut self, block: usize) {
        if let Some(state) = self
            .blocks
            .get_mut(block)
            .filter(|state| **state & BUSY != 0)
        {
            *state = (*state & SETTLED) | UNCERTAIN;
        }
    }

    /// The oldest generation that a read sent now may return.
    #[must_use]
    pub fn floor(&self, block: usize) -> Generation {
        Generation(self.blocks.get(block).map_or(0, |state| state & SETTLED))
    }

    /// The generations that a read may return which was sent when [`floor`](Self::floor) was `floor`,
    /// and answered now.
    #[must_use]
    pub fn allowed(&self, block: usize, floor: Generation) -> RangeInclusive<Generation> {
        let state = self.blocks.get(block).copied().unwrap_or(0);
        let newer = u32::from(state & (BUSY | UNCERTAIN) != 0);
        floor..=Generation((state & SETTLED) + newer)
    }

    /// Whether this run has written the block, or tried to.
    #[must_use]
    pub fn is_touched(&self, block: usize) -> bool {
        self.blocks.get(block).is_some_and(|state| *state != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(model: &GenerationModel, floor: u32) -> (u32, u32) {
        let range = model.allowed(0, Generation(floor));
        (range.start().0, range.end().0)
    }

    #[test]
    fn old_and_new_are_right_only_while_the_write_is_on_the_wire() {
        let mut model = GenerationModel::new(1);
        assert!(!model.is_touched(0));
        assert_eq!(allowed(&model, 0), (0, 0));
        assert_eq!(model.begin_write(0), Some(Generation(1)));
        assert_eq!(model.begin_write(0), None);
        assert_eq!(allowed(&model, 0), (0, 1));
        model.settle(0);
        assert_eq!(model.floor(0), Generation(1));
        assert_eq!(allowed(&model, 1), (1, 1));
    }

    #[test]
    fn a_read_sent_before_a_write_may_return_what_was_there_then() {
        let mut model = GenerationModel::new(1);
        let floor = model.floor(0);
        for _ in 0..2 {
            assert!(model.begin_write(0).is_some());
            model.settle(0);
        }
        let range = model.allowed(0, floor);
        assert_eq!((range.start().0, range.end().0), (0, 2));
    }

    #[test]
    fn a_block_whose_write_was_lost_stays_uncertain() {
        let mut model = GenerationModel::new(1);
        assert!(model.begin_write(0).is_some());
        model.settle(0);
        assert!(model.begin_write(0).is_some());
        model.doubt(0);
        assert_eq!(model.begin_write(0), None);
        assert_eq!(allowed(&model, model.floor(0).0), (1, 2));
        model.settle(0);
        assert_eq!(allowed(&model, 1), (1, 2), "it is not on the wire");
    }
}
