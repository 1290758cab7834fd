//! Queries that are the same for every program: the kubelet's and the operator's.

use super::{Query, Selector};
use crate::relay::validate::ValidRelay;

pub(super) fn cpu(at: &Selector) -> Vec<Query> {
    let used = at.container("container_cpu_usage_seconds_total");
    vec![Query::new("cores", format!("sum(rate({used}[$__rate_interval]))"))]
}

pub(super) fn disk(at: &Selector) -> Vec<Query> {
    vec![
        Query::new("used", format!("max({})", at.volume("kubelet_volume_stats_used_bytes"))),
        Query::new("capacity", format!("max({})", at.volume("kubelet_volume_stats_capacity_bytes"))),
    ]
}

pub(super) fn restarts(at: &Selector) -> Vec<Query> {
    vec![Query::new("{{cause}}", format!("sum by (cause) ({})", at.own("relay_operator_relay_restarts_total")))]
}

/// The marks of a program whose memory the operator watches.
pub(super) fn marks(relay: &ValidRelay) -> Vec<Query> {
    let limit = relay.memory.limit.0;
    let share = |percent: i32| limit.saturating_mul(u64::from(percent.unsigned_abs())) / 100;
    [("soft mark", share(relay.memory.soft_percent)), ("hard mark", share(relay.memory.hard_percent)), ("limit", limit)]
        .map(|(name, bytes)| Query::new(name, format!("vector({bytes})")))
        .into()
}
