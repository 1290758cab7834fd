use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backfill::BackfillStatus;

/// What the operator sees of a relay. The figures come from the relay's own status document; but for those of backfill they
/// are absent while it cannot be read. They are refreshed at most twice a minute.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RelayStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// WorkloadReady: the pod runs the wanted template and is ready. Delivering: the relay takes events from at least
    /// one host. Ready: both. BackfillComplete: every declared import and crawl is done, or none is declared. Paused: the
    /// operator changes nothing.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Where the firehose is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// Software and version that the relay reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Sequence number of the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,

    /// Hosts that the relay crawls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostsStatus>,

    /// Events per second that the relay passes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<f64>,

    /// Memory of the relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStatus>,

    /// Consumers connected to the firehose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers: Option<i64>,

    /// The jobs that spec.backfill declares; absent when it declares none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillStatus>,

    /// When the figures were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
}

/// Hosts that the relay crawls.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct HostsStatus {
    /// Hosts with an open connection.
    pub connected: i64,
    /// Hosts known.
    pub total: i64,
}

/// Memory of the relay.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// Memory that the kernel cannot take back, in bytes.
    pub working_set_bytes: i64,
    /// The limit in bytes, as the relay sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<i64>,
    /// Both, for people: 70Mi/1Gi.
    pub summary: String,
}
