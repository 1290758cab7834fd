//! Of what a container has ended, and why its pod goes.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use serde::Deserialize;

use crate::api::RestartCause;
use crate::relay::byte_size::ByteSize;
use crate::relay::report::quote;

/// Exit code of a restart that the relay has planned.
pub(in crate::relay) const EXIT_PLANNED_RESTART: i32 = 75;
/// Exit code after SIGTERM that nobody handled, and after SIGKILL.
const EXIT_SIGTERM: i32 = 143;
const EXIT_SIGKILL: i32 = 137;

/// What the relay leaves behind when it ends, the termination message of its container:
/// `tests/contract/termination.json` is the recorded one that both sides test against. All of it is optional: it may be
/// another program's.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(in crate::relay) struct Termination {
    /// One word.
    pub(in crate::relay) reason: Option<String>,
    /// A sentence.
    pub(in crate::relay) message: Option<String>,
    /// The last seq in the log.
    pub(in crate::relay) seq: Option<i64>,
    /// Working set, in bytes.
    pub(in crate::relay) working_set: Option<i64>,
    /// Memory limit, in bytes.
    pub(in crate::relay) limit: Option<i64>,
}

impl Termination {
    /// Reads a termination message; `None` when it is something else, such as the end of the log.
    pub(in crate::relay) fn parse(message: &str) -> Option<Self> {
        serde_json::from_str(message).ok().filter(|said: &Self| said.reason.is_some())
    }
}

/// Whether the kubelet, or the container runtime, has lost track of the container: mostly because the node was restarted.
pub(super) fn is_lost(terminated: &ContainerStateTerminated) -> bool {
    match terminated.reason.as_deref() {
        Some("ContainerStatusUnknown") => true,
        Some("Unknown") => terminated.exit_code == 255,
        _ => false,
    }
}

/// Of what the container has ended, when its pod goes because of `leaving`.
pub(super) fn of(
    terminated: &ContainerStateTerminated,
    said: Option<&Termination>,
    leaving: Option<RestartCause>,
) -> RestartCause {
    let told_to_stop = terminated.exit_code == 0 || said.is_some_and(|said| said.reason.as_deref() == Some("Stopped"));
    let by_signal = matches!(terminated.exit_code, EXIT_SIGTERM | EXIT_SIGKILL);
    if terminated.reason.as_deref() == Some("OOMKilled") {
        return RestartCause::OOMKilled;
    }
    if terminated.exit_code == EXIT_PLANNED_RESTART {
        return RestartCause::PlannedRestart;
    }
    match leaving {
        Some(leaving) if told_to_stop || by_signal || is_lost(terminated) => leaving,
        _ if is_lost(terminated) => RestartCause::NodeLost,
        _ if told_to_stop || terminated.exit_code == EXIT_SIGTERM => RestartCause::Stopped,
        _ => RestartCause::Crashed,
    }
}

/// A sentence on it: the relay's own, else what can be said.
pub(super) fn message(
    terminated: &ContainerStateTerminated,
    said: Option<&Termination>,
    cause: RestartCause,
    limit: Option<ByteSize>,
) -> String {
    if cause == RestartCause::OOMKilled {
        let limit = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        return format!("The kernel killed the relay at its memory limit{limit}.");
    }
    if let Some(message) = said.and_then(|said| said.message.as_deref()) {
        return quote(message);
    }
    let words = terminated.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let words = words.map(|words| format!(": {}", quote(words)));
    if terminated.exit_code == EXIT_SIGKILL && cause == RestartCause::Crashed {
        let who = "by a failed liveness probe, by somebody, or by the kernel without the container runtime's noticing";
        return format!("The relay was killed {who}{}", words.unwrap_or_else(|| ".".into()));
    }
    let code = terminated.exit_code;
    let reason = terminated.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("The relay ended with exit code {code}{reason}{}", words.unwrap_or_default())
}

/// Why the pod goes, if it does: what it says itself, else what was known before. A planned restart is one that the operator
/// makes by an eviction: that it is planned, only the operator knows.
pub(in crate::relay) fn of_pod(pod: &Pod, before: Option<RestartCause>) -> Option<RestartCause> {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let condition = |type_: &str, status: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == status);
    let disruption = condition("DisruptionTarget", "True");
    let planned = before.filter(|cause| *cause == RestartCause::PlannedRestart);
    // An eviction of the operator's own, for its memory or for another template.
    let own = before.filter(|cause| matches!(cause, RestartCause::PlannedRestart | RestartCause::Stopped));
    let pods_reason = status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
    match (pods_reason, disruption.and_then(|disruption| disruption.reason.as_deref()).unwrap_or_default()) {
        // The node shuts down, has gone, or does not answer.
        ("NodeLost" | "NodeShutdown" | "Terminated", _) | (_, "DeletionByPodGC") => Some(RestartCause::NodeLost),
        (_, "DeletionByTaintManager") => {
            // A node that does not answer makes its pods unready some minutes before they are deleted; a taint that somebody
            // puts on a node does not.
            let since = condition("Ready", "False").and_then(|unready| unready.last_transition_time.as_ref());
            let decided = disruption.and_then(|disruption| disruption.last_transition_time.as_ref());
            let was_unready = since.zip(decided).is_some_and(|(since, decided)| since.0 < decided.0);
            Some(if was_unready { RestartCause::NodeLost } else { RestartCause::Evicted })
        }
        ("Evicted", _) => Some(RestartCause::Evicted),
        (_, reason) if !reason.is_empty() => own.or(Some(RestartCause::Evicted)),
        _ if pod.metadata.deletion_timestamp.is_some() => before.or(Some(RestartCause::Stopped)),
        _ => planned,
    }
}
