//! Takes accounts down and lets them come back: in the decisions, at the firehose and in the accounts themselves
//! (protocol 19).
//!
//! The decision is written first, and is the truth: a start brings the rest in line with it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::account::{Account, AccountError, Accounts};
use crate::decisions::{self, Actor, Decisions};
use crate::firehose::Firehose;
use crate::host::{Host, Hosts, RepoStatuses};
use crate::protocol::did::Did;
use crate::store::StoreError;
use crate::verify::{Decision, Intake};

/// Takedowns read at once.
const PAGE: u32 = 1000;

/// What a takedown takes.
pub struct Takedowns {
    /// Where it is decided.
    pub decisions: Decisions,
    /// Who knows the account.
    pub accounts: Accounts,
    /// Who knows its host.
    pub hosts: Arc<Hosts>,
    /// Asks the host when the account comes back.
    pub statuses: Arc<RepoStatuses>,
    /// Where consumers are told, in order with the account's events.
    pub intake: Intake,
    /// Where its past events are hidden.
    pub firehose: Arc<Firehose>,
}

/// A takedown that did not come to its end. If the decision is written, the next start goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not decided.
    #[error(transparent)]
    Decisions(#[from] decisions::Error),
    /// The account cannot be read.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The derived store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The relay is stopping.
    #[error("the relay is stopping; the next start goes on with it")]
    Stopping,
}

impl Takedowns {
    /// Takes an account down: none of its events passes any more, those in the replay window are no longer sent, and
    /// consumers are told. Of an account that the relay does not know nothing will pass when it comes.
    pub async fn take_down(&self, did: &Did, by: Actor<'_>) -> Result<Account, Error> {
        self.decisions.take_down(did.as_str(), by).await?;
        self.firehose.hide(did.as_str(), true);
        self.decide(did, Decision::TakeDown).await
    }

    /// Reverses a takedown: the account is again what its host says.
    pub async fn reverse(&self, did: &Did, by: Actor<'_>) -> Result<Account, Error> {
        self.decisions.reverse_takedown(did.as_str(), by).await?;
        self.release(did).await
    }

    /// Brings firehose and accounts in line with what is decided, before anything is served.
    pub async fn restore(&self) -> Result<(), Error> {
        let mut decided = HashSet::new();
        let mut cursor = String::new();
        loop {
            let page = self.decisions.takedowns(&cursor, PAGE).await?;
            let Some(last) = page.last() else { break };
            cursor.clone_from(last);
            decided.extend(page);
        }
        for did in &decided {
            self.firehose.hide(did, true);
        }
        let stated: HashSet<String> = self.accounts.taken_down()?.iter().map(|did| did.as_str().to_owned()).collect();
        for did in decided.difference(&stated).filter_map(|did| Did::parse(did).ok()) {
            self.decide(&did, Decision::TakeDown).await?;
        }
        for did in stated.difference(&decided).filter_map(|did| Did::parse(did).ok()) {
            self.release(&did).await?;
        }
        Ok(())
    }

    async fn release(&self, did: &Did) -> Result<Account, Error> {
        let status = match self.host_of(did)? {
            Some(host) => self.statuses.ask(&host, did).await,
            None => None,
        };
        let account = self.decide(did, Decision::Free(status)).await?;
        self.firehose.hide(did.as_str(), false);
        Ok(account)
    }

    async fn decide(&self, did: &Did, decision: Decision) -> Result<Account, Error> {
        let host = self.host_of(did)?;
        self.intake.decide(did.clone(), host, decision).await.ok_or(Error::Stopping)
    }

    fn host_of(&self, did: &Did) -> Result<Option<Arc<Host>>, AccountError> {
        let account = self.accounts.get(did.as_str())?;
        Ok(account.and_then(|account| self.hosts.by_id(account.host)))
    }
}
