//! See [`relay_fuzz::cbor`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::cbor(data));
