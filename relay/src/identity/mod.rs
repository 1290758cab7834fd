//! Who an account is: its signing key, its PDS and its handle, asked for once and remembered.
//!
//! A failure to find out is not an answer. What is certain is an identity or its absence; everything else is
//! [`Transient`], is never remembered, and leaves to the caller to wait (protocol 17). What is known survives a restart
//! and a `kill -9`, so that a restart asks the PLC directory for nothing it knew.

mod budget;
mod cache;
mod coverage;
pub mod document;
mod error;
mod export;
mod fetch;
mod flights;
mod follow;
mod memory;
mod pace;
mod row;
mod stats;
#[cfg(test)]
mod tests;

pub use error::{SetupError, Transient};
pub use row::is_worthless;
pub use stats::Stats;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rocksdb::DB;
use tokio::time::Instant;

use crate::protocol::did::Did;
use crate::protocol::key::PublicKey;
use budget::Budget;
use cache::Cache;
use coverage::Coverage;
use fetch::Fetcher;
use flights::{Boarding, Departure, Flights, Landing, TooSoon};
use stats::count;

/// What the DID document of an account says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The key that signs its commits.
    pub key: Option<PublicKey>,
    /// Where it is hosted.
    pub pds: Option<Endpoint>,
    /// The handle that it claims; nobody has asked the handle's domain whether that is true.
    pub handle: Option<String>,
    /// When the document was fetched, in milliseconds since 1970.
    pub fetched_at_ms: i64,
}

/// A server by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `pds.example.com`, or with a port where that is not 443: `10.0.0.1:2583`. Lower-case.
    pub host: String,
    /// Whether it is spoken to over TLS.
    pub secure: bool,
}

impl Identity {
    /// Whether events of its repository can be verified at all (protocol 17).
    pub fn is_working(&self) -> bool {
        self.key.is_some() && self.pds.is_some()
    }
}

/// What is known of a DID at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Its identity.
    Known(Arc<Identity>),
    /// It has none: never registered, or tombstoned.
    Absent,
    /// Nothing: [`Resolver::resolve`] finds out.
    Unknown,
}

/// How new an identity has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What is known will do.
    Cached,
    /// Asked for after the call, unless the DID was refreshed several times just before.
    Forced,
    /// Asked for after the call, even if that has to wait because the DID was refreshed several times just before.
    Awaited,
    /// As [`Freshness::Awaited`] if it works; else what is known will do. For when a stranger says that it has changed.
    Suggested,
}

/// What a resolver is made of.
pub struct Options {
    /// The PLC directory. It is trusted: it may be on a private address.
    pub plc_url: String,
    /// A directory whose export is followed, trusted like that one.
    pub export_url: Option<String>,
    /// `did:web` of localhost and on private addresses is resolved, too.
    pub allow_insecure: bool,
    /// Where identities are remembered …
    pub database: Arc<DB>,
    /// … in this column family.
    pub column: &'static str,
    /// Memory for identities in use and for requests, in bytes.
    pub memory_bytes: usize,
}

/// How long things are good (protocol 16).
#[derive(Debug, Clone, Copy)]
struct Lifetimes {
    /// A known identity is not asked for again. Changes are told by `#identity`; this is for those that got lost.
    known: Duration,
    /// The absence of an identity, and one without key or PDS: that is mostly a mistake that somebody repairs.
    absent: Duration,
    /// Age up to which an identity is used while it cannot be refreshed. A directory is not down for longer.
    stale_max: Duration,
    /// Time until such a refresh is tried again.
    stale_retry: Duration,
    /// One forced refresh of a DID per interval: bad signatures of a host must not become load on the directory …
    refresh_interval: Duration,
    /// … and so many at once, since an account that moves asks for two or three.
    refresh_burst: u32,
    /// A request that takes longer has failed.
    request_max: Duration,
    /// Time between two requests for the end of an export …
    export_poll: Duration,
    /// … and for pages, when there are more.
    export_page: Duration,
}

impl Default for Lifetimes {
    fn default() -> Lifetimes {
        Lifetimes {
            known: Duration::from_secs(24 * 3600),
            absent: Duration::from_secs(5 * 60),
            stale_max: Duration::from_secs(7 * 24 * 3600),
            stale_retry: Duration::from_secs(5 * 60),
            refresh_interval: Duration::from_secs(10),
            refresh_burst: 3,
            request_max: Duration::from_secs(10),
            export_poll: Duration::from_secs(5),
            export_page: Duration::from_millis(500),
        }
    }
}

/// Resolves DIDs.
pub struct Resolver {
    cache: Cache,
    flights: Arc<Flights>,
    fetcher: Fetcher,
    foreign: Budget,
    coverage: Arc<Coverage>,
    export_url: Option<String>,
    lifetimes: Lifetimes,
    stats: Arc<Stats>,
}

impl Resolver {
    /// A resolver over what `options.database` remembers.
    pub fn new(options: Options) -> Result<Arc<Resolver>, SetupError> {
        Resolver::with_lifetimes(options, Lifetimes::default())
    }

    fn with_lifetimes(options: Options, lifetimes: Lifetimes) -> Result<Arc<Resolver>, SetupError> {
        let Options { plc_url, export_url, allow_insecure, database, column, memory_bytes } = options;
        if database.cf_handle(column).is_none() {
            return Err(SetupError::Column(column));
        }
        let stats = Arc::new(Stats::default());
        let coverage = Arc::new(Coverage::default());
        let resolver = Arc::new(Resolver {
            cache: Cache::new(database, column, 0, lifetimes, Arc::clone(&coverage)),
            flights: Arc::new(Flights::new(lifetimes.refresh_interval, lifetimes.refresh_burst)),
            fetcher: Fetcher::new(&plc_url, allow_insecure, lifetimes.request_max, Arc::clone(&stats))?,
            foreign: Budget::default(),
            coverage,
            export_url,
            lifetimes,
            stats,
        });
        resolver.set_memory_bytes(memory_bytes);
        Ok(resolver)
    }

    /// What is known of a DID, at the cost of a disk read at most.
    pub fn get(&self, did: &Did) -> Lookup {
        let known = self.cache.get(did, now_ms());
        count(if known.is_some() { &self.stats.hits } else { &self.stats.misses });
        match known {
            Some(Some(identity)) => Lookup::Known(identity),
            Some(None) => {
                count(&self.stats.negative_hits);
                Lookup::Absent
            }
            None => Lookup::Unknown,
        }
    }

    /// Finds out who a DID is; `None` when it certainly has no identity.
    pub async fn resolve(
        self: &Arc<Self>,
        did: &Did,
        freshness: Freshness,
    ) -> Result<Option<Arc<Identity>>, Transient> {
        match freshness {
            Freshness::Cached => self.resolve_cached(did).await,
            Freshness::Forced => self.refresh(did, false).await,
            Freshness::Awaited => self.refresh(did, true).await,
            Freshness::Suggested => match self.refresh(did, true).await {
                Err(error) => self.cache.get(did, now_ms()).ok_or(error),
                landing => landing,
            },
        }
    }

    /// Whether a host, by its id, may have an account looked up anew that is not its own. Any host may say that any
    /// identity has changed; one that says so of many must not use up what the directory allows us.
    pub fn may_refresh_foreign(&self, host: u32) -> bool {
        let is_granted = self.foreign.take(host, Instant::now());
        if !is_granted {
            count(&self.stats.foreign_refused);
        }
        is_granted
    }

    /// Forgets a DID: it has announced a change (protocol 29).
    pub fn purge(&self, did: &Did) {
        self.flights.outdate(did);
        self.cache.remove(did);
    }

    /// What it has done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Bytes of identities in memory, and of what is asked for at the moment.
    pub fn memory_bytes(&self) -> usize {
        self.cache.bytes() + self.flights.bytes() + self.fetcher.bytes()
    }

    /// Gives it another share. A quarter of that is for requests, within bounds; identities that are too much go at once,
    /// and are still on disk.
    pub fn set_memory_bytes(&self, bytes: usize) {
        let for_requests = self.fetcher.set_bytes(bytes / 4);
        self.cache.set_bytes_max((bytes / 2).max(bytes.saturating_sub(for_requests)));
    }

    async fn resolve_cached(self: &Arc<Self>, did: &Did) -> Landing {
        if let Some(known) = self.cache.get(did, now_ms()) {
            return Ok(known);
        }
        let landing = self.fly(did, self.flights.board(did, Instant::now())).await;
        let Err(error) = landing else { return landing };
        match self.cache.extend(did, now_ms()) {
            Some(stale) => {
                tracing::debug!(%did, %error, "identity not refreshed, the old one is used");
                count(&self.stats.stale_used);
                Ok(Some(stale))
            }
            None => Err(error),
        }
    }

    async fn refresh(self: &Arc<Self>, did: &Did, is_patient: bool) -> Landing {
        // A request that is under way at first may have been sent before this call; later ones were not.
        let mut is_later = false;
        loop {
            match self.flights.board_refresh(did, Instant::now()) {
                Ok(boarding) => {
                    let is_new = boarding.departure.is_some();
                    let landing = self.fly(did, boarding).await;
                    if is_new || is_later {
                        return landing;
                    }
                }
                Err(TooSoon(until)) => {
                    if let Some(known) = self.cache.get(did, now_ms()).filter(|_| !is_patient) {
                        count(&self.stats.refresh_limited);
                        return Ok(known);
                    }
                    tokio::time::sleep_until(until).await;
                }
            }
            is_later = true;
        }
    }

    /// Waits for a request, and makes it if nobody has. It is made in a task of its own, so that it reaches its end
    /// whoever stops waiting for it.
    async fn fly(self: &Arc<Self>, did: &Did, boarding: Boarding) -> Landing {
        match boarding.departure {
            Some(departure) => drop(tokio::spawn(Arc::clone(self).request(did.clone(), departure))),
            None => count(&self.stats.coalesced),
        }
        boarding.ticket.landed().await
    }

    async fn request(self: Arc<Self>, did: Did, departure: Departure) {
        count(&self.stats.lookups);
        let landing = self.fetcher.fetch(&did).await.map(|identity| identity.map(Arc::new));
        self.stats.lookups.fetch_sub(1, Ordering::Relaxed);
        let keep = |landing: &Landing| {
            if let Ok(identity) = landing {
                self.cache.put(&did, identity.clone(), now_ms());
            }
        };
        departure.land(landing, keep, || self.cache.remove(&did));
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}
