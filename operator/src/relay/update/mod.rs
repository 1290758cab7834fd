//! The pod comes to another template by the operator's hand: the StatefulSet replaces none by itself (`OnDelete`).
//!
//! [`plan`] says which template the StatefulSet is to have, and whether the pod is to go, by [`decide`]: a [`Plan`], which
//! gives the StatefulSet its template and evicts the pod. A template that proves no good is followed by the last good one,
//! which is read from its ControllerRevision by [`last_good`]; the configuration file that belongs to it is in a ConfigMap of
//! its own, which is kept.

mod decide;
mod gate;
mod seen;
mod tell;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

pub(super) use tell::{events, finding};

use super::apply::covers;
use super::build::{self, Children};
use super::byte_size::ByteSize;
use super::names::{OPERATOR, pod, stateful_set};
use super::read::World;
use super::report::quote;
use super::resize::{self, Limits};
use super::validate::ValidRelay;
use super::{Context, Error, api_message, evict};
use crate::api::{MemoryResize, RefusalStatus, Relay, UpdatePhase, UpdateStatus};
use decide::{Decision, Template};

/// Annotation of the StatefulSet with the digest of the template that the spec asked for when this one was applied, or with the
/// revision that was put back.
const TEMPLATE: &str = "relay.waow.tech/template";
/// Annotation of a Relay that asks for a restart: each new value is one.
const RESTART: &str = "relay.waow.tech/restart-requested-at";
/// Longest part of it that is remembered, in characters: a time has 20.
const RESTART_MAX: usize = 64;

/// The template to put back.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LastGood {
    /// Nothing is to be put back.
    NotAsked,
    /// Its revision is not there any more.
    Gone,
    /// This one, of the revision of this name.
    Found(String, Value),
}

/// What becomes of the pod, and what for.
pub(super) struct Plan {
    /// The relay as it is built: with the image that it has, while another default waits.
    pub(super) relay: ValidRelay,
    /// Its objects.
    children: Children,
    template: Template,
    /// Digest of the template that the spec asks for.
    digest: String,
    replaces: bool,
    /// ConfigMaps that a template or a pod refers to, beside that of the wanted one.
    pub(super) config_maps: Vec<String>,
    /// How it stands.
    status: Option<UpdateStatus>,
}

/// Looks for the template that is to be put back, where one is.
///
/// # Errors
///
/// When the API server does not answer.
pub(super) async fn last_good(
    context: &Context,
    relay: &Relay,
    stateful_set: Option<&StatefulSet>,
) -> Result<LastGood, Error> {
    let told = relay.status.as_ref().and_then(|status| status.update.as_ref());
    let told = told.filter(|told| told.failed.is_some() && told.phase != UpdatePhase::Failed);
    let (Some(name), Some(set)) = (told.and_then(|told| told.last_good.as_deref()), stateful_set) else {
        return Ok(LastGood::NotAsked);
    };
    if seen::mark(set).map(String::as_str) == Some(name) {
        return Ok(LastGood::NotAsked);
    }
    let namespace = relay.namespace().unwrap_or_default();
    let revisions = Api::<ControllerRevision>::namespaced(context.client.clone(), &namespace);
    let found = revisions
        .get_opt(name)
        .await
        .map_err(|source| Error::Read { what: format!("ControllerRevision {name}"), source })?;
    let template = found.and_then(|found| seen::template(&found, set));
    Ok(template.map_or(LastGood::Gone, |template| LastGood::Found(name.to_owned(), template)))
}

/// Decides for `relay`, as it is when it is valid, and has `limits`.
///
/// # Errors
///
/// When the objects cannot be built, which no valid relay causes.
pub(super) fn plan(
    relay: &Relay,
    valid: &ValidRelay,
    world: &World,
    limits: &Limits,
    now: Timestamp,
) -> Result<Plan, Error> {
    let told = relay.status.as_ref().and_then(|status| status.update.as_ref());
    let config_maps = seen::config_maps(world, told);
    let wanted = digest(valid)?;
    let has_failed = told.is_some_and(|told| told.failed.as_ref() == Some(&wanted));
    let held = if has_failed { None } else { held(relay, valid, world, limits, now)? };
    let waits = held.as_ref().map(|_| valid.image.reference.clone());
    let (valid, digest) = match held {
        Some(held) => {
            let digest = digest(&held)?;
            (held, digest)
        }
        None => (valid.clone(), wanted),
    };
    let children = resize::children(&valid, world, limits)?;
    let wanted = seen::Wanted { digest: digest.clone(), is_there: is_there(world, &children)?, waits };
    let decision = match valid.paused {
        true => None,
        false => Some(decide::decide(told, &seen::seen(relay, &valid, world, wanted, now), now)),
    };
    let (template, replaces, status) = match decision {
        Some(Decision { template, replaces, status }) => (template, replaces, Some(status)),
        None => (Template::AsFound, false, told.cloned()),
    };
    Ok(Plan { relay: valid, children, template, digest, replaces, config_maps, status })
}

/// Whether the StatefulSet's template says all that the one of `children` does.
fn is_there(world: &World, children: &Children) -> Result<bool, Error> {
    let template = |set: &StatefulSet| serde_json::to_value(set.spec.as_ref().map(|spec| &spec.template));
    let live = world.stateful_set.as_deref().map(template).transpose()?;
    let wanted = template(&children.stateful_set)?;
    Ok(live.is_some_and(|live| covers(&live, &wanted)))
}

/// The relay with the image that it has, when nothing but the operator's default image has changed and has to wait.
fn held(
    relay: &Relay,
    valid: &ValidRelay,
    world: &World,
    limits: &Limits,
    now: Timestamp,
) -> Result<Option<ValidRelay>, Error> {
    let is_open = valid.window.is_none_or(|window| window.contains(now));
    let live = world.stateful_set.as_ref().and_then(|set| seen::image(&set.spec.as_ref()?.template));
    let Some(image) = live.filter(|image| **image != valid.image.reference) else { return Ok(None) };
    let before = relay.status.as_ref();
    let waited = before.and_then(|before| before.update.as_ref()).map(|told| told.phase);
    let is_edited = before.is_none_or(|before| before.observed_generation != relay.metadata.generation);
    // Who takes the image out of the spec wants the default now; who changes something else does not.
    if is_open || relay.spec.image.repository.is_some() || is_edited && waited != Some(UpdatePhase::WaitingForWindow) {
        return Ok(None);
    }
    let mut held = valid.clone();
    held.image.reference.clone_from(image);
    let is_all = is_there(world, &resize::children(&held, world, limits)?)?;
    Ok(is_all.then_some(held))
}

/// Digest of the template of `relay` as its spec has it. Where memory comes and goes without another template, it is none of it.
fn digest(relay: &ValidRelay) -> Result<String, Error> {
    let limit = match relay.memory.resize {
        MemoryResize::Never => relay.memory.limit,
        MemoryResize::InPlace => ByteSize(0),
    };
    let set = build::build(relay, relay.memory.at(limit))?.stateful_set;
    Ok(build::digest(&serde_json::to_vec(&set.spec.map(|spec| spec.template))?))
}

impl Plan {
    /// The objects of the relay, with the template that is decided on; `live` is the StatefulSet as it is.
    pub(super) fn children(&self, live: Option<&StatefulSet>) -> Children {
        let mut children = self.children.clone();
        let set = &mut children.stateful_set;
        let mark = match self.template {
            Template::Wanted => Some(&self.digest),
            Template::AsFound | Template::LastGood => {
                let found = live.and_then(|live| Some(live.spec.as_ref()?.template.clone()));
                if let (Some(found), Some(spec)) = (found, &mut set.spec) {
                    spec.template = found;
                    // It has a file of its own, which is kept.
                    children.config_map = None;
                }
                live.and_then(seen::mark)
            }
        };
        set.annotations_mut().extend(mark.map(|mark| (TEMPLATE.to_owned(), mark.clone())));
        children
    }

    /// Puts back the last good template where that is decided: as a whole, with what others have added to the one that
    /// failed, which no apply takes away. Answers the StatefulSet as it is then.
    ///
    /// # Errors
    ///
    /// When the API server refuses it.
    pub(super) async fn put_back(&self, context: &Context, world: &World) -> Result<Option<Arc<StatefulSet>>, Error> {
        let (Template::LastGood, LastGood::Found(revision, template)) = (self.template, &world.last_good) else {
            return Ok(world.stateful_set.clone());
        };
        let patch = json!([
            {"op": "add", "path": format!("/metadata/annotations/{}", TEMPLATE.replace('/', "~1")), "value": revision},
            {"op": "replace", "path": "/spec/template", "value": template},
        ]);
        let patch = serde_json::from_value(patch)?;
        let name = stateful_set(&self.relay.name);
        let sets = Api::<StatefulSet>::namespaced(context.client.clone(), &self.relay.namespace);
        let params = PatchParams { field_manager: Some(OPERATOR.into()), ..PatchParams::default() };
        let patched = sets.patch(&name, &params, &Patch::Json::<()>(patch)).await;
        context.metrics.wrote("StatefulSet", "patch");
        let patched = patched.map_err(|source| Error::Apply { what: format!("StatefulSet {name}"), source })?;
        tracing::info!(namespace = self.relay.namespace, relay = self.relay.name, revision, "template put back");
        Ok(Some(Arc::new(patched)))
    }

    /// Lets the pod go where that is decided. Answers what is to be said of the update: what the API server refuses now is
    /// tried again.
    pub(super) async fn act(self, context: &Context, world: &World) -> Option<UpdateStatus> {
        let Self { relay, replaces, mut status, .. } = self;
        if let Some(told) = status.as_mut().filter(|_| replaces) {
            let uid = told.pod_uid.as_deref().unwrap_or_default();
            let refused = let_go(context, &relay, world, uid).await.err();
            let message = refused.map(|error| quote(&api_message(&error)));
            tracing::info!(namespace = relay.namespace, relay = relay.name, uid, refused = message, "pod told to go");
            told.refused = message.map(|message| RefusalStatus { at: Time(Timestamp::now()), message });
        }
        status
    }
}

/// Evicts the pod, or deletes it where that is refused and the pod does not work anyway.
async fn let_go(context: &Context, relay: &ValidRelay, world: &World, uid: &str) -> kube::Result<()> {
    let name = pod(&relay.name);
    let is_ready = world.pod.as_deref().is_some_and(seen::is_ready);
    let gone = match evict::evict(context, relay, &name, uid).await {
        // By its budget, or because it has two.
        Err(kube::Error::Api(refused)) if matches!(refused.code, 429 | 500) && !is_ready => {
            evict::delete(context, relay, &name, uid).await
        }
        gone => gone,
    };
    match gone {
        // It has gone already.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        gone => gone,
    }
}
