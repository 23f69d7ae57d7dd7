//! See `fuzzing::logins`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::logins::run(data));
