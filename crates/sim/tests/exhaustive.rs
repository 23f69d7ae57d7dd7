//! Everything that may happen to a few writes: on mirrors, on parity, with two crashes in a row.

use raid::Level;
use sim::exhaustive::{Case, Coverage, explore};

fn case(level: Level, disks: usize, writes: &[(u64, u32)], crashes_again: bool) -> Coverage {
    let case = Case {
        level,
        disks,
        writes: writes.to_vec(),
        crashes_again,
    };
    explore(&case).unwrap_or_else(|text| panic!("{text}"))
}

/// Three writes apart, three of the same sectors, and some of both.
const WRITES: [&[(u64, u32)]; 3] = [
    &[(0, 1), (3, 1), (7, 1)],
    &[(0, 2), (0, 2), (0, 2)],
    &[(0, 2), (1, 2), (8, 1)],
];

#[test]
fn mirrors_of_2_to_4() {
    for disks in 2..=4 {
        for writes in WRITES {
            let coverage = case(Level::Raid1, disks, writes, false);
            assert!(coverage.crashes >= 20, "{coverage:?}");
        }
    }
}

#[test]
fn striped_mirrors_of_4_and_6() {
    for disks in [4, 6] {
        for writes in WRITES {
            case(Level::Raid10, disks, writes, false);
        }
        // Across chunks, so that each write hits another pair.
        case(Level::Raid10, disks, &[(127, 2), (0, 1)], false);
    }
}

#[test]
fn levels_without_redundancy() {
    for writes in WRITES {
        case(Level::Raid0, 3, writes, false);
        case(Level::Jbod, 1, writes, true);
    }
}

#[test]
fn the_power_goes_again_in_the_recovery() {
    for writes in [&[(0, 1), (3, 1)], &[(0, 2), (1, 1)]] {
        case(Level::Raid1, 2, writes, true);
        case(Level::Raid10, 4, writes, true);
    }
}

#[test]
fn parity_of_3_to_6() {
    for writes in [
        &[(0, 1)][..],
        &[(0, 1), (0, 1)],
        &[(0, 1), (128, 1)],
        &[(0, 1), (1, 1)],
    ] {
        case(Level::Raid5, 3, writes, false);
        case(Level::Raid5, 4, writes, false);
        case(Level::Raid6, 4, writes, false);
    }
    case(Level::Raid5, 5, &[(0, 1), (0, 1), (0, 1)], false);
    case(Level::Raid6, 6, &[(0, 1), (0, 1), (0, 1)], false);
    case(Level::Raid5, 3, &[(0, 1)], true);
}
