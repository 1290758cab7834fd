//! See [`relay_fuzz::car`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::car(data));
