use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The directory of collections.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct CollectionsSpec {
    /// Whether there is one. The bundled relay always has it; for indigo it is a container of its own, collectiondir.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

impl Default for CollectionsSpec {
    fn default() -> Self {
        Self { enabled: enabled() }
    }
}

fn enabled() -> bool {
    true
}
