//! What is fuzzed, each target a function of bytes: it panics when something is wrong.
//!
//! `fuzz/` wraps each of them for libFuzzer (`make fuzz`); the test of this package replays the corpus that
//! is kept in `fuzz/corpus`, without any of that. So what a fuzzer found once is tried with every
//! `make test`, and the targets are built, linted and checked with everything else.
#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Unstructured};

pub mod bitmap;
pub mod cec;
pub mod lines;
pub mod log;
pub mod logins;
pub mod shelf;
pub mod superblock;

/// A target and its name, which is that of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 7] = [
    ("shelf", shelf::run),
    ("superblock", superblock::run),
    ("bitmap", bitmap::run),
    ("log", log::run),
    ("cec", cec::run),
    ("lines", lines::run),
    ("logins", logins::run),
];

/// What bytes say, read as a fuzzer reads them; nothing where they are too few.
fn input<T: for<'a> Arbitrary<'a>>(data: &[u8]) -> Option<T> {
    T::arbitrary_take_rest(Unstructured::new(data)).ok()
}
