use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::implementation::{Port, Profile};
use crate::api::ServiceType;
use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// Asks external-dns for a record.
const EXTERNAL_DNS_HOSTNAME: &str = "external-dns.alpha.kubernetes.io/hostname";

/// The Service of the firehose and XRPC, as public as the spec says.
pub(super) fn firehose(relay: &ValidRelay, profile: &Profile) -> Service {
    let mut metadata = names::meta(relay, names::firehose_service(&relay.name));
    let type_ = match relay.access.service.type_ {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    // Where there is a DNSEndpoint, that is the one who asks.
    if relay.access.service.type_ != ServiceType::ClusterIp && relay.access.dns.is_none() {
        metadata.annotations = Some(BTreeMap::from([(EXTERNAL_DNS_HOSTNAME.into(), relay.hostname.clone())]));
    }
    // A Service knows no paths: what another program answers of the public API has a port of its own here.
    let mut ports: Vec<ServicePort> = profile.public_ports().into_iter().map(port).collect();
    if let Some(firehose) = ports.first_mut() {
        firehose.node_port = relay.access.service.node_port;
    }
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.into()),
            selector: Some(names::selector_labels(&relay.name)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The Service of health, metrics and the admin API. It is never reachable from outside the cluster, and
/// reaches a relay that is not ready, which is when its metrics matter.
pub(super) fn admin(relay: &ValidRelay, profile: &Profile) -> Service {
    let firehose = profile.admin_at_firehose.then_some(profile.firehose);
    Service {
        metadata: names::meta(relay, names::admin(&relay.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(names::selector_labels(&relay.name)),
            ports: Some(firehose.into_iter().chain(profile.internal_ports()).map(port).collect()),
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port((name, port): Port) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port,
        protocol: Some("TCP".into()),
        target_port: Some(IntOrString::String(name.into())),
        ..ServicePort::default()
    }
}
