//! The row of one account and its encoding.

use crate::host::LOCAL;
use crate::protocol::cid::Cid;
use crate::protocol::tid::Tid;

/// Hosting status of an account, as its host states it (protocol 19).
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
    /// The host has lost track of the repository, and does not serve it.
    Desynchronized = 5,
    /// The host limits the account, and does not serve it.
    Throttled = 6,
    /// The host has lost track of the repository, and serves it all the same.
    DesynchronizedActive = 7,
    /// The host limits the account, and serves it all the same.
    ThrottledActive = 8,
}

impl Status {
    const ALL: [Status; 9] = [
        Status::Active,
        Status::Deactivated,
        Status::Deleted,
        Status::Takendown,
        Status::Suspended,
        Status::Desynchronized,
        Status::Throttled,
        Status::DesynchronizedActive,
        Status::ThrottledActive,
    ];

    /// The status that an `#account` event states. An inactive account without a status, or with one that nobody has
    /// specified, counts as deactivated: not active, and able to come back.
    pub fn of_event(active: bool, status: Option<&str>) -> Status {
        match (active, status) {
            (true, Some("desynchronized")) => Status::DesynchronizedActive,
            (true, Some("throttled")) => Status::ThrottledActive,
            (true, _) => Status::Active,
            (false, Some("desynchronized")) => Status::Desynchronized,
            (false, Some("throttled")) => Status::Throttled,
            (false, Some("deleted")) => Status::Deleted,
            (false, Some("takendown")) => Status::Takendown,
            (false, Some("suspended")) => Status::Suspended,
            (false, _) => Status::Deactivated,
        }
    }

    /// Whether the host serves the account. One that it calls desynchronized or throttled may still be served
    /// (protocol 19).
    pub fn is_active(self) -> bool {
        matches!(self, Status::Active | Status::DesynchronizedActive | Status::ThrottledActive)
    }

    /// The name in events and XRPC answers; an active account has none.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Status::Active => None,
            Status::Deactivated => Some("deactivated"),
            Status::Deleted => Some("deleted"),
            Status::Takendown => Some("takendown"),
            Status::Suspended => Some("suspended"),
            Status::Desynchronized | Status::DesynchronizedActive => Some("desynchronized"),
            Status::Throttled | Status::ThrottledActive => Some("throttled"),
        }
    }
}

/// What this relay itself has made of an account, whatever its host says of it (protocol 19).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Local {
    /// Nothing: what the host says holds.
    #[default]
    Free = 0,
    /// Taken down by a person.
    TakenDown = 1,
    /// Held back: the host had as many accounts as it may have when this one came.
    Held = 2,
}

/// One account as the relay knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Id of the host that the account's identity names; [`crate::host::LOCAL`] until an event of it has come.
    pub host: u32,
    /// What the host last said, active at first sight.
    pub status: Status,
    /// What the relay itself has made of it.
    pub local: Local,
    /// Commits passed that did not continue what was known (protocol 27).
    pub discontinuities: u32,
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
const TAKEN_DOWN: u8 = 4;
const HELD: u8 = 8;
const HAS_DISCONTINUITIES: u8 = 16;
const FIXED_BYTES: usize = 7;
const REPO_BYTES: usize = 8 + 32;

impl Account {
    /// An account at first sight on `host`.
    pub fn new(host: u32) -> Account {
        Account { host, status: Status::Active, local: Local::Free, discontinuities: 0, repo: None }
    }

    /// Whether its commits are passed on.
    pub fn is_active(&self) -> bool {
        self.local == Local::Free && self.status.is_active()
    }

    /// The name of its status as this relay states it, in events and XRPC answers; none when nothing is to be said.
    pub fn status_name(&self) -> Option<&'static str> {
        match self.local {
            Local::Free => self.status.name(),
            Local::TakenDown => Status::Takendown.name(),
            Local::Held => Status::Throttled.name(),
        }
    }

    /// The host on whose account limit it counts: none once it is deleted or taken down, by its host or here, and while
    /// it is held back.
    pub fn counted_on(&self) -> Option<u32> {
        let gone = matches!(self.status, Status::Deleted | Status::Takendown);
        (self.local == Local::Free && !gone && self.host != LOCAL).then_some(self.host)
    }

    /// The row: version, status, flags, host (u32), then rev, commit and data as far as they are known, then the number
    /// of discontinuities (u32) if there were any. Big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let of_repo = match &self.repo {
            None => 0,
            Some(Repo { data: None, .. }) => HAS_REPO,
            Some(Repo { data: Some(_), .. }) => HAS_REPO | HAS_DATA,
        };
        let of_local = match self.local {
            Local::Free => 0,
            Local::TakenDown => TAKEN_DOWN,
            Local::Held => HELD,
        };
        let of_discontinuities = if self.discontinuities > 0 { HAS_DISCONTINUITIES } else { 0 };
        let mut row = Vec::with_capacity(FIXED_BYTES + REPO_BYTES + 32 + 4);
        row.extend([VERSION, self.status as u8, of_repo | of_local | of_discontinuities]);
        row.extend(self.host.to_be_bytes());
        if let Some(repo) = &self.repo {
            row.extend(repo.rev.as_u64().to_be_bytes());
            row.extend(repo.commit.digest());
            row.extend(repo.data.iter().flat_map(|data| *data.digest()));
        }
        if self.discontinuities > 0 {
            row.extend(self.discontinuities.to_be_bytes());
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
        let local = match flags & (TAKEN_DOWN | HELD) {
            0 => Local::Free,
            TAKEN_DOWN => Local::TakenDown,
            HELD => Local::Held,
            _ => return Err(DecodeError::Malformed),
        };
        let (rest, discontinuities) = match (flags & HAS_DISCONTINUITIES != 0, rest.split_last_chunk::<4>()) {
            (false, _) => (rest, 0),
            (true, Some((rest, count))) => (rest, u32::from_be_bytes(*count)),
            (true, None) => return Err(DecodeError::Malformed),
        };
        let repo = if flags & HAS_REPO == 0 { None } else { Some(decode_repo(rest, flags & HAS_DATA != 0)?) };
        let host = u32::from_be_bytes([h0, h1, h2, h3]);
        Ok(Account { host, status, local, discontinuities, repo })
    }
}

impl Repo {
    /// Whether a commit that states these continues this state (protocol 27).
    pub fn is_continued_by(&self, since: Option<Tid>, prev_data: Option<Cid>) -> bool {
        since == Some(self.rev) && (self.data.is_none() || prev_data == self.data)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_repo() -> impl Strategy<Value = Repo> {
        let tid = (0..u64::MAX >> 1).prop_filter_map("a TID", Tid::from_u64);
        let cid = || any::<[u8; 32]>().prop_map(Cid::from_digest);
        (tid, cid(), prop::option::of(cid())).prop_map(|(rev, commit, data)| Repo { rev, commit, data })
    }

    fn any_account() -> impl Strategy<Value = Account> {
        let local = prop::sample::select(vec![Local::Free, Local::TakenDown, Local::Held]);
        let status = prop::sample::select(Status::ALL.to_vec());
        (any::<u32>(), status, local, any::<u32>(), prop::option::of(any_repo())).prop_map(
            |(host, status, local, discontinuities, repo)| Account { host, status, local, discontinuities, repo },
        )
    }

    proptest! {
        #[test]
        fn a_row_is_read_back_as_it_was_written(account in any_account()) {
            prop_assert_eq!(Account::decode(&account.encode()).expect("a row"), account);
        }

        #[test]
        fn a_row_of_any_bytes_is_an_account_or_an_error(row: Vec<u8>) {
            if let Ok(account) = Account::decode(&row) {
                prop_assert_eq!(Account::decode(&account.encode()).expect("a row"), account);
            }
        }
    }

    /// Protocol 19: what an event states is what the account is told to be.
    #[test]
    fn a_status_is_stated_as_it_was_read() {
        for status in Status::ALL {
            assert_eq!(Status::of_event(status.is_active(), status.name()), status);
        }
        assert_eq!(Status::of_event(false, Some("resting")), Status::Deactivated, "unspecified, and not active");
        assert_eq!(Status::of_event(true, Some("takendown")), Status::Active, "active is active");
    }

    #[test]
    fn an_account_counts_where_its_events_pass() {
        let account = Account::new(7);
        assert_eq!(account.counted_on(), Some(7));
        assert_eq!(Account::new(LOCAL).counted_on(), None, "no event of it has come");
        for status in [Status::Deleted, Status::Takendown] {
            assert_eq!(Account { status, ..account }.counted_on(), None, "{status:?}");
        }
        for local in [Local::TakenDown, Local::Held] {
            assert_eq!(Account { local, ..account }.counted_on(), None, "{local:?}");
        }
        assert_eq!(Account { status: Status::Deactivated, ..account }.counted_on(), Some(7), "it may come back");
    }
}
