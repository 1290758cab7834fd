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
use k8s_openapi::api::core::v1::{ConfigMap, Container, PersistentVolumeClaim, Pod, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::controller::GuardedRelay;
use super::names::{MANAGED_BY, OPERATOR};
use super::optional::OptionalKinds;
use crate::api::Relay;
use crate::metrics::Metrics;

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

/// What every watch needs.
pub(super) struct Watching {
    pub(super) client: Client,
    /// The one namespace, where it is not all of them.
    pub(super) namespace: Option<String>,
    pub(super) metrics: Metrics,
}

impl Watching {
    /// A watch of the operator's objects of one kind: what it has seen, and what it sees. What `trim` takes from an object
    /// is not kept.
    pub(super) fn watch<K>(
        &self,
        trim: fn(&mut K),
    ) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.watch_and(trim, |_| {})
    }

    /// The same for pods; those that go are remembered in `gone`.
    pub(super) fn watch_pods(
        &self,
        gone: GonePods,
    ) -> (Store<Pod>, impl Stream<Item = Result<Pod, watcher::Error>> + Send + use<>) {
        self.watch_and(trim_pod, move |event: &Result<watcher::Event<Pod>, watcher::Error>| {
            if let Ok(watcher::Event::Delete(pod)) = event {
                gone.remember(pod.clone());
            }
        })
    }

    fn watch_and<K, L>(
        &self,
        trim: fn(&mut K),
        look: L,
    ) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + use<K, L>)
    where
        L: FnMut(&Result<watcher::Event<K>, watcher::Error>) + Send + 'static,
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (reader, writer) = reflector::store();
        let config = watcher::Config::default().labels(&format!("{MANAGED_BY}={OPERATOR}"));
        let metrics = self.metrics.clone();
        let stream = watcher(api(&self.client, self.namespace.as_deref()), config)
            .default_backoff()
            .inspect(move |event| counted(&metrics, &K::kind(&()), event))
            .modify(move |object: &mut K| {
                object.managed_fields_mut().clear();
                trim(object);
            })
            .inspect(look)
            .reflect(writer)
            .touched_objects();
        (reader, stream)
    }

    /// A watch of Relays. An object that is none, after a change of the schema, does not stop the others. When Relays have
    /// gone, `keep_only` is told how to know those that are there, by namespace and name.
    pub(super) fn watch_relays<F>(
        &self,
        keep_only: F,
    ) -> (Store<GuardedRelay>, impl Stream<Item = Result<GuardedRelay, watcher::Error>> + Send + use<F>)
    where
        F: Fn(&dyn Fn(&str, &str) -> bool) + Send + 'static,
    {
        let (reader, writer) = reflector::store();
        let (metrics, relays) = (self.metrics.clone(), reader.clone());
        let stream = watcher(api::<GuardedRelay>(&self.client, self.namespace.as_deref()), watcher::Config::default())
            .default_backoff()
            .inspect(move |event| counted(&metrics, &Relay::kind(&()), event))
            .modify(|relay| relay.managed_fields_mut().clear())
            .reflect(writer)
            .inspect(move |event| {
                if matches!(event, Ok(watcher::Event::Delete(_) | watcher::Event::InitDone)) {
                    keep_only(&|namespace, relay| relays.get(&ObjectRef::new(relay).within(namespace)).is_some());
                }
            })
            .applied_objects()
            // The operator's own writes of status are no reason to look again; what people ask by an annotation is.
            .predicate_filter(predicates::generation.combine(predicates::annotations), PredicateConfig::default());
        (reader, stream)
    }
}

/// Counts how often a watch begins anew, and fails.
pub(super) fn counted<K>(metrics: &Metrics, kind: &str, event: &Result<watcher::Event<K>, watcher::Error>) {
    match event {
        Ok(watcher::Event::Init) => metrics.listed(kind),
        Ok(_) => {}
        Err(_) => metrics.watch_failed(kind),
    }
}

/// Keeps all of an object: it is compared with what is wanted.
pub(super) fn untouched<K>(_: &mut K) {}

/// Of a pod's spec, its containers' names and resources and its ConfigMaps are looked at, and no more.
fn trim_pod(pod: &mut Pod) {
    let Some(spec) = pod.spec.take() else { return };
    let containers = spec.containers.into_iter().map(trimmed).collect();
    let init_containers = spec.init_containers.map(|containers| containers.into_iter().map(trimmed).collect());
    let volumes = spec.volumes.map(|mut volumes| {
        volumes.retain(|volume| volume.config_map.is_some());
        volumes
    });
    let node_name = spec.node_name;
    pod.spec = Some(PodSpec { containers, init_containers, node_name, volumes, ..PodSpec::default() });
}

fn trimmed(container: Container) -> Container {
    let Container { name, image, resources, resize_policy, restart_policy, .. } = container;
    Container { name, image, resources, resize_policy, restart_policy, ..Container::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::relay::build;
    use crate::relay::fixtures::{minimal, valid, world};

    #[test]
    fn of_a_pod_is_kept_what_an_update_and_a_resize_look_at() {
        let relay = valid(&minimal(), &world());
        let built = build::build(&relay, relay.memory.at(relay.memory.limit)).unwrap();
        let spec = built.stateful_set.spec.unwrap().template.spec.unwrap();
        let mut pod = Pod { spec: Some(spec.clone()), ..Pod::default() };
        trim_pod(&mut pod);
        let kept = pod.spec.unwrap();
        let config = |spec: &PodSpec| {
            let volumes = spec.volumes.clone().unwrap_or_default();
            volumes.into_iter().find_map(|volume| Some(volume.config_map?.name))
        };
        assert!(config(&spec).is_some());
        assert_eq!(config(&kept), config(&spec), "the configuration that must stay while the pod does");
        let (kept, had) = (&kept.containers[0], &spec.containers[0]);
        assert_eq!((&kept.name, &kept.image, &kept.resources), (&had.name, &had.image, &had.resources));
        assert_eq!((&kept.env, &kept.liveness_probe), (&None, &None), "the rest is not");
    }
}
