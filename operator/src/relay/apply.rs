//! Step 4, apply: from built objects to the cluster.
//!
//! Server-side apply with one field manager. An object that the cluster already has as wanted is not sent,
//! so an unchanged world sees no write at all. Order: what the pod needs first, the StatefulSet last, then
//! what is no longer wanted goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::build::{self, Children, OptionalChild};
use super::names::{INSTANCE, MANAGED_BY, OPERATOR};
use super::optional::OptionalKind;
use super::read::World;
use super::validate::{ValidRelay, claim_template, requested};
use super::{Context, Error, names};

/// Annotation with the digest of what the operator last applied. It tells that a field is no longer wanted,
/// which comparing the wanted fields alone cannot.
const APPLIED: &str = "relay.waow.tech/applied";

/// The objects that status is made of, as the API server has them.
#[derive(Default)]
pub(super) struct Applied {
    pub(super) stateful_set: Option<Arc<StatefulSet>>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) ingress: Option<Arc<Ingress>>,
    /// Of kinds that the cluster may know: those that were wanted, and what came of each.
    pub(super) optional: Vec<(OptionalKind, Result<Arc<DynamicObject>, Refused>)>,
}

/// Why there is no object of an optional kind. The others go on without it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The cluster does not know the kind.
    #[error("the cluster does not know {}; install what brings it, or switch it off in the spec", .0.definition())]
    NotInstalled(OptionalKind),
    /// The API server refuses the object, or somebody else's has its name.
    #[error("{0}")]
    Failed(Error),
    /// There is none, and none is made.
    #[error("there is no {} yet, and spec.paused is true", .0.resource().kind)]
    Paused(OptionalKind),
}

impl Refused {
    /// The reason of a condition.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotInstalled(_) => "CRDNotInstalled",
            Self::Failed(error) => error.reason(),
            Self::Paused(_) => "Paused",
        }
    }
}

impl Applied {
    /// What is there of `children`, for a Relay that is paused.
    pub(super) fn as_found(context: &Context, relay: &ValidRelay, world: &World, children: &Children) -> Self {
        let optional = children.optional.iter().map(|OptionalChild { kind, object }| {
            let key = ObjectRef::new_with(&object.name_any(), kind.resource()).within(&relay.namespace);
            let found = match context.cache.optional.store(*kind) {
                Some(store) => store.get(&key).ok_or(Refused::Paused(*kind)),
                None => Err(Refused::NotInstalled(*kind)),
            };
            (*kind, found)
        });
        Self {
            stateful_set: world.stateful_set.clone(),
            service: world.service.clone(),
            ingress: world.ingress.clone(),
            optional: optional.collect(),
        }
    }
}

/// Makes the objects of `relay` be `children`, and no others but the ConfigMaps that are still `referred` to.
pub(super) async fn apply(
    context: &Context,
    relay: &ValidRelay,
    children: Children,
    referred: &[String],
) -> Result<Applied, Error> {
    // Without "..": a new child cannot be forgotten here.
    let Children {
        service_account,
        admin_secret,
        config_map,
        dashboards,
        firehose_service,
        admin_service,
        ingress,
        network_policy,
        disruption_budget,
        stateful_set,
        optional,
    } = children;
    let applier = Applier { context, relay };
    let cache = &context.cache;

    let service_account = applier.ensure(&cache.service_accounts, service_account).await?;
    if let Some(secret) = admin_secret {
        applier.create(secret).await?;
    }
    let mut config_maps = referred.to_vec();
    for config_map in config_map.into_iter().chain(dashboards) {
        config_maps.push(applier.ensure(&cache.config_maps, config_map).await?.name_any());
    }
    let firehose_service = applier.ensure(&cache.services, firehose_service).await?;
    let admin_service = applier.ensure(&cache.services, admin_service).await?;
    let ingress = match ingress {
        Some(ingress) => Some(applier.ensure(&cache.ingresses, ingress).await?),
        None => None,
    };
    let mut network_policies = Vec::new();
    if let Some(network_policy) = network_policy {
        network_policies.push(applier.ensure(&cache.network_policies, network_policy).await?.name_any());
    }
    let disruption_budget = applier.ensure(&cache.disruption_budgets, disruption_budget).await?;
    let stateful_set = applier.ensure_stateful_set(stateful_set).await?;
    let optional = applier.ensure_optional(optional).await?;

    let services = [firehose_service.name_any(), admin_service.name_any()];
    applier.keep_only(&cache.stateful_sets, &[names::stateful_set(&relay.name)]).await?;
    applier.keep_only(&cache.disruption_budgets, &[disruption_budget.name_any()]).await?;
    applier.keep_only(&cache.network_policies, &network_policies).await?;
    let ingresses: Vec<String> = ingress.iter().map(|ingress| ingress.name_any()).collect();
    applier.keep_only(&cache.ingresses, &ingresses).await?;
    applier.keep_only(&cache.services, &services).await?;
    applier.keep_only(&cache.config_maps, &config_maps).await?;
    applier.keep_only(&cache.service_accounts, &[service_account.name_any()]).await?;
    Ok(Applied { stateful_set, service: Some(firehose_service), ingress, optional })
}

struct Applier<'a> {
    context: &'a Context,
    relay: &'a ValidRelay,
}

impl Applier<'_> {
    /// Applies `wanted`, unless the cluster has it so. Returns what the cluster has.
    async fn ensure<K>(&self, store: &Store<K>, wanted: K) -> Result<Arc<K>, Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        self.ensure_of(&(), store, self.api::<K>(), wanted).await
    }

    /// Applies the StatefulSet, unless the relay has to wait for its database: then what is there stays as it is.
    ///
    /// The claim that it makes cannot be changed: where the volume has grown, the StatefulSet is deleted without its pod, which
    /// runs on, and is made anew once it is gone.
    async fn ensure_stateful_set(&self, wanted: StatefulSet) -> Result<Option<Arc<StatefulSet>>, Error> {
        let store = &self.context.cache.stateful_sets;
        let live = store.get(&ObjectRef::new(&wanted.name_any()).within(&self.relay.namespace));
        if self.relay.database.is_awaited() {
            return Ok(live);
        }
        if let Some(live) = live.filter(|live| self.owns(&**live)) {
            if live.metadata.deletion_timestamp.is_some() {
                return Ok(Some(live));
            }
            let size = |set: &StatefulSet| claim_template(set).and_then(requested);
            if size(&live) != size(&wanted) {
                let this_one = Preconditions { uid: live.uid(), ..Preconditions::default() };
                let params = DeleteParams::orphan().preconditions(this_one);
                let deleted = self.api::<StatefulSet>().delete(&live.name_any(), &params).await;
                self.wrote::<StatefulSet, _>(&(), "replace", &live.name_any(), deleted)?;
                return Ok(Some(live));
            }
        }
        self.ensure(store, wanted).await.map(Some)
    }

    /// The same for what may be of a kind that is known while it runs only.
    async fn ensure_of<K>(
        &self,
        kind: &K::DynamicType,
        store: &Store<K>,
        api: Api<K>,
        mut wanted: K,
    ) -> Result<Arc<K>, Error>
    where
        K: Resource<DynamicType: Clone + Eq + Hash>,
        K: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        let name = wanted.name_any();
        let what = || format!("{} {name}", K::kind(kind));
        let key = ObjectRef::new_with(&name, kind.clone()).within(&self.relay.namespace);
        let live = match store.get(&key) {
            Some(live) => Some(live),
            // It may be there all the same: new, or without the label that the watch selects by.
            None => api.get_opt(&name).await.map_err(|source| Error::Read { what: what(), source })?.map(Arc::new),
        };
        stamp(&mut wanted)?;
        if let Some(live) = live {
            if !self.owns(&*live) && !self.is_left(&*live) {
                return Err(Error::Foreign { what: what() });
            }
            if covers(&serde_json::to_value(&*live)?, &serde_json::to_value(&wanted)?) {
                return Ok(live);
            }
        }
        let patch = PatchParams::apply(OPERATOR).force();
        let applied = api.patch(&name, &patch, &Patch::Apply(&wanted)).await;
        self.wrote::<K, _>(kind, "apply", &name, applied).map(Arc::new)
    }

    /// Makes the objects of optional kinds be `wanted`, and no others. One that is refused does not stop the rest.
    async fn ensure_optional(
        &self,
        wanted: Vec<OptionalChild>,
    ) -> Result<Vec<(OptionalKind, Result<Arc<DynamicObject>, Refused>)>, Error> {
        let mut applied = Vec::new();
        let mut names = BTreeMap::<OptionalKind, Vec<String>>::new();
        for OptionalChild { kind, object } in wanted {
            names.entry(kind).or_default().push(object.name_any());
            let result = match self.context.cache.optional.store(kind) {
                Some(store) => {
                    let resource = kind.resource();
                    let api = self.api_with::<DynamicObject>(&resource);
                    self.ensure_of(&resource, &store, api, object).await.map_err(Refused::Failed)
                }
                None => Err(Refused::NotInstalled(kind)),
            };
            applied.push((kind, result));
        }
        for kind in OptionalKind::ALL.into_iter().filter(|kind| !kind.holds_data()) {
            if let Some(store) = self.context.cache.optional.store(kind) {
                let resource = kind.resource();
                let api = self.api_with::<DynamicObject>(&resource);
                let names = names.get(&kind).map(Vec::as_slice).unwrap_or_default();
                self.keep_only_of(&resource, &store, api, names).await?;
            }
        }
        Ok(applied)
    }

    /// Creates an object that is never changed afterwards.
    async fn create<K>(&self, wanted: K) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Serialize + DeserializeOwned + Clone + Debug,
    {
        let params = PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() };
        let created = self.api::<K>().create(&params, &wanted).await;
        self.wrote::<K, _>(&(), "create", &wanted.name_any(), created).map(drop)
    }

    /// Deletes what the Relay owns and nobody wants any more, such as a child that an earlier version of
    /// the operator made.
    async fn keep_only<K>(&self, store: &Store<K>, names: &[String]) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        self.keep_only_of(&(), store, self.api::<K>(), names).await
    }

    async fn keep_only_of<K>(
        &self,
        kind: &K::DynamicType,
        store: &Store<K>,
        api: Api<K>,
        names: &[String],
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType: Clone + Eq + Hash>,
        K: DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let orphans = store.state_filter(|object| {
            // Of all Relays' objects, so nothing is copied to compare it.
            object.meta().namespace.as_deref() == Some(&*self.relay.namespace)
                && object.labels().get(INSTANCE) == Some(&self.relay.name)
                && self.owns(object)
                && object.meta().deletion_timestamp.is_none()
                && !wanted.contains(object.name_any().as_str())
        });
        for orphan in orphans {
            // The uid, so that a new object of the same name survives.
            let this_one = Preconditions { uid: orphan.uid(), ..Preconditions::default() };
            let params = DeleteParams::background().preconditions(this_one);
            match api.delete(&orphan.name_any(), &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(self.wrote::<K, _>(kind, "delete", &orphan.name_any(), deleted)?),
            }
        }
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.context.client.clone(), &self.relay.namespace)
    }

    fn api_with<K>(&self, kind: &K::DynamicType) -> Api<K>
    where
        K: Resource<Scope = kube::core::DynamicResourceScope>,
    {
        Api::namespaced_with(self.context.client.clone(), &self.relay.namespace, kind)
    }

    fn owns<K: Resource>(&self, object: &K) -> bool {
        object.owner_references().iter().any(|owner| owner.uid == self.relay.owner.uid)
    }

    /// Whether an earlier Relay of this name has left the object behind.
    fn is_left<K: Resource>(&self, object: &K) -> bool {
        let is = |label: &str, value: &str| object.labels().get(label).is_some_and(|label| label == value);
        object.owner_references().is_empty() && is(MANAGED_BY, OPERATOR) && is(INSTANCE, &self.relay.name)
    }

    /// Counts and logs a write, and gives its failure a name.
    fn wrote<K, T>(
        &self,
        kind: &K::DynamicType,
        verb: &'static str,
        name: &str,
        result: kube::Result<T>,
    ) -> Result<T, Error>
    where
        K: Resource,
    {
        let what = format!("{} {name}", K::kind(kind));
        self.context.metrics.wrote(&K::kind(kind), verb);
        let written = result.map_err(|source| Error::Apply { what: what.clone(), source })?;
        tracing::info!(verb, what, "object written");
        Ok(written)
    }
}

/// Annotates `object` with the digest of itself.
fn stamp<K: Resource + Serialize>(object: &mut K) -> Result<(), Error> {
    let digest = build::digest(&serde_json::to_vec(object)?);
    object.annotations_mut().insert(APPLIED.into(), digest);
    Ok(())
}

/// Whether `live` has everything that `wanted` says. What the API server and others added is no difference.
pub(super) fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| live.get(key).is_some_and(|live| covers(live, value)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| covers(l, w))
        }
        _ => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn additions_of_others_are_no_difference_and_changes_are() {
        let wanted = json!({"spec": {"ports": [{"port": 3000}], "type": "ClusterIP"}});
        #[rustfmt::skip]
        let table = [
            ("equal", json!({"spec": {"ports": [{"port": 3000}], "type": "ClusterIP"}}), true),
            ("defaults added", json!({"spec": {"ports": [{"port": 3000, "protocol": "TCP"}], "type": "ClusterIP", "clusterIP": "10.0.0.1"}, "status": {}}), true),
            ("value changed", json!({"spec": {"ports": [{"port": 3001}], "type": "ClusterIP"}}), false),
            ("field removed", json!({"spec": {"ports": [{"port": 3000}]}}), false),
            ("element added", json!({"spec": {"ports": [{"port": 3000}, {"port": 1}], "type": "ClusterIP"}}), false),
            ("element removed", json!({"spec": {"ports": [], "type": "ClusterIP"}}), false),
            ("type of value changed", json!({"spec": {"ports": [{"port": "3000"}], "type": "ClusterIP"}}), false),
            ("nothing there", json!(null), false),
        ];
        for (case, live, want) in table {
            assert_eq!(covers(&live, &wanted), want, "{case}");
        }
    }

    #[test]
    fn the_stamp_changes_with_the_object_only() {
        let service = Service::default();
        let (mut a, mut b, mut c) = (service.clone(), service.clone(), service);
        c.metadata.name = Some("other".into());
        for object in [&mut a, &mut b, &mut c] {
            assert!(stamp(object).is_ok());
        }
        assert_eq!(a, b, "equal objects have equal stamps");
        assert_ne!(
            a.annotations().get(APPLIED),
            c.annotations().get(APPLIED),
            "different objects have different stamps"
        );
    }
}
