#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::relay::fixtures::{DEFAULT_IMAGE, full_world, minimal, relay};
use crate::relay::validate::tests::cel;
use crate::relay::validate::validate;

fn of(access: &Value) -> Value {
    let mut spec = minimal();
    spec["access"] = access.clone();
    spec
}

fn message(spec: &Value) -> Option<String> {
    validate(&relay(spec), &full_world(), DEFAULT_IMAGE).err().map(|invalid| invalid.to_string())
}

fn parents(parents: Value) -> Value {
    json!({"parentRefs": parents})
}

#[test]
fn good_ways_in_pass_the_schema_and_the_operator() {
    let route = parents(json!([{"name": "public"}]));
    for access in [
        json!({}),
        json!({"ingress": {}}),
        json!({"ingress": {"className": "traefik", "annotations": {"a.example/b": "any text"}}, "tls": {}}),
        json!({"ingress": {}, "tls": {"secretName": "mine"}}),
        json!({"ingress": {}, "tls": {"issuer": "le"}, "dns": {"externalDNS": true}}),
        json!({"httpRoute": route, "tls": {"clusterIssuer": "le"}}),
        json!({"httpRoute": route, "dns": {"externalDNS": true, "targets": ["lb.example.com"]}}),
        json!({"service": {"type": "LoadBalancer"}, "dns": {"externalDNS": true, "ttl": 1}}),
        json!({"dns": {"externalDNS": true, "targets": ["203.0.113.7", "2001:db8::7"]}}),
        json!({"dns": {"targets": ["203.0.113.7"]}}),
        json!({"hostNetwork": {"adminAddress": "10.0.0.2"}, "ingress": {}}),
        json!({"hostNetwork": {"adminAddress": "fd00::2"}}),
    ] {
        assert_eq!(cel(&of(&access), None), Vec::<String>::new(), "schema: {access}");
        assert_eq!(message(&of(&access)), None, "operator: {access}");
    }
}

#[test]
fn bad_ways_in_are_refused_by_the_schema_and_by_the_operator_with_the_same_sentence() {
    let route = parents(json!([{"name": "public"}]));
    #[rustfmt::skip]
    let table = [
        (json!({"ingress": {}, "httpRoute": route}), INGRESS_OR_ROUTE),
        (json!({"tls": {}}), TLS_NEEDS_A_PROXY),
        (json!({"httpRoute": route, "tls": {"secretName": "mine"}}), ROUTE_HAS_NO_SECRET),
        (json!({"ingress": {}, "tls": {"secretName": "mine", "issuer": "le"}}), ONE_ISSUER),
        (json!({"ingress": {}, "tls": {"clusterIssuer": "le", "issuer": "le"}}), ONE_ISSUER),
        (json!({"dns": {"externalDNS": true}}), DNS_NEEDS_TARGETS),
        (json!({"dns": {"externalDNS": true}, "service": {"type": "NodePort"}}), DNS_NEEDS_TARGETS),
        (json!({"dns": {"externalDNS": true}, "httpRoute": route, "service": {"type": "LoadBalancer"}}), DNS_NEEDS_TARGETS),
        (json!({"dns": {"targets": ["203.0.113.7", "lb.example.com"]}}), TARGETS_OF_ONE_SORT),
        (json!({"dns": {"targets": ["a.example.com", "b.example.com"]}}), TARGETS_OF_ONE_SORT),
        (json!({"dns": {"targets": ["https://lb.example.com"]}}), DNS_TARGET.message),
        (json!({"ingress": {"className": "Traefik!"}}), OBJECT_NAME.message),
        (json!({"httpRoute": parents(json!([{"name": "a/b"}]))}), OBJECT_NAME.message),
        (json!({"httpRoute": parents(json!([{"name": "a", "namespace": "../b"}]))}), OBJECT_NAME.message),
        (json!({"httpRoute": parents(json!([{"name": "a", "sectionName": "B"}]))}), OBJECT_NAME.message),
        (json!({"ingress": {}, "tls": {"clusterIssuer": "a/b"}}), OBJECT_NAME.message),
        (json!({"ingress": {}, "tls": {"issuer": "a/b"}}), OBJECT_NAME.message),
        (json!({"ingress": {}, "tls": {"secretName": "a/b"}}), OBJECT_NAME.message),
        (json!({"hostNetwork": {"adminAddress": "203.0.113.7"}}), PRIVATE_ADDRESS.message),
        (json!({"hostNetwork": {"adminAddress": "0.0.0.0"}}), PRIVATE_ADDRESS.message),
        (json!({"hostNetwork": {"adminAddress": "127.0.0.1"}}), PRIVATE_ADDRESS.message),
    ];
    for (access, sentence) in table {
        let cel = cel(&of(&access), None);
        assert!(cel.iter().any(|message| message.contains(sentence)), "schema: {access}: {cel:?}");
        let got = message(&of(&access)).unwrap_or_default();
        assert!(got.contains(sentence), "operator: {access}: {got:?}");
    }
}

#[test]
fn what_the_schema_bounds_without_cel_is_refused_by_the_operator_too() {
    let nine: Vec<Value> = (0..9).map(|n| json!({"name": format!("g{n}")})).collect();
    let many: Vec<String> = (0..17).map(|n| format!("203.0.113.{n}")).collect();
    for (access, sentence) in [
        (json!({"httpRoute": parents(json!([]))}), "name 1 to 8 Gateways"),
        (json!({"httpRoute": parents(json!(nine))}), "name 1 to 8 Gateways"),
        (json!({"dns": {"ttl": 0}}), "between 1 and 86400"),
        (json!({"dns": {"ttl": 86_401}}), "between 1 and 86400"),
        (json!({"dns": {"targets": many}}), "at most 16"),
        (json!({"ingress": {"annotations": {"a b": "c"}}}), "a label's key"),
        (json!({"hostNetwork": {"adminAddress": "10.0.0.300"}}), "write a private address"),
    ] {
        let got = message(&of(&access)).unwrap_or_default();
        assert!(got.contains(sentence), "{access}: {got:?}");
    }
    for peer in [json!({"namespaces": {"a b": "c"}}), json!({"pods": {"a": "b c"}})] {
        let mut spec = minimal();
        spec["networkPolicy"] = json!({"adminFrom": [peer]});
        let got = message(&spec).unwrap_or_default();
        assert!(got.contains("a label's"), "{peer}: {got:?}");
    }
}

#[test]
fn the_nodes_network_is_for_the_bundled_relay() {
    for implementation in ["Indigo", "Zlay"] {
        let mut spec = of(&json!({"hostNetwork": {"adminAddress": "10.0.0.2"}}));
        spec["implementation"] = json!(implementation);
        spec["image"] = json!({"repository": "r.test/relay", "tag": "1"});
        spec["database"] = json!({"externalSecretRef": {"name": "relay-db", "key": "uri"}});
        let cel = cel(&spec, None);
        assert!(cel.iter().any(|message| message.contains(HOST_NETWORK_NEEDS_BUNDLED)), "{cel:?}");
        assert_eq!(message(&spec).as_deref(), Some(HOST_NETWORK_NEEDS_BUNDLED));
    }
}
