//! What an event makes of its account: the one rule by which rows are made again from the log.

use super::{Account, Local, Repo, Status};
use crate::protocol::car::Car;
use crate::protocol::cid::Cid;
use crate::protocol::commit::Commit;
use crate::protocol::frame::{AccountFrame, CommitFrame, Frame};
use crate::protocol::tid::Tid;

/// What an event comes from. The log tells it by the upstream seq: hosts count to 2^53 (protocol 5), the relay's own
/// events are numbered from the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A host sent it, under this seq.
    Host(u64),
    /// The relay made it: a person has taken the account down.
    TakeDown,
    /// The relay made it: the account's host has as many accounts as it may have.
    Hold,
    /// The relay made it: nothing is held against the account, and its host says what the event says.
    Free,
}

impl Cause {
    /// The upstream seq under which the log keeps it.
    pub fn upstream_seq(self) -> u64 {
        match self {
            Cause::Host(seq) => seq,
            Cause::TakeDown => u64::MAX,
            Cause::Hold => u64::MAX - 1,
            Cause::Free => u64::MAX - 2,
        }
    }

    /// The cause that the log keeps under this upstream seq.
    pub fn of_upstream_seq(seq: u64) -> Cause {
        let own = [Cause::TakeDown, Cause::Hold, Cause::Free];
        own.into_iter().find(|cause| cause.upstream_seq() == seq).unwrap_or(Cause::Host(seq))
    }
}

/// The account after an event that passed; `None` when the event changes nothing of it.
pub fn after(before: Option<Account>, host: u32, cause: Cause, frame: &Frame<'_>) -> Option<Account> {
    let account = Account { host, ..before.unwrap_or_else(|| Account::new(host)) };
    match (cause, frame) {
        (Cause::Host(_), Frame::Commit(commit)) => {
            let Some(repo) = repo_of_commit(commit) else { return Some(account) };
            let since = commit.since.and_then(|since| since.parse().ok());
            let breaks = account.repo.is_some_and(|known| !known.is_continued_by(since, commit.prev_data));
            let discontinuities = account.discontinuities.saturating_add(u32::from(breaks));
            Some(Account { repo: Some(repo), discontinuities, ..account })
        }
        (Cause::Host(_), Frame::Sync(sync)) => {
            let commit = Car::parse(sync.blocks).ok()?;
            let rev = sync.rev.parse().ok()?;
            Some(Account { repo: Some(repo(rev, *commit.root(), &commit)), ..account })
        }
        (Cause::Host(_), Frame::Account(event)) => Some(Account { status: status(event), ..account }),
        (Cause::TakeDown, _) => Some(Account { local: Local::TakenDown, ..account }),
        (Cause::Hold, _) => Some(Account { local: Local::Held, ..account }),
        (Cause::Free, Frame::Account(event)) => Some(Account { local: Local::Free, status: status(event), ..account }),
        _ => None,
    }
}

fn status(event: &AccountFrame<'_>) -> Status {
    Status::of_event(event.active, event.status)
}

/// The state that a commit states, whether or not it proves it; `None` when its rev is malformed.
pub fn repo_of_commit(frame: &CommitFrame<'_>) -> Option<Repo> {
    let rev = frame.rev.parse().ok()?;
    match Car::parse(frame.blocks) {
        Ok(car) => Some(repo(rev, frame.commit, &car)),
        Err(_) => Some(Repo { rev, commit: frame.commit, data: None }),
    }
}

fn repo(rev: Tid, cid: Cid, car: &Car<'_>) -> Repo {
    let commit = car.get(&cid).and_then(|block| Commit::parse(block).ok());
    Repo { rev, commit: cid, data: commit.map(|commit| commit.data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_read_back_from_the_log() {
        for cause in [Cause::Host(1), Cause::Host((1 << 53) - 1), Cause::TakeDown, Cause::Hold, Cause::Free] {
            assert_eq!(Cause::of_upstream_seq(cause.upstream_seq()), cause);
        }
    }
}
