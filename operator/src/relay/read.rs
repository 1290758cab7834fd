//! Step 1, read: everything the other steps decide on, and the only step that asks anyone.

use std::sync::Arc;

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};

use super::foreign::{self, Seen};
use super::{Context, Error, build, names, resize};
use crate::api::{AdminSecretRef, MemoryResize, Relay, patterns};
use crate::relay_admin::{AskError, Document, Door};
use crate::secret::Redacted;

/// Random bytes of a generated admin token.
const TOKEN_BYTES: usize = 32;

/// What the cluster and the relay say at the start of a reconcile.
pub struct World {
    /// The admin token.
    pub admin: AdminSecret,
    /// The database's URL, where the spec refers to one.
    pub database_url: Option<SecretValue>,
    /// The relay's StatefulSet.
    pub stateful_set: Option<Arc<StatefulSet>>,
    /// The relay's firehose Service.
    pub service: Option<Arc<Service>>,
    /// The relay's pod.
    pub pod: Option<Arc<Pod>>,
    /// The pod before it, as it was when it went.
    pub gone_pod: Option<Arc<Pod>>,
    /// What is known of a relay of another project; `None` when there is no running pod to ask.
    pub foreign: Option<Seen>,
    /// The relay's admin API; `None` when there is no running pod to ask, or it is of another project.
    pub door: Option<Door>,
    /// The relay's status document, where there is somebody to ask.
    pub document: Option<Result<Document, AskError>>,
    /// The API server can resize pods. It is asked only where that is wanted.
    pub can_resize: bool,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretValue {
    /// Name of the Secret.
    pub name: String,
    /// The key.
    pub key: String,
    /// What is there.
    pub value: Lookup,
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// The value.
    Found(Redacted),
    /// There is no such Secret.
    NoSecret,
    /// The Secret lacks the key, or its value is not text.
    NoKey,
}

/// The Secret with the admin token.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSecret {
    /// What is in the cluster, or a new random token.
    pub secret: SecretValue,
    /// The token is new, and the Secret is still to be made.
    pub generated: bool,
}

/// Reads what concerns `relay`.
///
/// # Errors
///
/// When the API server does not answer. What it does not have is not an error here.
pub async fn read(context: &Context, relay: &Relay) -> Result<World, Error> {
    let namespace = relay.namespace().unwrap_or_default();
    let name = relay.name_any();
    let secrets = Api::<Secret>::namespaced(context.client.clone(), &namespace);

    let admin = admin_secret(&secrets, relay).await?;
    let database_url = match &relay.spec.database.external_secret_ref {
        Some(reference) => Some(secret_value(&secrets, &reference.name, &reference.key).await?),
        None => None,
    };
    let cache = &context.cache;
    let pod = cached(&cache.pods, &names::pod(&name), &namespace);
    let metric_names = build::metric_names(relay.spec.implementation);
    let foreign = match (&pod, metric_names) {
        (Some(pod), Some(names)) => foreign::look(context, &namespace, &name, pod, names).await,
        _ => None,
    };
    let door = match (&pod, &admin.secret.value) {
        (Some(pod), Lookup::Found(token)) if metric_names.is_none() => {
            running_ip(pod).map(|ip| Door { ip: ip.to_owned(), token: token.clone() })
        }
        _ => None,
    };
    let document = match &door {
        Some(door) => Some(context.admin.status(door).await),
        None => None,
    };
    let can_resize = match relay.spec.memory.resize {
        MemoryResize::InPlace => can_resize(context).await?,
        MemoryResize::Never => false,
    };
    Ok(World {
        admin,
        database_url,
        stateful_set: cached(&cache.stateful_sets, &names::stateful_set(&name), &namespace),
        service: cached(&cache.services, &names::firehose_service(&name), &namespace),
        pod,
        gone_pod: cache.gone_pods.last(&namespace, &names::pod(&name)),
        foreign,
        door,
        document,
        can_resize,
    })
}

/// Asked once: what an API server serves changes with its version, and an operator is restarted now and then.
async fn can_resize(context: &Context) -> Result<bool, Error> {
    let asked = context.can_resize.get_or_try_init(|| resize::is_served(&context.client)).await;
    asked.copied().map_err(|source| Error::Read { what: "what the API server serves".into(), source })
}

async fn admin_secret(secrets: &Api<Secret>, relay: &Relay) -> Result<AdminSecret, Error> {
    let reference = admin_reference(relay);
    let secret = secret_value(secrets, &reference.name, &reference.key).await?;
    if secret.value != Lookup::NoSecret {
        return Ok(AdminSecret { secret, generated: false });
    }
    let mut bytes = [0; TOKEN_BYTES];
    rand::fill(&mut bytes).map_err(|_| Error::Random)?;
    let value = Lookup::Found(Redacted::new(HEXLOWER.encode(&bytes)));
    Ok(AdminSecret { secret: SecretValue { value, ..secret }, generated: true })
}

/// Where the admin token of `relay` is.
#[must_use]
pub fn admin_reference(relay: &Relay) -> AdminSecretRef {
    relay
        .spec
        .admin
        .secret_ref
        .clone()
        .unwrap_or_else(|| AdminSecretRef { name: names::admin(&relay.name_any()), key: "token".into() })
}

async fn secret_value(secrets: &Api<Secret>, name: &str, key: &str) -> Result<SecretValue, Error> {
    // An ill-formed name cannot exist; asked for, it would become another path of the API.
    let secret = if patterns::OBJECT_NAME.matches(name) {
        secrets.get_opt(name).await.map_err(|source| Error::Read { what: format!("Secret {name}"), source })?
    } else {
        None
    };
    let value = match secret {
        None => Lookup::NoSecret,
        Some(secret) => secret
            .data
            .unwrap_or_default()
            .remove(key)
            .and_then(|bytes| String::from_utf8(bytes.0).ok())
            .map_or(Lookup::NoKey, |text| Lookup::Found(Redacted::new(text.trim().to_owned()))),
    };
    Ok(SecretValue { name: name.to_owned(), key: key.to_owned(), value })
}

fn cached<K>(store: &Store<K>, name: &str, namespace: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

pub(super) fn running_ip(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    (status.phase.as_deref() == Some("Running")).then_some(status.pod_ip.as_deref()).flatten()
}
