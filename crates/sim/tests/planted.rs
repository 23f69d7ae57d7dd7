//! The simulator finds what it is there for: every bug that is built in on purpose.

use raid::Level;
use raid::planted::{Bug, plant};
use sim::faults::FaultClass;
use sim::run::{Options, run};

/// A bug must be found within so many seeds.
const SEEDS: u64 = 3000;

fn options(has_parity: bool) -> Options {
    let levels = if has_parity {
        vec![Level::Raid5, Level::Raid6]
    } else {
        vec![Level::Raid1, Level::Raid10]
    };
    Options {
        levels,
        ..Options::default()
    }
}

/// The first seed that finds a bug.
fn find(bug: Bug) -> Option<u64> {
    plant(Some(bug));
    let mut options = options(bug.is_of_parity());
    if bug == Bug::LateWritesForgotten {
        // What else goes wrong ends most lives before.
        options.faults = Some(vec![FaultClass::Hang]);
    }
    let found = (0..SEEDS).find(|seed| run(*seed, &options).violation.is_some());
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let is_missed = |bug: &Bug| find(*bug).is_none();
    let missed: Vec<Bug> = Bug::ALL.into_iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}

#[test]
fn without_a_bug_nothing_is_found() {
    for seed in 0..100 {
        for has_parity in [false, true] {
            let report = run(seed, &options(has_parity));
            assert_eq!(report.violation, None, "seed {seed}");
        }
    }
}
