//! What the suites share: the cluster or a relay of their own, the PDSes, and clients that were not written here.

#![allow(clippy::unwrap_used, dead_code, missing_docs)] // each suite uses its part

pub mod clients;
pub mod crowd;
pub mod deployed;
pub mod directory;
pub mod fake_directory;
pub mod images;
pub mod kinds;
pub mod names;
pub mod network;
pub mod pds;
pub mod prometheus;
pub mod relay;
pub mod world;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clients::Place;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, Config};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long anything may take that usually takes seconds.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The cluster that `make up` starts, with the relay of the sample in it.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    pub name: String,
    pub place: Place,
    pub pds_urls: Vec<String>,
    /// The node, which is where a service of a test can be reached by pods.
    pub node_ip: String,
}

pub fn env(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; run the suites with `make e2e`"))
}

/// The sample that `make up` applies.
pub fn sample() -> Result<DynamicObject> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/samples/relay.yaml");
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let value = <Value as serde::Deserialize>::deserialize(document)?;
        if value["kind"] == "Relay" {
            return Ok(serde_json::from_value(value)?);
        }
    }
    bail!("{path} holds no Relay")
}

pub fn relay_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("relay.waow.tech", "v1alpha1", "Relay"), "relays")
}

impl Cluster {
    pub async fn connect() -> Result<Cluster> {
        // kube finds the crypto provider of the process; there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(Config::infer().await?)?;
        let sample = sample()?;
        Ok(Cluster {
            client,
            namespace: sample.metadata.namespace.context("the sample names no namespace")?,
            name: sample.metadata.name.context("the sample has no name")?,
            place: Place { relay: env("E2E_RELAY_URL")?, plc: env("E2E_PLC_URL")? },
            pds_urls: env("E2E_PDS_URLS")?.split_whitespace().map(str::to_owned).collect(),
            node_ip: env("E2E_NODE_IP")?,
        })
    }

    pub fn relays(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &relay_resource())
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Name of the relay's only pod.
    pub fn pod_name(&self) -> String {
        format!("{}-0", self.name)
    }

    pub async fn admin_token(&self) -> Result<String> {
        self.admin_token_of(&self.name).await
    }

    pub async fn admin_token_of(&self, relay: &str) -> Result<String> {
        self.secret_of(relay, "token").await
    }

    /// What the admin Secret of a relay has under a key.
    pub async fn secret_of(&self, relay: &str, key: &str) -> Result<String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get(&format!("{relay}-admin")).await?;
        let value = secret.data.unwrap_or_default().remove(key);
        Ok(String::from_utf8(value.with_context(|| format!("the admin secret has no {key}"))?.0)?)
    }

    /// Waits until the relay has a condition with status True for its present generation.
    pub async fn wait_for_condition(&self, name: &str, condition: &str) -> Result<DynamicObject> {
        let relays = self.relays();
        until(&format!("{name} is {condition}"), || async {
            let relay = relays.get(name).await?;
            let is_met = condition_of(&relay, condition).is_some_and(|found| {
                found["status"] == "True" && found["observedGeneration"].as_i64() == relay.metadata.generation
            });
            Ok(is_met.then_some(relay))
        })
        .await
    }
}

pub fn condition_of<'a>(relay: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    let conditions = relay.data["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Asks until there is an answer; an error counts as none, and is shown when the patience ends.
pub async fn until<T, F: Future<Output = Result<Option<T>>>>(what: &str, ask: impl FnMut() -> F) -> Result<T> {
    until_within(PATIENCE, what, ask).await
}

/// The same for what takes another time.
pub async fn until_within<T, F: Future<Output = Result<Option<T>>>>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = ask().await;
        match answer {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() > deadline => bail!("{what}: not within {patience:?}"),
            Err(error) if Instant::now() > deadline => return Err(error.context(what.to_owned())),
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
}
