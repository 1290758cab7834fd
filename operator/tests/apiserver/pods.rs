//! Pods that nobody runs: objects that say that they do, and one admin API that answers for all of their relays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use relay_operator::api::Relay;
use serde_json::{Value, json};

use crate::{ready, until};

/// The pods' address: of this machine's loopback, but nobody else's.
const ADDRESS: &str = "127.42.0.1";
const RECORDED: &str = include_str!("../contract/admin-status.json");

/// How the relays are.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    /// Nothing happens.
    Still,
    /// Events come, at a rate that is never quite the same.
    Busy,
}

/// Answers for every relay, and counts how often it was asked.
pub async fn serve(mood: Mood) -> Arc<AtomicU64> {
    let document: Value = serde_json::from_str(RECORDED).unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let router = Router::new().fallback(move || {
        let count = counter.fetch_add(1, Ordering::Relaxed);
        let mut document = document.clone();
        if mood == Mood::Busy {
            document["seq"]["last"] = json!(1000 + count);
            document["events"]["perSecond"] = json!(600 + count * 7919 % 100);
        }
        document["backfill"] = json!({"byState": {}, "jobs": []});
        async move { Json(document) }
    });
    let port = relay_operator::relay_admin::ADMIN_PORT;
    let listener = until("a free port", async || tokio::net::TcpListener::bind((ADDRESS, port)).await.ok()).await;
    tokio::spawn(async move { axum::serve(listener, router).await });
    asked
}

/// Waits for the StatefulSets of `count` Relays, lets their pods run, and waits until the operator calls all of them ready.
pub async fn run(client: &Client, namespace: &str, count: usize) {
    let stateful_sets = Api::<StatefulSet>::namespaced(client.clone(), namespace);
    let all = ListParams::default();
    let made = until("StatefulSets", async || {
        let made = stateful_sets.list(&all).await.unwrap().items;
        (made.len() == count).then_some(made)
    })
    .await;
    stream::iter(made).for_each_concurrent(8, |made| start(client, namespace, made)).await;
    let relays = Api::<Relay>::namespaced(client.clone(), namespace);
    until("Relays that are ready", async || {
        let relays = relays.list(&all).await.unwrap().items;
        relays.iter().all(|relay| ready(relay).is_some_and(|ready| ready.starts_with("True"))).then_some(())
    })
    .await;
}

/// What the controller of StatefulSets and a kubelet would do.
async fn start(client: &Client, namespace: &str, made: StatefulSet) {
    let name = made.name_any();
    let revision = format!("{name}-1");
    let spec = made.spec.unwrap();
    let template = spec.template;
    let mut labels = template.metadata.unwrap().labels.unwrap_or_default();
    labels.insert("controller-revision-hash".into(), revision.clone());
    let mut pod_spec = serde_json::to_value(template.spec.unwrap()).unwrap();
    let volumes = pod_spec["volumes"].as_array_mut().unwrap();
    for claim in spec.volume_claim_templates.unwrap_or_default() {
        let volume = claim.name_any();
        volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": format!("{volume}-{name}-0")}}));
    }
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": format!("{name}-0"), "labels": labels}, "spec": pod_spec,
    }))
    .unwrap();
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let status = json!({"status": {
        "phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}], "startTime": "2026-11-24T10:00:00Z",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{
            "name": "relay", "ready": true, "restartCount": 0, "image": "relay.test/relay:1", "imageID": "",
            "state": {"running": {"startedAt": "2026-11-24T10:00:00Z"}},
        }],
    }});
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let status = json!({"status": {
        "replicas": 1, "readyReplicas": 1, "observedGeneration": 1, "updateRevision": revision, "currentRevision": revision,
    }});
    let stateful_sets = Api::<StatefulSet>::namespaced(client.clone(), namespace);
    stateful_sets.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}
