//! Who may run when, against the plain specification.

use super::*;
use proptest::prelude::*;
use raid::Unit;

fn lun(number: u8) -> LunNumber {
    LunNumber::new(number).unwrap()
}

fn range(lba: u64, sectors: u64, writes: bool) -> Range {
    Range {
        lun: lun(0),
        lba,
        sectors,
        writes,
    }
}

#[test]
fn row_106_overlapping_writes_run_in_arrival_order() {
    let mut order = Order::new(8);
    assert!(order.enter(3, range(24, 16, true)));
    assert!(!order.enter(1, range(30, 4, true)));
    assert!(!order.enter(2, range(33, 1, true)));
    let mut ready = Vec::new();
    order.leave(3, &mut |command| ready.push(command));
    assert_eq!(ready, [1]);
    order.leave(1, &mut |command| ready.push(command));
    assert_eq!(ready, [1, 2]);
}

#[test]
fn reads_do_not_wait_for_reads_nor_for_other_luns() {
    let mut order = Order::new(8);
    assert!(order.enter(0, range(0, 16, false)));
    assert!(order.enter(1, range(0, 16, false)));
    assert!(order.enter(
        2,
        Range {
            lun: lun(1),
            ..range(0, 16, true)
        }
    ));
    assert!(!order.enter(3, range(8, 1, true)));
}

#[test]
fn a_wide_command_waits_for_what_it_overlaps_and_no_more() {
    let mut order = Order::new(8);
    let extents = [(100, 1), (1000, 1 << 40)].map(|(lba, sectors)| Extent { lba, sectors });
    assert!(order.enter(0, range(90, 11, false)));
    assert!(order.enter(1, range(101, 8, true)));
    assert_eq!(
        order.enter_wide(2, (lun(0), Unit::SECTOR), &extents),
        Some(false)
    );
    assert!(!order.enter(3, range(1 << 30, 8, false)));
    assert!(order.enter(4, range(109, 1, true)), "between the extents");
    let mut ready = Vec::new();
    order.leave(0, &mut |command| ready.push(command));
    assert_eq!(ready, [2]);
    assert_eq!(order.extents(2), extents);
    assert_eq!(order.find_wide(lun(0), &extents, |_| true), Some(2));
    assert_eq!(order.find_wide(lun(1), &extents, |_| true), None);
    order.leave(2, &mut |command| ready.push(command));
    assert_eq!(ready, [2, 3]);
}

#[test]
fn one_lun_has_only_some_of_the_room_for_wide_commands() {
    let mut order = Order::new(64);
    let extents = [Extent { lba: 0, sectors: 1 }];
    let mut next = 0;
    let mut enter = |order: &mut Order, number| {
        next += 1;
        order
            .enter_wide(next, (lun(number), Unit::SECTOR), &extents)
            .is_some()
    };
    for number in 0..4 {
        let entered = (0..5).filter(|_| enter(&mut order, number)).count();
        assert_eq!(entered, 4);
    }
    assert!(!enter(&mut order, 4), "no room at all");
    order.leave(1, &mut |_| {});
    assert!(enter(&mut order, 4));
}

/// The specification: a command may run when no earlier unfinished one conflicts with it.
#[derive(Default)]
struct Model(Vec<(CommandIndex, Vec<Range>)>);

impl Model {
    fn may_run(&self, command: CommandIndex) -> bool {
        let place = self.0.iter().position(|(c, _)| *c == command).unwrap();
        let own = &self.0[place].1;
        let conflicts = |earlier: &Range| own.iter().any(|range| earlier.conflicts(range));
        let mut earlier = self.0[..place].iter().flat_map(|(_, ranges)| ranges);
        !earlier.any(conflicts)
    }

    fn wide_of(&self, number: u8) -> usize {
        let is_wide = |ranges: &&Vec<Range>| ranges[0].sectors > BLOCK_SECTORS;
        let all = self.0.iter().map(|(_, ranges)| ranges).filter(is_wide);
        all.filter(|ranges| ranges[0].lun == lun(number)).count()
    }
}

/// The ranges of a wide command: the first one is longer than any other command.
fn wide(number: u8, lba: u64, gaps: &[u64]) -> Vec<Range> {
    let mut ranges = vec![Range {
        lun: lun(number),
        ..range(lba, BLOCK_SECTORS + 1, true)
    }];
    for gap in gaps {
        let end = ranges.last().map(|last| last.lba + last.sectors).unwrap();
        ranges.push(Range {
            lun: lun(number),
            ..range(end + gap, gap / 2 + 1, true)
        });
    }
    ranges
}

/// What comes next: LUN, first sector, sectors, whether it writes, gaps if it is wide, which one is done.
type Step = (u8, u64, u64, bool, Option<Vec<u64>>, prop::sample::Index);

fn step() -> impl Strategy<Value = Step> {
    let gaps = prop::option::weighted(0.2, prop::collection::vec(1..40_u64, 0..4));
    let pick = any::<prop::sample::Index>();
    (
        0u8..2,
        0u64..200,
        1u64..=BLOCK_SECTORS,
        any::<bool>(),
        gaps,
        pick,
    )
}

proptest! {
    #[test]
    fn commands_run_exactly_when_no_earlier_conflict_is_left(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let mut order = Order::new(16);
        let mut model = Model::default();
        let mut running = std::collections::BTreeSet::new();
        for (number, lba, sectors, writes, gaps, pick) in steps {
            let free = (0..16).find(|c| model.0.iter().all(|(used, _)| used != c));
            if let Some(command) = free {
                let narrow = Range { lun: lun(number), lba, sectors, writes };
                let ranges = gaps.map_or(vec![narrow], |gaps| wide(number, lba, &gaps));
                let may_run = if ranges[0].sectors > BLOCK_SECTORS {
                    let extent = |range: &Range| Extent { lba: range.lba, sectors: range.sectors };
                    let extents: Vec<Extent> = ranges.iter().map(extent).collect();
                    let entered = order.enter_wide(command, (lun(number), Unit::SECTOR), &extents);
                    prop_assert_eq!(entered.is_none(), model.wide_of(number) == 4);
                    entered
                } else {
                    Some(order.enter(command, narrow))
                };
                if let Some(may_run) = may_run {
                    model.0.push((command, ranges));
                    if may_run {
                        running.insert(command);
                    }
                }
            }
            if free.is_none() || pick.index(3) == 0 {
                let running_now: Vec<_> = running.iter().copied().collect();
                let command = running_now[pick.index(running_now.len())];
                running.remove(&command);
                order.leave(command, &mut |ready| { assert!(running.insert(ready)); });
                model.0.retain(|(c, _)| *c != command);
            }
            for (command, _) in &model.0 {
                prop_assert_eq!(running.contains(command), model.may_run(*command));
            }
        }
    }
}
