//! How consumers reach a relay, and who else may.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::core::DynamicObject;

use super::{Invalid, check};
use crate::api::patterns::{DNS_TARGET, LABEL_KEY, LABEL_VALUE, OBJECT_NAME, PRIVATE_ADDRESS};
use crate::api::{
    AccessSpec, DNS_NEEDS_TARGETS, DnsSpec, HOST_NETWORK_NEEDS_BUNDLED, INGRESS_OR_ROUTE, Implementation, IngressSpec,
    NetworkPolicySpec, ONE_ISSUER, ParentRef, PodsOf, ROUTE_HAS_NO_SECRET, RelaySpec, ServiceSpec, ServiceType,
    TARGETS_OF_ONE_SORT, TLS_NEEDS_A_PROXY, TlsSpec,
};
use crate::relay::read::World;

/// Most Gateways of an HTTPRoute, and most targets of a record.
const PARENTS_MAX: usize = 8;
const TARGETS_MAX: usize = 16;
/// Longest time to live of a record, in seconds: a day.
const TTL_MAX: i64 = 86_400;

/// How consumers reach a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The firehose's Service.
    pub service: ServiceSpec,
    /// What is in front of it, under the hostname.
    pub front: Option<Front>,
    /// The DNS record of the hostname.
    pub dns: Option<Dns>,
    /// The pod has the node's network; then the address of the node at which the admin API listens.
    pub host_network: Option<IpAddr>,
}

/// A proxy of the cluster in front of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// How it is told.
    pub way: Way,
    /// The certificate that consumers see; `None` is plain HTTP, as far as the operator can see.
    pub tls: Option<Tls>,
}

/// How a proxy of the cluster is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// By an Ingress.
    Ingress(IngressSpec),
    /// By an HTTPRoute for these Gateways.
    Route(Vec<ParentRef>),
}

/// The certificate that consumers see.
#[derive(Clone, Debug, PartialEq)]
pub enum Tls {
    /// The proxy's own.
    OfProxy,
    /// The Secret's.
    OfSecret(String),
    /// One that cert-manager gets from the issuer of this kind and name.
    Issued(&'static str, String),
}

/// A DNS record.
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Seconds for which others remember it.
    pub ttl: i64,
    /// What it points to; nothing while that is not known.
    pub targets: Targets,
}

/// What a DNS record points to.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Addresses, of which there may be none yet.
    Addresses(Vec<Ipv4Addr>, Vec<Ipv6Addr>),
    /// Another name.
    Name(String),
}

impl Targets {
    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Addresses(v4, v6) if v4.is_empty() && v6.is_empty())
    }

    /// Addresses where there are any, else the first name. What is neither is left out.
    fn of<'a>(texts: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in texts.clone() {
            match text.parse() {
                Ok(IpAddr::V4(address)) => v4.push(address),
                Ok(IpAddr::V6(address)) => v6.push(address),
                Err(_) => {}
            }
        }
        // Whoever lists them may list them in another order every time.
        v4.sort_unstable();
        v6.sort_unstable();
        let name = texts.into_iter().find(|text| DNS_TARGET.matches(text) && text.parse::<IpAddr>().is_err());
        match name {
            Some(name) if v4.is_empty() && v6.is_empty() => Self::Name(name.into()),
            _ => Self::Addresses(v4, v6),
        }
    }
}

/// Who may reach what of the pod is not for everybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// Namespace of the operator.
    pub operator: String,
    /// Beside it.
    pub admin_from: Vec<PodsOf>,
}

pub(super) fn access(spec: &RelaySpec, world: &World) -> Result<Access, Invalid> {
    let access = &spec.access;
    Ok(Access {
        service: service(&access.service)?,
        front: front(access)?,
        dns: dns(access, world)?,
        host_network: host_network(spec)?,
    })
}

/// `None` where no policy is wanted, or would hold: it does not for a pod on the node's network.
pub(super) fn guard(spec: &RelaySpec, operator: &str) -> Result<Option<Guard>, Invalid> {
    let NetworkPolicySpec { enabled, admin_from } = &spec.network_policy;
    for PodsOf { namespaces, pods } in admin_from {
        labels("spec.networkPolicy.adminFrom.namespaces", namespaces)?;
        labels("spec.networkPolicy.adminFrom.pods", pods)?;
    }
    let guard = Guard { operator: operator.into(), admin_from: admin_from.clone() };
    Ok((*enabled && spec.access.host_network.is_none()).then_some(guard))
}

fn service(spec: &ServiceSpec) -> Result<ServiceSpec, Invalid> {
    match spec.node_port {
        Some(_) if spec.type_ == ServiceType::ClusterIp => {
            Err(Invalid::Spec("spec.access.service.nodePort needs type NodePort or LoadBalancer".into()))
        }
        Some(port) if !(1..=65535).contains(&port) => {
            Err(Invalid::Spec(format!("spec.access.service.nodePort is {port}: a port is between 1 and 65535")))
        }
        _ => Ok(spec.clone()),
    }
}

fn front(access: &AccessSpec) -> Result<Option<Front>, Invalid> {
    let has_secret = access.tls.as_ref().is_some_and(|tls| tls.secret_name.is_some());
    let way = match (&access.ingress, &access.http_route) {
        (Some(_), Some(_)) => return refuse(INGRESS_OR_ROUTE),
        (None, None) if access.tls.is_some() => return refuse(TLS_NEEDS_A_PROXY),
        (None, None) => return Ok(None),
        (None, Some(_)) if has_secret => return refuse(ROUTE_HAS_NO_SECRET),
        (Some(ingress), None) => Way::Ingress(checked_ingress(ingress)?),
        (None, Some(route)) => Way::Route(checked_parents(&route.parent_refs)?),
    };
    Ok(Some(Front { way, tls: access.tls.as_ref().map(tls).transpose()? }))
}

fn checked_ingress(ingress: &IngressSpec) -> Result<IngressSpec, Invalid> {
    if let Some(class) = &ingress.class_name {
        check("spec.access.ingress.className", class, OBJECT_NAME)?;
    }
    for key in ingress.annotations.keys() {
        check("spec.access.ingress.annotations", key, LABEL_KEY)?;
    }
    Ok(ingress.clone())
}

fn checked_parents(parents: &[ParentRef]) -> Result<Vec<ParentRef>, Invalid> {
    if !(1..=PARENTS_MAX).contains(&parents.len()) {
        return Err(Invalid::Spec(format!("spec.access.httpRoute.parentRefs: name 1 to {PARENTS_MAX} Gateways")));
    }
    for ParentRef { name, namespace, section_name } in parents {
        for part in [Some(name), namespace.as_ref(), section_name.as_ref()].into_iter().flatten() {
            check("spec.access.httpRoute.parentRefs", part, OBJECT_NAME)?;
        }
    }
    Ok(parents.to_vec())
}

fn tls(spec: &TlsSpec) -> Result<Tls, Invalid> {
    let name = |field: &str, name: &String| {
        check(&format!("spec.access.tls.{field}"), name, OBJECT_NAME).map(|()| name.clone())
    };
    match (&spec.cluster_issuer, &spec.issuer, &spec.secret_name) {
        (None, None, None) => Ok(Tls::OfProxy),
        (Some(issuer), None, None) => Ok(Tls::Issued("ClusterIssuer", name("clusterIssuer", issuer)?)),
        (None, Some(issuer), None) => Ok(Tls::Issued("Issuer", name("issuer", issuer)?)),
        (None, None, Some(secret)) => Ok(Tls::OfSecret(name("secretName", secret)?)),
        _ => refuse(ONE_ISSUER),
    }
}

fn dns(access: &AccessSpec, world: &World) -> Result<Option<Dns>, Invalid> {
    let DnsSpec { external_dns, ttl, targets } = &access.dns;
    if !(1..=TTL_MAX).contains(ttl) {
        return Err(Invalid::Spec(format!("spec.access.dns.ttl must be between 1 and {TTL_MAX} seconds")));
    }
    if targets.len() > TARGETS_MAX {
        return Err(Invalid::Spec(format!("spec.access.dns.targets: name at most {TARGETS_MAX}")));
    }
    for target in targets {
        check("spec.access.dns.targets", target, DNS_TARGET)?;
    }
    let names = targets.iter().filter(|target| target.parse::<IpAddr>().is_err()).count();
    if targets.len() > 1 && names > 0 {
        return refuse(TARGETS_OF_ONE_SORT);
    }
    let is_balanced = access.service.type_ == ServiceType::LoadBalancer && access.http_route.is_none();
    if !external_dns {
        return Ok(None);
    }
    let targets = if !targets.is_empty() {
        Targets::of(targets.iter().map(String::as_str))
    } else if access.ingress.is_some() {
        seen(world.ingress.as_deref().map(ingress_addresses), world)
    } else if is_balanced {
        seen(world.service.as_deref().map(service_addresses), world)
    } else {
        return refuse(DNS_NEEDS_TARGETS);
    };
    Ok(Some(Dns { ttl: *ttl, targets }))
}

/// What `found` says; and where that is nothing, what the record says until now: a controller that restarts must not take
/// the relay's name away.
fn seen(found: Option<Vec<String>>, world: &World) -> Targets {
    let found = Targets::of(found.iter().flatten().map(String::as_str));
    match &world.dns_endpoint {
        Some(endpoint) if found.is_empty() => Targets::of(recorded_targets(endpoint).iter().map(String::as_str)),
        _ => found,
    }
}

fn recorded_targets(endpoint: &DynamicObject) -> Vec<String> {
    let endpoints = endpoint.data["spec"]["endpoints"].as_array().into_iter().flatten();
    let targets = endpoints.flat_map(|endpoint| endpoint["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| target.as_str().map(str::to_owned)).collect()
}

/// The addresses and names of an Ingress, as its controller says.
pub(in crate::relay) fn ingress_addresses(ingress: &Ingress) -> Vec<String> {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    points.iter().filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone())).collect()
}

/// The same of a Service.
pub(in crate::relay) fn service_addresses(service: &Service) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let points = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    points.iter().filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone())).collect()
}

fn host_network(spec: &RelaySpec) -> Result<Option<IpAddr>, Invalid> {
    let Some(host_network) = &spec.access.host_network else { return Ok(None) };
    if spec.implementation != Implementation::Bundled {
        return refuse(HOST_NETWORK_NEEDS_BUNDLED);
    }
    match private_address(&host_network.admin_address) {
        Some(address) => Ok(Some(address)),
        None => refuse(&format!(
            "spec.access.hostNetwork.adminAddress is {:?}: {}",
            host_network.admin_address, PRIVATE_ADDRESS.message
        )),
    }
}

/// The address that `text` is, if it is one that no host of the internet has.
pub(in crate::relay) fn private_address(text: &str) -> Option<IpAddr> {
    PRIVATE_ADDRESS.matches(text).then(|| text.parse().ok()).flatten()
}

fn labels(path: &str, labels: &BTreeMap<String, String>) -> Result<(), Invalid> {
    labels.iter().try_for_each(|(key, value)| {
        check(path, key, LABEL_KEY)?;
        check(path, value, LABEL_VALUE)
    })
}

fn refuse<T>(sentence: &str) -> Result<T, Invalid> {
    Err(Invalid::Spec(sentence.into()))
}

#[cfg(test)]
mod tests;
