//! Alerts of relays of other projects, from what their metrics have.

use super::{Alert, Selector, common};
use crate::relay::build::implementation::MetricNames;
use crate::relay::build::metric_names;
use crate::relay::validate::ValidRelay;

pub(super) fn indigo(relay: &ValidRelay, at: &Selector, up: &str) -> Vec<Alert> {
    let mut alerts = vec![
        common::not_delivering(at, "events_received_counter", None),
        common::hosts_lost(at, "relay_connected_inbound"),
    ];
    alerts.extend(memory(relay, at, up));
    alerts
}

/// Its counters of events and hosts have no names that are documented.
pub(super) fn zlay(relay: &ValidRelay, at: &Selector, up: &str) -> Vec<Alert> {
    memory(relay, at, up).into_iter().collect()
}

/// The hard mark is the operator's, at which it evicts the pod as often as it may. Only the port `up` counts: a program that runs
/// beside the relay may have a metric of the same name.
fn memory(relay: &ValidRelay, at: &Selector, up: &str) -> Option<Alert> {
    let MetricNames { resident: (metric, unit), .. } = metric_names(relay.implementation)?;
    let hard = relay.memory.limit.0.saturating_mul(u64::from(relay.memory.hard_percent.unsigned_abs())) / 100;
    let endpoint = format!(r#"endpoint="{up}""#);
    Some(common::memory(format!("max({}) * {unit} >= {hard}", at.own_with(metric, &endpoint))))
}
