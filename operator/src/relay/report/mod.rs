//! Step 5, report: from what was seen to the Relay's status, and to Events when it turns.
//!
//! Conditions are written when they change. Figures change all the time: they are written when they have
//! changed noticeably, and then at most every [`FIGURES_EVERY`]; what has only moved on, every [`DRIFT_EVERY`].

mod backfill;
mod backup;
mod bans;
mod conditions;
mod database;
mod exposed;
mod figures;
mod foreign;
mod memory;
mod monitored;
mod optional;
mod schema;
mod storage;
mod undecodable;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

pub(super) use self::conditions::{Finding, UPDATED, Verdict, quote};
pub(super) use self::undecodable::undecodable;

use super::apply::Applied;
use super::bans::Bans;
use super::endings::{self, New, Observed};
use super::jobs::Jobs;
use super::names::OPERATOR;
use super::read::World;
use super::validate::{Invalid, ValidRelay};
use super::{Context, Error, backup as backups, resize, update, volume};
use crate::api::{Relay, RelayStatus, ResizeState, ResizeStatus, RestartCause, UpdatePhase, UpdateStatus};

/// Shortest time between two writes that refresh figures only.
const FIGURES_EVERY: Duration = Duration::from_secs(30);
/// The same for figures in which nobody would notice the difference: a relay at work counts on, and that alone is not worth
/// a hundred writes an hour.
const DRIFT_EVERY: Duration = Duration::from_secs(5 * 60);

/// What came of the steps after apply.
pub(super) struct Done {
    /// Of a new memory limit.
    pub(super) resize: Option<ResizeStatus>,
    /// The uid of the pod that goes because the operator has evicted it.
    pub(super) evicted: Option<String>,
    /// Of a new template.
    pub(super) update: Option<UpdateStatus>,
    /// Of the backfill jobs.
    pub(super) jobs: Jobs,
    /// Of the domains that the spec bans.
    pub(super) bans: Bans,
    /// Of the volume.
    pub(super) volume: volume::Done,
    /// Of snapshots of it.
    pub(super) backup: backups::Done,
}

/// Reports a Relay that could be built, and says whether it is calm: ready, and its memory is not short.
pub(super) async fn report(
    context: &Context,
    relay: &Relay,
    valid: &ValidRelay,
    world: &World,
    applied: &Result<Applied, Error>,
    mut done: Done,
) -> Result<bool, Error> {
    let volume_events = std::mem::take(&mut done.volume.events);
    let Done { resize, evicted, update, jobs, bans, volume, backup: snapshots } = &done;
    let now = Timestamp::now();
    let before = relay.status.as_ref();
    let told = before.and_then(|before| before.backfill.as_ref());
    let resize_told = before.and_then(|before| before.resize.as_ref());
    let update_told = before.and_then(|before| before.update.as_ref());
    let mut ends = ends(before, world, now);
    if let (Some(evicted), Some(counted)) = (evicted, &mut ends.status.counted)
        && counted.pod_uid == *evicted
    {
        counted.leaving = Some(RestartCause::PlannedRestart);
    }
    if let Some(counted) = &mut ends.status.counted
        && update.as_ref().is_some_and(|update| tells_to_go(update, &counted.pod_uid))
    {
        counted.leaving = Some(RestartCause::Stopped);
    }
    let mut events: Vec<Event> = ends.new.iter().map(memory::event).collect();
    events.extend(resize::events(resize_told, resize.as_ref()));
    events.extend(update::events(update_told, update.as_ref()));
    events.extend(backfill::events(told, jobs));
    let claim = world.claim.as_deref();
    let created = relay.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let stored = storage::status(claim, volume, created);
    events.extend(storage::events(before.and_then(|before| before.storage.as_ref()), stored.as_ref()));
    let mut status = RelayStatus {
        endpoint: applied.as_ref().ok().and_then(|applied| exposed::endpoint(valid, applied)),
        backfill: backfill::status(told, jobs),
        banned_domains: bans.ours.clone(),
        resize: resize.clone(),
        storage: stored,
        database: Some(valid.database.held_at.unwrap_or(valid.database.kind)),
        backup: backup::status(snapshots),
        update: update.clone(),
        restarts: Some(ends.status),
        ..RelayStatus::default()
    };
    if let Some(seen) = &world.foreign {
        foreign::fill(&mut status, seen, valid, world.pod.as_deref(), before, now);
    }
    if let Some(Ok(document)) = &world.document {
        figures::fill(&mut status, document, before, now);
    }
    let memory = memory::finding(valid, &status, now);
    let of_this_generation = before.filter(|before| before.observed_generation == relay.metadata.generation);
    let backfill = backfill::finding(of_this_generation.map_or(&[], |before| &before.conditions), jobs);
    let is_short = status.memory.as_ref().is_some_and(|memory| memory.pressure_since.is_some());
    let is_moving = status.resize.as_ref().is_some_and(|resize| resize.state == ResizeState::InProgress);
    let is_updating = !valid.paused && update.as_ref().is_some_and(|update| update.phase.is_moving());
    let database = database::finding(valid, applied);
    let mut others = vec![
        memory,
        update::finding(update.as_ref()),
        backfill,
        exposed::finding(valid, world, applied),
        monitored::finding(valid, applied),
        storage::finding(valid, claim, volume),
        database.clone(),
    ];
    others.extend(backup::finding(snapshots));
    others.extend(bans::finding(valid, bans));
    let mut findings = conditions::findings(valid, world, applied, others);
    if valid.database.is_awaited() {
        // Everything else waits for it.
        findings.retain(|finding| finding.type_ != conditions::READY);
        findings.insert(0, Finding { type_: conditions::READY, ..database });
    }
    let ready = findings.iter().any(|finding| finding.type_ == conditions::READY && finding.verdict == Verdict::Good);
    publish(context, relay, status, &findings, News { ends: ends.new, events }, now).await?;
    // What was done is told whether or not it shows in the status by now.
    for event in volume_events {
        tell(&Recorder::new(context.client.clone(), OPERATOR.into()), relay, &event).await;
    }
    Ok(ready && !is_short && !is_moving && !is_updating)
}

/// Whether the operator lets this very pod go.
fn tells_to_go(update: &UpdateStatus, pod_uid: &str) -> bool {
    let is_at_it = matches!(update.phase, UpdatePhase::Evicting | UpdatePhase::RollingBack);
    is_at_it && update.pod_uid.as_deref() == Some(pod_uid)
}

/// Reports a Relay that cannot be built. What runs goes on running, but is not looked at, except for when it ends.
pub(super) async fn invalid(context: &Context, relay: &Relay, world: &World, invalid: &Invalid) -> Result<(), Error> {
    let now = Timestamp::now();
    let mut findings = conditions::invalid(relay.spec.paused, invalid);
    for type_ in [storage::STORAGE_READY, database::DATABASE_READY] {
        findings.push(Finding::new(type_, Verdict::Unknown, invalid.reason(), quote(&invalid.to_string())));
    }
    let before = relay.status.as_ref();
    let ends = ends(before, world, now);
    let status = RelayStatus {
        backfill: before.and_then(|before| before.backfill.clone()),
        banned_domains: before.map(|before| before.banned_domains.clone()).unwrap_or_default(),
        resize: before.and_then(|before| before.resize.clone()),
        storage: before.and_then(|before| before.storage.clone()),
        database: before.and_then(|before| before.database),
        backup: before.and_then(|before| before.backup.clone()),
        update: before.and_then(|before| before.update.clone()),
        restarts: Some(ends.status),
        ..RelayStatus::default()
    };
    let events = ends.new.iter().map(memory::event).collect();
    publish(context, relay, status, &findings, News { ends: ends.new, events }, now).await
}

fn ends(before: Option<&RelayStatus>, world: &World, now: Timestamp) -> Observed {
    let before = before.and_then(|before| before.restarts.as_ref());
    endings::observe(before, world.pod.as_deref(), world.gone_pod.as_deref(), now)
}

/// What is new: to be counted, and to be told.
struct News {
    ends: Vec<New>,
    events: Vec<Event>,
}

async fn publish(
    context: &Context,
    relay: &Relay,
    mut status: RelayStatus,
    findings: &[Finding],
    news: News,
    now: Timestamp,
) -> Result<(), Error> {
    let (namespace, name) = (relay.namespace().unwrap_or_default(), relay.name_any());
    let before = relay.status.clone().unwrap_or_default();
    status.observed_generation = relay.metadata.generation;
    status.conditions = conditions::merge(&before.conditions, findings, relay.metadata.generation, now);
    if figures::present(&status) {
        status.observed_at = Some(Time(now));
    }
    if !worth_writing(&before, &status) {
        return Ok(());
    }
    let relays = Api::<Relay>::namespaced(context.client.clone(), &namespace);
    if let Err(error) = write(&relays, &name, &status).await {
        let fields = schema::undeclared(&error);
        if fields.is_empty() {
            return Err(Error::Report(error));
        }
        let findings: Vec<Finding> = findings.iter().cloned().chain([schema::finding(&fields)]).collect();
        status = schema::without(&status, &fields)?;
        status.conditions = conditions::merge(&before.conditions, &findings, relay.metadata.generation, now);
        if !worth_writing(&before, &status) {
            return Ok(());
        }
        write(&relays, &name, &status).await.map_err(Error::Report)?;
    }
    context.metrics.wrote(&Relay::kind(&()), "status");
    for New { count, end } in &news.ends {
        context.metrics.ended(&namespace, &name, end.cause.name(), count.unsigned_abs());
    }
    if let Some(event) = turn(&before, findings) {
        tell(&context.recorder, relay, &event).await;
    }
    for event in news.events {
        // One Recorder for each: a common one counts Events of one reason as the first of them, and would lose what differs.
        tell(&Recorder::new(context.client.clone(), OPERATOR.into()), relay, &event).await;
    }
    Ok(())
}

async fn write(relays: &Api<Relay>, name: &str, status: &RelayStatus) -> kube::Result<()> {
    let patch = json!({
        "apiVersion": Relay::api_version(&()),
        "kind": Relay::kind(&()),
        "status": status,
    });
    relays.patch_status(name, &PatchParams::apply(OPERATOR).force(), &Patch::Apply(&patch)).await.map(drop)
}

/// An Event is a courtesy: the status has the same news.
pub(super) async fn tell(recorder: &Recorder, relay: &Relay, event: &Event) {
    if let Err(error) = recorder.publish(event, &relay.object_ref(&())).await {
        tracing::warn!(%error, relay = %relay.name_any(), "Event not published");
    }
}

fn worth_writing(before: &RelayStatus, after: &RelayStatus) -> bool {
    if figures::without(before) != figures::without(after) || figures::present(before) != figures::present(after) {
        return true;
    }
    let is_older = |time| match (&before.observed_at, &after.observed_at) {
        (Some(before), Some(after)) => {
            after.0.duration_since(before.0) >= SignedDuration::try_from(time).unwrap_or(SignedDuration::ZERO)
        }
        _ => true,
    };
    (is_older(FIGURES_EVERY) && figures::differ(before, after))
        || (is_older(DRIFT_EVERY) && figures::drift(before, after))
}

/// The Event of a Relay whose Ready condition has a new status or reason.
fn turn(before: &RelayStatus, findings: &[Finding]) -> Option<Event> {
    let ready = findings.iter().find(|finding| finding.type_ == conditions::READY)?;
    let same = before
        .conditions
        .iter()
        .any(|old| old.type_ == ready.type_ && old.reason == ready.reason && old.status == ready.status());
    (!same).then(|| Event {
        type_: match ready.verdict {
            Verdict::Bad => EventType::Warning,
            Verdict::Good | Verdict::Waiting | Verdict::Unknown => EventType::Normal,
        },
        reason: ready.reason.to_owned(),
        note: Some(ready.message.clone()),
        action: "Reconcile".into(),
        secondary: None,
    })
}

#[cfg(test)]
mod tests;
