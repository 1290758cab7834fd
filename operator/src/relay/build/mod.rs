//! Step 3, build: from a valid relay to the objects it needs, and the jobs. Pure; one file per kind.

mod backfill;
mod config_map;
mod disruption_budget;
mod implementation;
mod ingress;
mod monitoring;
mod network_policy;
mod postgres;
mod route;
mod secret;
mod service;
mod service_account;
mod stateful_set;

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DynamicObject;

pub use backfill::{DECLARED_BY, Declared, jobs};
pub use implementation::admin_port;
pub(super) use implementation::{MetricNames, metric_names, unsupported};
pub(super) use stateful_set::CONTAINER;

use super::optional::OptionalKind;
use super::validate::{Resources, ValidRelay};
use implementation::Profile;

/// Port of the firehose and XRPC of the bundled relay, in the pod and on its Service.
const FIREHOSE_PORT: i32 = 3000;
/// Port of its health, metrics and admin API, in the pod and on its Service.
const ADMIN_PORT: i32 = crate::relay_admin::ADMIN_PORT as i32;

/// Every object of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// Identity of the pod, without any right.
    pub service_account: ServiceAccount,
    /// The admin token, only when it is new.
    pub admin_secret: Option<Secret>,
    /// The relay's configuration file, where it has one.
    pub config_map: Option<ConfigMap>,
    /// What Grafana shows.
    pub dashboards: Vec<ConfigMap>,
    /// The firehose, for consumers.
    pub firehose_service: Service,
    /// The admin API and metrics, for the cluster.
    pub admin_service: Service,
    /// The name under which consumers reach it.
    pub ingress: Option<Ingress>,
    /// Who may reach the pod.
    pub network_policy: Option<NetworkPolicy>,
    /// Whether the pod may be evicted.
    pub disruption_budget: PodDisruptionBudget,
    /// The relay itself.
    pub stateful_set: StatefulSet,
    /// Objects of kinds that the cluster may know.
    pub optional: Vec<OptionalChild>,
}

/// An object of a kind that the cluster may know.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionalChild {
    /// Its kind.
    pub kind: OptionalKind,
    /// The object.
    pub object: DynamicObject,
}

impl OptionalChild {
    /// The object `name` of `kind` that belongs to `relay`, with this spec.
    fn new(kind: OptionalKind, relay: &ValidRelay, name: String, spec: &serde_json::Value) -> Self {
        let mut object = DynamicObject::new(&name, &kind.resource()).data(serde_json::json!({ "spec": spec }));
        object.metadata = super::names::meta(relay, name);
        Self { kind, object }
    }

    /// Adds labels that the spec asks for; none of them is the operator's own.
    fn label(&mut self, labels: &BTreeMap<String, String>) {
        self.object.metadata.labels.get_or_insert_default().extend(labels.clone());
    }
}

/// Builds every object of `relay`, whose new pods have `memory`.
///
/// # Errors
///
/// When the configuration cannot be written as TOML, which no valid relay causes.
pub fn build(relay: &ValidRelay, memory: Resources) -> Result<Children, toml::ser::Error> {
    let mut profile = Profile::of(relay, memory)?;
    let config = profile.config.take();
    let fingerprint = fingerprint(relay, config.as_deref().unwrap_or_default());
    Ok(Children {
        service_account: service_account::build(relay),
        admin_secret: relay.admin_generated.then(|| secret::build(relay)),
        config_map: config.map(|config| config_map::build(relay, config)),
        dashboards: monitoring::dashboards(relay),
        firehose_service: service::firehose(relay, &profile),
        admin_service: service::admin(relay, &profile),
        ingress: ingress::build(relay, &profile),
        network_policy: network_policy::build(relay, &profile),
        disruption_budget: disruption_budget::build(relay),
        optional: route::build(relay, &profile)
            .into_iter()
            .chain(monitoring::optional(relay, &profile))
            .chain(postgres::build(relay))
            .collect(),
        stateful_set: stateful_set::build(relay, profile, &fingerprint, memory),
    })
}

/// Changes when the relay has to read its files again. It is keyed by the admin token, so that nobody can
/// try passwords of the database against it.
fn fingerprint(relay: &ValidRelay, config: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, relay.admin.value.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(config.as_bytes());
    if let Some(database) = &relay.database.url {
        context.update(database.value.expose().as_bytes());
    }
    if let Some(token) = &relay.sibling_token {
        context.update(token.value.expose().as_bytes());
    }
    HEXLOWER.encode(&context.sign().as_ref()[..16])
}

/// A short digest of what is no secret.
pub(super) fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&digest::digest(&digest::SHA256, bytes).as_ref()[..16])
}

#[cfg(test)]
mod templates;
#[cfg(test)]
mod tests;
