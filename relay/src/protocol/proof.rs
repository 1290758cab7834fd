//! What an event proves by itself, without a key, an account's past or a clock (protocol 21 to 28).

use super::car::{Car, CarError};
use super::cid::Cid;
use super::commit::{Commit, CommitError, CommitSignature};
use super::did::{Did, DidError};
use super::frame::{Action, CommitFrame, RepoOp, SyncFrame};
use super::mst::{Blocks, MstError, Tree};
use super::syntax;
use super::tid::Tid;
use super::touched::{Touch, touched};

/// What happens to commits without the fields of sync 1.1, which cannot be inverted (protocol 26).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legacy {
    /// They are invalid.
    Reject,
    /// They pass, with [`CheckedCommit::inverted`] false.
    Accept,
}

/// A `#commit` that is right in all that it shows; what is left is to compare it with the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCommit {
    /// The account.
    pub did: Did,
    /// Revision that the commit makes.
    pub rev: Tid,
    /// Revision that it says it follows.
    pub since: Option<Tid>,
    /// CID of the commit object.
    pub commit: Cid,
    /// Root of the MST.
    pub data: Cid,
    /// MST root that it says it follows.
    pub prev_data: Option<Cid>,
    /// To be verified with the account's key.
    pub signature: CommitSignature,
    /// Whether undoing the operations has led from `data` to `prev_data`, or to the empty tree in a first commit.
    pub inverted: bool,
    /// What it says of collections.
    pub touches: Vec<Touch>,
}

/// A `#sync` that is right in all that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedSync {
    /// The account.
    pub did: Did,
    /// Current revision.
    pub rev: Tid,
    /// CID of the commit object.
    pub commit: Cid,
    /// Root of the MST.
    pub data: Cid,
    /// To be verified with the account's key.
    pub signature: CommitSignature,
}

/// Why an event is invalid. Operations are named by their place in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The account's DID.
    #[error("DID of the message: {0}")]
    Did(#[from] DidError),
    /// `rev` is no TID.
    #[error("rev of the message is not a TID")]
    Rev,
    /// `since` is no TID.
    #[error("since is not a TID")]
    Since,
    /// The deprecated flag.
    #[error("tooBig is set: the blocks are not in the message")]
    TooBig,
    /// The deprecated flag.
    #[error("rebase is set")]
    Rebase,
    /// The blocks are no CAR.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The CAR's root is not the commit that the message names.
    #[error("root of the CAR is not the commit of the message")]
    Root,
    /// The CAR is without its root.
    #[error("commit object is not among the blocks")]
    MissingCommit,
    /// The root is no commit object.
    #[error("commit object: {0}")]
    Commit(#[from] CommitError),
    /// The commit object is of another account than the message.
    #[error("commit object names another DID than the message")]
    DidMismatch,
    /// The commit object is of another revision than the message.
    #[error("commit object has another rev than the message")]
    RevMismatch,
    /// An operation's path.
    #[error("operation {op}: path is not an NSID, a slash and a record key")]
    Path {
        /// The operation.
        op: usize,
    },
    /// An operation with `cid` or `prev` where its action has none, or without `cid` where it has one.
    #[error("operation {op}: cid or prev does not fit the action")]
    Operation {
        /// The operation.
        op: usize,
    },
    /// Two operations on one record.
    #[error("two operations on the same path")]
    DuplicatePath,
    /// The record of an operation is not among the blocks.
    #[error("operation {op}: record is not among the blocks")]
    MissingRecord {
        /// The operation.
        op: usize,
    },
    /// A message from before sync 1.1.
    #[error("prevData is missing")]
    MissingPrevData,
    /// A message from before sync 1.1.
    #[error("update or delete without prev")]
    MissingPrev,
    /// The tree is malformed, incomplete for the proof, or does not have what the operations say.
    #[error("MST: {0}")]
    Mst(#[from] MstError),
    /// The tree has another record at an operation's path.
    #[error("MST has another value at the path of an operation")]
    Value,
    /// The operations are not what changed.
    #[error("undoing the operations does not lead to prevData")]
    Inversion,
}

impl Invalid {
    /// Stable label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Invalid::Did(_) => "bad_did",
            Invalid::Rev => "bad_rev",
            Invalid::Since => "bad_since",
            Invalid::TooBig => "too_big",
            Invalid::Rebase => "rebase",
            Invalid::Car(CarError::Hash { .. }) => "block_hash",
            Invalid::Car(_) => "bad_car",
            Invalid::Root => "root_mismatch",
            Invalid::MissingCommit => "missing_commit",
            Invalid::Commit(_) => "bad_commit",
            Invalid::DidMismatch => "did_mismatch",
            Invalid::RevMismatch => "rev_mismatch",
            Invalid::Path { .. } => "bad_path",
            Invalid::Operation { .. } => "bad_op",
            Invalid::DuplicatePath => "duplicate_path",
            Invalid::MissingRecord { .. } => "missing_record",
            Invalid::MissingPrevData => "missing_prev_data",
            Invalid::MissingPrev => "missing_prev",
            Invalid::Mst(MstError::MissingBlock(_)) => "missing_node",
            Invalid::Mst(MstError::NoSuchKey | MstError::KeyExists) | Invalid::Value => "op_mismatch",
            Invalid::Mst(_) => "bad_mst",
            Invalid::Inversion => "inversion",
        }
    }
}

/// Checks a `#commit` as far as it goes by itself.
pub fn check_commit(frame: &CommitFrame<'_>, legacy: Legacy) -> Result<CheckedCommit, Invalid> {
    if frame.too_big {
        return Err(Invalid::TooBig);
    }
    if frame.rebase {
        return Err(Invalid::Rebase);
    }
    let did = Did::parse(frame.did)?;
    let since = frame.since.map(|since| since.parse::<Tid>().map_err(|_| Invalid::Since)).transpose()?;
    check_operations(&frame.ops)?;
    let car = Car::parse(frame.blocks)?;
    if *car.root() != frame.commit {
        return Err(Invalid::Root);
    }
    let commit = signed_commit(&car, frame.did, frame.rev)?;
    check_records(&frame.ops, &car)?;
    let inverted = check_tree(frame, commit.data, &car, legacy)?;
    Ok(CheckedCommit {
        did,
        rev: commit.rev,
        since,
        commit: frame.commit,
        data: commit.data,
        prev_data: frame.prev_data,
        signature: commit.signature,
        inverted,
        touches: touched(&frame.ops, commit.data, &car),
    })
}

/// What a `#commit` says of collections: nothing when it is invalid, however lenient one is. Unlike the rest of what is
/// known when an event passes, this can be told from the message alone, whenever it is read again.
pub fn touches_of_commit(frame: &CommitFrame<'_>) -> Vec<Touch> {
    check_commit(frame, Legacy::Accept).map(|checked| checked.touches).unwrap_or_default()
}

/// Checks a `#sync` as far as it goes by itself (protocol 28).
pub fn check_sync(frame: &SyncFrame<'_>) -> Result<CheckedSync, Invalid> {
    let did = Did::parse(frame.did)?;
    let car = Car::parse(frame.blocks)?;
    let commit = signed_commit(&car, frame.did, frame.rev)?;
    Ok(CheckedSync { did, rev: commit.rev, commit: *car.root(), data: commit.data, signature: commit.signature })
}

/// Undoes operations in the tree that they led to, so that its root becomes the one before (protocol 26).
///
/// First the removed keys are put back, then the others undone in the order of their paths: on this order depends
/// which blocks are needed.
pub fn invert(tree: &mut Tree, blocks: &dyn Blocks, ops: &[RepoOp<'_>]) -> Result<(), Invalid> {
    let mut ordered: Vec<&RepoOp<'_>> = ops.iter().collect();
    ordered.sort_unstable_by_key(|op| (op.action != Action::Delete, op.path));
    for op in ordered {
        let key = op.path.as_bytes();
        let value_after = match (op.action, op.prev) {
            (Action::Create, _) => Some(tree.remove(blocks, key)?),
            (Action::Update, Some(prev)) => Some(tree.update(blocks, key, prev)?),
            (Action::Delete, Some(prev)) => {
                tree.insert(blocks, key, prev)?;
                None
            }
            (Action::Update | Action::Delete, None) => return Err(Invalid::MissingPrev),
        };
        if value_after != op.cid {
            return Err(Invalid::Value);
        }
    }
    Ok(())
}

/// The CAR's root as the commit object of this account and revision (protocol 23).
fn signed_commit<'a>(car: &Car<'a>, did: &str, rev: &str) -> Result<Commit<'a>, Invalid> {
    let rev: Tid = rev.parse().map_err(|_| Invalid::Rev)?;
    let commit = Commit::parse(car.get(car.root()).ok_or(Invalid::MissingCommit)?)?;
    if commit.did != did {
        return Err(Invalid::DidMismatch);
    }
    if commit.rev != rev {
        return Err(Invalid::RevMismatch);
    }
    Ok(commit)
}

/// Checks the form of operations, and that no path is there twice (protocol 24).
fn check_operations(ops: &[RepoOp<'_>]) -> Result<(), Invalid> {
    for (place, op) in ops.iter().enumerate() {
        syntax::check_path(op.path).ok_or(Invalid::Path { op: place })?;
        match (op.action, op.cid, op.prev) {
            (Action::Create, Some(_), None) | (Action::Update, Some(_), _) | (Action::Delete, None, _) => {}
            _ => return Err(Invalid::Operation { op: place }),
        }
    }
    let mut paths: Vec<&str> = ops.iter().map(|op| op.path).collect();
    paths.sort_unstable();
    if paths.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Invalid::DuplicatePath);
    }
    Ok(())
}

/// Checks that new records are there; their hashes were checked with the CAR, their content is theirs (protocol 30).
fn check_records(ops: &[RepoOp<'_>], car: &Car<'_>) -> Result<(), Invalid> {
    let missing = ops.iter().position(|op| op.cid.is_some_and(|cid| car.get(&cid).is_none()));
    missing.map_or(Ok(()), |op| Err(Invalid::MissingRecord { op }))
}

/// Checks that the operations are what changed; returns whether that is proved.
fn check_tree(frame: &CommitFrame<'_>, data: Cid, car: &Car<'_>, legacy: Legacy) -> Result<bool, Invalid> {
    let inversion = check_inversion(frame, data, car);
    let is_legacy = frame.prev_data.is_none() || frame.ops.iter().any(lacks_prev);
    match (inversion, legacy) {
        (Err(_), Legacy::Accept) if is_legacy => check_values(&frame.ops, data, car).map(|()| false),
        (inversion, _) => inversion.map(|()| true),
    }
}

fn check_inversion(frame: &CommitFrame<'_>, data: Cid, car: &Car<'_>) -> Result<(), Invalid> {
    let expected = match (frame.prev_data, frame.since) {
        (Some(prev_data), _) => prev_data,
        // The first commit of a repository follows the empty tree.
        (None, None) => Tree::empty().write(|_, _| ()),
        (None, Some(_)) => return Err(Invalid::MissingPrevData),
    };
    if frame.ops.iter().any(lacks_prev) {
        return Err(Invalid::MissingPrev);
    }
    let mut tree = Tree::at(data);
    invert(&mut tree, car, &frame.ops)?;
    if tree.write(|_, _| ()) == expected { Ok(()) } else { Err(Invalid::Inversion) }
}

fn lacks_prev(op: &RepoOp<'_>) -> bool {
    op.action != Action::Create && op.prev.is_none()
}

/// Checks that new records are in the tree, which is all that a message from before sync 1.1 can show.
fn check_values(ops: &[RepoOp<'_>], data: Cid, car: &Car<'_>) -> Result<(), Invalid> {
    let mut tree = Tree::at(data);
    for op in ops {
        if let Some(cid) = op.cid
            && tree.get(car, op.path.as_bytes())? != cid
        {
            return Err(Invalid::Value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
