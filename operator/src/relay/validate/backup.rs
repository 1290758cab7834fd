//! Snapshots.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Invalid, check, duration};
use crate::api::{BackupSpec, patterns};

/// Snapshots that are kept.
const KEEP: RangeInclusive<i32> = 1..=100;
/// Shortest time between two snapshots: each costs the storage something.
const EVERY_MIN: Duration = Duration::from_secs(3600);

/// When the volume is copied, and how often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backup {
    /// The spec says something of it.
    pub is_wanted: bool,
    /// Time from one snapshot to the next; none is made by itself where this is none.
    pub every: Option<Duration>,
    /// How many of those are kept.
    pub keep: usize,
    /// VolumeSnapshotClass, where not the cluster's default.
    pub class: Option<String>,
}

pub(super) fn backup(spec: Option<&BackupSpec>) -> Result<Backup, Invalid> {
    let is_wanted = spec.is_some();
    let spec = spec.cloned().unwrap_or_default();
    let every = match &spec.every {
        Some(every) => {
            check("spec.backup.every", every, patterns::DURATION)?;
            Some(duration(every))
        }
        None => None,
    };
    if every.is_some_and(|every| every < EVERY_MIN) {
        return Err(Invalid::Spec("spec.backup.every must be at least 1h".into()));
    }
    if !KEEP.contains(&spec.keep) {
        return Err(Invalid::Spec(format!("spec.backup.keep is {}; it must be between 1 and 100", spec.keep)));
    }
    if let Some(class) = &spec.snapshot_class_name {
        check("spec.backup.snapshotClassName", class, patterns::OBJECT_NAME)?;
    }
    let keep = usize::try_from(spec.keep).unwrap_or_default();
    Ok(Backup { is_wanted, every, keep, class: spec.snapshot_class_name })
}
