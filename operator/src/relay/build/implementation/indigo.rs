//! The relay of indigo: one process in Go that is configured by its environment.

use super::{Check, FIREHOSE, MetricNames, Port, Profile, Public, collectiondir, scratch, secret_variable, variable};
use crate::api::patterns::HOSTNAME;
use crate::api::{LogLevel, UpstreamSpec, ValidationMode};
use crate::relay::build::stateful_set::DATA_DIR;
use crate::relay::byte_size::ByteSize;
use crate::relay::validate::{Memory, Resources, Settings, ValidRelay};

/// Port of the firehose, XRPC and the admin API.
const API_PORT: i32 = 2470;
/// The same with its name.
const API: Port = (FIREHOSE, API_PORT);
/// Port of metrics.
const METRICS_PORT: u16 = 2471;
/// Its name.
const METRICS_NAME: &str = "metrics";

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

/// An account limit that is none: what it gives to hosts that it trusts. 0 would keep everybody out.
const NO_ACCOUNT_LIMIT: &str = "10000000";
/// A limit of new hosts that is none: 0 would keep them all out.
const NO_HOST_LIMIT: &str = "1000000000";
/// A domain that no host is in (RFC 6761): an empty list would leave it at its default.
const NOBODY: &str = "nobody.invalid";

/// What the operator reads of its metrics.
pub(super) const METRICS: MetricNames = MetricNames {
    port: METRICS_PORT,
    resident: ("process_resident_memory_bytes", 1),
    seq: Some("disk_persister_current_seq"),
    events: Some("events_received_counter"),
};

/// Of the port that has the admin API too: its page at /dash and the rest at /admin are not among them.
const PUBLIC: [Public; 3] = [Public::exact("/", API), Public::exact("/_health", API), Public::below("/xrpc", API)];

pub(super) fn profile(relay: &ValidRelay, memory: Resources) -> Profile {
    let heap = go_memory_limit(&relay.memory, memory.limit);
    let settings = &relay.settings;
    let upstream = &settings.upstream;
    let identities = relay.memory.identity_cache.map_or(heap, |size| size.0) / BYTES_PER_IDENTITY;
    let identities = identities.clamp(1, IDENTITIES_MAX);
    let mut env = vec![
        secret_variable("RELAY_ADMIN_PASSWORD", &relay.admin),
        match &relay.database.url {
            Some(database) => secret_variable("DATABASE_URL", database),
            None => variable("DATABASE_URL", format!("sqlite://{DATA_DIR}/relay.sqlite")),
        },
        // Not GOGC: at its default the heap is collected when it has doubled, and from this limit on before.
        variable("GOMEMLIMIT", format!("{}MiB", heap >> 20)),
        variable("RELAY_IDENT_CACHE_SIZE", identities.to_string()),
        variable("RELAY_API_BIND", format!(":{API_PORT}")),
        variable("RELAY_METRICS_LISTEN", format!(":{METRICS_PORT}")),
        variable("RELAY_PERSIST_DIR", format!("{DATA_DIR}/events")),
        variable("RELAY_REPLAY_WINDOW", &settings.firehose.replay_window),
        variable("RELAY_PLC_HOST", &settings.plc_url),
    ];
    if settings.validation.mode == ValidationMode::Lenient {
        env.push(variable("RELAY_LENIENT_SYNC_VALIDATION", "true"));
    }
    if upstream.allow_insecure_hosts {
        env.push(variable("RELAY_ALLOW_INSECURE_HOSTS", "true"));
    }
    if let Some(accounts) = upstream.limits.accounts_per_host {
        env.push(variable("RELAY_DEFAULT_ACCOUNT_LIMIT", limit(accounts, NO_ACCOUNT_LIMIT)));
    }
    if let Some(hosts) = upstream.limits.new_hosts_per_day {
        env.push(variable("RELAY_NEW_HOSTS_PER_DAY_LIMIT", limit(hosts, NO_HOST_LIMIT)));
    }
    if upstream.trusted_domains.is_empty() {
        env.push(variable("RELAY_TRUSTED_DOMAINS", NOBODY));
    } else if upstream.trusted_domains != UpstreamSpec::default().trusted_domains {
        env.push(variable("RELAY_TRUSTED_DOMAINS", upstream.trusted_domains.join(",")));
    }
    let siblings = siblings(upstream);
    if !siblings.is_empty() {
        env.push(variable("RELAY_SIBLING_RELAYS", siblings.join(",")));
    }
    if let Some(seq) = settings.firehose.initial_seq {
        env.push(variable("RELAY_INITIAL_SEQ_NUMBER", seq.to_string()));
    }
    match settings.log_level {
        LogLevel::Info => {}
        LogLevel::Error => env.push(variable("RELAY_LOG_LEVEL", "error")),
        LogLevel::Warn => env.push(variable("RELAY_LOG_LEVEL", "warn")),
        LogLevel::Debug => env.push(variable("RELAY_LOG_LEVEL", "debug")),
    }
    let (volume, mount) = scratch();
    let beside = relay.directory.image().map(|image| collectiondir::beside(relay, image, API_PORT));
    let (mut public, mut metrics) = (PUBLIC.to_vec(), vec![METRICS_NAME]);
    if let Some(beside) = &beside {
        public.splice(0..0, collectiondir::PUBLIC);
        metrics.push(beside.metrics.0);
    }
    Profile {
        args: None,
        working_dir: None,
        env,
        firehose: API,
        internal: vec![(METRICS_NAME, i32::from(METRICS_PORT))],
        metrics,
        public,
        admin_at_firehose: true,
        // The banner; its health asks the database.
        alive: Check::Http("/", FIREHOSE),
        ready: Check::Http("/_health", FIREHOSE),
        config: None,
        volumes: vec![volume],
        mounts: vec![mount],
        beside,
    }
}

/// What Go's runtime may use of `limit`, in bytes: up to the hard mark, at which the pod is evicted, without what the runtime
/// does not count. Go collects harder when it comes near, so that a heap that can be made smaller never meets the mark.
fn go_memory_limit(memory: &Memory, limit: ByteSize) -> u64 {
    let share = |percent: u64| limit.0.saturating_mul(percent) / 100;
    let hard = share(u64::from(memory.hard_percent.unsigned_abs()));
    hard.saturating_sub(share(OUTSIDE_PERCENT).max(OUTSIDE_MIN))
}

/// Whether it does something about the field at `path`, which says something. Hosts it learns by `requestCrawl` alone; an address
/// in X-Forwarded-For it always believes, and events it never compresses.
pub(super) fn takes(settings: &Settings, path: &str) -> bool {
    match path {
        "spec.memory.identityCache"
        | "spec.plcURL"
        | "spec.upstream.allowInsecureHosts"
        | "spec.upstream.trustedDomains"
        | "spec.upstream.limits.accountsPerHost"
        | "spec.upstream.limits.newHostsPerDay"
        | "spec.firehose.replayWindow"
        | "spec.firehose.compression"
        | "spec.firehose.trustForwardedFor"
        | "spec.firehose.initialSeq"
        | "spec.collections.enabled"
        | "spec.collections.image"
        | "spec.logLevel" => true,
        "spec.upstream.siblingRelays" => siblings(&settings.upstream).len() == settings.upstream.sibling_relays.len(),
        "spec.collections.minAccounts" => settings.collections.enabled && settings.collections.image.is_some(),
        "spec.validation.mode" => settings.validation.mode == ValidationMode::Lenient,
        _ => false,
    }
}

/// The siblings that it can name: at the usual port of a DNS name. One that it cannot would keep it from telling the others.
fn siblings(upstream: &UpstreamSpec) -> Vec<&str> {
    let is_name = |url: &str| {
        let address = url.trim_end_matches('/').split_once("://").map_or("", |(_, address)| address);
        HOSTNAME.matches(address)
    };
    upstream.sibling_relays.iter().map(String::as_str).filter(|url| is_name(url)).collect()
}

/// A limit of its environment: it has no word for none.
fn limit(limit: i32, none: &str) -> String {
    if limit == 0 { none.to_owned() } else { limit.to_string() }
}

/// Port of its admin API, which is beside the firehose.
pub(super) const ADMIN_PORT: u16 = API_PORT as u16;

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
