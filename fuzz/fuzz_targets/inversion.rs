//! See [`relay_fuzz::inversion`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::inversion(data));
