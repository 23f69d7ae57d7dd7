//! Every way in which a sector can be wrong, told apart.

use super::*;
use crate::stamp::write_block;
use proptest::prelude::*;

const RUN: RunId = RunId(77);

fn stamp(lba: u64, run: u64, generation: u32) -> Stamp {
    Stamp {
        lba,
        run: RunId(run),
        generation: Generation(generation),
        block_sectors: 4,
    }
}

/// The answer to a read of four sectors.
fn answer(stamps: [Option<Stamp>; 4]) -> Vec<u8> {
    let mut bytes = vec![0; ATA_FRAME_BYTES];
    for stamp in stamps {
        let mut sector = [0; SECTOR_BYTES];
        if let Some(stamp) = stamp {
            stamp.write(&mut sector);
        }
        bytes.extend_from_slice(&sector);
    }
    bytes
}

fn written(run: u64, generation: u32) -> [Option<Stamp>; 4] {
    [8, 9, 10, 11].map(|lba| Some(stamp(lba, run, generation)))
}

fn own(bytes: &[u8], allowed: RangeInclusive<u32>) -> (Result<(), Mismatch>, CheckCounters) {
    let mut checker = Checker::new(RUN);
    let (first, rest) = bytes.split_at(bytes.len().min(1000));
    let frame = ReceivedFrame {
        first,
        rest: &[rest],
    };
    let allowed = Generation(*allowed.start())..=Generation(*allowed.end());
    let result = checker.check_own(&frame, 8, 4, &allowed);
    (result, checker.counters)
}

fn stamped(bytes: &[u8]) -> (Result<(), Mismatch>, CheckCounters) {
    let mut checker = Checker::new(RunId(0));
    let frame = ReceivedFrame {
        first: bytes,
        rest: &[],
    };
    let result = checker.check_stamped(&frame, 8, 4);
    (result, checker.counters)
}

#[test]
fn faults_of_a_whole_block_are_told_apart() {
    use MismatchKind::*;
    for (content, allowed, kind) in [
        (
            written(77, 4),
            5..=5,
            Stale {
                found: 4,
                oldest: 5,
            },
        ),
        (
            written(77, 6),
            5..=5,
            Unissued {
                found: 6,
                newest: 5,
            },
        ),
        (written(78, 5), 5..=5, ForeignRun { found: 78 }),
        ([None; 4], 1..=1, Unstamped),
        (
            [12, 13, 14, 15].map(|lba| Some(stamp(lba, 77, 5))),
            5..=5,
            WrongLba { found_lba: 12 },
        ),
        (
            [12, 13, 14, 15].map(|lba| Some(stamp(lba, 77, 5))),
            0..=0,
            WrongLba { found_lba: 12 },
        ),
        (
            written(77, 1),
            0..=0,
            Unissued {
                found: 1,
                newest: 0,
            },
        ),
    ] {
        let (result, counters) = own(&answer(content), allowed);
        assert_eq!(result, Err(Mismatch { lba: 8, kind }));
        assert_eq!((counters.faults(), counters.sectors), (4, 4));
    }
}

#[test]
fn old_sectors_beside_new_ones_are_a_torn_write() {
    for old in [Some(stamp(10, 77, 4)), Some(stamp(10, 78, 5)), None] {
        let mut content = written(77, 5);
        content[2] = old;
        let (result, counters) = own(&answer(content), 5..=5);
        let kind = MismatchKind::Torn;
        assert_eq!(result, Err(Mismatch { lba: 10, kind }));
        assert_eq!(counters.torn_reads, 1);
    }
}

#[test]
fn while_a_write_is_on_the_wire_each_sector_may_be_old_or_new() {
    let mut content = written(77, 5);
    content[2] = Some(stamp(10, 77, 4));
    assert_eq!(own(&answer(content), 4..=5).0, Ok(()));
}

#[test]
fn damage_is_corrupt_whatever_was_expected() {
    for allowed in [0..=5, 5..=5] {
        let mut bytes = answer(written(77, 5));
        bytes[ATA_FRAME_BYTES + 512 + 100] ^= 1;
        let (result, _) = own(&bytes, allowed);
        let kind = MismatchKind::Corrupt;
        assert_eq!(result, Err(Mismatch { lba: 9, kind }));
    }
}

#[test]
fn blocks_that_this_run_has_not_written_may_hold_anything_of_others() {
    for content in [[None; 4], written(78, 3)] {
        let (result, counters) = own(&answer(content), 0..=0);
        assert_eq!(result, Ok(()));
        assert_eq!(counters.unknown, 4);
    }
}

#[test]
fn stamps_of_a_former_run_are_checked_against_each_other() {
    let tear = |index: usize, other: Option<Stamp>| {
        let mut content = written(5, 3);
        content[index] = other;
        stamped(&answer(content))
            .0
            .map_err(|mismatch| mismatch.kind)
    };
    assert_eq!(stamped(&answer(written(5, 3))).0, Ok(()));
    assert_eq!(stamped(&answer([None; 4])).1.unknown, 4);
    assert_eq!(tear(1, Some(stamp(9, 5, 2))), Err(MismatchKind::Torn));
    assert_eq!(tear(2, Some(stamp(10, 6, 3))), Err(MismatchKind::Torn));
    assert_eq!(tear(3, None), Err(MismatchKind::Torn));
    let wrong = MismatchKind::WrongLba { found_lba: 1 };
    assert_eq!(tear(0, Some(stamp(1, 5, 3))), Err(wrong));
    let smaller = Stamp {
        block_sectors: 1,
        ..stamp(9, 6, 1)
    };
    assert_eq!(
        tear(1, Some(smaller)),
        Ok(()),
        "overwritten by smaller writes"
    );
}

proptest! {
    #[test]
    fn an_undamaged_block_passes_however_it_is_cut(cuts in proptest::collection::vec(0usize..2084, 0..5)) {
        let mut data = vec![0; 2048];
        write_block(stamp(8, 77, 2), &mut data);
        let mut bytes = vec![0; ATA_FRAME_BYTES];
        bytes.extend_from_slice(&data);
        let mut cuts = cuts;
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let frame = ReceivedFrame { first: pieces[0], rest: &pieces[1..] };
        let mut checker = Checker::new(RUN);
        let allowed = Generation(2)..=Generation(2);
        prop_assert_eq!(checker.check_own(&frame, 8, 4, &allowed), Ok(()));
        prop_assert_eq!(checker.check_stamped(&frame, 8, 4), Ok(()));
        prop_assert_eq!(checker.counters().unknown, 0);
    }
}
