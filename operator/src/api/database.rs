use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{OBJECT_NAME, SECRET_KEY};

/// The database of decisions.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSpec {
    /// A Secret of the same namespace that holds the URL of a PostgreSQL database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_secret_ref: Option<DatabaseSecretRef>,
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

fn default_database_key() -> String {
    "url".into()
}
