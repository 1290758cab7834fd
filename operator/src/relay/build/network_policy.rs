use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::implementation::{Port, Profile};
use crate::api::PodsOf;
use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// Every address of a family, and of it those of the metadata services of clouds, which tell anyone who asks what the node
/// was made with, keys included: IPv4 is the same everywhere, IPv6 is AWS' and Google's.
const ANYWHERE: [(&str, &[&str]); 2] =
    [("0.0.0.0/0", &["169.254.169.254/32"]), ("::/0", &["fd00:ec2::254/128", "fd20:ce::254/128"])];

/// Label that the API server gives every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Who may reach the pod, and whom it may reach, unless the spec leaves that open.
///
/// The kubelet's probes need no rule: what comes from the pod's own node is always let through. Private addresses are not
/// kept from the pod: a database, a PLC directory or a host may have one, and a rule sees addresses, not names.
pub(super) fn build(relay: &ValidRelay, profile: &Profile) -> Option<NetworkPolicy> {
    let guard = relay.guard.as_ref()?;
    let operator =
        PodsOf { namespaces: BTreeMap::from([(NAMESPACE_NAME.into(), guard.operator.clone())]), pods: BTreeMap::new() };
    let admin = [&operator].into_iter().chain(&guard.admin_from).map(pods_of);
    let blocks = ANYWHERE.iter().map(|(cidr, except)| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: (*cidr).into(),
            except: Some(except.iter().map(|cidr| (*cidr).into()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    });
    // Some take a block for what is outside of the cluster: its pods need a name of their own.
    let all_pods = pods_of(&PodsOf::default());
    Some(NetworkPolicy {
        metadata: names::meta(relay, names::network_policy(&relay.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(names::selector(&relay.name)),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { ports: Some(ports(open_ports(relay, profile))), from: None },
                NetworkPolicyIngressRule { ports: Some(ports(profile.internal_ports())), from: Some(admin.collect()) },
            ]),
            egress: Some(vec![NetworkPolicyEgressRule { to: Some(blocks.chain([all_pods]).collect()), ports: None }]),
        }),
    })
}

/// What the Service of the firehose has, and what a proxy of the cluster is told to go to: which pods or nodes that comes from, nobody says.
fn open_ports(relay: &ValidRelay, profile: &Profile) -> Vec<Port> {
    let mut open = profile.public_ports();
    for public in profile.public.iter().filter(|_| relay.access.front.is_some()) {
        if !open.contains(&public.port) {
            open.push(public.port);
        }
    }
    open
}

fn ports(ports: impl IntoIterator<Item = Port>) -> Vec<NetworkPolicyPort> {
    let port = |(_, number)| NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".into()),
        ..NetworkPolicyPort::default()
    };
    ports.into_iter().map(port).collect()
}

fn pods_of(PodsOf { namespaces, pods }: &PodsOf) -> NetworkPolicyPeer {
    let labelled = |labels: &BTreeMap<String, String>| LabelSelector {
        match_labels: (!labels.is_empty()).then(|| labels.clone()),
        ..LabelSelector::default()
    };
    NetworkPolicyPeer {
        namespace_selector: Some(labelled(namespaces)),
        pod_selector: (!pods.is_empty()).then(|| labelled(pods)),
        ..NetworkPolicyPeer::default()
    }
}

#[cfg(test)]
mod tests;
