use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
