//! Any bytes as the nodes of a tree, whatever the CIDs by which they are asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::protocol::cid::Cid;
use relay::protocol::mst::{Blocks, Tree};

/// Gives one of its parts for each CID, so that a fuzzer need not find hashes.
struct AnyBlocks<'d>(Vec<&'d [u8]>);

impl Blocks for AnyBlocks<'_> {
    fn get(&self, cid: &Cid) -> Option<&[u8]> {
        let place = usize::from(cid.digest()[0]) % self.0.len();
        Some(self.0[place])
    }
}

const SEPARATOR: &[u8] = b"\xff\xff";
const KEY: &[u8] = b"com.example.record/3jzfcijpj2z2a";

fuzz_target!(|data: &[u8]| {
    let mut blocks = AnyBlocks(Vec::new());
    let mut rest = data;
    while let Some(end) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        blocks.0.push(&rest[..end]);
        rest = &rest[end + SEPARATOR.len()..];
    }
    blocks.0.push(rest);
    let value = Cid::of(data);
    let mut tree = Tree::at(Cid::default());
    if tree.insert(&blocks, KEY, value).is_ok() {
        tree.write(|_, _| ());
        assert_eq!(tree.get(&blocks, KEY), Ok(value));
        if tree.remove(&blocks, KEY).is_ok() {
            tree.write(|_, _| ());
        }
    }
});
