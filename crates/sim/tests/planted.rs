//! The simulator finds what it is there for: every bug that is built in on purpose, for its own sake.
//!
//! What stops the search must be what the bug does, and the same seed without it must be well.

use raid::Level;
use raid::planted::{Bug, plant};
use sim::faults::FaultClass;
use sim::run::{Options, Stress, run};
use std::sync::Mutex;
use std::thread;

/// A bug must be found within so many seeds.
const SEEDS: u64 = 3000;

/// Bugs are looked for side by side.
const THREADS: usize = 2;

/// What a run says when clients or the members hold something wrong.
const WRONG_DATA: [&str; 5] = [
    "was read; right are",
    "a mixture, or the sector of another LBA",
    "does not read the same every time",
    "of their data",
    "parity is wrong in sector",
];

fn options(bug: Option<Bug>, has_parity: bool) -> Options {
    let levels = if has_parity {
        vec![Level::Raid5, Level::Raid6]
    } else {
        vec![Level::Raid1, Level::Raid10]
    };
    let general = Options {
        levels,
        ..Options::default()
    };
    // What else goes wrong would end most lives before, or hide it.
    match bug {
        Some(Bug::LateWritesForgotten) => Options {
            levels: vec![Level::Raid1],
            faults: Some(vec![FaultClass::Hang, FaultClass::Absent]),
            stress: Some(Stress::StuckWrites),
            ..general
        },
        Some(Bug::LostGiven) => Options {
            faults: Some(vec![FaultClass::Power, FaultClass::Absent]),
            stress: Some(Stress::TornStripes),
            ..general
        },
        Some(Bug::CheckpointAhead) => Options {
            levels: vec![Level::Raid5, Level::Raid6],
            faults: Some(vec![
                FaultClass::Power,
                FaultClass::Unreadable,
                FaultClass::Pull,
            ]),
            ..general
        },
        Some(Bug::LoanNotAwaited | Bug::ArrivalIgnored) => Options {
            workers: 3,
            ..general
        },
        Some(Bug::EdgesUnlocked) => Options {
            blocks: true,
            ..general
        },
        Some(Bug::UnsyncedReadsBalanced) => Options {
            levels: vec![Level::Raid1],
            faults: Some(vec![FaultClass::Power, FaultClass::Slow]),
            ..general
        },
        _ => general,
    }
}

/// Whether a bug does this.
fn explains(bug: Bug, violation: &str) -> bool {
    let says = |text: &&str| violation.contains(*text);
    match bug {
        Bug::OneEventAhead => says(&"is left out with"),
        Bug::ScrubFindsNothing => says(&"sectors found"),
        Bug::ScrubNamesOther => says(&"is not named"),
        Bug::ReadErrorIsFinal => says(&"status 0x41"),
        Bug::CleanWhileServed => says(&"is left out with") || WRONG_DATA.iter().any(says),
        Bug::EpochNotCounted => {
            says(&"is not served although it could be") || WRONG_DATA.iter().any(says)
        }
        _ => WRONG_DATA.iter().any(says),
    }
}

/// Looks for a bug.
///
/// # Errors
/// What is wrong with the search.
fn find(bug: Bug) -> Result<(), String> {
    let options = options(Some(bug), bug.is_of_parity());
    for seed in 0..SEEDS {
        plant(Some(bug));
        let violation = run(seed, &options).violation;
        plant(None);
        let Some(violation) = violation else {
            continue;
        };
        if !explains(bug, &violation) {
            return Err(format!(
                "{bug:?}: seed {seed} stops for another reason: {violation}"
            ));
        }
        return match run(seed, &options).violation {
            None => Ok(()),
            Some(other) => Err(format!("seed {seed} fails without {bug:?}, too: {other}")),
        };
    }
    Err(format!("{bug:?}: not found in {SEEDS} seeds"))
}

#[test]
fn every_planted_bug_is_found() {
    // That one is met once in thousands of lives; the tests of the data path meet it each time.
    let bugs = Bug::ALL
        .into_iter()
        .filter(|bug| *bug != Bug::AckBeforeMended);
    let bugs = Mutex::new(bugs);
    let missed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = bugs.lock().expect("nobody panics with it").next();
            let Some(bug) = next else { return };
            if let Err(why) = find(bug) {
                missed.lock().expect("nobody panics with it").push(why);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    let missed = missed.into_inner().expect("nobody panicked");
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn without_a_bug_nothing_is_found() {
    for seed in 0..100 {
        for has_parity in [false, true] {
            let report = run(seed, &options(None, has_parity));
            assert_eq!(report.violation, None, "seed {seed}");
        }
    }
}
