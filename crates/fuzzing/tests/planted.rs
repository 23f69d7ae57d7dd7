//! The oracle of the live core can fail: bugs that are built in on purpose are found by the corpus.

use raid::planted::{Bug, plant};
use std::panic::catch_unwind;
use std::path::Path;

/// Bugs that need no power cut to do harm.
const BUGS: [Bug; 4] = [
    Bug::AckBeforeDurable,
    Bug::StepsOutOfOrder,
    Bug::OverlapIgnored,
    Bug::ReadErrorIsFinal,
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
        let is_found = found.count() > 0;
        plant(None);
        is_found
    };
    let missed: Vec<Bug> = BUGS.into_iter().filter(|bug| !is_found(bug)).collect();
    assert!(
        missed.is_empty(),
        "not found by {} inputs: {missed:?}",
        inputs.len()
    );
}
