use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{OBJECT_NAME, SIZE};
use super::relay::LocalRef;

/// What is said of another StorageClass.
pub const CLASS_IS_FIXED: &str = "storageClassName cannot be changed after creation, since a volume stays where it was made; create a Relay of another name to move to another class";
/// What is said of another snapshot.
pub const SNAPSHOT_IS_FIXED: &str = "fromSnapshot cannot be changed after creation, since it fills a new volume only; create a Relay of another name to restore another snapshot";

/// The volume of the relay.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && \
         (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    ).message(CLASS_IS_FIXED),
    validation = Rule::new(
        "has(self.fromSnapshot) == has(oldSelf.fromSnapshot) && \
         (!has(self.fromSnapshot) || self.fromSnapshot.name == oldSelf.fromSnapshot.name)"
    ).message(SNAPSHOT_IS_FIXED)
)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size of the volume. At 1,000 events a second an hour of the replay window takes about 16 GB
    /// before compression. It may grow where the StorageClass says allowVolumeExpansion, while the relay runs; it cannot shrink.
    #[serde(default = "default_storage_size")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub size: String,

    /// StorageClass of the volume; by default the cluster's own. It cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub storage_class_name: Option<String>,

    /// What becomes of the volume when the Relay is deleted: Retain keeps it, and a Relay of the same name goes on with it;
    /// Delete deletes it with the Relay. The same holds for a database that the operator has made.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// A VolumeSnapshot of the same namespace that fills the new volume. It cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_snapshot: Option<LocalRef>,
}

/// What becomes of data when its Relay is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It goes.
    Delete,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self {
            size: default_storage_size(),
            storage_class_name: None,
            deletion_policy: DeletionPolicy::default(),
            from_snapshot: None,
        }
    }
}

fn default_storage_size() -> String {
    "500Gi".into()
}

/// The volume of the relay, as the cluster has it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// Its PersistentVolumeClaim.
    pub claim: String,
    /// The claim's uid, by which `relay.waow.tech/rebuild-volume` names the volume to give up.
    pub uid: String,
    /// Size that it has; absent while there is no volume yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Size that it grows to, while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growing_to: Option<String>,
    /// Node that the volume was made for. A volume on a disk of the node cannot be reached from another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// It is older than the Relay: the relay goes on with what an earlier one has left there.
    #[serde(default)]
    pub adopted: bool,
    /// Growth that the cluster has refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedGrowth>,
}

/// Growth of a volume that the cluster has refused.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RefusedGrowth {
    /// The size that was asked for.
    pub size: String,
    /// When it was.
    pub at: Time,
    /// What the cluster says.
    pub message: String,
}
