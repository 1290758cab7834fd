//! The operator's objects, as last seen by their watches: reading them costs the API server nothing.
//!
//! Secrets are not among them. Watching them needs the right to list every Secret, which the operator does
//! without; it gets the few it knows by name.

use std::fmt::Debug;

use futures_util::Stream;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::names::{MANAGED_BY, OPERATOR};

/// What the watches have seen, by kind.
#[derive(Clone)]
#[allow(missing_docs)] // named for the kinds
pub struct Cache {
    pub service_accounts: Store<ServiceAccount>,
    pub config_maps: Store<ConfigMap>,
    pub services: Store<Service>,
    pub stateful_sets: Store<StatefulSet>,
    pub pods: Store<Pod>,
}

impl Cache {
    /// Waits until every watch has seen every object once, and says whether that has come about: not when the watches
    /// have ended. Before, nothing can be said to be missing.
    pub async fn filled(&self) -> bool {
        let Self { service_accounts, config_maps, services, stateful_sets, pods } = self;
        tokio::try_join!(
            service_accounts.wait_until_ready(),
            config_maps.wait_until_ready(),
            services.wait_until_ready(),
            stateful_sets.wait_until_ready(),
            pods.wait_until_ready(),
        )
        .is_ok()
    }
}

/// Objects of the kind `K` in `namespace`, or in all of them.
pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A watch of the operator's objects of one kind: what it has seen, and what it sees.
pub(super) fn watch<K>(
    client: &Client,
    namespace: Option<&str>,
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let config = watcher::Config::default().labels(&format!("{MANAGED_BY}={OPERATOR}"));
    let stream = watcher(api(client, namespace), config)
        .default_backoff()
        .modify(|object: &mut K| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects();
    (reader, stream)
}
