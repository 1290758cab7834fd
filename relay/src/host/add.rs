//! How a host comes to be among ours.

use std::sync::Arc;
use std::time::Duration;

use super::check::{CheckError, check};
use super::{Host, HostName, HostNameError, Hosts, Progress};
use crate::decisions::{self, Actor, DayIsFull, HostStatus};

/// Who names a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// The configuration. Such a host need not prove itself first: it may be down at the moment.
    ByConfiguration,
    /// A holder of an admin token, by name; no proof either.
    ByAdmin(&'a str),
    /// A bootstrap relay, in its list. It may name thousands at once.
    ByRelay,
    /// Anyone, by requestCrawl: only so many new ones are taken in a day.
    ByAnyone,
}

impl<'a> Named<'a> {
    fn actor(self) -> Actor<'a> {
        match self {
            Named::ByAdmin(name) => Actor::Admin(name),
            Named::ByConfiguration | Named::ByRelay | Named::ByAnyone => Actor::Relay,
        }
    }

    /// Whether somebody wants the host to be read now; the others name many, and always the same.
    fn asks(self) -> bool {
        matches!(self, Named::ByAdmin(_) | Named::ByAnyone)
    }

    /// Whether the host has to show first that it is one.
    fn needs_proof(self) -> bool {
        matches!(self, Named::ByRelay | Named::ByAnyone)
    }
}

/// Why a host is not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] HostNameError),
    /// It, or its domain, is banned.
    #[error("{0} is banned from this relay")]
    Banned(String),
    /// It failed the checks.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// As many hosts as a day may bring have come.
    #[error("this relay takes no more than {per_day} new hosts in a day; try again in {} s", retry_after.as_secs())]
    DayIsFull {
        /// The limit.
        per_day: u64,
        /// When there is room again.
        retry_after: Duration,
    },
    /// It could not be remembered.
    #[error(transparent)]
    Decisions(decisions::Error),
    /// The relay is stopping.
    #[error("the relay is stopping")]
    Stopping,
}

impl From<decisions::Error> for AddError {
    fn from(error: decisions::Error) -> AddError {
        match error {
            decisions::Error::DayIsFull(DayIsFull { per_day, retry_after }) => {
                AddError::DayIsFull { per_day, retry_after }
            }
            error => AddError::Decisions(error),
        }
    }
}

impl Hosts {
    /// Takes a host that somebody named, if it passes the checks, before which nothing of it is remembered (protocol
    /// 14); a known one is tried soon, if it is not connected.
    pub async fn add(&self, name: &str, by: Named<'_>) -> Result<Arc<Host>, AddError> {
        let name = HostName::parse(name, self.context.allow_insecure)?;
        if let Some(host) = self.find(name.as_str()) {
            if host.status() == HostStatus::Banned {
                return Err(AddError::Banned(name.to_string()));
            }
            if by.asks() {
                host.wake();
            }
            return Ok(host);
        }
        let decisions = &self.context.decisions;
        if decisions.banned_domain_of(name.as_str()).await?.is_some() {
            return Err(AddError::Banned(name.to_string()));
        }
        let is_counted = by == Named::ByAnyone && !self.config.is_trusted(name.as_str());
        if is_counted {
            // Asked once more when the host is added; here it saves the check.
            decisions.check_day(self.new_hosts_per_day()).await?;
        }
        if by.needs_proof() {
            let _checking = self.context.checking.acquire().await.map_err(|_| AddError::Stopping)?;
            check(&name, &self.context.http).await?;
        }
        let row = if is_counted {
            decisions.add_host_of_the_day(name.as_str(), !name.is_secure(), self.new_hosts_per_day()).await?
        } else {
            decisions.add_host(name.as_str(), !name.is_secure(), by.actor()).await?
        };
        if let Some(host) = self.find(name.as_str()) {
            // Somebody else named it at the same time.
            return Ok(host);
        }
        let host = self.insert(self.host(&row, name, Progress::default(), 0));
        tracing::info!(host = %host.name, id = host.id, "host added");
        if by.asks() {
            host.wake();
        }
        self.connect(Arc::clone(&host));
        Ok(host)
    }
}
