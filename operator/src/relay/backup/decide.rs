//! Which snapshots are to be made, and which are to go. Pure.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::json;

use crate::api::patterns;
use crate::relay::names;
use crate::relay::optional::OptionalKind;
use crate::relay::validate::{Backup, ValidRelay};

/// Label that tells by whom a snapshot was asked for.
const LABEL: &str = "relay.waow.tech/snapshot";
const SCHEDULED: &str = "scheduled";
const REQUESTED: &str = "requested";
/// Snapshots that may be under way: a storage that makes none is not asked for more and more of them.
const UNDER_WAY_MAX: usize = 2;
/// Longest name that a request may give.
const REQUEST_MAX: usize = 40;

/// A snapshot that there is.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::relay) struct Snapshot {
    pub(in crate::relay) name: String,
    pub(super) uid: String,
    pub(in crate::relay) at: Timestamp,
    /// Made by time, and not because somebody has asked for it.
    pub(super) is_scheduled: bool,
    /// It can be restored.
    pub(in crate::relay) is_ready: bool,
    /// What keeps it.
    pub(in crate::relay) error: Option<String>,
}

impl Snapshot {
    /// Those of `objects` that are not being deleted, the newest first.
    pub(super) fn all(objects: &[Arc<DynamicObject>]) -> Vec<Self> {
        let staying = objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none());
        let mut all: Vec<Self> = staying.filter_map(|object| Self::of(object)).collect();
        all.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| b.name.cmp(&a.name)));
        all
    }

    fn of(object: &DynamicObject) -> Option<Self> {
        let status = &object.data["status"];
        Some(Self {
            name: object.name_any(),
            uid: object.uid()?,
            at: object.metadata.creation_timestamp.as_ref()?.0,
            is_scheduled: object.labels().get(LABEL).is_some_and(|label| label == SCHEDULED),
            is_ready: status["readyToUse"] == true,
            error: status["error"]["message"].as_str().map(str::to_owned),
        })
    }
}

/// A snapshot that is to be made.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// The value of the annotation that asks for it.
    pub(super) request: Option<String>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) make: Vec<Wanted>,
    pub(super) delete: Vec<Snapshot>,
    /// Why what was asked for is not done.
    pub(super) refused: Option<String>,
}

/// Decides on `snapshots`, the newest first. `asked` is a request that is not dealt with yet.
pub(super) fn decide(
    relay: &ValidRelay,
    claim: Option<&PersistentVolumeClaim>,
    asked: Option<&str>,
    snapshots: &[Snapshot],
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    if relay.paused {
        return plan;
    }
    // There has to be a volume to copy.
    let is_bound = claim.is_some_and(|claim| {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Bound") && claim.metadata.deletion_timestamp.is_none()
    });
    if let Some(asked) = asked.filter(|_| is_bound) {
        if patterns::OBJECT_NAME.matches(asked) && asked.len() <= REQUEST_MAX {
            plan.make.push(Wanted { name: format!("{}-{asked}", relay.name), request: Some(asked.to_owned()) });
        } else {
            plan.refused = Some(format!(
                "the annotation {} is {asked:?}; write at most {REQUEST_MAX} lower-case letters, digits and '-'",
                super::REQUEST
            ));
        }
    }
    if is_bound && let Some(every) = relay.backup.every {
        plan.make.extend(due(relay, every, snapshots, now));
    }
    plan.delete = too_old(&relay.backup, snapshots);
    plan
}

/// The snapshot of the time that `now` is in, unless there is one. Its name is that of the time, so that whoever looks too early
/// for what was just made does not make it twice.
fn due(relay: &ValidRelay, every: Duration, snapshots: &[Snapshot], now: Timestamp) -> Option<Wanted> {
    let every = i64::try_from(every.as_secs()).ok().filter(|every| *every > 0)?;
    let begin = Timestamp::from_second(now.as_second().div_euclid(every) * every).ok()?;
    let mut scheduled = snapshots.iter().filter(|snapshot| snapshot.is_scheduled);
    let under_way = scheduled.clone().filter(|snapshot| !snapshot.is_ready).count();
    if scheduled.any(|snapshot| snapshot.at >= begin) || under_way >= UNDER_WAY_MAX {
        return None;
    }
    Some(Wanted { name: format!("{}-{}", relay.name, begin.strftime("%Y%m%d-%H%M%S")), request: None })
}

/// Those that were made by time and are older than the newest that are kept. What cannot be restored is not one of these.
fn too_old(backup: &Backup, snapshots: &[Snapshot]) -> Vec<Snapshot> {
    if backup.every.is_none() {
        return Vec::new();
    }
    let mut kept = 0;
    let mut old = Vec::new();
    for snapshot in snapshots.iter().filter(|snapshot| snapshot.is_scheduled) {
        if kept >= backup.keep {
            old.push(snapshot.clone());
        }
        kept += usize::from(snapshot.is_ready);
    }
    old
}

/// The object of `wanted`. Without an owner: it stays when the Relay goes.
pub(super) fn object(relay: &ValidRelay, wanted: &Wanted) -> DynamicObject {
    let mut spec = json!({"source": {"persistentVolumeClaimName": names::claim(&relay.name)}});
    if let Some(class) = &relay.backup.class {
        spec["volumeSnapshotClassName"] = json!(class);
    }
    let kind = OptionalKind::VolumeSnapshot.resource();
    let mut object = DynamicObject::new(&wanted.name, &kind).data(json!({"spec": spec}));
    object.metadata = names::meta(relay, wanted.name.clone());
    object.metadata.owner_references = None;
    let by = if wanted.request.is_some() { REQUESTED } else { SCHEDULED };
    object.labels_mut().insert(LABEL.into(), by.into());
    object
}

#[cfg(test)]
mod tests;
