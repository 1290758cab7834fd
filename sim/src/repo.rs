//! A repository: records in a Merkle search tree, and what changes of it look like on the wire.

use std::collections::{BTreeMap, HashMap};

use relay::protocol::cid::Cid;
use relay::protocol::frame::{Action, RepoOp};
use relay::protocol::mst::{Recorder, Tree};
use relay::protocol::proof::invert;

/// Blocks by CID.
pub type Blocks = BTreeMap<Cid, Vec<u8>>;

/// One change that an account makes.
#[derive(Debug, Clone)]
pub enum Write {
    /// A new record at a path that has none.
    Create {
        /// `collection/rkey`
        path: String,
        /// The record's block.
        record: Vec<u8>,
    },
    /// Another record at a path that has one.
    Update {
        /// `collection/rkey`
        path: String,
        /// The record's block.
        record: Vec<u8>,
    },
    /// No record any more.
    Delete {
        /// `collection/rkey`
        path: String,
    },
}

/// One operation, as a `#commit` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// What happened.
    pub action: Action,
    /// To which record.
    pub path: String,
    /// Its CID now.
    pub cid: Option<Cid>,
    /// Its CID before.
    pub prev: Option<Cid>,
}

impl Op {
    /// The form in which the relay's encoder takes it.
    pub fn as_frame(&self) -> RepoOp<'_> {
        RepoOp { action: self.action, path: &self.path, cid: self.cid, prev: self.prev }
    }
}

/// What a set of writes has done.
pub struct Applied {
    /// The operations.
    pub ops: Vec<Op>,
    /// The new records, the new tree nodes, and those that the proof needs.
    pub blocks: Blocks,
}

/// The records of an account and their tree.
#[derive(Clone)]
pub struct Repo {
    /// Every tree node that ever was.
    nodes: HashMap<Cid, Vec<u8>>,
    data: Cid,
    records: BTreeMap<String, Cid>,
}

impl Default for Repo {
    fn default() -> Repo {
        let mut nodes = HashMap::new();
        let data = Tree::empty().write(|cid, node| drop(nodes.insert(cid, node.to_vec())));
        Repo { nodes, data, records: BTreeMap::new() }
    }
}

impl Repo {
    /// Root of the tree.
    pub fn data(&self) -> Cid {
        self.data
    }

    /// Paths and CIDs of the records.
    pub fn records(&self) -> &BTreeMap<String, Cid> {
        &self.records
    }

    /// Makes changes.
    ///
    /// # Panics
    ///
    /// When a write does not fit the repository, like a delete of what is not there.
    pub fn apply(&mut self, writes: Vec<Write>) -> Applied {
        let mut tree = Tree::at(self.data);
        let mut blocks = Blocks::new();
        let ops: Vec<Op> = writes.into_iter().map(|write| self.apply_one(&mut tree, write, &mut blocks)).collect();
        self.data = tree.write(|cid, node| {
            self.nodes.insert(cid, node.to_vec());
            blocks.insert(cid, node.to_vec());
        });
        for cid in self.proof(&ops) {
            blocks.insert(cid, self.nodes[&cid].clone());
        }
        Applied { ops, blocks }
    }

    fn apply_one(&mut self, tree: &mut Tree, write: Write, blocks: &mut Blocks) -> Op {
        let fits = "a write that fits the repository";
        let (action, path, record) = match write {
            Write::Create { path, record } => (Action::Create, path, Some(record)),
            Write::Update { path, record } => (Action::Update, path, Some(record)),
            Write::Delete { path } => (Action::Delete, path, None),
        };
        let cid = record.as_deref().map(Cid::of);
        let prev = match cid {
            Some(cid) => self.records.insert(path.clone(), cid),
            None => self.records.remove(&path),
        };
        let key = path.as_bytes();
        match (action, cid) {
            (Action::Create, Some(cid)) => tree.insert(&self.nodes, key, cid).expect(fits),
            (Action::Update, Some(cid)) => drop(tree.update(&self.nodes, key, cid).expect(fits)),
            _ => drop(tree.remove(&self.nodes, key).expect(fits)),
        }
        blocks.extend(cid.zip(record));
        Op { action, path, cid, prev }
    }

    /// The tree nodes that are needed to undo operations.
    fn proof(&self, ops: &[Op]) -> impl Iterator<Item = Cid> {
        let recorder = Recorder::new(&self.nodes);
        let ops: Vec<RepoOp<'_>> = ops.iter().map(Op::as_frame).collect();
        invert(&mut Tree::at(self.data), &recorder, &ops).expect("operations that were just done can be undone");
        recorder.into_read().into_iter()
    }
}
