//! Tests of the plans: what they promise is there after their reads, and nothing else is read.

use super::*;
use crate::{Geometry, Level};
use proptest::prelude::*;

fn layout(double: bool, members: u8, row: u64) -> RowLayout {
    let level = if double { Level::Raid6 } else { Level::Raid5 };
    let geometry = Geometry::new(level, members, 16, 16 * 100).unwrap();
    geometry.row_layout(row).unwrap()
}

fn any_blocks() -> impl Strategy<Value = (RowLayout, Blocks, bool)> {
    let block = (0_u8..8, any::<u16>(), any::<u16>(), 0_u8..3);
    (
        any::<bool>(),
        4_u8..=8,
        0_u64..16,
        prop::collection::vec(block, 8),
        any::<bool>(),
    )
        .prop_map(|(double, members, row, raw, is_synced)| {
            let layout = layout(double, members, row);
            let mut blocks = NO_BLOCKS;
            for (element, (presence, valid, new, use_new)) in (0..members).zip(raw) {
                let is_data = matches!(layout.role(element), Role::Data(_));
                blocks[usize::from(element)] = Block {
                    is_readable: presence > 1,
                    is_writable: presence > 0,
                    valid: if presence % 2 == 0 { valid } else { 0 },
                    new: if is_data && use_new == 0 { new } else { 0 },
                };
            }
            (layout, blocks, is_synced)
        })
}

/// What is in memory after the reads of a plan.
fn known(blocks: &Blocks, reads: &Reads, element: u8) -> SectorMask {
    blocks[usize::from(element)].valid | reads.0[usize::from(element)]
}

proptest! {
    #[test]
    fn after_its_reads_a_plan_has_all_it_needs((layout, blocks, is_synced) in any_blocks()) {
        let any_new = blocks.iter().any(|block| block.new != 0);
        prop_assume!(any_new);
        let Some(plan) = plan_write(&layout, &blocks, is_synced) else { return Ok(()) };
        for element in elements(&layout) {
            if plan.reads.0[usize::from(element)] != 0 {
                prop_assert!(blocks[usize::from(element)].is_readable);
            }
        }
        let is_known = |element, sectors| known(&blocks, &plan.reads, element) & sectors == sectors;
        let uncovered = data(&layout)
            .filter(|element| !is_known(*element, plan.range & !blocks[usize::from(*element)].new))
            .count();
        match plan.method {
            Method::DataOnly => {
                for element in data(&layout) {
                    let new = blocks[usize::from(element)].new;
                    prop_assert!(is_known(element, hull(new) & !new));
                }
            }
            Method::ReadModifyWrite => {
                prop_assert!(is_synced);
                for element in data(&layout) {
                    prop_assert!(is_known(element, hull(blocks[usize::from(element)].new)));
                }
                for element in parities(&layout).filter(|e| blocks[usize::from(*e)].is_writable) {
                    prop_assert!(is_known(element, plan.range));
                }
            }
            Method::Reconstruct => prop_assert_eq!(uncovered, 0),
            Method::Recover => {
                let lost = data(&layout).filter(|e| !is_known(*e, plan.range)).count();
                let there = parities(&layout).filter(|e| is_known(*e, plan.range)).count();
                prop_assert!(lost > 0 && lost <= there);
            }
        }
    }

    #[test]
    fn a_write_is_refused_only_when_too_much_is_lost((layout, mut blocks, is_synced) in any_blocks()) {
        for block in &mut blocks {
            block.valid = 0;
            block.is_writable = block.is_readable;
        }
        let gone = elements(&layout).filter(|e| !blocks[usize::from(*e)].is_readable).count();
        let any_new = blocks.iter().any(|block| block.new != 0);
        prop_assume!(any_new && gone <= usize::from(layout.members() - layout.columns()));
        prop_assert!(plan_write(&layout, &blocks, is_synced).is_some());
    }
}

fn healthy(members: u8) -> Blocks {
    let mut blocks = NO_BLOCKS;
    for block in &mut blocks[..usize::from(members)] {
        block.is_readable = true;
        block.is_writable = true;
    }
    blocks
}

#[test]
fn the_way_with_fewer_reads_is_taken() {
    let layout = layout(true, 10, 0);
    for (columns, method, reads) in [
        (1, Method::ReadModifyWrite, 3),
        (2, Method::ReadModifyWrite, 4),
        (3, Method::Reconstruct, 5),
        (7, Method::Reconstruct, 1),
        (8, Method::Reconstruct, 0),
    ] {
        let mut blocks = healthy(10);
        for column in 0..columns {
            blocks[usize::from(layout.data(column))].new = 0x00ff;
        }
        let plan = plan_write(&layout, &blocks, true).unwrap();
        assert_eq!(
            (plan.method, plan.reads.count()),
            (method, reads),
            "{columns} columns"
        );
        assert_eq!(plan.range, 0x00ff);
        let unsynced = plan_write(&layout, &blocks, false).unwrap();
        assert_eq!(unsynced.method, Method::Reconstruct);
    }
}

#[test]
fn what_is_in_memory_is_not_read() {
    let layout = layout(false, 5, 3);
    let mut blocks = healthy(5);
    blocks[usize::from(layout.data(0))].new = 0xffff;
    for column in 1..4 {
        blocks[usize::from(layout.data(column))].valid = 0xffff;
    }
    let plan = plan_write(&layout, &blocks, true).unwrap();
    assert_eq!((plan.method, plan.reads.count()), (Method::Reconstruct, 0));
}

#[test]
fn a_lost_block_that_is_not_written_does_not_matter_to_rmw() {
    let layout = layout(false, 5, 0);
    let mut blocks = healthy(5);
    blocks[usize::from(layout.data(1))] = Block::default();
    blocks[usize::from(layout.data(0))].new = 1;
    let plan = plan_write(&layout, &blocks, true).unwrap();
    assert_eq!(
        (plan.method, plan.reads.count()),
        (Method::ReadModifyWrite, 2)
    );
    // Where the parity does not match yet, the lost block is whatever parity says it is, and stays it.
    let plan = plan_write(&layout, &blocks, false).unwrap();
    assert_eq!(plan.method, Method::Recover);
}

#[test]
fn masks_are_runs() {
    assert_eq!(sector_mask(0, 16), 0xffff);
    assert_eq!(sector_mask(3, 2), 0b1_1000);
    assert_eq!(hull(0b1001_0000), 0b1111_0000);
    assert_eq!(run_of(0b1001_0000), (4, 4));
    assert_eq!(run_of(0), (0, 0));
}
