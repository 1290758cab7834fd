//! What indigo's relay shows. Its counters are by host and by consumer; they are added up here. What every program in Go has a
//! metric of is asked of the relay's own port: another program may run beside it.

use super::{Query, Selector, Slot, kubelet};
use crate::relay::validate::ValidRelay;

pub(super) fn queries(relay: &ValidRelay, at: &Selector, slot: Slot) -> Vec<Query> {
    let rate = |metric: &str| format!("sum(rate({}[$__rate_interval]))", at.own(metric));
    let gauge = |metric: &str| format!("max({})", at.own(metric));
    let go = |metric: &str| at.own_with(metric, r#"endpoint="metrics""#);
    match slot {
        Slot::Events => vec![
            Query::new("received", rate("events_received_counter")),
            Query::new("passed on", format!("max(deriv({}[$__rate_interval]))", at.own("disk_persister_current_seq"))),
            Query::new("with a warning", rate("events_warn_counter")),
        ],
        Slot::Hosts => vec![Query::new("connected", gauge("relay_connected_inbound"))],
        Slot::Consumers => {
            let sent = at.own("events_sent_counter");
            vec![Query::new("connected", format!("count(rate({sent}[$__rate_interval]) > 0) or vector(0)"))]
        }
        Slot::Memory => {
            let mut queries = vec![Query::new("working set", format!("max({})", go("process_resident_memory_bytes")))];
            queries.extend(kubelet::marks(relay));
            queries
        }
        Slot::Owners => {
            let [resident, system, released] =
                ["process_resident_memory_bytes", "go_memstats_sys_bytes", "go_memstats_heap_released_bytes"].map(go);
            let idle = go("go_memstats_heap_idle_bytes");
            vec![
                Query::new("Go heap", format!("max({})", go("go_memstats_heap_inuse_bytes"))),
                Query::new("Go stacks", format!("max({})", go("go_memstats_stack_inuse_bytes"))),
                Query::new("Go heap, idle", format!("max({idle} - {released})")),
                // SQLite's C library, and the program itself.
                Query::new("outside Go", format!("max({resident} - ({system} - {released}))")),
            ]
        }
        Slot::Restarts => kubelet::restarts(at),
        Slot::Cpu => kubelet::cpu(at),
        Slot::Disk => kubelet::disk(at),
        Slot::Backfill => Vec::new(),
    }
}
