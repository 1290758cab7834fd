//! See [`relay_fuzz::inversion_indigo`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::inversion_indigo(data));
