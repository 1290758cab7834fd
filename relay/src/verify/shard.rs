//! One thread that verifies the events of its share of the accounts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::checked::Checked;
use super::judge::{Fresh, Judge, Ruling, Stated, Stop};
use super::parked::{Parked, Waiting};
use super::{Decision, Inbound, Message, Parts, Reason, Source, Stats, Verified};
use crate::account::{Cause, Status};
use crate::host::Host;
use crate::identity::Freshness;
use crate::log::Kind;
use crate::protocol::did::Did;
use crate::vital::Vital;

/// How long an event waits for an identity that cannot be resolved. Resolver outages are mostly shorter; after longer
/// ones the account's next commit tells consumers by its `since` that they missed one.
const PARKED_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// First and longest wait between two tries to resolve.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) inbox: mpsc::Receiver<Message>,
    pub(super) itself: mpsc::Sender<Message>,
    pub(super) out: mpsc::Sender<Verified>,
    pub(super) runtime: Handle,
    pub(super) parked: Parked,
    pub(super) judge: Judge,
    pub(super) parts: Arc<Parts>,
    pub(super) stats: Arc<Stats>,
    pub(super) checked: Checked,
    /// Events sent to the sequencer.
    pub(super) sent: u64,
}

impl Shard {
    pub(super) fn run(mut self) {
        let _vital = Vital("verifying shard");
        while let Some(message) = self.inbox.blocking_recv() {
            match message {
                Message::Event(event) => self.arrived(event),
                Message::Resolved { key, freshness, available } => self.resolved(&key, freshness, available),
                Message::Checked { key, status } => self.checked(&key, status),
                Message::Decided { did, host, decision, done } => {
                    self.state(&did, host.as_deref(), decision);
                    // Whoever asked may have gone.
                    let _ = done.send(self.judge.account(&did));
                }
                Message::Drain => return,
            }
        }
    }

    fn arrived(&mut self, event: Inbound) {
        match Judge::did(&event.frame) {
            Err(reason) => self.drop(event, reason),
            Ok(did) => {
                let key = Waiting { did, host: event.host.id };
                if self.parked.is_waiting(&key) {
                    self.parked.push(key, event);
                } else {
                    self.rule(key.did, event, Fresh::default());
                }
            }
        }
    }

    /// The identity has been looked up: the events that wait for it go on, in order.
    fn resolved(&mut self, key: &Waiting, freshness: Freshness, available: bool) {
        for event in self.parked.take(key) {
            if available {
                self.go_on(key, event, Fresh { identity: freshness != Freshness::Cached, status: false });
            } else {
                self.drop(event, Reason::IdentityUnavailable);
            }
        }
    }

    /// The host was asked how the account stands: the events that wait for it go on, in order.
    fn checked(&mut self, key: &Waiting, status: Option<Status>) {
        let events: Vec<Inbound> = self.parked.take(key).collect();
        if let (Some(event), Some(status)) = (events.first(), status) {
            self.state(&key.did, Some(&event.host), Decision::Free(Some(status)));
        }
        for event in events {
            self.go_on(key, event, Fresh { identity: false, status: true });
        }
    }

    /// Judges an event that waited, unless one before it waits again.
    fn go_on(&mut self, key: &Waiting, event: Inbound, fresh: Fresh) {
        if self.parked.is_waiting(key) {
            self.parked.push(key.clone(), event);
        } else {
            self.rule(key.did.clone(), event, fresh);
        }
    }

    /// Judges an event and acts on it.
    fn rule(&mut self, did: Did, event: Inbound, fresh: Fresh) {
        match self.judge.examine(&did, &event.host, &event.frame, fresh, self.sent + 1) {
            Ok(ruling) => self.pass(did, event, ruling),
            Err(Stop::Drop(reason)) => self.drop(event, reason),
            Err(Stop::Resolve(freshness)) => {
                let key = Waiting { did, host: event.host.id };
                self.resolve(key.clone(), freshness);
                self.parked.push(key, event);
            }
            Err(Stop::Check) if self.checked.may_ask(&did, std::time::Instant::now()) => {
                let key = Waiting { did, host: event.host.id };
                self.check(key.clone(), Arc::clone(&event.host));
                self.parked.push(key, event);
            }
            Err(Stop::Check) => self.drop(event, Reason::AccountInactive),
            Err(Stop::Hold) => {
                if event.host.may_hold() {
                    self.state(&did, Some(&event.host), Decision::Hold);
                }
                self.drop(event, Reason::HostAccountLimit);
            }
            Err(Stop::Free) if self.state(&did, Some(&event.host), Decision::Free(None)) => {
                self.rule(did, event, fresh);
            }
            Err(Stop::Free) => self.drop(event, Reason::HostAccountLimit),
        }
    }

    /// Tells consumers of a decision; whether it has set the account free.
    fn state(&mut self, did: &Did, host: Option<&Host>, decision: Decision) -> bool {
        let Some(stated) = self.judge.decide(did, host, decision, self.sent + 1) else { return false };
        self.sent += 1;
        let Stated { frame, seq_span, cause, change } = stated;
        tracing::debug!(did = did.as_str(), ?cause, "account decided");
        let source = Source::Relay { frame, host: change.after.host, cause };
        let (kind, did, shard) = (Kind::Account, did.clone(), self.index);
        let verified = Verified { source, kind, did, seq_span, change: Some(change), touches: Vec::new(), shard };
        let _ = self.out.blocking_send(verified);
        cause == Cause::Free
    }

    fn pass(&mut self, did: Did, mut inbound: Inbound, ruling: Ruling) {
        if let Some(frame) = ruling.rewritten {
            inbound.frame = frame;
        }
        self.sent += 1;
        let Ruling { kind, seq_span, change, touches, .. } = ruling;
        let source = Source::Host(inbound);
        let verified = Verified { source, kind, did, seq_span, change, touches, shard: self.index };
        // The sequencer ends after the shards, so it takes everything.
        let _ = self.out.blocking_send(verified);
    }

    fn drop(&self, event: Inbound, reason: Reason) {
        tracing::debug!(host = %event.host.name, seq = event.seq, reason = reason.name(), "event dropped");
        self.stats.dropped(reason);
        event.host.counts.dropped.fetch_add(1, Ordering::Relaxed);
        event.host.finish(event.seq);
    }

    /// Looks the identity up, for as long as an event may wait, and reports back to this shard.
    fn resolve(&self, key: Waiting, freshness: Freshness) {
        let resolver = Arc::clone(&self.parts.resolver);
        let shard = self.itself.clone();
        self.runtime.spawn(async move {
            let deadline = Instant::now() + PARKED_TIME_MAX;
            let mut wait = RETRY_FIRST;
            let available = loop {
                match resolver.resolve(&key.did, freshness).await {
                    Ok(_) => break true,
                    Err(error) => {
                        tracing::debug!(did = key.did.as_str(), %error, "identity not resolved");
                        wait = wait.max(error.retry_after().unwrap_or_default());
                    }
                }
                if Instant::now() + wait >= deadline {
                    break false;
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_LONGEST);
            };
            // A shard that has drained needs no answer.
            let _ = shard.send(Message::Resolved { key, freshness, available }).await;
        });
    }

    /// Asks the account's host how it stands, and reports back to this shard.
    fn check(&self, key: Waiting, host: Arc<Host>) {
        let statuses = Arc::clone(&self.parts.statuses);
        let shard = self.itself.clone();
        self.runtime.spawn(async move {
            let status = statuses.ask(&host, &key.did).await;
            let _ = shard.send(Message::Checked { key, status }).await;
        });
    }
}
