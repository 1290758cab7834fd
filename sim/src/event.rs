//! What a host sends: events before they have a seq, and their frames.

use relay::protocol::cbor::Writer;
use relay::protocol::cid::Cid;
use relay::protocol::frame::{
    self, AccountFrame, CommitFrame, Frame, IdentityFrame, RepoOp, SyncFrame, encode_account, encode_commit,
    encode_identity, encode_sync,
};

use crate::repo::{Blocks, Op};

/// An event of an account.
#[derive(Debug, Clone)]
pub enum Event {
    /// `#commit`
    Commit(Commit),
    /// `#sync`
    Sync(Sync),
    /// `#identity`
    Identity(Identity),
    /// `#account`
    Status(Status),
}

/// `#commit`
#[derive(Debug, Clone)]
pub struct Commit {
    /// The account.
    pub did: String,
    /// When it was made.
    pub time: String,
    /// Revision that it makes.
    pub rev: String,
    /// Revision that it follows.
    pub since: Option<String>,
    /// CID of the commit object.
    pub root: Cid,
    /// Tree that it follows.
    pub prev_data: Option<Cid>,
    /// What changed.
    pub ops: Vec<Op>,
    /// The commit object, tree nodes and records.
    pub blocks: Blocks,
    /// Deprecated flag.
    pub too_big: bool,
    /// Deprecated flag.
    pub rebase: bool,
}

/// `#sync`
#[derive(Debug, Clone)]
pub struct Sync {
    /// The account.
    pub did: String,
    /// When it was made.
    pub time: String,
    /// Current revision.
    pub rev: String,
    /// The commit object.
    pub commit: Vec<u8>,
}

/// `#identity`
#[derive(Debug, Clone)]
pub struct Identity {
    /// The account.
    pub did: String,
    /// When it was made.
    pub time: String,
    /// The handle, if it is stated.
    pub handle: Option<String>,
}

/// `#account`
#[derive(Debug, Clone)]
pub struct Status {
    /// The account.
    pub did: String,
    /// When it was made.
    pub time: String,
    /// Whether the host serves the account.
    pub active: bool,
    /// Why not.
    pub status: Option<String>,
}

impl Event {
    /// Whose it is.
    pub fn did(&self) -> &str {
        match self {
            Event::Commit(commit) => &commit.did,
            Event::Sync(sync) => &sync.did,
            Event::Identity(identity) => &identity.did,
            Event::Status(status) => &status.did,
        }
    }

    /// The frame with this seq.
    pub fn encode(&self, seq: u64) -> Vec<u8> {
        match self {
            Event::Commit(commit) => commit.encode(seq),
            Event::Sync(sync) => sync.encode(seq),
            Event::Identity(identity) => identity.encode(seq),
            Event::Status(status) => status.encode(seq),
        }
    }
}

impl Commit {
    /// The frame with this seq.
    pub fn encode(&self, seq: u64) -> Vec<u8> {
        self.encode_with(seq, &car(&self.root, &self.blocks))
    }

    /// The same with other bytes in place of the CAR.
    pub fn encode_with(&self, seq: u64, car: &[u8]) -> Vec<u8> {
        let ops: Vec<RepoOp<'_>> = self.ops.iter().map(Op::as_frame).collect();
        let frame = CommitFrame {
            seq,
            seq_span: 0..0,
            did: &self.did,
            time: &self.time,
            rev: &self.rev,
            since: self.since.as_deref(),
            commit: self.root,
            prev_data: self.prev_data,
            ops,
            blocks: car,
            too_big: self.too_big,
            rebase: self.rebase,
        };
        let mut bytes = Vec::new();
        encode_commit(&frame, &mut bytes);
        bytes
    }
}

impl Sync {
    /// The frame with this seq.
    pub fn encode(&self, seq: u64) -> Vec<u8> {
        let root = Cid::of(&self.commit);
        let blocks = car(&root, &Blocks::from([(root, self.commit.clone())]));
        let (did, time, rev) = (&self.did, &self.time, &self.rev);
        let mut bytes = Vec::new();
        encode_sync(&SyncFrame { seq, seq_span: 0..0, did, time, rev, blocks: &blocks }, &mut bytes);
        bytes
    }
}

impl Identity {
    /// The frame with this seq.
    pub fn encode(&self, seq: u64) -> Vec<u8> {
        let (did, time, handle) = (&self.did, &self.time, self.handle.as_deref());
        let mut bytes = Vec::new();
        encode_identity(&IdentityFrame { seq, seq_span: 0..0, did, time, handle }, &mut bytes);
        bytes
    }
}

impl Status {
    /// The frame with this seq.
    pub fn encode(&self, seq: u64) -> Vec<u8> {
        let Status { did, time, active, status } = self;
        let frame = AccountFrame { seq, seq_span: 0..0, did, time, active: *active, status: status.as_deref() };
        let mut bytes = Vec::new();
        encode_account(&frame, &mut bytes);
        bytes
    }
}

impl From<Commit> for Event {
    fn from(commit: Commit) -> Event {
        Event::Commit(commit)
    }
}

impl From<Sync> for Event {
    fn from(sync: Sync) -> Event {
        Event::Sync(sync)
    }
}

impl From<Identity> for Event {
    fn from(identity: Identity) -> Event {
        Event::Identity(identity)
    }
}

impl From<Status> for Event {
    fn from(status: Status) -> Event {
        Event::Status(status)
    }
}

/// A CAR of these blocks, the root first.
pub fn car(root: &Cid, blocks: &Blocks) -> Vec<u8> {
    let mut header = Vec::new();
    Writer::new(&mut header).map(2).text("roots").array(1).cid(root).text("version").uint(1);
    let mut car = varint(header.len());
    car.extend(header);
    let root_first = blocks.get_key_value(root).into_iter().chain(blocks.iter().filter(|(cid, _)| *cid != root));
    for (cid, block) in root_first {
        car.extend(varint(Cid::BYTES + block.len()));
        car.extend(cid.to_bytes());
        car.extend(block);
    }
    car
}

/// An unsigned LEB128 integer.
pub fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// What must be the same at both ends of a relay: the frame, with 1 for its seq. `None` when it is no event.
pub fn content(bytes: &[u8]) -> Option<Vec<u8>> {
    let seq_span = match frame::decode(bytes).ok()? {
        Frame::Commit(frame) => frame.seq_span,
        Frame::Sync(frame) => frame.seq_span,
        Frame::Identity(frame) => frame.seq_span,
        Frame::Account(frame) => frame.seq_span,
        _ => return None,
    };
    let mut content = Vec::with_capacity(bytes.len());
    frame::with_seq(bytes, seq_span, 1, &mut content);
    Some(content)
}
