//! zlay: one process in Zig, with glibc's allocator, RocksDB for its index and PostgreSQL for the rest.

use super::{Check, FIREHOSE, MetricNames, Profile, Public, scratch, secret_variable, variable};
use crate::api::patterns::HOSTNAME;
use crate::api::{FirehoseSpec, UpstreamSpec};
use crate::relay::build::stateful_set::DATA_DIR;
use crate::relay::validate::{Resources, Settings, ValidRelay};

/// Port of the firehose.
const FIREHOSE_PORT: i32 = 3000;
/// Port of XRPC, health, metrics and the admin API.
pub(super) const ADMIN_PORT: u16 = 3001;
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

/// The firehose, and of the port that has the admin API and metrics too what everybody may have.
const PUBLIC: [Public; 3] = [
    Public::exact("/xrpc/com.atproto.sync.subscribeRepos", (FIREHOSE, FIREHOSE_PORT)),
    Public::exact("/_health", (ADMIN, ADMIN_PORT as i32)),
    Public::below("/xrpc", (ADMIN, ADMIN_PORT as i32)),
];

pub(super) fn profile(relay: &ValidRelay, memory: Resources) -> Profile {
    let arenas = (memory.limit.0 / BYTES_PER_ARENA).clamp(ARENAS.0, ARENAS.1);
    let mut env = vec![secret_variable("RELAY_ADMIN_PASSWORD", &relay.admin)];
    env.extend(relay.database.url.iter().map(|database| secret_variable("DATABASE_URL", database)));
    env.push(variable("MALLOC_ARENA_MAX", arenas.to_string()));
    env.push(variable("MALLOC_TRIM_THRESHOLD_", TRIM_BYTES));
    // Without these it asks bsky.network, and keeps 72 hours.
    env.extend(bootstrap(&relay.settings.upstream).map(|name| variable("RELAY_UPSTREAM", name)));
    let window = &relay.settings.firehose.replay_window;
    if *window != FirehoseSpec::default().replay_window {
        env.push(variable("RELAY_RETENTION_HOURS", hours(window).to_string()));
    }
    let (volume, mount) = scratch();
    Profile {
        args: None,
        // Its events and its index are below data/ of where it is started.
        working_dir: Some(DATA_DIR),
        env,
        firehose: (FIREHOSE, FIREHOSE_PORT),
        internal: vec![(ADMIN, i32::from(ADMIN_PORT))],
        public: PUBLIC.into(),
        metrics: vec![ADMIN],
        admin_at_firehose: false,
        alive: Check::Tcp(FIREHOSE),
        ready: Check::Http("/_health", ADMIN),
        config: None,
        volumes: vec![volume],
        mounts: vec![mount],
        beside: None,
    }
}

/// Whether it does something about the field at `path`, which says something. It has the directory of collections always.
pub(super) fn takes(settings: &Settings, path: &str) -> bool {
    match path {
        "spec.firehose.replayWindow" => true,
        "spec.upstream.bootstrapRelays" => {
            settings.upstream.bootstrap_relays.len() == 1 && bootstrap(&settings.upstream).is_some()
        }
        _ => false,
    }
}

/// The one relay that it asks for hosts, once, at its start: it takes a name, which it speaks to over TLS.
fn bootstrap(upstream: &UpstreamSpec) -> Option<&str> {
    let addresses = upstream.bootstrap_relays.iter().filter_map(|url| url.strip_prefix("https://"));
    addresses.map(|address| address.trim_end_matches('/')).find(|address| HOSTNAME.matches(address))
}

/// The whole hours that have room for `window`, which has the form of a duration.
fn hours(window: &str) -> u64 {
    let digits = window.trim_end_matches(['s', 'm', 'h']);
    let number = digits.parse::<u64>().unwrap_or(0);
    match &window[digits.len()..] {
        "h" => number,
        "m" => number.div_ceil(60),
        _ => number.div_ceil(3600),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::relay::fixtures::{full_world, valid};

    #[test]
    fn a_window_is_no_shorter_in_hours() {
        let table = [("72h", 72), ("90m", 2), ("60m", 1), ("1s", 1), ("7200s", 2), ("7201s", 3)];
        for (window, whole) in table {
            assert_eq!(hours(window), whole, "{window}");
        }
    }

    #[test]
    fn it_asks_one_relay_by_its_name() {
        let asked = |urls: &[&str]| {
            let bootstrap_relays = urls.iter().map(|url| (*url).to_owned()).collect();
            bootstrap(&UpstreamSpec { bootstrap_relays, ..UpstreamSpec::default() }).map(str::to_owned)
        };
        let table: [(&[&str], Option<&str>); 5] = [
            (&[], None),
            (&["https://bsky.network"], Some("bsky.network")),
            (&["http://a.example", "https://b.example/", "https://c.example"], Some("b.example")),
            (&["http://10.99.0.1:3000"], None),
            (&["https://a.example:8443", "https://a.example/path"], None),
        ];
        for (urls, name) in table {
            assert_eq!(asked(urls).as_deref(), name, "{urls:?}");
        }
    }

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
