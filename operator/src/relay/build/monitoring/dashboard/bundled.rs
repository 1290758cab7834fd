//! What the relay of this project shows.

use super::{Query, Selector, Slot, kubelet};

pub(super) fn queries(at: &Selector, slot: Slot) -> Vec<Query> {
    let rate = |metric: &str| format!("sum(rate({}[$__rate_interval]))", at.own(metric));
    let gauge = |metric: &str| format!("max({})", at.own(metric));
    let grown = |series: String| format!("sum(increase({series}[$__rate_interval]))");
    match slot {
        Slot::Events => vec![
            Query::new("received", rate("relay_events_received_total")),
            Query::new("passed on", rate("relay_events_passed_total")),
            // A reason has no series before the first event that is dropped for it.
            Query::new(
                "dropped",
                format!("{} or 0 * {}", rate("relay_events_dropped_total"), rate("relay_events_received_total")),
            ),
            Query::new("discontinuous", rate("relay_events_discontinuous_total")),
        ],
        Slot::Hosts => vec![
            Query::new("connected", gauge("relay_hosts_connected")),
            Query::new("{{status}}", format!("sum by (status) ({})", at.own("relay_hosts"))),
            Query::new("a minute behind", gauge_with(at, "relay_hosts_behind", r#"over="1m""#)),
        ],
        Slot::Consumers => vec![
            Query::new("connected", gauge("relay_consumers")),
            Query::new("too slow", grown(at.own_with("relay_consumer_disconnects_total", r#"reason="too_slow""#))),
            Query::new("refused", grown(at.own("relay_consumers_refused_total"))),
        ],
        Slot::Memory => vec![
            Query::new("working set", gauge("relay_memory_working_set_bytes")),
            Query::new("soft mark", gauge("relay_memory_soft_bytes")),
            Query::new("hard mark", gauge("relay_memory_hard_bytes")),
            Query::new("limit", gauge("relay_memory_limit_bytes")),
        ],
        Slot::Owners => vec![Query::new("{{part}}", format!("sum by (part) ({})", at.own("relay_memory_part_bytes")))],
        Slot::Restarts => kubelet::restarts(at),
        Slot::Cpu => kubelet::cpu(at),
        Slot::Disk => {
            let mut queries = vec![Query::new("event log", gauge("relay_log_bytes"))];
            queries.extend(kubelet::disk(at));
            queries
        }
        Slot::Backfill => {
            let rates = at.own("relay_backfill_per_second");
            vec![Query::new("{{backfill}}", format!("sum by (backfill) ({rates})"))]
        }
    }
}

fn gauge_with(at: &Selector, metric: &str, matchers: &str) -> String {
    format!("max({})", at.own_with(metric, matchers))
}
