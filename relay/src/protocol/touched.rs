//! What a commit says of the collections of its repository (protocol 34).

use super::cid::Cid;
use super::frame::{Action, RepoOp};
use super::mst::{Blocks, Tree};
use super::nsid::Nsid;

/// What a commit says of one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The collection.
    pub collection: Nsid,
    /// Whether the repository has records of it after the commit.
    pub is_there: bool,
}

/// What operations that led to the tree `data` say of collections, each once.
///
/// A collection with a new or changed record is there. Whether one of which records were only removed is gone, the
/// nodes around those records tell; a proof of sync 1.1 has them (protocol 26). Without them nothing is said.
pub fn touched(ops: &[RepoOp<'_>], data: Cid, blocks: &dyn Blocks) -> Vec<Touch> {
    let mut touches: Vec<Touch> = Vec::new();
    let mut tree = Tree::at(data);
    let is_removal = |op: &&RepoOp<'_>| op.action == Action::Delete;
    // Removals last: most are of a collection that is known to be there by then, and the tree need not be read.
    for op in ops.iter().filter(|op| !is_removal(op)).chain(ops.iter().filter(is_removal)) {
        let Some((collection, _)) = op.path.split_once('/') else { continue };
        if touches.iter().any(|touch| touch.collection.as_str() == collection) {
            continue;
        }
        let is_there = match op.action {
            Action::Create | Action::Update => true,
            Action::Delete => {
                let key = op.path.as_bytes();
                match tree.has_prefix(blocks, &key[..=collection.len()], key) {
                    Ok(is_there) => is_there,
                    Err(_) => break,
                }
            }
        };
        touches.extend(Nsid::parse(collection).map(|collection| Touch { collection, is_there }));
    }
    touches
}

#[cfg(test)]
mod tests;
