//! What can be changed of the directory, and what a change has done.

use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;
use crate::protocol::tid::Tid;

/// What is to change of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// An account has a collection.
    Add(Did, Nsid),
    /// An account has these collections and no others, as long as its repository has not moved since `rev` was its
    /// newest revision that the relay knew; then they are added alone.
    Replace {
        /// The account.
        did: Did,
        /// All its collections.
        collections: Vec<Nsid>,
        /// Newest revision before it was asked.
        rev: Option<Tid>,
    },
    /// An account is not active at its host. One of which nothing is known stays unknown.
    Hide(Did),
    /// An account is active at its host. It stays hidden as long as this relay's own row says otherwise.
    Show(Did),
    /// An account is gone for good.
    Forget(Did),
}

/// What edits have changed, in pairs of an account and a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pairs that are new.
    pub added: u64,
    /// Pairs that were known.
    pub known: u64,
    /// Pairs that went.
    pub removed: u64,
    /// Pairs that are not shown any more.
    pub hidden: u64,
    /// Pairs that were not taken: the account or the relay has too many collections.
    pub refused: u64,
}

/// How far a source was read, under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The name.
    pub name: String,
    /// What to remember; `None` forgets.
    pub value: Option<Vec<u8>>,
}
