//! The operator on a real API server: what it makes, what it leaves alone, what it refuses, what it takes away.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use common::{Cluster, condition_of, relay_resource, until};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Kind and name of each child of a relay, with its resource version.
async fn children(client: &Client, namespace: &str, relay: &str) -> Result<BTreeMap<String, String>> {
    async fn list<K>(client: &Client, namespace: &str, relay: &str) -> Result<Vec<(String, String)>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Metadata<Ty = Meta> + Clone + std::fmt::Debug,
        K: for<'de> serde::Deserialize<'de>
            + kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        let api: Api<K> = Api::namespaced(client.clone(), namespace);
        let objects = api.list(&ListParams::default().labels(&format!("app.kubernetes.io/instance={relay}"))).await?;
        let named = |object: &K| {
            let meta = object.metadata();
            (
                format!("{}/{}", <K as Resource>::KIND, meta.name.clone().unwrap()),
                meta.resource_version.clone().unwrap(),
            )
        };
        Ok(objects.items.iter().map(named).collect())
    }
    let mut all = BTreeMap::new();
    all.extend(list::<ServiceAccount>(client, namespace, relay).await?);
    all.extend(list::<Secret>(client, namespace, relay).await?);
    all.extend(list::<ConfigMap>(client, namespace, relay).await?);
    all.extend(list::<Service>(client, namespace, relay).await?);
    all.extend(list::<StatefulSet>(client, namespace, relay).await?);
    Ok(all)
}

fn relay(name: &str, spec: &Value) -> DynamicObject {
    DynamicObject::new(name, &relay_resource()).data(json!({ "spec": spec }))
}

#[tokio::test]
async fn what_is_as_it_should_be_is_not_written_again() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.wait_for_condition(&cluster.name, "Ready").await?;
    let before = children(&cluster.client, &cluster.namespace, &cluster.name).await?;
    assert!(before.len() >= 6, "the children of a relay: {before:?}");
    // Touching the Relay makes the operator reconcile now; its own interval makes it reconcile again meanwhile.
    let touch = json!({ "metadata": { "annotations": { "e2e/touched": format!("{:?}", std::time::Instant::now()) } } });
    let patch = kube::api::Patch::Merge(&touch);
    cluster.relays().patch(&cluster.name, &kube::api::PatchParams::default(), &patch).await?;
    tokio::time::sleep(Duration::from_secs(40)).await;
    let after = children(&cluster.client, &cluster.namespace, &cluster.name).await?;
    // The controllers of Kubernetes may write a StatefulSet's status; the operator must not have written anything else.
    assert_eq!(before, after);
    Ok(())
}

#[tokio::test]
async fn what_somebody_changes_or_removes_comes_back() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.wait_for_condition(&cluster.name, "Ready").await?;
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let admin = format!("{}-admin", cluster.name);
    let removed = services.get(&admin).await?.uid();
    services.delete(&admin, &DeleteParams::default()).await?;
    until("the removed Service is back", || async {
        let service = services.get_opt(&admin).await?;
        Ok(service.filter(|service| service.uid() != removed))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_schema_refuses_what_makes_no_sense() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let cases = [
        ("no hostname", json!({})),
        ("a hostname that is none", json!({ "hostname": "not a host" })),
        ("an unknown mode", json!({ "hostname": "relay.example.com", "validation": { "mode": "Strict" } })),
        (
            "a request above the limit",
            json!({
                "hostname": "relay.example.com", "memory": { "request": "2Gi", "limit": "1Gi" },
            }),
        ),
        ("a duration that is none", json!({ "hostname": "relay.example.com", "firehose": { "replayWindow": "soon" } })),
    ];
    for (what, spec) in cases {
        let refused = cluster.relays().create(&dry_run, &relay("refused", &spec)).await;
        assert!(refused.is_err(), "{what} was accepted: {spec}");
    }
    let minimal = relay("accepted", &json!({ "hostname": "relay.example.com" }));
    cluster.relays().create(&dry_run, &minimal).await?;
    Ok(())
}

#[tokio::test]
async fn a_relay_without_hosts_says_so_and_goes_without_a_trace() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let (relays, name) = (cluster.relays(), "e2e-extra");
    let spec = json!({
        "hostname": "extra.test",
        "memory": { "request": "128Mi", "limit": "256Mi" },
        "storage": { "size": "1Gi" },
    });
    relays.create(&PostParams::default(), &relay(name, &spec)).await?;
    let running = cluster.wait_for_condition(name, "WorkloadReady").await?;
    assert_eq!(condition_of(&running, "Ready").unwrap()["status"], "False", "{:?}", running.data["status"]);
    until("Delivering says why not", || async {
        let relay = relays.get(name).await?;
        Ok(condition_of(&relay, "Delivering").filter(|found| found["reason"] == "NoHosts").map(|_| ()))
    })
    .await?;

    relays.delete(name, &DeleteParams::foreground()).await?;
    until("all children are gone", || async {
        let left = children(&cluster.client, &cluster.namespace, name).await?;
        Ok((relays.get_opt(name).await?.is_none() && left.is_empty()).then_some(()))
    })
    .await?;
    Ok(())
}
