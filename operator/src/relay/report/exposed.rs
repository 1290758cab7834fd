//! Whether consumers can reach the relay as the spec asks for.

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;

use super::conditions::{EXPOSED, Finding, Verdict, quote};
use super::optional::{self, Said, said};
use crate::api::{ParentRef, ServiceType};
use crate::relay::Error;
use crate::relay::apply::Applied;
use crate::relay::optional::OptionalKind;
use crate::relay::read::World;
use crate::relay::validate::{Tls, ValidRelay, Way, ingress_addresses, service_addresses};

/// The optional kinds that make a relay reachable.
const KINDS: [OptionalKind; 3] = [OptionalKind::HttpRoute, OptionalKind::Certificate, OptionalKind::DnsEndpoint];

/// The first thing that consumers still lack.
pub(super) fn finding(relay: &ValidRelay, world: &World, applied: &Result<Applied, Error>) -> Finding {
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) => return Finding::new(EXPOSED, Verdict::Unknown, error.reason(), quote(&error.to_string())),
    };
    let missing = optional::refused(EXPOSED, applied, &KINDS)
        .or_else(|| secret(relay, world))
        .or_else(|| balancer(relay, applied))
        .or_else(|| front(relay, applied))
        .or_else(|| certificate(relay, applied))
        .or_else(|| dns(relay, applied));
    match (missing, endpoint(relay, applied)) {
        (Some(missing), _) => missing,
        (None, _) if is_for_the_cluster_only(relay) => {
            good("ClusterOnly", "Only the cluster reaches the relay; spec.access says how others can.")
        }
        (None, Some(endpoint)) => good("Exposed", &format!("Consumers reach the relay at {endpoint}.")),
        (None, None) => waiting("NoPort", "The Service has no port of the nodes yet."),
    }
}

/// Where consumers find the firehose, as far as what is applied makes it reachable.
pub(super) fn endpoint(relay: &ValidRelay, applied: &Applied) -> Option<String> {
    let front = relay.access.front.as_ref();
    // Whether the listener of a Gateway has TLS cannot be seen; one for a relay does.
    let scheme = front.and_then(|front| match front.way {
        Way::Ingress(_) => applied.ingress.is_some().then_some(if front.tls.is_some() { "wss" } else { "ws" }),
        Way::Route(_) => optional::object(applied, OptionalKind::HttpRoute).map(|_| "wss"),
    });
    if let Some(scheme) = scheme {
        return Some(format!("{scheme}://{}", relay.hostname));
    }
    let spec = applied.service.as_ref()?.spec.as_ref()?;
    let port = spec.ports.as_ref()?.first()?;
    Some(match spec.type_.as_deref() {
        Some("NodePort") => format!("ws://{}:{}", relay.hostname, port.node_port?),
        Some("LoadBalancer") => format!("ws://{}:{}", relay.hostname, port.port),
        // The container has the port of the Service, and on the node's network the node has it.
        _ if relay.access.host_network.is_some() => format!("ws://{}:{}", relay.hostname, port.port),
        _ => format!("ws://{}.{}.svc:{}", relay.name, relay.namespace, port.port),
    })
}

fn is_for_the_cluster_only(relay: &ValidRelay) -> bool {
    let access = &relay.access;
    access.service.type_ == ServiceType::ClusterIp
        && access.front.is_none()
        && access.dns.is_none()
        && access.host_network.is_none()
}

fn secret(relay: &ValidRelay, world: &World) -> Option<Finding> {
    let Some(Tls::OfSecret(name)) = &relay.access.front.as_ref()?.tls else { return None };
    let message =
        format!("There is no Secret {name}; create it in the namespace of the Relay, with tls.crt and tls.key.");
    world.tls_secret_missing.then(|| bad("SecretNotFound", &message))
}

fn balancer(relay: &ValidRelay, applied: &Applied) -> Option<Finding> {
    let is_wanted = relay.access.service.type_ == ServiceType::LoadBalancer;
    let addresses = applied.service.as_deref().map(service_addresses).unwrap_or_default();
    (is_wanted && addresses.is_empty()).then(|| {
        waiting("LoadBalancerPending", "The Service of type LoadBalancer has no address yet; its Events say why.")
    })
}

fn front(relay: &ValidRelay, applied: &Applied) -> Option<Finding> {
    match &relay.access.front.as_ref()?.way {
        Way::Ingress(_) => ingress(applied.ingress.as_deref()),
        Way::Route(parents) => {
            let route = optional::object(applied, OptionalKind::HttpRoute)?;
            parents.iter().find_map(|parent| not_accepted(route, parent))
        }
    }
}

fn ingress(ingress: Option<&Ingress>) -> Option<Finding> {
    let Some(ingress) = ingress else {
        return Some(waiting("IngressNotReady", "There is no Ingress yet."));
    };
    let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    let class = class.map_or_else(|| "the cluster's default class".to_owned(), |class| format!("the class {class}"));
    let message = format!("The Ingress has no address yet; is there a controller for {class}?");
    ingress_addresses(ingress).is_empty().then(|| waiting("IngressNotReady", &message))
}

/// What keeps the route from being one of the Gateway `parent`.
fn not_accepted(route: &DynamicObject, parent: &ParentRef) -> Option<Finding> {
    let own = route.namespace();
    let namespace = parent.namespace.as_deref().or(own.as_deref());
    let mut parents = route.data["status"]["parents"].as_array().into_iter().flatten();
    let of_parent = parents.find(|seen| {
        let seen = &seen["parentRef"];
        seen["name"] == *parent.name
            && seen["sectionName"].as_str() == parent.section_name.as_deref()
            && seen["namespace"].as_str().or(own.as_deref()) == namespace
    });
    let conditions = of_parent.map(|seen| &seen["conditions"]).unwrap_or(&Value::Null);
    let said = |type_| said(conditions, type_, route.metadata.generation);
    let gateway = &parent.name;
    match (said("Accepted"), said("ResolvedRefs")) {
        (None, _) => {
            let message =
                format!("The Gateway {gateway} says nothing of the HTTPRoute yet; is there one of that name?");
            Some(waiting("RouteNotAccepted", &message))
        }
        (Some(Said { is_true: false, why }), _) => {
            Some(bad("RouteNotAccepted", &format!("The Gateway {gateway} refuses the HTTPRoute: {why}")))
        }
        (_, Some(Said { is_true: false, why })) => {
            Some(bad("RouteNotAccepted", &format!("The Gateway {gateway} cannot follow the HTTPRoute: {why}")))
        }
        _ => None,
    }
}

fn certificate(relay: &ValidRelay, applied: &Applied) -> Option<Finding> {
    let Some(Tls::Issued(kind, issuer)) = &relay.access.front.as_ref()?.tls else { return None };
    let certificate = optional::object(applied, OptionalKind::Certificate)?;
    let generation = certificate.metadata.generation;
    let ready = said(&certificate.data["status"]["conditions"], "Ready", generation);
    match ready {
        Some(ready) if ready.is_true => None,
        Some(ready) => Some(waiting(
            "CertificateNotReady",
            &format!("The {kind} {issuer} has issued no certificate: {}", ready.why),
        )),
        None => Some(waiting("CertificateNotReady", "cert-manager says nothing of the Certificate yet; does it run?")),
    }
}

fn dns(relay: &ValidRelay, applied: &Applied) -> Option<Finding> {
    let dns = relay.access.dns.as_ref()?;
    if dns.targets.is_empty() {
        let message = "It is not known yet what the DNS record should point to; spec.access.dns.targets can say it.";
        return Some(waiting("AddressUnknown", message));
    }
    let endpoint = optional::object(applied, OptionalKind::DnsEndpoint)?;
    let seen = endpoint.data["status"]["observedGeneration"].as_i64();
    (seen.is_none() || seen < endpoint.metadata.generation).then(|| {
        waiting("DNSNotReady", "external-dns has not taken the DNSEndpoint yet; does it run, and with --source=crd?")
    })
}

fn good(reason: &'static str, message: &str) -> Finding {
    Finding::new(EXPOSED, Verdict::Good, reason, message)
}

fn waiting(reason: &'static str, message: &str) -> Finding {
    Finding::new(EXPOSED, Verdict::Waiting, reason, quote(message))
}

fn bad(reason: &'static str, message: &str) -> Finding {
    Finding::new(EXPOSED, Verdict::Bad, reason, quote(message))
}

#[cfg(test)]
mod tests;
