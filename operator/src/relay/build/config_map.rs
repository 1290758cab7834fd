use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

use super::stateful_set::{DATA_DIR, TOKEN_FILE};
use super::{ADMIN_PORT, FIREHOSE_PORT};
use crate::api::{Durability, ValidationMode};
use crate::relay::names;
use crate::relay::validate::ValidRelay;

/// Name of the configuration file.
pub(super) const FILE: &str = "relay.toml";

/// Share of the volume that the event log may fill. Events beyond go before their time, rather than that a burst fills
/// the disk and holds back every host; the rest is for the state of accounts and the segment being written.
const LOG_PERCENT: u64 = 80;

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
}

/// The relay's configuration file.
pub(super) fn relay_toml(relay: &ValidRelay) -> Result<String, toml::ser::Error> {
    let settings = &relay.settings;
    let upstream = &settings.upstream;
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
    })
}

/// The ConfigMap that holds it.
pub(super) fn build(relay: &ValidRelay, config: String) -> ConfigMap {
    ConfigMap {
        metadata: names::meta(relay, names::config_map(&relay.name)),
        data: Some(BTreeMap::from([(FILE.into(), config)])),
        ..ConfigMap::default()
    }
}
