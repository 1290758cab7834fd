//! zlay: one process in Zig, with glibc's allocator, RocksDB for its index and PostgreSQL for the rest.

use super::{Check, FIREHOSE, MetricNames, Profile, scratch, secret_variable, variable};
use crate::api::ValidationMode;
use crate::relay::build::stateful_set::DATA_DIR;
use crate::relay::validate::{Resources, ValidRelay};

/// Port of the firehose.
const FIREHOSE_PORT: i32 = 3000;
/// Port of XRPC, health, metrics and the admin API.
const ADMIN_PORT: u16 = 3001;
/// Its name.
const ADMIN: &str = "admin";

/// Memory for which there is one arena of the allocator. Each keeps what its threads have freed: glibc's default, 8 for
/// each core, is how thousands of threads fill any limit. Operators run it with 2 in a limit of 5 GiB.
const BYTES_PER_ARENA: u64 = 2 << 30;
/// Fewer are a queue of its threads, more are of no use to them.
const ARENAS: (u64, u64) = (2, 8);
/// Free bytes at the end of an arena from which they go back to the kernel. That it is set at all also keeps glibc from
/// raising, for good, the size from which blocks are mapped, and unmapped, alone.
const TRIM_BYTES: &str = "131072";

/// What the operator reads of its metrics; its counters of events have no name that is documented.
pub(super) const METRICS: MetricNames =
    MetricNames { port: ADMIN_PORT, resident: ("relay_smaps_rss_kb", 1 << 10), seq: None, events: None };

pub(super) fn profile(relay: &ValidRelay, memory: Resources) -> Profile {
    let arenas = (memory.limit.0 / BYTES_PER_ARENA).clamp(ARENAS.0, ARENAS.1);
    let mut env = vec![secret_variable("RELAY_ADMIN_PASSWORD", &relay.admin)];
    env.extend(relay.database.iter().map(|database| secret_variable("DATABASE_URL", database)));
    env.push(variable("MALLOC_ARENA_MAX", arenas.to_string()));
    env.push(variable("MALLOC_TRIM_THRESHOLD_", TRIM_BYTES));
    let (volume, mount) = scratch();
    Profile {
        args: None,
        // Its events and its index are below data/ of where it is started.
        working_dir: Some(DATA_DIR),
        env,
        firehose: (FIREHOSE, FIREHOSE_PORT),
        internal: vec![(ADMIN, i32::from(ADMIN_PORT))],
        admin_at_firehose: false,
        alive: Check::Tcp(FIREHOSE),
        ready: Check::Http("/_health", ADMIN),
        config: None,
        volumes: vec![volume],
        mounts: vec![mount],
        beside: None,
        paths: Vec::new(),
    }
}

/// Fields that this profile has nothing for.
pub(super) fn unsupported(relay: &ValidRelay) -> [(&'static str, bool); 5] {
    let settings = &relay.settings;
    [
        ("spec.plcURL", settings.plc_url != "https://plc.directory"),
        ("spec.upstream", settings.upstream != Default::default()),
        ("spec.validation.mode", settings.validation != ValidationMode::Enforce),
        ("spec.firehose", settings.replay_window != "72h"),
        ("spec.backfill", relay.has_backfill()),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::relay::fixtures::{full_world, valid};

    #[test]
    fn the_allocator_has_more_arenas_in_more_memory() {
        for (limit, arenas) in [("256Mi", "2"), ("4Gi", "2"), ("5Gi", "2"), ("8Gi", "4"), ("64Gi", "8")] {
            let spec = json!({
                "hostname": "relay.test", "implementation": "Zlay", "memory": {"limit": limit},
                "image": {"repository": "r.test/zlay", "tag": "1"},
                "database": {"externalSecretRef": {"name": "relay-db", "key": "uri"}},
            });
            let relay = valid(&spec, &full_world());
            let env = profile(&relay, relay.memory.at(relay.memory.limit)).env;
            let found = env.iter().find(|variable| variable.name == "MALLOC_ARENA_MAX").unwrap();
            assert_eq!(found.value.as_deref(), Some(arenas), "{limit}");
        }
    }
}
