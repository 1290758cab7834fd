//! See [`relay_fuzz::mst_node`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::mst_node(data));
