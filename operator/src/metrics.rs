//! The operator's own metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

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
struct RestartLabels {
    namespace: String,
    relay: String,
    cause: &'static str,
}

/// Counters of what the operator does and sees. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    durations: Histogram,
    errors: Family<ReasonLabel, Counter>,
    writes: Family<WriteLabels, Counter>,
    job_requests: Family<JobLabels, Counter>,
    relay_restarts: Family<RestartLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations = Histogram::new(DURATION_BUCKETS);
        let errors = Family::default();
        let writes = Family::default();
        let job_requests = Family::default();
        let relay_restarts = Family::default();
        let mut registry = Registry::with_prefix("relay_operator");
        registry.register("reconcile_duration_seconds", "Time that reconciles took", durations.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by reason", errors.clone());
        registry.register("writes", "Writes sent to the API server, by kind and verb", writes.clone());
        registry.register(
            "job_requests",
            "Changes of backfill jobs asked of relays, by verb and outcome",
            job_requests.clone(),
        );
        registry.register("relay_restarts", "Ends of relays, by relay and cause", relay_restarts.clone());
        Self { registry: Arc::new(registry), durations, errors, writes, job_requests, relay_restarts }
    }
}

impl Metrics {
    /// Counts a reconcile that took `duration`, and failed for the reason `error` if there is one.
    pub(crate) fn reconciled(&self, duration: Duration, error: Option<&'static str>) {
        self.durations.observe(duration.as_secs_f64());
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

    /// Counts `count` ends of the relay `relay`.
    pub(crate) fn ended(&self, namespace: &str, relay: &str, cause: &'static str, count: u64) {
        let labels = RestartLabels { namespace: namespace.to_owned(), relay: relay.to_owned(), cause };
        self.relay_restarts.get_or_create(&labels).inc_by(count);
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
