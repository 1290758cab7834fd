use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{DURATION, SIZE};

/// The stream that the relay serves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FirehoseSpec {
    /// How far back a consumer may resume, such as 72h; less when the events of that time would fill more than maxSize.
    #[serde(default = "default_replay_window")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    pub replay_window: String,

    /// How much of the volume the events of the replay window may fill, as they are on disk; the oldest go first. By default,
    /// and at most, 80 % of it: the rest is for the state of accounts and for the file being written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub max_size: Option<String>,

    /// Sync writes events to the disk before a consumer sees them; Os leaves that to the operating
    /// system, so that the sequence jumps ahead after a crash of the node.
    #[serde(default)]
    pub durability: Durability,

    /// Whether older events are compressed, by a thread of low priority.
    #[serde(default)]
    pub compression: Compression,

    /// Consumers at once. By default as many as fit into memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_consumers: Option<i32>,

    /// Consumers at once of one address, or of one IPv6 /64. By default the relay's own number, which is 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_consumers_per_address: Option<i32>,

    /// Whether the last address in X-Forwarded-For is the consumer's. It is where every consumer comes through a proxy that
    /// appends to that header, such as an Ingress controller; without, all of them share the proxy's maxConsumersPerAddress.
    /// Where a consumer reaches the relay without the proxy, it could claim any address. By default it
    /// is where spec.access has an Ingress or an HTTPRoute, and no other way from outside of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_forwarded_for: Option<bool>,

    /// The first sequence number to give out, for a relay that takes the place of another one or has lost its data: well above
    /// the last that consumers have seen. It can stay set: once the log is beyond it, it means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_503_599_627_370_496_i64))]
    pub initial_seq: Option<i64>,
}

/// What is said of a log that would leave no room on the volume.
pub const MAX_SIZE_NEEDS_ROOM: &str =
    "firehose.maxSize must not be above 80 % of storage.size: the rest is for the state of accounts";

/// When an event counts as written.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has confirmed it.
    #[default]
    Sync,
    /// When the operating system has it.
    Os,
}

/// What becomes of older events.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are compressed.
    #[default]
    Zstd,
    /// They stay as they are.
    None,
}

impl Default for FirehoseSpec {
    fn default() -> Self {
        Self {
            replay_window: default_replay_window(),
            max_size: None,
            durability: Durability::default(),
            compression: Compression::default(),
            max_consumers: None,
            max_consumers_per_address: None,
            trust_forwarded_for: None,
            initial_seq: None,
        }
    }
}

fn default_replay_window() -> String {
    "72h".into()
}
