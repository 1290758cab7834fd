use std::collections::BTreeMap;
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

use super::stateful_set::{DATA_DIR, TOKEN_FILE};
use super::{ADMIN_PORT, FIREHOSE_PORT};
use crate::api::{Compression, Durability, MemorySpec, ServiceType, UpstreamSpec, ValidationMode};
use crate::relay::names;
use crate::relay::validate::{Access, PlcExport, ValidRelay};

/// Name of the configuration file.
pub(super) const FILE: &str = "relay.toml";

/// Seconds of a pod's time to stop that are not the relay's: the kubelet's own way to the signal, and what a process takes
/// to go.
const GRACE_MARGIN_SECONDS: i64 = 10;

/// The keys of the relay's configuration file that a Relay decides. The relay refuses unknown keys.
///
/// What is not of the spec's own choosing is left to the relay: its defaults are the same, and a relay from before there
/// were such keys goes on starting.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RelayToml<'a> {
    data_dir: &'static str,
    listen: String,
    admin_listen: String,
    admin_token_file: &'static str,
    plc_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plc_export: Option<Export<'a>>,
    bootstrap_relays: &'a [String],
    hosts: &'a [String],
    allow_insecure_hosts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_domains: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery_interval: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    sibling_relays: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    host_account_limit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_events_per_second: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_hosts_per_day: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_hosts: Option<i32>,
    validation: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    validation_for: Vec<String>,
    replay_window: &'a str,
    replay_max_size: String,
    durability: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_compression: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_consumers: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_consumers_per_address: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_forwarded_for: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collections_min_accounts: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_soft_percent: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_hard_percent: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity_cache: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_cache: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_cooldown: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts_per_hour: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_time: Option<String>,
}

/// A switch, or the URL of a mirror.
#[derive(Serialize)]
#[serde(untagged)]
enum Export<'a> {
    Switch(bool),
    Mirror(&'a str),
}

/// The relay's configuration file.
pub(super) fn relay_toml(relay: &ValidRelay) -> Result<String, toml::ser::Error> {
    let settings = &relay.settings;
    let upstream = &settings.upstream;
    let firehose = &settings.firehose;
    let memory = &relay.memory;
    let default = MemorySpec::default();
    let default_upstream = UpstreamSpec::default();
    let validation_for = settings.validation.hosts.iter();
    toml::to_string(&RelayToml {
        data_dir: DATA_DIR,
        listen: format!("0.0.0.0:{FIREHOSE_PORT}"),
        admin_listen: match relay.access.host_network {
            Some(address) => SocketAddr::new(address, crate::relay_admin::ADMIN_PORT).to_string(),
            None => format!("0.0.0.0:{ADMIN_PORT}"),
        },
        admin_token_file: TOKEN_FILE,
        plc_url: &settings.plc_url,
        plc_export: match &settings.plc_export {
            PlcExport::Off => None,
            PlcExport::Directory => Some(Export::Switch(true)),
            PlcExport::Mirror(url) => Some(Export::Mirror(url)),
        },
        bootstrap_relays: &upstream.bootstrap_relays,
        hosts: &upstream.hosts,
        allow_insecure_hosts: upstream.allow_insecure_hosts,
        trusted_domains: unless(&*default_upstream.trusted_domains, &*upstream.trusted_domains),
        discovery_interval: unless(&*default_upstream.discovery_interval, &*upstream.discovery_interval),
        sibling_relays: &upstream.sibling_relays,
        host_account_limit: upstream.limits.accounts_per_host,
        host_events_per_second: upstream.limits.events_per_second,
        new_hosts_per_day: upstream.limits.new_hosts_per_day,
        max_hosts: upstream.limits.max_hosts,
        validation: mode(settings.validation.mode),
        validation_for: validation_for.map(|host| format!("{}={}", host.match_, mode(host.mode))).collect(),
        replay_window: &firehose.replay_window,
        replay_max_size: firehose.log_size.0.to_string(),
        durability: match firehose.durability {
            Durability::Sync => "sync",
            Durability::Os => "os",
        },
        log_compression: match firehose.compression {
            Compression::Zstd => None,
            Compression::None => Some("none"),
        },
        max_consumers: firehose.max_consumers,
        max_consumers_per_address: firehose.max_consumers_per_address,
        trust_forwarded_for: unless(false, firehose.trust_forwarded_for.unwrap_or_else(|| comes_by_proxy(relay))),
        initial_seq: firehose.initial_seq,
        collections_min_accounts: settings.collections.min_accounts,
        memory_soft_percent: unless(default.soft_percent, memory.soft_percent),
        memory_hard_percent: unless(default.hard_percent, memory.hard_percent),
        identity_cache: memory.identity_cache.map(|size| size.0.to_string()),
        block_cache: memory.block_cache.map(|size| size.0.to_string()),
        restart_cooldown: unless(default.restart_cooldown.as_str(), memory.restart_cooldown.as_str()),
        restarts_per_hour: unless(default.max_restarts_per_hour, memory.restarts_per_hour),
        drain_time: relay.grace_seconds.map(|grace| format!("{}s", grace - GRACE_MARGIN_SECONDS)),
    })
}

fn mode(mode: ValidationMode) -> &'static str {
    match mode {
        ValidationMode::Enforce => "enforce",
        ValidationMode::Observe => "observe",
        ValidationMode::Lenient => "lenient",
    }
}

/// Whether every consumer from outside comes by the proxy, which says whose connection it is: without that all of them
/// would share what one address may have.
fn comes_by_proxy(relay: &ValidRelay) -> bool {
    let Access { service, front, host_network, .. } = &relay.access;
    front.is_some() && service.type_ == ServiceType::ClusterIp && host_network.is_none()
}

/// `value`, unless it is the default anyway.
fn unless<T: PartialEq>(default: T, value: T) -> Option<T> {
    (value != default).then_some(value)
}

/// The ConfigMap that holds it, and nothing else ever.
pub(super) fn build(relay: &ValidRelay, config: String) -> ConfigMap {
    ConfigMap {
        metadata: names::meta(relay, names::config_map(&relay.name, &config)),
        immutable: Some(true),
        data: Some(BTreeMap::from([(FILE.into(), config)])),
        ..ConfigMap::default()
    }
}
