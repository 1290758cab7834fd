//! The volume. What of it cannot change is held against the StatefulSet that is there, since the schema may be an older one.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::{Invalid, check, size};
use crate::api::{CLASS_IS_FIXED, DeletionPolicy, SNAPSHOT_IS_FIXED, StorageSpec, patterns};
use crate::relay::byte_size::ByteSize;
use crate::relay::read::World;

/// The volume that a relay is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Size that it is to have.
    pub size: ByteSize,
    /// Size that the relay counts on: while the volume grows that of before.
    pub usable: ByteSize,
    /// StorageClass, where not the cluster's default.
    pub class: Option<String>,
    /// What becomes of it when the Relay is deleted.
    pub deletion: DeletionPolicy,
    /// Name of the VolumeSnapshot that fills a new one.
    pub snapshot: Option<String>,
}

/// Checks `spec` and what the cluster has of it. `created` is when the Relay was, in seconds since 1970.
pub(super) fn storage(spec: &StorageSpec, world: &World, created: Option<i64>) -> Result<Storage, Invalid> {
    let wanted = size("spec.storage.size", &spec.size)?;
    if let Some(class) = &spec.storage_class_name {
        check("spec.storage.storageClassName", class, patterns::OBJECT_NAME)?;
    }
    let snapshot = spec.from_snapshot.as_ref().map(|snapshot| snapshot.name.clone());
    if let Some(snapshot) = &snapshot {
        check("spec.storage.fromSnapshot.name", snapshot, patterns::OBJECT_NAME)?;
    }
    let template = world.stateful_set.as_deref().and_then(claim_template);
    let claim = world.claim.as_deref();
    if let Some(template) = template {
        check_unchanged(spec, wanted, template)?;
    } else if let (Some(claim), Some(snapshot)) = (claim, &snapshot)
        && is_older(claim, created)
    {
        let (claim, snapshot) = (claim.name_any(), snapshot.clone());
        return Err(Invalid::VolumeExists { claim, snapshot });
    }
    let capacity = claim.and_then(capacity);
    let usable = match (template.and_then(requested), capacity) {
        (_, Some(capacity)) if capacity >= wanted => wanted,
        (Some(before), _) if claim.is_some() => before,
        (None, Some(capacity)) => capacity,
        _ => wanted,
    };
    let class = spec.storage_class_name.clone();
    Ok(Storage { size: wanted, usable, class, deletion: spec.deletion_policy, snapshot })
}

fn check_unchanged(spec: &StorageSpec, wanted: ByteSize, template: &PersistentVolumeClaim) -> Result<(), Invalid> {
    let claim = template.spec.as_ref();
    if claim.and_then(|claim| claim.storage_class_name.as_ref()) != spec.storage_class_name.as_ref() {
        return Err(Invalid::Storage(CLASS_IS_FIXED));
    }
    let source = claim.and_then(|claim| claim.data_source.as_ref()).map(|source| &source.name);
    if source != spec.from_snapshot.as_ref().map(|snapshot| &snapshot.name) {
        return Err(Invalid::Storage(SNAPSHOT_IS_FIXED));
    }
    match requested(template) {
        Some(has) if has > wanted => Err(Invalid::Shrinks { has, wanted }),
        _ => Ok(()),
    }
}

/// Whether `claim` was there before the Relay.
pub(in crate::relay) fn is_older(claim: &PersistentVolumeClaim, created: Option<i64>) -> bool {
    let made = claim.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    made.zip(created).is_some_and(|(made, created)| made < created)
}

/// The claim that a StatefulSet makes.
pub(in crate::relay) fn claim_template(set: &StatefulSet) -> Option<&PersistentVolumeClaim> {
    set.spec.as_ref()?.volume_claim_templates.as_ref()?.first()
}

/// The size that a claim asks for.
pub(in crate::relay) fn requested(claim: &PersistentVolumeClaim) -> Option<ByteSize> {
    bytes(claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?)
}

/// The size of a claim's volume.
pub(in crate::relay) fn capacity(claim: &PersistentVolumeClaim) -> Option<ByteSize> {
    bytes(claim.status.as_ref()?.capacity.as_ref()?.get("storage")?)
}

fn bytes(quantity: &Quantity) -> Option<ByteSize> {
    ByteSize::parse(&quantity.0)
}
