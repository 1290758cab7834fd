//! A Relay of a test's own on the cluster: made, looked at from all sides, and taken away.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use super::clients::Place;
use super::{Cluster, condition_of, relay_resource, until};

/// Where a leaking relay listens for what it should do.
const FAULTS_PORT: u16 = 3999;

/// A Relay, whose name starts with `e2e-`.
pub struct Deployed<'a> {
    cluster: &'a Cluster,
    pub name: &'static str,
    http: reqwest::Client,
}

impl<'a> Deployed<'a> {
    /// One that may be there or not.
    pub fn named(cluster: &'a Cluster, name: &'static str) -> Result<Deployed<'a>> {
        Ok(Deployed { cluster, name, http: reqwest::Client::builder().no_proxy().build()? })
    }

    /// Makes it, in place of what a run before this has left.
    pub async fn create(cluster: &'a Cluster, name: &'static str, spec: Value) -> Result<Deployed<'a>> {
        let deployed = Deployed::named(cluster, name)?;
        deployed.delete().await?;
        let relay = DynamicObject::new(name, &relay_resource()).data(json!({ "spec": spec }));
        cluster.relays().create(&PostParams::default(), &relay).await?;
        Ok(deployed)
    }

    /// Takes it away, with its volume.
    pub async fn delete(&self) -> Result<()> {
        let (relays, claim) = (self.cluster.relays(), format!("data-{}-0", self.name));
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        if relays.get_opt(self.name).await?.is_some() {
            relays.delete(self.name, &DeleteParams::foreground()).await?;
        }
        if claims.get_opt(&claim).await?.is_some() {
            claims.delete(&claim, &DeleteParams::default()).await?;
        }
        until(&format!("{} is gone", self.name), || async {
            let is_gone = relays.get_opt(self.name).await?.is_none()
                && claims.get_opt(&claim).await?.is_none()
                && self.cluster.pods().get_opt(&self.pod_name()).await?.is_none();
            Ok(is_gone.then_some(()))
        })
        .await
    }

    pub async fn relay(&self) -> Result<DynamicObject> {
        Ok(self.cluster.relays().get(self.name).await?)
    }

    pub async fn pod(&self) -> Result<Pod> {
        Ok(self.cluster.pods().get(&self.pod_name()).await?)
    }

    /// The state of the relay's container, the pod's first.
    pub async fn container(&self) -> Result<ContainerStatus> {
        let statuses = self.pod().await?.status.and_then(|status| status.container_statuses).unwrap_or_default();
        statuses.into_iter().find(|status| status.name == "relay").context("the pod has no container named relay yet")
    }

    /// The memory limit that the container has, not the one that it should have.
    pub async fn limit(&self) -> Result<String> {
        let resources = self.container().await?.resources.context("the container's resources are not told")?;
        let limit = resources.limits.unwrap_or_default().remove("memory").context("it has no memory limit")?;
        Ok(limit.0)
    }

    /// Where its firehose is, past the Services, together with the PLC directory that its accounts are in.
    pub async fn place(&self, plc: &str) -> Result<Place> {
        Ok(Place { relay: format!("http://{}:3000", self.ip().await?), plc: plc.to_owned() })
    }

    async fn ip(&self) -> Result<String> {
        self.pod().await?.status.and_then(|status| status.pod_ip).context("the pod has no address")
    }

    /// The relay's own status document.
    pub async fn status(&self) -> Result<Value> {
        let url = format!("http://{}:3001/admin/status", self.ip().await?);
        let token = self.cluster.admin_token_of(self.name).await?;
        let request = self.http.get(url).bearer_auth(token).timeout(Duration::from_secs(10));
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// A number in that document.
    pub async fn figure(&self, path: &str) -> Result<u64> {
        let status = self.status().await?;
        status.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path} in {status}"))
    }

    /// Waits until it reads from so many hosts.
    pub async fn reads_from(&self, hosts: u64) -> Result<()> {
        until(&format!("{} reads from {hosts} hosts", self.name), || async {
            Ok((self.figure("/hosts/connected").await? >= hosts).then_some(()))
        })
        .await
    }

    /// Has a leaking relay do something.
    pub async fn fault(&self, what: &str) -> Result<()> {
        let url = format!("http://{}:{FAULTS_PORT}/{what}", self.ip().await?);
        let answer = self.http.post(&url).timeout(Duration::from_secs(60)).send().await?;
        ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
        Ok(())
    }

    /// What the status of the Relay counts of its ends, by cause; absent is none.
    pub async fn restarts(&self, cause: &str) -> Result<u64> {
        Ok(self.relay().await?.data["status"]["restarts"][cause].as_u64().unwrap_or(0))
    }

    /// The newest of the ends that the status tells of.
    pub async fn last_end(&self) -> Result<Value> {
        Ok(self.relay().await?.data["status"]["restarts"]["last"][0].clone())
    }

    pub async fn condition(&self, kind: &str) -> Result<Value> {
        condition_of(&self.relay().await?, kind).cloned().with_context(|| format!("no condition {kind}"))
    }

    /// Reasons and notes of the Events of the Relay.
    pub async fn events(&self) -> Result<Vec<Told>> {
        let events: Api<Event> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let is_ours = |event: &Event| {
            let of = event.regarding.as_ref();
            of.is_some_and(|of| of.kind.as_deref() == Some("Relay") && of.name.as_deref() == Some(self.name))
        };
        let told = |event: Event| Told {
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            note: event.note.unwrap_or_default(),
        };
        Ok(events.list(&ListParams::default()).await?.items.into_iter().filter(is_ours).map(told).collect())
    }

    /// Waits for an Event, and gives it.
    pub async fn told(&self, what: &str, is_it: impl Fn(&Told) -> bool) -> Result<Told> {
        until(&format!("an Event of {}: {what}", self.name), || async {
            let told = self.events().await?;
            let found = told.iter().find(|told| is_it(told)).cloned();
            Ok(Some(found.with_context(|| format!("there are {told:?}"))?))
        })
        .await
    }

    /// Runs a test; where it fails, its error tells what became of the relay too.
    pub async fn telling(&self, test: impl Future<Output = Result<()>>) -> Result<()> {
        match test.await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error:#}\n{}", self.story().await),
        }
    }

    /// All that tells what became of it, for a test that fails.
    pub async fn story(&self) -> String {
        let container = self.container().await.map(|status| {
            format!("restarts {}, state {:?}, before {:?}", status.restart_count, status.state, status.last_state)
        });
        let status = self.relay().await.map(|relay| relay.data["status"].to_string());
        let memory = self.status().await.map(|status| status["memory"].to_string());
        let of_relay = Some("relay".to_owned());
        let mut log = kube::api::LogParams { tail_lines: Some(30), container: of_relay, ..Default::default() };
        let now = self.cluster.pods().logs(&self.pod_name(), &log).await;
        log.previous = true;
        let before = self.cluster.pods().logs(&self.pod_name(), &log).await;
        format!(
            "{}:\n  container: {container:?}\n  status: {status:?}\n  events: {:?}\n  memory: {memory:?}\n  \
             log: {}\n  log before: {}",
            self.name,
            self.events().await,
            now.unwrap_or_else(|error| error.to_string()),
            before.unwrap_or_else(|error| error.to_string()),
        )
    }

    fn pod_name(&self) -> String {
        format!("{}-0", self.name)
    }

    /// Which pod it is, so that another one is noticed.
    pub async fn pod_uid(&self) -> Result<Option<String>> {
        Ok(self.pod().await?.uid())
    }
}

/// An Event.
#[derive(Clone)]
pub struct Told {
    pub kind: String,
    pub reason: String,
    pub note: String,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.reason, self.note)
    }
}

/// How a container ended: its reason, exit code and termination message, if it has.
pub fn ended(state: Option<&ContainerState>) -> Option<(String, i32, String)> {
    let ended = state?.terminated.as_ref()?;
    Some((ended.reason.clone().unwrap_or_default(), ended.exit_code, ended.message.clone().unwrap_or_default()))
}
