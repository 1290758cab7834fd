use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::DURATION;

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

impl Default for FirehoseSpec {
    fn default() -> Self {
        Self { replay_window: default_replay_window(), durability: Durability::default() }
    }
}

fn default_replay_window() -> String {
    "72h".into()
}
