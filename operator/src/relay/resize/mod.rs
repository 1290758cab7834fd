//! The memory limit of a relay that runs: by the pod's `resize` subresource, without a new pod.
//!
//! [`decide`] says which limit the relay is to have; [`children`] keeps the StatefulSet's template as it is meanwhile, since
//! another template would replace the pod; [`apply`] gives the pod its limit. A pod that is made anew, from the template,
//! gets it again. Nothing here fails a reconcile: what goes wrong is in the status and in the condition `MemoryHealthy`.

mod decide;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client};
use serde_json::json;

pub(super) use decide::{Limits, decide};

use super::apply::covers;
use super::build::{self, CONTAINER, Children};
use super::names::{OPERATOR, pod};
use super::read::World;
use super::report::quote;
use super::validate::ValidRelay;
use super::{Context, Error, api_message};
use crate::api::{ResizeState, ResizeStatus};

/// Whether the API server can resize pods.
///
/// # Errors
///
/// When it does not answer.
pub(super) async fn is_served(client: &Client) -> kube::Result<bool> {
    let resources = client.list_core_api_resources("v1").await?;
    Ok(resources.resources.iter().any(|resource| resource.name == "pods/resize"))
}

/// The children of `relay`: with the memory that the template has, unless it changes anyway.
pub(super) fn children(relay: &ValidRelay, world: &World, limits: &Limits) -> Result<Children, Error> {
    let live = world.stateful_set.as_ref().and_then(|live| live.spec.as_ref());
    if let (Some(kept), Some(live)) = (limits.kept, live) {
        let children = build::build(relay, kept)?;
        let template = children.stateful_set.spec.as_ref().map(|spec| &spec.template);
        if covers(&serde_json::to_value(&live.template)?, &serde_json::to_value(template)?) {
            return Ok(children);
        }
    }
    Ok(build::build(relay, limits.wanted)?)
}

/// Gives the running pod what it is to have. Answers what is to be said of it.
pub(super) async fn apply(context: &Context, relay: &ValidRelay, limits: Limits) -> Option<ResizeStatus> {
    let Some(resources) = limits.patch else { return limits.status };
    let (request, limit) = (Quantity::from(resources.request), Quantity::from(resources.limit));
    let memory = json!({"requests": {"memory": request}, "limits": {"memory": limit}});
    let patch = json!({"spec": {"containers": [{"name": CONTAINER, "resources": memory}]}});
    let params = PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
    let pods = Api::<Pod>::namespaced(context.client.clone(), &relay.namespace);
    let name = pod(&relay.name);
    let resized = pods.patch_subresource("resize", &name, &params, &Patch::Strategic(&patch)).await;
    context.metrics.wrote("Pod", "resize");
    let (state, message) = match resized {
        Ok(_) => {
            tracing::info!(namespace = relay.namespace, relay = relay.name, limit = %resources.limit, "pod resized");
            (ResizeState::InProgress, None)
        }
        // The API server knows the node: what can never fit it refuses at once. Or it forbids what the operator does.
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404 | 422) => {
            (ResizeState::Infeasible, Some(quote(&status.message)))
        }
        Err(error) => (ResizeState::InProgress, Some(quote(&api_message(&error)))),
    };
    limits.status.map(|told| ResizeStatus { state, message, ..told })
}

/// What has happened since `before` was reported.
pub(super) fn events(before: Option<&ResizeStatus>, now: Option<&ResizeStatus>) -> Vec<Event> {
    // A limit that new pods have too is no news.
    let Some(now) = now else { return Vec::new() };
    let event = |reason: &str, type_, note: String| Event {
        type_,
        reason: reason.into(),
        note: Some(quote(&note)),
        action: "Resize".into(),
        secondary: None,
    };
    let limit = &now.limit;
    let mut news = Vec::new();
    let is_new = before.is_none_or(|before| before.limit != *limit);
    if is_new && *limit != now.grown_from {
        let from =
            before.filter(|before| before.grown_from == now.grown_from).map_or(&now.grown_from, |old| &old.limit);
        let note = format!("Memory is short: the limit grows from {from} to {limit}.");
        news.push(event("MemoryLimitGrows", EventType::Normal, note));
    }
    if is_new || before.is_some_and(|before| before.state != now.state) {
        let why = now.message.as_deref().map_or_else(|| ".".into(), |message| format!(": {message}"));
        news.extend(match now.state {
            ResizeState::InProgress => None,
            ResizeState::Done => {
                let note = format!("The memory limit of {limit} is in force.");
                Some(event("MemoryResized", EventType::Normal, note))
            }
            ResizeState::Deferred => {
                let note = format!("The memory limit of {limit} waits for room on the node{why}");
                Some(event("ResizeDeferred", EventType::Warning, note))
            }
            ResizeState::Infeasible => {
                let note = format!("The memory limit of {limit} cannot be given{why}");
                Some(event("ResizeInfeasible", EventType::Warning, note))
            }
            ResizeState::WaitingForWindow => {
                let note = format!("The memory limit of {limit} waits for spec.update.window.");
                Some(event("ResizeWaiting", EventType::Normal, note))
            }
        });
    }
    news
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn each_turn_of_a_limit_is_told_once() {
        use ResizeState::{Deferred, Done, InProgress, Infeasible, WaitingForWindow};
        let told = |limit: &str, state| {
            let (limit, grown_from, at) = (limit.into(), "1Gi".into(), Timestamp::UNIX_EPOCH);
            Some(ResizeStatus { limit, grown_from, at: Time(at), state, message: Some("m".into()) })
        };
        let grows = "MemoryLimitGrows Memory is short: the limit grows from 1Gi to 1280Mi.";
        type Case<'a> = (&'a str, Option<ResizeStatus>, Option<ResizeStatus>, &'a [&'a str]);
        #[rustfmt::skip]
        let table: &[Case] = &[
            ("nothing", None, None, &[]),
            ("grows", None, told("1280Mi", InProgress), &[grows]),
            ("still at it", told("1280Mi", InProgress), told("1280Mi", InProgress), &[]),
            ("done", told("1280Mi", InProgress), told("1280Mi", Done), &["MemoryResized The memory limit of 1280Mi is in force."]),
            ("stays done", told("1280Mi", Done), told("1280Mi", Done), &[]),
            ("grows on", told("1280Mi", Done), told("1536Mi", InProgress), &["MemoryLimitGrows Memory is short: the limit grows from 1280Mi to 1536Mi."]),
            ("refused at once", None, told("1280Mi", Infeasible), &[grows, "ResizeInfeasible The memory limit of 1280Mi cannot be given: m"]),
            ("no room", told("1280Mi", InProgress), told("1280Mi", Deferred), &["ResizeDeferred The memory limit of 1280Mi waits for room on the node: m"]),
            ("no such API", None, told("1280Mi", WaitingForWindow), &[grows, "ResizeWaiting The memory limit of 1280Mi waits for spec.update.window."]),
            ("an edit begins", None, told("1Gi", InProgress), &[]),
            ("an edit is done", told("1Gi", InProgress), told("1Gi", Done), &["MemoryResized The memory limit of 1Gi is in force."]),
            ("new pods have it too", told("1Gi", Done), None, &[]),
            ("growth is given up", told("1280Mi", Done), None, &[]),
        ];
        for (case, before, now, want) in table {
            let events = events(before.as_ref(), now.as_ref());
            let got: Vec<_> =
                events.iter().map(|e| format!("{} {}", e.reason, e.note.as_deref().unwrap_or(""))).collect();
            assert_eq!(got, *want, "{case}");
        }
    }
}
