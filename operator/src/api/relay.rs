use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::access::{AccessSpec, HOST_NETWORK_NEEDS_BUNDLED};
use super::backfill::BackfillSpec;
use super::backup::BackupSpec;
use super::collections::{BUNDLED_HAS_COLLECTIONS, COLLECTIONS_IMAGE_NEEDS_INDIGO, CollectionsSpec};
use super::database::{CLUSTER_RELAY_NAME, CLUSTER_RELAY_NAME_MAX, DatabaseSpec};
use super::firehose::{FirehoseSpec, MAX_SIZE_NEEDS_ROOM};
use super::image::ImageSpec;
use super::implementation::{
    FOREIGN_MIN_LIMIT, FOREIGN_NEEDS_IMAGE, FOREIGN_NEEDS_MEMORY, FOREIGN_NEEDS_NEVER, Implementation,
    ZLAY_NEEDS_DATABASE, foreign_rule,
};
use super::log_level::LogLevel;
use super::memory::MemorySpec;
use super::monitoring::MonitoringSpec;
use super::network_policy::NetworkPolicySpec;
use super::node::NodeSpec;
use super::patterns::{HOSTNAME, OBJECT_NAME, RELAY_NAME, SECRET_KEY, URL};
use super::plc::PlcExportSpec;
use super::pod::PodSpec;
use super::status::RelayStatus;
use super::storage::StorageSpec;
use super::update::UpdateSpec;
use super::upstream::UpstreamSpec;
use super::validation::ValidationSpec;

/// An AT Protocol relay: it connects to every PDS, verifies each commit and serves one firehose.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "relay.waow.tech",
    version = "v1alpha1",
    kind = "Relay",
    namespaced,
    status = "RelayStatus",
    derive = "PartialEq",
    shortname = "rly",
    category = "atproto",
    doc = "An AT Protocol relay: it connects to every PDS, verifies each commit and serves one firehose.",
    annotation("helm.sh/resource-policy", "keep"),
    validation = RELAY_NAME.rule_of(&format!("self.metadata.name.matches(r'{}')", RELAY_NAME.regex)),
    validation = foreign_rule("has(self.spec.image) && has(self.spec.image.repository)", FOREIGN_NEEDS_IMAGE),
    validation = foreign_rule("self.spec.memory.resize == 'Never'", FOREIGN_NEEDS_NEVER),
    validation = foreign_rule(
        &format!("quantity(self.spec.memory.limit).compareTo(quantity('{FOREIGN_MIN_LIMIT}')) >= 0"),
        FOREIGN_NEEDS_MEMORY,
    ),
    validation = foreign_rule("!has(self.spec.access) || !has(self.spec.access.hostNetwork)", HOST_NETWORK_NEEDS_BUNDLED),
    validation = Rule::new(
        "self.spec.implementation != 'Zlay' || has(self.spec.database) \
         && (has(self.spec.database.externalSecretRef) || has(self.spec.database.cloudNativePG))"
    ).message(ZLAY_NEEDS_DATABASE),
    validation = Rule::new("self.spec.implementation != 'Bundled' || self.spec.collections.enabled")
        .message(BUNDLED_HAS_COLLECTIONS),
    validation = Rule::new(
        "!has(self.spec.firehose.maxSize) || quantity(self.spec.firehose.maxSize).asInteger() / 4 \
         <= quantity(self.spec.storage.size).asInteger() / 5"
    ).message(MAX_SIZE_NEEDS_ROOM),
    validation = Rule::new(format!(
        "!has(self.spec.database) || !has(self.spec.database.cloudNativePG) || size(self.metadata.name) <= {CLUSTER_RELAY_NAME_MAX}"
    )).message(CLUSTER_RELAY_NAME),
    validation = Rule::new(
        "self.spec.implementation == 'Indigo' || !has(self.spec.collections) || !has(self.spec.collections.image)"
    ).message(COLLECTIONS_IMAGE_NEEDS_INDIGO),
    printcolumn(name = "Implementation", type_ = "string", json_path = ".spec.implementation", priority = 1),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Hosts", type_ = "integer", json_path = ".status.hosts.connected"),
    printcolumn(name = "Events/s", type_ = "number", json_path = ".status.eventsPerSecond"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.memory.summary"),
    printcolumn(name = "Backfill", type_ = "string", json_path = ".status.backfill.summary"),
    printcolumn(name = "Update", type_ = "string", json_path = ".status.update.phase", priority = 1),
    printcolumn(name = "Consumers", type_ = "integer", json_path = ".status.consumers", priority = 1),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RelaySpec {
    /// DNS name under which consumers reach the relay. It is part of `status.endpoint`, and what spec.access makes is for it.
    #[schemars(length(max = 253))]
    #[x_kube(validation = HOSTNAME.rule())]
    pub hostname: String,

    /// Which program the relay is. Indigo and Zlay are relays of other projects: they need `image`, and take part in what they
    /// can, which the condition SpecSupported tells.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "implementation cannot be changed after creation, since each has files of its own; create a Relay of another name"
    ))]
    pub implementation: Implementation,

    /// The container image. By default the one that the operator was installed with, which a new version
    /// of the operator may change: name one here to decide yourself when a relay is updated.
    #[serde(default)]
    pub image: ImageSpec,

    /// Memory of the relay. The bundled one plans all of its caches and queues from the limit, and restarts by itself at the
    /// hard mark; indigo gets GOMEMLIMIT of it and zlay the settings of its allocator, and the operator evicts their pod there.
    #[serde(default)]
    pub memory: MemorySpec,

    /// The volume for the log of events and the state of accounts. Unless its deletionPolicy says otherwise, it outlives the
    /// Relay object.
    #[serde(default)]
    pub storage: StorageSpec,

    /// Snapshots of that volume; by default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSpec>,

    /// Seconds that the pod has to stop in good order, of which the relay takes all but 10. By default 60, of which the
    /// relay takes its own default of 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 20, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,

    /// When the operator may replace the pod of its own accord, and what a new pod has to prove.
    #[serde(default)]
    pub update: UpdateSpec,

    /// On which node the relay runs.
    #[serde(default)]
    pub node: NodeSpec,

    /// The database of decisions: hosts and their limits, bans, audit. By default SQLite on the volume. Another one begins
    /// without the decisions of the old; a change is refused until the annotation `relay.waow.tech/change-database` allows it.
    #[serde(default)]
    pub database: DatabaseSpec,

    /// Address of the PLC directory that resolves did:plc identities.
    #[serde(rename = "plcURL", default = "default_plc_url")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = URL.rule())]
    pub plc_url: String,

    /// Following what changes of all did:plc identities.
    #[serde(default)]
    pub plc_export: PlcExportSpec,

    /// Which hosts the relay crawls.
    #[serde(default)]
    pub upstream: UpstreamSpec,

    /// How events are checked.
    #[serde(default)]
    pub validation: ValidationSpec,

    /// The stream that the relay serves.
    #[serde(default)]
    pub firehose: FirehoseSpec,

    /// The directory of collections, `listReposByCollection`.
    #[serde(default)]
    pub collections: CollectionsSpec,

    /// What fills the directory of collections (`listReposByCollection`) from outside, beside the events of hosts.
    #[serde(default)]
    pub backfill: BackfillSpec,

    /// How consumers reach the relay.
    #[serde(default)]
    pub access: AccessSpec,

    /// Access to the admin API.
    #[serde(default)]
    pub admin: AdminSpec,

    /// What Prometheus and Grafana get to see.
    #[serde(default)]
    pub monitoring: MonitoringSpec,

    /// Who may reach the pod, and whom it may reach.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,

    /// How much the relay logs.
    #[serde(default)]
    pub log_level: LogLevel,

    /// What else the pod has: labels, processor time, tolerations, priority.
    #[serde(default)]
    pub pod: PodSpec,

    /// While true, the operator changes none of the relay's objects; it goes on reporting status.
    #[serde(default)]
    pub paused: bool,
}

/// An object of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub name: String,
}

/// Access to the admin API.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdminSpec {
    /// The Secret with the admin token; by default NAME-admin. Where there is none, the operator makes one
    /// with a random token, once; it never changes a Secret that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<AdminSecretRef>,
}

/// A Secret with the admin token.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct AdminSecretRef {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub name: String,

    /// Key of the token.
    #[serde(default = "default_token_key")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = SECRET_KEY.rule())]
    pub key: String,
}

fn default_plc_url() -> String {
    "https://plc.directory".into()
}

fn default_token_key() -> String {
    "token".into()
}
