//! All hosts, and how one comes to be among them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rocksdb::WriteBatch;
use tokio::sync::{Semaphore, watch};

use super::check::{CheckError, check};
use super::tls::Tls;
use super::{Host, HostName, HostNameError, Progress, ProgressRow, connection};
use crate::account::{Account, Accounts, Local};
use crate::config::{Config, Validation};
use crate::decisions::{self, Actor, Decisions, HostRow, HostStatus, OwnLimits};
use crate::net::{self, ClientError};
use crate::store::{Column, Store, StoreError};
use crate::verify::{Change, Decision, Intake};

/// Handshakes that run at once: a restart reaches 3,000 hosts in seconds without a storm on DNS and the network.
const DIALS_MAX: usize = 64;
/// Checks of new hosts that run at once.
const CHECKS_MAX: usize = 16;

/// What the tasks of all hosts share.
pub struct HostsContext {
    /// Where events go.
    pub intake: Intake,
    /// Set to end every task.
    pub stop: watch::Receiver<bool>,
    pub(super) tls: Tls,
    pub(super) dialing: Semaphore,
    pub(super) allow_insecure: bool,
    checking: Semaphore,
    http: reqwest::Client,
    decisions: Decisions,
    store: Store,
}

/// The hosts of the relay.
pub struct Hosts {
    context: Arc<HostsContext>,
    config: Config,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_id: BTreeMap<u32, Arc<Host>>,
    by_name: HashMap<HostName, Arc<Host>>,
}

/// Who names a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// The configuration. Such a host need not prove itself first: it may be down at the moment.
    ByConfiguration,
    /// A holder of an admin token, by name; no proof either.
    ByAdmin(&'a str),
    /// Anyone, by requestCrawl or in another relay's list.
    ByAnyone,
}

impl<'a> Named<'a> {
    fn actor(self) -> Actor<'a> {
        match self {
            Named::ByAdmin(name) => Actor::Admin(name),
            Named::ByConfiguration | Named::ByAnyone => Actor::Relay,
        }
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
    /// It could not be remembered.
    #[error(transparent)]
    Decisions(#[from] decisions::Error),
    /// The relay is stopping.
    #[error("the relay is stopping")]
    Stopping,
}

/// Why new limits are not, or not wholly, in force.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// They could not be remembered.
    #[error(transparent)]
    Decisions(#[from] decisions::Error),
    /// Who is held back could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HostsContext {
    /// What tasks need, from the configuration.
    pub fn new(
        config: &Config,
        intake: Intake,
        stop: watch::Receiver<bool>,
        decisions: Decisions,
        store: Store,
    ) -> Result<HostsContext, ClientError> {
        Ok(HostsContext {
            intake,
            stop,
            tls: Tls::new()?,
            dialing: Semaphore::new(DIALS_MAX),
            allow_insecure: config.allow_insecure_hosts,
            checking: Semaphore::new(CHECKS_MAX),
            http: net::client(config.allow_insecure_hosts)?,
            decisions,
            store,
        })
    }

    /// Remembers where the relay's interest in a host begins, before its first event goes anywhere: were this lost in a
    /// crash, the host would be asked for live events alone, and what it sent meanwhile would be missed.
    pub(super) fn start_host_at(&self, host: &Host, cursor: u64) {
        host.start_at(cursor);
        let row = ProgressRow { cursor, finished_ahead: Vec::new() };
        let mut rows = WriteBatch::default();
        self.store.put(&mut rows, Column::Host, &progress_key(host.id), &row.encode());
        if let Err(error) = self.store.write_ahead(&rows) {
            tracing::warn!(host = %host.name, %error, "start of the host not stored");
        }
    }

    /// Notes why the host could not be read.
    pub(super) async fn failed(&self, host: &Host, error: String) {
        if let Err(failure) = self.decisions.record_failure(host.id, &error).await {
            tracing::warn!(host = %host.name, error = %failure, "host failure not stored");
        }
        host.set_last_error(Some(error));
    }

    /// Notes what the host's own behaviour has made of it, here and in the decisions.
    pub(super) async fn set_status(&self, host: &Host, status: HostStatus) {
        if host.status() == status {
            return;
        }
        match self.decisions.set_host_status(host.id, status, Actor::Relay).await {
            Ok(true) => {
                tracing::info!(host = %host.name, from = host.status().as_str(), to = status.as_str(), "host status");
                host.set_status(status);
            }
            // Somebody has banned it meanwhile.
            Ok(false) => {}
            Err(error) => tracing::warn!(host = %host.name, %error, "host status not stored"),
        }
    }
}

impl Hosts {
    /// The hosts that the decisions name, with the progress that the store and the log hold; none is connected yet.
    pub fn new(
        context: HostsContext,
        config: Config,
        rows: Vec<HostRow>,
        mut progress: HashMap<u32, Progress>,
        accounts: &HashMap<u32, u64>,
        held: &HashMap<u32, u64>,
    ) -> Hosts {
        let hosts = Hosts { context: Arc::new(context), config, known: RwLock::default() };
        for row in rows {
            match HostName::parse(&row.hostname, true) {
                Ok(name) => {
                    let progress = progress.remove(&row.id).unwrap_or_default();
                    let count = |counts: &HashMap<u32, u64>| counts.get(&row.id).copied().unwrap_or(0);
                    let host = hosts.host(&row, name, progress, count(accounts));
                    host.held.store(count(held), Ordering::Relaxed);
                    hosts.insert(host);
                }
                Err(error) => tracing::warn!(id = row.id, %error, "stored host left out"),
            }
        }
        hosts
    }

    /// Starts the task of every host.
    pub fn connect_all(&self) {
        for host in self.all() {
            self.connect(host);
        }
    }

    /// All hosts, oldest first.
    pub fn all(&self) -> Vec<Arc<Host>> {
        self.read().by_id.values().cloned().collect()
    }

    /// Up to `limit` hosts with an id above `after` that have sent something, oldest first.
    pub fn page(&self, after: u32, limit: usize) -> Vec<Arc<Host>> {
        let known = self.read();
        let later = known.by_id.range(after.saturating_add(1)..).map(|(_, host)| host);
        later.filter(|host| host.cursor().is_some()).take(limit).cloned().collect()
    }

    /// The host of a name as people write it.
    pub fn find(&self, name: &str) -> Option<Arc<Host>> {
        let name = HostName::parse(name, true).ok()?;
        self.read().by_name.get(&name).cloned()
    }

    /// The host with that id.
    pub fn by_id(&self, id: u32) -> Option<Arc<Host>> {
        self.read().by_id.get(&id).cloned()
    }

    /// Takes a host that somebody named, if it passes the checks; a known one is woken up.
    pub async fn add(&self, name: &str, by: Named<'_>) -> Result<Arc<Host>, AddError> {
        let name = HostName::parse(name, self.context.allow_insecure)?;
        if let Some(host) = self.find(name.as_str()) {
            if host.status() == HostStatus::Banned {
                return Err(AddError::Banned(name.to_string()));
            }
            host.wake();
            return Ok(host);
        }
        if self.context.decisions.banned_domain_of(name.as_str()).await?.is_some() {
            return Err(AddError::Banned(name.to_string()));
        }
        if by == Named::ByAnyone {
            let _checking = self.context.checking.acquire().await.map_err(|_| AddError::Stopping)?;
            check(&name, &self.context.http).await?;
        }
        let row = self.context.decisions.add_host(name.as_str(), !name.is_secure(), by.actor()).await?;
        if let Some(host) = self.find(name.as_str()) {
            // Somebody else named it at the same time.
            return Ok(host);
        }
        let host = self.insert(self.host(&row, name, Progress::default(), 0));
        tracing::info!(host = %host.name, id = host.id, "host added");
        self.connect(Arc::clone(&host));
        Ok(host)
    }

    /// Bans a host, or lets it in again.
    pub async fn set_banned(&self, host: &Host, is_banned: bool, by: Actor<'_>) -> Result<(), decisions::Error> {
        let status = if is_banned { HostStatus::Banned } else { HostStatus::Idle };
        self.context.decisions.set_host_status(host.id, status, by).await?;
        host.set_status(status);
        Ok(())
    }

    /// Ends the stream that is open to a host; its task connects again.
    pub async fn disconnect(&self, host: &Host, by: Actor<'_>) -> Result<(), decisions::Error> {
        self.context.decisions.note(by, "disconnect_host", host.name.as_str(), None).await?;
        host.disconnect();
        Ok(())
    }

    /// Takes no host of a domain any more, and bans those that are here; says whether the domain was not banned yet.
    pub async fn ban_domain(&self, domain: &str, by: Actor<'_>) -> Result<bool, decisions::Error> {
        let is_new = self.context.decisions.ban_domain(domain, by).await?;
        for host in self.all() {
            if self.context.decisions.banned_domain_of(host.name.as_str()).await?.is_some() {
                self.set_banned(&host, true, by).await?;
            }
        }
        Ok(is_new)
    }

    /// Takes hosts of a domain again; those that are here stay banned until somebody says otherwise.
    pub async fn unban_domain(&self, domain: &str, by: Actor<'_>) -> Result<bool, decisions::Error> {
        self.context.decisions.unban_domain(domain, by).await
    }

    /// Gives one host limits of its own, and lets in what was held back by the old ones. Says how many accounts that
    /// were.
    pub async fn set_limits(&self, host: &Arc<Host>, limits: OwnLimits, by: Actor<'_>) -> Result<u64, LimitsError> {
        self.context.decisions.set_host_limits(host.id, limits, by).await?;
        host.set_limits(limits.or(self.config.limits_of(host.name.as_str())));
        let mut let_in = 0;
        // At most `HELD_MAX` of them.
        for did in Accounts::new(self.context.store.clone()).held_on(host.id)? {
            if !host.has_place() {
                break;
            }
            let decided = self.context.intake.decide(did, Some(Arc::clone(host)), Decision::Free(None)).await;
            let_in += u64::from(decided.is_some_and(|account| account.local == Local::Free));
        }
        Ok(let_in)
    }

    /// Says what happens to one host's events that fail verification; `None` is as configured.
    pub async fn set_validation(
        &self,
        host: &Host,
        validation: Option<Validation>,
        by: Actor<'_>,
    ) -> Result<(), decisions::Error> {
        self.context.decisions.set_host_validation(host.id, validation, by).await?;
        host.set_validation(validation.unwrap_or_else(|| self.config.validation_of(host.name.as_str())));
        Ok(())
    }

    /// Follows a change of an account in what its hosts count, in the derived rows too. The place on a new host was taken
    /// when the event was verified.
    pub fn account_changed(&self, rows: &mut WriteBatch, change: &Change) {
        let counted = |account: Account| account.counted_on();
        let (was, is) = (change.before.and_then(counted), counted(change.after));
        let (was_held, is_held) = (change.before.and_then(held_on), held_on(change.after));
        if was == is && was_held == is_held {
            return;
        }
        let known = self.read();
        let host = |id: Option<u32>| id.and_then(|id| known.by_id.get(&id));
        if was_held != is_held {
            host(was_held).inspect(|host| host.held_went());
            host(is_held).inspect(|host| host.held_came());
        }
        if was != is {
            if let Some(host) = host(was) {
                host.account_went();
                put_accounts(&self.context.store, rows, host);
            }
            if let Some(host) = host(is) {
                host.account_came();
                put_accounts(&self.context.store, rows, host);
            }
        }
    }

    /// Adds the progress of every host that moved to a batch.
    pub fn put_progress(&self, rows: &mut WriteBatch) {
        for host in self.read().by_id.values() {
            if let Some(progress) = host.changed_progress() {
                self.context.store.put(rows, Column::Host, &progress_key(host.id), &progress.encode());
            }
        }
    }

    fn connect(&self, host: Arc<Host>) {
        tokio::spawn(connection::run(host, Arc::clone(&self.context)));
    }

    fn host(&self, row: &HostRow, name: HostName, progress: Progress, accounts: u64) -> Host {
        let limits = row.limits.or(self.config.limits_of(name.as_str()));
        let mut host = Host::new(row.id, name, limits, row.status, progress, accounts);
        host.added_at_ms = row.added_at_ms;
        host.set_validation(row.validation.unwrap_or_else(|| self.config.validation_of(host.name.as_str())));
        host.set_last_error(row.last_error.clone());
        host
    }

    fn insert(&self, host: Host) -> Arc<Host> {
        let host = Arc::new(host);
        let mut known = self.write();
        known.by_id.insert(host.id, Arc::clone(&host));
        known.by_name.insert(host.name.clone(), Arc::clone(&host));
        host
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn held_on(account: Account) -> Option<u32> {
    (account.local == Local::Held).then_some(account.host)
}

fn put_accounts(store: &Store, rows: &mut WriteBatch, host: &Host) {
    store.put(rows, Column::Host, &accounts_key(host.id), &host.accounts().to_be_bytes());
}

/// Key of a host's account count.
pub fn accounts_key(id: u32) -> [u8; 5] {
    key(b'a', id)
}

/// Key of a host's progress row.
fn progress_key(id: u32) -> [u8; 5] {
    key(b'p', id)
}

fn key(kind: u8, id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [kind, a, b, c, d]
}

/// The host that a row of that kind is about.
pub fn id_of_key(kind: u8, key: &[u8]) -> Option<u32> {
    let id = key.strip_prefix(&[kind])?;
    Some(u32::from_be_bytes(id.try_into().ok()?))
}
