//! The operator's own metrics. `docs/reference/operator-metrics.md` lists them.

mod relays;

use std::sync::Arc;
use std::time::Duration;

use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::api::Relay;
use crate::requests::Asked;
use relays::Relays;

/// Upper bounds in seconds: from a reconcile out of the cache to one that waits for a relay.
const DURATION_BUCKETS: [f64; 7] = [0.001, 0.01, 0.05, 0.25, 1.0, 5.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: String,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    group: String,
    resource: String,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DefinitionLabel {
    definition: String,
}

/// What the operator does and sees. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ResultLabel, Counter>,
    running: Gauge,
    durations: Histogram,
    errors: Family<ReasonLabel, Counter>,
    writes: Family<WriteLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    watch_lists: Family<KindLabel, Counter>,
    watch_errors: Family<KindLabel, Counter>,
    optional_kinds: Family<DefinitionLabel, Gauge>,
    leader: Gauge,
    job_requests: Family<JobLabels, Counter>,
    relays: Relays,
}

impl Default for Metrics {
    fn default() -> Self {
        let reconciles = Family::default();
        let running = Gauge::default();
        let durations = Histogram::new(DURATION_BUCKETS);
        let errors = Family::default();
        let writes = Family::default();
        let requests = Family::default();
        let watch_lists = Family::default();
        let watch_errors = Family::default();
        let optional_kinds = Family::default();
        let leader = Gauge::default();
        let job_requests = Family::default();
        let relays = Relays::default();
        let mut registry = Registry::with_prefix("relay_operator");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The operator's version", build);
        registry.register("leader", "1 while this operator holds the lease", leader.clone());
        registry.register("reconciles", "Reconciles, by result", reconciles.clone());
        registry.register("reconciles_running", "Reconciles under way", running.clone());
        registry.register("reconcile_duration_seconds", "Time that reconciles took", durations.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by reason", errors.clone());
        registry.register("writes", "Writes sent to the API server, by kind and verb", writes.clone());
        registry.register(
            "api_requests",
            "Requests to the API server, by what was asked and the HTTP status of the answer",
            requests.clone(),
        );
        registry.register("watch_lists", "Times that a watch has begun anew with a list, by kind", watch_lists.clone());
        registry.register("watch_errors", "Errors of watches, by kind", watch_errors.clone());
        registry.register("optional_kind", "1 for an optional kind that the cluster knows", optional_kinds.clone());
        registry.register(
            "job_requests",
            "Changes of backfill jobs asked of relays, by verb and outcome",
            job_requests.clone(),
        );
        registry.register_collector(Box::new(relays.clone()));
        Self {
            registry: Arc::new(registry),
            reconciles,
            running,
            durations,
            errors,
            writes,
            requests,
            watch_lists,
            watch_errors,
            optional_kinds,
            leader,
            job_requests,
            relays,
        }
    }
}

/// A reconcile under way, for as long as this is kept.
pub(crate) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a reconcile that took `duration`, and failed for the reason `error` if there is one.
    pub(crate) fn reconciled(&self, duration: Duration, error: Option<&'static str>) {
        self.durations.observe(duration.as_secs_f64());
        let result = if error.is_some() { "failed" } else { "done" };
        self.reconciles.get_or_create(&ResultLabel { result }).inc();
        if let Some(reason) = error {
            self.errors.get_or_create(&ReasonLabel { reason }).inc();
        }
    }

    /// Counts a write of an object of the kind `kind`.
    pub(crate) fn wrote(&self, kind: &str, verb: &'static str) {
        let kind = kind.to_owned();
        self.writes.get_or_create(&WriteLabels { kind, verb }).inc();
    }

    /// Counts a change of a backfill job that a relay was asked for.
    pub(crate) fn asked(&self, verb: &'static str, is_done: bool) {
        let outcome = if is_done { "done" } else { "failed" };
        self.job_requests.get_or_create(&JobLabels { verb, outcome }).inc();
    }

    /// A reconcile begins.
    pub(crate) fn begin(&self) -> Running {
        self.running.inc();
        Running(self.running.clone())
    }

    /// Counts a request, and the HTTP status of its answer if there was one.
    pub(crate) fn requested(&self, asked: Asked, code: Option<u16>) {
        let Asked { verb, group, resource, .. } = asked;
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.requests.get_or_create(&RequestLabels { verb, group, resource, code }).inc();
    }

    /// Counts a list with which a watch of `kind` begins.
    pub(crate) fn listed(&self, kind: &str) {
        self.watch_lists.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// Counts an error of a watch of `kind`.
    pub(crate) fn watch_failed(&self, kind: &str) {
        self.watch_errors.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    }

    /// The cluster knows the optional kind of this definition, or does not.
    pub(crate) fn knows(&self, definition: String, is_known: bool) {
        self.optional_kinds.get_or_create(&DefinitionLabel { definition }).set(is_known.into());
    }

    /// This operator holds the lease, or does not.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// These are the Relays.
    pub(crate) fn relays_are(&self, store: Store<DeserializeGuard<Relay>>) {
        self.relays.are(store);
    }

    /// Forgets the Relays that there are not, by namespace and name.
    pub(crate) fn keep_only(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.relays.keep_only(is_there);
    }

    /// Counts `count` ends of the relay `relay`.
    pub(crate) fn ended(&self, namespace: &str, relay: &str, cause: &'static str, count: u64) {
        self.relays.ended(namespace, relay, cause, count);
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    ///
    /// When a metric cannot be formatted.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../docs/reference/operator-metrics.md");

    /// One of everything.
    fn metrics() -> Metrics {
        let metrics = Metrics::default();
        let _running = metrics.begin();
        metrics.reconciled(Duration::from_millis(3), None);
        metrics.reconciled(Duration::from_millis(3), Some("ReadFailed"));
        metrics.wrote("Service", "apply");
        metrics.asked("PUT", true);
        let line = "/apis/apps/v1/namespaces/a/statefulsets/b".parse().unwrap_or_default();
        metrics.requested(Asked::of(&axum::http::Method::PATCH, &line), Some(200));
        metrics.listed("Pod");
        metrics.watch_failed("Pod");
        metrics.knows("servicemonitors.monitoring.coreos.com".into(), true);
        metrics.leads(true);
        metrics.ended("relays", "main", "Stopped", 1);
        metrics
    }

    #[test]
    fn the_page_lists_every_metric_and_no_other() -> Result<(), std::fmt::Error> {
        let text = metrics().encode()?;
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let served: BTreeSet<String> = families
            .map(|(name, kind)| match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            })
            .collect();
        let listed = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let listed: BTreeSet<String> = listed.map(|(name, _)| name.to_owned()).collect();
        assert_eq!(served, listed);
        Ok(())
    }

    #[test]
    fn names_are_as_prometheus_wants_them() -> Result<(), std::fmt::Error> {
        let text = metrics().encode()?;
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap_or_default();
            assert!(name.starts_with("relay_operator_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!["_total", "_count", "_sum", "_bucket", "_info"].iter().any(|end| name.ends_with(end)), "{name}");
            assert!(kind != "unknown" && text.contains(&format!("# HELP {name} ")), "{name}");
        }
        assert!(
            text.contains(r#"relay_operator_relay_restarts_total{namespace="relays",relay="main",cause="Stopped"} 1"#)
        );
        assert!(text.contains(
            r#"relay_operator_api_requests_total{verb="patch",group="apps",resource="statefulsets",code="200"} 1"#
        ));
        Ok(())
    }

    #[test]
    fn what_is_known_of_a_relay_goes_with_it() -> Result<(), std::fmt::Error> {
        let metrics = metrics();
        metrics.ended("relays", "other", "Crashed", 2);
        metrics.keep_only(|_, relay| relay == "other");
        let text = metrics.encode()?;
        assert!(text.contains(r#"relay="other""#) && !text.contains(r#"relay="main""#), "{text}");
        Ok(())
    }
}
