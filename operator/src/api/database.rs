use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{OBJECT_NAME, SECRET_KEY, SIZE};

/// What is said of two databases.
pub const ONE_DATABASE: &str = "database: name either externalSecretRef or cloudNativePG, not both";
/// Longest name of a Relay whose database CloudNativePG makes: NAME-db may have 50 characters there.
pub const CLUSTER_RELAY_NAME_MAX: usize = 47;
/// What is said of a longer one.
pub const CLUSTER_RELAY_NAME: &str = "database.cloudNativePG needs a metadata.name of at most 47 characters";

/// The database of decisions.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.externalSecretRef) || !has(self.cloudNativePG)").message(ONE_DATABASE))]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSpec {
    /// A Secret of the same namespace that holds the URL of a PostgreSQL database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_secret_ref: Option<DatabaseSecretRef>,

    /// A PostgreSQL of the relay's own, made by CloudNativePG: the Cluster NAME-db.
    #[serde(rename = "cloudNativePG", skip_serializing_if = "Option::is_none")]
    pub cloud_native_pg: Option<CloudNativePgSpec>,
}

/// A PostgreSQL that CloudNativePG makes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CloudNativePgSpec {
    /// Servers, of which one is written to and the others follow it.
    #[serde(default = "default_instances")]
    #[schemars(range(min = 1, max = 9))]
    pub instances: i32,

    /// Size of the volume of each. Decisions are small: a row for each host, and one for each decision.
    #[serde(default = "default_database_size")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub storage_size: String,

    /// StorageClass of their volumes; by default the cluster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub storage_class_name: Option<String>,
}

/// A Secret with the URL of a database.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DatabaseSecretRef {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub name: String,

    /// Key of the URL, which looks like postgres://USER:PASSWORD@HOST/DATABASE.
    #[serde(default = "default_database_key")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = SECRET_KEY.rule())]
    pub key: String,
}

/// Where the decisions of a relay are.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// In a file on its volume.
    Embedded,
    /// In a PostgreSQL that somebody runs.
    External,
    /// In the PostgreSQL that CloudNativePG has made for it.
    CloudNativePG,
}

impl DatabaseKind {
    /// Its name, as in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "Embedded",
            Self::External => "External",
            Self::CloudNativePG => "CloudNativePG",
        }
    }
}

fn default_database_key() -> String {
    "url".into()
}

fn default_instances() -> i32 {
    1
}

fn default_database_size() -> String {
    "10Gi".into()
}
