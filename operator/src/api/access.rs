use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How consumers reach the relay.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct AccessSpec {
    /// The Service in front of the firehose. The admin API has one of its own that is never exposed.
    #[serde(default)]
    pub service: ServiceSpec,
}

/// A Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.nodePort) || self.type != 'ClusterIP'")
    .message("nodePort needs type NodePort or LoadBalancer"))]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Where the Service is reachable: in the cluster, on a port of every node, or behind a load balancer.
    #[serde(rename = "type", default)]
    pub type_: ServiceType,

    /// Port on every node; by default the cluster chooses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
}

/// Type of a Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Kubernetes' own words
pub enum ServiceType {
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
}
