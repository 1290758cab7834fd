//! What people see of a Relay: by kubectl alone, and by the operator's plugin of it.

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::common::deployed::Deployed;
use super::common::{Cluster, env, until};

/// kubectl, with the plugin in a folder of its PATH.
struct Kubectl {
    folder: TempDir,
    namespace: String,
}

impl Kubectl {
    fn of(cluster: &Cluster) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::os::unix::fs::symlink(env("E2E_OPERATOR")?, folder.path().join("kubectl-relay"))?;
        Ok(Self { folder, namespace: cluster.namespace.clone() })
    }

    /// What it answers, in the cluster's namespace of relays.
    async fn says(&self, args: &str) -> Result<String> {
        let path = format!("{}:{}", self.folder.path().display(), env("PATH")?);
        let mut command = Command::new("kubectl");
        command.args(args.split_whitespace()).args(["--namespace", &self.namespace]).env("PATH", path);
        let output = command.output().await.context("there is no kubectl")?;
        ensure!(output.status.success(), "kubectl {args}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The same for programs.
    async fn tells(&self, args: &str) -> Result<Value> {
        let text = self.says(&format!("{args} --output json")).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {args} answers {text}"))
    }
}

#[tokio::test]
async fn kubectl_knows_relays() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let (kubectl, name) = (Kubectl::of(&cluster)?, &cluster.name);
    kubectl.says(&format!("wait --for=condition=Ready relay/{name} --timeout=90s")).await?;
    for kind in ["relays", "rly", "atproto"] {
        let table = kubectl.says(&format!("get {kind}")).await?;
        let heading = table.lines().next().unwrap_or_default();
        for column in ["NAME", "READY", "REASON", "HOSTS", "EVENTS/S", "MEMORY", "AGE"] {
            ensure!(heading.split_whitespace().any(|word| word == column), "{kind} has no column {column}: {table}");
        }
        ensure!(table.contains(name), "{kind}: {table}");
    }
    let explained = kubectl.says("explain relay.spec.memory").await?;
    for text in ["softPercent", "Share of the limit", "maxRestartsPerHour", "Memory of the relay."] {
        ensure!(explained.contains(text), "{text} is not in {explained}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_describe_shows_the_events_of_a_relay() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let kubectl = Kubectl::of(&cluster)?;
    let spec = json!({
        "hostname": "described.test",
        "memory": { "request": "128Mi", "limit": "256Mi" },
        "storage": { "size": "1Gi" },
    });
    let relay = Deployed::create(&cluster, "e2e-described", spec).await?;
    relay.told("that it knows no host", |told| told.reason == "NoHosts").await?;
    let described = kubectl.says(&format!("describe relay {}", relay.name)).await?;
    let events = described.split("Events:").nth(1).context("describe has no Events")?;
    ensure!(events.contains("NoHosts") && events.contains("relay-operator"), "{described}");
    relay.delete().await
}

#[tokio::test]
async fn the_plugin_tells_of_a_relay_its_hosts_events_and_log() -> Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.wait_for_condition(&cluster.name, "Ready").await?;
    let (kubectl, name) = (Kubectl::of(&cluster)?, &cluster.name);

    let text = kubectl.says(&format!("relay status {name}")).await?;
    ensure!(text.starts_with(&format!("{}/{name}  Ready", cluster.namespace)), "{text}");
    ensure!(!text.contains('\u{1b}'), "colours, and no terminal: {text:?}");
    let status = kubectl.tells(&format!("relay status {name}")).await?;
    ensure!(status["status"]["hosts"]["connected"].as_u64().is_some_and(|hosts| hosts > 0), "{status}");
    ensure!(kubectl.says("relay status").await?.contains(name), "it is in the list");

    // Through the API server and the kubelet, with the token of the Secret.
    let hosts = kubectl.tells(&format!("relay hosts {name} --state active")).await?;
    let listed: Vec<_> =
        hosts["hosts"].as_array().context("no list")?.iter().map(|host| host["host"].as_str()).collect();
    ensure!(listed.len() == cluster.pds_urls.len(), "the PDSes are {:?}, its hosts {hosts}", cluster.pds_urls);
    for url in &cluster.pds_urls {
        let host = url.trim_start_matches("http://");
        ensure!(listed.contains(&Some(host)), "{host} is not among {listed:?}");
    }
    let table = kubectl.says(&format!("relay hosts {name} --limit 1")).await?;
    ensure!(table.contains("--page shows more."), "{table}");

    let events = kubectl.says(&format!("relay events {name}")).await?;
    ensure!(events.contains(&format!("Relay/{name}")) || events.starts_with("No Event"), "{events}");
    let log = kubectl.says(&format!("relay logs {name} --tail 3")).await?;
    ensure!(log.lines().count() == 3, "three lines: {log}");
    Ok(())
}

#[tokio::test]
async fn drain_restarts_a_relay_in_good_order() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let kubectl = Kubectl::of(&cluster)?;
    let spec = json!({
        "hostname": "drained.test",
        "memory": { "request": "128Mi", "limit": "256Mi" },
        "storage": { "size": "1Gi" },
    });
    let relay = Deployed::create(&cluster, "e2e-drained", spec).await?;
    cluster.wait_for_condition(relay.name, "WorkloadReady").await?;
    let before = relay.pod().await?.uid().context("a pod has a uid")?;

    let told = kubectl.tells(&format!("relay drain {} --wait --timeout 120", relay.name)).await?;
    let after = relay.pod().await?.uid().context("a pod has a uid")?;
    ensure!(told["oldPod"] == before && told["newPod"] == after && after != before, "{told}, and the pod is {after}");
    // It was told to stop: that is no failure.
    let end = until("the end is counted", || async {
        let end = relay.last_end().await?;
        Ok(end.is_object().then_some(end))
    })
    .await?;
    ensure!(end["cause"] == "Stopped", "{end}");
    relay.delete().await
}
