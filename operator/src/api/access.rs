use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::{DNS_TARGET, OBJECT_NAME, PRIVATE_ADDRESS};

/// One name, one way in.
pub const INGRESS_OR_ROUTE: &str =
    "access.ingress and access.httpRoute exclude each other; keep the one that your cluster has a controller for";
/// The relay itself speaks plain HTTP.
pub const TLS_NEEDS_A_PROXY: &str =
    "access.tls needs access.ingress or access.httpRoute: the relay leaves TLS to what is in front of it";
/// Where the listener of a Gateway has its certificate, the Gateway says.
pub const ROUTE_HAS_NO_SECRET: &str =
    "access.tls.secretName needs access.ingress; with access.httpRoute, name the Secret in the listener of the Gateway";
/// A certificate comes from one place.
pub const ONE_ISSUER: &str = "name at most one of clusterIssuer, issuer and secretName";
/// Where the operator does not see the address.
pub const DNS_NEEDS_TARGETS: &str = "access.dns.externalDNS needs access.dns.targets: the operator knows an address by itself only with access.ingress, or with access.service.type: LoadBalancer and no access.httpRoute";
/// What a DNS record may point to.
pub const TARGETS_OF_ONE_SORT: &str = "access.dns.targets are either addresses, or one DNS name";
/// Only of the bundled relay it is known that its admin API can be kept off an address.
pub const HOST_NETWORK_NEEDS_BUNDLED: &str = "access.hostNetwork needs implementation: Bundled; the admin API of others listens on every address of the node, and a NetworkPolicy does not hold there";

/// How consumers reach the relay. What is asked for here and is ready, the condition Exposed tells.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.ingress) || !has(self.httpRoute)").message(INGRESS_OR_ROUTE))]
#[x_kube(validation = Rule::new("!has(self.tls) || has(self.ingress) || has(self.httpRoute)").message(TLS_NEEDS_A_PROXY))]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.tls.secretName) || !has(self.httpRoute)")
    .message(ROUTE_HAS_NO_SECRET))]
#[x_kube(validation = Rule::new("!self.dns.externalDNS || size(self.dns.targets) > 0 || has(self.ingress) \
    || self.service.type == 'LoadBalancer' && !has(self.httpRoute)").message(DNS_NEEDS_TARGETS))]
#[serde(rename_all = "camelCase")]
pub struct AccessSpec {
    /// The Service in front of the firehose. The admin API has one of its own that is never exposed.
    #[serde(default)]
    pub service: ServiceSpec,

    /// An Ingress for the hostname. It leads to the firehose and the public XRPC methods, never to the admin API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,

    /// An HTTPRoute of the Gateway API, in place of an Ingress. It leads to the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRouteSpec>,

    /// That consumers come over TLS, and which certificate they see. With none of its fields it is the Ingress controller's own,
    /// or the one that the Gateway names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,

    /// The DNS record of the hostname.
    #[serde(default)]
    pub dns: DnsSpec,

    /// The pod has the node's network: no address translation for its thousands of connections, and the firehose on a port of
    /// the node. The namespace must allow it (pod-security.kubernetes.io/enforce: privileged), and there is no NetworkPolicy then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_network: Option<HostNetworkSpec>,
}

/// An Ingress.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressSpec {
    /// The IngressClass, such as traefik; by default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub class_name: Option<String>,

    /// Annotations of the Ingress, for its controller.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// An HTTPRoute.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The Gateways that lead to it.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
}

/// A Gateway.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Its name.
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub name: String,

    /// Its namespace; by default that of the Relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub namespace: Option<String>,

    /// The one listener that leads here; by default all that fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub section_name: Option<String>,
}

/// The certificate that consumers see.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new(
    "(has(self.clusterIssuer) ? 1 : 0) + (has(self.issuer) ? 1 : 0) + (has(self.secretName) ? 1 : 0) <= 1"
).message(ONE_ISSUER))]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// A ClusterIssuer of cert-manager: a Certificate in the Secret NAME-tls is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub cluster_issuer: Option<String>,

    /// The same of an Issuer in the Relay's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub issuer: Option<String>,

    /// A Secret of type kubernetes.io/tls that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = OBJECT_NAME.rule())]
    pub secret_name: Option<String>,
}

/// The DNS record of the hostname.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DnsSpec {
    /// Whether there is a DNSEndpoint, of which external-dns (with --source=crd) makes the record. Without it a Service of type
    /// NodePort or LoadBalancer still has the annotation by which external-dns (with --source=service) makes one.
    #[serde(rename = "externalDNS", default)]
    pub external_dns: bool,

    /// Seconds for which others remember the record.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl: i64,

    /// What the record points to: addresses, or one DNS name. By default what the Ingress, or the Service of type LoadBalancer,
    /// has in its status.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    #[x_kube(validation = DNS_TARGET.each_rule())]
    #[x_kube(validation = Rule::new("size(self) <= 1 || self.all(s, s.matches('^[0-9.]+$') || s.contains(':'))")
        .message(TARGETS_OF_ONE_SORT))]
    pub targets: Vec<String>,
}

/// The node's network.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostNetworkSpec {
    /// A private address of the node at which alone the admin API and the metrics listen, since no NetworkPolicy keeps others off
    /// them there: that of the network between the nodes. The operator and Prometheus must reach it; Prometheus goes to the
    /// node's InternalIP, so it is best the same.
    #[schemars(length(max = 39))]
    #[x_kube(validation = PRIVATE_ADDRESS.rule())]
    pub admin_address: String,
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

impl Default for DnsSpec {
    fn default() -> Self {
        Self { external_dns: false, ttl: default_ttl(), targets: Vec::new() }
    }
}

fn default_ttl() -> i64 {
    300
}
