use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{DURATION, OBJECT_NAME};

/// VolumeSnapshots of the relay's volume: its log, the state of accounts, the identity cache, and its decisions where they
/// are in the embedded database. They outlive the Relay.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupSpec {
    /// Time from one snapshot to the next, such as 24h, at least 1h. By default there are only those that are asked for by the
    /// annotation `relay.waow.tech/snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    pub every: Option<String>,

    /// How many of those that `every` has made are kept: the newest. Those that somebody has asked for stay.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1, max = 100))]
    pub keep: i32,

    /// VolumeSnapshotClass; by default the cluster's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub snapshot_class_name: Option<String>,
}

impl Default for BackupSpec {
    fn default() -> Self {
        Self { every: None, keep: default_keep(), snapshot_class_name: None }
    }
}

fn default_keep() -> i32 {
    3
}

/// The snapshots of a relay.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct BackupStatus {
    /// The last one that was asked for by the annotation `relay.waow.tech/snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
    /// The newest ten, the newest first.
    #[serde(default)]
    pub snapshots: Vec<SnapshotStatus>,
}

/// A snapshot.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// Its VolumeSnapshot.
    pub name: String,
    /// When it was asked for.
    pub at: Time,
    /// It can be restored.
    pub ready: bool,
    /// What keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
