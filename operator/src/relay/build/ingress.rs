use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};

use super::implementation::{Path, Profile, Public};
use crate::relay::names;
use crate::relay::validate::{Tls, ValidRelay, Way};

/// The Ingress of the firehose and XRPC, where the spec asks for one.
pub(super) fn build(relay: &ValidRelay, profile: &Profile) -> Option<Ingress> {
    let front = relay.access.front.as_ref()?;
    let Way::Ingress(asked) = &front.way else { return None };
    let mut metadata = names::meta(relay, names::ingress(&relay.name));
    metadata.annotations = (!asked.annotations.is_empty()).then(|| asked.annotations.clone());
    let paths = profile.public.iter().map(|public| path(relay, profile, public));
    let tls = front.tls.as_ref().map(|tls| IngressTLS {
        hosts: Some(vec![relay.hostname.clone()]),
        secret_name: match tls {
            Tls::OfProxy => None,
            Tls::OfSecret(name) => Some(name.clone()),
            Tls::Issued(..) => Some(names::tls(&relay.name)),
        },
    });
    Some(Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: asked.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(relay.hostname.clone()),
                http: Some(HTTPIngressRuleValue { paths: paths.collect() }),
            }]),
            tls: tls.map(|tls| vec![tls]),
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    })
}

fn path(relay: &ValidRelay, profile: &Profile, public: &Public) -> HTTPIngressPath {
    let (path_type, path) = match public.path {
        Path::Exact(path) => ("Exact", path),
        Path::Below(path) => ("Prefix", path),
    };
    HTTPIngressPath {
        path: Some(path.into()),
        path_type: path_type.into(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: profile.service_of(relay, public.port),
                port: Some(ServiceBackendPort { number: Some(public.port.1), ..ServiceBackendPort::default() }),
            }),
            ..IngressBackend::default()
        },
    }
}
