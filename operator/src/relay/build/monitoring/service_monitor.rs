//! The ServiceMonitor: what Prometheus scrapes of a relay.

use serde_json::{Value, json};

use crate::relay::build::OptionalChild;
use crate::relay::build::implementation::Profile;
use crate::relay::names;
use crate::relay::optional::OptionalKind;
use crate::relay::validate::{Scrape, ValidRelay};

/// Of every port of the admin Service that has metrics. A Service of the firehose has the same labels, but no such port.
pub(super) fn build(relay: &ValidRelay, profile: &Profile, scrape: &Scrape) -> OptionalChild {
    let spec = json!({
        "selector": {"matchLabels": names::selector_labels(&relay.name)},
        "namespaceSelector": {"matchNames": [relay.namespace]},
        "endpoints": profile.metrics.iter().map(|port| endpoint(relay, scrape, port)).collect::<Vec<_>>(),
    });
    let mut child = OptionalChild::new(OptionalKind::ServiceMonitor, relay, names::service_monitor(&relay.name), &spec);
    child.label(&scrape.labels);
    child
}

/// One port. Alerts and dashboards find its series by the labels `namespace`, which Prometheus' operator gives them, and
/// `relay`.
fn endpoint(relay: &ValidRelay, scrape: &Scrape, port: &str) -> Value {
    let mut endpoint = json!({
        "port": port,
        "path": "/metrics",
        "relabelings": [{"targetLabel": "relay", "replacement": relay.name}],
        // Backfill jobs are told apart by the label `job`, which is Prometheus' own.
        "metricRelabelings": [
            {"sourceLabels": ["exported_job"], "regex": "(.+)", "targetLabel": "backfill", "action": "replace"},
            {"regex": "exported_job", "action": "labeldrop"},
        ],
    });
    if let Some(interval) = &scrape.interval {
        endpoint["interval"] = json!(interval);
    }
    endpoint
}
