//! The claim of the relay's volume: a StatefulSet makes it once and never looks at it again. The operator gives it an owner,
//! lets it grow, and gives it up when somebody asks for that by name.
//!
//! [`decide`] says what is to be done, [`act`] does it. Nothing here fails a reconcile: what goes wrong is in the status and in
//! the condition `StorageReady`.

mod decide;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Event, EventType};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::byte_size::ByteSize;
use super::names::OPERATOR;
use super::read::World;
use super::report::quote;
use super::validate::ValidRelay;
use super::{Context, api_message, evict};
use crate::api::{RefusedGrowth, Relay};
use decide::{Plan, decide};

/// Annotation of a Relay with the uid of the claim that is to be given up.
pub(super) const REBUILD: &str = "relay.waow.tech/rebuild-volume";

/// What came of it.
#[derive(Default)]
pub(super) struct Done {
    /// Growth that the cluster has refused.
    pub(super) refused: Option<RefusedGrowth>,
    /// What else went wrong.
    pub(super) trouble: Option<String>,
    /// What is to be told.
    pub(super) events: Vec<Event>,
}

/// Brings the claim to what `valid` asks for.
pub(super) async fn act(context: &Context, relay: &Relay, valid: &ValidRelay, world: &World) -> Done {
    let now = Timestamp::now();
    let told = relay.status.as_ref().and_then(|status| status.storage.as_ref()?.refused.as_ref());
    // A refusal is told for as long as the same is asked for.
    let mut done =
        Done { refused: told.filter(|told| told.size == valid.storage.size.to_string()).cloned(), ..Done::default() };
    let Some(claim) = world.claim.as_deref() else { return Done::default() };
    let asked = relay.annotations().get(REBUILD).map(String::as_str);
    let Plan { owners, grow, delete, evict: goes } = decide(valid, claim, asked, done.refused.as_ref(), now);
    let claims = Api::namespaced(context.client.clone(), &valid.namespace);
    if let Some(owners) = owners {
        let owned = own(&claims, claim, &owners).await;
        context.metrics.wrote("PersistentVolumeClaim", "own");
        done.trouble = owned.err().map(|error| quote(&api_message(&error)));
    }
    if let Some(size) = grow {
        grow_to(context, valid, claim, size, &mut done, now).await;
    }
    if delete {
        let deleted = give_up(&claims, claim).await;
        context.metrics.wrote("PersistentVolumeClaim", "delete");
        tracing::warn!(namespace = valid.namespace, relay = valid.name, claim = claim.name_any(), "volume given up");
        match deleted {
            Ok(()) => {
                let note = format!(
                    "The volume of {} is given up, as {REBUILD} asks: the relay begins anew.",
                    claim.name_any()
                );
                done.events.push(event("VolumeGivenUp", EventType::Warning, note));
            }
            Err(error) => done.trouble = Some(quote(&api_message(&error))),
        }
    }
    // The claim stays for as long as a pod uses it.
    if let Some(pod) = world.pod.as_deref().filter(|pod| goes && pod.metadata.deletion_timestamp.is_none())
        && let Err(error) = evict::evict(context, valid, &pod.name_any(), &pod.uid().unwrap_or_default()).await
    {
        done.trouble = Some(quote(&api_message(&error)));
    }
    done
}

async fn grow_to(
    context: &Context,
    valid: &ValidRelay,
    claim: &PersistentVolumeClaim,
    size: ByteSize,
    done: &mut Done,
    now: Timestamp,
) {
    let name = claim.name_any();
    let patch = json!({
        "metadata": {"uid": claim.uid()},
        "spec": {"resources": {"requests": {"storage": size.to_string()}}},
    });
    // By the client that tries nothing twice: a storage that refuses will refuse again.
    let claims = Api::<PersistentVolumeClaim>::namespaced(context.once.clone(), &valid.namespace);
    let grown = merge(&claims, &name, &patch).await;
    context.metrics.wrote("PersistentVolumeClaim", "grow");
    match grown {
        Ok(()) => {
            tracing::info!(namespace = valid.namespace, relay = valid.name, %size, "volume grows");
            done.refused = None;
            done.events.push(event("VolumeGrows", EventType::Normal, format!("The volume of {name} grows to {size}.")));
        }
        Err(error) => {
            let message = quote(&api_message(&error));
            if done.refused.as_ref().is_none_or(|told| told.message != message) {
                let note = format!("The volume of {name} cannot grow to {size}: {message}");
                done.events.push(event("VolumeGrowthRefused", EventType::Warning, note));
            }
            done.refused = Some(RefusedGrowth { size: size.to_string(), at: Time(now), message });
        }
    }
}

async fn own(
    claims: &Api<PersistentVolumeClaim>,
    claim: &PersistentVolumeClaim,
    owners: &[OwnerReference],
) -> kube::Result<()> {
    // With the version, so that an owner that somebody adds meanwhile stays.
    let patch = json!({"metadata": {"resourceVersion": claim.resource_version(), "ownerReferences": owners}});
    merge(claims, &claim.name_any(), &patch).await
}

async fn merge(claims: &Api<PersistentVolumeClaim>, name: &str, patch: &Value) -> kube::Result<()> {
    let params = PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
    claims.patch(name, &params, &Patch::Merge(patch)).await.map(drop)
}

/// Deletes this very claim; a new one of its name stays.
async fn give_up(claims: &Api<PersistentVolumeClaim>, claim: &PersistentVolumeClaim) -> kube::Result<()> {
    let this_one = Preconditions { uid: claim.uid(), ..Preconditions::default() };
    match claims.delete(&claim.name_any(), &DeleteParams::background().preconditions(this_one)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop),
    }
}

fn event(reason: &str, type_: EventType, note: String) -> Event {
    Event { type_, reason: reason.into(), note: Some(quote(&note)), action: "Store".into(), secondary: None }
}
