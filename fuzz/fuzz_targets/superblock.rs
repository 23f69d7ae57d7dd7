//! See `fuzzing::superblock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::superblock::run(data));
