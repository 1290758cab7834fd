//! The hosts: every PDS that the relay reads from.
//!
//! [`Hosts`] knows them all and starts one task for each ([`task`]), which waits for its turn ([`ramp`]), connects
//! ([`dial`]) and reads ([`stream`], [`socket`]); a [`Host`] is what that task, the verifying shards, the sequencer and the APIs share of one of them.
//! Nothing here looks into an event beyond its routing fields.

mod add;
mod backoff;
mod check;
mod context;
mod dial;
pub mod discovery;
mod name;
mod progress;
mod pulse;
mod ramp;
mod rate;
mod registry;
mod repo_status;
mod report;
mod request_crawl;
mod room;
mod socket;
mod stream;
mod task;
mod tls;

pub use add::{AddError, Named};
pub use check::CheckError;
pub use context::{Bounds, HostsContext, Parts, STREAM_BYTES, STREAM_SPARE_BYTES};
pub use name::{HostName, HostNameError};
pub use progress::{Arrival, Progress, ProgressRow};
pub use pulse::{Pulse, Wait};
pub use ramp::{ASKED_DIALS_MAX, DIALS_MAX};
pub use registry::{Hosts, LimitsError, accounts_key, floor_key, id_of_key};
pub use repo_status::RepoStatuses;
pub use report::{HostReport, Lags};
pub use request_crawl::RequestCrawl;
pub use room::ROOM_BYTES_MIN;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

use crate::config::{HostLimits, Validation};
use crate::decisions::HostStatus;

/// Origin of events that the relay itself makes; no host has this id.
pub const LOCAL: u32 = 0;

/// Accounts of one host that are held back and remembered.
const HELD_MAX: u64 = 10_000;

/// One host.
pub struct Host {
    /// Its id in the log, the derived store and the decisions.
    pub id: u32,
    /// Its name, as identities and APIs write it.
    pub name: HostName,
    /// When it was added, in milliseconds since 1970.
    pub added_at_ms: i64,
    /// Accounts on it whose events are in the log.
    accounts: AtomicU64,
    /// Places of accounts that are taken: those, and the ones whose first event is on its way to the log.
    places: AtomicU64,
    /// Accounts on it that are held back by its limit.
    held: AtomicU64,
    limits: RwLock<HostLimits>,
    validation: RwLock<Validation>,
    standing: watch::Sender<Standing>,
    progress: Mutex<Progress>,
    progress_changed: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
    /// How its stream is.
    pub pulse: Pulse,
    /// What happened to its events.
    pub counts: HostCounts,
}

/// The last failure of a host. It stays to be seen when the host is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong.
    pub error: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What people and the host's own behaviour have made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its status in `listHosts`.
    pub status: HostStatus,
    /// Raised to make its task connect soon, whatever the back-off says.
    pub wakes: u64,
    /// Raised to make its task end the stream that is open, and connect again.
    pub cuts: u64,
    /// Raised to make its task forget the cursor and begin again from the host's live stream.
    pub resets: u64,
}

impl Standing {
    /// Whether what the task does under an earlier standing has to end at once.
    fn ends(&self, earlier: &Standing) -> bool {
        let is_banned = |standing: &Standing| standing.status == HostStatus::Banned;
        is_banned(self) != is_banned(earlier) || self.resets != earlier.resets || self.cuts != earlier.cuts
    }
}

/// Counters of one host, since the start of the process.
#[derive(Debug, Default)]
pub struct HostCounts {
    /// Messages received.
    pub received: AtomicU64,
    /// Events passed on.
    pub passed: AtomicU64,
    /// Events dropped.
    pub dropped: AtomicU64,
    /// Connections made.
    pub connects: AtomicU64,
}

impl Host {
    /// A host that is not connected yet.
    pub fn new(
        id: u32,
        name: HostName,
        limits: HostLimits,
        status: HostStatus,
        progress: Progress,
        accounts: u64,
    ) -> Host {
        Host {
            id,
            name,
            added_at_ms: 0,
            accounts: AtomicU64::new(accounts),
            places: AtomicU64::new(accounts),
            held: AtomicU64::new(0),
            limits: RwLock::new(limits),
            validation: RwLock::new(Validation::Enforce),
            standing: watch::Sender::new(Standing { status, wakes: 0, cuts: 0, resets: 0 }),
            progress: Mutex::new(progress),
            // What a start has learnt from the log is in no row yet.
            progress_changed: AtomicBool::new(true),
            trouble: Mutex::new(None),
            pulse: Pulse::default(),
            counts: HostCounts::default(),
        }
    }

    /// Its status.
    pub fn status(&self) -> HostStatus {
        self.standing.borrow().status
    }

    /// Changes its status; its task follows.
    pub fn set_status(&self, status: HostStatus) {
        self.standing.send_if_modified(|standing| {
            let changed = standing.status != status;
            standing.status = status;
            changed
        });
    }

    /// Makes its task connect soon, if it is waiting.
    pub fn wake(&self) {
        self.standing.send_modify(|standing| standing.wakes += 1);
    }

    /// Makes its task end the stream that is open, and connect again.
    pub fn disconnect(&self) {
        self.standing.send_modify(|standing| standing.cuts += 1);
    }

    /// Makes its task forget how far it has read, and read what the host sends from now on.
    fn ask_reset(&self) {
        self.standing.send_modify(|standing| standing.resets += 1);
    }

    /// Follows its standing.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Whether a stream from it is open.
    pub fn is_connected(&self) -> bool {
        self.pulse.is_connected()
    }

    /// Its limits.
    pub fn limits(&self) -> HostLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes its limits.
    pub fn set_limits(&self, limits: HostLimits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// What happens to its events that fail verification.
    pub fn validation(&self) -> Validation {
        *self.validation.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what happens to its events that fail verification.
    pub fn set_validation(&self, validation: Validation) {
        *self.validation.write().unwrap_or_else(PoisonError::into_inner) = validation;
    }

    /// How many accounts it has.
    pub fn accounts(&self) -> u64 {
        self.accounts.load(Ordering::Relaxed)
    }

    /// Takes a place for one more account, unless its limit is reached.
    pub fn take_place(&self) -> bool {
        let limit = self.limits().accounts.unwrap_or(u64::MAX);
        let take = |places: u64| (places < limit).then_some(places + 1);
        self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Whether there is a place for one more account.
    pub fn has_place(&self) -> bool {
        self.limits().accounts.is_none_or(|limit| self.places.load(Ordering::Relaxed) < limit)
    }

    /// How many of its accounts are held back.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether one more account may be held back. Beyond that accounts are not remembered: a host can make up as many
    /// as it likes.
    pub fn may_hold(&self) -> bool {
        self.held() < HELD_MAX
    }

    fn held_came(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    fn held_went(&self) {
        let give = |count: u64| Some(count.saturating_sub(1));
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    /// The first event of an account that has a place is in the log.
    fn account_came(&self) {
        self.accounts.fetch_add(1, Ordering::Relaxed);
    }

    /// An account was deleted, or went to another host.
    fn account_went(&self) {
        let give = |count: u64| Some(count.saturating_sub(1));
        let _ = self.accounts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
        let _ = self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    /// Begins with the event after `cursor`, if nothing has begun yet.
    fn start_at(&self, cursor: u64) {
        self.lock_progress().start_at(cursor);
        self.progress_changed.store(true, Ordering::Release);
    }

    /// Notes the arrival of an event.
    pub fn begin(&self, seq: u64) -> Arrival {
        self.lock_progress().begin(seq)
    }

    /// Notes that an event needs no more work.
    pub fn finish(&self, seq: u64) {
        self.lock_progress().finish(seq);
        self.progress_changed.store(true, Ordering::Release);
    }

    /// The last seq below which everything is finished; `None` until it has sent something.
    pub fn cursor(&self) -> Option<u64> {
        self.lock_progress().cursor()
    }

    /// Events that were taken from it and are neither dropped nor in the log yet.
    pub fn in_flight(&self) -> usize {
        self.lock_progress().in_flight()
    }

    /// Begins again from the host's live stream.
    fn reset_progress(&self) {
        self.lock_progress().reset();
        self.progress_changed.store(true, Ordering::Release);
    }

    /// Its progress, if it changed since this was last asked; none of it while nothing has come.
    fn changed_progress(&self) -> Option<Option<ProgressRow>> {
        let changed = self.progress_changed.swap(false, Ordering::Acquire);
        changed.then(|| self.lock_progress().row())
    }

    /// What went wrong last.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    fn lock_progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
