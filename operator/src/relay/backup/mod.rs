//! VolumeSnapshots of the relay's volume: [`decide`] says which are to be made and which are to go, [`act`] does it. They have no
//! owner, and so outlive the Relay.
//!
//! A snapshot is what the disk has at that moment, as after a loss of power. That is enough: the log is the truth, its end is
//! checked at a start, and the rest follows it.

mod decide;

use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};

use super::names::OPERATOR;
use super::optional::OptionalKind;
use super::read::World;
use super::report::quote;
use super::validate::ValidRelay;
use super::{Context, api_message};
use crate::api::Relay;
pub(super) use decide::Snapshot;
use decide::{Plan, decide};

/// Annotation of a Relay with the name of a snapshot that somebody wants.
pub(super) const REQUEST: &str = "relay.waow.tech/snapshot";

/// What is to be said of the snapshots.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Those that there are, the newest first; `None` where the cluster knows no snapshots.
    pub(super) snapshots: Option<Vec<Snapshot>>,
    /// Somebody asks for snapshots, by the spec or by the annotation.
    pub(super) is_asked: bool,
    /// The last one that was asked for by the annotation, and is dealt with.
    pub(super) requested: Option<String>,
    /// What went wrong.
    pub(super) trouble: Option<String>,
}

/// Makes and deletes the snapshots of `valid`.
pub(super) async fn act(context: &Context, relay: &Relay, valid: &ValidRelay, world: &World) -> Done {
    let told = relay.status.as_ref().and_then(|status| status.backup.as_ref()?.requested.clone());
    let asked = relay.annotations().get(REQUEST).map(String::as_str);
    let mut done = Done {
        snapshots: world.snapshots.as_ref().map(|objects| Snapshot::all(objects)),
        is_asked: valid.backup.is_wanted || asked.is_some(),
        requested: told,
        trouble: None,
    };
    let Some(snapshots) = &done.snapshots else { return done };
    let asked = asked.filter(|asked| done.requested.as_deref() != Some(*asked));
    let Plan { make, delete, refused } = decide(valid, world.claim.as_deref(), asked, snapshots, Timestamp::now());
    done.trouble = refused;
    let resource = OptionalKind::VolumeSnapshot.resource();
    let api = Api::<DynamicObject>::namespaced_with(context.client.clone(), &valid.namespace, &resource);
    for wanted in make {
        let params = PostParams { field_manager: Some(OPERATOR.into()), ..PostParams::default() };
        let made = api.create(&params, &decide::object(valid, &wanted)).await;
        context.metrics.wrote("VolumeSnapshot", "create");
        match made {
            // Made a moment ago; or it is somebody else's.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                if wanted.request.is_some() && !snapshots.iter().any(|snapshot| snapshot.name == wanted.name) {
                    done.trouble = Some(format!(
                        "there is a VolumeSnapshot {} already; give another name in the annotation {REQUEST}",
                        wanted.name
                    ));
                    continue;
                }
            }
            Err(error) => {
                done.trouble = Some(quote(&api_message(&error)));
                continue;
            }
            Ok(_) => {
                tracing::info!(
                    namespace = valid.namespace,
                    relay = valid.name,
                    snapshot = wanted.name,
                    "snapshot asked for"
                );
            }
        }
        done.requested = wanted.request.or(done.requested);
    }
    for old in delete {
        let this_one = Preconditions { uid: Some(old.uid), ..Preconditions::default() };
        let deleted = api.delete(&old.name, &DeleteParams::background().preconditions(this_one)).await;
        context.metrics.wrote("VolumeSnapshot", "delete");
        match deleted {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => done.trouble = Some(quote(&api_message(&error))),
            Ok(_) => {
                tracing::info!(
                    namespace = valid.namespace,
                    relay = valid.name,
                    snapshot = old.name,
                    "old snapshot deleted"
                );
            }
        }
    }
    done
}
