//! The corpus, replayed.

use fuzzing::TARGETS;
use std::path::Path;

/// The corpus is small enough to be kept beside the code.
const CORPUS_BYTES_MAX: u64 = 1 << 20;

/// Conformance row 129.
#[test]
fn the_corpus_finds_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut bytes = 0;
    for (name, run) in TARGETS {
        let folder = corpus.join(name);
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            bytes += data.len() as u64;
            let outcome = std::panic::catch_unwind(|| run(&data));
            assert!(outcome.is_ok(), "{} finds something", file.display());
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes: make fuzz-corpus");
}
