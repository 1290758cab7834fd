//! Names and labels of a relay's objects.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::validate::ValidRelay;

/// Name under which the operator owns fields, labels objects and reports events.
pub const OPERATOR: &str = "relay-operator";
/// Label by which the operator finds its objects.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label with the name of the Relay that an object is for.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label with what an object is.
pub const NAME: &str = "app.kubernetes.io/name";
/// Bytes of the digest in a ConfigMap's name: a relay has some ten of them at once.
const CONFIG_DIGEST_BYTES: usize = 5;

/// The StatefulSet of the Relay `relay`.
#[must_use]
pub fn stateful_set(relay: &str) -> String {
    relay.to_owned()
}

/// The one pod of the StatefulSet.
#[must_use]
pub fn pod(relay: &str) -> String {
    format!("{relay}-0")
}

/// The Service of the firehose.
#[must_use]
pub fn firehose_service(relay: &str) -> String {
    relay.to_owned()
}

/// The Ingress or the HTTPRoute that leads there, and the DNSEndpoint that names it.
#[must_use]
pub fn ingress(relay: &str) -> String {
    relay.to_owned()
}

/// The Certificate of the hostname, and the Secret that it makes.
#[must_use]
pub fn tls(relay: &str) -> String {
    format!("{relay}-tls")
}

/// The NetworkPolicy of the pod.
#[must_use]
pub fn network_policy(relay: &str) -> String {
    relay.to_owned()
}

/// The Service of the admin API, and the Secret with its token.
#[must_use]
pub fn admin(relay: &str) -> String {
    format!("{relay}-admin")
}

/// The ConfigMap with the configuration file `config`. Another file is another ConfigMap: a pod keeps the file that its
/// template was made with, also when it restarts, and a template that is put back has its own again.
pub(super) fn config_map(relay: &str, config: &str) -> String {
    let digest = digest::digest(&digest::SHA256, config.as_bytes());
    format!("{relay}-config-{}", HEXLOWER.encode(&digest.as_ref()[..CONFIG_DIGEST_BYTES]))
}

/// The claim of the pod's volume, as the StatefulSet names it.
#[must_use]
pub fn claim(relay: &str) -> String {
    format!("data-{}", pod(relay))
}

/// The PostgreSQL that CloudNativePG makes.
#[must_use]
pub fn database(relay: &str) -> String {
    format!("{relay}-db")
}

/// The Secret in which CloudNativePG tells its URL.
#[must_use]
pub fn database_secret(relay: &str) -> String {
    format!("{}-app", database(relay))
}

/// The ServiceMonitor of the relay's metrics.
#[must_use]
pub fn service_monitor(relay: &str) -> String {
    relay.to_owned()
}

/// The PrometheusRule with the relay's alerts.
#[must_use]
pub fn prometheus_rule(relay: &str) -> String {
    relay.to_owned()
}

/// The ConfigMap with the relay's dashboard.
#[must_use]
pub fn dashboard(relay: &str) -> String {
    format!("{relay}-dashboard")
}

/// The PodDisruptionBudget of the pod.
#[must_use]
pub fn disruption_budget(relay: &str) -> String {
    relay.to_owned()
}

/// The ServiceAccount of the pod.
#[must_use]
pub fn service_account(relay: &str) -> String {
    relay.to_owned()
}

/// The labels of every object of a relay, and of its pod.
pub(super) fn labels(relay: &str) -> BTreeMap<String, String> {
    let mut labels = selector_labels(relay);
    labels.insert(MANAGED_BY.into(), OPERATOR.into());
    labels
}

/// The labels by which Services and the StatefulSet find the pod. They can never change.
pub(super) fn selector_labels(relay: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(NAME.into(), "relay".into()), (INSTANCE.into(), relay.into())])
}

pub(super) fn selector(relay: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selector_labels(relay)), ..LabelSelector::default() }
}

/// Metadata of an object named `name` that belongs to `relay` and goes with it.
pub(super) fn meta(relay: &ValidRelay, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(relay.namespace.clone()),
        labels: Some(labels(&relay.name)),
        owner_references: Some(vec![relay.owner.clone()]),
        ..ObjectMeta::default()
    }
}
