//! Every request to the API server is counted, by what the API server's own rules of access call it.

use std::task::{Context, Poll};

use axum::http::{Method, Request, Response, Uri};
use futures_util::future::BoxFuture;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// As in a rule of access: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    /// Group of the resource; empty for the core.
    pub group: String,
    /// The resource in the plural, with its subresource; empty for what is none, such as the list of groups.
    pub resource: String,
    /// Namespace of the object.
    pub namespace: Option<String>,
    /// Name of the object, where one is asked for.
    pub name: Option<String>,
}

impl Asked {
    /// Reads it from the request's line.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        let group = match parts.next() {
            Some("api") => parts.next().map(|_version| ""),
            Some("apis") => parts.next().and_then(|group| parts.next().map(|_version| group)),
            _ => None,
        };
        let mut rest: Vec<&str> = parts.collect();
        let mut namespace = None;
        if let ["namespaces", name, _, ..] = *rest {
            namespace = Some(name.to_owned());
            rest.drain(..2);
        }
        let resource = match *rest {
            [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
            [resource, ..] => resource.to_owned(),
            [] => String::new(),
        };
        let name = rest.get(1).map(|name| (*name).to_owned());
        let is_watch = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let verb = match (method.as_str(), &name) {
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            (_, None) if is_watch => "watch",
            (_, None) if !resource.is_empty() => "list",
            _ => "get",
        };
        Self { verb, group: group.unwrap_or_default().to_owned(), resource, namespace, name }
    }
}

/// A client whose requests are counted in `metrics`. What it tries again by itself is one request.
///
/// # Errors
///
/// When `config` cannot be used, such as for a certificate that cannot be read.
pub fn client(config: Config, metrics: Metrics) -> kube::Result<Client> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&Counted(metrics)).build())
}

/// Counts what passes.
#[derive(Clone)]
struct Counted(Metrics);

impl<S> Layer<S> for Counted {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, metrics: self.0.clone() }
    }
}

struct Counting<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B, R> Service<Request<B>> for Counting<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = Asked::of(request.method(), request.uri());
        let metrics = self.metrics.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            metrics.requested(asked, answer.as_ref().ok().map(|answer| answer.status().as_u16()));
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_by_its_line() {
        #[rustfmt::skip]
        let table = [
            ("GET", "/api/v1/namespaces/a/secrets/b", "get  secrets a b"),
            ("GET", "/api/v1/pods?labelSelector=x%3Dy", "list  pods  "),
            ("GET", "/api/v1/namespaces/a/pods?&watch=true&x=y", "watch  pods a "),
            ("POST", "/api/v1/namespaces/a/pods/b/eviction", "create  pods/eviction a b"),
            ("PATCH", "/apis/relay.waow.tech/v1alpha1/namespaces/a/relays/b/status?force=true", "patch relay.waow.tech relays/status a b"),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "update coordination.k8s.io leases a b"),
            ("DELETE", "/apis/apps/v1/namespaces/a/statefulsets/b", "delete apps statefulsets a b"),
            ("DELETE", "/apis/apps/v1/namespaces/a/statefulsets", "deletecollection apps statefulsets a "),
            ("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "list apiextensions.k8s.io customresourcedefinitions  "),
            ("GET", "/api/v1/nodes/n", "get  nodes  n"),
            ("GET", "/api/v1/namespaces/a", "get  namespaces  a"),
            ("GET", "/apis/apps/v1", "get apps   "),
            ("GET", "/version", "get    "),
        ];
        for (method, line, want) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
            let asked = Asked::of(&method, &line.parse().unwrap_or_default());
            let Asked { verb, group, resource, namespace, name } = asked;
            let [namespace, name] = [namespace, name].map(Option::unwrap_or_default);
            assert_eq!(format!("{verb} {group} {resource} {namespace} {name}"), want, "{method} {line}");
        }
    }
}
