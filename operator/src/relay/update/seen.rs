//! What of the world an update is decided by. Pure.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::decide::{PodSeen, Seen, Set};
use super::{LastGood, RESTART, RESTART_MAX, TEMPLATE, gate};
use crate::api::{Relay, UpdateStatus};
use crate::relay::build::CONTAINER;
use crate::relay::read::World;
use crate::relay::validate::ValidRelay;

/// Label of a pod with the revision that it was made from.
const REVISION: &str = "controller-revision-hash";

/// The template that the spec asks for.
pub(super) struct Wanted {
    /// Its digest.
    pub(super) digest: String,
    /// The StatefulSet's says all that it does.
    pub(super) is_there: bool,
    /// The default image that waits for the window.
    pub(super) waits: Option<String>,
}

pub(super) fn seen(relay: &Relay, valid: &ValidRelay, world: &World, wanted: Wanted, now: Timestamp) -> Seen {
    let observed_at = relay.status.as_ref().and_then(|status| status.observed_at.as_ref());
    let restart = relay.annotations().get(RESTART).filter(|value| !value.is_empty());
    let Wanted { digest, is_there, waits } = wanted;
    Seen {
        wanted: digest,
        set: world.stateful_set.as_deref().map(|live| set(live, is_there)),
        pod: world.pod.as_deref().map(pod),
        delivery: gate::delivery(world),
        since_told: observed_at.map(|at| Duration::try_from(now.duration_since(at.0)).unwrap_or_default()),
        waits,
        restart: restart.map(|value| value.chars().take(RESTART_MAX).collect()),
        gate: valid.gate.clone(),
        last_good_is_gone: world.last_good == LastGood::Gone,
    }
}

fn set(set: &StatefulSet, covers_wanted: bool) -> Set {
    let status = set.status.as_ref().filter(|status| status.observed_generation >= set.metadata.generation);
    Set {
        mark: mark(set).cloned(),
        covers_wanted,
        revision: status.and_then(|status| status.update_revision.clone()),
        config: set.spec.as_ref().and_then(|spec| config_map(spec.template.spec.as_ref()?)),
    }
}

/// What the StatefulSet was marked with when its template was applied.
pub(super) fn mark(set: &StatefulSet) -> Option<&String> {
    set.annotations().get(TEMPLATE)
}

fn pod(pod: &Pod) -> PodSeen {
    PodSeen {
        uid: pod.uid().unwrap_or_default(),
        revision: pod.labels().get(REVISION).cloned(),
        config: pod.spec.as_ref().and_then(config_map),
        is_ready: is_ready(pod),
        is_leaving: pod.metadata.deletion_timestamp.is_some(),
    }
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The image of the relay in a template.
pub(super) fn image(template: &PodTemplateSpec) -> Option<&String> {
    let containers = &template.spec.as_ref()?.containers;
    containers.iter().find(|container| container.name == CONTAINER)?.image.as_ref()
}

/// The ConfigMaps that must stay: of the StatefulSet's template, of the pod, and of the template that may be put back.
pub(super) fn config_maps(world: &World, told: Option<&UpdateStatus>) -> Vec<String> {
    let template = world.stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.template.spec.as_ref());
    let pod = world.pod.as_ref().and_then(|pod| pod.spec.as_ref());
    let referred = [template, pod].into_iter().flatten().filter_map(config_map);
    referred.chain(told.and_then(|told| told.last_good_config.clone())).collect()
}

/// The ConfigMap with the configuration file of a pod.
fn config_map(pod: &PodSpec) -> Option<String> {
    let volumes = pod.volumes.as_deref().unwrap_or_default();
    volumes.iter().find_map(|volume| Some(volume.config_map.as_ref()?.name.clone()))
}

/// The template that a revision of `set` keeps, to the letter: a field that this operator does not know is in it too.
pub(super) fn template(revision: &ControllerRevision, set: &StatefulSet) -> Option<Value> {
    let is_its_own = revision.owner_references().iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref());
    let data = revision.data.as_ref().filter(|_| is_its_own)?;
    // As a patch of the StatefulSet: {"spec": {"template": {"$patch": "replace", …}}}.
    let mut template = data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    Some(template)
}
