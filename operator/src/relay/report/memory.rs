//! What is reported of the relay's memory and of its ends. Pure.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::events::{Event, EventType};

use super::conditions::{Finding, MEMORY_HEALTHY, Verdict, quote};
use crate::api::{MemoryResize, MemoryStatus, RelayStatus, ResizeState, RestartCause};
use crate::relay::byte_size::ByteSize;
use crate::relay::endings::New;
use crate::relay::validate::ValidRelay;

/// How long an OOM kill is news, and the time in which a relay restarts only so often.
const RECENT: Duration = Duration::from_secs(60 * 60);
/// How long pressure lasts before it is said: caches that shrink now and then are no news.
const SUSTAINED: Duration = Duration::from_secs(60);

/// The condition [`MEMORY_HEALTHY`] of a relay with this status.
pub(super) fn finding(relay: &ValidRelay, status: &RelayStatus, now: Timestamp) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(MEMORY_HEALTHY, verdict, reason, quote(message));
    let asked = &relay.memory;
    let recent = |cause| ends(status, cause, now);
    let allowed = usize::try_from(asked.restarts_per_hour).unwrap_or(0);
    if allowed > 0 && recent(RestartCause::PlannedRestart) >= allowed {
        let message =
            "The relay has restarted for its memory as often as it may within an hour; raise spec.memory.limit.";
        return found(Verdict::Bad, "RestartLoop", message);
    }
    if recent(RestartCause::OOMKilled) > 0 {
        let message =
            "The kernel has killed the relay at its memory limit within the last hour; status.restarts says when.";
        return found(Verdict::Bad, "OOMKilled", message);
    }
    let Some(memory) = &status.memory else {
        return found(Verdict::Unknown, "Unknown", "The relay cannot be asked now.");
    };
    if let Some(resize) = &status.resize {
        let why = resize.message.as_deref().map(|message| format!(": {message}")).unwrap_or_else(|| ".".into());
        match resize.state {
            ResizeState::Infeasible => {
                let message = format!("The node, or the API server, does not give the relay its new memory limit{why}");
                return found(Verdict::Bad, "ResizeInfeasible", &message);
            }
            ResizeState::Deferred => {
                let message = format!("The new memory limit waits for room on the node{why}");
                return found(Verdict::Waiting, "ResizeDeferred", &message);
            }
            ResizeState::WaitingForWindow => {
                let message = "This cluster cannot resize pods: the relay gets its new memory limit with a new pod, in spec.update.window.";
                return found(Verdict::Waiting, "ResizePending", message);
            }
            ResizeState::InProgress => {
                let message = format!("The node is giving the relay a new memory limit{why}");
                return found(Verdict::Waiting, "ResizePending", &message);
            }
            ResizeState::Done => {}
        }
    }
    if is_near_limit(relay, memory) {
        let message = "The relay is at its hard mark, or will be at its limit before a restart in good order is done.";
        return found(Verdict::Bad, "NearLimit", message);
    }
    if memory.pressure_since.as_ref().is_none_or(|since| is_younger(since.0, SUSTAINED, now)) {
        return found(Verdict::Good, "Healthy", "The relay has memory enough.");
    }
    let is_at_maximum = memory.limit_bytes.is_some_and(|limit| limit >= signed(asked.max));
    if asked.resize == MemoryResize::InPlace && is_at_maximum {
        let message = "Memory is short, and the limit has grown up to spec.memory.max; raise it.";
        return found(Verdict::Bad, "AtMaximum", message);
    }
    let message =
        "Memory is short: the relay has shrunk its caches, and what can wait rests; status.memory.step says how far.";
    found(Verdict::Waiting, "UnderPressure", message)
}

/// How often the relay has lately ended of `cause`.
fn ends(status: &RelayStatus, cause: RestartCause, now: Timestamp) -> usize {
    let last = status.restarts.as_ref().map(|restarts| restarts.last.as_slice()).unwrap_or_default();
    last.iter().filter(|end| end.cause == cause && is_younger(end.at.0, RECENT, now)).count()
}

fn is_near_limit(relay: &ValidRelay, memory: &MemoryStatus) -> bool {
    let hard = |limit: i64| limit / 100 * i64::from(relay.memory.hard_percent);
    let is_hard = memory.limit_bytes.is_some_and(|limit| memory.working_set_bytes >= hard(limit));
    let grace = relay.grace_seconds();
    is_hard || memory.pressure_since.is_some() && memory.seconds_to_limit.is_some_and(|seconds| seconds <= grace)
}

fn is_younger(then: Timestamp, age: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(age).is_ok_and(|age| now.duration_since(then) < age)
}

fn signed(size: ByteSize) -> i64 {
    super::figures::signed(size.0)
}

/// The Event of new ends of one cause.
pub(super) fn event(new: &New) -> Event {
    let end = &new.end;
    let type_ = match end.cause {
        RestartCause::PlannedRestart | RestartCause::Stopped | RestartCause::Unseen => EventType::Normal,
        RestartCause::OOMKilled | RestartCause::Crashed | RestartCause::Evicted | RestartCause::NodeLost => {
            EventType::Warning
        }
    };
    let message = end.message.as_deref().unwrap_or_default();
    let note = match end.cause {
        RestartCause::Unseen => format!("{message} Ends that nobody has seen: {}.", new.count),
        _ => message.to_owned(),
    };
    Event { type_, reason: end.cause.name().into(), note: Some(note), action: "Restart".into(), secondary: None }
}

#[cfg(test)]
mod tests;
