//! The parts of bad frames.

use std::collections::HashMap;

use relay::protocol::cbor::{Reader, Writer};
use relay::protocol::cid::Cid;
use relay::protocol::frame::RepoOp;
use relay::protocol::mst::Tree;
use relay::protocol::proof::invert;

use crate::account::POSTS;
use crate::event::Commit;
use crate::repo::{Op, Write};

/// Whether the operations of a commit, which led to the tree `top`, cannot be undone without a block.
pub(super) fn is_needed(cid: &Cid, top: &Cid, commit: &Commit) -> bool {
    let rest = commit.blocks.iter().filter(|(other, _)| *other != cid);
    let rest: HashMap<Cid, Vec<u8>> = rest.map(|(cid, block)| (*cid, block.clone())).collect();
    let ops: Vec<RepoOp<'_>> = commit.ops.iter().map(Op::as_frame).collect();
    invert(&mut Tree::at(*top), &rest, &ops).is_err()
}

/// A frame with a field that nobody knows, which must pass as it is.
pub fn with_unknown_field(frame: Vec<u8>) -> Vec<u8> {
    with_field(frame, "somethingNew", b"\x82\x01\x65hello")
}

/// A frame with one more pair at the end of its payload. The key must be longer than all others.
pub fn with_field(frame: Vec<u8>, key: &str, value: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(&frame);
    reader.skip().expect("the header of a good frame");
    let payload = reader.position();
    let mut frame = frame;
    // The head of a map of less than 23 pairs is one byte.
    frame[payload] += 1;
    Writer::new(&mut frame).text(key).raw(value);
    frame
}

pub(super) fn create(record_key: &str, record: Vec<u8>) -> Write {
    Write::Create { path: format!("{POSTS}/{record_key}"), record }
}

/// The commit with another signature.
pub(super) fn with_signature(mut commit: Commit, change: impl FnOnce(&mut [u8; 64])) -> Commit {
    let mut object = commit.blocks.remove(&commit.root).unwrap_or_default();
    let head = b"\x63sig\x58\x40";
    let place = object.windows(head.len()).position(|window| window == head).expect("a signature") + head.len();
    let signature = object[place..].first_chunk_mut().expect("64 bytes");
    change(signature);
    with_root(commit, object)
}

/// The commit with another commit object.
pub(super) fn with_root(mut commit: Commit, object: Vec<u8>) -> Commit {
    commit.root = Cid::of(&object);
    commit.blocks.insert(commit.root, object);
    commit
}

/// The same with one other byte, which stands somewhere behind the start of `pattern`.
pub(super) fn changed(mut bytes: Vec<u8>, pattern: &[u8], place: impl FnOnce(usize) -> usize, byte: u8) -> Vec<u8> {
    let start = bytes.windows(pattern.len()).position(|window| window == pattern).expect("the pattern in good bytes");
    bytes[place(start)] = byte;
    bytes
}

/// A tree node without subtrees but the first.
pub(super) fn node(entries: &[(u64, &str, &Cid)], left: Option<&Cid>) -> Vec<u8> {
    let mut node = Vec::new();
    let mut writer = Writer::new(&mut node);
    writer.map(2).text("e").array(entries.len());
    for (shared, key, value) in entries {
        writer.map(4).text("k").bytes(key.as_bytes()).text("p").uint(*shared).text("t").null().text("v").cid(value);
    }
    writer.text("l").nullable_cid(left);
    node
}
