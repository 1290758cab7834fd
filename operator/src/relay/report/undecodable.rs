//! What is reported of an object that is no Relay of this version: as its types cannot be used, by hand.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Resource};
use serde_json::json;

use super::conditions::{self, Finding, Verdict, quote};
use crate::api::Relay;
use crate::relay::names::OPERATOR;
use crate::relay::{Context, Error};

/// Puts the condition Ready there, once. The rest of the status stays as it is.
pub(in crate::relay) async fn undecodable(context: &Context, invalid: &InvalidObject) -> Result<(), Error> {
    let namespace = invalid.metadata.namespace.clone().unwrap_or_default();
    let name = invalid.metadata.name.clone().unwrap_or_default();
    let message = format!(
        "The object is no Relay as this version of the operator knows it: {}. Correct the field, or delete the object; if it was accepted when it was applied, the CustomResourceDefinition is of another version than the operator: apply crds/.",
        invalid.error
    );
    let finding = Finding::new(conditions::READY, Verdict::Bad, Error::UNDECODABLE, quote(&message));
    let resource = ApiResource::erase::<Relay>(&());
    let relays = Api::<DynamicObject>::namespaced_with(context.client.clone(), &namespace, &resource);
    let what = || format!("Relay {name}");
    let Some(live) = relays.get_opt(&name).await.map_err(|source| Error::Read { what: what(), source })? else {
        return Ok(());
    };
    let listed = live.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    // Only those that can be read; the others are not ours.
    let before: Vec<Condition> = listed.into_iter().filter_map(|c| serde_json::from_value(c).ok()).collect();
    let generation = invalid.metadata.generation;
    let after = conditions::merge(&before, &[finding], generation, Timestamp::now());
    if before == after {
        return Ok(());
    }
    let patch = json!({"status": {"conditions": after, "observedGeneration": generation}});
    let params = PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
    relays.patch_status(&name, &params, &Patch::Merge(&patch)).await.map_err(Error::Report)?;
    context.metrics.wrote(&Relay::kind(&()), "status");
    Ok(())
}
