use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

use super::stateful_set::{DATA_DIR, TOKEN_FILE};
use super::{ADMIN_PORT, FIREHOSE_PORT};
use crate::api::{Durability, MemorySpec, ValidationMode};
use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// Name of the configuration file.
pub(super) const FILE: &str = "relay.toml";

/// Share of the volume that the event log may fill. Events beyond go before their time, rather than that a burst fills
/// the disk and holds back every host; the rest is for the state of accounts and the segment being written.
const LOG_PERCENT: u64 = 80;

/// Seconds of a pod's time to stop that are not the relay's: the kubelet's own way to the signal, and what a process takes
/// to go.
const GRACE_MARGIN_SECONDS: i64 = 10;

/// The keys of the relay's configuration file that a Relay decides. The relay refuses unknown keys.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RelayToml<'a> {
    data_dir: &'static str,
    listen: String,
    admin_listen: String,
    admin_token_file: &'static str,
    plc_url: &'a str,
    bootstrap_relays: &'a [String],
    hosts: &'a [String],
    allow_insecure_hosts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_account_limit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_events_per_second: Option<i32>,
    validation: &'static str,
    replay_window: &'a str,
    replay_max_size: String,
    durability: &'static str,
    // What is not of the spec's own choosing is left to the relay: its defaults are the same, and a relay from before there
    // were such keys goes on starting.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_soft_percent: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_hard_percent: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_cooldown: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts_per_hour: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_time: Option<String>,
}

/// The relay's configuration file.
pub(super) fn relay_toml(relay: &ValidRelay) -> Result<String, toml::ser::Error> {
    let settings = &relay.settings;
    let upstream = &settings.upstream;
    let memory = &relay.memory;
    let default = MemorySpec::default();
    toml::to_string(&RelayToml {
        data_dir: DATA_DIR,
        listen: format!("0.0.0.0:{FIREHOSE_PORT}"),
        admin_listen: format!("0.0.0.0:{ADMIN_PORT}"),
        admin_token_file: TOKEN_FILE,
        plc_url: &settings.plc_url,
        bootstrap_relays: &upstream.bootstrap_relays,
        hosts: &upstream.hosts,
        allow_insecure_hosts: upstream.allow_insecure_hosts,
        host_account_limit: upstream.limits.accounts_per_host,
        host_events_per_second: upstream.limits.events_per_second,
        validation: match settings.validation {
            ValidationMode::Enforce => "enforce",
            ValidationMode::Observe => "observe",
            ValidationMode::Lenient => "lenient",
        },
        replay_window: &settings.replay_window,
        replay_max_size: (relay.storage_size.0 / 100 * LOG_PERCENT).to_string(),
        durability: match settings.durability {
            Durability::Sync => "sync",
            Durability::Os => "os",
        },
        memory_soft_percent: unless(default.soft_percent, memory.soft_percent),
        memory_hard_percent: unless(default.hard_percent, memory.hard_percent),
        restart_cooldown: unless(default.restart_cooldown.as_str(), memory.restart_cooldown.as_str()),
        restarts_per_hour: unless(default.max_restarts_per_hour, memory.restarts_per_hour),
        drain_time: relay.grace_seconds.map(|grace| format!("{}s", grace - GRACE_MARGIN_SECONDS)),
    })
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
