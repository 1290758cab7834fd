use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// Whoever drains a node may evict the one pod: a relay that is evicted loses nothing and comes back elsewhere, and a budget
/// that forbids it would hold up every upgrade of a node. So it does outside of the window for updates too, which is for
/// what the operator does of its own accord.
pub(super) fn build(relay: &ValidRelay) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: names::meta(relay, names::disruption_budget(&relay.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(names::selector(&relay.name)),
            // A pod that does not work protects nothing.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
