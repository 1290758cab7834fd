//! How a relay becomes reachable: kinds that come while the operator runs, and an API server that takes what is made of them.

use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{ApiResource, GroupVersionKind};

use super::*;
use crate::common::kinds;

const NAME: &str = "e2e-exposed";
/// Kind, group, version, plural and name of each optional object.
const OPTIONAL: [(&str, &str, &str, &str, &str); 3] = [
    ("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", NAME),
    ("Certificate", "cert-manager.io", "v1", "certificates", "e2e-exposed-tls"),
    ("DNSEndpoint", "externaldns.k8s.io", "v1alpha1", "dnsendpoints", NAME),
];

async fn wait_for(cluster: &Cluster, status: &str, reason: &str) -> Result<DynamicObject> {
    let relays = cluster.relays();
    until(&format!("Exposed is {status} {reason}"), || async {
        let relay = relays.get(NAME).await?;
        let is_so = condition_of(&relay, "Exposed").is_some_and(|found| {
            found["status"] == status
                && found["reason"] == reason
                && found["observedGeneration"].as_i64() == relay.metadata.generation
        });
        Ok(is_so.then_some(relay))
    })
    .await
}

async fn ask_for(cluster: &Cluster, access: Value) -> Result<()> {
    // As a whole: what is not there any more is not wanted any more.
    let change = json!([{ "op": "replace", "path": "/spec/access", "value": access }]);
    let change = Patch::<Value>::Json(serde_json::from_value(change)?);
    cluster.relays().patch(NAME, &PatchParams::default(), &change).await?;
    Ok(())
}

#[tokio::test]
async fn a_relay_is_exposed_by_kinds_that_the_cluster_learns_to_know() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let objects = |(kind, group, version, plural, _): (&str, &str, &str, &str, &str)| -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
    };
    for (kind, ..) in OPTIONAL {
        kinds::uninstall(&cluster.client, kind).await?;
    }
    let spec = json!({
        "hostname": "exposed.test",
        "memory": { "request": "128Mi", "limit": "256Mi" },
        "storage": { "size": "1Gi" },
        "access": {
            "httpRoute": { "parentRefs": [{ "name": "public" }] },
            "tls": { "clusterIssuer": "issuer" },
            "dns": { "externalDNS": true, "targets": ["203.0.113.7"] },
        },
    });
    cluster.relays().create(&PostParams::default(), &relay(NAME, &spec)).await?;
    wait_for(&cluster, "False", "CRDNotInstalled").await?;
    cluster.wait_for_condition(NAME, "WorkloadReady").await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    assert!(policies.get_opt(NAME).await?.is_some());

    for (kind, ..) in OPTIONAL {
        kinds::install(&cluster.client, kind).await?;
    }
    wait_for(&cluster, "False", "RouteNotAccepted").await?;
    // What their controllers would say, had this cluster any.
    let condition = |type_: &str| {
        json!({
            "type": type_, "status": "True", "reason": "Said", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let parent = json!({
        "parentRef": { "name": "public" }, "controllerName": "e2e.test/gateway", "conditions": [condition("Accepted")],
    });
    let said = [
        json!({ "parents": [parent] }),
        json!({ "conditions": [condition("Ready")] }),
        json!({ "observedGeneration": 1 }),
    ];
    for (optional, status) in OPTIONAL.into_iter().zip(said) {
        let (kind, .., name) = optional;
        let api = objects(optional);
        until(&format!("there is a {kind}"), || async { Ok(api.get_opt(name).await?) }).await?;
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await?;
    }
    let relay = wait_for(&cluster, "True", "Exposed").await?;
    assert_eq!(relay.data["status"]["endpoint"], "wss://exposed.test");

    ask_for(&cluster, json!({ "ingress": {}, "tls": {} })).await?;
    wait_for(&cluster, "False", "IngressNotReady").await?;
    let ingresses: Api<Ingress> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    assert!(ingresses.get_opt(NAME).await?.is_some());
    for optional in OPTIONAL {
        let (kind, .., name) = optional;
        let api = objects(optional);
        until(&format!("the {kind} is gone"), || async { Ok(api.get_opt(name).await?.is_none().then_some(())) })
            .await?;
    }
    ask_for(&cluster, json!({})).await?;
    wait_for(&cluster, "True", "ClusterOnly").await?;
    until("the Ingress is gone", || async { Ok(ingresses.get_opt(NAME).await?.is_none().then_some(())) }).await?;

    cluster.relays().delete(NAME, &DeleteParams::foreground()).await?;
    until("the relay is gone", || async { Ok(cluster.relays().get_opt(NAME).await?.is_none().then_some(())) }).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    claims.delete(&format!("data-{NAME}-0"), &DeleteParams::default()).await?;
    for (kind, ..) in OPTIONAL {
        kinds::uninstall(&cluster.client, kind).await?;
    }
    Ok(())
}
