//! Wires watches, reconcile and shutdown together.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::OnceCell;

use super::cache::{Cache, GonePods, Watching, api, untouched};
use super::foreign::Histories;
use super::names::{INSTANCE, OPERATOR};
use super::optional::OptionalKinds;
use super::secrets::Secrets;
use super::{Context, Error, RETRY_AFTER, reconcile};
use crate::api::Relay;
use crate::metrics::Metrics;
use crate::relay_admin;

/// Relays reconciled at once: each may wait for its status document, none waits for the API server long.
const CONCURRENCY: u16 = 32;
/// Several changes within this time are one reconcile.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Longest wait of a reconcile for the watches; one that is refused must not hold up the end of the operator.
const FILL_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause between two looks for the CRD.
const CRD_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Returns when the API server serves Relays and lets the operator list them. Until then it says what
/// is missing, instead of crashing.
pub async fn wait_for_crd(client: &Client, namespace: Option<&str>) {
    let relays = api::<Relay>(client, namespace);
    let mut pause = CRD_BACKOFF.0;
    let one = ListParams::default().limit(1);
    while let Err(error) = relays.list_metadata(&one).await {
        match &error {
            // By its code: the answer for an unknown kind is plain text, without a reason.
            kube::Error::Api(status) if status.code == 404 => {
                tracing::warn!("the cluster does not know the kind Relay yet; install its CRD");
            }
            error => tracing::warn!(%error, "Relays cannot be listed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(CRD_BACKOFF.1);
    }
}

/// What an operator is told at its start.
pub struct Options {
    /// The API server.
    pub client: Client,
    /// The same, without a second try of a request that is refused for now.
    pub once: Client,
    /// The one namespace to serve; all of them by default.
    pub namespace: Option<String>,
    /// Image of relays whose spec names none.
    pub default_image: String,
    /// Asks relays.
    pub admin: relay_admin::Client,
    /// The operator's metrics.
    pub metrics: Metrics,
}

/// Reconciles every Relay until `shutdown`, and then finishes what is under way. `filled` is called when every watch
/// has seen every object once.
pub async fn run(
    options: Options,
    filled: impl FnOnce() + Send + 'static,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let Options { client, once, namespace, default_image, admin, metrics } = options;
    let namespace = namespace.as_deref();
    let watching =
        Watching { client: client.clone(), namespace: namespace.map(str::to_owned), metrics: metrics.clone() };
    let (service_accounts, service_account_events) = watching.watch(untouched);
    let (config_maps, config_map_events) = watching.watch(untouched);
    let (services, service_events) = watching.watch(untouched);
    let (stateful_sets, stateful_set_events) = watching.watch(untouched);
    let (claims, claim_events) = watching.watch(untouched);
    let gone_pods = GonePods::default();
    let (pods, pod_events) = watching.watch_pods(gone_pods.clone());
    let (ingresses, ingress_events) = watching.watch(untouched);
    let (network_policies, network_policy_events) = watching.watch(untouched);
    let (disruption_budgets, disruption_budget_events) = watching.watch(untouched);
    let optional = OptionalKinds::default();
    let (following, one_changed, all_changed) =
        optional.follow(client.clone(), namespace.map(str::to_owned), metrics.clone());
    let (histories, secrets) = (Histories::default(), Secrets::default());
    let remembered = (histories.clone(), secrets.clone(), metrics.clone());
    let (relays, relay_events) = watching.watch_relays(move |is_there| {
        remembered.0.keep_only(is_there);
        remembered.1.keep_only(is_there);
        remembered.2.keep_only(is_there);
    });
    metrics.relays_are(relays.clone());
    let cache = Cache {
        service_accounts,
        config_maps,
        services,
        stateful_sets,
        ingresses,
        network_policies,
        disruption_budgets,
        claims,
        pods,
        gone_pods,
        optional,
    };
    let announce = {
        let cache = cache.clone();
        async move {
            if cache.filled().await {
                filled();
            }
            std::future::pending().await
        }
    };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), Reporter::from(OPERATOR)),
        client,
        once,
        cache,
        admin,
        default_image,
        metrics,
        histories,
        secrets,
        can_resize: OnceCell::new(),
    });
    let controller = Controller::for_stream(relay_events, relays)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .owns_stream(service_account_events)
        .owns_stream(config_map_events)
        .owns_stream(service_events)
        .owns_stream(stateful_set_events)
        .owns_stream(ingress_events)
        .owns_stream(network_policy_events)
        .owns_stream(disruption_budget_events)
        .reconcile_on(one_changed)
        .reconcile_all_on(all_changed)
        .watches_stream(pod_events, |pod: Pod| relay_of(&pod))
        .watches_stream(claim_events, |claim: PersistentVolumeClaim| relay_of(&claim))
        .graceful_shutdown_on(shutdown)
        .run(reconcile_when_filled, retry, context)
        .for_each(|_| std::future::ready(()));
    tokio::select! {
        () = controller => {}
        () = announce => {}
        () = following => {}
    }
}

/// A Relay, or what is none after a change of the schema.
pub(super) type GuardedRelay = DeserializeGuard<Relay>;

/// A cache that is still being filled would look as if every object were missing.
async fn reconcile_when_filled(relay: Arc<GuardedRelay>, context: Arc<Context>) -> Result<Action, Error> {
    match tokio::time::timeout(FILL_TIMEOUT, context.cache.filled()).await {
        Ok(true) => reconcile(relay, context).await,
        Ok(false) | Err(_) => Err(Error::CacheNotFilled),
    }
}

fn retry(relay: Arc<GuardedRelay>, error: &Error, _: Arc<Context>) -> Action {
    let namespace = relay.namespace().unwrap_or_default();
    tracing::warn!(%namespace, relay = %relay.name_any(), reason = error.reason(), %error, "reconcile failed");
    match error {
        Error::Undecodable(_) => Action::await_change(),
        _ => Action::requeue(RETRY_AFTER),
    }
}

/// Of what a StatefulSet has made.
fn relay_of<K: Resource>(object: &K) -> Option<ObjectRef<GuardedRelay>> {
    let relay = object.labels().get(INSTANCE)?;
    Some(ObjectRef::new(relay).within(object.namespace().as_deref()?))
}
