use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::patterns::OBJECT_NAME;

/// What else the pod has.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Labels of the pod, beside the operator's own.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,

    /// Annotations of the pod, beside the operator's own.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub annotations: BTreeMap<String, String>,

    /// Taints of nodes that the pod bears.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,

    /// Which nodes and which company the pod prefers, beyond spec.node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// PriorityClass of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub priority_class_name: Option<String>,
}
