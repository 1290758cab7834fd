//! The relay of this project.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, EnvVar, KeyToPath, SecretVolumeSource, Volume};

use super::{Check, FIREHOSE, Port, Profile, Public, secret_variable, variable};
use crate::api::LogLevel;
use crate::relay::build::config_map::{self, FILE};
use crate::relay::build::stateful_set::{GROUP_READ, TOKEN_DIR, mount};
use crate::relay::build::{ADMIN_PORT, FIREHOSE_PORT};
use crate::relay::names;
use crate::relay::validate::ValidRelay;

const CONFIG_DIR: &str = "/etc/relay";
/// Name of the port of health, metrics and the admin API.
const ADMIN: &str = "admin";

/// The port of the firehose.
const PUBLIC_PORT: Port = (FIREHOSE, FIREHOSE_PORT);
/// All that this port answers. The admin API has a port of its own.
const PUBLIC: [Public; 5] = [
    Public::exact("/", PUBLIC_PORT),
    Public::exact("/_health", PUBLIC_PORT),
    Public::below("/xrpc", PUBLIC_PORT),
    Public::exact("/v1/getDidsForCollection", PUBLIC_PORT),
    Public::exact("/v1/listCollections", PUBLIC_PORT),
];

pub(super) fn profile(relay: &ValidRelay) -> Result<Profile, toml::ser::Error> {
    let config = config_map::relay_toml(relay)?;
    let args = ["serve", "--config", &format!("{CONFIG_DIR}/{FILE}")].map(str::to_owned);
    Ok(Profile {
        args: Some(args.into()),
        working_dir: None,
        env: env(relay),
        firehose: PUBLIC_PORT,
        internal: vec![(ADMIN, ADMIN_PORT)],
        public: PUBLIC.into(),
        metrics: vec![ADMIN],
        admin_at_firehose: false,
        alive: Check::Http("/livez", ADMIN),
        ready: Check::Http("/readyz", ADMIN),
        volumes: vec![config_volume(relay, &config), token_volume(relay)],
        config: Some(config),
        mounts: vec![mount("config", CONFIG_DIR, Some(true)), mount("token", TOKEN_DIR, Some(true))],
        beside: None,
    })
}

/// What cannot be in the configuration file: secrets, since anyone may read the ConfigMap, and the filter of the log.
fn env(relay: &ValidRelay) -> Vec<EnvVar> {
    let database = relay.database.url.iter().map(|secret| secret_variable("RELAY_DATABASE_URL", secret));
    let sibling = relay.sibling_token.iter().map(|secret| secret_variable("RELAY_SIBLING_TOKEN", secret));
    let log = match relay.settings.log_level {
        LogLevel::Error => Some("error"),
        LogLevel::Warn => Some("warn"),
        LogLevel::Info => None,
        // Of the libraries, what they do is enough.
        LogLevel::Debug => Some("info,relay=debug"),
    };
    database.chain(sibling).chain(log.map(|filter| variable("RELAY_LOG", filter))).collect()
}

fn config_volume(relay: &ValidRelay, config: &str) -> Volume {
    Volume {
        name: "config".into(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::config_map(&relay.name, config),
            default_mode: Some(GROUP_READ),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn token_volume(relay: &ValidRelay) -> Volume {
    Volume {
        name: "token".into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(relay.admin.name.clone()),
            items: Some(vec![KeyToPath { key: relay.admin.key.clone(), path: "token".into(), ..KeyToPath::default() }]),
            default_mode: Some(GROUP_READ),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}
