//! Step 1, read: everything the other steps decide on, and the only step that asks anyone.

use std::sync::Arc;

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::core::DynamicObject;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};

use super::foreign::{self, Seen};
use super::names::INSTANCE;
use super::optional::OptionalKind;
use super::secrets::SecretsOf;
use super::update::{self, LastGood};
use super::validate::private_address;
use super::{Cache, Context, Error, build, names, resize};
use crate::api::{AdminSecretRef, MemoryResize, Relay, patterns};
use crate::relay_admin::{AskError, Document, Door};
use crate::secret::Redacted;

/// Random bytes of a generated admin token.
const TOKEN_BYTES: usize = 32;
/// Key of the URL in the Secret that CloudNativePG makes.
const CLUSTER_URL_KEY: &str = "uri";

/// What the cluster and the relay say at the start of a reconcile.
pub struct World {
    /// The admin token.
    pub admin: AdminSecret,
    /// The database's URL, where the spec refers to one.
    pub database_url: Option<SecretValue>,
    /// The admin token of sibling relays, where the spec refers to one.
    pub sibling_token: Option<SecretValue>,
    /// The relay's StatefulSet.
    pub stateful_set: Option<Arc<StatefulSet>>,
    /// The relay's firehose Service.
    pub service: Option<Arc<Service>>,
    /// The claim of the relay's volume.
    pub claim: Option<Arc<PersistentVolumeClaim>>,
    /// Snapshots of the volume that the operator has made; `None` where the cluster knows no snapshots.
    pub snapshots: Option<Vec<Arc<DynamicObject>>>,
    /// The relay's Ingress.
    pub ingress: Option<Arc<Ingress>>,
    /// The relay's DNSEndpoint.
    pub dns_endpoint: Option<Arc<DynamicObject>>,
    /// The Secret of spec.access.tls is not there.
    pub tls_secret_missing: bool,
    /// Namespace of the operator.
    pub operator_namespace: String,
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
    /// The domains that the relay bans; asked only where the spec bans some, or did.
    pub banned_domains: Option<Result<Vec<String>, AskError>>,
    /// The template to put back, where an update has failed.
    pub last_good: LastGood,
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
    let secrets = context.secrets.of(context.client.clone(), relay);

    let admin = admin_secret(&secrets, relay).await?;
    let database = &relay.spec.database;
    let database_url = match (&database.external_secret_ref, &database.cloud_native_pg) {
        (Some(reference), _) => Some(secrets.value(&reference.name, &reference.key).await?),
        (None, Some(_)) => Some(secrets.value(&names::database_secret(&name), CLUSTER_URL_KEY).await?),
        (None, None) => None,
    };
    let sibling_token = match &relay.spec.upstream.sibling_token_secret_ref {
        Some(reference) => Some(secrets.value(&reference.name, &reference.key).await?),
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
            admin_ip(relay, pod).map(|ip| Door { ip, token: token.clone() })
        }
        _ => None,
    };
    let document = match &door {
        Some(door) => Some(context.admin.status(door).await),
        None => None,
    };
    // A relay that answers holds the token that was read, or, of another project, the database's URL.
    secrets.is_well(match (&document, &foreign) {
        (Some(document), _) => document.is_ok(),
        (None, Some(seen)) => seen.figures.is_ok(),
        (None, None) => false,
    });
    let was_banned = relay.status.as_ref().is_some_and(|status| !status.banned_domains.is_empty());
    let banned_domains = match &door {
        // One that does not answer at all is not asked twice.
        Some(door) if was_banned || !relay.spec.upstream.banned_domains.is_empty() => match &document {
            Some(Err(error)) => Some(Err(error.clone())),
            _ => Some(context.admin.banned_domains(door).await),
        },
        _ => None,
    };
    let can_resize = match relay.spec.memory.resize {
        MemoryResize::InPlace => can_resize(context).await?,
        MemoryResize::Never => false,
    };
    let stateful_set = cached(&cache.stateful_sets, &names::stateful_set(&name), &namespace);
    let last_good = update::last_good(context, relay, stateful_set.as_deref()).await?;
    Ok(World {
        admin,
        database_url,
        sibling_token,
        stateful_set,
        claim: cached(&cache.claims, &names::claim(&name), &namespace),
        snapshots: cache.optional.store(OptionalKind::VolumeSnapshot).map(|store| {
            store.state_filter(|object| {
                object.namespace().as_deref() == Some(&*namespace) && object.labels().get(INSTANCE) == Some(&name)
            })
        }),
        service: cached(&cache.services, &names::firehose_service(&name), &namespace),
        ingress: cached(&cache.ingresses, &names::ingress(&name), &namespace),
        dns_endpoint: cached_optional(cache, OptionalKind::DnsEndpoint, &names::ingress(&name), &namespace),
        tls_secret_missing: tls_secret_missing(&secrets, relay).await?,
        operator_namespace: context.client.default_namespace().to_owned(),
        pod,
        gone_pod: cache.gone_pods.last(&namespace, &names::pod(&name)),
        foreign,
        door,
        document,
        banned_domains,
        last_good,
        can_resize,
    })
}

/// Asked once: what an API server serves changes with its version, and an operator is restarted now and then.
async fn can_resize(context: &Context) -> Result<bool, Error> {
    let asked = context.can_resize.get_or_try_init(|| resize::is_served(&context.client)).await;
    asked.copied().map_err(|source| Error::Read { what: "what the API server serves".into(), source })
}

async fn admin_secret(secrets: &SecretsOf<'_>, relay: &Relay) -> Result<AdminSecret, Error> {
    let reference = admin_reference(relay);
    let secret = secrets.value(&reference.name, &reference.key).await?;
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

fn cached<K>(store: &Store<K>, name: &str, namespace: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

fn cached_optional(cache: &Cache, kind: OptionalKind, name: &str, namespace: &str) -> Option<Arc<DynamicObject>> {
    cache.optional.store(kind)?.get(&ObjectRef::new_with(name, kind.resource()).within(namespace))
}

/// Only whether it is there: what is in it is nothing to the operator.
async fn tls_secret_missing(secrets: &SecretsOf<'_>, relay: &Relay) -> Result<bool, Error> {
    let name = relay.spec.access.tls.as_ref().and_then(|tls| tls.secret_name.as_deref());
    let Some(name) = name.filter(|name| patterns::OBJECT_NAME.matches(name)) else { return Ok(false) };
    Ok(!secrets.is_there(name).await?)
}

/// Where the admin API of a relay of ours is. On the node's network it has an address of its own.
fn admin_ip(relay: &Relay, pod: &Pod) -> Option<String> {
    let ip = running_ip(pod)?;
    match &relay.spec.access.host_network {
        Some(host_network) => private_address(&host_network.admin_address).map(|address| address.to_string()),
        None => Some(ip.to_owned()),
    }
}

pub(super) fn running_ip(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    (status.phase.as_deref() == Some("Running")).then_some(status.pod_ip.as_deref()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;
    use crate::relay::fixtures::{minimal, relay};

    #[test]
    fn the_admin_api_is_at_the_pod_and_on_the_nodes_network_at_its_private_address_only() {
        let pod =
            |phase: &str| serde_json::from_value(json!({"status": {"phase": phase, "podIP": "10.88.0.7"}})).unwrap();
        let of = |access: Value, phase: &str| {
            let mut spec = minimal();
            spec["access"] = access;
            admin_ip(&relay(&spec), &pod(phase))
        };
        let on_node = |address: &str| json!({"hostNetwork": {"adminAddress": address}});
        assert_eq!(of(json!({}), "Running").as_deref(), Some("10.88.0.7"));
        assert_eq!(of(on_node("10.0.0.2"), "Running").as_deref(), Some("10.0.0.2"));
        assert_eq!(of(on_node("203.0.113.7"), "Running"), None, "the token goes to no public address");
        assert_eq!(of(on_node("10.0.0.2"), "Pending"), None);
    }
}
