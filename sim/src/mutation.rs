//! Bad frames: what a broken or hostile host may send in place of an account's next commit.

mod parts;

use std::time::{SystemTime, UNIX_EPOCH};

use relay::protocol::cid::Cid;
use relay::protocol::frame::{BLOCKS_BYTES_MAX, OPS_MAX};
use relay::protocol::tid::Tid;

use crate::account::{Account, POSTS};
use crate::event::{Commit, car, varint};

use parts::{changed, create, is_needed, node, with_root, with_signature};
pub use parts::{with_field, with_unknown_field};

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
    /// A field of a hundred arrays, one in the other.
    Deep,
    /// A time that is none.
    BadTime,
    /// The flags and fields of before sync 1.1 are not all there.
    NoBlobs,
    /// An operation names a record by another kind of CID.
    RawCid,
    /// A revision to follow that is none.
    BadSince,
    /// A path longer than paths may be.
    LongPath,
    /// The CAR is of another version.
    CarVersion,
    /// The CAR has no root.
    NoRoot,
    /// The root of the tree has no keys, but a node below it.
    EmptyTop,
    /// The root of the tree has a key that belongs to another layer.
    OtherLayer,
    /// The root of the tree has a key in full that begins like the one before.
    LongPrefix,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 47] = {
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
            Deep,
            BadTime,
            NoBlobs,
            RawCid,
            BadSince,
            LongPath,
            CarVersion,
            NoRoot,
            EmptyTop,
            OtherLayer,
            LongPrefix,
        ]
    };

    /// The bad frame in place of the next commit of `account`, which has some dozens of records. The account itself
    /// stays as it is: what it does next continues the state before.
    pub fn frame(self, account: &Account, seq: u64) -> Vec<u8> {
        let mut account = account.clone();
        match self {
            Mutation::Garbage
            | Mutation::Cut
            | Mutation::Trailing
            | Mutation::UnsortedKeys
            | Mutation::Float
            | Mutation::Deep
            | Mutation::NoBlobs
            | Mutation::RawCid => self.bytes(account.post().encode(seq)),
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
            Mutation::CarVersion => {
                let commit = account.post();
                let version = b"\x67version";
                let car = changed(car(&commit.root, &commit.blocks), version, |place| place + version.len(), 2);
                commit.encode_with(seq, &car)
            }
            Mutation::NoRoot => {
                let header = b"\xa2\x65roots\x80\x67version\x01";
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
            | Mutation::UnsortedNode
            | Mutation::EmptyTop
            | Mutation::OtherLayer
            | Mutation::LongPrefix => self.blocks(account.post(), account),
            Mutation::LargeRecord => account.commit(vec![create("large", vec![0; 1_000_001])]),
            Mutation::LargeBlocks => {
                let record =
                    |number: usize| create(&format!("large{number}"), vec![number as u8; BLOCKS_BYTES_MAX / 4]);
                account.commit((0..4).map(record).collect())
            }
            Mutation::ManyOps => {
                account.commit((0..=OPS_MAX).map(|number| create(&format!("many{number}"), vec![0xa0])).collect())
            }
            Mutation::BadTime => Commit { time: "yesterday".to_owned(), ..account.post() },
            Mutation::BadSince => Commit { since: Some("yesterday".to_owned()), ..account.post() },
            Mutation::LongPath => account.commit(vec![create(&"k".repeat(513), vec![0xa0])]),
            Mutation::TooBig => Commit { too_big: true, ..account.post() },
            Mutation::Rebase => Commit { rebase: true, ..account.post() },
            Mutation::BadDid => Commit { did: "did:example:alice".to_owned(), ..account.post() },
            _ => self.operations(account),
        }
    }

    /// Mutations of the blocks.
    fn blocks(self, mut commit: Commit, account: &Account) -> Commit {
        let record = commit.ops[0].cid.expect("a post has a record");
        match self {
            Mutation::BlockBit => commit.blocks.get_mut(&record).expect("the record's block")[3] ^= 1,
            Mutation::NoCommit => drop(commit.blocks.remove(&commit.root)),
            Mutation::NoNode => {
                let top = account.repo().data();
                // Where a key of the top was added, no other may be needed.
                let node = commit.blocks.keys().find(|cid| **cid != top && is_needed(cid, &top, &commit));
                commit.blocks.remove(&node.copied().unwrap_or(top));
            }
            Mutation::NoRecord => drop(commit.blocks.remove(&record)),
            _ => {
                let node = self.node(&record, &account.repo().data());
                let data = Cid::of(&node);
                commit.blocks.insert(data, node);
                let object = account.sign_commit(&commit.rev, &data);
                commit = with_root(commit, object);
            }
        }
        commit
    }

    /// A bad node for the top of the tree; `value` is that of its keys, `below` the tree that would be right.
    fn node(self, value: &Cid, below: &Cid) -> Vec<u8> {
        match self {
            Mutation::EmptyTop => node(&[], Some(below)),
            // The layers of these are 0 and 2.
            Mutation::OtherLayer => {
                node(&[(0, "2653ae71"), (0, "88bfafc7")].map(|(shared, key)| (shared, key, value)), None)
            }
            // The second key begins like the first.
            Mutation::LongPrefix => node(&[(0, "2653ae71", value), (0, "2653ae72", value)], None),
            _ => node(&[(0, "b", value), (0, "a", value)], None),
        }
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
            Mutation::Deep => with_field(frame, "temperature", &[&[0x81; 100][..], &[0x01]].concat()),
            Mutation::NoBlobs => changed(frame, b"\x65blobs", |place| place + 5, b'z'),
            Mutation::RawCid => changed(frame, b"\x63cid\xd8\x2a\x58\x25\x00\x01\x71", |place| place + 10, 0x55),
            _ => with_field(frame, "temperature", b"\xfb\x3f\xf0\0\0\0\0\0\0"),
        }
    }
}
