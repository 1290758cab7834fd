//! Hosts that do not answer are left alone for a time, so that their accounts do not hold up all others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backfill::witness::Obstacle;
use crate::host::HostName;

/// Requests in a row without an answer, after which a host rests; single ones may be the matter of one account.
const SILENT_MAX: u32 = 3;
/// How long it rests if it does not say.
const REST: Duration = Duration::from_secs(60);
/// Longest rest that it is given.
const REST_MAX: Duration = Duration::from_secs(600);
/// Hosts that are remembered: anyone can name new ones in an identity.
const HOSTS_MAX: usize = 10_000;

/// Hosts that have not answered.
#[derive(Default)]
pub(super) struct Quiet(Mutex<HashMap<HostName, Silence>>);

struct Silence {
    /// Requests in a row without an answer.
    requests: u32,
    /// When it may be asked again.
    until: Instant,
}

impl Quiet {
    pub fn is_resting(&self, host: &HostName) -> bool {
        self.lock().get(host).is_some_and(|silence| silence.until > Instant::now())
    }

    /// Takes note of how a request has ended.
    pub fn heard(&self, host: &HostName, obstacle: Option<&Obstacle>) {
        let mut silences = self.lock();
        let Some(Obstacle::Host { after, .. }) = obstacle else {
            silences.remove(host);
            return;
        };
        let now = Instant::now();
        if silences.len() >= HOSTS_MAX {
            silences.clear();
        }
        let silence = silences.entry(host.clone()).or_insert(Silence { requests: 0, until: now });
        silence.requests = silence.requests.saturating_add(1);
        if after.is_some() || silence.requests >= SILENT_MAX {
            silence.until = now + after.unwrap_or(REST).min(REST_MAX);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostName, Silence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
