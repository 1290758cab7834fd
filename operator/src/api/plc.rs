use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::URL;

/// Following the operations on all did:plc identities, so that a changed identity is known at once and not when a
/// signature fails.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.url) || self.enabled").message(PLC_EXPORT_URL_NEEDS_ENABLED))]
pub struct PlcExportSpec {
    /// Whether they are followed.
    #[serde(default)]
    pub enabled: bool,

    /// A mirror of the directory whose export is read; by default that of plcURL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = URL.rule())]
    pub url: Option<String>,
}

/// What is said of a mirror that nobody reads.
pub const PLC_EXPORT_URL_NEEDS_ENABLED: &str = "plcExport.url needs plcExport.enabled: true";
