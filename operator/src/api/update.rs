use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::WINDOW;

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
