//! What zlay shows. Its counters of events, hosts and consumers have no names that are documented.

use super::{Query, Selector, Slot, kubelet};
use crate::relay::validate::ValidRelay;

pub(super) fn queries(relay: &ValidRelay, at: &Selector, slot: Slot) -> Vec<Query> {
    let gauge = |metric: &str| format!("max({})", at.own(metric));
    let kib = |metric: &str| format!("max({}) * 1024", at.own(metric));
    match slot {
        Slot::Events => vec![Query::new(
            "discontinuous",
            format!("sum(rate({}[$__rate_interval]))", at.own("relay_chain_breaks_total")),
        )],
        Slot::Hosts | Slot::Consumers | Slot::Backfill => Vec::new(),
        Slot::Memory => {
            let mut queries = vec![Query::new("working set", kib("relay_smaps_rss_kb"))];
            queries.extend(kubelet::marks(relay));
            queries
        }
        Slot::Owners => vec![
            Query::new("malloc, in use", gauge("relay_malloc_in_use_bytes")),
            Query::new("malloc, free", gauge("relay_malloc_free_bytes")),
            Query::new("malloc, mapped", gauge("relay_malloc_mmap_bytes")),
            Query::new("stacks", kib("relay_stack_rss_kb")),
        ],
        Slot::Restarts => kubelet::restarts(at),
        Slot::Cpu => kubelet::cpu(at),
        Slot::Disk => kubelet::disk(at),
    }
}
