//! Commands that begin or end inside a sector of 4096 bytes. The rig takes only whole ones.

use super::super::{Action, Operation, Report};
use super::rig::{Rig, ata, outcome, view, write};
use super::trim::trim;
use crate::plane::LunView;
use proptest::prelude::*;
use raid::{Level, Unit};

const LEVELS: [(Level, u8); 7] = [
    (Level::Raw, 1),
    (Level::Jbod, 1),
    (Level::Raid0, 3),
    (Level::Raid1, 2),
    (Level::Raid10, 4),
    (Level::Raid5, 3),
    (Level::Raid6, 4),
];

/// Sectors that the tests look at.
const SECTORS: usize = 128;

fn of_blocks(level: Level, members: u8) -> LunView {
    LunView {
        unit: Unit::BLOCK,
        ..view(0, level, members)
    }
}

fn content(lba: u64, sectors: usize, salt: u8) -> Vec<u8> {
    let byte = |sector: u64| sector.to_le_bytes()[0].wrapping_mul(3).wrapping_add(salt);
    let sectors = (lba..).take(sectors);
    sectors.flat_map(|sector| [byte(sector); 512]).collect()
}

fn filled(level: Level, members: u8) -> Rig {
    let mut rig = Rig::new([of_blocks(level, members)]);
    for lba in (0..SECTORS as u64).step_by(16) {
        assert_eq!(outcome(&rig.write(lba, &content(lba, 16, 0))), (0x40, 0));
    }
    rig
}

fn all(rig: &mut Rig) -> Vec<u8> {
    let reads = (0..SECTORS as u64).step_by(16);
    let read = |lba| rig.read(lba, 16)[36..].to_vec();
    reads.flat_map(read).collect()
}

#[test]
fn any_sectors_are_written_and_read_and_their_neighbours_stay() {
    for (level, members) in LEVELS {
        let mut rig = filled(level, members);
        let mut model = content(0, SECTORS, 0);
        for (salt, lba, sectors) in [
            (1, 0, 1),
            (2, 3, 2),
            (3, 7, 1),
            (4, 7, 17),
            (5, 12, 16),
            (6, 30, 4),
            (7, 31, 17),
            (8, 40, 17),
            (9, 63, 2),
            (10, 120, 8),
        ] {
            let data = content(lba, sectors, salt);
            assert_eq!(outcome(&rig.write(lba, &data)), (0x40, 0), "{level} {lba}");
            let start = usize::try_from(lba).unwrap() * 512;
            model[start..start + data.len()].copy_from_slice(&data);
            for (from, count) in [(lba, 1), (lba.saturating_sub(3), 9), (lba / 2, 17)] {
                let reply = rig.read(from, count);
                let start = usize::try_from(from).unwrap() * 512;
                let bytes = usize::from(count) * 512;
                assert!(
                    reply[36..] == model[start..start + bytes],
                    "{level}: {count} sectors at {from} after {sectors} at {lba}"
                );
            }
        }
        assert!(all(&mut rig) == model, "{level}");
        assert_eq!(rig.target.commands_in_flight(), 0, "{level}");
        assert_eq!(rig.target.counters().partial_writes, 9, "{level}");
    }
}

#[test]
fn whole_blocks_are_written_without_being_read() {
    let mut rig = Rig::new([of_blocks(Level::Raid1, 2)]);
    rig.deliver(0, &write(8, &content(8, 16, 1)));
    let writes = |rig: &Rig| {
        rig.pending
            .iter()
            .all(|io| io.operation == Operation::Write)
    };
    assert!(writes(&rig) && rig.pending.len() == 2);
    rig.drain();
    assert_eq!(rig.target.counters().partial_writes, 0);
    // A block that is not all of a write is read once, and only that.
    rig.deliver(0, &write(8, &content(8, 15, 1)));
    let [edge] = rig.pending[..] else {
        panic!("{:?}", rig.pending)
    };
    assert_eq!(
        (edge.operation, edge.sector, edge.sectors),
        (Operation::Read, 256 + 16, 8)
    );
}

/// Both read the block before either has written it, if they do not wait for one another.
#[test]
fn neighbours_in_one_block_do_not_lose_one_another() {
    for (level, members) in LEVELS {
        let mut rig = filled(level, members);
        rig.sent.clear();
        rig.deliver(0, &write(17, &content(17, 1, 1)));
        rig.deliver(0, &write(18, &content(18, 1, 2)));
        rig.deliver(0, &ata(0x24, 0x40, 16, 8, &[]));
        // The newest I/O first.
        while rig.step() || !rig.pending.is_empty() {
            if let Some(last) = rig.pending.len().checked_sub(1) {
                rig.complete(last);
            }
        }
        assert_eq!(rig.sent.len(), 3, "{level}");
        let mut model = content(0, SECTORS, 0);
        model[17 * 512..18 * 512].copy_from_slice(&content(17, 1, 1));
        model[18 * 512..19 * 512].copy_from_slice(&content(18, 1, 2));
        assert!(all(&mut rig) == model, "{level}");
    }
}

#[test]
fn an_edge_that_nobody_can_give_is_an_error_and_nothing_is_written() {
    for (level, members) in LEVELS {
        let mut rig = filled(level, members);
        let drives = rig.drives.clone();
        rig.broken_reads.extend(0..8);
        // Nothing that is in memory helps: it was read over.
        let forget = LunView {
            online: false,
            ..of_blocks(level, members)
        };
        rig.attach(forget);
        rig.detach(0);
        rig.attach(of_blocks(level, members));
        for (lba, sectors) in [(1, 1), (12, 17), (8, 17), (23, 17)] {
            let reply = rig.write(lba, &content(lba, sectors, 9));
            assert_eq!(reply[27] & 1, 1, "{level}: a fault");
        }
        assert!(rig.drives == drives, "{level}");
        assert_eq!(rig.target.commands_in_flight(), 0, "{level}");
        // What needs no edge is written.
        rig.broken_reads.clear();
        assert_eq!(outcome(&rig.write(8, &content(8, 16, 9))), (0x40, 0));
    }
}

#[test]
fn an_edge_comes_from_whoever_has_it() {
    for (level, members) in [
        (Level::Raid1, 2),
        (Level::Raid10, 4),
        (Level::Raid5, 3),
        (Level::Raid6, 4),
    ] {
        for broken in 0..u16::from(members) {
            let mut rig = filled(level, members);
            rig.detach(0);
            rig.attach(of_blocks(level, members));
            rig.broken_reads.insert(broken);
            let mut model = content(0, SECTORS, 0);
            for (lba, sectors) in [(1, 1), (12, 17), (40, 17), (63, 17)] {
                let data = content(lba, sectors, 7);
                assert_eq!(
                    outcome(&rig.write(lba, &data)),
                    (0x40, 0),
                    "{level} {broken}"
                );
                let start = usize::try_from(lba).unwrap() * 512;
                model[start..start + data.len()].copy_from_slice(&data);
            }
            assert!(all(&mut rig) == model, "{level} without drive {broken}");
        }
    }
}

#[test]
fn the_same_write_sent_again_is_done_once_and_its_neighbour_is_another() {
    let mut rig = filled(Level::Raid1, 2);
    rig.sent.clear();
    let first = write(17, &content(17, 2, 1));
    rig.deliver(0, &first);
    rig.deliver(0, &first);
    // The same bytes, in other sectors of the same block.
    rig.deliver(0, &write(19, &content(17, 2, 1)));
    rig.drain();
    assert_eq!(rig.sent.len(), 2);
    assert_eq!(rig.target.counters().duplicates, 1);
    assert_eq!(rig.target.commands_in_flight(), 0);
    let block = rig.read(16, 8);
    assert!(block[36 + 512..36 + 1536] == content(17, 2, 1));
    assert!(block[36 + 1536..36 + 2560] == content(17, 2, 1));
}

#[test]
fn a_write_needs_two_slots_or_takes_none() {
    let mut rig = Rig::with_commands(8, [of_blocks(Level::Raid1, 2)]);
    let blocks = (0..8_u64).map(|block| block * 8 + 1);
    for lba in blocks.clone() {
        rig.deliver(0, &write(lba, &content(lba, 1, 1)));
    }
    let taken = rig.target.commands_in_flight();
    assert!(taken.is_multiple_of(2) && taken > 0);
    assert!(rig.target.counters().no_buffer > 0);
    rig.drain();
    assert_eq!(rig.target.commands_in_flight(), 0);
    for lba in blocks {
        assert_eq!(outcome(&rig.write(lba, &content(lba, 1, 1))), (0x40, 0));
    }
}

#[test]
fn a_lun_that_goes_while_an_edge_is_read_is_let_go_of() {
    for (level, members) in LEVELS {
        let mut rig = filled(level, members);
        rig.sent.clear();
        rig.deliver(0, &write(17, &content(17, 1, 1)));
        rig.detach(0);
        rig.drain();
        let is_settled = |event: &Action| matches!(event, Action::Settled { .. });
        assert!(rig.events.iter().any(is_settled), "{level}");
        assert_eq!(rig.target.commands_in_flight(), 0, "{level}");
    }
}

#[test]
fn a_trim_zeroes_its_sectors_and_no_others() {
    for (level, members) in &LEVELS[..5] {
        let mut rig = filled(*level, *members);
        let mut model = content(0, SECTORS, 0);
        for (lba, sectors) in [(3, 2), (9, 1), (15, 2), (22, 30), (64, 16), (87, 33)] {
            let request = trim(&[(lba, sectors)]);
            assert_eq!(outcome(&rig.ask_one(&request)), (0x40, 0), "{level} {lba}");
            let start = usize::try_from(lba).unwrap() * 512;
            model[start..start + usize::from(sectors) * 512].fill(0);
        }
        assert!(all(&mut rig) == model, "{level}");
        assert_eq!(rig.target.commands_in_flight(), 0, "{level}");
    }
}

#[test]
fn a_member_that_fails_a_widened_write_is_done_without() {
    let mut rig = filled(Level::Raid1, 2);
    rig.broken_writes.insert(1);
    rig.deliver(0, &write(17, &content(17, 1, 1)));
    rig.drain();
    let told = |event: &Action| matches!(event, Action::Report(Report::MemberError { .. }));
    assert!(rig.events.iter().any(told));
    let mut without = of_blocks(Level::Raid1, 2);
    without.parts[0].members[1] = None;
    rig.sent.clear();
    rig.attach(without);
    rig.drain();
    assert_eq!(rig.sent.len(), 1);
    let mut block = content(16, 8, 0);
    block[512..1024].copy_from_slice(&content(17, 1, 1));
    assert!(rig.read(16, 8)[36..] == block);
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize, u8),
    Read(u64, u8),
    Trim(u64, u16),
    /// Does the I/O at this place, of what is pending.
    Complete(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let lba = 0..SECTORS as u64 - 24;
    prop_oneof![
        3 => (lba.clone(), 1..=17_usize, any::<u8>()).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        1 => (lba.clone(), 1..=17_u8).prop_map(|(a, b)| Step::Read(a, b)),
        1 => (lba, 1..=20_u16).prop_map(|(a, b)| Step::Trim(a, b)),
        8 => any::<prop::sample::Index>().prop_map(Step::Complete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Commands in any order of their I/O: overlapping ones end in the order in which they arrived.
    #[test]
    fn whatever_overlaps_ends_as_it_arrived(
        level in 0..LEVELS.len(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (level, members) = LEVELS[level];
        let mut rig = filled(level, members);
        let mut model = content(0, SECTORS, 0);
        for step in steps {
            match step {
                Step::Write(lba, sectors, salt) => {
                    let before = rig.target.counters().no_buffer;
                    let data = content(lba, sectors, salt);
                    rig.deliver(0, &write(lba, &data));
                    if rig.target.counters().no_buffer == before {
                        let start = usize::try_from(lba).unwrap() * 512;
                        model[start..start + data.len()].copy_from_slice(&data);
                    }
                }
                Step::Trim(lba, sectors) if level.parity_count() == 0 => {
                    let before = rig.target.counters().no_buffer;
                    rig.deliver(0, &trim(&[(lba, sectors)]));
                    if rig.target.counters().no_buffer == before {
                        let start = usize::try_from(lba).unwrap() * 512;
                        model[start..start + usize::from(sectors) * 512].fill(0);
                    }
                }
                Step::Trim(..) => {}
                Step::Read(lba, sectors) => rig.deliver(0, &ata(0x24, 0x40, lba, sectors, &[])),
                Step::Complete(index) => {
                    rig.step();
                    if !rig.pending.is_empty() {
                        rig.complete(index.index(rig.pending.len()));
                    }
                }
            }
        }
        rig.drain();
        prop_assert!(all(&mut rig) == model);
        prop_assert_eq!(rig.target.commands_in_flight(), 0);
    }
}
