//! The row of one account and its encoding.

use crate::protocol::cid::Cid;
use crate::protocol::tid::Tid;

/// Hosting status of an account (protocol 19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The account's events are passed on.
    Active = 0,
    /// Switched off by its owner, for a time.
    Deactivated = 1,
    /// Gone for good.
    Deleted = 2,
    /// Taken down, by its host.
    Takendown = 3,
    /// Suspended, by its host.
    Suspended = 4,
    /// The host has lost track of the repository.
    Desynchronized = 5,
    /// The host limits the account.
    Throttled = 6,
}

impl Status {
    const ALL: [Status; 7] = [
        Status::Active,
        Status::Deactivated,
        Status::Deleted,
        Status::Takendown,
        Status::Suspended,
        Status::Desynchronized,
        Status::Throttled,
    ];

    /// The status that an `#account` event states. An inactive account without a status, or with one that nobody has
    /// specified, counts as deactivated: not active, and able to come back.
    pub fn of_event(active: bool, status: Option<&str>) -> Status {
        match (active, status) {
            (_, Some("desynchronized")) => Status::Desynchronized,
            (_, Some("throttled")) => Status::Throttled,
            (true, _) => Status::Active,
            (false, Some("deleted")) => Status::Deleted,
            (false, Some("takendown")) => Status::Takendown,
            (false, Some("suspended")) => Status::Suspended,
            (false, _) => Status::Deactivated,
        }
    }

    /// Whether its commits are passed on. An account that its host calls desynchronized or throttled may still be
    /// served (protocol 19).
    pub fn is_active(self) -> bool {
        matches!(self, Status::Active | Status::Desynchronized | Status::Throttled)
    }

    /// The name in events and XRPC answers; an active account has none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Status::Active => None,
            Status::Deactivated => Some("deactivated"),
            Status::Deleted => Some("deleted"),
            Status::Takendown => Some("takendown"),
            Status::Suspended => Some("suspended"),
            Status::Desynchronized => Some("desynchronized"),
            Status::Throttled => Some("throttled"),
        }
    }
}

/// One account as the relay knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Id of the host that the account's identity names.
    pub host: u32,
    /// What the host last said, active at first sight.
    pub status: Status,
    /// Where the repository stands; absent until its first commit.
    pub repo: Option<Repo>,
}

/// The last passed state of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repo {
    /// Revision of the last commit or sync (protocol 20).
    pub rev: Tid,
    /// CID of the commit.
    pub commit: Cid,
    /// Root of its MST; absent when an event passed under a policy that does not prove it.
    pub data: Option<Cid>,
}

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another version than ours.
    #[error("row version {0} is unknown")]
    Version(u8),
    /// Bytes that no version writes.
    #[error("row is malformed")]
    Malformed,
}

const VERSION: u8 = 1;
const HAS_REPO: u8 = 1;
const HAS_DATA: u8 = 2;
const FIXED_BYTES: usize = 7;
const REPO_BYTES: usize = 8 + 32;

impl Account {
    /// An account at first sight on `host`.
    pub fn new(host: u32) -> Account {
        Account { host, status: Status::Active, repo: None }
    }

    /// The host on whose account limit it counts: none once it is deleted.
    pub fn counted_on(&self) -> Option<u32> {
        (self.status != Status::Deleted).then_some(self.host)
    }

    /// The row: version, status, flags, host (u32), then rev, commit and data as far as they are known. Big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let flags = match &self.repo {
            None => 0,
            Some(Repo { data: None, .. }) => HAS_REPO,
            Some(Repo { data: Some(_), .. }) => HAS_REPO | HAS_DATA,
        };
        let mut row = Vec::with_capacity(FIXED_BYTES + REPO_BYTES + 32);
        row.extend([VERSION, self.status as u8, flags]);
        row.extend(self.host.to_be_bytes());
        if let Some(repo) = &self.repo {
            row.extend(repo.rev.as_u64().to_be_bytes());
            row.extend(repo.commit.digest());
            row.extend(repo.data.iter().flat_map(|data| *data.digest()));
        }
        row
    }

    /// Reads a row back.
    pub fn decode(row: &[u8]) -> Result<Account, DecodeError> {
        let (fixed, rest) = row.split_first_chunk::<FIXED_BYTES>().ok_or(DecodeError::Malformed)?;
        let &[version, status, flags, h0, h1, h2, h3] = fixed;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let status = Status::ALL.get(usize::from(status)).copied().ok_or(DecodeError::Malformed)?;
        let repo = if flags & HAS_REPO == 0 { None } else { Some(decode_repo(rest, flags & HAS_DATA != 0)?) };
        let host = u32::from_be_bytes([h0, h1, h2, h3]);
        Ok(Account { host, status, repo })
    }
}

fn decode_repo(rest: &[u8], has_data: bool) -> Result<Repo, DecodeError> {
    let (rev, rest) = rest.split_first_chunk::<8>().ok_or(DecodeError::Malformed)?;
    let (commit, rest) = rest.split_first_chunk::<32>().ok_or(DecodeError::Malformed)?;
    let data = match (has_data, rest.first_chunk::<32>()) {
        (true, Some(digest)) => Some(Cid::from_digest(*digest)),
        (false, None) => None,
        _ => return Err(DecodeError::Malformed),
    };
    let rev = Tid::from_u64(u64::from_be_bytes(*rev)).ok_or(DecodeError::Malformed)?;
    Ok(Repo { rev, commit: Cid::from_digest(*commit), data })
}
