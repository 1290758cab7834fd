//! The controller of `Relay` objects. A reconcile is five steps, top to bottom in [`reconcile`]:
//! [read](read), [validate](validate), [build](build), [apply](apply), [report](report). Only `read` looks at the world,
//! only `apply` and `report` change it, the rest is pure.

mod apply;
mod backup;
mod bans;
mod build;
mod byte_size;
mod cache;
mod controller;
mod endings;
mod evict;
#[cfg(test)]
mod fixtures;
mod foreign;
mod jobs;
mod names;
mod optional;
mod read;
mod report;
mod resize;
mod secrets;
mod update;
mod validate;
mod volume;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Client, ResourceExt};
use tokio::sync::OnceCell;
use tracing::Instrument;

pub use build::admin_port;
pub use byte_size::ByteSize;
pub use cache::{Cache, GonePods};
pub use controller::{Options, run, wait_for_crd};
pub use foreign::Histories;
pub use names::{OPERATOR, pod as pod_name};
pub use optional::{OptionalKind, OptionalKinds};
pub use read::admin_reference;
pub use secrets::Secrets;

use crate::api::Relay;
use crate::metrics::Metrics;
use crate::relay_admin::Client as AdminClient;
use apply::Applied;
use read::World;
use update::Plan;

/// How often the status document of a relay that is ready is read. It is the age of the oldest bad news.
const OBSERVE_EVERY: Duration = Duration::from_secs(15);
/// The same for a relay that is not ready yet, so that good news are young, and for one whose memory is short, so that it
/// has more in time.
const OBSERVE_RESTLESS_EVERY: Duration = Duration::from_secs(5);
/// How long after an error a relay is looked at again; the API server gets no more than 2 tries a minute.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What every reconcile shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The same, for what may be refused for now: the other tries again by itself, for minutes.
    pub once: Client,
    /// The operator's objects, as last seen by their watches.
    pub cache: Cache,
    /// Asks relays.
    pub admin: AdminClient,
    /// Publishes Events.
    pub recorder: Recorder,
    /// Image of relays whose spec names none.
    pub default_image: String,
    /// The operator's metrics.
    pub metrics: Metrics,
    /// What relays of other projects have been like.
    pub histories: Histories,
    /// Values of Secrets that were read.
    pub secrets: Secrets,
    /// Whether the API server can resize pods, once it has been asked.
    pub can_resize: OnceCell<bool>,
}

/// Why a reconcile did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is not a Relay of this version.
    #[error("the Relay cannot be read: {0}")]
    Undecodable(String),
    /// The watches have not seen every object yet.
    #[error("the watches have not seen every object yet; the log says which of them fails")]
    CacheNotFilled,
    /// An object could not be read.
    #[error("{what} cannot be read: {}", api_message(source))]
    Read {
        /// Kind and name.
        what: String,
        /// What the client says.
        source: kube::Error,
    },
    /// An object could not be written.
    #[error("{what} cannot be applied: {}", api_message(source))]
    Apply {
        /// Kind and name.
        what: String,
        /// What the client says.
        source: kube::Error,
    },
    /// An object has the name of a child, but belongs to someone else.
    #[error("{what} exists and does not belong to this Relay; delete it, or give the Relay another name")]
    Foreign {
        /// Kind and name.
        what: String,
    },
    /// The status could not be written.
    #[error("the status cannot be written: {}", api_message(.0))]
    Report(kube::Error),
    /// An object could not be serialized.
    #[error("an object cannot be serialized: {0}")]
    Serialize(#[from] serde_json::Error),
    /// The configuration could not be written as TOML.
    #[error("the configuration cannot be written: {0}")]
    Config(#[from] toml::ser::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers for an admin token")]
    Random,
}

impl Error {
    /// The reason of [`Error::Undecodable`].
    const UNDECODABLE: &str = "Undecodable";

    /// A label for metrics and conditions, one of a few.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Undecodable(_) => Self::UNDECODABLE,
            Self::CacheNotFilled => "CacheNotFilled",
            Self::Read { .. } => "ReadFailed",
            Self::Apply { .. } => "ApplyFailed",
            Self::Foreign { .. } => "NameTaken",
            Self::Report(_) => "ReportFailed",
            Self::Serialize(_) | Self::Config(_) | Self::Random => "Internal",
        }
    }
}

/// What the API server says, without the client's wrapping of it.
fn api_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Brings the cluster to what one Relay asks for, and its status to what is.
///
/// # Errors
///
/// See [`Error`]; the controller tries again.
pub async fn reconcile(relay: Arc<DeserializeGuard<Relay>>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let _running = context.metrics.begin();
    // Whatever is logged on the way says whose it is.
    let span = tracing::info_span!("reconcile", namespace = relay.namespace(), relay = relay.name_any());
    let result = match &relay.0 {
        Ok(relay) => steps(relay, &context).instrument(span).await,
        Err(invalid) => report::undecodable(&context, invalid).await.and(Err(Error::Undecodable(invalid.to_string()))),
    };
    let error = result.as_ref().err().map(Error::reason);
    context.metrics.reconciled(started.elapsed(), error);
    result
}

async fn steps(relay: &Relay, context: &Context) -> Result<Action, Error> {
    if relay.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // children follow by their owner references
    }
    let world = read::read(context, relay).await?;
    let valid = match validate::validate(relay, &world, &context.default_image) {
        Ok(valid) => valid,
        Err(invalid) => {
            report::invalid(context, relay, &world, &invalid).await?;
            return Ok(if invalid.is_final() { Action::await_change() } else { Action::requeue(RETRY_AFTER) });
        }
    };
    let now = Timestamp::now();
    let limits = resize::decide(relay, &valid, &world, now);
    let plan = update::plan(relay, &valid, &world, &limits, now)?;
    let valid = plan.relay.clone();
    let applied = match valid.paused {
        true => Ok(Applied::as_found(context, &valid, &world, &plan.children(world.stateful_set.as_deref()))),
        false => apply_plan(context, &world, &plan).await,
    };
    let resize = resize::apply(context, &valid, limits).await;
    let volume = volume::act(context, relay, &valid, &world).await;
    let backup = backup::act(context, relay, &valid, &world).await;
    let jobs = jobs::apply(context, &valid, &world, build::jobs(&valid)).await;
    let banned = relay.status.as_ref().map(|status| &*status.banned_domains).unwrap_or_default();
    let bans = bans::apply(context, &valid, &world, banned).await;
    let evicted = foreign::act(context, relay, &valid, &world).await;
    let update = plan.act(context, &world).await;
    let done = report::Done { resize, evicted, update, jobs, bans, volume, backup };
    let is_calm = report::report(context, relay, &valid, &world, &applied, done).await?;
    // Where there is nobody to ask, the watches tell what changes.
    let is_asked = world.door.is_some() || world.foreign.is_some();
    applied.map(|_| Action::requeue(if is_calm || !is_asked { OBSERVE_EVERY } else { OBSERVE_RESTLESS_EVERY }))
}

async fn apply_plan(context: &Context, world: &World, plan: &Plan) -> Result<Applied, Error> {
    let live = plan.put_back(context, world).await?;
    apply::apply(context, &plan.relay, plan.children(live.as_deref()), &plan.config_maps).await
}
