//! The Merkle search tree of a repository, of which only the parts at hand are known (protocol 25).
//!
//! A [`Tree`] begins as a CID and reads nodes from a block source as changes need them, so that the few blocks of an
//! event are enough to undo its operations. A whole tree is built in the same way, from nothing.

mod node;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::cbor::CborError;
use super::cid::Cid;
use node::{Change, Edit, Link, Node, Within};

/// Most entries of one node. Each further entry is a quarter less likely: 200 are unheard of.
pub const NODE_ENTRIES_MAX: u64 = 1024;
/// Longest key, in bytes: an NSID, a slash and a record key. Keys are stored without what they share with the one
/// before, so that a short node could otherwise hold very long ones.
pub const KEY_BYTES_MAX: usize = 317 + 1 + 512;

/// Nodes are rarely longer, in bytes.
const NODE_BYTES_TYPICAL: usize = 1024;

/// Where tree nodes are read from.
pub trait Blocks {
    /// The block with this CID, if it is there.
    fn get(&self, cid: &Cid) -> Option<&[u8]>;
}

impl Blocks for HashMap<Cid, Vec<u8>> {
    fn get(&self, cid: &Cid) -> Option<&[u8]> {
        HashMap::get(self, cid).map(Vec::as_slice)
    }
}

/// A block source that notes what is read: the blocks that an inversion needs are its proof.
pub struct Recorder<'b> {
    blocks: &'b dyn Blocks,
    read: RefCell<BTreeSet<Cid>>,
}

impl<'b> Recorder<'b> {
    /// A recorder in front of `blocks`.
    pub fn new(blocks: &'b dyn Blocks) -> Recorder<'b> {
        Recorder { blocks, read: RefCell::default() }
    }

    /// The CIDs of all blocks that were read.
    pub fn into_read(self) -> BTreeSet<Cid> {
        self.read.into_inner()
    }
}

impl Blocks for Recorder<'_> {
    fn get(&self, cid: &Cid) -> Option<&[u8]> {
        self.read.borrow_mut().insert(*cid);
        self.blocks.get(cid)
    }
}

/// Why a tree cannot be read or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MstError {
    /// A node that is needed is not among the blocks.
    #[error("node {0} is not among the blocks")]
    MissingBlock(Cid),
    /// A node is not the CBOR that it must be.
    #[error("node: {0}")]
    Cbor(#[from] CborError),
    /// A node has other fields than `e` and `l`, an entry others than `k`, `p`, `t` and `v`.
    #[error("node has other fields than it must")]
    Fields,
    /// More entries than [`NODE_ENTRIES_MAX`].
    #[error("node of {0} entries; the limit is {NODE_ENTRIES_MAX}")]
    TooManyEntries(u64),
    /// A key longer than [`KEY_BYTES_MAX`].
    #[error("key of {0} bytes; the limit is {KEY_BYTES_MAX}")]
    KeyTooLong(usize),
    /// Keys out of order, or compressed by another length than what they share.
    #[error("keys are not in order, or not compressed by the prefix that they share")]
    KeyOrder,
    /// A key in a node of another layer than its hash says, or a subtree below layer 0.
    #[error("key or subtree on the wrong layer")]
    Layer,
    /// A node without entries at the top, or without anything anywhere else.
    #[error("empty node")]
    EmptyNode,
    /// The key to remove, replace or read is not there.
    #[error("key is not in the tree")]
    NoSuchKey,
    /// The key to insert is there.
    #[error("key is already in the tree")]
    KeyExists,
}

/// A tree, loaded as far as it was needed. After an error other than [`MstError::NoSuchKey`] and
/// [`MstError::KeyExists`] it is of no use any more.
pub struct Tree {
    /// `None` is the tree without keys.
    root: Option<Link>,
}

impl Tree {
    /// The tree without keys.
    pub fn empty() -> Tree {
        Tree { root: None }
    }

    /// The tree with this root, none of it loaded.
    pub fn at(root: Cid) -> Tree {
        Tree { root: Some(Link::Stored(root)) }
    }

    /// The value of `key`.
    pub fn get(&mut self, blocks: &dyn Blocks, key: &[u8]) -> Result<Cid, MstError> {
        self.edit(blocks, key, Change::Read)
    }

    /// Adds `key`.
    pub fn insert(&mut self, blocks: &dyn Blocks, key: &[u8], value: Cid) -> Result<(), MstError> {
        self.edit(blocks, key, Change::Insert(value)).map(drop)
    }

    /// Replaces the value of `key`; returns what it was.
    pub fn update(&mut self, blocks: &dyn Blocks, key: &[u8], value: Cid) -> Result<Cid, MstError> {
        self.edit(blocks, key, Change::Update(value))
    }

    /// Removes `key`; returns the value it had.
    pub fn remove(&mut self, blocks: &dyn Blocks, key: &[u8]) -> Result<Cid, MstError> {
        self.edit(blocks, key, Change::Remove)
    }

    /// Whether keys of the tree begin with `prefix`, as `key` does. Such keys are next to each other, so that the nodes on
    /// the way to `key` tell, which are those that are needed to insert it.
    pub fn has_prefix(&mut self, blocks: &dyn Blocks, prefix: &[u8], key: &[u8]) -> Result<bool, MstError> {
        let Some(link) = self.root.take() else { return Ok(false) };
        let mut root = link.into_root(blocks)?;
        let found = root.has_prefix(prefix, key, Within::ALL, blocks);
        self.root = Some(Link::Loaded(root));
        found
    }

    /// The CID of the root, for which every node that was changed since the last call is encoded and given to `sink`,
    /// children first.
    pub fn write(&mut self, mut sink: impl FnMut(Cid, &[u8])) -> Cid {
        let mut buffer = Vec::with_capacity(NODE_BYTES_TYPICAL);
        match &mut self.root {
            Some(link) => link.write(&mut buffer, &mut sink),
            None => Node::empty(0).write(&mut buffer, &mut sink),
        }
    }

    fn edit(&mut self, blocks: &dyn Blocks, key: &[u8], change: Change) -> Result<Cid, MstError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(MstError::KeyTooLong(key.len()));
        }
        let edit = Edit { key, layer: layer(key), change };
        let mut root = match self.root.take() {
            Some(link) => link.into_root(blocks)?,
            None => Box::new(Node::empty(0)),
        };
        if let Change::Insert(_) = change {
            root = root.raised(edit.layer);
        }
        let result = root.edit(&edit, Within::ALL, blocks);
        self.root = root.trimmed(blocks)?;
        result
    }
}

/// The layer of a key, counted from the leaves: pairs of zero bits that its SHA-256 begins with.
pub fn layer(key: &[u8]) -> u8 {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let zero_bytes = digest.iter().take_while(|byte| **byte == 0).count();
    let zero_bits = digest.get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    (zero_bytes as u32 * 4 + zero_bits / 2) as u8
}

/// How many bytes two keys begin with in common: a node stores a key without what it shares with the one before.
pub fn shared_prefix_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
