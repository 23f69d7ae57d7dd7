//! The oracle of the live core can fail: bugs that are built in on purpose are found by the corpus.

use raid::planted::{Bug, plant};
use std::panic::catch_unwind;
use std::path::Path;

/// Bugs that need neither a power cut nor a second look at the disks.
const BUGS: [Bug; 3] = [
    Bug::OverlapIgnored,
    Bug::ReadErrorIsFinal,
    Bug::RebuildingMemberRead,
];

#[test]
fn the_corpus_finds_planted_bugs() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/shelf");
    let files = std::fs::read_dir(corpus).unwrap();
    let inputs: Vec<_> = files
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let is_found = |bug: &Bug| {
        plant(Some(*bug));
        let found = inputs
            .iter()
            .filter(|data| catch_unwind(|| fuzzing::shelf::run(data)).is_err());
        let count = found.count();
        plant(None);
        eprintln!("{bug:?}: {count}");
        count > 0
    };
    let missed: Vec<Bug> = BUGS.into_iter().filter(|bug| !is_found(bug)).collect();
    assert!(
        missed.is_empty(),
        "not found by {} inputs: {missed:?}",
        inputs.len()
    );
}
