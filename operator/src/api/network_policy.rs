use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who may reach the pod, and whom it may reach.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct NetworkPolicySpec {
    /// Whether there is a NetworkPolicy: everybody reaches the firehose, the operator and Prometheus reach the admin port, and
    /// the pod reaches everybody but the metadata service of the cloud.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self { enabled: enabled() }
    }
}

fn enabled() -> bool {
    true
}
