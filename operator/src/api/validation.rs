use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::HOSTS_OF;

/// How events are checked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ValidationSpec {
    /// Enforce drops invalid events, Observe counts them and passes them on, Lenient accepts hosts that do
    /// not speak sync 1.1 yet.
    #[serde(default)]
    pub mode: ValidationMode,

    /// Other modes for some hosts; the first that fits a host holds. A mode that an administrator has given to one host goes
    /// before them.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub hosts: Vec<HostValidation>,
}

/// A mode for some hosts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct HostValidation {
    /// A host, or all below a domain, such as *.legacy.example.
    #[serde(rename = "match")]
    #[schemars(length(max = 270))]
    #[x_kube(validation = HOSTS_OF.rule())]
    pub match_: String,

    /// How their events are checked.
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
