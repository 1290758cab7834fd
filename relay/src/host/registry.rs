//! All hosts, and what is decided about them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rocksdb::WriteBatch;

use super::ramp::Rank;
use super::{Bounds, Host, HostName, HostsContext, Progress, Trouble, Wait, task};
use crate::account::{Account, Accounts, Local};
use crate::config::{Config, Validation};
use crate::decisions::{self, Actor, HostRow, HostStatus, OwnLimits};
use crate::store::{Column, Store, StoreError};
use crate::verify::{Change, Decision};

/// The hosts of the relay.
pub struct Hosts {
    pub(super) context: Arc<HostsContext>,
    pub(super) config: Config,
    new_hosts_per_day: AtomicU64,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_id: BTreeMap<u32, Arc<Host>>,
    by_name: HashMap<HostName, Arc<Host>>,
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
        let new_hosts_per_day = AtomicU64::new(config.new_hosts_per_day.unwrap_or(0));
        let hosts = Hosts { context: Arc::new(context), config, new_hosts_per_day, known: RwLock::default() };
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

    /// Starts the task of every host. Those that had a stream when the relay stopped come first, and of these those with
    /// the most accounts.
    pub fn connect_all(&self) {
        let mut hosts = self.all();
        hosts.sort_by_key(|host| (Rank::of(host), Reverse(host.accounts())));
        for host in hosts {
            self.connect(host);
        }
    }

    /// Changes what streams may cost.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.context.set_bounds(bounds);
    }

    /// Memory of the streams, in bytes.
    pub fn stream_bytes(&self) -> u64 {
        self.context.bytes()
    }

    /// Connections that were ended within a long message, for want of memory.
    pub fn messages_cut(&self) -> u64 {
        self.context.messages_cut.load(Ordering::Relaxed)
    }

    /// Hosts that are not dialled yet, by what they wait for.
    pub fn waiting(&self) -> [(Wait, usize); 2] {
        [(Wait::Stream, self.context.slots.waiting()), (Wait::Dial, self.context.ramp.waiting())]
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

    /// How many new hosts a day may bring by requestCrawl; `None` for any number.
    pub fn new_hosts_per_day(&self) -> Option<u64> {
        Some(self.new_hosts_per_day.load(Ordering::Relaxed)).filter(|per_day| *per_day > 0)
    }

    /// Changes that, until the next start; 0 for any number.
    pub async fn set_new_hosts_per_day(&self, per_day: u64, by: Actor<'_>) -> Result<(), decisions::Error> {
        let detail = per_day.to_string();
        self.context.decisions.note(by, "change_setting", "new_hosts_per_day", Some(&detail)).await?;
        self.new_hosts_per_day.store(per_day, Ordering::Relaxed);
        Ok(())
    }

    /// Bans a host, or lets it in again if it is banned.
    pub async fn set_banned(&self, host: &Host, is_banned: bool, by: Actor<'_>) -> Result<(), decisions::Error> {
        if is_banned == (host.status() == HostStatus::Banned) {
            return Ok(());
        }
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

    /// Forgets how far a host was read: it is asked for its live stream, and what it sent since is not asked for. This
    /// is how a host comes back that has lost its past (protocol 12).
    pub async fn reset_cursor(&self, host: &Host, by: Actor<'_>) -> Result<(), decisions::Error> {
        let was = host.cursor().map_or_else(|| "it had none".to_owned(), |cursor| format!("it was {cursor}"));
        self.context.decisions.note(by, "reset_cursor", host.name.as_str(), Some(&was)).await?;
        host.ask_reset();
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
            let (store, key) = (&self.context.store, progress_key(host.id));
            match host.changed_progress() {
                Some(Some(progress)) => store.put(rows, Column::Host, &key, &progress.encode()),
                Some(None) => store.delete(rows, Column::Host, &key),
                None => {}
            }
        }
    }

    pub(super) fn connect(&self, host: Arc<Host>) {
        tokio::spawn(task::run(host, Arc::clone(&self.context)));
    }

    pub(super) fn host(&self, row: &HostRow, name: HostName, progress: Progress, accounts: u64) -> Host {
        let limits = row.limits.or(self.config.limits_of(name.as_str()));
        let mut host = Host::new(row.id, name, limits, row.status, progress, accounts);
        host.added_at_ms = row.added_at_ms;
        host.set_validation(row.validation.unwrap_or_else(|| self.config.validation_of(host.name.as_str())));
        if let (Some(error), Some(at_ms)) = (row.last_error.clone(), row.last_error_at_ms) {
            host.set_trouble(Trouble { error, at_ms });
        }
        host
    }

    pub(super) fn insert(&self, host: Host) -> Arc<Host> {
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

/// Key of the row that says up to which seq of the log a host's events say nothing of its progress: its cursor was reset
/// after them.
pub fn floor_key(id: u32) -> [u8; 5] {
    key(b'r', id)
}

/// Key of a host's progress row.
pub(super) fn progress_key(id: u32) -> [u8; 5] {
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
