//! Which cluster and Relay a command of the plugin is about.

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config, ResourceExt};
use relay_operator::api::{Relay, RelayStatus, patterns};
use serde::Deserialize;
use serde_json::Value;

/// Flags of every command of the plugin.
#[derive(clap::Args)]
pub struct Common {
    /// Namespace of the Relay; by default that of the kubeconfig's context.
    #[arg(short, long, value_name = "NAME", value_parser = object_name)]
    namespace: Option<String>,

    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// For people, or for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// For whom the output is.
#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub enum Output {
    /// People.
    Text,
    /// Programs: one JSON document, or one for each line of what has no end.
    Json,
}

/// The name of an object: another text would become another path of the API.
pub fn object_name(text: &str) -> Result<String, String> {
    if patterns::OBJECT_NAME.matches(text) { Ok(text.to_owned()) } else { Err(patterns::OBJECT_NAME.message.into()) }
}

/// The API server, and the namespace that is asked about.
pub struct Cluster {
    /// The API server.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Common {
    /// A client of the cluster that is meant.
    pub async fn connect(&self) -> anyhow::Result<Cluster> {
        let mut config = match &self.context {
            Some(context) => {
                let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
                let config = Config::from_kubeconfig(&options).await;
                config.with_context(|| format!("the kubeconfig cannot be used with the context {context}"))?
            }
            None => Config::infer().await.context("no cluster found; set KUBECONFIG, or name a --context")?,
        };
        // A person tries again by himself.
        config.default_retry = false;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Cluster { client: Client::try_from(config)?, namespace })
    }
}

impl Cluster {
    /// The Relays of the namespace, whatever their fields.
    pub fn relays(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<Relay>(&()))
    }

    /// The same of all namespaces.
    pub fn all_relays(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<Relay>(&()))
    }

    /// The pods of the namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Relay `name`.
    pub async fn relay(&self, name: &str) -> anyhow::Result<Seen> {
        let namespace = &self.namespace;
        match self.relays().get(name).await {
            Ok(object) => Ok(Seen::of(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                anyhow::bail!("no Relay {name} in the namespace {namespace}; `kubectl relay status -A` lists all")
            }
            Err(error) => Err(error).with_context(|| format!("the Relay {namespace}/{name} cannot be read")),
        }
    }
}

/// A Relay as it was read. The operator may be of another version than this program, so what is not understood of the
/// status is no error.
pub struct Seen {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// The status, as far as this version knows it.
    pub status: RelayStatus,
    /// Why that is less than there is.
    pub trouble: Option<String>,
    /// The object itself.
    pub object: DynamicObject,
}

impl Seen {
    /// What is known of `object`.
    pub fn of(object: DynamicObject) -> Self {
        let (status, trouble) = match &object.data["status"] {
            Value::Null => (RelayStatus::default(), None),
            status => match RelayStatus::deserialize(status) {
                Ok(status) => (status, None),
                Err(error) => (RelayStatus::default(), Some(error.to_string())),
            },
        };
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            created: object.metadata.creation_timestamp.as_ref().map(|at| at.0),
            generation: object.metadata.generation,
            status,
            trouble,
            object,
        }
    }

    /// A text of the spec.
    pub fn spec(&self, pointer: &str) -> Option<&str> {
        self.object.data["spec"].pointer(pointer)?.as_str()
    }

    /// Whether the operator is told to change nothing.
    pub fn is_paused(&self) -> bool {
        self.object.data["spec"]["paused"] == true
    }

    /// The condition of this type: its status, reason and message.
    pub fn condition(&self, type_: &str) -> Option<(&str, &str, &str)> {
        let found = self.status.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((&found.status, &found.reason, &found.message))
    }
}
