//! See `fuzzing::shelf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::shelf::run(data));
