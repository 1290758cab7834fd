//! Messages of `com.atproto.sync.subscribeRepos`: a header and a payload, one CBOR value after the other.

mod read;
mod write;

use std::ops::Range;

use super::cbor::CborError;
use super::cid::Cid;
pub use read::{decode, peek, time};
pub use write::{encode_account, encode_commit, encode_error, encode_identity, encode_info, encode_sync, with_seq};

/// Longest message, in bytes (protocol 6, 11).
pub const FRAME_BYTES_MAX: usize = 5_000_000;
/// Longest `blocks` of an event, in bytes (protocol 21).
pub const BLOCKS_BYTES_MAX: usize = 2_000_000;
/// Most operations of one commit (protocol 21).
pub const OPS_MAX: usize = 200;
/// First number that is no seq any more: JavaScript counts exactly up to here (protocol 5).
pub const SEQ_END: u64 = 1 << 53;

/// The kinds of events that have a seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A change of a repository.
    Commit,
    /// A repository's state, stated anew.
    Sync,
    /// A change of a DID document or handle.
    Identity,
    /// A change of an account's hosting status.
    Account,
}

impl Kind {
    /// The `t` of the header.
    pub const fn tag(self) -> &'static str {
        match self {
            Kind::Commit => "#commit",
            Kind::Sync => "#sync",
            Kind::Identity => "#identity",
            Kind::Account => "#account",
        }
    }
}

/// One message, borrowing from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `#commit`
    Commit(CommitFrame<'a>),
    /// `#sync`
    Sync(SyncFrame<'a>),
    /// `#identity`
    Identity(IdentityFrame<'a>),
    /// `#account`
    Account(AccountFrame<'a>),
    /// `#info`: about the stream itself; it has no seq (protocol 3).
    Info {
        /// What kind of information, like `OutdatedCursor`.
        name: &'a str,
        /// The same for people.
        message: Option<&'a str>,
    },
    /// The last message before the server closes (protocol 3).
    Error {
        /// What kind of error, like `FutureCursor`.
        error: &'a str,
        /// The same for people.
        message: Option<&'a str>,
    },
    /// A kind of message that this version does not know, to be ignored (protocol 11).
    Unknown,
}

/// What [`peek`] finds: enough to route a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek<'a> {
    /// An event of an account.
    Event {
        /// Its kind.
        kind: Kind,
        /// Its sequence number at the host that sent it.
        seq: u64,
        /// The account, as written.
        did: &'a str,
    },
    /// Anything else; [`decode`] tells what.
    Other,
}

/// The payload of `#commit`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitFrame<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Where the seq stands in the message, for [`with_seq`].
    pub seq_span: Range<usize>,
    /// The account (field `repo`), as written.
    pub did: &'a str,
    /// When the event was made, as written.
    pub time: &'a str,
    /// Revision that the commit makes.
    pub rev: &'a str,
    /// Revision that it follows.
    pub since: Option<&'a str>,
    /// CID of the commit object.
    pub commit: Cid,
    /// MST root that it follows; absent in messages from before sync 1.1 and in the first commit of a repository.
    pub prev_data: Option<Cid>,
    /// What changed.
    pub ops: Vec<RepoOp<'a>>,
    /// CAR with the commit, changed and proving tree nodes, and new records.
    pub blocks: &'a [u8],
    /// Deprecated flag: the blocks are left out.
    pub too_big: bool,
    /// Deprecated flag: the history was rewritten.
    pub rebase: bool,
}

/// One operation of a commit (protocol 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepoOp<'a> {
    /// What happened.
    pub action: Action,
    /// To which record: `collection/rkey`, as written.
    pub path: &'a str,
    /// The record's new CID.
    pub cid: Option<Cid>,
    /// The record's CID before.
    pub prev: Option<Cid>,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Adds a record.
    Create,
    /// Replaces a record.
    Update,
    /// Removes a record.
    Delete,
}

impl Action {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        }
    }
}

/// The payload of `#sync`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncFrame<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Where the seq stands in the message, for [`with_seq`].
    pub seq_span: Range<usize>,
    /// The account, as written.
    pub did: &'a str,
    /// When the event was made, as written.
    pub time: &'a str,
    /// Current revision.
    pub rev: &'a str,
    /// CAR with the commit object.
    pub blocks: &'a [u8],
}

/// The payload of `#identity`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdentityFrame<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Where the seq stands in the message, for [`with_seq`].
    pub seq_span: Range<usize>,
    /// The account, as written.
    pub did: &'a str,
    /// When the event was made, as written.
    pub time: &'a str,
    /// The handle, if the sender states it.
    pub handle: Option<&'a str>,
}

/// The payload of `#account`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountFrame<'a> {
    /// Sequence number.
    pub seq: u64,
    /// Where the seq stands in the message, for [`with_seq`].
    pub seq_span: Range<usize>,
    /// The account, as written.
    pub did: &'a str,
    /// When the event was made, as written.
    pub time: &'a str,
    /// Whether the host serves the account.
    pub active: bool,
    /// Why not.
    pub status: Option<&'a str>,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than [`FRAME_BYTES_MAX`].
    #[error("message of {bytes} bytes; the limit is {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Length of the message.
        bytes: usize,
    },
    /// Not DAG-CBOR, or not of the type that a field has.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// A field that is not optional.
    #[error("required field {0} is missing")]
    MissingField(&'static str),
    /// Not a positive number below [`SEQ_END`].
    #[error("seq {0} is not between 1 and 2^53 - 1")]
    Seq(u64),
    /// Not a datetime.
    #[error("time is not a datetime like 2024-01-01T00:00:00.000Z")]
    Time,
    /// More than [`OPS_MAX`].
    #[error("commit with {ops} operations; the limit is {OPS_MAX}")]
    TooManyOps {
        /// Claimed number of operations.
        ops: u64,
    },
    /// More than [`BLOCKS_BYTES_MAX`].
    #[error("blocks of {bytes} bytes; the limit is {BLOCKS_BYTES_MAX}")]
    BlocksTooLarge {
        /// Length of the blocks.
        bytes: usize,
    },
    /// Neither create, update nor delete.
    #[error("operation with an unknown action")]
    Action,
}

impl FrameError {
    /// Stable label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            FrameError::TooLarge { .. } => "frame_too_large",
            FrameError::Cbor(_) => "bad_cbor",
            FrameError::MissingField(_) => "missing_field",
            FrameError::Seq(_) => "bad_seq",
            FrameError::Time => "bad_time",
            FrameError::TooManyOps { .. } => "too_many_ops",
            FrameError::BlocksTooLarge { .. } => "blocks_too_large",
            FrameError::Action => "bad_action",
        }
    }
}

const INFO_TAG: &str = "#info";

#[cfg(test)]
mod tests;
