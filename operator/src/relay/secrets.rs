//! Values of Secrets, remembered: the operator may get a Secret, but neither list nor watch any, and the API server is not
//! asked for the same again in every reconcile.
//!
//! A value is read anew when the Relay's spec has changed; within [`DOUBTED_FOR`] while its relay does not say that all is
//! well, such as for a token that it refuses; and within [`TRUSTED_FOR`] in any case. What was not found is not remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

use super::Error;
use super::read::{Lookup, SecretValue};
use crate::api::{Relay, patterns};
use crate::secret::Redacted;

/// How old a value may be whose relay is well.
const TRUSTED_FOR: Duration = Duration::from_secs(10 * 60);
/// The same while its relay is not.
const DOUBTED_FOR: Duration = Duration::from_secs(60);

/// What is remembered, by Relay. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<BTreeMap<ObjectKey, Values>>>);

/// Namespace and name.
type ObjectKey = (String, String);

/// What one Relay refers to.
#[derive(Default)]
struct Values {
    /// Of the Relay's spec.
    generation: Option<i64>,
    is_doubted: bool,
    /// By Secret and key.
    read: BTreeMap<(String, String), Read>,
}

/// A value, and since when it is known.
struct Read {
    at: Instant,
    /// Time that has passed by the word of [`Secrets::pass`].
    older: Duration,
    value: Redacted,
}

/// The Secrets of one Relay.
pub(super) struct SecretsOf<'a> {
    api: Api<Secret>,
    kept: &'a Secrets,
    relay: ObjectKey,
}

impl Secrets {
    /// The Secrets that `relay` may refer to.
    pub(super) fn of(&self, client: Client, relay: &Relay) -> SecretsOf<'_> {
        let namespace = relay.namespace().unwrap_or_default();
        let key = (namespace.clone(), relay.name_any());
        let mut kept = self.lock();
        let values = kept.entry(key.clone()).or_default();
        if values.generation != relay.metadata.generation {
            *values = Values { generation: relay.metadata.generation, ..Values::default() };
        }
        drop(kept);
        SecretsOf { api: Api::namespaced(client, &namespace), kept: self, relay: key }
    }

    /// Forgets the Relays that there are not, by namespace and name.
    pub(super) fn keep_only(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.lock().retain(|(namespace, relay), _| is_there(namespace, relay));
    }

    /// Lets everything be older by `time`, for tests.
    pub fn pass(&self, time: Duration) {
        self.lock().values_mut().flat_map(|values| values.read.values_mut()).for_each(|read| read.older += time);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Values>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SecretsOf<'_> {
    /// The value of `key` in the Secret `name`.
    pub(super) async fn value(&self, name: &str, key: &str) -> Result<SecretValue, Error> {
        let value = match self.remembered(name, key) {
            Some(value) => Lookup::Found(value),
            None => self.ask(name, key).await?,
        };
        Ok(SecretValue { name: name.to_owned(), key: key.to_owned(), value })
    }

    /// Whether there is a Secret `name`, whatever is in it.
    pub(super) async fn is_there(&self, name: &str) -> Result<bool, Error> {
        // No key is empty.
        if self.remembered(name, "").is_some() {
            return Ok(true);
        }
        let at = Instant::now();
        let found = self.api.get_metadata_opt(name).await;
        let found = found.map_err(|source| Error::Read { what: format!("Secret {name}"), source })?;
        if found.is_some() {
            self.remember(name, "", at, Redacted::new(String::new()));
        }
        Ok(found.is_some())
    }

    /// Whether all is well with the relay, as far as it can say.
    pub(super) fn is_well(&self, is_well: bool) {
        if let Some(values) = self.kept.lock().get_mut(&self.relay) {
            values.is_doubted = !is_well;
        }
    }

    fn remembered(&self, name: &str, key: &str) -> Option<Redacted> {
        let kept = self.kept.lock();
        let values = kept.get(&self.relay)?;
        let Read { at, older, value } = values.read.get(&(name.to_owned(), key.to_owned()))?;
        let age_max = if values.is_doubted { DOUBTED_FOR } else { TRUSTED_FOR };
        (at.elapsed() + *older < age_max).then(|| value.clone())
    }

    async fn ask(&self, name: &str, key: &str) -> Result<Lookup, Error> {
        // An ill-formed name cannot exist; asked for, it would become another path of the API.
        if !patterns::OBJECT_NAME.matches(name) {
            return Ok(Lookup::NoSecret);
        }
        let at = Instant::now();
        let secret =
            self.api.get_opt(name).await.map_err(|source| Error::Read { what: format!("Secret {name}"), source })?;
        let Some(secret) = secret else { return Ok(Lookup::NoSecret) };
        let bytes = secret.data.unwrap_or_default().remove(key);
        let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok()) else { return Ok(Lookup::NoKey) };
        let value = Redacted::new(text.trim().to_owned());
        self.remember(name, key, at, value.clone());
        Ok(Lookup::Found(value))
    }

    fn remember(&self, name: &str, key: &str, at: Instant, value: Redacted) {
        if let Some(values) = self.kept.lock().get_mut(&self.relay) {
            values.read.insert((name.to_owned(), key.to_owned()), Read { at, older: Duration::ZERO, value });
        }
    }
}
