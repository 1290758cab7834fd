//! See [`relay_fuzz::admin`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::admin(data));
