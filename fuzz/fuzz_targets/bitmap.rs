//! See `fuzzing::bitmap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::bitmap::run(data));
