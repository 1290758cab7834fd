use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use kube::KubeSchema;
use schemars::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::patterns::{CPU, OBJECT_NAME};

/// Domain of the annotations and labels that are the operator's alone.
pub const OPERATORS_DOMAIN: &str = "relay.waow.tech/";
/// Labels that the operator and the StatefulSet give to the pod.
pub const OPERATORS_LABELS: [&str; 6] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];
/// What is said of a label or an annotation that a spec may not set.
pub const OPERATORS_OWN: &str = "pod.labels and pod.annotations must leave to the operator what is its own: \
     relay.waow.tech/…, app.kubernetes.io/name, instance and managed-by, and what the StatefulSet sets";

/// What else the pod has.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new(format!(
        "!has(self.labels) || self.labels.all(k, !k.startsWith('{OPERATORS_DOMAIN}') && !(k in {OPERATORS_LABELS:?}))"
    )).message(OPERATORS_OWN),
    validation = Rule::new(format!(
        "!has(self.annotations) || self.annotations.all(k, !k.startsWith('{OPERATORS_DOMAIN}'))"
    )).message(OPERATORS_OWN)
)]
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

    /// Processor time of the relay. By default it is not set aside and not limited: the pod has what others leave.
    #[serde(default)]
    pub cpu: CpuSpec,

    /// Variables of the relay's environment, for what no field of the spec says, such as GOMAXPROCS or
    /// RELAY_HOST_CONCURRENCY of indigo; those that the operator sets are refused. No secrets: who reads the Relay reads them.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub env: BTreeMap<String, String>,

    /// Taints of nodes that the pod bears, as in `kubectl explain pod.spec.tolerations`.
    #[serde(default)]
    #[schemars(length(max = 16), transform = without_descriptions)]
    pub tolerations: Vec<Toleration>,

    /// Which nodes and which company the pod prefers, beyond spec.node, as in `kubectl explain pod.spec.affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_descriptions)]
    pub affinity: Option<Affinity>,

    /// PriorityClass of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub priority_class_name: Option<String>,
}

/// Processor time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new(
    "!has(self.request) || !has(self.limit) || quantity(self.request).compareTo(quantity(self.limit)) <= 0"
).message("pod.cpu.request must not be above pod.cpu.limit"))]
pub struct CpuSpec {
    /// What the scheduler sets aside on the node: cores, or thousandths of one, such as 500m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = CPU.rule())]
    pub request: Option<String>,

    /// From where on the relay has to wait, though the node be idle. A limit makes bursts late.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = CPU.rule())]
    pub limit: Option<String>,
}

/// The schema of a type of Kubernetes' own, without its text: that is some 30 KB, and `kubectl explain` has it elsewhere.
fn without_descriptions(schema: &mut Schema) {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(object) => {
                // A property may have the name of a keyword.
                object.retain(|key, value| key != "description" || !value.is_string());
                object.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let own = schema.get("description").cloned();
    if let Some(object) = schema.as_object_mut() {
        object.values_mut().for_each(strip);
        object.extend(own.map(|own| ("description".to_owned(), own)));
    }
}
