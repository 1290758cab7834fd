use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backfill::BackfillSpec;
use super::memory::MemorySpec;
use super::patterns::{
    ANY_HOST, DURATION, HOSTNAME, IMAGE_DIGEST, IMAGE_REPOSITORY, IMAGE_TAG, OBJECT_NAME, PUBLIC_HOST, RELAY_NAME,
    SECRET_KEY, SIZE, URL, WINDOW,
};
use super::status::RelayStatus;

/// An AT Protocol relay: it connects to every PDS, verifies each commit and serves one firehose.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "relay.waow.tech",
    version = "v1alpha1",
    kind = "Relay",
    namespaced,
    status = "RelayStatus",
    derive = "PartialEq",
    category = "atproto",
    doc = "An AT Protocol relay: it connects to every PDS, verifies each commit and serves one firehose.",
    annotation("helm.sh/resource-policy", "keep"),
    validation = RELAY_NAME.rule_of(&format!("self.metadata.name.matches(r'{}')", RELAY_NAME.regex)),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Hosts", type_ = "integer", json_path = ".status.hosts.connected"),
    printcolumn(name = "Events/s", type_ = "number", json_path = ".status.eventsPerSecond"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.memory.summary"),
    printcolumn(name = "Backfill", type_ = "string", json_path = ".status.backfill.summary"),
    printcolumn(name = "Consumers", type_ = "integer", json_path = ".status.consumers", priority = 1),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RelaySpec {
    /// DNS name under which consumers reach the relay. It is part of `status.endpoint`, and a Service of
    /// type NodePort or LoadBalancer asks external-dns for a record of this name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = HOSTNAME.rule())]
    pub hostname: String,

    /// The container image. By default the one that the operator was installed with, which a new version
    /// of the operator may change: name one here to decide yourself when a relay is updated.
    #[serde(default)]
    pub image: ImageSpec,

    /// Memory of the relay. It plans all of its caches and queues from the limit.
    #[serde(default)]
    pub memory: MemorySpec,

    /// The volume for the log of events and the state of accounts. It outlives the Relay object.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "storage cannot be changed after creation; create a Relay of another name to move to another volume"
    ))]
    pub storage: StorageSpec,

    /// Seconds that the pod has to stop in good order, of which the relay takes all but 10. By default 60, of which the
    /// relay takes its own default of 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 20, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,

    /// When the operator may replace the pod of its own accord.
    #[serde(default)]
    pub update: UpdateSpec,

    /// On which node the relay runs.
    #[serde(default)]
    pub node: NodeSpec,

    /// The database of decisions: hosts and their limits, bans, audit. By default SQLite on the volume.
    #[serde(default)]
    pub database: DatabaseSpec,

    /// Address of the PLC directory that resolves did:plc identities.
    #[serde(rename = "plcURL", default = "default_plc_url")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = URL.rule())]
    pub plc_url: String,

    /// Which hosts the relay crawls.
    #[serde(default)]
    pub upstream: UpstreamSpec,

    /// How events are checked.
    #[serde(default)]
    pub validation: ValidationSpec,

    /// The stream that the relay serves.
    #[serde(default)]
    pub firehose: FirehoseSpec,

    /// What fills the directory of collections (`listReposByCollection`) from outside, beside the events of hosts.
    #[serde(default)]
    pub backfill: BackfillSpec,

    /// How consumers reach the relay.
    #[serde(default)]
    pub access: AccessSpec,

    /// Access to the admin API.
    #[serde(default)]
    pub admin: AdminSpec,

    /// While true, the operator changes none of the relay's objects; it goes on reporting status.
    #[serde(default)]
    pub paused: bool,
}

/// A container image.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.repository) || !(has(self.tag) || has(self.digest))")
        .message("tag and digest need a repository"),
    validation = Rule::new("!has(self.repository) || has(self.tag) || has(self.digest)")
        .message("name a tag or a digest of the repository")
)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpec {
    /// Repository of the image, without tag, such as registry.example.com/relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = IMAGE_REPOSITORY.rule())]
    pub repository: Option<String>,

    /// Tag in the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = IMAGE_TAG.rule())]
    pub tag: Option<String>,

    /// Digest in the repository, sha256:…; it decides when a tag is named too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    #[x_kube(validation = IMAGE_DIGEST.rule())]
    pub digest: Option<String>,

    /// When the node pulls the image.
    #[serde(default)]
    pub pull_policy: PullPolicy,

    /// Secrets of the Relay's namespace with credentials for the registry.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub pull_secrets: Vec<LocalRef>,
}

/// When the node pulls an image.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Kubernetes' own words
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

/// An object of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub name: String,
}

/// When the operator may replace the pod of its own accord.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct UpdateSpec {
    /// Time of the week, such as Sun 03:00-05:00 UTC, or of every day, such as 03:00-05:00 UTC; by default any. What a person
    /// changes of the spec does not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 19))]
    #[x_kube(validation = WINDOW.rule())]
    pub window: Option<String>,
}

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

/// Where the relay runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct NodeSpec {
    /// Labels that the node must have.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub selector: BTreeMap<String, String>,
}

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

/// Which hosts the relay crawls. Any other host may still announce itself by `requestCrawl`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = PUBLIC_HOST.rule_of(&format!(
    "self.allowInsecureHosts || !has(self.hosts) || self.hosts.all(h, h.matches(r'{}'))", PUBLIC_HOST.regex
)))]
#[serde(rename_all = "camelCase")]
pub struct UpstreamSpec {
    /// Relays whose `listHosts` tells this one which hosts there are, such as `https://bsky.network`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    #[x_kube(validation = URL.each_rule())]
    pub bootstrap_relays: Vec<String>,

    /// Hosts to crawl from the start, as NAME or NAME:PORT.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 270)))]
    #[x_kube(validation = ANY_HOST.each_rule())]
    pub hosts: Vec<String>,

    /// For development: hosts may also be IP addresses and names of one label, spoken to over plain HTTP.
    #[serde(default)]
    pub allow_insecure_hosts: bool,

    /// What one host may do, unless an administrator has decided otherwise for that host.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// What one host may do.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Accounts of one host; 0 switches the limit off. By default the relay's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub accounts_per_host: Option<i32>,

    /// Events per second of one host, before the relay slows down its reading; 0 switches the limit off.
    /// By default the relay's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub events_per_second: Option<i32>,
}

/// How events are checked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ValidationSpec {
    /// Enforce drops invalid events, Observe counts them and passes them on, Lenient accepts hosts that do
    /// not speak sync 1.1 yet.
    #[serde(default)]
    pub mode: ValidationMode,
}

/// What happens to an invalid event.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValidationMode {
    /// It is dropped.
    #[default]
    Enforce,
    /// It is counted and passed on.
    Observe,
    /// It is dropped, but commits without the proofs of sync 1.1 are valid.
    Lenient,
}

/// The stream that the relay serves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FirehoseSpec {
    /// How far back a consumer may resume, such as 72h; less when the events of that time would fill more than 80 % of the
    /// volume.
    #[serde(default = "default_replay_window")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    pub replay_window: String,

    /// Sync writes events to the disk before a consumer sees them; Os leaves that to the operating
    /// system, so that the sequence jumps ahead after a crash of the node.
    #[serde(default)]
    pub durability: Durability,
}

/// When an event counts as written.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has confirmed it.
    #[default]
    Sync,
    /// When the operating system has it.
    Os,
}

/// How consumers reach the relay.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct AccessSpec {
    /// The Service in front of the firehose. The admin API has one of its own that is never exposed.
    #[serde(default)]
    pub service: ServiceSpec,
}

/// A Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.nodePort) || self.type != 'ClusterIP'")
    .message("nodePort needs type NodePort or LoadBalancer"))]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Where the Service is reachable: in the cluster, on a port of every node, or behind a load balancer.
    #[serde(rename = "type", default)]
    pub type_: ServiceType,

    /// Port on every node; by default the cluster chooses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

/// Type of a Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Kubernetes' own words
pub enum ServiceType {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
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

impl Default for StorageSpec {
    fn default() -> Self {
        Self { size: default_storage_size(), storage_class_name: None }
    }
}

impl Default for FirehoseSpec {
    fn default() -> Self {
        Self { replay_window: default_replay_window(), durability: Durability::default() }
    }
}

fn default_plc_url() -> String {
    "https://plc.directory".into()
}

fn default_storage_size() -> String {
    "500Gi".into()
}

fn default_database_key() -> String {
    "url".into()
}

fn default_replay_window() -> String {
    "72h".into()
}

fn default_token_key() -> String {
    "token".into()
}
