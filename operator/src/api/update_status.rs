use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far the pod is on its way to what the spec asks for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStatus {
    /// Where it is.
    pub phase: UpdatePhase,
    /// Since when; Starting and Proving are one.
    pub since: Time,
    /// What it waits for, or what has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The ControllerRevision with the template that the pod is to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The one that has proved itself last, and is put back when another does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<String>,
    /// The ConfigMap that its template refers to; it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good_config: Option<String>,
    /// Digest of the template that has failed; it is not tried again while it is the wanted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The pod that is to go.
    #[serde(rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The last refusal of its eviction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusalStatus>,
    /// The last value of the annotation relay.waow.tech/restart-requested-at for which something was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// What the relay delivers, as a mean of some minutes; while an update is under way, what it delivered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<DeliveryStatus>,
    /// What a pod delivers that is to prove itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<DeliveryStatus>,
}

/// An eviction that was refused; it is tried again.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RefusalStatus {
    /// When.
    pub at: Time,
    /// What the API server says.
    pub message: String,
}

/// What a relay delivers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryStatus {
    /// Events per second, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<f64>,
    /// Hosts with an open connection, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts_connected: Option<f64>,
}

/// Where an update is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdatePhase {
    /// The pod has the wanted template, and has proved itself.
    UpToDate,
    /// The same, and a new default image waits for spec.update.window.
    WaitingForWindow,
    /// The StatefulSet gets another template.
    Applying,
    /// The pod is told to go.
    Evicting,
    /// The new pod is not ready yet.
    Starting,
    /// The new pod is ready, and does not deliver what it has to yet.
    Proving,
    /// The update has failed; the last template that has proved itself is put back.
    RollingBack,
    /// The pod has that template again.
    RolledBack,
    /// The update has failed, and there is no other template to put back.
    Failed,
}

impl UpdatePhase {
    /// Its name, as in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::WaitingForWindow => "WaitingForWindow",
            Self::Applying => "Applying",
            Self::Evicting => "Evicting",
            Self::Starting => "Starting",
            Self::Proving => "Proving",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Failed => "Failed",
        }
    }

    /// Whether something is under way.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Applying | Self::Evicting | Self::Starting | Self::Proving | Self::RollingBack)
    }
}
