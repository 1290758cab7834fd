//! What is reported of the database of decisions. Pure.

use super::conditions::{Finding, Verdict, quote};
use super::optional::{object, refused, said};
use crate::api::DatabaseKind;
use crate::relay::Error;
use crate::relay::apply::Applied;
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
    if let Some(refused) = refused(DATABASE_READY, applied, &[OptionalKind::PostgresCluster]) {
        return refused;
    }
    let Some(object) = object(applied, OptionalKind::PostgresCluster) else {
        return found(Verdict::Waiting, "ClusterNotReady", "The database is not there yet.");
    };
    let status = &object.data["status"];
    let ready = said(&status["conditions"], "Ready", object.metadata.generation);
    let why = ready.as_ref().map(|ready| ready.why).or(status["phase"].as_str()).unwrap_or("nothing yet");
    if relay.database.is_awaited() {
        let message = format!("CloudNativePG makes the database; the pod waits for it. It says: {why}");
        found(Verdict::Waiting, "ClusterNotReady", &message)
    } else if ready.as_ref().is_some_and(|ready| ready.is_true) {
        found(Verdict::Good, "ClusterReady", "The database that CloudNativePG has made is ready.")
    } else {
        found(Verdict::Bad, "ClusterNotReady", &format!("The database is not ready; CloudNativePG says: {why}"))
    }
}
