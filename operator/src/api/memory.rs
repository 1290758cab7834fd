use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{DURATION, SIZE};

/// Memory of the relay.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("quantity(self.limit).compareTo(quantity('128Mi')) >= 0")
        .message("memory.limit must be at least 128Mi"),
    validation = Rule::new("!has(self.request) || quantity(self.request).compareTo(quantity(self.limit)) <= 0")
        .message("memory.request must not be above memory.limit"),
    validation = Rule::new("!has(self.max) || quantity(self.max).compareTo(quantity(self.limit)) >= 0")
        .message("memory.max must not be below memory.limit"),
    validation = Rule::new("self.softPercent + 5 <= self.hardPercent")
        .message("memory.softPercent must be at least 5 below memory.hardPercent"),
    validation = Rule::new(
        "(has(self.identityCache) ? quantity(self.identityCache).asInteger() : 0) \
         + (has(self.blockCache) ? quantity(self.blockCache).asInteger() : 0) \
         < quantity(self.limit).asInteger() / 100 * self.softPercent"
    ).message(CACHES_NEED_ROOM)
)]
#[serde(rename_all = "camelCase")]
pub struct MemorySpec {
    /// What the scheduler sets aside on the node; by default the limit, and then it grows with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub request: Option<String>,

    /// What the relay may use. With resize: InPlace that is the limit it begins with.
    #[serde(default = "default_limit")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub limit: String,

    /// How far the operator may let the limit grow, with resize: InPlace; by default not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub max: Option<String>,

    /// Share of the limit from which the relay shrinks its caches and rests what can wait, and from which the limit grows.
    #[serde(default = "default_soft_percent")]
    #[schemars(range(min = 50, max = 92))]
    pub soft_percent: i32,

    /// Share of the limit from which, if it lasts, the relay restarts in good order.
    #[serde(default = "default_hard_percent")]
    #[schemars(range(min = 55, max = 97))]
    pub hard_percent: i32,

    /// Never: a new limit replaces the pod. InPlace: the running pod gets it, and under pressure the operator lets the limit
    /// grow up to max, a quarter of limit at a time. It does not shrink again until somebody writes another limit, or a max
    /// below it.
    #[serde(default)]
    pub resize: MemoryResize,

    /// Memory of the cache of identities. By default as much as fits, up to 256Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub identity_cache: Option<String>,

    /// Memory of the block cache of the store of accounts. By default as much as fits, up to 1Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = SIZE.rule())]
    pub block_cache: Option<String>,

    /// Restarts for its memory that the relay makes within an hour; 0 for none.
    #[serde(default = "default_max_restarts_per_hour")]
    #[schemars(range(min = 0, max = 10))]
    pub max_restarts_per_hour: i32,

    /// Shortest time between two of them.
    #[serde(default = "default_restart_cooldown")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    pub restart_cooldown: String,
}

/// What is said of caches that fit in no way.
pub const CACHES_NEED_ROOM: &str =
    "memory.identityCache and memory.blockCache together must be below memory.softPercent of memory.limit";

/// How the relay gets another memory limit.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryResize {
    /// By a new pod.
    #[default]
    Never,
    /// While it runs; by a new pod within spec.update.window where the cluster cannot resize pods.
    InPlace,
}

impl Default for MemorySpec {
    fn default() -> Self {
        Self {
            request: None,
            limit: default_limit(),
            max: None,
            soft_percent: default_soft_percent(),
            hard_percent: default_hard_percent(),
            resize: MemoryResize::default(),
            identity_cache: None,
            block_cache: None,
            max_restarts_per_hour: default_max_restarts_per_hour(),
            restart_cooldown: default_restart_cooldown(),
        }
    }
}

fn default_limit() -> String {
    "4Gi".into()
}

fn default_soft_percent() -> i32 {
    80
}

fn default_hard_percent() -> i32 {
    90
}

fn default_max_restarts_per_hour() -> i32 {
    2
}

fn default_restart_cooldown() -> String {
    "10m".into()
}
