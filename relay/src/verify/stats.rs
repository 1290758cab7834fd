//! What happened to the events, since the start of the process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Reason;

/// Counters of verification.
#[derive(Debug, Default)]
pub struct Stats {
    received: AtomicU64,
    upstream_info: AtomicU64,
    discontinuous: AtomicU64,
    parked: AtomicU64,
    waiting_events: AtomicU64,
    waiting_bytes: AtomicU64,
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    observed: Mutex<BTreeMap<&'static str, u64>>,
}

impl Stats {
    /// Counts a message received.
    pub fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a host's notice that it no longer holds what we missed.
    pub fn upstream_info(&self) {
        self.upstream_info.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a commit that does not continue the state we know, and passes (protocol 27).
    pub fn discontinuous(&self) {
        self.discontinuous.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event that waits for its identity.
    pub fn parked(&self, bytes: usize) {
        self.parked.fetch_add(1, Ordering::Relaxed);
        self.waiting_events.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts an event that waits no longer.
    pub fn unparked(&self, bytes: usize) {
        self.waiting_events.fetch_sub(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Counts an event that does not pass.
    pub fn dropped(&self, reason: Reason) {
        count(&self.dropped, reason);
    }

    /// Counts an invalid event that passes by policy.
    pub fn observed(&self, reason: Reason) {
        count(&self.observed, reason);
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let map = |counts: &Mutex<BTreeMap<_, _>>| counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot {
            received: self.received.load(Ordering::Relaxed),
            upstream_info: self.upstream_info.load(Ordering::Relaxed),
            discontinuous: self.discontinuous.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
            waiting_events: self.waiting_events.load(Ordering::Relaxed),
            waiting_bytes: self.waiting_bytes.load(Ordering::Relaxed),
            dropped: map(&self.dropped),
            observed: map(&self.observed),
        }
    }
}

/// The counters at one time.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Messages received from hosts.
    pub received: u64,
    /// Notices of hosts that events were missed.
    pub upstream_info: u64,
    /// Commits passed that do not continue what was known.
    pub discontinuous: u64,
    /// Events that had to wait for an identity.
    pub parked: u64,
    /// Events that wait for an identity now.
    pub waiting_events: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Events dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Invalid events passed by policy, by reason.
    pub observed: BTreeMap<&'static str, u64>,
}

fn count(counts: &Mutex<BTreeMap<&'static str, u64>>, reason: Reason) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(reason.name()).or_default() += 1;
}
