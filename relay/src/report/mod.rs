//! Gathers what the parts of a running relay count, into the status document and the metrics.

mod directory;
mod memory;
mod metrics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::backfill::{Job, Jobs};
use crate::collections::Directory;
use crate::decisions::HostStatus;
use crate::firehose::Firehose;
use crate::host::{HostReport, Hosts};
use crate::identity::Resolver;
use crate::log::Reader;
use crate::memory::Watch;
use crate::sequencer;
use crate::siblings::Siblings;
use crate::status::{Consumers, Document, Events, HostCounts, HostTrouble, LogState, Seqs, VERSION};
use crate::store::Store;
use crate::verify::Intake;

/// The rate of events is taken this often …
const RATE_INTERVAL: Duration = Duration::from_secs(5);
/// … and each new value weighs this much: about half a minute is remembered.
const RATE_WEIGHT: f64 = 0.2;

/// The parts that count.
pub struct Parts {
    /// Verification.
    pub intake: Intake,
    /// The sequencer.
    pub sequencer: Arc<sequencer::Stats>,
    /// The log.
    pub log: Reader,
    /// The derived store.
    pub store: Store,
    /// The directory of collections.
    pub directory: Directory,
    /// What fills it from outside.
    pub jobs: Jobs,
    /// Hosts.
    pub hosts: Arc<Hosts>,
    /// Consumers.
    pub firehose: Arc<Firehose>,
    /// Identities.
    pub resolver: Arc<Resolver>,
    /// Relays that are told what is decided here.
    pub siblings: Arc<Siblings>,
    /// Memory.
    pub watch: Arc<Watch>,
    /// The replay window that is configured.
    pub replay_window: Duration,
}

/// Says how the relay is.
pub struct Reporter {
    parts: Parts,
    started_at: Timestamp,
    /// Events per second, as the bits of an `f64`.
    rate: AtomicU64,
    draining: AtomicBool,
}

impl Reporter {
    /// A reporter of these parts, started now.
    pub fn new(parts: Parts) -> Reporter {
        Reporter {
            parts,
            started_at: Timestamp::now(),
            rate: AtomicU64::new(0f64.to_bits()),
            draining: AtomicBool::new(false),
        }
    }

    /// Notes that the relay is stopping.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why the relay does not deliver, if it does not.
    pub fn obstacle(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            Some("the relay is stopping")
        } else if self.parts.sequencer.is_stuck.load(Ordering::Relaxed) {
            Some("the event log cannot be written; is the disk full?")
        } else {
            None
        }
    }

    /// Follows the rate of events, for as long as the relay runs.
    pub async fn follow_rate(&self) {
        let mut before = self.parts.sequencer.passed.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(RATE_INTERVAL).await;
            let now = self.parts.sequencer.passed.load(Ordering::Relaxed);
            let latest = (now - before) as f64 / RATE_INTERVAL.as_secs_f64();
            let rate = self.rate() * (1.0 - RATE_WEIGHT) + latest * RATE_WEIGHT;
            self.rate.store(rate.to_bits(), Ordering::Relaxed);
            before = now;
        }
    }

    /// The status document.
    pub fn status(&self) -> Document {
        let parts = &self.parts;
        let counted = parts.intake.stats().snapshot();
        Document {
            version: VERSION,
            software: crate::SOFTWARE.to_owned(),
            started_at: self.started_at.to_string(),
            ready: self.obstacle().is_none(),
            draining: self.draining.load(Ordering::Relaxed),
            seq: Seqs { first: parts.log.first_seq(), last: parts.log.last_seq() },
            events: Events {
                received: counted.received,
                passed: parts.sequencer.passed.load(Ordering::Relaxed),
                dropped: counted.dropped.values().sum(),
                per_second: (self.rate() * 10.0).round() / 10.0,
                dropped_by_reason: counted.dropped.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect(),
            },
            hosts: count_hosts(&parts.hosts),
            accounts: parts.hosts.all().iter().map(|host| host.accounts()).sum(),
            log: LogState {
                segments: parts.log.segments() as u64,
                bytes: parts.log.bytes(),
                oldest_at: oldest_at(&parts.log),
                window_seconds: parts.replay_window.as_secs(),
            },
            consumers: Consumers { connected: parts.firehose.consumers() as u64 },
            memory: self.memory(),
            collections: directory::collections(&parts.directory.counts()),
            backfill: directory::backfill(self.jobs()),
        }
    }

    fn jobs(&self) -> Vec<Job> {
        self.parts.jobs.list()
    }

    fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }
}

fn oldest_at(log: &Reader) -> Option<String> {
    let oldest = Timestamp::from_millisecond(log.oldest_ms()?).ok()?;
    Some(oldest.to_string())
}

fn count_hosts(hosts: &Hosts) -> HostCounts {
    let lags = hosts.lags();
    let mut counts = HostCounts {
        catching_up: lags.catching_up,
        largest_lag_seconds: lags.largest_seconds,
        troubled: hosts.troubled().into_iter().filter_map(trouble).collect(),
        ..HostCounts::default()
    };
    for host in hosts.all() {
        counts.total += 1;
        counts.connected += u64::from(host.is_connected());
        let of_status = match host.status() {
            HostStatus::Active => &mut counts.active,
            HostStatus::Idle => &mut counts.idle,
            HostStatus::Offline => &mut counts.offline,
            HostStatus::Throttled => &mut counts.throttled,
            HostStatus::Banned => &mut counts.banned,
        };
        *of_status += 1;
    }
    counts
}

fn trouble(host: HostReport) -> Option<HostTrouble> {
    let (error, at) = (host.last_error?, host.last_error_at?);
    Some(HostTrouble { host: host.host, status: host.status.to_owned(), error, at, next_try_at: host.next_try_at })
}
