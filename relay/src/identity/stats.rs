//! What the resolver has done since the start of the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of the resolver, all of which only grow.
#[derive(Debug, Default)]
pub struct Stats {
    /// Lookups that the cache could answer.
    pub hits: AtomicU64,
    /// Lookups that it could not.
    pub misses: AtomicU64,
    /// Callers that waited for a request that was already under way.
    pub coalesced: AtomicU64,
    /// Forced refreshes that were answered from the cache, since the DID had been refreshed just before.
    pub refresh_limited: AtomicU64,
    /// Identities used beyond their time, since they could not be refreshed.
    pub stale_used: AtomicU64,
    /// Time that all answered requests took, in microseconds.
    pub request_time_us: AtomicU64,
    requests: [AtomicU64; Outcome::ALL.len()],
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an identity.
    Found,
    /// There is no identity of that DID.
    Absent,
    /// The server asked for fewer requests.
    RateLimited,
    /// The server failed.
    Failed,
    /// The answer was no DID document.
    Malformed,
    /// No answer in time.
    Timeout,
    /// No connection, or a broken one.
    Network,
}

impl Outcome {
    const ALL: [(Outcome, &'static str); 7] = [
        (Outcome::Found, "found"),
        (Outcome::Absent, "absent"),
        (Outcome::RateLimited, "rate_limited"),
        (Outcome::Failed, "failed"),
        (Outcome::Malformed, "malformed"),
        (Outcome::Timeout, "timeout"),
        (Outcome::Network, "network"),
    ];
}

impl Stats {
    /// Requests sent, by outcome.
    pub fn requests(&self) -> [(&'static str, u64); Outcome::ALL.len()] {
        Outcome::ALL.map(|(outcome, name)| (name, self.requests[outcome as usize].load(Ordering::Relaxed)))
    }

    pub(super) fn requested(&self, outcome: Outcome, took: Duration) {
        count(&self.requests[outcome as usize]);
        self.request_time_us.fetch_add(took.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
