//! What an event makes of its account: the one rule by which rows are made again from the log.

use super::{Account, Repo, Status};
use crate::protocol::car::Car;
use crate::protocol::cid::Cid;
use crate::protocol::commit::Commit;
use crate::protocol::frame::{CommitFrame, Frame};
use crate::protocol::tid::Tid;

/// The account after an event that passed; `None` when the event changes nothing of it.
pub fn after(before: Option<Account>, host: u32, frame: &Frame<'_>) -> Option<Account> {
    let account = before.map_or_else(|| Account::new(host), |account| Account { host, ..account });
    match frame {
        Frame::Commit(commit) => Some(Account { repo: repo_of_commit(commit).or(account.repo), ..account }),
        Frame::Sync(sync) => {
            let commit = Car::parse(sync.blocks).ok()?;
            let rev = sync.rev.parse().ok()?;
            Some(Account { repo: Some(repo(rev, *commit.root(), &commit)), ..account })
        }
        Frame::Account(event) => Some(Account { status: Status::of_event(event.active, event.status), ..account }),
        _ => None,
    }
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
