//! See `fuzzing::cec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::cec::run(data));
