//! How the pod comes to the template that the spec asks for, and back when it proves no good. Pure.
//!
//! ```text
//!  UpToDate ─▶ Applying ─▶ Evicting ─▶ Starting ─▶ Proving ─▶ UpToDate
//!                                          └───────────┴─▶ RollingBack ─▶ RolledBack
//! ```
//!
//! What is to happen to a pod is in the status before it happens: an operator that starts anew in the middle goes on there,
//! and no pod goes twice.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::gate;
use crate::api::{DeliveryStatus, UpdatePhase, UpdateStatus};
use crate::relay::validate::Gate;

/// When an eviction that was refused is tried again.
const RETRY_REFUSED: Duration = Duration::from_secs(60);

/// What is seen of a relay at one time.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Digest of the template that the spec asks for.
    pub(super) wanted: String,
    /// The StatefulSet; `None` before it is there.
    pub(super) set: Option<Set>,
    /// Its pod.
    pub(super) pod: Option<PodSeen>,
    /// What the relay delivers, where it can be asked.
    pub(super) delivery: Option<DeliveryStatus>,
    /// Time since the status had its figures.
    pub(super) since_told: Option<Duration>,
    /// A new default image waits for the window: this one.
    pub(super) waits: Option<String>,
    /// The annotation that asks for a restart.
    pub(super) restart: Option<String>,
    /// What a new pod has to prove.
    pub(super) gate: Option<Gate>,
    /// The template to put back was looked for, and is not there.
    pub(super) last_good_is_gone: bool,
}

/// A StatefulSet.
#[derive(Clone, Debug)]
pub(super) struct Set {
    /// What it was marked with when its template was applied: the digest of the template that the spec asked for, or the
    /// revision that was put back.
    pub(super) mark: Option<String>,
    /// Its template says all that the wanted one does.
    pub(super) covers_wanted: bool,
    /// The revision of its template; `None` until its controller has seen it.
    pub(super) revision: Option<String>,
    /// The ConfigMap that its template refers to.
    pub(super) config: Option<String>,
}

/// A pod.
#[derive(Clone, Debug)]
pub(super) struct PodSeen {
    /// The very one.
    pub(super) uid: String,
    /// The revision of the template that it was made from.
    pub(super) revision: Option<String>,
    /// The ConfigMap that it refers to.
    pub(super) config: Option<String>,
    /// It answers its probes.
    pub(super) is_ready: bool,
    /// It is about to go.
    pub(super) is_leaving: bool,
}

/// Which template the StatefulSet is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    /// The one that the spec asks for.
    Wanted,
    /// The one it has.
    AsFound,
    /// The last that has proved itself.
    LastGood,
}

/// What is to be done, and to be said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    /// The template to apply.
    pub(super) template: Template,
    /// The pod is to go now: the one with the uid of `status`.
    pub(super) replaces: bool,
    /// How it stands.
    pub(super) status: UpdateStatus,
}

/// Decides what follows what was `told` last, after `seen`.
pub(super) fn decide(told: Option<&UpdateStatus>, seen: &Seen, now: Timestamp) -> Decision {
    let status = told.cloned().unwrap_or_else(|| first(seen, now));
    let mut next = Next { seen, now, status: UpdateStatus { now: None, ..status } };
    next.forgive();
    let template = next.template();
    let replaces = match next.target() {
        Some(target) => next.bring_pod_to(&target),
        None => next.wait_for_set(),
    };
    Decision { template, replaces, status: next.status }
}

/// The status of a relay that nobody has told of yet. A restart that was asked for before is none any more.
fn first(seen: &Seen, now: Timestamp) -> UpdateStatus {
    UpdateStatus {
        phase: UpdatePhase::Applying,
        since: Time(now),
        message: None,
        revision: None,
        last_good: None,
        last_good_config: None,
        failed: None,
        pod_uid: None,
        refused: None,
        restart: seen.restart.clone(),
        before: None,
        now: None,
    }
}

struct Next<'a> {
    seen: &'a Seen,
    now: Timestamp,
    status: UpdateStatus,
}

impl Next<'_> {
    /// Forgets that a template has failed when another is wanted, or somebody asks for another try.
    fn forgive(&mut self) {
        let Some(failed) = &self.status.failed else { return };
        let is_over = matches!(self.status.phase, UpdatePhase::RolledBack | UpdatePhase::Failed);
        let asks = is_over && self.restart_is_asked();
        if asks {
            self.status.restart.clone_from(&self.seen.restart);
        }
        // A StatefulSet that somebody has removed has no template to keep.
        if asks || *failed != self.seen.wanted || self.seen.set.is_none() {
            self.status.failed = None;
            self.enter(UpdatePhase::Applying);
        }
    }

    fn restart_is_asked(&self) -> bool {
        self.seen.restart.is_some() && self.seen.restart != self.status.restart
    }

    fn template(&self) -> Template {
        if self.status.failed.is_none() {
            return Template::Wanted;
        }
        let is_gone = self.seen.last_good_is_gone || self.status.phase == UpdatePhase::Failed;
        if is_gone || self.is_put_back() { Template::AsFound } else { Template::LastGood }
    }

    fn is_put_back(&self) -> bool {
        let mark = self.seen.set.as_ref().and_then(|set| set.mark.as_ref());
        mark.is_some() && mark == self.status.last_good.as_ref()
    }

    /// The revision that the pod is to have; `None` while the StatefulSet is not what it is to be.
    fn target(&self) -> Option<String> {
        let set = self.seen.set.as_ref()?;
        let is_it = match &self.status.failed {
            None => set.mark.as_ref() == Some(&self.seen.wanted) && set.covers_wanted,
            Some(_) => self.is_put_back(),
        };
        set.revision.clone().filter(|_| is_it)
    }

    fn wait_for_set(&mut self) -> bool {
        match self.status.failed {
            None => {
                if !self.status.phase.is_moving() {
                    self.observe();
                }
                self.enter(UpdatePhase::Applying);
            }
            Some(_) if self.seen.last_good_is_gone => self.enter(UpdatePhase::Failed),
            // Another has changed the template meanwhile, or it is to be put back yet.
            Some(_) if self.status.phase != UpdatePhase::Failed => self.enter(UpdatePhase::RollingBack),
            Some(_) => {}
        }
        false
    }

    /// Answers whether the pod is to go now.
    fn bring_pod_to(&mut self, target: &str) -> bool {
        let seen = self.seen;
        let is_new_target = self.status.revision.as_deref() != Some(target);
        self.status.revision = Some(target.to_owned());
        // What was put back may have got another name: a cluster of another version writes the same template otherwise.
        let is_proven = self.status.last_good.as_deref() == Some(target) || self.status.failed.is_some();
        let Some(pod) = seen.pod.as_ref().filter(|pod| !pod.is_leaving) else {
            match self.status.phase {
                UpdatePhase::RollingBack | UpdatePhase::RolledBack => {}
                UpdatePhase::Evicting if seen.pod.is_some() => {}
                UpdatePhase::Evicting | UpdatePhase::Starting if is_proven => self.enter(UpdatePhase::Starting),
                // It has gone of itself: of a template that is proven, that is no update.
                _ if is_proven => self.rest(),
                // A pod that cannot even be made has its time too.
                _ => self.prove(target, None, is_new_target),
            }
            return false;
        };
        if pod.revision.as_deref() != Some(target) {
            if self.status.last_good.is_none() && pod.is_ready {
                // Nobody has looked at it before, and it works.
                self.status.last_good.clone_from(&pod.revision);
                self.status.last_good_config.clone_from(&pod.config);
            }
            return self.replace(&pod.uid);
        }
        let is_told_to_go = self.status.phase == UpdatePhase::Evicting && !is_new_target;
        if is_told_to_go && self.status.pod_uid.as_ref() == Some(&pod.uid) {
            return self.replace(&pod.uid);
        }
        if !is_proven {
            self.prove(target, Some(pod), is_new_target);
            return false;
        }
        match self.status.phase {
            _ if self.status.failed.is_some() => self.enter(UpdatePhase::RolledBack),
            UpdatePhase::Evicting | UpdatePhase::Starting if !pod.is_ready => self.enter(UpdatePhase::Starting),
            _ => self.rest(),
        }
        if self.status.failed.is_none() && !self.status.phase.is_moving() && self.restart_is_asked() {
            self.status.restart.clone_from(&seen.restart);
            return self.replace(&pod.uid);
        }
        self.observe();
        false
    }

    /// Notes what the relay delivers, of a pod that has proved itself.
    fn observe(&mut self) {
        let pod = self.seen.pod.as_ref().filter(|pod| pod.is_ready && !pod.is_leaving);
        let is_good = pod.is_some_and(|pod| pod.revision.is_some() && pod.revision == self.status.last_good);
        if let Some(delivery) = self.seen.delivery.filter(|_| is_good) {
            let passed = self.seen.since_told.unwrap_or_default();
            self.status.before = Some(gate::mean(self.status.before, delivery, passed));
        }
    }

    /// Marks the pod as the one to go; and answers that it is to go now when that has been told before.
    fn replace(&mut self, uid: &str) -> bool {
        let phase = match self.status.failed {
            None => UpdatePhase::Evicting,
            Some(_) => UpdatePhase::RollingBack,
        };
        let is_told = self.status.phase == phase && self.status.pod_uid.as_deref() == Some(uid);
        if !is_told {
            self.enter(phase);
            self.status.pod_uid = Some(uid.to_owned());
            self.status.refused = None;
            return false;
        }
        let refused = self.status.refused.as_ref();
        refused.is_none_or(|refused| age(refused.at.0, self.now) >= RETRY_REFUSED)
    }

    /// Looks at the pod of a template that has not proved itself.
    fn prove(&mut self, target: &str, pod: Option<&PodSeen>, is_new: bool) {
        let is_ready = pod.is_some_and(|pod| pod.is_ready);
        if is_new || !matches!(self.status.phase, UpdatePhase::Starting | UpdatePhase::Proving) {
            self.enter(UpdatePhase::Starting);
            self.status.since = Time(self.now);
        }
        // Of the first template, and without a gate, there is nothing to prove and nothing to go back to.
        let gate = self.seen.gate.as_ref().filter(|_| self.status.last_good.is_some());
        self.status.now = self.seen.delivery.filter(|_| is_ready);
        let lack = gate.and_then(|gate| gate::lack(gate, self.status.before, self.status.now));
        if is_ready && lack.is_none() {
            self.status.last_good = Some(target.to_owned());
            self.status.last_good_config = self.seen.set.as_ref().and_then(|set| set.config.clone());
            self.status.now = None;
            if self.status.before.is_none() {
                self.observe();
            }
            self.rest();
            return;
        }
        let waited = age(self.status.since.0, self.now);
        if let Some(gate) = gate.filter(|gate| waited >= gate.within()) {
            let why = match lack.filter(|_| is_ready) {
                Some(lack) => format!("it delivers {lack} of before, less than {} %", gate.min_percent),
                None if pod.is_none() => "it is not even there".into(),
                None => "it is not ready".into(),
            };
            let within = &gate.within;
            self.enter(UpdatePhase::RollingBack);
            self.status.failed = Some(self.seen.wanted.clone());
            self.status.message = Some(format!("The pod of {target} has not proved itself within {within}: {why}."));
            return;
        }
        // The time goes on: a pod that becomes ready again and again does not begin anew.
        self.status.phase = if is_ready { UpdatePhase::Proving } else { UpdatePhase::Starting };
    }

    fn rest(&mut self) {
        match &self.seen.waits {
            None => self.enter(UpdatePhase::UpToDate),
            Some(image) => {
                self.enter(UpdatePhase::WaitingForWindow);
                self.status.message = Some(format!("The new default image {image} waits for spec.update.window."));
            }
        }
    }

    fn enter(&mut self, phase: UpdatePhase) {
        use UpdatePhase::{Failed, RolledBack, RollingBack};
        if self.status.phase != phase {
            self.status.phase = phase;
            self.status.since = Time(self.now);
            self.status.pod_uid = None;
            self.status.refused = None;
        }
        // What has failed is said until something else is tried.
        if !matches!(phase, RollingBack | RolledBack | Failed) {
            self.status.message = None;
        }
    }
}

/// Time from `then` to `now`; none while a clock says that it is still to come.
fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
