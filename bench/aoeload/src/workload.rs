//! Which operation comes next, and on which block.

use crate::plan::{Plan, TargetPlan};
use initiator::Operation;

/// A small generator of even, repeatable numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }
}

/// The stream of operations and blocks.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    random: Random,
    read_percent: u8,
    sequential: bool,
    block_count: u64,
    next_block: u64,
}

impl Workload {
    pub(crate) fn new(plan: &Plan, target: &TargetPlan) -> Self {
        Self {
            random: Random::new(target.seed),
            read_percent: plan.read_percent,
            sequential: plan.sequential,
            block_count: target.block_count,
            next_block: 0,
        }
    }

    /// What to do next.
    pub(crate) fn operation(&mut self) -> Operation {
        if self.random.below(100) < u64::from(self.read_percent) {
            Operation::Read
        } else {
            Operation::Write
        }
    }

    /// Where to do it. Sequential loads begin again after the last block.
    pub(crate) fn block(&mut self) -> u64 {
        if !self.sequential {
            return self.random.below(self.block_count);
        }
        let block = self.next_block;
        self.next_block = (block + 1) % self.block_count;
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(read_percent: u8, sequential: bool, block_count: u64) -> Workload {
        Workload {
            random: Random::new(7),
            read_percent,
            sequential,
            block_count,
            next_block: 0,
        }
    }

    #[test]
    fn sequential_blocks_begin_again_at_the_end() {
        let mut load = workload(100, true, 3);
        let blocks: Vec<u64> = (0..7).map(|_| load.block()).collect();
        assert_eq!(blocks, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn random_blocks_reach_the_whole_range_and_no_further() {
        let mut load = workload(100, false, 5);
        let mut seen = [0u32; 5];
        for _ in 0..5000 {
            seen[load.block() as usize] += 1;
        }
        assert!(
            seen.iter().all(|count| (800..1200).contains(count)),
            "{seen:?}"
        );
    }

    #[test]
    fn the_mix_is_kept() {
        for (percent, low, high) in [(0, 0, 0), (100, 1000, 1000), (70, 640, 760)] {
            let mut load = workload(percent, false, 5);
            let reads = (0..1000)
                .filter(|_| load.operation() == Operation::Read)
                .count();
            assert!((low..=high).contains(&reads), "{percent} %: {reads}");
        }
    }
}
