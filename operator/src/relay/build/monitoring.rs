//! ServiceMonitor, PrometheusRule and dashboards.

use k8s_openapi::api::core::v1::ConfigMap;

use super::OptionalChild;
use super::implementation::Profile;
use crate::relay::validate::ValidRelay;

/// The ServiceMonitor and the PrometheusRule, where the spec asks for them.
pub(super) fn optional(_relay: &ValidRelay, _profile: &Profile) -> Vec<OptionalChild> {
    Vec::new()
}

/// The dashboards, where the spec asks for them.
pub(super) fn dashboards(_relay: &ValidRelay) -> Vec<ConfigMap> {
    Vec::new()
}
