use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who may reach the pod, and whom it may reach.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// Whether there is a NetworkPolicy: everybody reaches the firehose, the operator and those of adminFrom reach the admin port,
    /// and the pod reaches everybody but the metadata service of the cloud.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// Pods that reach the admin API, which asks for its token, and the metrics, beside those of the operator's namespace. By
    /// default each pod that is labelled as the Prometheus operator labels a Prometheus.
    #[serde(default = "default_admin_from")]
    #[schemars(length(max = 16))]
    pub admin_from: Vec<PodsOf>,
}

/// Some pods, by labels.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodsOf {
    /// Labels of their namespaces, such as kubernetes.io/metadata.name: monitoring; by default all.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub namespaces: BTreeMap<String, String>,

    /// Their own labels; by default all.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub pods: BTreeMap<String, String>,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self { enabled: enabled(), admin_from: default_admin_from() }
    }
}

fn enabled() -> bool {
    true
}

fn default_admin_from() -> Vec<PodsOf> {
    let prometheus = ("app.kubernetes.io/name".into(), "prometheus".into());
    vec![PodsOf { namespaces: BTreeMap::new(), pods: BTreeMap::from([prometheus]) }]
}
