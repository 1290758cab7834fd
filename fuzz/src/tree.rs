//! The Merkle search tree and the undoing of operations in it.

use relay::protocol::cid::Cid;
use relay::protocol::frame::Action;
use relay::protocol::mst::{Blocks, Tree};
use relay::protocol::proof::{Invalid, invert};
use relay::protocol::touched::touched;

use crate::case::{Case, Nodes, PATH_ON_LAYER};
use crate::oracle;

const SEPARATOR: &[u8] = b"\xff\xff";

/// Gives one of its parts for each CID, so that a fuzzer need not find hashes.
struct AnyBlocks<'d>(Vec<&'d [u8]>);

impl Blocks for AnyBlocks<'_> {
    fn get(&self, cid: &Cid) -> Option<&[u8]> {
        let place = usize::from(cid.digest()[0]) % self.0.len();
        Some(self.0[place])
    }
}

/// Any bytes as the nodes of a tree, whatever the CIDs by which they are asked for.
pub fn mst_node(data: &[u8]) {
    let mut blocks = AnyBlocks(Vec::new());
    let mut rest = data;
    while let Some(end) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        blocks.0.push(&rest[..end]);
        rest = &rest[end + SEPARATOR.len()..];
    }
    blocks.0.push(rest);
    let value = Cid::of(data);
    for path in PATH_ON_LAYER.iter() {
        let key = path.as_bytes();
        let has_key = Tree::at(Cid::default()).has_prefix(&blocks, key, key);
        let mut tree = Tree::at(Cid::default());
        if tree.insert(&blocks, key, value).is_ok() {
            tree.write(|_, _| ());
            assert!(has_key.is_ok(), "the nodes that its insertion needs are enough: {has_key:?}");
            assert_eq!(tree.get(&blocks, key), Ok(value));
            assert_eq!(tree.has_prefix(&blocks, key, key), Ok(true));
            if tree.remove(&blocks, key).is_ok() {
                tree.write(|_, _| ());
            }
        }
    }
}

/// Undoing operations, told truly or not, in a tree of which all or parts are at hand. What comes out is what it must be
/// by the plain list of records; a proof that is whole is taken, and nothing false is, whatever is missing. The same goes
/// for what is told of collections.
pub fn inversion(data: &[u8]) {
    let case = Case::read(data);
    let undone = undo(&case, &case.given);
    check_touches(&case, undone.is_ok());
    match undone {
        Ok(root) if case.hollow.contains(&root) => {}
        Ok(root) => assert_eq!(Some(root), case.undone, "not what the operations lead to: {case:#?}"),
        Err(error) => assert!(case.undone.is_none() || !case.is_enough, "refused what is true, {error}: {case:#?}"),
    }
}

/// What is proved tells of each collection that an operation is in. That one is gone, or that only removals show it to be
/// there, needs no proof but the nodes.
fn check_touches(case: &Case, is_proved: bool) {
    let touches = touched(&case.ops, case.data, &case.given);
    let has_write = |collection: &str| {
        let mut writes = case.ops.iter().filter(|op| op.action != Action::Delete);
        writes.any(|op| op.path.split_once('/').is_some_and(|(name, _)| name == collection))
    };
    for touch in &touches {
        let collection = touch.collection.as_str();
        if is_proved || !has_write(collection) {
            assert_eq!(touch.is_there, case.has(collection), "{collection}: {case:#?}");
        }
    }
    let mut told: Vec<&str> = touches.iter().map(|touch| touch.collection.as_str()).collect();
    told.sort_unstable();
    let mut asked: Vec<&str> = case.ops.iter().filter_map(|op| op.path.split_once('/')).map(|(name, _)| name).collect();
    asked.sort_unstable();
    asked.dedup();
    if is_proved {
        assert_eq!(told, asked, "{case:#?}");
    }
}

/// The same in indigo's code. With the whole tree both come to the same root or both refuse; of parts of it, whatever is
/// proof enough for one is for the other, but where indigo needs less than the protocol lets it.
pub fn inversion_indigo(data: &[u8]) {
    let case = Case::read(data);
    if !case.given.contains_key(&case.data) {
        return; // indigo wants the root even where nothing is to be undone
    }
    let ours = undo(&case, &case.given);
    let theirs = oracle::invert(&case.data, &case.given, &case.ops);
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) => assert_eq!(ours, theirs, "another root than indigo's: {case:#?}"),
        (Ok(_), None) => panic!("accepted what indigo refuses: {case:#?}"),
        (Err(error), Some(_)) => panic!("refused what indigo accepts, {error}: {case:#?}"),
        (Err(_), None) => {}
    }
}

fn undo(case: &Case, nodes: &Nodes) -> Result<Cid, Invalid> {
    let mut tree = Tree::at(case.data);
    invert(&mut tree, nodes, &case.ops)?;
    Ok(tree.write(|_, _| ()))
}
