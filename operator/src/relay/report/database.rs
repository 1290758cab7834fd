//! What is reported of the database of decisions. Pure.

use kube::core::DynamicObject;

use super::conditions::{Finding, Verdict, quote};
use crate::api::DatabaseKind;
use crate::relay::Error;
use crate::relay::apply::{Applied, Refused};
use crate::relay::optional::OptionalKind;
use crate::relay::validate::{CHANGE_DATABASE, ValidRelay, allowed_change};

/// The database is there.
pub(super) const DATABASE_READY: &str = "DatabaseReady";

/// Whether the database of `relay` is there.
pub(super) fn finding(relay: &ValidRelay, applied: &Result<Applied, Error>) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(DATABASE_READY, verdict, reason, quote(message));
    let database = &relay.database;
    if let Some(has) = database.held_at {
        let change = allowed_change(has, database.kind);
        let message = format!(
            "The decisions of this relay (hosts, limits, bans, takedowns) are in its {} database, and spec.database names another, {}, in which they would be missing. The pod stays as it is. Copy them with relay decisions copy, then annotate the Relay with {CHANGE_DATABASE}={change}; or put the old spec.database back.",
            has.name(),
            database.kind.name(),
        );
        return found(Verdict::Bad, "DatabaseChangeRefused", &message);
    }
    match database.kind {
        DatabaseKind::Embedded => found(Verdict::Good, "Embedded", "The database is a file on the volume."),
        DatabaseKind::External => found(Verdict::Good, "SecretFound", "The Secret has the URL of the database."),
        DatabaseKind::CloudNativePG => cluster(relay, applied),
    }
}

fn cluster(relay: &ValidRelay, applied: &Result<Applied, Error>) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(DATABASE_READY, verdict, reason, quote(message));
    let Ok(applied) = applied else {
        return found(Verdict::Unknown, "NotApplied", "Another object of the relay could not be applied.");
    };
    let result = applied.optional.iter().find(|(kind, _)| *kind == OptionalKind::PostgresCluster);
    match result.map(|(_, result)| result) {
        Some(Err(refused @ Refused::NotInstalled(_))) => found(Verdict::Bad, "CRDNotInstalled", &refused.to_string()),
        Some(Err(Refused::Failed(error))) => found(Verdict::Bad, error.reason(), &error.to_string()),
        Some(Ok(object)) => of_object(relay, object),
        // A Relay that is paused applies nothing.
        None if relay.database.is_awaited() => {
            found(Verdict::Waiting, "ClusterNotReady", "The database is not there yet.")
        }
        None => found(Verdict::Good, "SecretFound", "The Secret has the URL of the database."),
    }
}

fn of_object(relay: &ValidRelay, object: &DynamicObject) -> Finding {
    let found = |verdict, reason, message: &str| Finding::new(DATABASE_READY, verdict, reason, quote(message));
    let status = &object.data["status"];
    let ready = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
    let said = ready.and_then(|ready| ready["message"].as_str()).or(status["phase"].as_str()).unwrap_or("nothing yet");
    if relay.database.is_awaited() {
        let message = format!("CloudNativePG makes the database; the pod waits for it. It says: {said}");
        found(Verdict::Waiting, "ClusterNotReady", &message)
    } else if is_ready {
        found(Verdict::Good, "ClusterReady", "The database that CloudNativePG has made is ready.")
    } else {
        found(Verdict::Bad, "ClusterNotReady", &format!("The database is not ready; CloudNativePG says: {said}"))
    }
}
