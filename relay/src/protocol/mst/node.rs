//! One node of the tree, and what becomes of nodes when a key comes or goes.
//!
//! Recursion goes down one layer per call; there are at most 128, as many as a SHA-256 has pairs of bits.

use std::mem;

use super::{Blocks, KEY_BYTES_MAX, MstError, NODE_ENTRIES_MAX, layer, shared_prefix_bytes};
use crate::protocol::cbor::{Reader, Writer};
use crate::protocol::cid::Cid;

/// Least bytes of an encoded entry: four keys, a key suffix of one byte, no prefix, no subtree, and a link.
const ENTRY_BYTES_MIN: usize = 54;

/// Head of a node, and its key `e`.
const NODE_E: &[u8] = b"\xa2\x61e";
/// Key `l` of a node.
const L: &[u8] = b"\x61l";
/// Head of an entry, and its key `k`.
const ENTRY_K: &[u8] = b"\xa4\x61k";
/// The other keys of an entry.
const P: &[u8] = b"\x61p";
const T: &[u8] = b"\x61t";
const V: &[u8] = b"\x61v";

/// A node: the keys of one layer in order, and between them the subtrees of the layer below.
pub(super) struct Node {
    layer: u8,
    /// The node's CID as long as it is not changed.
    cid: Cid,
    is_changed: bool,
    /// Subtree before the first entry.
    left: Option<Link>,
    entries: Vec<Entry>,
}

struct Entry {
    key: Box<[u8]>,
    value: Cid,
    /// Subtree between this entry and the next.
    right: Option<Link>,
}

/// A node that is named or at hand.
pub(super) enum Link {
    Stored(Cid),
    Loaded(Box<Node>),
}

/// One change of one key.
pub(super) struct Edit<'k> {
    pub key: &'k [u8],
    pub layer: u8,
    pub change: Change,
}

#[derive(Clone, Copy)]
pub(super) enum Change {
    Read,
    Insert(Cid),
    Update(Cid),
    Remove,
}

/// The keys between which all keys of a subtree must lie. It also keeps a node from being loaded in two places, so
/// that a tree in memory is never larger than its blocks allow.
#[derive(Clone, Copy)]
pub(super) struct Within<'k> {
    /// Exclusive; no key is empty.
    after: &'k [u8],
    before: Option<&'k [u8]>,
}

impl Within<'_> {
    pub const ALL: Within<'static> = Within { after: &[], before: None };

    fn check(&self, entries: &[Entry]) -> Result<(), MstError> {
        let is_after = entries.first().is_none_or(|first| *first.key > *self.after);
        let is_before = entries.last().is_none_or(|last| self.before.is_none_or(|before| *last.key < *before));
        if is_after && is_before { Ok(()) } else { Err(MstError::KeyOrder) }
    }
}

impl Link {
    /// The node of a subtree, which is on layer `layer`.
    fn into_node(self, layer: u8, within: Within<'_>, blocks: &dyn Blocks) -> Result<Box<Node>, MstError> {
        let cid = match self {
            Link::Loaded(node) => return Ok(node),
            Link::Stored(cid) => cid,
        };
        let node = Node::parse(cid, blocks)?;
        if node.entries.is_empty() && node.left.is_none() {
            return Err(MstError::EmptyNode);
        }
        within.check(&node.entries)?;
        Ok(Box::new(node.on_layer(layer)?))
    }

    /// The node at the top, which is on the layer of its keys.
    pub fn into_root(self, blocks: &dyn Blocks) -> Result<Box<Node>, MstError> {
        let cid = match self {
            Link::Loaded(node) => return Ok(node),
            Link::Stored(cid) => cid,
        };
        let node = Node::parse(cid, blocks)?;
        match node.entries.first().map(|first| layer(&first.key)) {
            Some(layer) => Ok(Box::new(node.on_layer(layer)?)),
            None if node.left.is_none() => Ok(Box::new(node)),
            None => Err(MstError::EmptyNode),
        }
    }

    fn cid(&self) -> &Cid {
        match self {
            Link::Stored(cid) => cid,
            Link::Loaded(node) => &node.cid,
        }
    }

    pub fn write(&mut self, buffer: &mut Vec<u8>, sink: &mut dyn FnMut(Cid, &[u8])) -> Cid {
        match self {
            Link::Stored(cid) => *cid,
            Link::Loaded(node) => node.write(buffer, sink),
        }
    }
}

impl Node {
    pub fn empty(layer: u8) -> Node {
        Node::new(layer, None, Vec::new())
    }

    fn new(layer: u8, left: Option<Link>, entries: Vec<Entry>) -> Node {
        Node { layer, cid: Cid::default(), is_changed: true, left, entries }
    }

    /// Applies a change to the subtree below this node, whose layer is at least that of the key; returns the value
    /// that the key has or had.
    pub fn edit(&mut self, edit: &Edit<'_>, within: Within<'_>, blocks: &dyn Blocks) -> Result<Cid, MstError> {
        let result = match (self.find(edit.key), edit.change) {
            (Ok(_), Change::Insert(_)) => Err(MstError::KeyExists),
            (Ok(place), Change::Read) => Ok(self.entries[place].value),
            (Ok(place), Change::Update(value)) => Ok(mem::replace(&mut self.entries[place].value, value)),
            (Ok(place), Change::Remove) => self.remove(place, within, blocks),
            (Err(gap), _) if self.layer > edit.layer => self.edit_below(gap, edit, within, blocks),
            (Err(gap), Change::Insert(value)) if self.layer == edit.layer => {
                self.insert(gap, edit.key, value, within, blocks)?;
                Ok(value)
            }
            (Err(_), _) => Err(MstError::NoSuchKey),
        };
        self.is_changed |= result.is_ok() && !matches!(edit.change, Change::Read);
        result
    }

    /// Applies a change to the subtree in `gap`; one that has become empty goes.
    fn edit_below(
        &mut self,
        gap: usize,
        edit: &Edit<'_>,
        within: Within<'_>,
        blocks: &dyn Blocks,
    ) -> Result<Cid, MstError> {
        let link = self.gap(gap).take();
        let within = self.within(gap, within);
        let mut child = match link {
            Some(link) => link.into_node(self.layer - 1, within, blocks)?,
            None => Box::new(Node::empty(self.layer - 1)),
        };
        let result = child.edit(edit, within, blocks);
        *self.gap(gap) = child.into_link();
        result
    }

    fn insert(
        &mut self,
        gap: usize,
        key: &[u8],
        value: Cid,
        within: Within<'_>,
        blocks: &dyn Blocks,
    ) -> Result<(), MstError> {
        let subtree = self.gap(gap).take();
        let (before, after) = split(subtree, key, self.layer.saturating_sub(1), self.within(gap, within), blocks)?;
        *self.gap(gap) = before;
        self.entries.insert(gap, Entry { key: key.into(), value, right: after });
        Ok(())
    }

    fn remove(&mut self, place: usize, within: Within<'_>, blocks: &dyn Blocks) -> Result<Cid, MstError> {
        let Entry { key, value, right } = self.entries.remove(place);
        let left = self.gap(place).take();
        let below = self.layer.saturating_sub(1);
        *self.gap(place) = merge(left, right, &key, below, self.within(place, within), blocks)?;
        Ok(value)
    }

    /// Whether keys at or below this node begin with `prefix`, as `key` does.
    pub fn has_prefix(
        &mut self,
        prefix: &[u8],
        key: &[u8],
        within: Within<'_>,
        blocks: &dyn Blocks,
    ) -> Result<bool, MstError> {
        let Err(gap) = self.find(key) else { return Ok(true) };
        let neighbours = &self.entries[gap.saturating_sub(1)..self.entries.len().min(gap + 1)];
        if neighbours.iter().any(|entry| entry.key.starts_with(prefix)) {
            return Ok(true);
        }
        let Some(link) = self.gap(gap).take() else { return Ok(false) };
        let within = self.within(gap, within);
        let mut child = link.into_node(self.layer.saturating_sub(1), within, blocks)?;
        let found = child.has_prefix(prefix, key, within, blocks);
        *self.gap(gap) = Some(Link::Loaded(child));
        found
    }

    /// Place of the entry with this key, or the gap in which the key would be.
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| (*entry.key).cmp(key))
    }

    /// The subtree before the entry at `place`; the last gap is behind all entries.
    fn gap(&mut self, place: usize) -> &mut Option<Link> {
        match place {
            0 => &mut self.left,
            _ => &mut self.entries[place - 1].right,
        }
    }

    /// The keys between which the subtree in `gap` lies.
    fn within<'k>(&'k self, gap: usize, outer: Within<'k>) -> Within<'k> {
        let key = |entry: &'k Entry| &*entry.key;
        let after = gap.checked_sub(1).map_or(outer.after, |place| key(&self.entries[place]));
        Within { after, before: self.entries.get(gap).map(key).or(outer.before) }
    }

    fn into_link(self: Box<Self>) -> Option<Link> {
        if self.entries.is_empty() && self.left.is_none() { None } else { Some(Link::Loaded(self)) }
    }

    /// The root as part of a tree that reaches at least to `layer`.
    pub fn raised(self: Box<Self>, layer: u8) -> Box<Node> {
        let mut root = self;
        while root.layer < layer {
            let next = root.layer + 1;
            root = Box::new(Node::new(next, root.into_link(), Vec::new()));
        }
        root
    }

    /// The root without the nodes at the top that have no entries; `None` when nothing is left.
    ///
    /// A subtree that is not among the blocks becomes the root as it is: if it has no entries either, the tree's CID
    /// is not that of any valid tree.
    pub fn trimmed(self: Box<Self>, blocks: &dyn Blocks) -> Result<Option<Link>, MstError> {
        let mut root = self;
        while root.entries.is_empty() {
            root = match root.left.take() {
                None => return Ok(None),
                Some(Link::Stored(cid)) if blocks.get(&cid).is_none() => return Ok(Some(Link::Stored(cid))),
                Some(link) => link.into_node(root.layer.saturating_sub(1), Within::ALL, blocks)?,
            };
        }
        Ok(Some(Link::Loaded(root)))
    }

    /// Gives the node its layer, after checking that it is that of each key.
    fn on_layer(mut self, layer_wanted: u8) -> Result<Node, MstError> {
        let has_subtrees = self.left.is_some() || self.entries.iter().any(|entry| entry.right.is_some());
        let are_keys_right = self.entries.iter().all(|entry| layer(&entry.key) == layer_wanted);
        if !are_keys_right || (layer_wanted == 0 && has_subtrees) {
            return Err(MstError::Layer);
        }
        self.layer = layer_wanted;
        Ok(self)
    }

    /// Reads a node: `{e: [{k, p, t, v}, …], l}`.
    fn parse(cid: Cid, blocks: &dyn Blocks) -> Result<Node, MstError> {
        let block = blocks.get(&cid).ok_or(MstError::MissingBlock(cid))?;
        let mut reader = Reader::new(block);
        expect(&mut reader, NODE_E)?;
        let count = reader.array()?;
        if count > NODE_ENTRIES_MAX {
            return Err(MstError::TooManyEntries(count));
        }
        let mut entries = Vec::with_capacity((count as usize).min(block.len() / ENTRY_BYTES_MIN));
        for _ in 0..count {
            let entry = Entry::parse(&mut reader, entries.last())?;
            entries.push(entry);
        }
        expect(&mut reader, L)?;
        let left = reader.nullable(Reader::cid)?.map(Link::Stored);
        reader.finish()?;
        Ok(Node { layer: 0, cid, is_changed: false, left, entries })
    }

    /// Encodes what was changed at and below this node, children first, in `buffer`.
    pub fn write(&mut self, buffer: &mut Vec<u8>, sink: &mut dyn FnMut(Cid, &[u8])) -> Cid {
        if !self.is_changed {
            return self.cid;
        }
        for place in 0..=self.entries.len() {
            if let Some(link) = self.gap(place) {
                link.write(buffer, sink);
            }
        }
        buffer.clear();
        self.encode(&mut Writer::new(buffer));
        self.cid = Cid::of(buffer);
        self.is_changed = false;
        sink(self.cid, buffer);
        self.cid
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.raw(NODE_E).array(self.entries.len());
        let mut previous: &[u8] = &[];
        for entry in &self.entries {
            let shared = shared_prefix_bytes(previous, &entry.key);
            writer.raw(ENTRY_K).bytes(&entry.key[shared..]).raw(P).uint(shared as u64);
            writer.raw(T).nullable_cid(entry.right.as_ref().map(Link::cid)).raw(V).cid(&entry.value);
            previous = &entry.key;
        }
        writer.raw(L).nullable_cid(self.left.as_ref().map(Link::cid));
    }
}

impl Entry {
    fn parse(reader: &mut Reader<'_>, previous: Option<&Entry>) -> Result<Entry, MstError> {
        expect(reader, ENTRY_K)?;
        let suffix = reader.bytes()?;
        expect(reader, P)?;
        let shared = usize::try_from(reader.uint()?).map_err(|_| MstError::KeyOrder)?;
        let key = join_key(previous.map_or(&[], |previous| &previous.key), shared, suffix)?;
        expect(reader, T)?;
        let right = reader.nullable(Reader::cid)?.map(Link::Stored);
        expect(reader, V)?;
        let value = reader.cid()?;
        Ok(Entry { key, value, right })
    }
}

/// Puts a key together from what it shares with the one before and what follows. Where the two part, the key's byte
/// must be the greater one: then it comes after the one before, and shares no more with it.
fn join_key(previous: &[u8], shared: usize, suffix: &[u8]) -> Result<Box<[u8]>, MstError> {
    let prefix = previous.get(..shared).ok_or(MstError::KeyOrder)?;
    if suffix.first() <= previous.get(shared) {
        return Err(MstError::KeyOrder);
    }
    if shared + suffix.len() > KEY_BYTES_MAX {
        return Err(MstError::KeyTooLong(shared + suffix.len()));
    }
    Ok([prefix, suffix].concat().into_boxed_slice())
}

fn expect(reader: &mut Reader<'_>, encoded: &[u8]) -> Result<(), MstError> {
    if reader.skip_exact(encoded) { Ok(()) } else { Err(MstError::Fields) }
}

/// Splits a subtree on `layer` into the keys before and after `key`. One that lies whole on one side is not changed.
fn split(
    subtree: Option<Link>,
    key: &[u8],
    layer: u8,
    within: Within<'_>,
    blocks: &dyn Blocks,
) -> Result<(Option<Link>, Option<Link>), MstError> {
    let Some(link) = subtree else { return Ok((None, None)) };
    let mut node = link.into_node(layer, within, blocks)?;
    let Err(gap) = node.find(key) else { return Err(MstError::KeyExists) };
    let below = node.gap(gap).take();
    let (before, after) = split(below, key, layer.saturating_sub(1), node.within(gap, within), blocks)?;
    if after.is_none() && gap == node.entries.len() {
        *node.gap(gap) = before;
        return Ok((Some(Link::Loaded(node)), None));
    }
    if before.is_none() && gap == 0 {
        node.left = after;
        return Ok((None, Some(Link::Loaded(node))));
    }
    let right = Node::new(layer, after, node.entries.split_off(gap));
    *node.gap(gap) = before;
    node.is_changed = true;
    Ok((Some(Link::Loaded(node)), Some(Link::Loaded(Box::new(right)))))
}

/// Joins two neighbouring subtrees on `layer`, between which `key` was.
fn merge(
    left: Option<Link>,
    right: Option<Link>,
    key: &[u8],
    layer: u8,
    within: Within<'_>,
    blocks: &dyn Blocks,
) -> Result<Option<Link>, MstError> {
    let (before_key, after_key) = (Within { before: Some(key), ..within }, Within { after: key, ..within });
    let (left, right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        (Some(left), None) => return check_edge(left, Edge::Right, layer, before_key, blocks).map(Some),
        (None, Some(right)) => return check_edge(right, Edge::Left, layer, after_key, blocks).map(Some),
        (None, None) => return Ok(None),
    };
    let mut left = left.into_node(layer, before_key, blocks)?;
    let mut right = right.into_node(layer, after_key, blocks)?;
    let middle = left.entries.len();
    let (before, after) = (left.gap(middle).take(), right.left.take());
    left.entries.append(&mut right.entries);
    *left.gap(middle) = merge(before, after, key, layer.saturating_sub(1), left.within(middle, within), blocks)?;
    left.is_changed = true;
    Ok(Some(Link::Loaded(left)))
}

#[derive(Clone, Copy)]
enum Edge {
    Left,
    Right,
}

/// Checks that a subtree on `layer`, which stays as it is when the key beside it goes, was all on its side of the key.
/// Nothing else would notice: without the key the tree is in order again. Nodes that are not at hand are not needed.
fn check_edge(subtree: Link, edge: Edge, layer: u8, within: Within<'_>, blocks: &dyn Blocks) -> Result<Link, MstError> {
    if matches!(&subtree, Link::Stored(cid) if blocks.get(cid).is_none()) {
        return Ok(subtree);
    }
    let mut node = subtree.into_node(layer, within, blocks)?;
    let gap = match edge {
        Edge::Left => 0,
        Edge::Right => node.entries.len(),
    };
    if let Some(below) = node.gap(gap).take() {
        let below = check_edge(below, edge, layer.saturating_sub(1), node.within(gap, within), blocks)?;
        *node.gap(gap) = Some(below);
    }
    Ok(Link::Loaded(node))
}
