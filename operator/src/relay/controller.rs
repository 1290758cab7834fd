//! Wires watches, reconcile and shutdown together.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Client, ResourceExt};

use super::cache::{Cache, api, watch};
use super::names::{INSTANCE, OPERATOR};
use super::{Context, Error, RETRY_AFTER, reconcile};
use crate::api::Relay;
use crate::metrics::Metrics;
use crate::relay_status::Reader;

/// Relays reconciled at once: each may wait for its status document, none waits for the API server long.
const CONCURRENCY: u16 = 32;
/// Several changes within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// First and longest pause between two looks for the CRD.
const CRD_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Returns when the API server serves Relays and lets the operator list them. Until then it says what
/// is missing, instead of crashing.
pub async fn wait_for_crd(client: &Client, namespace: Option<&str>) {
    let relays = api::<Relay>(client, namespace);
    let mut pause = CRD_BACKOFF.0;
    let one = ListParams::default().limit(1);
    while let Err(error) = relays.list_metadata(&one).await {
        match &error {
            kube::Error::Api(status) if status.is_not_found() => {
                tracing::warn!("the cluster does not know the kind Relay yet; install its CRD");
            }
            error => tracing::warn!(%error, "Relays cannot be listed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(CRD_BACKOFF.1);
    }
}

/// Reconciles every Relay of `namespace`, or of all namespaces, until `shutdown`, and then finishes what is
/// under way. `filled` is called when every watch has seen every object once.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    default_image: String,
    status_reader: Reader,
    metrics: Metrics,
    filled: impl FnOnce() + Send + 'static,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (service_accounts, service_account_events) = watch(&client, namespace);
    let (config_maps, config_map_events) = watch(&client, namespace);
    let (services, service_events) = watch(&client, namespace);
    let (stateful_sets, stateful_set_events) = watch(&client, namespace);
    let (pods, pod_events) = watch::<Pod>(&client, namespace);
    let cache = Cache { service_accounts, config_maps, services, stateful_sets, pods };
    let (relays, writer) = reflector::store();
    let relay_events = watcher(api::<DeserializeGuard<Relay>>(&client, namespace), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        // The operator's own writes of status are no reason to look again.
        .predicate_filter(predicates::generation, PredicateConfig::default())
        .inspect_err(|error| tracing::warn!(kind = "Relay", %error, "watch failed"));

    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), Reporter::from(OPERATOR)),
        client,
        cache: cache.clone(),
        status_reader,
        default_image,
        metrics,
    });
    let announce = async move {
        cache.filled().await;
        filled();
    };
    let controller = Controller::for_stream(relay_events, relays)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .owns_stream(service_account_events)
        .owns_stream(config_map_events)
        .owns_stream(service_events)
        .owns_stream(stateful_set_events)
        .watches_stream(pod_events, relay_of_pod)
        .graceful_shutdown_on(shutdown)
        .run(reconcile_when_filled, retry, context)
        .for_each(|_| std::future::ready(()));
    tokio::join!(controller, announce);
}

/// A cache that is still being filled would look as if every object were missing.
async fn reconcile_when_filled(relay: Arc<DeserializeGuard<Relay>>, context: Arc<Context>) -> Result<Action, Error> {
    context.cache.filled().await;
    reconcile(relay, context).await
}

fn retry(relay: Arc<DeserializeGuard<Relay>>, error: &Error, _: Arc<Context>) -> Action {
    let namespace = relay.namespace().unwrap_or_default();
    tracing::warn!(%namespace, relay = %relay.name_any(), reason = error.reason(), %error, "reconcile failed");
    match error {
        Error::Undecodable(_) => Action::await_change(),
        _ => Action::requeue(RETRY_AFTER),
    }
}

fn relay_of_pod(pod: Pod) -> Option<ObjectRef<DeserializeGuard<Relay>>> {
    let relay = pod.labels().get(INSTANCE)?;
    Some(ObjectRef::new(relay).within(pod.namespace().as_deref()?))
}
