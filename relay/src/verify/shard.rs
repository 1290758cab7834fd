//! One thread that verifies the events of its share of the accounts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::checked::Checked;
use super::judge::{Fresh, Judge, Ruling, Stated, Stop};
use super::parked::Parked;
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
                Message::Resolved { did, freshness, available } => self.resolved(&did, freshness, available),
                Message::Checked { did, status } => self.checked(&did, status),
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
            Ok(did) if self.parked.is_waiting(&did) => self.parked.push(&did, event),
            Ok(did) => self.rule(did, event, Fresh::default()),
        }
    }

    /// The identity of `did` has been looked up: its events go on, in order. A look-up that brought nothing new counts
    /// for the host alone whose event asked for it; those of others may do with what is known.
    fn resolved(&mut self, did: &Did, freshness: Freshness, available: bool) {
        let mut asking = None;
        for event in self.parked.take(did) {
            let is_of_asking = *asking.get_or_insert(event.host.id) == event.host.id;
            let identity = match freshness {
                Freshness::Cached => false,
                Freshness::Forced => available,
                Freshness::Suggested => is_of_asking,
            };
            if !available && is_of_asking {
                self.drop(event, Reason::IdentityUnavailable);
            } else if self.parked.is_waiting(did) {
                // An earlier event of the account waits again.
                self.parked.push(did, event);
            } else {
                self.rule(did.clone(), event, Fresh { identity, status: false });
            }
        }
    }

    /// The host of `did` was asked how it stands: its events go on, in order.
    fn checked(&mut self, did: &Did, status: Option<Status>) {
        let events: Vec<Inbound> = self.parked.take(did).collect();
        if let (Some(event), Some(status)) = (events.first(), status) {
            self.state(did, Some(&event.host), Decision::Free(Some(status)));
        }
        for event in events {
            if self.parked.is_waiting(did) {
                self.parked.push(did, event);
            } else {
                self.rule(did.clone(), event, Fresh { identity: false, status: true });
            }
        }
    }

    /// Judges an event and acts on it.
    fn rule(&mut self, did: Did, event: Inbound, fresh: Fresh) {
        match self.judge.examine(&did, &event.host, &event.frame, fresh, self.sent + 1) {
            Ok(ruling) => self.pass(did, event, ruling),
            Err(Stop::Drop(reason)) => self.drop(event, reason),
            Err(Stop::Resolve(freshness)) => {
                self.parked.push(&did, event);
                self.resolve(did, freshness);
            }
            Err(Stop::Check) if self.checked.may_ask(&did, std::time::Instant::now()) => {
                self.check(did.clone(), Arc::clone(&event.host));
                self.parked.push(&did, event);
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
        let verified = Verified { source, kind, did, seq_span, change: Some(change), shard };
        let _ = self.out.blocking_send(verified);
        cause == Cause::Free
    }

    fn pass(&mut self, did: Did, mut inbound: Inbound, ruling: Ruling) {
        if let Some(frame) = ruling.rewritten {
            inbound.frame = frame;
        }
        self.sent += 1;
        let Ruling { kind, seq_span, change, .. } = ruling;
        let source = Source::Host(inbound);
        let verified = Verified { source, kind, did, seq_span, change, shard: self.index };
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
    fn resolve(&self, did: Did, freshness: Freshness) {
        let resolver = Arc::clone(&self.parts.resolver);
        let shard = self.itself.clone();
        self.runtime.spawn(async move {
            let deadline = Instant::now() + PARKED_TIME_MAX;
            let mut wait = RETRY_FIRST;
            let available = loop {
                match resolver.resolve(&did, freshness).await {
                    Ok(_) => break true,
                    Err(error) => {
                        tracing::debug!(did = did.as_str(), %error, "identity not resolved");
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
            let _ = shard.send(Message::Resolved { did, freshness, available }).await;
        });
    }

    /// Asks the account's host how it stands, and reports back to this shard.
    fn check(&self, did: Did, host: Arc<Host>) {
        let statuses = Arc::clone(&self.parts.statuses);
        let shard = self.itself.clone();
        self.runtime.spawn(async move {
            let status = statuses.ask(&host, &did).await;
            let _ = shard.send(Message::Checked { did, status }).await;
        });
    }
}
