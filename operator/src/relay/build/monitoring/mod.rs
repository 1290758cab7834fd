//! What Prometheus and Grafana get to see of a relay: ServiceMonitor, PrometheusRule and a dashboard.

mod alerts;
mod dashboard;
mod selector;
mod service_monitor;

use k8s_openapi::api::core::v1::ConfigMap;

use super::OptionalChild;
use super::implementation::Profile;
use crate::relay::validate::ValidRelay;
use selector::Selector;

/// The ServiceMonitor and the PrometheusRule, where the spec asks for them.
pub(super) fn optional(relay: &ValidRelay, profile: &Profile) -> Vec<OptionalChild> {
    let monitoring = &relay.monitoring;
    let selector = Selector::of(relay);
    let scrape = monitoring.service_monitor.as_ref().map(|scrape| service_monitor::build(relay, profile, scrape));
    let alerts = monitoring.alerts.as_ref().map(|alerts| alerts::build(relay, profile, alerts, &selector));
    scrape.into_iter().chain(alerts).collect()
}

/// The dashboard, where the spec asks for one.
pub(super) fn dashboards(relay: &ValidRelay) -> Vec<ConfigMap> {
    let dashboards = relay.monitoring.dashboards.as_ref();
    dashboards.map(|spec| dashboard::build(relay, spec, &Selector::of(relay))).into_iter().collect()
}
