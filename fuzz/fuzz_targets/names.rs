//! See [`relay_fuzz::names`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::names(data));
