use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backfill::BackfillStatus;
use super::backup::BackupStatus;
use super::database::DatabaseKind;
use super::storage::StorageStatus;
use super::update_status::UpdateStatus;

/// What the operator sees of a relay. The figures come from the relay's own status document, or of a relay of another project
/// from its metrics and those of the cluster; but for those of backfill they
/// are absent while it cannot be read. They are refreshed at most twice a minute.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RelayStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// WorkloadReady: the pod runs the wanted template and is ready. Delivering: the relay takes events from at least
    /// one host. Ready: both. SpecSupported: only of a relay of another project; it does something about every field of the spec. MemoryHealthy: there is memory enough; its reasons, the most pressing first: RestartLoop (it
    /// has used up its restarts of this hour), OOMKilled (within the last hour), Unknown (the relay cannot be asked),
    /// ResizeInfeasible, ResizeDeferred, ResizePending (a new limit is not in force yet), NearLimit (a restart is near),
    /// AtMaximum (under pressure, and the limit has grown up to memory.max), UnderPressure, Healthy. BackfillComplete:
    /// every declared import and crawl is done, or none is declared. BansApplied: only where spec.upstream.bannedDomains names a
    /// domain, or did; the relay bans them. Exposed: consumers reach the relay as spec.access asks for, or it asks for nothing
    /// (ClusterOnly). StorageReady: the volume is there, in the size that is asked for. DatabaseReady: the database of decisions
    /// is there. BackupReady: only with spec.backup; the newest snapshot can be restored. SchemaCurrent: only when it is False;
    /// the definition of the kind Relay in the cluster is older than the operator. Monitored: Prometheus finds the relay's
    /// metrics and alerts, or the spec asks for neither; CRDNotInstalled where the cluster has no Prometheus operator. Updated:
    /// the pod has the wanted template and has proved itself; its reasons are the phases of update, and EvictionRefused. Paused:
    /// the operator changes nothing.
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

    /// The limit that the operator has given to the running relay: how far it has grown, and what came of it. Absent
    /// while it is that of the spec and of new pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeStatus>,

    /// Its volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,

    /// Where its decisions are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseKind>,

    /// Its snapshots; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupStatus>,
    /// How far the pod is on its way to what the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateStatus>,

    /// How often the relay has ended, and of what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<RestartsStatus>,

    /// Consumers connected to the firehose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers: Option<i64>,

    /// The jobs that spec.backfill declares; absent when it declares none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillStatus>,

    /// Domains that are banned because spec.upstream.bannedDomains names them, or did when the relay was last asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub banned_domains: Vec<String>,

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
    /// What the relay does about pressure: none, or the last step of its ladder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Since when it has done something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure_since: Option<Time>,
    /// How fast the memory in use grows, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slope_bytes_per_hour: Option<i64>,
    /// In how many seconds it would reach the limit, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_limit: Option<i64>,
}

/// A limit that the operator has given to the running relay.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResizeStatus {
    /// The limit, such as 1280Mi.
    pub limit: String,
    /// spec.memory.limit at that time: another one there ends the growth.
    pub grown_from: String,
    /// When it was given.
    pub at: Time,
    /// What came of it.
    pub state: ResizeState,
    /// What the cluster says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What came of a new limit.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeState {
    /// It is in force.
    Done,
    /// The pod has it, the node is at it.
    InProgress,
    /// The node has no room now.
    Deferred,
    /// The node can never have so much, or the API server refuses it.
    Infeasible,
    /// The cluster cannot resize pods; the pod is replaced within spec.update.window.
    WaitingForWindow,
}

/// How often the relay has ended, and of what.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestartsStatus {
    /// In good order, because memory was short.
    #[serde(default)]
    pub planned: i64,
    /// Killed by the kernel at its memory limit.
    #[serde(default)]
    pub oom_killed: i64,
    /// By an error of its own, or killed by somebody.
    #[serde(default)]
    pub crashed: i64,
    /// Its pod was evicted.
    #[serde(default)]
    pub evicted: i64,
    /// Its node went away.
    #[serde(default)]
    pub node_lost: i64,
    /// Told to stop: by a rollout or a person.
    #[serde(default)]
    pub stopped: i64,
    /// Nobody has seen of what: there were several between two looks.
    #[serde(default)]
    pub unseen: i64,
    /// The newest ten, the newest first.
    #[serde(default)]
    pub last: Vec<RestartStatus>,
    /// Up to where has been counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedStatus>,
}

/// Up to where the ends of a relay have been counted: each is counted once, whoever looks how often.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CountedStatus {
    /// The pod.
    #[serde(rename = "podUID")]
    pub pod_uid: String,
    /// Runs of its container that have ended and are counted.
    pub runs: i64,
    /// Why the pod goes, once it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaving: Option<RestartCause>,
    /// A run is under way that has still to end.
    #[serde(default)]
    pub running: bool,
}

/// One end of the relay.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// When.
    pub at: Time,
    /// Of what.
    pub cause: RestartCause,
    /// The same in one word of the relay or of the kubelet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Exit code of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Memory in use that the kernel could not take back, in bytes, as the relay said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_set: Option<i64>,
    /// Its memory limit in bytes, as the relay said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// The last seq in its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
}

/// Of what a relay has ended.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartCause {
    /// In good order, because memory was short.
    PlannedRestart,
    /// Killed by the kernel at its memory limit.
    OOMKilled,
    /// By an error of its own, or killed by somebody.
    Crashed,
    /// Its pod was evicted.
    Evicted,
    /// Its node went away.
    NodeLost,
    /// Told to stop: by a rollout or a person.
    Stopped,
    /// Nobody has seen of what.
    Unseen,
}

impl RestartCause {
    /// Its name, as in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PlannedRestart => "PlannedRestart",
            Self::OOMKilled => "OOMKilled",
            Self::Crashed => "Crashed",
            Self::Evicted => "Evicted",
            Self::NodeLost => "NodeLost",
            Self::Stopped => "Stopped",
            Self::Unseen => "Unseen",
        }
    }
}
