//! What is reported of snapshots. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Finding, Verdict, quote};
use crate::api::{BackupStatus, SnapshotStatus};
use crate::relay::backup::Done;
use crate::relay::optional::OptionalKind;

/// The newest snapshot can be restored.
pub(super) const BACKUP_READY: &str = "BackupReady";
/// Snapshots in the status.
const SHOWN_MAX: usize = 10;

/// The snapshots; `None` where there are none and nobody has asked for one.
pub(super) fn status(done: &Done) -> Option<BackupStatus> {
    let shown = done.snapshots.iter().flatten().take(SHOWN_MAX).map(|snapshot| SnapshotStatus {
        name: snapshot.name.clone(),
        at: Time(snapshot.at),
        ready: snapshot.is_ready,
        error: snapshot.error.as_deref().map(quote),
    });
    let status = BackupStatus { requested: done.requested.clone(), snapshots: shown.collect() };
    (status != BackupStatus::default()).then_some(status)
}

/// Whether the newest snapshot can be restored; `None` where nobody asks for snapshots.
pub(super) fn finding(done: &Done) -> Option<Finding> {
    let found = |verdict, reason, message: &str| Some(Finding::new(BACKUP_READY, verdict, reason, quote(message)));
    if !done.is_asked {
        return None;
    }
    let Some(snapshots) = &done.snapshots else {
        let message = format!(
            "The cluster does not know {}; install the CSI snapshotter, or take spec.backup away.",
            OptionalKind::VolumeSnapshot.definition()
        );
        return found(Verdict::Bad, "CRDNotInstalled", &message);
    };
    if let Some(trouble) = &done.trouble {
        return found(Verdict::Bad, "SnapshotRefused", trouble);
    }
    match snapshots.first() {
        None => found(Verdict::Waiting, "NoSnapshot", "There is no snapshot yet."),
        Some(newest) if newest.is_ready => {
            found(Verdict::Good, "SnapshotReady", &format!("The snapshot {} can be restored.", newest.name))
        }
        Some(newest) => match &newest.error {
            Some(error) => {
                found(Verdict::Bad, "SnapshotFailed", &format!("The snapshot {} is not made: {error}", newest.name))
            }
            None => found(Verdict::Waiting, "SnapshotPending", &format!("The snapshot {} is being made.", newest.name)),
        },
    }
}
