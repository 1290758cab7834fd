//! The conditions of a Relay. Pure.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{foreign, storage};
use crate::relay::Error;
use crate::relay::apply::Applied;
use crate::relay::build::CONTAINER;
use crate::relay::endings::{EXIT_PLANNED_RESTART, Termination, container};
use crate::relay::read::World;
use crate::relay::validate::{Invalid, ValidRelay};
use crate::relay_admin::{AskError, Document};

/// Everything is as wanted and events arrive.
pub(super) const READY: &str = "Ready";
/// The pod runs the wanted template and is ready.
const WORKLOAD_READY: &str = "WorkloadReady";
/// The relay takes events from at least one host.
pub(super) const DELIVERING: &str = "Delivering";
/// There is memory enough.
pub(super) const MEMORY_HEALTHY: &str = "MemoryHealthy";
/// Every declared import and crawl is done, or none is declared.
pub(super) const BACKFILL_COMPLETE: &str = "BackfillComplete";
/// Consumers reach the relay as the spec asks for.
pub(super) const EXPOSED: &str = "Exposed";
/// A relay of another project does something about every field of the spec.
pub(super) const SPEC_SUPPORTED: &str = "SpecSupported";
/// The relay bans the domains that the spec does, and did.
pub(super) const BANS_APPLIED: &str = "BansApplied";
/// Prometheus gets to see the relay.
pub(super) const MONITORED: &str = "Monitored";
/// The pod has the wanted template, and has proved itself.
pub(in crate::relay) const UPDATED: &str = "Updated";
/// The operator changes nothing.
const PAUSED: &str = "Paused";

/// Longest part of another program's message that is passed on, in characters.
const MAX_QUOTE: usize = 512;

/// What was found about one condition. Messages have no figures: they stay while the reason does.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::relay) struct Finding {
    pub(in crate::relay) type_: &'static str,
    pub(in crate::relay) verdict: Verdict,
    pub(in crate::relay) reason: &'static str,
    pub(in crate::relay) message: String,
}

/// How a finding is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::relay) enum Verdict {
    /// As it should be.
    Good,
    /// Not yet, without anything being wrong.
    Waiting,
    /// Someone should look.
    Bad,
    /// Not looked at.
    Unknown,
}

impl Finding {
    pub(in crate::relay) fn new(
        type_: &'static str,
        verdict: Verdict,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, verdict, reason, message: message.into() }
    }

    /// The condition's status.
    pub(super) fn status(&self) -> &'static str {
        match self.verdict {
            Verdict::Good => "True",
            Verdict::Waiting | Verdict::Bad => "False",
            Verdict::Unknown => "Unknown",
        }
    }
}

/// What is to be said of a Relay that could be built; `others` is what Ready does not depend on.
pub(super) fn findings(
    relay: &ValidRelay,
    world: &World,
    applied: &Result<Applied, Error>,
    others: Vec<Finding>,
) -> Vec<Finding> {
    let workload = match applied {
        Ok(applied) => workload(applied.stateful_set.as_deref(), world),
        Err(error) => Finding::new(WORKLOAD_READY, Verdict::Bad, error.reason(), quote(&error.to_string())),
    };
    let foreign = foreign::findings(relay, world);
    let (delivering, supported) = match foreign {
        Some((delivering, supported)) => (delivering, Some(supported)),
        None => (delivering(world.document.as_ref()), None),
    };
    // What cannot be seen is no reason to say that a relay of another project is not ready.
    let blocking = [&workload, &delivering]
        .into_iter()
        .find(|finding| !matches!(finding.verdict, Verdict::Good | Verdict::Unknown));
    let ready = match blocking {
        Some(finding) => Finding { type_: READY, ..finding.clone() },
        None if delivering.verdict == Verdict::Unknown => {
            Finding::new(READY, Verdict::Good, "PodReady", "The pod is ready; whether it delivers cannot be seen.")
        }
        None => Finding::new(READY, Verdict::Good, "Delivering", "The relay delivers."),
    };
    [ready, workload, delivering].into_iter().chain(others).chain(supported).chain([paused(relay.paused)]).collect()
}

/// What is to be said of a Relay that cannot be built.
pub(super) fn invalid(is_paused: bool, invalid: &Invalid) -> Vec<Finding> {
    let finding = |type_, verdict| Finding::new(type_, verdict, invalid.reason(), quote(&invalid.to_string()));
    vec![
        finding(READY, Verdict::Bad),
        finding(WORKLOAD_READY, Verdict::Unknown),
        finding(DELIVERING, Verdict::Unknown),
        finding(MEMORY_HEALTHY, Verdict::Unknown),
        finding(BACKFILL_COMPLETE, Verdict::Unknown),
        finding(EXPOSED, Verdict::Unknown),
        finding(MONITORED, Verdict::Unknown),
        finding(UPDATED, Verdict::Unknown),
        paused(is_paused),
    ]
}

/// Conditions from findings. The time of the last transition stays while the status does.
pub(super) fn merge(
    before: &[Condition],
    findings: &[Finding],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |finding: &Finding| Condition {
        type_: finding.type_.into(),
        status: finding.status().into(),
        reason: finding.reason.into(),
        message: finding.message.clone(),
        observed_generation: generation,
        last_transition_time: before
            .iter()
            .find(|old| old.type_ == finding.type_ && old.status == finding.status())
            .map_or(Time(now), |old| old.last_transition_time.clone()),
    };
    findings.iter().map(condition).collect()
}

fn paused(paused: bool) -> Finding {
    if paused {
        let message = "spec.paused is true: the operator changes nothing.";
        Finding::new(PAUSED, Verdict::Good, "Paused", message)
    } else {
        Finding::new(PAUSED, Verdict::Waiting, "NotPaused", "")
    }
}

fn workload(stateful_set: Option<&StatefulSet>, world: &World) -> Finding {
    let waiting = |reason, message: &str| Finding::new(WORKLOAD_READY, Verdict::Waiting, reason, quote(message));
    let bad = |reason, message: &str| Finding::new(WORKLOAD_READY, Verdict::Bad, reason, quote(message));
    let Some(stateful_set) = stateful_set else {
        return waiting("NoStatefulSet", "The StatefulSet is not there yet.");
    };
    let Some(pod) = world.pod.as_deref() else {
        return waiting("NoPod", "The pod is not there yet; the StatefulSet's Events say what keeps it.");
    };
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |type_: &str| conditions.iter().find(|c| c.type_ == type_);
    if let Some(unscheduled) = condition("PodScheduled").filter(|c| c.status == "False") {
        let message = unscheduled.message.as_deref().unwrap_or("no node fits");
        return match storage::elsewhere(pod, world.claim.as_deref(), message) {
            Some(message) => bad("VolumeOnOtherNode", &message),
            None => bad("Unschedulable", message),
        };
    }
    let container = container(pod);
    if container.is_some_and(restarts_as_planned) {
        return waiting("Restarting", "The relay restarts, as it has planned.");
    }
    // The relay first: the kubelet tells of containers in the order of their names.
    let others = status.container_statuses.iter().flatten().filter(|other| other.name != CONTAINER);
    if let Some((reason, message)) = container.into_iter().chain(others).find_map(trouble) {
        return bad(reason, &message);
    }
    if !runs_wanted_template(stateful_set, pod) {
        return waiting("RollingOut", "The pod is being replaced by a new one.");
    }
    if condition("Ready").is_none_or(|c| c.status != "True") {
        return waiting("PodNotReady", "The pod is not ready yet.");
    }
    Finding::new(WORKLOAD_READY, Verdict::Good, "PodReady", "The pod is ready.")
}

fn runs_wanted_template(stateful_set: &StatefulSet, pod: &Pod) -> bool {
    let Some(status) = &stateful_set.status else {
        return false;
    };
    let seen = status.observed_generation >= stateful_set.metadata.generation;
    seen && pod.metadata.deletion_timestamp.is_none()
        && status.update_revision.as_ref() == pod.labels().get("controller-revision-hash")
}

fn restarts_as_planned(container: &ContainerStatus) -> bool {
    let waits = container.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    waits && last.is_some_and(|last| last.exit_code == EXIT_PLANNED_RESTART)
}

/// What keeps a container from running, when time alone will not help.
fn trouble(container: &ContainerStatus) -> Option<(&'static str, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let kubelet = waiting.reason.as_deref()?;
    let who = if container.name == CONTAINER { "The relay" } else { &container.name };
    let message = waiting.message.as_deref().unwrap_or_default();
    match kubelet {
        "ContainerCreating" | "PodInitializing" => None,
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref()?.terminated.as_ref()?;
            let reason = last.reason.as_deref().unwrap_or("Error");
            let message = last.message.as_deref().unwrap_or_default().trim();
            let said = Termination::parse(message).and_then(|said| said.message);
            let said = said.as_deref().unwrap_or(message);
            Some(("CrashLooping", format!("{who} ended with exit code {} ({reason}): {said}", last.exit_code)))
        }
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            Some(("ImageNotPulled", format!("{kubelet}: {message}")))
        }
        _ => Some(("ContainerNotStarted", format!("{kubelet}: {message}"))),
    }
}

fn delivering(document: Option<&Result<Document, AskError>>) -> Finding {
    let waiting = |reason, message: &str| Finding::new(DELIVERING, Verdict::Waiting, reason, message);
    let document = match document {
        None => return waiting("NoPod", "No pod runs yet."),
        Some(Err(error)) => {
            let message = quote(&error.to_string());
            return Finding::new(DELIVERING, Verdict::Bad, "StatusUnavailable", message);
        }
        Some(Ok(document)) => document,
    };
    if document.draining {
        return waiting("Draining", "The relay is about to stop.");
    }
    if !document.ready {
        return waiting("RelayNotReady", "The relay says that it is not ready yet.");
    }
    if document.hosts.total == 0 {
        return waiting(
            "NoHosts",
            "The relay knows no host; name some in spec.upstream, or let a PDS call requestCrawl.",
        );
    }
    if document.hosts.connected == 0 {
        return Finding::new(
            DELIVERING,
            Verdict::Bad,
            "NoHostConnected",
            "The relay is connected to none of its hosts.",
        );
    }
    Finding::new(DELIVERING, Verdict::Good, "Delivering", "The relay takes events from its hosts.")
}

/// The end of a long message: that is where a program says what stopped it.
pub(in crate::relay) fn quote(message: &str) -> String {
    let excess = message.chars().count().saturating_sub(MAX_QUOTE);
    match excess {
        0 => message.to_owned(),
        _ => format!("…{}", message.chars().skip(excess).collect::<String>()),
    }
}
