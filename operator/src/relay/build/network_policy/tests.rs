//! The policy is applied here as its specification says: a cluster with a controller for it is not needed.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::relay::fixtures::{full, full_world, minimal, valid, world};
use crate::relay::read::World;

/// Who is at the other end.
enum Peer {
    /// A pod with these labels, in the namespace of this name.
    Pod(&'static str, &'static [(&'static str, &'static str)]),
    /// An address that is no pod's.
    Address(&'static str),
}

use Peer::{Address, Pod};

const PROMETHEUS: &[(&str, &str)] = &[("app.kubernetes.io/name", "prometheus"), ("prometheus", "k8s")];

/// Pods are matched by selectors only and the rest by blocks only, as the strictest controllers do.
fn is_meant(selector: &NetworkPolicyPeer, peer: &Peer) -> bool {
    match (peer, &selector.ip_block) {
        (Pod(namespace, labels), None) => {
            let of_namespace = [(NAMESPACE_NAME, *namespace)];
            has_labels(selector.namespace_selector.as_ref().unwrap(), &of_namespace)
                && selector.pod_selector.as_ref().is_none_or(|selector| has_labels(selector, labels))
        }
        (Address(address), Some(block)) => {
            let except = block.except.iter().flatten();
            is_within(&block.cidr, address) && !except.into_iter().any(|cidr| is_within(cidr, address))
        }
        _ => false,
    }
}

fn has_labels(selector: &LabelSelector, labels: &[(&str, &str)]) -> bool {
    assert_eq!(selector.match_expressions, None, "not evaluated here");
    let wanted = selector.match_labels.iter().flatten();
    wanted.into_iter().all(|(key, value)| labels.contains(&(key.as_str(), value.as_str())))
}

fn is_within(cidr: &str, address: &str) -> bool {
    let (network, length) = cidr.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    match (network.parse().unwrap(), address.parse().unwrap()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u32::from(network) ^ u32::from(address)).leading_zeros() >= length
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (u128::from(network) ^ u128::from(address)).leading_zeros() >= length
        }
        _ => false,
    }
}

fn lets_in(policy: &NetworkPolicy, peer: &Peer, port: i32) -> bool {
    let rules = policy.spec.as_ref().unwrap().ingress.as_ref().unwrap();
    rules.iter().any(|rule| {
        let ports = rule.ports.as_ref().unwrap();
        assert_ne!(ports, &[], "no port is every port");
        let mut numbers = ports.iter().map(|port| port.port.clone().unwrap());
        numbers.any(|number| number == IntOrString::Int(port))
            && rule.from.as_ref().is_none_or(|from| from.iter().any(|selector| is_meant(selector, peer)))
    })
}

fn lets_out(policy: &NetworkPolicy, peer: &Peer) -> bool {
    let rules = policy.spec.as_ref().unwrap().egress.as_ref().unwrap();
    rules.iter().any(|rule| {
        assert_eq!(rule.ports, None, "every port");
        rule.to.as_ref().unwrap().iter().any(|selector| is_meant(selector, peer))
    })
}

fn policy(spec: &Value, world: &World) -> Option<NetworkPolicy> {
    let relay = valid(spec, world);
    build(&relay, &Profile::of(&relay, relay.memory.at(relay.memory.limit)).unwrap())
}

fn foreign(implementation: &str, access: &Value) -> Value {
    json!({
        "hostname": "relay.test", "implementation": implementation, "access": access,
        "image": {"repository": "r.test/relay", "tag": "1"},
        "database": {"externalSecretRef": {"name": "relay-db", "key": "uri"}},
    })
}

#[test]
fn everybody_reaches_the_firehose_and_few_the_rest() {
    let bundled = policy(&minimal(), &world()).unwrap();
    let full = policy(&full(), &full_world()).unwrap();
    let indigo = policy(&foreign("Indigo", &json!({})), &full_world()).unwrap();
    let zlay = policy(&foreign("Zlay", &json!({})), &full_world()).unwrap();
    let proxied = policy(&foreign("Zlay", &json!({"ingress": {}})), &full_world()).unwrap();
    #[rustfmt::skip]
    let table: &[(&str, &NetworkPolicy, Peer, i32, bool)] = &[
        ("the internet",                &bundled, Address("203.0.113.9"), 3000, true),
        ("the internet, by IPv6",       &bundled, Address("2001:db8::9"), 3000, true),
        ("another node",                &bundled, Address("10.0.0.3"), 3000, true),
        ("any pod",                     &bundled, Pod("apps", &[]), 3000, true),
        ("the internet to admin",       &bundled, Address("203.0.113.9"), 3001, false),
        ("any pod to admin",            &bundled, Pod("apps", &[]), 3001, false),
        ("a neighbour to admin",        &bundled, Pod("relays", &[]), 3001, false),
        ("the operator to admin",       &bundled, Pod("relay-operator", &[]), 3001, true),
        ("Prometheus to admin",         &bundled, Pod("monitoring", PROMETHEUS), 3001, true),
        ("Grafana to admin",            &bundled, Pod("monitoring", &[("app.kubernetes.io/name", "grafana")]), 3001, false),
        ("the operator elsewhere",      &bundled, Pod("relay-operator", &[]), 22, false),
        ("those of the spec",           &full, Pod("monitoring", &[]), 3001, true),
        ("in place of the default",     &full, Pod("elsewhere", PROMETHEUS), 3001, false),
        ("and the operator",            &full, Pod("relay-operator", &[]), 3001, true),
        ("indigo's firehose",           &indigo, Address("203.0.113.9"), 2470, true),
        ("indigo's metrics",            &indigo, Pod("apps", &[]), 2471, false),
        ("Prometheus to indigo",        &indigo, Pod("monitoring", PROMETHEUS), 2471, true),
        ("the operator to indigo",      &indigo, Pod("relay-operator", &[]), 2471, true),
        ("zlay's firehose",             &zlay, Address("203.0.113.9"), 3000, true),
        ("zlay's HTTP",                 &zlay, Pod("traefik", &[]), 3001, false),
        ("zlay's HTTP behind a proxy",  &proxied, Pod("traefik", &[]), 3001, true),
    ];
    for (case, policy, peer, port, want) in table {
        assert_eq!(lets_in(policy, peer, *port), *want, "{case} at {port}");
    }
}

#[test]
fn the_pod_reaches_everybody_but_the_metadata_of_the_cloud() {
    let policy = policy(&minimal(), &world()).unwrap();
    for (case, peer, want) in [
        ("a host", Address("203.0.113.9"), true),
        ("a host with IPv6", Address("2001:db8::9"), true),
        ("a private database", Address("10.0.0.5"), true),
        ("the cluster's DNS", Pod("kube-system", &[("k8s-app", "kube-dns")]), true),
        ("a DNS cache of the node", Address("169.254.20.10"), true),
        ("a database in the cluster", Pod("databases", &[]), true),
        ("the metadata service", Address("169.254.169.254"), false),
        ("that of AWS by IPv6", Address("fd00:ec2::254"), false),
        ("that of Google by IPv6", Address("fd20:ce::254"), false),
    ] {
        assert_eq!(lets_out(&policy, &peer), want, "{case}");
    }
}

#[test]
fn it_is_about_both_directions_of_the_relays_pod_alone() {
    let spec = policy(&minimal(), &world()).unwrap().spec.unwrap();
    assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
    assert_eq!(spec.pod_selector.unwrap().match_labels.unwrap(), names::selector_labels("demo"));
}

#[test]
fn there_is_none_where_it_is_not_wanted_or_would_not_hold() {
    let mut spec = minimal();
    spec["networkPolicy"] = json!({"enabled": false});
    assert_eq!(policy(&spec, &world()), None);
    let mut spec = minimal();
    spec["access"] = json!({"hostNetwork": {"adminAddress": "10.0.0.2"}});
    assert_eq!(policy(&spec, &world()), None);
}
