//! A relay of another project: it has no status document and does not watch its memory, so the operator does.
//!
//! [`look`] asks for its working set and its metrics and remembers what they were; [`decide`] says whether its memory asks
//! for a restart; [`act`] makes it, by evicting the pod, and the StatefulSet makes another. What is remembered is in no
//! status: an operator that starts anew looks for a minute first.

mod decide;
mod history;
mod metrics;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, ResourceExt};

pub(super) use history::History;
pub(super) use metrics::Figures;

use super::build::{CONTAINER, MetricNames};
use super::byte_size::ByteSize;
use super::names::OPERATOR;
use super::read::{World, running_ip};
use super::report::{quote, tell};
use super::validate::ValidRelay;
use super::{Context, api_message, endings, evict};
use crate::api::Relay;
use crate::relay_admin::AskError;
use decide::Decision;

/// Time for the cluster to say what it has measured; it has it at hand.
const MEASURED_WITHIN: Duration = Duration::from_secs(5);

/// Time between two looks at memory in use while it is far from the limit: it is the API server that is asked.
const CALM_EVERY: Duration = Duration::from_secs(60);

/// What is remembered of every relay of another project. Cheap to clone.
#[derive(Clone, Default)]
pub struct Histories(Arc<Mutex<BTreeMap<ObjectKey, History>>>);

/// Namespace and name.
type ObjectKey = (String, String);

/// What is known of a relay of another project.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Up to now.
    pub(super) history: History,
    /// What its metrics say.
    pub(super) figures: Result<Figures, AskError>,
}

impl Histories {
    /// Changes what is remembered of the pod `uid` of a relay, and tells it. What was of another pod is forgotten.
    fn change(&self, key: ObjectKey, uid: &str, change: impl FnOnce(&mut History)) -> History {
        let mut histories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let history = histories.entry(key).or_default();
        if history.pod_uid != uid {
            *history = History::of(uid.to_owned());
        }
        change(history);
        history.clone()
    }

    /// Lets what was measured be older by `time`, for tests.
    pub fn pass(&self, time: Duration) {
        let mut histories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        histories.values_mut().for_each(|history| history.pass(time));
    }

    /// Forgets the Relays that there are not, by namespace and name.
    pub(super) fn keep_only(&self, is_there: impl Fn(&str, &str) -> bool) {
        let mut histories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        histories.retain(|(namespace, relay), _| is_there(namespace, relay));
    }
}

/// Asks how the relay in `pod` is; `None` when there is nobody to ask.
pub(super) async fn look(
    context: &Context,
    namespace: &str,
    relay: &str,
    pod: &Pod,
    names: MetricNames,
) -> Option<Seen> {
    let ip = running_ip(pod)?;
    let (key, uid) = ((namespace.to_owned(), relay.to_owned()), pod.uid().unwrap_or_default());
    let before = context.histories.change(key.clone(), &uid, |_| {});
    let is_due = is_due(&before, pod, Timestamp::now());
    let measured = async { if is_due { working_set(&context.once, namespace, pod).await } else { None } };
    let (measured, figures) = tokio::join!(measured, metrics::ask(&context.admin, ip, names));
    let now = Timestamp::now();
    // Resident memory is the nearest to a working set that the relay itself can tell.
    let resident = figures.as_ref().ok().and_then(|figures| figures.resident).map(|bytes| (now, bytes));
    let history = context.histories.change(key, &uid, |history| {
        if let Some((at, bytes)) = measured.or(resident).filter(|_| is_due) {
            history.uses(at, bytes);
        }
        if let Some(events) = figures.as_ref().ok().and_then(|figures| figures.events) {
            history.counts(now, events);
        }
    });
    Some(Seen { history, figures })
}

/// Whether memory in use is to be looked at: in every reconcile, unless it was below three quarters of the limit a moment ago.
fn is_due(history: &History, pod: &Pod, now: Timestamp) -> bool {
    let (Some(last), Some(limit)) = (history.last(), endings::container(pod).and_then(endings::limit)) else {
        return true;
    };
    last.bytes >= limit.0 / 4 * 3 || history::age(last.at, now) >= CALM_EVERY
}

/// The working set of the pod's relay, and when it was measured, where the cluster measures it.
async fn working_set(client: &Client, namespace: &str, pod: &Pod) -> Option<(Timestamp, u64)> {
    let resource = ApiResource {
        group: "metrics.k8s.io".into(),
        version: "v1beta1".into(),
        api_version: "metrics.k8s.io/v1beta1".into(),
        kind: "PodMetrics".into(),
        plural: "pods".into(),
    };
    let metrics = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    // Not served, not measured yet, not allowed: there is another way, and the next time.
    let name = pod.name_any();
    let measured = tokio::time::timeout(MEASURED_WITHIN, metrics.get(&name)).await.ok()?.ok()?.data;
    let at = measured["timestamp"].as_str()?.parse().ok()?;
    let containers = measured["containers"].as_array()?;
    let container = containers.iter().find(|container| container["name"] == CONTAINER)?;
    let bytes = ByteSize::parse(container["usage"]["memory"].as_str()?)?;
    Some((at, bytes.0))
}

/// The memory limit that is in force.
pub(super) fn limit(relay: &ValidRelay, pod: Option<&Pod>) -> ByteSize {
    pod.and_then(endings::container).and_then(endings::limit).unwrap_or(relay.memory.limit)
}

/// Evicts the pod where its memory asks for it. Answers the uid of a pod that goes because of it. Nothing here fails a
/// reconcile: what the API server refuses is told, and tried again.
pub(super) async fn act(context: &Context, relay: &Relay, valid: &ValidRelay, world: &World) -> Option<String> {
    let (pod, seen) = (world.pod.as_deref()?, world.foreign.as_ref()?);
    let history = &seen.history;
    if history.is_evicted {
        return Some(history.pod_uid.clone());
    }
    if valid.paused || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let now = Timestamp::now();
    let ends = relay.status.as_ref().and_then(|status| status.restarts.as_ref());
    let last = ends.map(|ends| ends.last.as_slice()).unwrap_or_default();
    let limit = limit(valid, Some(pod));
    let Decision::Evict(why) = decide::decide(valid, limit, history, last, now) else { return None };
    let evicted = evict::evict(context, valid, &pod.name_any(), &history.pod_uid).await;
    let used = ByteSize(history.last()?.bytes).rounded();
    let (type_, reason, note) = match &evicted {
        Ok(()) => {
            let note = format!("The relay uses {used} of {limit}, and {why}: its pod is evicted, to start anew.");
            (EventType::Normal, "MemoryEviction", note)
        }
        Err(error) => {
            let said = quote(&api_message(error));
            let note =
                format!("The relay uses {used} of {limit}, and {why}, but its pod cannot be evicted now: {said}");
            (EventType::Warning, "MemoryEvictionRefused", note)
        }
    };
    tracing::info!(namespace = valid.namespace, relay = valid.name, reason, note, "eviction");
    let key = (valid.namespace.clone(), valid.name.clone());
    let is_news = evicted.is_ok() || history.refused_at.is_none();
    let history = context.histories.change(key, &history.pod_uid, |history| match evicted {
        Ok(()) => history.is_evicted = true,
        Err(_) => history.refused_at = Some(now),
    });
    if is_news {
        let event = Event { type_, reason: reason.into(), note: Some(note), action: "Evict".into(), secondary: None };
        tell(&Recorder::new(context.client.clone(), OPERATOR.into()), relay, &event).await;
    }
    history.is_evicted.then_some(history.pod_uid)
}
