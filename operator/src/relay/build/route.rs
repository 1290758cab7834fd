//! Names and routes of kinds that the cluster may know: HTTPRoute, Certificate, DNSEndpoint.

use serde_json::{Value, json};

use super::OptionalChild;
use super::implementation::{Path, Port, Profile};
use crate::relay::names;
use crate::relay::optional::OptionalKind;
use crate::relay::validate::{Targets, Tls, ValidRelay, Way};

/// What the spec asks for.
pub(super) fn build(relay: &ValidRelay, profile: &Profile) -> Vec<OptionalChild> {
    [http_route(relay, profile), certificate(relay), dns_endpoint(relay)].into_iter().flatten().collect()
}

/// One rule for each port that has public paths.
fn http_route(relay: &ValidRelay, profile: &Profile) -> Option<OptionalChild> {
    let Way::Route(parents) = &relay.access.front.as_ref()?.way else { return None };
    let mut ports: Vec<Port> = Vec::new();
    for public in &profile.public {
        if !ports.contains(&public.port) {
            ports.push(public.port);
        }
    }
    let rules = ports.into_iter().map(|port| {
        let of_port = profile.public.iter().filter(|public| public.port == port);
        let matches = of_port.map(|public| {
            let (type_, path) = match public.path {
                Path::Exact(path) => ("Exact", path),
                Path::Below(path) => ("PathPrefix", path),
            };
            json!({"path": {"type": type_, "value": path}})
        });
        let backend = json!({"name": profile.service_of(relay, port), "port": port.1});
        json!({"matches": matches.collect::<Vec<_>>(), "backendRefs": [backend]})
    });
    let spec = json!({
        "parentRefs": parents,
        "hostnames": [relay.hostname],
        "rules": rules.collect::<Vec<_>>(),
    });
    Some(OptionalChild::new(OptionalKind::HttpRoute, relay, names::ingress(&relay.name), &spec))
}

/// cert-manager puts what it gets into a Secret of the same name.
fn certificate(relay: &ValidRelay) -> Option<OptionalChild> {
    let Some(Tls::Issued(kind, issuer)) = &relay.access.front.as_ref()?.tls else { return None };
    let name = names::tls(&relay.name);
    let spec = json!({
        "secretName": name,
        "dnsNames": [relay.hostname],
        "issuerRef": {"group": "cert-manager.io", "kind": kind, "name": issuer},
    });
    Some(OptionalChild::new(OptionalKind::Certificate, relay, name, &spec))
}

/// There is none while it is not known where it should point to.
fn dns_endpoint(relay: &ValidRelay) -> Option<OptionalChild> {
    let dns = relay.access.dns.as_ref().filter(|dns| !dns.targets.is_empty())?;
    let record = |type_: &str, targets: Value| json!({"dnsName": relay.hostname, "recordType": type_, "recordTTL": dns.ttl, "targets": targets});
    let records: Vec<Value> = match &dns.targets {
        Targets::Name(name) => vec![record("CNAME", json!([name]))],
        Targets::Addresses(v4, v6) => {
            let v4 = (!v4.is_empty()).then(|| record("A", json!(v4)));
            let v6 = (!v6.is_empty()).then(|| record("AAAA", json!(v6)));
            v4.into_iter().chain(v6).collect()
        }
    };
    let spec = json!({"endpoints": records});
    Some(OptionalChild::new(OptionalKind::DnsEndpoint, relay, names::ingress(&relay.name), &spec))
}
