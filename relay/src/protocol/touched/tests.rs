#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::protocol::car::Car;
use crate::protocol::frame::{CommitFrame, Frame, decode};
use crate::protocol::proof::{Invalid, Legacy, check_commit, touches_of_commit};
use crate::protocol::testing::Repo;

/// The name of one is the begin of another's, and one comes after it in the alphabet but not among paths.
const COLLECTIONS: [&str; 4] = ["com.example.like", "com.example.like.a", "com.example.likes", "com.example.post"];

/// A repository beside the plain list of its paths.
struct Modelled {
    repo: Repo,
    paths: BTreeSet<String>,
}

impl Modelled {
    fn new() -> Modelled {
        Modelled { repo: Repo::new(), paths: BTreeSet::new() }
    }

    /// Makes a commit that gives these paths a record or none, where that is a change.
    fn commit(&mut self, changes: &[(String, Option<u8>)]) -> Vec<u8> {
        let records: Vec<_> = changes.iter().map(|(path, record)| (path, record.map(|byte| [0x18, byte]))).collect();
        let can_be = |path: &str, record: Option<_>| record.is_some() || self.paths.contains(path);
        let changes: Vec<_> = records
            .iter()
            .filter(|(path, record)| can_be(path, record.as_ref()))
            .map(|(path, record)| (path.as_str(), record.as_ref().map(|record| &record[..])))
            .collect();
        for (path, record) in &changes {
            match record {
                Some(_) => drop(self.paths.insert((*path).to_owned())),
                None => drop(self.paths.remove(*path)),
            }
        }
        self.repo.commit(&changes)
    }

    /// What is to be said of the collections that operations are in.
    fn expected(&self, ops: &[RepoOp<'_>]) -> BTreeMap<String, bool> {
        let collections = ops.iter().filter_map(|op| op.path.split_once('/')).map(|(collection, _)| collection);
        collections.map(|collection| (collection.to_owned(), self.has(collection))).collect()
    }

    fn has(&self, collection: &str) -> bool {
        self.paths.iter().any(|path| path.split_once('/').unwrap().0 == collection)
    }
}

fn decoded(bytes: &[u8]) -> CommitFrame<'_> {
    let Ok(Frame::Commit(frame)) = decode(bytes) else { panic!("not a #commit") };
    frame
}

/// What was said, by collection; each is named once.
fn by_name(touches: Vec<Touch>) -> BTreeMap<String, bool> {
    let count = touches.len();
    let touches: BTreeMap<_, _> =
        touches.into_iter().map(|touch| (touch.collection.to_string(), touch.is_there)).collect();
    assert_eq!(touches.len(), count, "a collection is named twice");
    touches
}

fn path(collection: usize, record: usize) -> String {
    format!("{}/{record}", COLLECTIONS[collection])
}

fn said(message: &[u8]) -> Vec<(String, bool)> {
    let touches = check_commit(&decoded(message), Legacy::Reject).unwrap().touches;
    by_name(touches).into_iter().collect()
}

#[test]
fn a_collection_comes_with_its_first_record_and_goes_with_its_last() {
    let mut repo = Modelled::new();
    let [like, post] = [0, 3].map(|collection| COLLECTIONS[collection].to_owned());
    let mut commit = |changes: &[(usize, usize, Option<u8>)]| {
        let changes: Vec<_> =
            changes.iter().map(|(collection, record, byte)| (path(*collection, *record), *byte)).collect();
        said(&repo.commit(&changes))
    };
    assert_eq!(commit(&[]), [], "nothing is done");
    assert_eq!(commit(&[(0, 1, Some(1))]), [(like.clone(), true)], "the first of all");
    assert_eq!(commit(&[(0, 1, Some(2))]), [(like.clone(), true)], "another content");
    assert_eq!(commit(&[(3, 1, Some(1)), (3, 2, Some(1))]), [(post.clone(), true)], "two at once");
    assert_eq!(commit(&[(3, 1, None)]), [(post.clone(), true)], "one of two is removed");
    assert_eq!(commit(&[(3, 2, None), (3, 3, Some(1))]), [(post.clone(), true)], "the last, and another comes");
    assert_eq!(commit(&[(3, 3, None), (0, 2, Some(1))]), [(like.clone(), true), (post, false)], "one of each kind");
    assert_eq!(commit(&[(0, 1, None), (0, 2, None)]), [(like, false)], "the tree is empty");
}

/// Protocol 26: before sync 1.1 there was no proof of what a removal leaves.
#[test]
fn nothing_is_said_of_what_the_blocks_do_not_show() {
    let mut repo = Modelled::new();
    let creates: Vec<_> = (0..400).map(|record| (path(record % 4, 1000 + record), Some(1))).collect();
    repo.commit(&creates);
    let message = repo.commit(&[(path(1, 1001), None), (path(3, 5), Some(1))]);
    let frame = decoded(&message);
    let data = check_commit(&frame, Legacy::Reject).unwrap().data;
    let removal = frame.ops.iter().find(|op| op.action == Action::Delete).unwrap();
    assert_eq!(touched(&[*removal], data, &HashMap::new()), [], "no blocks at all");
    let touches = by_name(touched(&frame.ops, data, &HashMap::new()));
    assert_eq!(touches, [(COLLECTIONS[3].to_owned(), true)].into(), "what is new is there");
}

#[test]
fn an_invalid_commit_says_nothing() {
    let mut repo = Modelled::new();
    repo.commit(&[]);
    let message = repo.commit(&[(path(0, 1), Some(1)), (path(0, 2), Some(1))]);
    assert_eq!(touches_of_commit(&decoded(&message)).len(), 1);
    let mut frame = decoded(&message);
    frame.ops.truncate(1);
    assert_eq!(check_commit(&frame, Legacy::Accept), Err(Invalid::Inversion));
    assert_eq!(touches_of_commit(&frame), []);
}

/// Commits of up to eight changes to a few records of each collection, so that collections come and go.
fn history() -> impl Strategy<Value = Vec<BTreeMap<(usize, usize), Option<u8>>>> {
    let path = (0..COLLECTIONS.len(), 0..6usize);
    let commit = prop::collection::btree_map(path, prop::option::weighted(0.4, any::<u8>()), 0..8);
    prop::collection::vec(commit, 1..20)
}

proptest! {
    #[test]
    fn a_proof_says_of_each_collection_whether_it_is_there(history in history(), lost in any::<prop::sample::Index>()) {
        let mut repo = Modelled::new();
        for commit in history {
            let changes: Vec<_> =
                commit.into_iter().map(|((collection, record), byte)| (path(collection, record), byte)).collect();
            let message = repo.commit(&changes);
            let frame = decoded(&message);
            let checked = check_commit(&frame, Legacy::Reject).unwrap();
            let expected = repo.expected(&frame.ops);
            prop_assert_eq!(&touches_of_commit(&frame), &checked.touches);
            prop_assert_eq!(by_name(checked.touches), expected.clone());

            // With a block less, less may be said, and nothing else.
            let car = Car::parse(frame.blocks).unwrap();
            let mut blocks: HashMap<Cid, Vec<u8>> =
                car.iter().map(|(cid, block)| (*cid, block.to_vec())).collect();
            let mut cids: Vec<Cid> = blocks.keys().copied().collect();
            cids.sort_unstable();
            blocks.remove(&cids[lost.index(cids.len())]);
            for (collection, is_there) in by_name(touched(&frame.ops, checked.data, &blocks)) {
                prop_assert_eq!(Some(&is_there), expected.get(&collection), "{}", collection);
            }
        }
    }
}
