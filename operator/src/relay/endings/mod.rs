//! Ends of a relay: of what, and how many. Pure.
//!
//! A pod shows at most the last two runs of its container; what it showed when it went, the operator knows if it has watched.
//! What is counted is kept in the status with the number of runs that it covers, so that each end is counted once: by
//! reconciles that see it again, and by an operator that has been restarted itself. What has come and gone between two looks
//! is counted as unseen.

mod cause;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

pub(super) use cause::{EXIT_PLANNED_RESTART, Termination, of_pod};

use super::build::CONTAINER;
use super::byte_size::ByteSize;
use crate::api::{CountedStatus, RestartCause, RestartStatus, RestartsStatus};

/// Ends that the status keeps.
const LAST_MAX: usize = 10;

/// What has become known.
#[derive(Debug, PartialEq)]
pub(super) struct Observed {
    /// All that is known now.
    pub(super) status: RestartsStatus,
    /// What of it is new, the oldest first.
    pub(super) new: Vec<New>,
}

/// New ends of one cause.
#[derive(Debug, PartialEq)]
pub(super) struct New {
    /// How many; more than one only of those that nobody has seen.
    pub(super) count: i64,
    /// The only one, or what is known of all of them.
    pub(super) end: RestartStatus,
}

/// Counts what `pod`, the relay's pod as it is now, shows beyond what is in `before`; and what `gone` does, the pod before it.
pub(super) fn observe(
    before: Option<&RestartsStatus>,
    pod: Option<&Pod>,
    gone: Option<&Pod>,
    now: Timestamp,
) -> Observed {
    let mut status = before.cloned().unwrap_or_default();
    let mut new = Vec::new();
    let uid = pod.and_then(ResourceExt::uid);
    let counted = status.counted.take();
    let (same, other) = counted.map_or((None, None), |counted| match Some(&counted.pod_uid) == uid.as_ref() {
        true => (Some(counted), None),
        false => (None, Some(counted)),
    });
    if let Some(mut counted) = other {
        if let Some(gone) = gone.filter(|gone| gone.uid().as_ref() == Some(&counted.pod_uid)) {
            counted = look(counted, gone, now, &mut new);
        }
        if counted.running {
            let message = "The pod has gone without telling how its last run ended.";
            new.push(New::one(bare(now, counted.leaving.unwrap_or(RestartCause::Unseen), message)));
        }
    }
    if let (Some(pod), Some(pod_uid)) = (pod, uid) {
        let counted = same.unwrap_or_else(|| CountedStatus { pod_uid, ..CountedStatus::default() });
        status.counted = Some(look(counted, pod, now, &mut new));
    }
    for New { count, end } in &new {
        *counter(&mut status, end.cause) += count;
        status.last.insert(0, end.clone());
    }
    status.last.truncate(LAST_MAX);
    Observed { status, new }
}

/// Counts the runs of one pod.
fn look(mut counted: CountedStatus, pod: &Pod, now: Timestamp, new: &mut Vec<New>) -> CountedStatus {
    counted.leaving = of_pod(pod, counted.leaving);
    let Some(container) = container(pod) else { return counted };
    for (run, terminated) in ends(container) {
        if run < counted.runs {
            continue;
        }
        new.extend(unseen(now, run - counted.runs));
        new.push(New::one(end(terminated, counted.leaving, limit(container), now)));
        counted.runs = run + 1;
    }
    let restarts = i64::from(container.restart_count);
    if restarts > counted.runs {
        new.extend(unseen(now, restarts - counted.runs));
        counted.runs = restarts;
    }
    let runs_now = container.state.as_ref().is_some_and(|state| state.running.is_some());
    counted.running = runs_now && counted.runs <= restarts;
    if counted.running && counted.leaving == Some(RestartCause::NodeLost) {
        // Nobody is there to say more, and the pod stays until somebody removes it.
        new.push(New::one(bare(now, RestartCause::NodeLost, "The node of the pod does not answer any more.")));
        counted.runs += 1;
        counted.running = false;
    }
    counted
}

/// The ends that a container's status shows, the older one first, each with the number of its run.
fn ends(container: &ContainerStatus) -> impl Iterator<Item = (i64, &ContainerStateTerminated)> {
    let restarts = i64::from(container.restart_count);
    let state = container.state.as_ref();
    let terminated = state.and_then(|state| state.terminated.as_ref());
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    // The kubelet counts a restart when it makes it; but when it has lost a container, it counts at once.
    let waits = state.is_some_and(|state| state.waiting.is_some());
    let waits_for_its_restart = waits && last.is_some_and(|last| !cause::is_lost(last));
    let last_run = if waits_for_its_restart { restarts } else { (restarts - 1).max(0) };
    let last = last.map(|last| (last_run, last));
    last.into_iter().chain(terminated.map(|terminated| (restarts, terminated)))
}

fn end(
    terminated: &ContainerStateTerminated,
    leaving: Option<RestartCause>,
    limit: Option<ByteSize>,
    now: Timestamp,
) -> RestartStatus {
    let said = terminated.message.as_deref().and_then(Termination::parse);
    let cause = cause::of(terminated, said.as_ref(), leaving);
    let message = cause::message(terminated, said.as_ref(), cause, limit);
    let at = terminated.finished_at.clone().unwrap_or(Time(now));
    let said = said.unwrap_or_default();
    RestartStatus {
        at,
        cause,
        reason: said.reason.or_else(|| terminated.reason.clone()),
        message: Some(message),
        exit_code: Some(terminated.exit_code),
        working_set: said.working_set,
        limit: said.limit.or_else(|| limit.and_then(|limit| i64::try_from(limit.0).ok())),
        seq: said.seq,
    }
}

fn unseen(now: Timestamp, count: i64) -> Option<New> {
    let message = "Between two looks of the operator the relay has ended more than once.";
    (count > 0).then(|| New { count, end: bare(now, RestartCause::Unseen, message) })
}

/// An end of which no more is known.
fn bare(now: Timestamp, cause: RestartCause, message: &str) -> RestartStatus {
    RestartStatus {
        at: Time(now),
        cause,
        reason: None,
        message: Some(message.into()),
        exit_code: None,
        working_set: None,
        limit: None,
        seq: None,
    }
}

fn counter(status: &mut RestartsStatus, cause: RestartCause) -> &mut i64 {
    match cause {
        RestartCause::PlannedRestart => &mut status.planned,
        RestartCause::OOMKilled => &mut status.oom_killed,
        RestartCause::Crashed => &mut status.crashed,
        RestartCause::Evicted => &mut status.evicted,
        RestartCause::NodeLost => &mut status.node_lost,
        RestartCause::Stopped => &mut status.stopped,
        RestartCause::Unseen => &mut status.unseen,
    }
}

/// The relay's container, as the kubelet has seen it.
pub(super) fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find(|container| container.name == CONTAINER)
}

/// The memory limit that is in force.
pub(super) fn limit(container: &ContainerStatus) -> Option<ByteSize> {
    ByteSize::parse(&container.resources.as_ref()?.limits.as_ref()?.get("memory")?.0)
}

impl New {
    fn one(end: RestartStatus) -> New {
        New { count: 1, end }
    }
}

#[cfg(test)]
mod tests;
