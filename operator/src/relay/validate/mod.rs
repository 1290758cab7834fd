//! Step 2, validate: from what a person wrote, and what the cluster holds, to a relay that can be built.
//!
//! Pure. The schema has the same rules; they are checked again because a cluster may hold an older
//! schema, or objects from before a rule.

mod backfill;
mod collections;
mod implementation;
mod memory;
mod window;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::byte_size::ByteSize;
use super::read::{Lookup, SecretValue, World};
use crate::api::patterns::{self, Pattern};
use crate::api::{
    BackfillSpec, Durability, ImageSpec, Implementation, PullPolicy, Relay, RelaySpec, ServiceSpec, ServiceType,
    StorageSpec, UpstreamSpec, ValidationMode,
};
use crate::secret::Redacted;

pub use collections::Directory;
pub use memory::{Memory, Resources};
pub use window::Window;

/// Time to store cursors and to close every consumer's connection properly, where the spec does not say.
const DEFAULT_GRACE_SECONDS: i64 = 60;
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
    /// Size of the volume.
    pub storage_size: ByteSize,
    /// StorageClass of the volume, where not the cluster's default.
    pub storage_class: Option<String>,
    /// Labels of the node.
    pub node_selector: BTreeMap<String, String>,
    /// The firehose's Service.
    pub service: ServiceSpec,
    /// What goes into the relay's configuration file.
    pub settings: Settings,
    /// The directory of collections.
    pub directory: Directory,
    /// What is declared of backfills.
    pub backfill: BackfillSpec,
    /// The external database.
    pub database: Option<SecretKey>,
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

/// What goes into the relay's configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The PLC directory.
    pub plc_url: String,
    /// Which hosts to crawl.
    pub upstream: UpstreamSpec,
    /// How events are checked.
    pub validation: ValidationMode,
    /// How far back consumers may resume.
    pub replay_window: String,
    /// When an event counts as written.
    pub durability: Durability,
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
    /// The volume of an existing relay would have to change.
    #[error(
        "spec.storage differs from the volume of the StatefulSet {0}, which cannot be changed; put the old values back, or create a Relay of another name"
    )]
    Storage(String),
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
}

impl Invalid {
    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Spec(_) => "InvalidSpec",
            Self::Storage(_) => "StorageImmutable",
            Self::NoSecret(_) => "SecretNotFound",
            Self::NoKey { .. } => "SecretKeyMissing",
        }
    }

    /// Whether only a change of the Relay can help. Secrets are not watched, so they are looked at again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Spec(_) | Self::Storage(_))
    }
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
    let storage_size = storage(&spec.storage)?;
    check_unchanged_storage(&spec.storage, storage_size, world.stateful_set.as_deref())?;
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
        storage_size,
        storage_class: spec.storage.storage_class_name.clone(),
        node_selector: node_selector(spec)?,
        service: service(&spec.access.service)?,
        settings: settings(spec)?,
        directory: collections::directory(spec)?,
        backfill: backfill::backfill(&spec.backfill)?,
        database: world.database_url.as_ref().map(database).transpose()?,
        admin: admin(&world.admin.secret)?,
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

fn storage(spec: &StorageSpec) -> Result<ByteSize, Invalid> {
    if let Some(class) = &spec.storage_class_name {
        check("spec.storage.storageClassName", class, patterns::OBJECT_NAME)?;
    }
    size("spec.storage.size", &spec.size)
}

fn check_unchanged_storage(spec: &StorageSpec, size: ByteSize, live: Option<&StatefulSet>) -> Result<(), Invalid> {
    let claim = live
        .and_then(|set| set.spec.as_ref()?.volume_claim_templates.as_ref()?.first())
        .and_then(|claim| claim.spec.as_ref());
    let Some(claim) = claim else { return Ok(()) };
    let live_size = claim
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref()?.get("storage"))
        .and_then(|quantity| ByteSize::parse(&quantity.0));
    if live_size == Some(size) && claim.storage_class_name == spec.storage_class_name {
        Ok(())
    } else {
        Err(Invalid::Storage(live.map(ResourceExt::name_any).unwrap_or_default()))
    }
}

fn node_selector(spec: &RelaySpec) -> Result<BTreeMap<String, String>, Invalid> {
    for (key, value) in &spec.node.selector {
        check("spec.node.selector", key, patterns::LABEL_KEY)?;
        check("spec.node.selector", value, patterns::LABEL_VALUE)?;
    }
    Ok(spec.node.selector.clone())
}

fn service(spec: &ServiceSpec) -> Result<ServiceSpec, Invalid> {
    match spec.node_port {
        Some(_) if spec.type_ == ServiceType::ClusterIp => {
            Err(Invalid::Spec("spec.access.service.nodePort needs type NodePort or LoadBalancer".into()))
        }
        Some(port) if !(1..=65535).contains(&port) => {
            Err(Invalid::Spec(format!("spec.access.service.nodePort is {port}: a port is between 1 and 65535")))
        }
        _ => Ok(spec.clone()),
    }
}

fn settings(spec: &RelaySpec) -> Result<Settings, Invalid> {
    check("spec.plcURL", &spec.plc_url, patterns::URL)?;
    for url in &spec.upstream.bootstrap_relays {
        check("spec.upstream.bootstrapRelays", url, patterns::URL)?;
    }
    for host in &spec.upstream.hosts {
        check("spec.upstream.hosts", host, patterns::ANY_HOST)?;
        if !spec.upstream.allow_insecure_hosts {
            check("spec.upstream.hosts", host, patterns::PUBLIC_HOST)?;
        }
    }
    let limits = &spec.upstream.limits;
    for (name, limit) in [("accountsPerHost", limits.accounts_per_host), ("eventsPerSecond", limits.events_per_second)]
    {
        if limit.is_some_and(|limit| limit < 0) {
            return Err(Invalid::Spec(format!(
                "spec.upstream.limits.{name} must not be negative; 0 switches the limit off"
            )));
        }
    }
    check("spec.firehose.replayWindow", &spec.firehose.replay_window, patterns::DURATION)?;
    Ok(Settings {
        plc_url: spec.plc_url.clone(),
        upstream: spec.upstream.clone(),
        validation: spec.validation.mode,
        replay_window: spec.firehose.replay_window.clone(),
        durability: spec.firehose.durability,
    })
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

/// The admin token travels in an HTTP header, which not every text can.
fn admin(secret: &SecretValue) -> Result<SecretKey, Invalid> {
    let token = found("spec.admin.secretRef", secret)?;
    if token.value.first_token().bytes().all(|b| b.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err(Invalid::NoKey { name: token.name, key: token.key })
    }
}

fn database(secret: &SecretValue) -> Result<SecretKey, Invalid> {
    found("spec.database.externalSecretRef", secret)
}

#[cfg(test)]
mod tests;
