//! Who is asked about an account: the relay's own rows, its identity, and its PDS.

use std::time::Duration;

use super::finding::{Before, Class, Finding};
use super::pds::{Answer, Pds};
use super::{Context, Refusal};
use crate::account::AccountError;
use crate::collections;
use crate::host::{HostName, HostNameError, LOCAL};
use crate::identity::{Freshness, Transient};
use crate::protocol::did::{Did, Method};

/// Why nothing was found of an account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    /// A matter of this account.
    #[error("{0}")]
    Account(String),
    /// Its host answers what is no answer.
    #[error("{0}")]
    Nonsense(String),
    /// Its host is busy, broken or away; perhaps for this account alone.
    #[error("{reason}")]
    Host {
        reason: String,
        /// How long it asked to be left alone.
        after: Option<Duration>,
    },
    /// Nothing can be found of any account for the time being.
    #[error("{reason}")]
    All { reason: String, after: Option<Duration> },
}

/// Where an account is hosted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Home {
    /// On this host.
    Host(String),
    /// Its identity names none.
    Nowhere,
    /// It has no identity.
    Gone,
}

/// What a host has said of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// How it is.
    Found(Finding),
    /// It is on another host now.
    Moved(String),
}

impl Context {
    /// What this relay knows of an account. It is read before anybody is asked, so that what happens meanwhile is newer.
    pub(super) fn before(&self, did: &Did) -> Result<Before, Obstacle> {
        let account = self.accounts.get(did.as_str())?;
        let (collections, hidden) = self.directory.account(did)?;
        Ok(Before {
            rev: account.and_then(|account| account.repo).map(|repo| repo.rev),
            host: account.map(|account| account.host).filter(|host| *host != LOCAL),
            collections: collections.into_iter().collect(),
            hidden,
        })
    }

    /// Where an account is, as the relay knows from its events; else as its identity says.
    pub(super) async fn known_home(&self, did: &Did, before: &Before) -> Result<Home, Obstacle> {
        match before.host.and_then(|id| self.hosts.by_id(id)) {
            Some(host) => Ok(Home::Host(host.name.to_string())),
            None => self.home(did, Freshness::Cached).await,
        }
    }

    /// Where an account is, as its identity says.
    pub(super) async fn home(&self, did: &Did, freshness: Freshness) -> Result<Home, Obstacle> {
        let identity = self.resolver.resolve(did, freshness).await.map_err(|error| unresolved(did, &error))?;
        Ok(match identity {
            None => Home::Gone,
            Some(identity) => identity.pds.as_ref().map_or(Home::Nowhere, |endpoint| Home::Host(endpoint.host.clone())),
        })
    }

    /// What the host of an account says of it. If it knows no such account, its identity is looked up once more: it may
    /// have moved since.
    pub(super) async fn ask(&self, pds: &Pds<'_>, did: &Did, before: &Before) -> Result<Word, Obstacle> {
        let answer = pds.describe(did).await?;
        if answer == Answer::Absent {
            match self.home(did, Freshness::Forced).await? {
                Home::Host(name) if name != pds.name.as_str() => return Ok(Word::Moved(name)),
                Home::Nowhere => return Ok(Word::Found(Finding::hidden(Class::Homeless, did, before))),
                Home::Host(_) | Home::Gone => {}
            }
        }
        Ok(Word::Found(Finding::of_answer(did, before, answer)))
    }

    /// A host as it can be asked, by the name that an identity or a person gives it.
    pub(super) fn host_name(&self, name: &str) -> Result<HostName, HostNameError> {
        HostName::parse(name, self.allow_insecure)
    }
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Obstacle {
        match refusal {
            Refusal::Later { reason, after } => Obstacle::Host { reason, after },
            refusal => Obstacle::Nonsense(refusal.to_string()),
        }
    }
}

impl From<HostNameError> for Obstacle {
    fn from(error: HostNameError) -> Obstacle {
        Obstacle::Account(error.to_string())
    }
}

impl From<AccountError> for Obstacle {
    fn from(error: AccountError) -> Obstacle {
        Obstacle::All { reason: error.to_string(), after: None }
    }
}

impl From<collections::Error> for Obstacle {
    fn from(error: collections::Error) -> Obstacle {
        Obstacle::All { reason: error.to_string(), after: None }
    }
}

/// An identity that is not to be had. Where the PLC directory itself is left alone, no other is to be had either.
fn unresolved(did: &Did, error: &Transient) -> Obstacle {
    match error.retry_after() {
        Some(after) if did.method() == Method::Plc => Obstacle::All { reason: error.to_string(), after: Some(after) },
        _ => Obstacle::Account(error.to_string()),
    }
}
