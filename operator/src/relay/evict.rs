//! A pod is told to go: this very pod, and not what has its name meanwhile.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::Context;
use super::validate::ValidRelay;

/// Asks for the eviction of the pod: a PodDisruptionBudget may say no.
pub(super) async fn evict(context: &Context, relay: &ValidRelay, pod: &str, uid: &str) -> kube::Result<()> {
    // By hand: kube's own eviction has its options under a name that the API server does not know.
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": relay.namespace},
        "deleteOptions": {"preconditions": {"uid": uid}},
    });
    let pods = Api::<Pod>::namespaced(context.once.clone(), &relay.namespace);
    let params = PostParams::default();
    let evicted = pods.create_subresource::<_, Value>("eviction", pod, &params, &eviction).await;
    context.metrics.wrote("Pod", "evict");
    evicted.map(drop)
}

/// Deletes the pod, which nobody can refuse: for one that does not work anyway.
pub(super) async fn delete(context: &Context, relay: &ValidRelay, pod: &str, uid: &str) -> kube::Result<()> {
    let this_one = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
    let pods = Api::<Pod>::namespaced(context.once.clone(), &relay.namespace);
    let deleted = pods.delete(pod, &DeleteParams::default().preconditions(this_one)).await;
    context.metrics.wrote("Pod", "delete");
    deleted.map(drop)
}
