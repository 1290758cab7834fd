//! See [`relay_fuzz::check_commit`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::check_commit(data));
