//! See [`relay_fuzz::cursor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::cursor(data));
