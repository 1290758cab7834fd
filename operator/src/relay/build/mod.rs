//! Step 3, build: from a valid relay to the objects it needs, and the jobs. Pure; one file per kind.

mod backfill;
mod config_map;
mod secret;
mod service;
mod service_account;
mod stateful_set;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};

pub use backfill::{DECLARED_BY, Declared, jobs};
pub(super) use stateful_set::CONTAINER;

use super::validate::{Resources, ValidRelay};

/// Port of the firehose and XRPC, in the pod and on its Service.
const FIREHOSE_PORT: i32 = 3000;
/// Port of health, metrics and the admin API, in the pod and on its Service.
const ADMIN_PORT: i32 = crate::relay_admin::ADMIN_PORT as i32;

/// Every object of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// Identity of the pod, without any right.
    pub service_account: ServiceAccount,
    /// The admin token, only when it is new.
    pub admin_secret: Option<Secret>,
    /// The relay's configuration file.
    pub config_map: ConfigMap,
    /// The firehose, for consumers.
    pub firehose_service: Service,
    /// The admin API and metrics, for the cluster.
    pub admin_service: Service,
    /// The relay itself.
    pub stateful_set: StatefulSet,
}

/// Builds every object of `relay`, whose new pods have `memory`.
///
/// # Errors
///
/// When the configuration cannot be written as TOML, which no valid relay causes.
pub fn build(relay: &ValidRelay, memory: Resources) -> Result<Children, toml::ser::Error> {
    let config = config_map::relay_toml(relay)?;
    let fingerprint = fingerprint(relay, &config);
    Ok(Children {
        service_account: service_account::build(relay),
        admin_secret: relay.admin_generated.then(|| secret::build(relay)),
        config_map: config_map::build(relay, config),
        firehose_service: service::firehose(relay),
        admin_service: service::admin(relay),
        stateful_set: stateful_set::build(relay, &fingerprint, memory),
    })
}

/// Changes when the relay has to read its files again. It is keyed by the admin token, so that nobody can
/// try passwords of the database against it.
fn fingerprint(relay: &ValidRelay, config: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, relay.admin.value.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(config.as_bytes());
    if let Some(database) = &relay.database {
        context.update(database.value.expose().as_bytes());
    }
    HEXLOWER.encode(&context.sign().as_ref()[..16])
}

#[cfg(test)]
mod tests;
