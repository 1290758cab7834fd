//! A repository's tree, what was done to it, and what a message says of it, all made of any bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use relay::protocol::cid::Cid;
use relay::protocol::frame::{Action, RepoOp};
use relay::protocol::mst::{Recorder, Tree, layer};
use relay::protocol::proof::invert;

/// Tree nodes by CID.
pub type Nodes = HashMap<Cid, Vec<u8>>;
/// Records by path.
pub type Records = BTreeMap<&'static str, Cid>;

/// Paths, in order within each of their collections. Each further layer has half as many, rather than a quarter, so that
/// small trees are deep.
static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let path = |place: usize| {
        let wanted = ((place * 37 + 11) % PATHS_COUNT).trailing_zeros().min(LAYER_MAX) as u8;
        let collection = COLLECTIONS[place * COLLECTIONS.len() / PATHS_COUNT];
        let mut tries = (0..).map(|number| format!("{collection}/{place:03}-{number}"));
        tries.find(|path| layer(path.as_bytes()) == wanted).expect("one of endlessly many")
    };
    (0..PATHS_COUNT).map(path).collect()
});

/// Collections, of which one's name is the begin of others'.
const COLLECTIONS: [&str; 4] = ["com.example.record", "com.example.record.a", "com.example.records", "com.example.z"];
/// The begin of a node without entries.
const NO_ENTRIES: &[u8] = b"\xa2\x61e\x80";
const PATHS_COUNT: usize = 128;
const LAYER_MAX: u32 = 5;
const RECORDS_MAX: u8 = 48;
const OPS_MAX: u8 = 12;
const LIES_MAX: u8 = 2;

/// A path on each layer, from 0.
pub static PATH_ON_LAYER: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let on = |wanted: u32| PATHS.iter().find(|path| u32::from(layer(path.as_bytes())) == wanted);
    (0..=LAYER_MAX).filter_map(on).map(String::as_str).collect()
});

/// A commit without its signature.
#[derive(Debug)]
pub struct Case {
    /// Root of the tree after it.
    pub data: Cid,
    /// The nodes that the message has.
    pub given: Nodes,
    /// What the message says was done, in the order in which it is undone.
    pub ops: Vec<RepoOp<'static>>,
    /// All nodes are given, or the operations are what was done and the nodes that undoing them needs are given.
    pub is_enough: bool,
    /// Root of the tree that undoing the operations leads to; `None` when they are not what can have been done.
    pub undone: Option<Cid>,
    /// Nodes that are not given, and hold nothing but a subtree. No tree has one for its root; in a tree that comes to
    /// have, it stays there unseen.
    pub hollow: Vec<Cid>,
    /// The records after it.
    pub records: Records,
}

/// Bytes one after the other, zeros behind the end.
struct Bytes<'d>(&'d [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn up_to(&mut self, most: u8) -> u8 {
        self.next() % (most + 1)
    }

    fn path(&mut self) -> &'static str {
        &PATHS[usize::from(self.next()) % PATHS_COUNT]
    }

    fn cid(&mut self) -> Cid {
        Cid::of(&[self.next()])
    }
}

impl Case {
    /// Every input is a case.
    pub fn read(data: &[u8]) -> Case {
        let mut bytes = Bytes(data);
        let before: Records = (0..bytes.up_to(RECORDS_MAX)).map(|_| (bytes.path(), bytes.cid())).collect();
        let mut after = before.clone();
        let mut ops: Vec<RepoOp<'static>> = Vec::new();
        for _ in 0..bytes.up_to(OPS_MAX) {
            let (path, cid) = (bytes.path(), bytes.cid());
            if ops.iter().all(|op| op.path != path) {
                ops.push(apply(&mut after, path, cid));
            }
        }
        let (data, nodes) = build(&after);
        order(&mut ops);
        let recorder = Recorder::new(&nodes);
        invert(&mut Tree::at(data), &recorder, &ops).expect("what was just done can be undone");
        let proof: Nodes =
            recorder.into_read().into_iter().map(|cid| (cid, nodes.get(&cid).expect("a node").clone())).collect();

        let lies = bytes.up_to(LIES_MAX);
        (0..lies).for_each(|_| lie(&mut ops, &after, &mut bytes));
        // Indigo refuses to undo what changes nothing.
        ops.retain(|op| op.cid != op.prev);
        order(&mut ops);
        let choice = bytes.next();
        let mut given = if choice & 1 == 0 { nodes.clone() } else { proof };
        if choice & 2 != 0 {
            let mut cids: Vec<Cid> = given.keys().copied().collect();
            cids.sort_unstable();
            let place = usize::from(bytes.next()) % cids.len().max(1);
            cids.get(place).map(|cid| given.remove(cid));
        }
        let undone = undo(after.clone(), &ops).map(|records| build(&records).0);
        let is_enough = given.len() == nodes.len() || (lies == 0 && choice & 2 == 0);
        let is_hollow = |(cid, node): &(&Cid, &Vec<u8>)| node.starts_with(NO_ENTRIES) && !given.contains_key(*cid);
        let hollow = nodes.iter().filter(is_hollow).map(|(cid, _)| *cid).collect();
        Case { data, given, ops, is_enough, undone, hollow, records: after }
    }

    /// Whether there are records of a collection after it.
    pub fn has(&self, collection: &str) -> bool {
        self.records.keys().filter_map(|path| path.split_once('/')).any(|(name, _)| name == collection)
    }
}

/// Does something to the record at `path`: what there is to do, by whether there is one.
fn apply(records: &mut Records, path: &'static str, cid: Cid) -> RepoOp<'static> {
    match records.remove(path) {
        // A half of the records that are there are deleted, and those that would get the same content.
        Some(prev) if prev == cid || cid.digest()[0] & 1 == 0 => {
            RepoOp { action: Action::Delete, path, cid: None, prev: Some(prev) }
        }
        prev => {
            records.insert(path, cid);
            let action = if prev.is_some() { Action::Update } else { Action::Create };
            RepoOp { action, path, cid: Some(cid), prev }
        }
    }
}

/// Changes what is said.
fn lie(ops: &mut Vec<RepoOp<'static>>, after: &Records, bytes: &mut Bytes<'_>) {
    let (kind, path, cid) = (bytes.up_to(5), bytes.path(), bytes.cid());
    let place = usize::from(bytes.next()) % ops.len().max(1);
    let there = after.get(path).copied().unwrap_or(cid);
    let said = match kind {
        0 if !ops.is_empty() => {
            ops.remove(place);
            return;
        }
        1 => return ops.get_mut(place).map_or((), |op| op.cid = op.cid.map(|_| cid)),
        2 => return ops.get_mut(place).map_or((), |op| op.prev = op.prev.map(|_| cid)),
        3 => RepoOp { action: Action::Update, path, cid: Some(there), prev: Some(cid) },
        4 => RepoOp { action: Action::Delete, path, cid: None, prev: Some(cid) },
        _ => RepoOp { action: Action::Create, path, cid: Some(there), prev: None },
    };
    if ops.iter().all(|op| op.path != path) {
        ops.push(said);
    }
}

/// The order in which operations are undone (protocol 26).
fn order(ops: &mut [RepoOp<'_>]) {
    ops.sort_by_key(|op| (op.action != Action::Delete, op.path));
}

/// Undoes operations in the list of records: the model of what the relay does in the tree.
fn undo(mut records: Records, ops: &[RepoOp<'static>]) -> Option<Records> {
    for op in ops {
        let after = match op.prev {
            Some(prev) => records.insert(op.path, prev),
            None => records.remove(op.path),
        };
        if after != op.cid || (op.action != Action::Delete && after.is_none()) {
            return None;
        }
    }
    Some(records)
}

/// The tree of these records, built from nothing.
fn build(records: &Records) -> (Cid, Nodes) {
    let mut nodes = Nodes::new();
    let mut tree = Tree::empty();
    for (path, cid) in records {
        tree.insert(&nodes, path.as_bytes(), *cid).expect("a new path");
    }
    let root = tree.write(|cid, node| drop(nodes.insert(cid, node.to_vec())));
    (root, nodes)
}
