//! The operator's objects, as last seen by their watches: reading them costs the API server nothing.
//!
//! Secrets are not among them. Watching them needs the right to list every Secret, which the operator does
//! without; it gets the few it knows by name.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::names::{MANAGED_BY, OPERATOR};
use super::optional::OptionalKinds;

/// What the watches have seen, by kind.
#[derive(Clone)]
#[allow(missing_docs)] // named for the kinds
pub struct Cache {
    pub service_accounts: Store<ServiceAccount>,
    pub config_maps: Store<ConfigMap>,
    pub services: Store<Service>,
    pub stateful_sets: Store<StatefulSet>,
    pub ingresses: Store<Ingress>,
    pub network_policies: Store<NetworkPolicy>,
    pub disruption_budgets: Store<PodDisruptionBudget>,
    pub claims: Store<PersistentVolumeClaim>,
    pub pods: Store<Pod>,
    /// Not a store: what has gone is in none.
    pub gone_pods: GonePods,
    /// Objects of kinds that the cluster may know.
    pub optional: OptionalKinds,
}

/// Pods that have been removed, as they were at last: how their containers have ended. Cheap to clone.
///
/// The newest of each name; one that went while nobody watched is not among them.
#[derive(Clone, Default)]
pub struct GonePods(Arc<Mutex<BTreeMap<ObjectKey, Arc<Pod>>>>);

/// Namespace and name.
type ObjectKey = (String, String);

/// Pods remembered: enough for those that go at once with a node.
const GONE_PODS_MAX: usize = 1000;

impl GonePods {
    /// Remembers `pod`.
    pub fn remember(&self, pod: Pod) {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.insert((pod.namespace().unwrap_or_default(), pod.name_any()), Arc::new(pod));
        if pods.len() > GONE_PODS_MAX {
            pods.pop_first();
        }
    }

    /// The last pod `name` that has gone.
    #[must_use]
    pub fn last(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }
}

impl Cache {
    /// Waits until every watch has seen every object once, and says whether that has come about: not when the watches
    /// have ended. Before, nothing can be said to be missing.
    pub async fn filled(&self) -> bool {
        let Self {
            service_accounts,
            config_maps,
            services,
            stateful_sets,
            ingresses,
            network_policies,
            disruption_budgets,
            claims,
            pods,
            gone_pods: _,
            optional,
        } = self;
        optional.known().await;
        tokio::try_join!(
            service_accounts.wait_until_ready(),
            config_maps.wait_until_ready(),
            services.wait_until_ready(),
            stateful_sets.wait_until_ready(),
            ingresses.wait_until_ready(),
            network_policies.wait_until_ready(),
            disruption_budgets.wait_until_ready(),
            claims.wait_until_ready(),
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
    watch_and(client, namespace, |_| {})
}

/// The same for pods; those that go are remembered in `gone`.
pub(super) fn watch_pods(
    client: &Client,
    namespace: Option<&str>,
    gone: GonePods,
) -> (Store<Pod>, impl Stream<Item = Result<Pod, watcher::Error>> + Send + 'static) {
    watch_and(client, namespace, move |event: &Result<watcher::Event<Pod>, watcher::Error>| {
        if let Ok(watcher::Event::Delete(pod)) = event {
            gone.remember(pod.clone());
        }
    })
}

fn watch_and<K>(
    client: &Client,
    namespace: Option<&str>,
    look: impl FnMut(&Result<watcher::Event<K>, watcher::Error>) + Send + 'static,
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
        .inspect(look)
        .reflect(writer)
        .touched_objects();
    (reader, stream)
}
