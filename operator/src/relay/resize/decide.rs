//! Which memory limit the relay is to have, and what it takes to get there. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{MemoryResize, Relay, RelayStatus, ResizeState, ResizeStatus};
use crate::relay::build::CONTAINER;
use crate::relay::byte_size::ByteSize;
use crate::relay::endings;
use crate::relay::read::World;
use crate::relay::validate::{Memory, Resources, ValidRelay};

/// How long pressure lasts before the limit grows: first the relay's own caches have to shrink.
const SUSTAINED: Duration = Duration::from_secs(30);
/// A relay that would be at its limit within this time does not wait for that.
const URGENT: Duration = Duration::from_secs(10 * 60);
/// A step of growth is the limit of the spec divided by this.
const STEPS_PER_LIMIT: u64 = 4;
/// Limits grow in whole units of this, which is what people read; and the kernel, which counts in pages, may be off by less.
const UNIT: u64 = 1 << 20;
/// When a resize that the API server has refused is tried again.
const RETRY_REFUSED: Duration = Duration::from_secs(10 * 60);

/// What memory a relay is to have.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::relay) struct Limits {
    /// What it is to have.
    pub(in crate::relay) wanted: Resources,
    /// What the template has instead, until it changes for another reason: another template replaces the pod.
    pub(in crate::relay) kept: Option<Resources>,
    /// What the running pod is to be given now.
    pub(in crate::relay) patch: Option<Resources>,
    /// What is said of it.
    pub(in crate::relay) status: Option<ResizeStatus>,
}

/// Decides for `relay`, as it is when it is valid.
pub(in crate::relay) fn decide(relay: &Relay, valid: &ValidRelay, world: &World, now: Timestamp) -> Limits {
    let memory = &valid.memory;
    if memory.resize == MemoryResize::Never {
        return Limits { wanted: memory.at(memory.limit), kept: None, patch: None, status: None };
    }
    let before = relay.status.as_ref();
    let told = before.and_then(|before| before.resize.as_ref());
    let pod = world.pod.as_deref();
    let is_edited = before.is_none_or(|before| before.observed_generation != relay.metadata.generation);
    let has = pod.and_then(spec).filter(|_| world.can_resize && !is_edited);
    let held = held(memory, told, has);
    let limit = match !valid.paused && grows(memory, before, world, held, now) {
        true => ByteSize((held.0 + step(memory)).min(memory.max.0)),
        false => held,
    };
    let (wanted, has_grown) = (memory.at(limit), limit != memory.limit);
    let lacks_it = pod.and_then(spec).is_some_and(|has| has != wanted);
    let same = told.filter(|told| is(&told.limit, limit));
    let refused = same.filter(|told| told.state == ResizeState::Infeasible && lacks_it);
    let rests = refused.is_some_and(|told| age(told.at.0, now) < RETRY_REFUSED);
    let patches = world.can_resize && lacks_it && is_running(pod) && !rests && !valid.paused;
    let (state, message) = match refused {
        Some(told) => (told.state, told.message.clone()),
        None => progress(pod, wanted, world.can_resize),
    };
    let at = match same {
        Some(told) if refused.is_none() || rests => told.at.clone(),
        _ => Time(now),
    };
    let waits = has_grown && valid.window.is_some_and(|window| !window.contains(now));
    // As long as new pods have another limit: what this one is to have must be known when they are there.
    let template = template(world);
    let is_other = lacks_it || template.is_some_and(|template| template != wanted);
    let is_told = has_grown || world.can_resize && is_other;
    let status = || {
        let (limit, grown_from) = (limit.to_string(), memory.limit.to_string());
        ResizeStatus { limit, grown_from, at, state, message }
    };
    Limits {
        wanted,
        kept: template.filter(|_| world.can_resize || waits),
        patch: patches.then_some(wanted),
        status: is_told.then(status),
    }
}

/// The limit up to which it has grown, as far as the spec still has it so.
///
/// What was told may be a little old, and the pod know better: while nobody edits the spec, nothing takes back what `has` is.
fn held(memory: &Memory, told: Option<&ResizeStatus>, has: Option<Resources>) -> ByteSize {
    let told = told.filter(|told| is(&told.grown_from, memory.limit));
    let grown = told.and_then(|told| ByteSize::parse(&told.limit));
    let is_taken_back = told.is_some_and(|told| told.limit == told.grown_from);
    let has = has.map(|has| has.limit).filter(|_| !is_taken_back);
    grown.max(has).unwrap_or(memory.limit).clamp(memory.limit, memory.max)
}

/// Whether the relay has `held`, needs more, and may have it.
fn grows(memory: &Memory, before: Option<&RelayStatus>, world: &World, held: ByteSize, now: Timestamp) -> bool {
    let Some(Ok(document)) = &world.document else { return false };
    let used = &document.memory;
    if held >= memory.max || used.limit_bytes.is_none_or(|limit| !is_about(limit, held)) {
        return false;
    }
    let mark = |told: Option<u64>, percent: i32| told.unwrap_or(held.0 / 100 * u64::from(percent.unsigned_abs()));
    let soft = mark(used.soft_bytes, memory.soft_percent);
    let hard = mark(used.hard_bytes, memory.hard_percent);
    if used.working_set_bytes < soft {
        return false;
    }
    let is_urgent = used.working_set_bytes >= u64::midpoint(soft, hard)
        || used.seconds_to_limit.is_some_and(|seconds| seconds < URGENT.as_secs());
    let pressure = before.and_then(|before| before.memory.as_ref()?.pressure_since.as_ref());
    let given = before.and_then(|before| before.resize.as_ref()).map(|told| told.at.0);
    let lasts = pressure.is_some_and(|since| age(given.map_or(since.0, |given| given.max(since.0)), now) >= SUSTAINED);
    is_urgent || lasts
}

/// A step of growth.
fn step(memory: &Memory) -> u64 {
    (memory.limit.0 / STEPS_PER_LIMIT).next_multiple_of(UNIT)
}

/// How far the pod is on its way to `wanted`.
fn progress(pod: Option<&Pod>, wanted: Resources, can_resize: bool) -> (ResizeState, Option<String>) {
    let Some(pod) = pod else { return (ResizeState::InProgress, None) };
    if spec(pod) != Some(wanted) {
        let state = if can_resize { ResizeState::InProgress } else { ResizeState::WaitingForWindow };
        return (state, None);
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let condition = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    if let Some(pending) = condition("PodResizePending") {
        let is_infeasible = pending.reason.as_deref() == Some("Infeasible");
        let state = if is_infeasible { ResizeState::Infeasible } else { ResizeState::Deferred };
        return (state, pending.message.clone());
    }
    let in_force = endings::container(pod).and_then(endings::limit);
    match condition("PodResizeInProgress") {
        Some(at_it) => (ResizeState::InProgress, at_it.message.clone().filter(|message| !message.is_empty())),
        None if in_force.is_none_or(|in_force| is_about(in_force.0, wanted.limit)) => (ResizeState::Done, None),
        None => (ResizeState::InProgress, None),
    }
}

/// What the pod is to have, by its own spec.
fn spec(pod: &Pod) -> Option<Resources> {
    resources(pod.spec.as_ref()?.containers.iter())
}

/// What new pods get, by the StatefulSet's template.
fn template(world: &World) -> Option<Resources> {
    resources(world.stateful_set.as_ref()?.spec.as_ref()?.template.spec.as_ref()?.containers.iter())
}

fn resources<'a>(mut containers: impl Iterator<Item = &'a Container>) -> Option<Resources> {
    let resources = containers.find(|container| container.name == CONTAINER)?.resources.as_ref()?;
    let limit = ByteSize::parse(&resources.limits.as_ref()?.get("memory")?.0)?;
    let request = resources.requests.as_ref().and_then(|requests| ByteSize::parse(&requests.get("memory")?.0));
    Some(Resources { request: request.unwrap_or(limit), limit })
}

fn is_running(pod: Option<&Pod>) -> bool {
    let phase = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    pod.is_some_and(|pod| phase(pod) && pod.metadata.deletion_timestamp.is_none())
}

fn is(text: &str, size: ByteSize) -> bool {
    ByteSize::parse(text) == Some(size)
}

fn is_about(bytes: u64, size: ByteSize) -> bool {
    bytes.abs_diff(size.0) < UNIT
}

/// Time since `then`; none while a clock says that it is still to come.
fn age(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then).max(SignedDuration::ZERO)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
