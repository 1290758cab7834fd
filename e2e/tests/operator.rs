//! The operator on a real API server: what it makes, what it leaves alone, what it refuses, what it takes away.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "operator/access.rs"]
mod access;
mod common;
#[path = "operator/indigo.rs"]
mod indigo;
#[path = "operator/kubectl.rs"]
mod kubectl;
#[path = "operator/monitoring.rs"]
mod monitoring;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::deployed::Deployed;
use common::fake_directory::{Asked, Directory, did};
use common::{Cluster, condition_of, relay_resource, until, until_within};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
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
    cluster.relays().patch(&cluster.name, &PatchParams::default(), &Patch::Merge(&touch)).await?;
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
        (
            "a maximum below the limit",
            json!({ "hostname": "relay.example.com", "memory": { "limit": "2Gi", "max": "1Gi" } }),
        ),
        (
            "a soft mark above the hard one",
            json!({ "hostname": "relay.example.com", "memory": { "softPercent": 90, "hardPercent": 80 } }),
        ),
        ("too short a time to stop", json!({ "hostname": "relay.example.com", "terminationGracePeriodSeconds": 5 })),
        ("a window that is none", json!({ "hostname": "relay.example.com", "update": { "window": "at night" } })),
        (
            "sources without collections",
            json!({
                "hostname": "relay.example.com", "backfill": { "sources": [{ "url": "https://bsky.network" }] },
            }),
        ),
        (
            "a source twice",
            json!({
                "hostname": "relay.example.com", "backfill": {
                    "sources": [{ "url": "https://bsky.network" }, { "url": "https://bsky.network" }],
                    "collections": { "all": true },
                },
            }),
        ),
        (
            "a collection that is none",
            json!({
                "hostname": "relay.example.com", "backfill": {
                    "sources": [{ "url": "https://bsky.network" }], "collections": { "names": ["app.bsky"] },
                },
            }),
        ),
        (
            "an Ingress and an HTTPRoute",
            json!({
                "hostname": "relay.example.com",
                "access": { "ingress": {}, "httpRoute": { "parentRefs": [{ "name": "public" }] } },
            }),
        ),
        (
            "a public address for the admin API",
            json!({
                "hostname": "relay.example.com", "access": { "hostNetwork": { "adminAddress": "203.0.113.7" } },
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

const LIKES: &str = "com.example.like";
const POSTS: &str = "com.example.post";

/// A relay with a backfill from `directory`, and what can be asked of it.
struct Filling<'a> {
    cluster: &'a Cluster,
    name: &'static str,
    http: reqwest::Client,
}

impl Filling<'_> {
    /// Declares these collections, of the one source.
    fn spec(directory: &Directory, collections: &[&str]) -> Value {
        json!({
            "hostname": "filling.test",
            "memory": { "request": "128Mi", "limit": "256Mi" },
            "storage": { "size": "1Gi" },
            "upstream": { "allowInsecureHosts": true },
            "backfill": {
                "sources": [{ "url": directory.url, "requestsPerSecond": 100 }],
                "collections": { "names": collections },
            },
        })
    }

    async fn declare(&self, change: Value) -> Result<()> {
        let change = json!({ "spec": change });
        self.cluster.relays().patch(self.name, &PatchParams::default(), &Patch::Merge(&change)).await?;
        Ok(())
    }

    /// The address of the pod, which changes with it.
    async fn pod_ip(&self) -> Result<String> {
        let pod = self.cluster.pods().get(&format!("{}-0", self.name)).await?;
        pod.status.and_then(|status| status.pod_ip).context("the pod has no address")
    }

    /// Names of the relay's jobs.
    async fn jobs(&self) -> Result<Vec<String>> {
        let url = format!("http://{}:3001/admin/backfill/jobs", self.pod_ip().await?);
        let token = self.cluster.admin_token_of(self.name).await?;
        let answer: Value = self.http.get(url).bearer_auth(token).send().await?.error_for_status()?.json().await?;
        let jobs = answer["jobs"].as_array().context("no list of jobs")?;
        Ok(jobs.iter().filter_map(|job| job["name"].as_str()).map(str::to_owned).collect())
    }

    /// The accounts that the relay lists for a collection.
    async fn listed(&self, collection: &str) -> Result<Vec<String>> {
        let url = format!("http://{}:3000/xrpc/com.atproto.sync.listReposByCollection", self.pod_ip().await?);
        let query = [("collection", collection), ("limit", "2000")];
        let answer: Value = self.http.get(url).query(&query).send().await?.error_for_status()?.json().await?;
        let repos = answer["repos"].as_array().context("no list of repositories")?;
        Ok(repos.iter().filter_map(|repo| repo["did"].as_str()).map(str::to_owned).collect())
    }

    /// Notes of the Events of this Relay with a reason.
    async fn told(&self, reason: &str) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let is_ours = |event: &Event| {
            let name = event.regarding.as_ref().and_then(|object| object.name.as_deref());
            name == Some(self.name) && event.reason.as_deref() == Some(reason)
        };
        let found = events.list(&ListParams::default()).await?.items.into_iter().filter(is_ours);
        Ok(found.filter_map(|event| event.note).collect())
    }
}

#[tokio::test]
async fn a_declared_backfill_goes_on_after_the_pod_was_killed_and_follows_the_declaration() -> Result<()> {
    const ACCOUNTS: usize = 95;
    const PAGES: usize = 10;
    let cluster = Cluster::connect().await?;
    let directory = Directory::start(&cluster.node_ip, ACCOUNTS).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let filling = Filling { cluster: &cluster, name: "e2e-filling", http };
    let (relays, name) = (cluster.relays(), filling.name);
    relays.create(&PostParams::default(), &relay(name, &Filling::spec(&directory, &[LIKES]))).await?;

    // Four pages; the fifth is asked for and not answered.
    directory.let_pages(4);
    let fifth = Asked { collection: LIKES.into(), cursor: Some(did(39)) };
    until("the fifth page is asked for", || async { Ok(directory.asked().contains(&fifth).then_some(())) }).await?;
    until("the job is told of", || async {
        let relay = relays.get(name).await?;
        let is_told = condition_of(&relay, "BackfillComplete").is_some_and(|found| found["status"] == "False")
            && relay.data["status"]["backfill"]["running"] == 1;
        Ok(is_told.then_some(()))
    })
    .await?;
    assert_eq!(filling.told("BackfillResumed").await?, Vec::<String>::new());

    let asked_before = directory.asked().len();
    let pod = format!("{name}-0");
    let killed = cluster.pods().get(&pod).await?.uid();
    cluster.pods().delete(&pod, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
    // Until it is ready, the process of the killed one may still run, and would take the pages.
    until("another pod is ready", || async {
        let other = cluster.pods().get_opt(&pod).await?.filter(|pod| pod.uid() != killed);
        let conditions = other.and_then(|pod| pod.status?.conditions).unwrap_or_default();
        let is_ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Ok(is_ready.then_some(()))
    })
    .await?;
    directory.let_pages(2 * PAGES); // one is lost with the pod that asked for it
    cluster.wait_for_condition(name, "BackfillComplete").await?;

    let told = until("the resume is told", || async {
        let told = filling.told("BackfillResumed").await?;
        Ok((!told.is_empty()).then_some(told))
    })
    .await?;
    assert_eq!(told.len(), 1, "once: {told:?}");
    for part in [LIKES, &did(39)] {
        assert!(told[0].contains(part), "{part} is where it went on: {told:?}");
    }
    let asked = directory.asked();
    assert_eq!(asked[asked_before], fifth, "it went on where it was");
    assert_eq!(asked.len(), PAGES + 1, "no page but the lost one was asked for twice: {asked:?}");
    let completed = until("the end is told", || async {
        let told = filling.told("BackfillCompleted").await?;
        Ok((!told.is_empty()).then_some(told))
    })
    .await?;
    assert_eq!(completed.len(), 1, "once: {completed:?}");
    let all: Vec<String> = (0..ACCOUNTS).map(did).collect();
    assert_eq!(filling.listed(LIKES).await?, all);

    filling.declare(json!({ "backfill": { "collections": { "names": [LIKES, POSTS] } } })).await?;
    cluster.wait_for_condition(name, "BackfillComplete").await?;
    assert_eq!(filling.listed(POSTS).await?, all);
    let likes = directory.asked().into_iter().filter(|asked| asked.collection == LIKES).count();
    assert_eq!(likes, PAGES + 1, "what was done is not done again");

    let jobs = filling.jobs().await?;
    ensure!(jobs.len() == 1 && jobs[0].starts_with("import-"), "the one job: {jobs:?}");
    filling.declare(json!({ "backfill": null })).await?;
    until("the job is gone", || async { Ok(filling.jobs().await?.is_empty().then_some(())) }).await?;
    assert_eq!(filling.listed(LIKES).await?, all, "what it has found stays");

    relays.delete(name, &DeleteParams::foreground()).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    claims.delete(&format!("data-{name}-0"), &DeleteParams::default()).await?;
    until("the relay is gone", || async { Ok(relays.get_opt(name).await?.is_none().then_some(())) }).await
}

/// The image of a relay's pod, and the ConfigMap with its configuration file.
async fn runs(relay: &Deployed<'_>) -> Result<(String, String)> {
    let mut spec = relay.pod().await?.spec.context("the pod has no spec")?;
    let image = spec.containers.remove(0).image.context("the container has no image")?;
    let volumes = spec.volumes.unwrap_or_default();
    let config = volumes.into_iter().find_map(|volume| volume.config_map).context("the pod has no ConfigMap")?;
    Ok((image, config.name))
}

/// Longest time of a new pod in which it is to prove itself, here.
const PROVES_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn an_update_proves_itself_and_one_that_does_not_is_rolled_back() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let (relays, name) = (cluster.relays(), "e2e-updating");
    let host = cluster.pds_urls[0].strip_prefix("http://").context("the PDS has no plain address")?;
    let spec = json!({
        "hostname": "updating.test",
        "memory": { "request": "128Mi", "limit": "256Mi" },
        "storage": { "size": "1Gi" },
        "plcURL": cluster.place.plc,
        "upstream": { "hosts": [host], "allowInsecureHosts": true },
        "update": { "gate": { "within": format!("{}s", PROVES_WITHIN.as_secs()) } },
    });
    let relay = Deployed::create(&cluster, name, spec).await?;
    let change = |change: Value| {
        let (relays, change) = (relays.clone(), Patch::Merge(json!({ "spec": change })));
        async move { relays.patch(name, &PatchParams::default(), &change).await }
    };
    let phase = |relay: &DynamicObject| relay.data["status"]["update"]["phase"].as_str().unwrap_or("none").to_owned();
    relay.reads_from(1).await?;
    cluster.wait_for_condition(name, "Updated").await?;
    until("it is noted what it delivers", || async {
        let before = relay.relay().await?.data["status"]["update"]["before"]["hostsConnected"].as_f64();
        Ok((before >= Some(1.0)).then_some(()))
    })
    .await?;

    let (first, config) = (relay.pod_uid().await?, runs(&relay).await?.1);
    change(json!({ "firehose": { "replayWindow": "48h" } })).await?;
    cluster.wait_for_condition(name, "Updated").await?;
    ensure!(relay.pod_uid().await? != first, "the pod was not replaced");
    let good = runs(&relay).await?;
    ensure!(good.1 != config, "the new pod has the old configuration");
    for reason in ["UpdateStarted", "UpdateProved"] {
        relay.told(reason, |told| told.reason == reason).await?;
    }
    ensure!(relay.restarts("stopped").await? == 1, "{}", relay.story().await);

    // An image that no registry has, and another configuration with it.
    let image = json!({ "repository": "registry.invalid/relay", "tag": "none" });
    change(json!({ "image": image, "firehose": { "replayWindow": "24h" } })).await?;
    until("the bad one is tried", || async { Ok(runs(&relay).await?.0.starts_with("registry.invalid").then_some(())) })
        .await?;
    let patience = PROVES_WITHIN + common::PATIENCE;
    let rolled_back = until_within(patience, "it is rolled back", || async {
        let relay = relay.relay().await?;
        Ok((phase(&relay) == "RolledBack").then_some(relay))
    })
    .await;
    let Ok(rolled_back) = rolled_back else { anyhow::bail!("{}", relay.story().await) };
    let updated = condition_of(&rolled_back, "Updated").context("no condition Updated")?;
    ensure!(updated["status"] == "False" && updated["reason"] == "RolledBack", "{updated}");
    ensure!(runs(&relay).await? == good, "the pod has another image or configuration than the one that was good");
    relay.told("UpdateRolledBack", |told| told.kind == "Warning" && told.reason == "UpdateRolledBack").await?;
    relay.reads_from(1).await?;
    cluster.wait_for_condition(name, "Ready").await?;

    // It stays so until the spec has another pod.
    let back = relay.pod_uid().await?;
    change(json!({ "hostname": "renamed.test" })).await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    ensure!(relay.pod_uid().await? == back && phase(&relay.relay().await?) == "RolledBack", "it was tried again");
    change(json!({ "image": null, "firehose": { "replayWindow": "12h" } })).await?;
    cluster.wait_for_condition(name, "Updated").await?;

    // A restart that is asked for is made once.
    let before = relay.pod_uid().await?;
    let ask =
        json!({ "metadata": { "annotations": { "relay.waow.tech/restart-requested-at": "2026-11-28T10:00:00Z" } } });
    relays.patch(name, &PatchParams::default(), &Patch::Merge(&ask)).await?;
    until("another pod runs", || async { Ok((relay.pod_uid().await? != before).then_some(())) }).await?;
    let after = relay.pod_uid().await?;
    until("it is up to date", || async { Ok((phase(&relay.relay().await?) == "UpToDate").then_some(())) }).await?;
    ensure!(relay.pod_uid().await? == after, "it was restarted twice");
    relay.delete().await
}
