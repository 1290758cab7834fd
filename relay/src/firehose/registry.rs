//! Who is connected, and how many may be.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::outgoing::Progress;
use super::stats::add;
use crate::net::network;

/// Greatest length of a user agent that is remembered, in bytes.
const USER_AGENT_BYTES_MAX: usize = 256;

/// A connected consumer, as the admin API shows it.
#[derive(Debug, Clone)]
pub struct ConsumerInfo {
    /// Identifies the connection until the relay restarts.
    pub id: u64,
    /// Where it comes from.
    pub address: IpAddr,
    /// Its `User-Agent`, cut to 256 bytes; empty if it sent none.
    pub user_agent: String,
    /// Since when it is connected.
    pub connected_at: Timestamp,
    /// Seq of the last event wholly written to it; before the first, the cursor it started from.
    pub cursor: u64,
    /// Events written to it.
    pub events_sent: u64,
    /// Bytes written to it, with WebSocket framing.
    pub bytes_sent: u64,
    /// Where its events come from.
    pub state: ConsumerState,
}

/// Where a consumer's events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerState {
    /// From the log: it is catching up.
    Replaying,
    /// From the ring: it keeps up.
    Live,
}

/// The connected consumers.
#[derive(Debug)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    entries: BTreeMap<u64, Arc<Entry>>,
    per_network: HashMap<IpAddr, usize>,
}

/// What is known of one consumer. Its task writes, the admin API reads.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    address: IpAddr,
    user_agent: String,
    connected_at: Timestamp,
    cursor: AtomicU64,
    events_sent: AtomicU64,
    bytes_sent: AtomicU64,
    replaying: AtomicBool,
    /// Given a permit to end the connection.
    cut: Notify,
}

/// A consumer's place among the connected ones; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    pub entry: Arc<Entry>,
}

/// No place is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The relay serves as many consumers as it may.
    Relay,
    /// The network serves as many consumers as it may.
    Address,
}

impl Registry {
    pub fn new() -> Arc<Registry> {
        Arc::new(Registry { inner: Mutex::default(), count: watch::Sender::new(0) })
    }

    /// Takes a place for a consumer, unless `consumers_max` are connected, or `per_address_max` from its network.
    pub fn admit(
        self: &Arc<Registry>,
        consumers_max: usize,
        per_address_max: usize,
        address: IpAddr,
        user_agent: &str,
    ) -> Result<Registration, Full> {
        let mut inner = self.lock();
        if inner.entries.len() >= consumers_max {
            return Err(Full::Relay);
        }
        let same_network = inner.per_network.entry(network(address)).or_default();
        if *same_network >= per_address_max {
            return Err(Full::Address);
        }
        *same_network += 1;
        inner.last_id += 1;
        let entry = Arc::new(Entry {
            id: inner.last_id,
            address,
            user_agent: user_agent[..user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX)].to_owned(),
            connected_at: Timestamp::now(),
            cursor: AtomicU64::new(0),
            events_sent: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            replaying: AtomicBool::new(false),
            cut: Notify::new(),
        });
        inner.entries.insert(entry.id, Arc::clone(&entry));
        self.count.send_replace(inner.entries.len());
        Ok(Registration { registry: Arc::clone(self), entry })
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Returns when nobody is connected.
    pub async fn emptied(&self) {
        let mut count = self.count.subscribe();
        let _ = count.wait_for(|count| *count == 0).await; // the sender lives in self
    }

    pub fn list(&self) -> Vec<ConsumerInfo> {
        self.lock().entries.values().map(|entry| entry.info()).collect()
    }

    /// Ends a consumer's connection; says who it was, if it is connected.
    pub fn cut(&self, id: u64) -> Option<ConsumerInfo> {
        let entry = Arc::clone(self.lock().entries.get(&id)?);
        entry.cut.notify_one();
        Some(entry.info())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        inner.entries.remove(&self.entry.id);
        let network = network(self.entry.address);
        if let Some(count) = inner.per_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                inner.per_network.remove(&network);
            }
        }
        self.registry.count.send_replace(inner.entries.len());
    }
}

impl Entry {
    pub fn note_state(&self, state: ConsumerState) {
        self.replaying.store(state == ConsumerState::Replaying, Ordering::Relaxed);
    }

    pub fn note_cursor(&self, cursor: u64) {
        self.cursor.store(cursor, Ordering::Relaxed);
    }

    pub fn note_sent(&self, progress: &Progress) {
        add(&self.events_sent, progress.events);
        add(&self.bytes_sent, progress.bytes as u64);
    }

    /// Returns when somebody wants the connection to end.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }

    pub fn info(&self) -> ConsumerInfo {
        ConsumerInfo {
            id: self.id,
            address: self.address,
            user_agent: self.user_agent.clone(),
            connected_at: self.connected_at,
            cursor: self.cursor.load(Ordering::Relaxed),
            events_sent: self.events_sent.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            state: match self.replaying.load(Ordering::Relaxed) {
                true => ConsumerState::Replaying,
                false => ConsumerState::Live,
            },
        }
    }
}

#[cfg(test)]
mod tests;
