//! Kinds of other projects that a cluster may know or not. Which it knows is followed while the operator runs, by the names
//! of its CustomResourceDefinitions; the operator's objects of those it knows are watched like its other objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ApiResource;
use kube::core::{DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{mpsc, watch as signal};
use tokio::task::{AbortHandle, JoinSet};

use super::cache::counted;
use super::controller::GuardedRelay;
use super::names::{INSTANCE, MANAGED_BY, OPERATOR};
use crate::metrics::Metrics;

/// A kind that a cluster may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptionalKind {
    /// Of the Prometheus operator: what to scrape.
    ServiceMonitor,
    /// Of the Prometheus operator: alerts.
    PrometheusRule,
    /// Of the Gateway API.
    HttpRoute,
    /// Of external-dns.
    DnsEndpoint,
    /// Of cert-manager.
    Certificate,
    /// Of CloudNativePG: a PostgreSQL.
    PostgresCluster,
    /// Of the CSI snapshotter.
    VolumeSnapshot,
}

impl OptionalKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ServiceMonitor,
        Self::PrometheusRule,
        Self::HttpRoute,
        Self::DnsEndpoint,
        Self::Certificate,
        Self::PostgresCluster,
        Self::VolumeSnapshot,
    ];

    /// Where the API server has it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::ServiceMonitor => ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
            Self::PrometheusRule => ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::DnsEndpoint => ("externaldns.k8s.io", "v1alpha1", "DNSEndpoint", "dnsendpoints"),
            Self::Certificate => ("cert-manager.io", "v1", "Certificate", "certificates"),
            Self::PostgresCluster => ("postgresql.cnpg.io", "v1", "Cluster", "clusters"),
            Self::VolumeSnapshot => ("snapshot.storage.k8s.io", "v1", "VolumeSnapshot", "volumesnapshots"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Name of its CustomResourceDefinition.
    #[must_use]
    pub fn definition(self) -> String {
        let ApiResource { plural, group, .. } = self.resource();
        format!("{plural}.{group}")
    }

    /// Whether objects of this kind hold what cannot be made again: they are deleted by people, and by nobody else.
    #[must_use]
    pub fn holds_data(self) -> bool {
        matches!(self, Self::PostgresCluster | Self::VolumeSnapshot)
    }

    fn of_definition(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.definition() == name)
    }
}

/// The optional kinds that the cluster knows, with the operator's objects of them. Cheap to clone.
#[derive(Clone)]
pub struct OptionalKinds {
    stores: Arc<RwLock<BTreeMap<OptionalKind, Store<DynamicObject>>>>,
    /// Whether it has been found out for the first time, or cannot be.
    known: Arc<signal::Sender<bool>>,
}

/// Where it is told what is to be looked at again, and counted.
struct Changes {
    one: mpsc::Sender<ObjectRef<GuardedRelay>>,
    all: mpsc::Sender<()>,
    metrics: Metrics,
}

/// Changes that wait to be heard; more wait with those who tell them.
const CHANGES_MAX: usize = 256;

impl Default for OptionalKinds {
    fn default() -> Self {
        Self { stores: Arc::default(), known: Arc::new(signal::Sender::new(false)) }
    }
}

impl OptionalKinds {
    /// The operator's objects of `kind`, where the cluster knows it.
    #[must_use]
    pub fn store(&self, kind: OptionalKind) -> Option<Store<DynamicObject>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }

    /// From now on the cluster knows `kind`, and has these objects of it, or does not know it.
    pub fn set(&self, kind: OptionalKind, store: Option<Store<DynamicObject>>) {
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        match store {
            Some(store) => drop(stores.insert(kind, store)),
            None => drop(stores.remove(&kind)),
        }
    }

    /// Waits until it has been found out which there are.
    pub async fn known(&self) {
        // The sender lives as long as self.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// Follows which kinds there are, and watches those; until it is dropped. Answers whose turn it is by that: single
    /// Relays, and all of them.
    pub(super) fn follow(
        &self,
        client: Client,
        namespace: Option<String>,
        metrics: Metrics,
    ) -> (
        impl Future<Output = ()> + Send + use<>,
        impl Stream<Item = ObjectRef<GuardedRelay>> + Send + use<>,
        impl Stream<Item = ()> + Send + use<>,
    ) {
        let (one, ones) = mpsc::channel(CHANGES_MAX);
        let (all, alls) = mpsc::channel(1);
        let following = follow(self.clone(), client, namespace, Arc::new(Changes { one, all, metrics }));
        (following, received(ones), received(alls))
    }
}

fn received<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|change| (change, receiver)) })
}

async fn follow(kinds: OptionalKinds, client: Client, namespace: Option<String>, changes: Arc<Changes>) {
    let definitions = Api::<PartialObjectMeta<CustomResourceDefinition>>::all(client.clone());
    let mut events = watch(definitions, watcher::Config::default()).default_backoff().boxed();
    // Dropped with this: then all of them end.
    let mut watches = JoinSet::new();
    let mut watched = BTreeMap::<OptionalKind, AbortHandle>::new();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        counted(&changes.metrics, "CustomResourceDefinition", &event);
        let gone: Vec<OptionalKind> = match event {
            Ok(Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(definition) | Event::Apply(definition)) => {
                if let Some(kind) = OptionalKind::of_definition(&definition.name_any()) {
                    listed.insert(kind);
                    watched.entry(kind).or_insert_with(|| {
                        tracing::info!(definition = kind.definition(), "the cluster knows an optional kind");
                        changes.metrics.knows(kind.definition(), true);
                        let (client, namespace) = (client.clone(), namespace.clone());
                        watches.spawn(objects(kinds.clone(), kind, client, namespace, changes.clone()))
                    });
                }
                Vec::new()
            }
            Ok(Event::InitDone) => {
                kinds.known.send_replace(true);
                watched.keys().filter(|kind| !listed.contains(kind)).copied().collect()
            }
            Ok(Event::Delete(definition)) => OptionalKind::of_definition(&definition.name_any()).into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "which optional kinds there are cannot be seen");
                kinds.known.send_replace(true);
                Vec::new()
            }
        };
        for kind in gone {
            if let Some(handle) = watched.remove(&kind) {
                handle.abort();
                kinds.set(kind, None);
                changes.metrics.knows(kind.definition(), false);
                tracing::info!(definition = kind.definition(), "the cluster does not know an optional kind any more");
                let _ = changes.all.send(()).await;
            }
        }
    }
}

/// Watches the operator's objects of `kind`.
async fn objects(
    kinds: OptionalKinds,
    kind: OptionalKind,
    client: Client,
    namespace: Option<String>,
    changes: Arc<Changes>,
) {
    let resource = kind.resource();
    let api = match &namespace {
        Some(namespace) => Api::<DynamicObject>::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let writer = reflector::store::Writer::<DynamicObject>::new(resource);
    let store = writer.as_reader();
    let config = watcher::Config::default().labels(&format!("{MANAGED_BY}={OPERATOR}"));
    let mut events = watch(api, config)
        .default_backoff()
        .modify(|object: &mut DynamicObject| object.managed_fields_mut().clear())
        .reflect(writer)
        .boxed();
    while let Some(event) = events.next().await {
        counted(&changes.metrics, &kind.resource().kind, &event);
        match event {
            Ok(Event::InitDone) => {
                kinds.set(kind, Some(store.clone()));
                let _ = changes.all.send(()).await;
            }
            Ok(Event::Apply(object) | Event::Delete(object)) => {
                if let Some(relay) = relay_of(&object) {
                    let _ = changes.one.send(relay).await;
                }
            }
            Ok(Event::Init | Event::InitApply(_)) => {}
            Err(error) => tracing::warn!(%error, definition = kind.definition(), "objects cannot be watched"),
        }
    }
}

fn relay_of(object: &DynamicObject) -> Option<ObjectRef<GuardedRelay>> {
    let relay = object.labels().get(INSTANCE)?;
    Some(ObjectRef::new(relay).within(object.namespace().as_deref()?))
}
