//! Step 2, validate: from what a person wrote, and what the cluster holds, to a relay that can be built.
//!
//! Pure. The schema has the same rules; they are checked again because a cluster may hold an older
//! schema, or objects from before a rule.

mod access;
mod backfill;
mod backup;
mod collections;
mod database;
mod implementation;
mod memory;
mod monitoring;
mod pod;
mod settings;
mod storage;
mod update;
mod upstream;
mod window;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::byte_size::ByteSize;
use super::read::{Lookup, SecretValue, World};
use crate::api::patterns::{self, Pattern};
use crate::api::{BackfillSpec, ImageSpec, Implementation, PullPolicy, Relay, RelaySpec};
use crate::secret::Redacted;

pub use access::{Access, Guard, Targets, Tls, Way};
pub(super) use access::{ingress_addresses, private_address, service_addresses};
pub use backup::Backup;
pub use collections::Directory;
pub use database::{Database, allowed_change};
pub use memory::{Memory, Resources};
pub use monitoring::{Alerts, Dashboards, Monitoring, Scrape};
#[cfg(test)]
pub(super) use pod::is_set_by_the_operator;
pub use pod::{Cpu, Pod};
pub use settings::{Firehose, PlcExport, Settings};
pub use storage::Storage;
pub(super) use storage::{capacity, claim_template, is_older, requested};
pub use update::Gate;
pub use window::Window;

/// Time to store cursors and to close every consumer's connection properly, where the spec does not say.
const DEFAULT_GRACE_SECONDS: i64 = 60;
/// Annotation that allows a change of database: Embedded-to-External.
pub const CHANGE_DATABASE: &str = "relay.waow.tech/change-database";
/// Longest DNS name.
const MAX_HOSTNAME: usize = 253;

/// A relay whose every part is well formed and present.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRelay {
    /// Name of the Relay, and the stem of its objects' names.
    pub name: String,
    /// Namespace of the Relay and all its objects.
    pub namespace: String,
    /// Makes an object the Relay's own: it goes when the Relay goes.
    pub owner: OwnerReference,
    /// Nothing is to be changed.
    pub paused: bool,
    /// Which program it is.
    pub implementation: Implementation,
    /// Public DNS name.
    pub hostname: String,
    /// The container image.
    pub image: Image,
    /// Memory.
    pub memory: Memory,
    /// Time that the pod has to stop, in seconds, where the spec says so.
    pub grace_seconds: Option<i64>,
    /// When the pod may be replaced for another reason than a change of the spec; `None` is always.
    pub window: Option<Window>,
    /// What a pod of a new template has to prove; `None` is to become ready.
    pub gate: Option<Gate>,
    /// The volume.
    pub storage: Storage,
    /// Snapshots of it.
    pub backup: Backup,
    /// Labels of the node.
    pub node_selector: BTreeMap<String, String>,
    /// How consumers reach it.
    pub access: Access,
    /// Who else may, where a NetworkPolicy says so.
    pub guard: Option<Guard>,
    /// What the relay is told, beside its memory.
    pub settings: Settings,
    /// What Prometheus and Grafana get to see.
    pub monitoring: Monitoring,
    /// The directory of collections.
    pub directory: Directory,
    /// What is declared of backfills.
    pub backfill: BackfillSpec,
    /// The database of decisions.
    pub database: Database,
    /// The admin token of sibling relays, where it is not that of this one.
    pub sibling_token: Option<SecretKey>,
    /// What else the pod has.
    pub pod: Pod,
    /// The admin token.
    pub admin: SecretKey,
    /// The admin token is new: its Secret is still to be made.
    pub admin_generated: bool,
}

impl ValidRelay {
    /// Whether anything is declared of backfills.
    #[must_use]
    pub fn has_backfill(&self) -> bool {
        let BackfillSpec { sources, crawl, verify, .. } = &self.backfill;
        !sources.is_empty() || crawl.enabled || verify.enabled
    }

    /// How far back consumers may resume.
    #[must_use]
    pub fn replay_window(&self) -> Duration {
        duration(&self.settings.firehose.replay_window)
    }

    /// Time that the pod has to stop, in seconds.
    #[must_use]
    pub fn grace_seconds(&self) -> i64 {
        self.grace_seconds.unwrap_or(DEFAULT_GRACE_SECONDS)
    }
}

/// A container image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Repository with tag or digest.
    pub reference: String,
    /// When the node pulls it.
    pub pull_policy: PullPolicy,
    /// Names of the Secrets with credentials.
    pub pull_secrets: Vec<String>,
}

/// A key of a Secret that is there, or will be.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Redacted,
}

/// Why a Relay cannot be built. The text is the condition's message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// The spec itself.
    #[error("{0}")]
    Spec(String),
    /// The volume of an existing relay would have to be another one.
    #[error("spec.storage.{0}")]
    Storage(&'static str),
    /// The volume of an existing relay would have to shrink.
    #[error(
        "spec.storage.size is {wanted}, but the volume has {has} and cannot shrink; write {has} or more, or create a Relay of another name"
    )]
    Shrinks {
        /// What it has.
        has: ByteSize,
        /// What the spec says.
        wanted: ByteSize,
    },
    /// There is a volume already, which a snapshot cannot fill.
    #[error(
        "the PersistentVolumeClaim {claim} of an earlier Relay is still there, so nothing would be restored from the VolumeSnapshot {snapshot}; delete the claim, or take spec.storage.fromSnapshot away to go on with what it holds"
    )]
    VolumeExists {
        /// Name of the claim.
        claim: String,
        /// Name of the snapshot.
        snapshot: String,
    },
    /// The relay would become another program.
    #[error("spec.implementation is {}, but the relay that is there is {}, whose files it cannot read; put {} back, and create a Relay of another name", wanted.name(), live.name(), live.name())]
    Implementation {
        /// What it is.
        live: Implementation,
        /// What the spec says.
        wanted: Implementation,
    },
    /// A Secret that the spec refers to.
    #[error("there is no Secret {0}; create it in the namespace of the Relay")]
    NoSecret(String),
    /// A key that the spec refers to.
    #[error("the Secret {name} has no usable value under the key {key}; put one there")]
    NoKey {
        /// Name of the Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// A key that holds more than the one token that is needed.
    #[error(
        "the Secret {name} must hold one token alone under the key {key}, without a name or a second line; put it there"
    )]
    SeveralTokens {
        /// Name of the Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The value of a Secret is not what the spec takes it for.
    #[error(
        "the value of the key {key} of the Secret {name} is no URL of a PostgreSQL database; it has to look like postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    NoDatabaseUrl {
        /// Name of the Secret.
        name: String,
        /// The key.
        key: String,
    },
}

impl Invalid {
    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Spec(_) => "InvalidSpec",
            Self::Storage(_) => "StorageImmutable",
            Self::Shrinks { .. } => "StorageShrinks",
            Self::VolumeExists { .. } => "VolumeExists",
            Self::Implementation { .. } => "ImplementationImmutable",
            Self::NoDatabaseUrl { .. } => "SecretValueInvalid",
            Self::NoSecret(_) => "SecretNotFound",
            Self::NoKey { .. } | Self::SeveralTokens { .. } => "SecretKeyMissing",
        }
    }

    /// Whether only a change of the Relay can help. Secrets are not watched, so they are looked at again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Spec(_) | Self::Storage(_) | Self::Shrinks { .. } | Self::Implementation { .. })
    }
}

fn within<N: PartialOrd + Display>(path: &str, number: N, range: &RangeInclusive<N>) -> Result<(), Invalid> {
    if range.contains(&number) {
        return Ok(());
    }
    Err(Invalid::Spec(format!("{path} is {number}; it must be between {} and {}", range.start(), range.end())))
}

/// Checks `relay` and what it refers to. `default_image` is used where the spec names none.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn validate(relay: &Relay, world: &World, default_image: &str) -> Result<ValidRelay, Invalid> {
    let spec = &relay.spec;
    let name = relay.name_any();
    if !patterns::RELAY_NAME.matches(&name) {
        return Err(Invalid::Spec(patterns::RELAY_NAME.message.into()));
    }
    let owner = relay.controller_owner_ref(&()).ok_or_else(|| Invalid::Spec("metadata.uid is missing".into()))?;
    check("spec.hostname", &spec.hostname, patterns::HOSTNAME)?;
    if spec.hostname.len() > MAX_HOSTNAME {
        return Err(Invalid::Spec(format!("spec.hostname has more than {MAX_HOSTNAME} characters")));
    }
    let image = image("spec.image", &spec.image, default_image)?;
    let memory = memory::memory(&spec.memory)?;
    implementation::check(spec, &memory)?;
    implementation::check_unchanged(spec.implementation, world.stateful_set.as_deref())?;
    let created = relay.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    let allowed = relay.annotations().get(CHANGE_DATABASE).map(String::as_str);
    let storage = storage::storage(&spec.storage, world, created)?;
    Ok(ValidRelay {
        namespace: relay.namespace().unwrap_or_default(),
        owner,
        paused: spec.paused,
        hostname: spec.hostname.clone(),
        implementation: spec.implementation,
        image,
        memory,
        grace_seconds: memory::grace_seconds(spec.termination_grace_period_seconds)?,
        window: window::window(spec.update.window.as_deref())?,
        gate: update::gate(&spec.update.gate)?,
        backup: backup::backup(spec.backup.as_ref())?,
        node_selector: node_selector(spec)?,
        access: access::access(spec, world)?,
        guard: access::guard(spec, &world.operator_namespace)?,
        settings: settings::settings(spec, &storage)?,
        storage,
        monitoring: monitoring::monitoring(&spec.monitoring)?,
        directory: collections::directory(spec)?,
        backfill: backfill::backfill(&spec.backfill)?,
        database: database::database(&name, &spec.database, world, allowed)?,
        sibling_token: match (spec.implementation, &world.sibling_token) {
            (Implementation::Bundled, Some(secret)) => Some(sibling_token(secret)?),
            _ => None, // others have no use for it
        },
        pod: pod::pod(&spec.pod, spec.implementation)?,
        admin: token("spec.admin.secretRef", &world.admin.secret)?,
        admin_generated: world.admin.generated,
        name,
    })
}

fn check(path: &str, value: &str, pattern: Pattern) -> Result<(), Invalid> {
    if pattern.matches(value) {
        Ok(())
    } else {
        Err(Invalid::Spec(format!("{path} is {value:?}: {}", pattern.message)))
    }
}

/// Reads what has the form of [`patterns::DURATION`], which has at most 7 digits.
fn duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    let unit = match &text[digits.len()..] {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    Duration::from_secs(digits.parse::<u64>().unwrap_or(0) * unit)
}

fn size(path: &str, text: &str) -> Result<ByteSize, Invalid> {
    check(path, text, patterns::SIZE)?;
    ByteSize::parse(text).ok_or_else(|| Invalid::Spec(format!("{path} is {text:?}: too large")))
}

/// The image that the spec has at `path`, or else the default.
fn image(path: &str, spec: &ImageSpec, default: &str) -> Result<Image, Invalid> {
    let reference = match (&spec.repository, &spec.tag, &spec.digest) {
        (None, None, None) => default.to_owned(),
        (None, _, _) => return Err(Invalid::Spec(format!("{path}: tag and digest need a repository"))),
        (Some(_), None, None) => {
            return Err(Invalid::Spec(format!("{path}: name a tag or a digest of the repository")));
        }
        (Some(repository), tag, digest) => {
            check(&format!("{path}.repository"), repository, patterns::IMAGE_REPOSITORY)?;
            let mut reference = repository.clone();
            if let Some(tag) = tag {
                check(&format!("{path}.tag"), tag, patterns::IMAGE_TAG)?;
                reference += &format!(":{tag}");
            }
            if let Some(digest) = digest {
                check(&format!("{path}.digest"), digest, patterns::IMAGE_DIGEST)?;
                reference += &format!("@{digest}");
            }
            reference
        }
    };
    for secret in &spec.pull_secrets {
        check(&format!("{path}.pullSecrets"), &secret.name, patterns::OBJECT_NAME)?;
    }
    Ok(Image {
        reference,
        pull_policy: spec.pull_policy,
        pull_secrets: spec.pull_secrets.iter().map(|s| s.name.clone()).collect(),
    })
}

fn node_selector(spec: &RelaySpec) -> Result<BTreeMap<String, String>, Invalid> {
    for (key, value) in &spec.node.selector {
        check("spec.node.selector", key, patterns::LABEL_KEY)?;
        check("spec.node.selector", value, patterns::LABEL_VALUE)?;
    }
    Ok(spec.node.selector.clone())
}

/// The value of the Secret that `path` refers to.
fn found(path: &str, secret: &SecretValue) -> Result<SecretKey, Invalid> {
    check(&format!("{path}.name"), &secret.name, patterns::OBJECT_NAME)?;
    check(&format!("{path}.key"), &secret.key, patterns::SECRET_KEY)?;
    let no_key = || Invalid::NoKey { name: secret.name.clone(), key: secret.key.clone() };
    match &secret.value {
        Lookup::Found(value) if value.expose().is_empty() => Err(no_key()),
        Lookup::Found(value) => {
            Ok(SecretKey { name: secret.name.clone(), key: secret.key.clone(), value: value.clone() })
        }
        Lookup::NoSecret => Err(Invalid::NoSecret(secret.name.clone())),
        Lookup::NoKey => Err(no_key()),
    }
}

/// An admin token travels in an HTTP header, which not every text can.
fn token(path: &str, secret: &SecretValue) -> Result<SecretKey, Invalid> {
    let token = found(path, secret)?;
    if token.value.first_token().bytes().all(|b| b.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err(Invalid::NoKey { name: token.name, key: token.key })
    }
}

/// The relay takes the whole value of this one for the token.
fn sibling_token(secret: &SecretValue) -> Result<SecretKey, Invalid> {
    let token = token("spec.upstream.siblingTokenSecretRef", secret)?;
    if token.value.first_token() == token.value.expose() {
        Ok(token)
    } else {
        Err(Invalid::SeveralTokens { name: token.name, key: token.key })
    }
}

#[cfg(test)]
mod tests;
