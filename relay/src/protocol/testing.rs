//! A repository in memory that makes the messages of a host, for tests.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use secp256k1::{Message, SecretKey, ecdsa};
use sha2::{Digest, Sha256};

use super::car;
use super::cbor::Writer;
use super::cid::Cid;
use super::frame::{Action, CommitFrame, RepoOp, encode_commit};
use super::key::PublicKey;
use super::mst::{Recorder, Tree};
use super::proof::invert;
use super::tid::Tid;

pub const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
pub const TIME: &str = "2026-07-24T08:18:36.123Z";

/// A repository with all of its history.
pub struct Repo {
    did: &'static str,
    secret: SecretKey,
    blocks: HashMap<Cid, Vec<u8>>,
    records: BTreeMap<String, Cid>,
    head: Option<(Tid, Cid)>,
}

/// What a commit does to one path: the record it has from then on.
pub type Change<'c> = (&'c str, Option<&'c [u8]>);

impl Repo {
    pub fn new() -> Repo {
        Repo::of(DID)
    }

    pub fn of(did: &'static str) -> Repo {
        let secret = SecretKey::from_secret_bytes([7; 32]).unwrap();
        Repo { did, secret, blocks: HashMap::new(), records: BTreeMap::new(), head: None }
    }

    pub fn key(&self) -> PublicKey {
        PublicKey::K256(secp256k1::PublicKey::from_secret_key(&self.secret))
    }

    pub fn has(&self, path: &str) -> bool {
        self.records.contains_key(path)
    }

    /// Makes a commit and its `#commit` message.
    pub fn commit(&mut self, changes: &[Change<'_>]) -> Vec<u8> {
        let mut tree = self.head.map_or(Tree::empty(), |(_, data)| Tree::at(data));
        let ops: Vec<_> = changes.iter().map(|change| self.apply(&mut tree, *change)).collect();
        let mut car_blocks = HashMap::new();
        let data = tree.write(|cid, block| {
            car_blocks.insert(cid, block.to_vec());
        });
        self.blocks.extend(car_blocks.clone());
        let rev = Tid::from_parts(self.head.map_or(1_700_000_000_000_000, |(rev, _)| rev.timestamp_us() + 1), 0);
        let commit = commit_object(self.did, rev, &data, &self.secret);

        let recorder = Recorder::new(&self.blocks);
        invert(&mut Tree::at(data), &recorder, &ops).unwrap();
        let proof = recorder.into_read();
        let records = changes.iter().filter_map(|(_, record)| *record).map(|record| (Cid::of(record), record.to_vec()));
        car_blocks.extend(records);
        car_blocks.extend(proof.iter().map(|cid| (*cid, self.blocks[cid].clone())));
        car_blocks.insert(Cid::of(&commit), commit.clone());

        let mut blocks = Vec::new();
        car::encode(&Cid::of(&commit), car_blocks.iter().map(|(cid, block)| (cid, block.as_slice())), &mut blocks);
        let (rev_text, since) = (rev.to_string(), self.head.map(|(rev, _)| rev.to_string()));
        let frame = CommitFrame {
            seq: 1,
            did: self.did,
            time: TIME,
            rev: &rev_text,
            since: since.as_deref(),
            commit: Cid::of(&commit),
            prev_data: self.head.map(|(_, data)| data),
            ops,
            blocks: &blocks,
            ..CommitFrame::default()
        };
        let mut bytes = Vec::new();
        encode_commit(&frame, &mut bytes);
        self.head = Some((rev, data));
        bytes
    }

    fn apply<'c>(&mut self, tree: &mut Tree, (path, record): Change<'c>) -> RepoOp<'c> {
        let cid = record.map(Cid::of);
        let prev = self.records.remove(path);
        self.records.extend(cid.map(|cid| (path.to_owned(), cid)));
        let key = path.as_bytes();
        let action = match (cid, prev) {
            (Some(cid), None) => {
                tree.insert(&self.blocks, key, cid).unwrap();
                Action::Create
            }
            (Some(cid), Some(prev)) => {
                assert_eq!(tree.update(&self.blocks, key, cid), Ok(prev));
                Action::Update
            }
            (None, prev) => {
                assert_eq!(tree.remove(&self.blocks, key).ok(), prev);
                Action::Delete
            }
        };
        RepoOp { action, path, cid, prev }
    }
}

/// A signed commit object.
pub fn commit_object(did: &str, rev: Tid, data: &Cid, secret: &SecretKey) -> Vec<u8> {
    let rev = rev.to_string();
    let fields = |signature: Option<&[u8]>| {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.map(if signature.is_some() { 6 } else { 5 }).text("did").text(did).text("rev").text(&rev);
        if let Some(signature) = signature {
            writer.text("sig").bytes(signature);
        }
        writer.text("data").cid(data).text("prev").null().text("version").uint(3);
        bytes
    };
    let digest: [u8; 32] = Sha256::digest(fields(None)).into();
    let signature = ecdsa::sign(Message::from_digest(digest), secret).serialize_compact();
    fields(Some(&signature))
}
