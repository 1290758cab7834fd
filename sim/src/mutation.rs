//! Bad frames: what a broken or hostile host may send in place of an account's next commit.

use std::time::{SystemTime, UNIX_EPOCH};

use relay::protocol::cbor::{Reader, Writer};
use relay::protocol::cid::Cid;
use relay::protocol::frame::{BLOCKS_BYTES_MAX, OPS_MAX};
use relay::protocol::tid::Tid;

use crate::account::{Account, POSTS};
use crate::event::{Commit, car, varint};
use crate::repo::Write;

/// What is wrong with a commit. Its name in Rust is its name in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A bit of the signature is another.
    SignatureBit,
    /// The signature is the other valid one.
    HighS,
    /// Signed with somebody else's key.
    OtherKey,
    /// The commit object is of another account.
    OtherDid,
    /// The commit object is of another revision than the message.
    OtherRev,
    /// The commit object is of a version that does not exist.
    OtherVersion,
    /// A revision from before the last one.
    StaleRev,
    /// A revision from tomorrow.
    FutureRev,
    /// A bit of a block is another.
    BlockBit,
    /// The commit object is missing.
    NoCommit,
    /// The message names another commit than the CAR.
    OtherCommit,
    /// A tree node that the proof needs is missing.
    NoNode,
    /// A new record is missing.
    NoRecord,
    /// The root of the tree has its keys in the wrong order.
    UnsortedNode,
    /// A record is larger than records may be.
    LargeRecord,
    /// All blocks together are larger than they may be.
    LargeBlocks,
    /// The CAR ends within a block.
    CutCar,
    /// The CAR's header claims 2^60 roots.
    EndlessCarHeader,
    /// A record was written of which no operation speaks.
    HiddenOp,
    /// An operation names another record than the one in the tree.
    OtherCid,
    /// An update names another record as the one before.
    OtherPrev,
    /// An update does not name the record before.
    NoPrev,
    /// The tree before was another one.
    OtherPrevData,
    /// Nothing is said of the tree before.
    NoPrevData,
    /// Two operations on one path.
    SamePath,
    /// A path that is none.
    BadPath,
    /// More operations than a commit may have.
    ManyOps,
    /// The flag that stands for blocks left out.
    TooBig,
    /// The flag that stands for a rewritten history.
    Rebase,
    /// A DID of a method that is not used.
    BadDid,
    /// The seq is 0.
    ZeroSeq,
    /// Bytes that are no CBOR.
    Garbage,
    /// The message ends in its middle.
    Cut,
    /// Bytes follow the message.
    Trailing,
    /// The keys of the message are not in order.
    UnsortedKeys,
    /// A field with a floating-point number.
    Float,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 36] = {
        use Mutation::*;
        [
            SignatureBit,
            HighS,
            OtherKey,
            OtherDid,
            OtherRev,
            OtherVersion,
            StaleRev,
            FutureRev,
            BlockBit,
            NoCommit,
            OtherCommit,
            NoNode,
            NoRecord,
            UnsortedNode,
            LargeRecord,
            LargeBlocks,
            CutCar,
            EndlessCarHeader,
            HiddenOp,
            OtherCid,
            OtherPrev,
            NoPrev,
            OtherPrevData,
            NoPrevData,
            SamePath,
            BadPath,
            ManyOps,
            TooBig,
            Rebase,
            BadDid,
            ZeroSeq,
            Garbage,
            Cut,
            Trailing,
            UnsortedKeys,
            Float,
        ]
    };

    /// The bad frame in place of the next commit of `account`, which has some dozens of records. The account itself
    /// stays as it is: what it does next continues the state before.
    pub fn frame(self, account: &Account, seq: u64) -> Vec<u8> {
        let mut account = account.clone();
        match self {
            Mutation::Garbage | Mutation::Cut | Mutation::Trailing | Mutation::UnsortedKeys | Mutation::Float => {
                self.bytes(account.post().encode(seq))
            }
            Mutation::ZeroSeq => account.post().encode(0),
            Mutation::OtherCommit => {
                let commit = account.post();
                let car = car(&commit.root, &commit.blocks);
                Commit { root: Cid::of(b"another commit"), ..commit }.encode_with(seq, &car)
            }
            Mutation::CutCar => {
                let commit = account.post();
                let car = car(&commit.root, &commit.blocks);
                commit.encode_with(seq, &car[..car.len() - 10])
            }
            Mutation::EndlessCarHeader => {
                let header = b"\xa2\x65roots\x9b\x10\0\0\0\0\0\0\0\x67version\x01";
                account.post().encode_with(seq, &[varint(header.len()), header.to_vec()].concat())
            }
            _ => self.commit(&mut account).encode(seq),
        }
    }

    fn commit(self, account: &mut Account) -> Commit {
        match self {
            Mutation::SignatureBit => with_signature(account.post(), |signature| signature[20] ^= 1),
            Mutation::HighS => {
                let commit = account.post();
                with_signature(commit, |signature| *signature = account.key.with_other_s(signature))
            }
            Mutation::OtherKey => {
                account.key = Account::new(u64::MAX, 0).key;
                account.post()
            }
            Mutation::OtherDid => {
                let did = std::mem::replace(&mut account.did, Account::new(u64::MAX, 0).did);
                Commit { did, ..account.post() }
            }
            Mutation::OtherRev => Commit { rev: Tid::from_parts(1, 1).to_string(), ..account.post() },
            Mutation::OtherVersion => {
                let mut commit = account.post();
                let mut object = commit.blocks.remove(&commit.root).unwrap_or_default();
                // The version is the last value of the object.
                *object.last_mut().expect("a commit object") = 4;
                with_root(commit, object)
            }
            Mutation::StaleRev => {
                account.set_clock(account.rev().map_or(0, Tid::timestamp_us).saturating_sub(1_000_000));
                account.post()
            }
            Mutation::FutureRev => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                account.set_clock(now.as_micros() as u64 + 24 * 3600 * 1_000_000);
                account.post()
            }
            Mutation::BlockBit
            | Mutation::NoCommit
            | Mutation::NoNode
            | Mutation::NoRecord
            | Mutation::UnsortedNode => self.blocks(account.post(), account),
            Mutation::LargeRecord => account.commit(vec![create("large", vec![0; 1_000_001])]),
            Mutation::LargeBlocks => {
                let record =
                    |number: usize| create(&format!("large{number}"), vec![number as u8; BLOCKS_BYTES_MAX / 4]);
                account.commit((0..4).map(record).collect())
            }
            Mutation::ManyOps => {
                account.commit((0..=OPS_MAX).map(|number| create(&format!("many{number}"), vec![0xa0])).collect())
            }
            Mutation::TooBig => Commit { too_big: true, ..account.post() },
            Mutation::Rebase => Commit { rebase: true, ..account.post() },
            Mutation::BadDid => Commit { did: "did:example:alice".to_owned(), ..account.post() },
            _ => self.operations(account),
        }
    }

    /// Mutations of the blocks.
    fn blocks(self, mut commit: Commit, account: &Account) -> Commit {
        let record = commit.ops[0].cid.expect("a post has a record");
        let is_node = |cid: &Cid| ![commit.root, record, account.repo().data()].contains(cid);
        match self {
            Mutation::BlockBit => commit.blocks.get_mut(&record).expect("the record's block")[3] ^= 1,
            Mutation::NoCommit => drop(commit.blocks.remove(&commit.root)),
            Mutation::NoNode => {
                let node = *commit.blocks.keys().find(|cid| is_node(cid)).expect("a tree of several nodes");
                commit.blocks.remove(&node);
            }
            Mutation::NoRecord => drop(commit.blocks.remove(&record)),
            _ => {
                let node = unsorted_node(&record);
                let data = Cid::of(&node);
                commit.blocks.insert(data, node);
                let object = account.sign_commit(&commit.rev, &data);
                commit = with_root(commit, object);
            }
        }
        commit
    }

    /// Mutations of what the message says that has changed.
    fn operations(self, account: &mut Account) -> Commit {
        let other = Cid::of(b"another record");
        let mut commit = match self {
            Mutation::OtherPrev | Mutation::NoPrev => {
                let path = account.repo().records().keys().next().expect("an account with records").clone();
                account.update(&path)
            }
            Mutation::HiddenOp => account.commit(vec![create("seen", vec![0xa0]), create("hidden", vec![0xa0])]),
            _ => account.post(),
        };
        let last = commit.ops.last_mut().expect("a commit that changes something");
        match self {
            Mutation::HiddenOp => drop(commit.ops.pop()),
            Mutation::OtherCid => {
                last.cid = Some(other);
                commit.blocks.insert(other, b"another record".to_vec());
            }
            Mutation::OtherPrev => last.prev = Some(other),
            Mutation::NoPrev => last.prev = None,
            Mutation::OtherPrevData => commit.prev_data = Some(other),
            Mutation::NoPrevData => commit.prev_data = None,
            Mutation::SamePath => {
                let again = last.clone();
                commit.ops.push(again);
            }
            _ => last.path = format!("{POSTS}/.."),
        }
        commit
    }

    /// Mutations of the message's bytes.
    fn bytes(self, frame: Vec<u8>) -> Vec<u8> {
        match self {
            Mutation::Garbage => vec![0xff; 100],
            Mutation::Cut => frame[..frame.len() / 2].to_vec(),
            Mutation::Trailing => [frame, vec![0]].concat(),
            // Shorter than all others, so it belongs at the start.
            Mutation::UnsortedKeys => with_field(frame, "a", &[0x01]),
            _ => with_field(frame, "temperature", b"\xfb\x3f\xf0\0\0\0\0\0\0"),
        }
    }
}

/// A frame with a field that nobody knows, which must pass as it is.
pub fn with_unknown_field(frame: Vec<u8>) -> Vec<u8> {
    with_field(frame, "somethingNew", b"\x82\x01\x65hello")
}

/// A frame with one more pair at the end of its payload.
fn with_field(frame: Vec<u8>, key: &str, value: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(&frame);
    reader.skip().expect("the header of a good frame");
    let payload = reader.position();
    let mut frame = frame;
    // The head of a map of less than 23 pairs is one byte.
    frame[payload] += 1;
    Writer::new(&mut frame).text(key).raw(value);
    frame
}

fn create(record_key: &str, record: Vec<u8>) -> Write {
    Write::Create { path: format!("{POSTS}/{record_key}"), record }
}

/// The commit with another signature.
fn with_signature(mut commit: Commit, change: impl FnOnce(&mut [u8; 64])) -> Commit {
    let mut object = commit.blocks.remove(&commit.root).unwrap_or_default();
    let head = b"\x63sig\x58\x40";
    let place = object.windows(head.len()).position(|window| window == head).expect("a signature") + head.len();
    let signature = object[place..].first_chunk_mut().expect("64 bytes");
    change(signature);
    with_root(commit, object)
}

/// The commit with another commit object.
fn with_root(mut commit: Commit, object: Vec<u8>) -> Commit {
    commit.root = Cid::of(&object);
    commit.blocks.insert(commit.root, object);
    commit
}

/// A tree node of two keys, the greater one first.
fn unsorted_node(value: &Cid) -> Vec<u8> {
    let mut node = Vec::new();
    let mut writer = Writer::new(&mut node);
    writer.map(2).text("e").array(2);
    for key in [b"b", b"a"] {
        writer.map(4).text("k").bytes(key).text("p").uint(0).text("t").null().text("v").cid(value);
    }
    writer.text("l").null();
    node
}
