//! The relay of indigo: one process in Go that is configured by its environment.

use super::{Check, FIREHOSE, MetricNames, Profile, collectiondir, scratch, secret_variable, variable};
use crate::api::ValidationMode;
use crate::relay::build::stateful_set::DATA_DIR;
use crate::relay::byte_size::ByteSize;
use crate::relay::validate::{Directory, Memory, Resources, ValidRelay};

/// Port of the firehose, XRPC and the admin API.
const API_PORT: i32 = 2470;
/// Port of metrics.
const METRICS_PORT: u16 = 2471;

/// Share of the limit that Go's runtime does not count, in percent: the buffers of its sockets in the kernel, two for each of
/// thousands of hosts, pages of the event files that were just written, what the C library of SQLite holds, the program
/// itself. Operators run it so on the whole network: 3 GiB of a limit of 4 GiB, which is this below the default hard mark.
const OUTSIDE_PERCENT: u64 = 15;
/// The least of it: the program and SQLite do not shrink with the limit.
const OUTSIDE_MIN: u64 = 64 << 20;
/// Go memory for which there is one entry of the cache of identities: operators run 500,000 of them in 3 GiB. Its default of
/// 5,000,000 fills 4 GiB within a day.
const BYTES_PER_IDENTITY: u64 = 6 << 10;
/// The default of indigo, and the most of it.
const IDENTITIES_MAX: u64 = 5_000_000;

/// What the operator reads of its metrics.
pub(super) const METRICS: MetricNames = MetricNames {
    port: METRICS_PORT,
    resident: ("process_resident_memory_bytes", 1),
    seq: Some("disk_persister_current_seq"),
    events: Some("events_received_counter"),
};

pub(super) fn profile(relay: &ValidRelay, memory: Resources) -> Profile {
    let heap = go_memory_limit(&relay.memory, memory.limit);
    let settings = &relay.settings;
    let identities = (heap / BYTES_PER_IDENTITY).min(IDENTITIES_MAX);
    let mut env = vec![
        secret_variable("RELAY_ADMIN_PASSWORD", &relay.admin),
        match &relay.database {
            Some(database) => secret_variable("DATABASE_URL", database),
            None => variable("DATABASE_URL", format!("sqlite://{DATA_DIR}/relay.sqlite")),
        },
        // Not GOGC: at its default the heap is collected when it has doubled, and from this limit on before.
        variable("GOMEMLIMIT", format!("{}MiB", heap >> 20)),
        variable("RELAY_IDENT_CACHE_SIZE", identities.to_string()),
        variable("RELAY_API_BIND", format!(":{API_PORT}")),
        variable("RELAY_METRICS_LISTEN", format!(":{METRICS_PORT}")),
        variable("RELAY_PERSIST_DIR", format!("{DATA_DIR}/events")),
        variable("RELAY_REPLAY_WINDOW", &settings.replay_window),
        variable("RELAY_PLC_HOST", &settings.plc_url),
    ];
    if settings.validation == ValidationMode::Lenient {
        env.push(variable("RELAY_LENIENT_SYNC_VALIDATION", "true"));
    }
    if settings.upstream.allow_insecure_hosts {
        env.push(variable("RELAY_ALLOW_INSECURE_HOSTS", "true"));
    }
    if let Some(accounts) = settings.upstream.limits.accounts_per_host {
        env.push(variable("RELAY_DEFAULT_ACCOUNT_LIMIT", accounts.to_string()));
    }
    let (volume, mount) = scratch();
    Profile {
        args: None,
        working_dir: None,
        env,
        firehose: (FIREHOSE, API_PORT),
        internal: vec![("metrics", i32::from(METRICS_PORT))],
        admin_at_firehose: true,
        // The banner; its health asks the database.
        alive: Check::Http("/", FIREHOSE),
        ready: Check::Http("/_health", FIREHOSE),
        config: None,
        volumes: vec![volume],
        mounts: vec![mount],
        beside: relay.directory.image().map(|image| collectiondir::beside(relay, image, API_PORT)),
        paths: relay.directory.image().map(|_| collectiondir::PATHS.into()).unwrap_or_default(),
    }
}

/// What Go's runtime may use of `limit`, in bytes: up to the hard mark, at which the pod is evicted, without what the runtime
/// does not count. Go collects harder when it comes near, so that a heap that can be made smaller never meets the mark.
fn go_memory_limit(memory: &Memory, limit: ByteSize) -> u64 {
    let share = |percent: u64| limit.0.saturating_mul(percent) / 100;
    let hard = share(u64::from(memory.hard_percent.unsigned_abs()));
    hard.saturating_sub(share(OUTSIDE_PERCENT).max(OUTSIDE_MIN))
}

/// Fields that it has nothing for: hosts it learns by `requestCrawl` alone.
pub(super) fn unsupported(relay: &ValidRelay) -> [(&'static str, bool); 6] {
    let (settings, upstream) = (&relay.settings, &relay.settings.upstream);
    [
        ("spec.upstream.bootstrapRelays", !upstream.bootstrap_relays.is_empty()),
        ("spec.upstream.hosts", !upstream.hosts.is_empty()),
        ("spec.upstream.limits.eventsPerSecond", upstream.limits.events_per_second.is_some()),
        ("spec.validation.mode: Observe", settings.validation == ValidationMode::Observe),
        ("spec.collections.enabled without spec.collections.image", relay.directory == Directory::OfRelay),
        ("spec.backfill", relay.has_backfill()),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::relay::fixtures::{valid, world};

    #[test]
    fn go_has_what_is_left_below_the_hard_mark() {
        #[rustfmt::skip]
        let table = [
            // limit, hard mark, GOMEMLIMIT, identities
            ("256Mi", 90, "166MiB", 28_398),
            ("512Mi", 90, "384MiB", 65_536),
            ("1Gi",   90, "768MiB", 131_072),
            ("4Gi",   90, "3072MiB", 524_288),
            ("4Gi",   85, "2867MiB", 489_335),
            ("16Gi",  90, "12288MiB", 2_097_152),
            ("64Gi",  90, "49152MiB", 5_000_000),
            ("256Mi", 55, "76MiB", 13_107),
        ];
        for (limit, hard, go, identities) in table {
            let memory = json!({"limit": limit, "hardPercent": hard, "softPercent": 50});
            let image = json!({"repository": "r.test/indigo", "tag": "1"});
            let spec = json!({"hostname": "relay.test", "implementation": "Indigo", "image": image, "memory": memory});
            let relay = valid(&spec, &world());
            let env = profile(&relay, relay.memory.at(relay.memory.limit)).env;
            let value = |name: &str| env.iter().find(|e| e.name == name).unwrap().value.clone().unwrap();
            assert_eq!(value("GOMEMLIMIT"), go, "{limit} {hard}");
            assert_eq!(value("RELAY_IDENT_CACHE_SIZE"), identities.to_string(), "{limit} {hard}");
        }
    }
}
