#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::*;
use crate::relay::apply::Refused;
use crate::relay::fixtures::{minimal, valid, world};

/// A cluster that has what was asked for, as its controllers say.
struct Cluster {
    service: Value,
    ingress: Option<Value>,
    optional: Vec<(OptionalKind, Result<Value, Refused>)>,
}

impl Cluster {
    fn new() -> Self {
        Self { service: json!({}), ingress: None, optional: Vec::new() }
    }

    fn service(self, service: Value) -> Self {
        Self { service, ..self }
    }

    fn ingress(self, points: Value) -> Self {
        let status = json!({"loadBalancer": {"ingress": points}});
        Self { ingress: Some(json!({"spec": {"ingressClassName": "traefik"}, "status": status})), ..self }
    }

    fn with(mut self, kind: OptionalKind, status: Value) -> Self {
        let metadata = json!({"name": "demo", "namespace": "relays", "generation": 2});
        self.optional.push((kind, Ok(json!({"metadata": metadata, "status": status}))));
        self
    }

    fn without(mut self, kind: OptionalKind) -> Self {
        self.optional.push((kind, Err(Refused::NotInstalled(kind))));
        self
    }

    fn applied(self) -> Applied {
        let object = |value: Value| serde_json::from_value(value).map(Arc::new).unwrap();
        let mut service = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 3000}]}});
        if let Value::Object(more) = self.service {
            service.as_object_mut().unwrap().extend(more);
        }
        Applied {
            service: Some(Arc::new(serde_json::from_value::<Service>(service).unwrap())),
            ingress: self.ingress.map(|ingress| Arc::new(serde_json::from_value(ingress).unwrap())),
            optional: self.optional.into_iter().map(|(kind, result)| (kind, result.map(object))).collect(),
            ..Applied::default()
        }
    }
}

/// `STATUS REASON` and the endpoint.
fn said_of(access: &Value, cluster: Cluster) -> (String, String) {
    let mut spec = minimal();
    spec["access"] = access.clone();
    let (relay, applied) = (valid(&spec, &world()), cluster.applied());
    let endpoint = endpoint(&relay, &applied).unwrap_or_default();
    let finding = finding(&relay, &world(), &Ok(applied));
    (format!("{} {}", finding.status(), finding.reason), endpoint)
}

fn route(conditions: Value) -> Value {
    let parent = json!({"name": "public", "namespace": "gateways"});
    json!({"parents": [{"parentRef": {"name": "other"}, "conditions": []}, {"parentRef": parent, "conditions": conditions}]})
}

fn condition(type_: &str, status: &str, generation: i64) -> Value {
    json!({"type": type_, "status": status, "observedGeneration": generation, "reason": "R", "message": "m"})
}

#[test]
fn everything_that_is_asked_for_is_to_be_ready() {
    use OptionalKind::{Certificate, DnsEndpoint, HttpRoute};
    let cluster = Cluster::new;
    let ip = || json!([{"ip": "203.0.113.7"}]);
    let by_ingress = json!({"ingress": {"className": "traefik"}});
    let by_issuer = json!({"ingress": {}, "tls": {"clusterIssuer": "le"}});
    let by_name = json!({"ingress": {}, "dns": {"externalDNS": true, "targets": ["203.0.113.7"]}});
    let unnamed = json!({"ingress": {}, "dns": {"externalDNS": true}});
    let by_route = json!({"httpRoute": {"parentRefs": [{"name": "public", "namespace": "gateways"}]}});
    let balanced = json!({"service": {"type": "LoadBalancer"}});
    let balancer = |points: Value| {
        json!({
            "spec": {"type": "LoadBalancer", "ports": [{"port": 3000}]}, "status": {"loadBalancer": {"ingress": points}},
        })
    };
    let (inside, plain, tls) = ("ws://demo.relays.svc:3000", "ws://relay.test", "wss://relay.test");
    let ready = |status: &str| json!({"conditions": [condition("Ready", status, 2)]});
    let accepted = |accepted: &str, resolved: &str, generation: i64| {
        route(json!([condition("Accepted", accepted, generation), condition("ResolvedRefs", resolved, generation)]))
    };
    #[rustfmt::skip]
    let table = [
        ("nothing", json!({}), cluster(), "True ClusterOnly", inside),
        ("a port of every node", json!({"service": {"type": "NodePort"}}),
            cluster().service(json!({"spec": {"type": "NodePort", "ports": [{"port": 3000, "nodePort": 30300}]}})), "True Exposed", "ws://relay.test:30300"),
        ("no port yet", json!({"service": {"type": "NodePort"}}),
            cluster().service(json!({"spec": {"type": "NodePort", "ports": [{"port": 3000}]}})), "False NoPort", ""),
        ("the node's network", json!({"hostNetwork": {"adminAddress": "10.0.0.2"}}), cluster(), "True Exposed", "ws://relay.test:3000"),
        ("a balancer", balanced.clone(), cluster().service(balancer(ip())), "True Exposed", "ws://relay.test:3000"),
        ("a balancer without address", balanced, cluster().service(balancer(json!([]))), "False LoadBalancerPending", "ws://relay.test:3000"),
        ("no Ingress", by_ingress.clone(), cluster(), "False IngressNotReady", inside),
        ("an Ingress that nobody serves", by_ingress.clone(), cluster().ingress(json!([])), "False IngressNotReady", plain),
        ("an Ingress", by_ingress, cluster().ingress(ip()), "True Exposed", plain),
        ("an Ingress with a certificate of its own", json!({"ingress": {}, "tls": {}}), cluster().ingress(ip()), "True Exposed", tls),
        ("no cert-manager", by_issuer.clone(), cluster().ingress(ip()).without(Certificate), "False CRDNotInstalled", tls),
        ("no word of cert-manager", by_issuer.clone(), cluster().ingress(ip()).with(Certificate, json!({})), "False CertificateNotReady", tls),
        ("no certificate", by_issuer.clone(), cluster().ingress(ip()).with(Certificate, ready("False")), "False CertificateNotReady", tls),
        ("a certificate", by_issuer, cluster().ingress(ip()).with(Certificate, ready("True")), "True Exposed", tls),
        ("no address to name", unnamed, cluster().ingress(ip()), "False AddressUnknown", plain),
        ("no external-dns", by_name.clone(), cluster().ingress(ip()).without(DnsEndpoint), "False CRDNotInstalled", plain),
        ("no word of external-dns", by_name.clone(), cluster().ingress(ip()).with(DnsEndpoint, json!({})), "False DNSNotReady", plain),
        ("the record of before", by_name.clone(), cluster().ingress(ip()).with(DnsEndpoint, json!({"observedGeneration": 1})), "False DNSNotReady", plain),
        ("a record", by_name, cluster().ingress(ip()).with(DnsEndpoint, json!({"observedGeneration": 2})), "True Exposed", plain),
        ("no Gateway API", by_route.clone(), cluster().without(HttpRoute), "False CRDNotInstalled", inside),
        ("a Gateway that says nothing", by_route.clone(), cluster().with(HttpRoute, json!({})), "False RouteNotAccepted", tls),
        ("a Gateway that refuses", by_route.clone(), cluster().with(HttpRoute, accepted("False", "True", 2)), "False RouteNotAccepted", tls),
        ("no way behind it", by_route.clone(), cluster().with(HttpRoute, accepted("True", "False", 2)), "False RouteNotAccepted", tls),
        ("the route of before", by_route.clone(), cluster().with(HttpRoute, accepted("True", "True", 1)), "False RouteNotAccepted", tls),
        ("a route", by_route, cluster().with(HttpRoute, accepted("True", "True", 2)), "True Exposed", tls),
    ];
    for (case, access, cluster, condition, endpoint) in table {
        assert_eq!(said_of(&access, cluster), (condition.to_owned(), endpoint.to_owned()), "{case}");
    }
}

#[test]
fn a_secret_that_is_not_there_is_told() {
    let mut spec = minimal();
    spec["access"] = json!({"ingress": {}, "tls": {"secretName": "mine"}});
    let relay = valid(&spec, &world());
    let told = |tls_secret_missing| {
        let applied = Cluster::new().ingress(json!([{"hostname": "lb.example.com"}])).applied();
        finding(&relay, &World { tls_secret_missing, ..world() }, &Ok(applied))
    };
    assert_eq!(told(false).reason, "Exposed");
    let missing = told(true);
    assert_eq!((missing.verdict, missing.reason), (Verdict::Bad, "SecretNotFound"));
    assert!(missing.message.contains("mine"), "{}", missing.message);
}

#[test]
fn what_could_not_be_applied_is_not_known() {
    let relay = valid(&minimal(), &world());
    let error = Err(Error::Foreign { what: "Ingress demo".into() });
    let finding = finding(&relay, &world(), &error);
    assert_eq!((finding.verdict, finding.reason), (Verdict::Unknown, "NameTaken"));
}
