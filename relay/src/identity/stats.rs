//! What the resolver has done since the start of the process.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::now_ms;
use crate::protocol::did::Method;

/// Counters of the resolver, which only grow, and what it is doing now.
#[derive(Debug, Default)]
pub struct Stats {
    /// Lookups that the cache could answer.
    pub hits: AtomicU64,
    /// Of these, the ones answered with that there is no identity.
    pub negative_hits: AtomicU64,
    /// Lookups that it could not.
    pub misses: AtomicU64,
    /// Callers that waited for a request that was already under way.
    pub coalesced: AtomicU64,
    /// Forced refreshes that were answered from the cache, since the DID had been refreshed just before.
    pub refresh_limited: AtomicU64,
    /// Identities used beyond their time, since they could not be refreshed.
    pub stale_used: AtomicU64,
    /// Look-ups that a host was not granted, since it has caused many for accounts of other hosts.
    pub foreign_refused: AtomicU64,
    /// Requests that had to wait for their turn.
    pub waits: AtomicU64,
    /// Requests that were not sent, since their server is left alone.
    pub paused: AtomicU64,
    /// Look-ups under way, those included that wait for their turn.
    pub lookups: AtomicU64,
    /// Time that all answered requests took, in microseconds.
    pub request_time_us: AtomicU64,
    /// Pages of the export that could not be read.
    pub export_failures: AtomicU64,
    /// Up to when the export has been read, in milliseconds since 1970; 0 when it is not followed.
    pub(super) export_reached_ms: AtomicI64,
    exported: [AtomicU64; Effect::ALL.len()],
    requests: [[AtomicU64; Outcome::ALL.len()]; METHODS.len()],
}

const METHODS: [(Method, &str); 2] = [(Method::Plc, "plc"), (Method::Web, "web")];

/// What an operation in the export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is about a DID of which nothing is remembered.
    Unknown,
    /// It says what is remembered.
    Unchanged,
    /// What was remembered is forgotten.
    Forgotten,
    /// It has been undone.
    Nullified,
    /// The line made no sense.
    Malformed,
}

impl Effect {
    const ALL: [(Effect, &'static str); 5] = [
        (Effect::Unknown, "unknown"),
        (Effect::Unchanged, "unchanged"),
        (Effect::Forgotten, "forgotten"),
        (Effect::Nullified, "nullified"),
        (Effect::Malformed, "malformed"),
    ];
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
    /// Requests sent: how the DID is resolved, how the request ended, how many.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        METHODS.into_iter().flat_map(|(method, resolver)| {
            let requests = &self.requests[method as usize];
            Outcome::ALL.map(|(outcome, name)| (resolver, name, requests[outcome as usize].load(Ordering::Relaxed)))
        })
    }

    /// Operations read from the export, by what they did.
    pub fn exported_operations(&self) -> [(&'static str, u64); Effect::ALL.len()] {
        Effect::ALL.map(|(effect, name)| (name, self.exported[effect as usize].load(Ordering::Relaxed)))
    }

    /// How far the follower of the export is behind; `None` when it is not followed.
    pub fn export_lag(&self) -> Option<Duration> {
        let reached_ms = self.export_reached_ms.load(Ordering::Relaxed);
        let behind_ms = now_ms().saturating_sub(reached_ms).try_into().unwrap_or(0);
        (reached_ms != 0).then(|| Duration::from_millis(behind_ms))
    }

    pub(super) fn requested(&self, method: Method, outcome: Outcome, took: Duration) {
        count(&self.requests[method as usize][outcome as usize]);
        self.request_time_us.fetch_add(took.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn exported(&self, effect: Effect) {
        count(&self.exported[effect as usize]);
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
