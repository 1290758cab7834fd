//! The database of decisions.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Container;

use super::{Invalid, SecretKey, check, found, size};
use crate::api::{CLUSTER_RELAY_NAME, CLUSTER_RELAY_NAME_MAX, DatabaseKind, DatabaseSpec, ONE_DATABASE, patterns};
use crate::relay::byte_size::ByteSize;
use crate::relay::names;
use crate::relay::read::{Lookup, World};

/// Variables by which the programs get the URL of their database, and by which it is seen where one has it.
const URL_VARIABLES: [&str; 2] = ["RELAY_DATABASE_URL", "DATABASE_URL"];
/// Servers of one cluster.
const INSTANCES: std::ops::RangeInclusive<i32> = 1..=9;

/// The database of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Which it is.
    pub kind: DatabaseKind,
    /// Its URL; none of the embedded one, and while one is being made.
    pub url: Option<SecretKey>,
    /// The PostgreSQL that CloudNativePG is to make.
    pub cluster: Option<PostgresCluster>,
    /// The relay that is there has its decisions in this one, and nobody has allowed the change.
    pub held_at: Option<DatabaseKind>,
}

/// A PostgreSQL that CloudNativePG is to make.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresCluster {
    /// Servers.
    pub instances: i32,
    /// Size of the volume of each.
    pub storage_size: ByteSize,
    /// StorageClass of their volumes, where not the cluster's default.
    pub storage_class: Option<String>,
}

impl Database {
    /// Whether the relay's pod has to stay as it is, or not to be, until there is the database that it is to have.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.held_at.is_some() || self.cluster.is_some() && self.url.is_none()
    }
}

/// The value of the annotation that allows a change of database.
#[must_use]
pub fn allowed_change(from: DatabaseKind, to: DatabaseKind) -> String {
    format!("{}-to-{}", from.name(), to.name())
}

/// Checks `spec` and what it refers to. `allowed` is the change that somebody has allowed.
pub(super) fn database(
    name: &str,
    spec: &DatabaseSpec,
    world: &World,
    allowed: Option<&str>,
) -> Result<Database, Invalid> {
    let secret = world.database_url.as_ref();
    let (kind, url, cluster) = match (&spec.external_secret_ref, &spec.cloud_native_pg) {
        (Some(_), Some(_)) => return Err(Invalid::Spec(ONE_DATABASE.into())),
        (None, None) => (DatabaseKind::Embedded, None, None),
        (Some(_), None) => {
            let url = secret.map(|secret| found("spec.database.externalSecretRef", secret)).transpose()?;
            (DatabaseKind::External, url, None)
        }
        (None, Some(cluster)) => {
            if name.len() > CLUSTER_RELAY_NAME_MAX {
                return Err(Invalid::Spec(CLUSTER_RELAY_NAME.into()));
            }
            if !INSTANCES.contains(&cluster.instances) {
                return Err(Invalid::Spec(format!(
                    "spec.database.cloudNativePG.instances is {}; it must be between 1 and 9",
                    cluster.instances
                )));
            }
            if let Some(class) = &cluster.storage_class_name {
                check("spec.database.cloudNativePG.storageClassName", class, patterns::OBJECT_NAME)?;
            }
            let made = PostgresCluster {
                instances: cluster.instances,
                storage_size: size("spec.database.cloudNativePG.storageSize", &cluster.storage_size)?,
                storage_class: cluster.storage_class_name.clone(),
            };
            // CloudNativePG makes the Secret once the database is there.
            let secret = secret.filter(|secret| secret.value != Lookup::NoSecret);
            let url = secret.map(|secret| found("spec.database.cloudNativePG", secret)).transpose()?;
            (DatabaseKind::CloudNativePG, url, Some(made))
        }
    };
    if let Some(url) = &url {
        check_url(url)?;
    }
    let has = world.stateful_set.as_deref().and_then(|set| kind_of(set, name));
    let held_at = has.filter(|has| *has != kind && allowed != Some(allowed_change(*has, kind).as_str()));
    Ok(Database { kind, url, cluster, held_at })
}

/// Refuses what is no URL of a PostgreSQL, without telling what it is.
fn check_url(url: &SecretKey) -> Result<(), Invalid> {
    let text = url.value.expose();
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let is_url = rest.is_some_and(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        !host.is_empty() && !text.contains(char::is_whitespace)
    });
    if is_url { Ok(()) } else { Err(Invalid::NoDatabaseUrl { name: url.name.clone(), key: url.key.clone() }) }
}

/// Where the relay `name` that is there has its decisions.
fn kind_of(set: &StatefulSet, name: &str) -> Option<DatabaseKind> {
    let secret = secret_of(set.spec.as_ref()?.template.spec.as_ref()?.containers.first()?);
    Some(match secret {
        None => DatabaseKind::Embedded,
        Some(secret) if secret == names::database_secret(name) => DatabaseKind::CloudNativePG,
        Some(_) => DatabaseKind::External,
    })
}

fn secret_of(container: &Container) -> Option<&str> {
    let url = container.env.as_ref()?.iter().find(|variable| URL_VARIABLES.contains(&variable.name.as_str()))?;
    Some(&url.value_from.as_ref()?.secret_key_ref.as_ref()?.name)
}
