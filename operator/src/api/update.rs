use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{DURATION, WINDOW};

/// When the operator may replace the pod of its own accord, and what a new pod has to prove.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct UpdateSpec {
    /// Time of the week, such as Sun 03:00-05:00 UTC, or of every day, such as 03:00-05:00 UTC; by default any. What a person
    /// changes of the spec does not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 19))]
    #[x_kube(validation = WINDOW.rule())]
    pub window: Option<String>,

    /// What a pod of a new template has to prove. When it does not, the last template that has proved itself is put back.
    #[serde(default)]
    pub gate: GateSpec,
}

/// What a pod of a new template has to prove.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GateSpec {
    /// With false, a pod that is ready has proved itself, and nothing is ever put back.
    #[serde(default = "default_enabled")]
    pub enabled: bool,

    /// Share of the events per second, and of the connected hosts, of before the update that the new pod has to reach. Of a
    /// relay that delivered nothing before, the pod only has to become ready.
    #[serde(default = "default_min_delivery_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub min_delivery_percent: i32,

    /// In which time, from when the old pod has gone.
    #[serde(default = "default_within")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = DURATION.rule())]
    pub within: String,
}

impl Default for GateSpec {
    fn default() -> Self {
        Self {
            enabled: default_enabled(),
            min_delivery_percent: default_min_delivery_percent(),
            within: default_within(),
        }
    }
}

fn default_enabled() -> bool {
    true
}

fn default_min_delivery_percent() -> i32 {
    80
}

fn default_within() -> String {
    "20m".into()
}
