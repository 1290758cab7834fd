//! The relay of this project.

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource, Volume};

use super::{Check, FIREHOSE, Profile, secret_variable};
use crate::relay::build::config_map::{self, FILE};
use crate::relay::build::stateful_set::{GROUP_READ, TOKEN_DIR, mount};
use crate::relay::build::{ADMIN_PORT, FIREHOSE_PORT};
use crate::relay::names;
use crate::relay::validate::ValidRelay;

const CONFIG_DIR: &str = "/etc/relay";
/// Name of the port of health, metrics and the admin API.
const ADMIN: &str = "admin";

pub(super) fn profile(relay: &ValidRelay) -> Result<Profile, toml::ser::Error> {
    let args = ["serve", "--config", &format!("{CONFIG_DIR}/{FILE}")].map(str::to_owned);
    Ok(Profile {
        args: Some(args.into()),
        working_dir: None,
        // The database's URL holds a password, so it comes from the Secret and not through the ConfigMap.
        env: relay.database.iter().map(|secret| secret_variable("RELAY_DATABASE_URL", secret)).collect(),
        firehose: (FIREHOSE, FIREHOSE_PORT),
        internal: vec![(ADMIN, ADMIN_PORT)],
        admin_at_firehose: false,
        alive: Check::Http("/livez", ADMIN),
        ready: Check::Http("/readyz", ADMIN),
        config: Some(config_map::relay_toml(relay)?),
        volumes: vec![config_volume(relay), token_volume(relay)],
        mounts: vec![mount("config", CONFIG_DIR, Some(true)), mount("token", TOKEN_DIR, Some(true))],
        beside: None,
        paths: Vec::new(),
    })
}

fn config_volume(relay: &ValidRelay) -> Volume {
    Volume {
        name: "config".into(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::config_map(&relay.name),
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
