//! Notes: what a step has made of a part's row, written into the directory in one batch with the step's edits.
//!
//! The row in SQL follows. A kill between the two leaves a note that is ahead of the row, and the next start brings the
//! row up to it: so every step counts once.

use serde::{Deserialize, Serialize};

use crate::collections::{self, Directory, Edit, Note, Tally};
use crate::decisions::{self, Decisions, JobRow, PartRow, Retry};

/// What a step has made of its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Move {
    /// Which job: one that is made again under the same name, or in another database, is another one.
    created_at_ms: i64,
    run: u64,
    /// The row after the step.
    pub(super) row: PartRow,
    /// Accounts that are to be asked again.
    again: Vec<Retry>,
    /// Accounts that need not be asked again any more.
    settled: Vec<String>,
}

/// The directory or the database cannot be written or read, mostly since the disk is full.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database.
    #[error(transparent)]
    Decisions(#[from] decisions::Error),
    /// The directory.
    #[error(transparent)]
    Directory(#[from] collections::Error),
    /// A write did not come to its end.
    #[error("a write to the directory broke off: {0}")]
    BrokeOff(#[from] tokio::task::JoinError),
}

impl Move {
    /// A move of a part of this job.
    pub(super) fn new(job: &JobRow, row: PartRow) -> Move {
        Move { created_at_ms: job.created_at_ms, run: job.run, row, again: Vec::new(), settled: Vec::new() }
    }

    /// With accounts that are to be asked again, and those that need not be any more.
    pub(super) fn with_retries(self, again: Vec<Retry>, settled: Vec<String>) -> Move {
        Move { again, settled, ..self }
    }

    /// Makes the edits and notes the move, with what they have changed counted in it.
    pub(super) async fn apply(
        mut self,
        directory: &Directory,
        job: &str,
        edits: Vec<Edit>,
    ) -> Result<(Move, Tally), StorageError> {
        let (directory, name) = (directory.clone(), name(job, &self.row.key));
        let write = move || {
            let tally = directory.apply(&edits, |tally| {
                self.row.added += tally.added;
                self.row.removed += tally.removed + tally.hidden;
                Some(Note { name, value: serde_json::to_vec(&self).ok() })
            })?;
            Ok((self, tally))
        };
        tokio::task::spawn_blocking(write).await?
    }

    /// Copies the move to the database; the answer is the row as it stands there.
    pub(super) async fn store(self, decisions: &Decisions, job: &str) -> Result<PartRow, decisions::Error> {
        let mut row = self.row;
        row.retrying = decisions.move_backfill_part(job, &row, &self.again, &self.settled).await?;
        Ok(row)
    }
}

/// Brings a part's row up to its note.
pub(super) async fn roll_forward(
    decisions: &Decisions,
    directory: &Directory,
    job: &JobRow,
    row: PartRow,
) -> Result<PartRow, StorageError> {
    // What another version of the relay has noted and this one does not read is done again.
    let note = directory.note(&name(&job.name, &row.key))?.and_then(|note| serde_json::from_slice::<Move>(&note).ok());
    let is_ahead =
        |note: &Move| note.created_at_ms == job.created_at_ms && note.run == job.run && note.row.moves > row.moves;
    let Some(mut note) = note.filter(is_ahead) else { return Ok(row) };
    // It may have been planned again meanwhile.
    (note.row.provider, note.row.expected) = (row.provider, row.expected);
    Ok(note.store(decisions, &job.name).await?)
}

/// Forgets the note of a part.
pub(super) async fn forget(directory: &Directory, job: &str, key: &str) -> Result<(), StorageError> {
    let (directory, name) = (directory.clone(), name(job, key));
    let write = move || {
        if directory.note(&name)?.is_some() {
            directory.apply(&[], |_| Some(Note { name, value: None }))?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(write).await?
}

/// The name of a job has no slash in it.
fn name(job: &str, key: &str) -> String {
    format!("backfill/{job}/{key}")
}
