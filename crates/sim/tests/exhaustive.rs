//! Everything that may happen to up to three writes on up to six disks: whole LUNs and such that lack
//! members, with an I/O that fails, with two crashes in a row.

#![expect(
    clippy::print_stdout,
    reason = "how long each case takes, for who asks with --nocapture"
)]

use raid::Level;
use sim::exhaustive::{Case, Coverage, explore};

fn go(case: &Case) -> Coverage {
    let begun = std::time::Instant::now();
    let coverage = explore(case).unwrap_or_else(|text| panic!("{text}"));
    println!(
        "{:>6} ms {case:?} {coverage:?}",
        begun.elapsed().as_millis()
    );
    coverage
}

/// Three writes apart, three of the same sectors, and some of both.
const WRITES: [&[(u64, u32)]; 3] = [
    &[(0, 1), (3, 1), (7, 1)],
    &[(0, 2), (0, 2), (0, 2)],
    &[(0, 2), (1, 2), (8, 1)],
];

/// On parity: of one column, of two of a stripe, and a second one behind or beside the first.
const PARITY_WRITES: [&[(u64, u32)]; 3] = [
    &[(0, 1), (0, 1), (0, 1)],
    &[(0, 1), (128, 1), (1, 1)],
    &[(0, 2), (1, 1), (384, 1)],
];

/// The sets of so many first members that may be away, as bits.
fn away(most: u8) -> impl Iterator<Item = u8> {
    (0..=most).map(|count| (1 << count) - 1)
}

#[test]
fn mirrors_of_2_to_6() {
    for disks in 2..=6 {
        for (writes, away) in WRITES.iter().flat_map(|w| away(1).map(move |a| (w, a))) {
            let coverage = go(&Case {
                away,
                ..Case::new(Level::Raid1, disks, writes)
            });
            assert!(coverage.crashes >= 20, "{coverage:?}");
        }
    }
}

#[test]
fn striped_mirrors_of_4_and_6() {
    for disks in [4, 6] {
        for away in away(1) {
            // The last ones across chunks, so that each write hits another pair.
            for writes in WRITES.into_iter().chain([&[(127, 2), (0, 1)][..]]) {
                go(&Case {
                    away,
                    ..Case::new(Level::Raid10, disks, writes)
                });
            }
        }
    }
}

#[test]
fn levels_without_redundancy() {
    for writes in WRITES {
        go(&Case::new(Level::Raid0, 3, writes));
        go(&Case {
            crashes_again: true,
            ..Case::new(Level::Jbod, 1, writes)
        });
    }
}

fn parity(level: Level, disks: usize) {
    for away in away(level.parity_count()) {
        // On double parity the last one has very many ways: once.
        let is_all = level == Level::Raid5 || (disks, away) == (4, 0);
        let count = if is_all { 3 } else { 2 };
        for writes in PARITY_WRITES.into_iter().take(count) {
            go(&Case {
                away,
                ..Case::new(level, disks, writes)
            });
        }
    }
}

#[test]
fn parity_of_3_to_6() {
    (3..=6).for_each(|disks| parity(Level::Raid5, disks));
}

#[test]
fn double_parity_of_4_to_6() {
    (4..=6).for_each(|disks| parity(Level::Raid6, disks));
}

#[test]
fn the_power_goes_again_in_the_recovery() {
    let again = |level, disks, away, writes: &[(u64, u32)]| {
        go(&Case {
            away,
            crashes_again: true,
            ..Case::new(level, disks, writes)
        });
    };
    for writes in [&[(0, 1), (3, 1)], &[(0, 2), (1, 1)]] {
        again(Level::Raid1, 2, 0, writes);
    }
    again(Level::Raid1, 3, 1, &[(0, 2), (1, 1)]);
    again(Level::Raid10, 4, 0, &[(0, 2), (1, 1)]);
    again(Level::Raid5, 3, 0, &[(0, 1)]);
    again(Level::Raid6, 4, 0, &[(0, 1)]);
}

#[test]
fn an_io_of_a_mirror_fails() {
    let fails = |level, disks, writes: &[(u64, u32)], reads: &[(u64, u32)]| {
        go(&Case {
            fails: true,
            reads: reads.to_vec(),
            ..Case::new(level, disks, writes)
        });
    };
    fails(Level::Raid1, 2, &[(0, 2), (1, 1)], &[(0, 3)]);
    fails(Level::Raid1, 2, &[(0, 1), (3, 1)], &[]);
    fails(Level::Raid1, 3, &[(0, 1), (0, 1)], &[]);
    fails(Level::Raid1, 3, &[(0, 1)], &[(0, 1)]);
    fails(Level::Raid10, 4, &[(0, 1), (128, 1)], &[]);
    fails(Level::Raid10, 4, &[(0, 1)], &[(0, 1)]);
}

#[test]
fn an_io_of_parity_fails() {
    let fails = |level, disks, away, writes: &[(u64, u32)]| {
        go(&Case {
            fails: true,
            away,
            ..Case::new(level, disks, writes)
        });
    };
    fails(Level::Raid5, 3, 0, &[(0, 1), (0, 1)]);
    fails(Level::Raid5, 3, 0, &[(0, 1), (128, 1)]);
    fails(Level::Raid5, 4, 0, &[(0, 1), (1, 1)]);
    fails(Level::Raid6, 4, 0, &[(0, 1)]);
    fails(Level::Raid6, 4, 1, &[(0, 1)]);
}
