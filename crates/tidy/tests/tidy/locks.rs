//! Nobody waits for another thread on the way of a request: what a worker runs has no lock, but where one is
//! named here, with why it is not on the way.
//!
//! Packages that a worker is made of are looked at as a whole: what could lock is rare enough to name each
//! file. That workers make no system call to wait for another thread is counted while they serve, by
//! `crates/ledged/tests/calls.rs`.

use crate::no_objections;
use crate::tree::{self, File};

/// What a worker is made of.
const PACKAGES: &[&str] = &["aoe", "ata", "raid", "shelf", "disk", "port", "engine"];

/// Types and functions of `std` and of crates by which a thread can wait for another one.
const WORDS: &[&str] = &[
    "Barrier",
    "Condvar",
    "LazyLock",
    "Mutex",
    "Once",
    "OnceLock",
    "ReentrantLock",
    "RwLock",
    "SegQueue",
    "ShardedLock",
    "WaitGroup",
    "mpsc",
    "park",
    "park_timeout",
    "parking_lot",
    "unpark",
];

/// Functions that wait. Workers use those of channels that do not, `try_send` and `try_recv`.
const CALLS: &[&str] = &[
    ".join()",
    ".recv(",
    ".recv_deadline(",
    ".recv_timeout(",
    ".send_timeout(",
    "sleep(",
];

/// Where one is, which, and why no request ever waits for it.
const PLACES: &[(&str, &[&str], &str)] = &[
    (
        "crates/disk/src/helper.rs",
        &["mpsc", ".join()", ".recv(", ".recv_timeout("],
        "metadata, which the administration reads and writes by a thread of the drive",
    ),
    (
        "crates/disk/src/job.rs",
        &["Condvar", "Mutex"],
        "jobs on whole drives, between the thread of each and the administration",
    ),
    (
        "crates/disk/src/ram.rs",
        &["Mutex"],
        "drives in memory, for tests and measurements: their users are the kernel's drives",
    ),
    (
        "crates/disk/src/program.rs",
        &["OnceLock", "sleep("],
        "smartctl and ledctl, which threads of the daemon wait for",
    ),
    (
        "crates/disk/src/smart/run.rs",
        &["mpsc", ".recv_timeout("],
        "smartctl, which a thread of the daemon waits for",
    ),
    (
        "crates/engine/src/worker.rs",
        &["sleep(", ".recv("],
        "the idle wait of a worker, the start of one, and the end of one whose io_uring broke",
    ),
    (
        "crates/engine/src/worker/wait_set.rs",
        &["sleep("],
        "the idle wait of a worker",
    ),
    (
        "crates/engine/src/all_ports.rs",
        &["sleep("],
        "whoever takes a port out, on a thread of the daemon, until the workers have answered what came by it",
    ),
    (
        "crates/engine/src/worker/replies.rs",
        &["Mutex"],
        "which interface has which pace: looked up where a worker starts and, by the daemon, where a port is added",
    ),
    (
        "crates/engine/src/workers.rs",
        &[
            "Mutex",
            "sleep(",
            ".join()",
            ".recv_deadline(",
            ".recv_timeout(",
            ".send_timeout(",
        ],
        "the administration, which waits for workers; no worker waits for it",
    ),
    (
        "crates/port/src/memory.rs",
        &["Mutex"],
        "ports in memory, for tests",
    ),
    (
        "crates/port/src/patience.rs",
        &["sleep("],
        "what the kernel refuses for a moment when a port is opened",
    ),
    (
        "crates/port/src/ring/shared.rs",
        &["Mutex"],
        "areas for ports are given out when these are opened",
    ),
    (
        "crates/port/src/ring/supply.rs",
        &["Mutex"],
        "rings of a queue that workers share, only ever tried: who finds one in use goes on without it",
    ),
    (
        "crates/raid/src/parity/kernel.rs",
        &["OnceLock"],
        "the kernels for this processor: chosen once, at the first use, then a load",
    ),
];

#[test]
fn no_request_waits_for_a_lock() {
    let mut objections = Vec::new();
    let mut found: Vec<(String, &str)> = Vec::new();
    for file in tree::rust_files() {
        let is_of_worker = file
            .package()
            .is_some_and(|package| PACKAGES.contains(&package));
        if !is_of_worker || !file.is_source() {
            continue;
        }
        for (index, word) in blocking(&file) {
            let mut places = PLACES.iter();
            if !places.any(|(name, words, _)| *name == file.name && words.contains(&word)) {
                objections.push(format!(
                    "{}`{word}` may wait for another thread; do without, or name it in locks.rs",
                    file.at(index)
                ));
            }
            found.push((file.name.clone(), word));
        }
    }
    for (name, words, _) in PLACES {
        for word in *words {
            if !found
                .iter()
                .any(|(in_file, found)| in_file == name && found == word)
            {
                objections.push(format!(
                    "{name}: has no `{word}` any more; take it from locks.rs"
                ));
            }
        }
    }
    no_objections(&objections);
}

/// The lines that name something by which a thread can wait, up to the tests of a file.
fn blocking(file: &File) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in file.code().iter().enumerate() {
        if line == "#[cfg(test)]" {
            break;
        }
        let words = WORDS
            .iter()
            .filter(|word| tree::words(line).any(|other| other == **word));
        let calls = CALLS.iter().filter(|call| calls(line, call));
        found.extend(words.chain(calls).map(|word| (index, *word)));
    }
    found
}

/// Whether a line calls it, and nothing whose name only ends like it.
fn calls(line: &str, call: &str) -> bool {
    let mut places = line.match_indices(call);
    places.any(|(at, _)| {
        let before = line[..at]
            .chars()
            .next_back()
            .filter(|_| !call.starts_with('.'));
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn locks_are_found_in_code_and_nowhere_else() {
    let found = |text: &str| {
        let (name, text) = ("x.rs".to_owned(), text.to_owned());
        let found = blocking(&File { name, text });
        found
            .iter()
            .map(|place| place.1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(found("use std::sync::{Arc, Mutex};"), "Mutex");
    assert_eq!(found("static A: std::sync::RwLock<u8>;"), "RwLock");
    assert_eq!(found("receiver.recv();"), ".recv(");
    assert_eq!(found("thread::park();"), "park");
    assert_eq!(
        found("// a Mutex\nlet name = \"Mutex\"; let mutex = 1;"),
        ""
    );
    assert_eq!(found("inbox.try_recv(); peers.fall_asleep();"), "");
    assert_eq!(found("thread::sleep(PAUSE);"), "sleep(");
    assert_eq!(
        found("#[cfg(test)]\nmod tests { use std::sync::mpsc; }"),
        ""
    );
}
