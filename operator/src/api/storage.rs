use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{OBJECT_NAME, SIZE};

/// The volume of the relay.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size of the volume. At 1,000 events a second an hour of the replay window takes about 16 GB
    /// before compression.
    #[serde(default = "default_storage_size")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub size: String,

    /// StorageClass of the volume; by default the cluster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub storage_class_name: Option<String>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size: default_storage_size(), storage_class_name: None }
    }
}

fn default_storage_size() -> String {
    "500Gi".into()
}
