//! What is reported of the volume. Pure.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::events::{Event, EventType};

use super::conditions::{Finding, Verdict, quote};
use crate::api::StorageStatus;
use crate::relay::validate::{ValidRelay, capacity, is_older, requested};
use crate::relay::volume::{Done, REBUILD};

/// The volume is there, in the size that is asked for.
pub(super) const STORAGE_READY: &str = "StorageReady";
/// Annotation of a claim with the node that its volume was made for.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What a scheduler says of a node that the volume cannot be reached from, in its older and its newer words.
const ELSEWHERE: [&str; 2] = ["volume node affinity conflict", "PersistentVolume's node affinity"];
/// What the kubelet needs the pod to end for.
const NEEDS_RESTART: &str = "FileSystemResizePending";

/// The volume as the cluster has it; `None` while there is no claim. `created` is when the Relay was.
pub(super) fn status(
    claim: Option<&PersistentVolumeClaim>,
    done: &Done,
    created: Option<Timestamp>,
) -> Option<StorageStatus> {
    let claim = claim?;
    let has = capacity(claim);
    Some(StorageStatus {
        claim: claim.name_any(),
        uid: claim.uid().unwrap_or_default(),
        size: has.map(|size| size.to_string()),
        growing_to: requested(claim).filter(|wanted| has.is_some_and(|has| has < *wanted)).map(|size| size.to_string()),
        node: claim.annotations().get(SELECTED_NODE).cloned(),
        adopted: is_older(claim, created.map(Timestamp::as_second)),
        refused: done.refused.clone(),
    })
}

/// Whether the volume is as wanted.
pub(super) fn finding(relay: &ValidRelay, claim: Option<&PersistentVolumeClaim>, done: &Done) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(STORAGE_READY, verdict, reason, quote(message));
    let Some(claim) = claim else {
        return found(Verdict::Waiting, "NoVolume", "There is no PersistentVolumeClaim yet; the StatefulSet makes it.");
    };
    let name = claim.name_any();
    if claim.metadata.deletion_timestamp.is_some() {
        let message = format!(
            "The PersistentVolumeClaim {name} is being deleted; it goes when its pod has gone. A pod on a node that does not answer goes with the node: kubectl delete node."
        );
        return found(Verdict::Waiting, "BeingDeleted", &message);
    }
    let status = claim.status.clone().unwrap_or_default();
    match status.phase.as_deref() {
        Some("Bound") => {}
        Some("Lost") => {
            let message = format!(
                "The volume of {name} is gone, and what was on it. To begin anew, annotate the Relay with {REBUILD}={}.",
                claim.uid().unwrap_or_default()
            );
            return found(Verdict::Bad, "VolumeLost", &message);
        }
        _ => {
            let message =
                format!("The PersistentVolumeClaim {name} is not bound to a volume yet; its Events say what keeps it.");
            return found(Verdict::Waiting, "Pending", &message);
        }
    }
    if let Some(refused) = &done.refused {
        let message = format!(
            "The volume cannot grow: {}. Write the old spec.storage.size back, or move to a StorageClass with allowVolumeExpansion.",
            refused.message
        );
        return found(Verdict::Bad, "GrowthRefused", &message);
    }
    if let Some(trouble) = &done.trouble {
        return found(Verdict::Bad, "ApplyFailed", trouble);
    }
    if capacity(claim).is_none_or(|has| has >= relay.storage.size) {
        return found(Verdict::Good, "Bound", "The volume is there.");
    }
    let conditions = status.conditions.unwrap_or_default();
    let condition = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    for failed in ["ControllerResizeError", "NodeResizeError"] {
        if let Some(failed) = condition(failed) {
            let message = failed.message.as_deref().unwrap_or("the storage does not say why");
            return found(Verdict::Bad, "GrowthFailed", &format!("The volume does not grow: {message}"));
        }
    }
    if condition(NEEDS_RESTART).is_some() {
        let message = "The volume has grown and its file system is about to; if that lasts, the storage can do it only when the pod starts: delete the pod.";
        return found(Verdict::Waiting, NEEDS_RESTART, message);
    }
    found(
        Verdict::Waiting,
        "Growing",
        "The volume grows; the relay uses the new room when it is there, with a new pod.",
    )
}

/// What has happened to the volume since `before`.
pub(super) fn events(before: Option<&StorageStatus>, now: Option<&StorageStatus>) -> Vec<Event> {
    let Some(now) = now else { return Vec::new() };
    let event = |reason: &str, note: String| Event {
        type_: EventType::Normal,
        reason: reason.into(),
        note: Some(quote(&note)),
        action: "Store".into(),
        secondary: None,
    };
    let mut news = Vec::new();
    let same = before.filter(|before| before.uid == now.uid);
    if now.adopted && same.is_none() {
        let note =
            format!("There is a volume of an earlier Relay, {}: the relay goes on with what it holds.", now.claim);
        news.push(event("VolumeAdopted", note));
    }
    if let (Some(size), Some(before)) = (&now.size, same)
        && before.growing_to.is_some()
        && now.growing_to.is_none()
    {
        news.push(event("VolumeGrown", format!("The volume of {} has grown to {size}.", now.claim)));
    }
    news
}

/// Why no node takes the pod, when it is its volume that keeps it; `message` is the scheduler's.
pub(super) fn elsewhere(pod: &Pod, claim: Option<&PersistentVolumeClaim>, message: &str) -> Option<String> {
    let claim = claim.filter(|_| ELSEWHERE.iter().any(|words| message.contains(words)))?;
    let at = match claim.annotations().get(SELECTED_NODE) {
        Some(node) => format!("on the node {node}"),
        None => "on another node".to_owned(),
    };
    Some(format!(
        "The volume of {} is {at}, which does not take the pod {}. Bring that node back (kubectl uncordon), or give up the volume and begin anew elsewhere: annotate the Relay with {REBUILD}={}. The scheduler says: {message}",
        claim.name_any(),
        pod.name_any(),
        claim.uid().unwrap_or_default(),
    ))
}
