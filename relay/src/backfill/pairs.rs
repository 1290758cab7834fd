//! Pairs of a DID and a collection that are sent to a job, a line each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::jobs::{Entry, Error, Jobs, Shared, begin_run};
use super::life::Change;
use super::moves;
use super::note::{Move, StorageError, roll_forward};
use super::spec::{Kind, Spec, State};
use crate::collections::Edit;
use crate::decisions::{Actor, PartRow, PartState};
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;

/// The only part of such a job.
const PART: &str = "pairs";
/// Pairs in one batch.
const BATCH: usize = 1000;
/// Longest line: a DID and a collection as JSON, with room.
const LINE_BYTES_MAX: usize = 4096;
/// Lines that are told apart in an answer.
const REFUSED_MAX: usize = 100;

/// What became of the pairs that were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// Pairs that could be read.
    pub seen: u64,
    /// Pairs that were new.
    pub added: u64,
    /// Pairs that were known.
    pub known: u64,
    /// Lines that were not taken, the first hundred.
    pub refused: Vec<Refused>,
    /// Pairs that were not taken, these lines among them.
    pub refused_count: u64,
}

/// A line that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub error: String,
}

/// Takes the body of a request as it comes.
pub struct Taking {
    lines: Lines,
    taken: Taken,
    batch: Vec<Edit>,
    batches: mpsc::Sender<Vec<Edit>>,
    task: JoinHandle<Result<Taken, Error>>,
}

impl Jobs {
    /// Begins to take pairs for a job, which is made if there is none. Requests for one job take turns.
    pub async fn take_pairs(&self, name: &str, by: Actor<'_>) -> Result<Taking, Error> {
        let job = match self.get(name) {
            Err(Error::NotFound(_)) => self.put(name, Spec::of_kind(Kind::Pairs), by).await?,
            known => known?,
        };
        if job.spec.kind != Kind::Pairs {
            return Err(Error::Kind(name.to_owned()));
        }
        let (shared, entry) = (Arc::clone(&self.shared), self.shared.entry(name)?);
        let (batches, receiver) = mpsc::channel(1);
        // By itself: a write has to come to its end also when the sender goes away.
        let task = tokio::spawn(async move { take(&shared, &entry, receiver).await });
        Ok(Taking { lines: Lines::default(), taken: Taken::default(), batch: Vec::new(), batches, task })
    }
}

impl Taking {
    /// Takes a piece of the body; the answer is `false` when it is of no use to send more.
    pub async fn feed(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if let Some(line) = self.lines.feed(byte) {
                self.line(line);
            }
            if self.batch.len() >= BATCH && !self.send().await {
                return false;
            }
        }
        true
    }

    /// Says what became of it, after all of it has come.
    pub async fn finish(mut self) -> Result<Taken, Error> {
        if let Some(line) = self.lines.end() {
            self.line(line);
        }
        self.send().await;
        drop(self.batches);
        let stored = self.task.await.map_err(StorageError::from)??;
        let Taken { added, known, refused_count, .. } = stored;
        Ok(Taken { added, known, refused_count: self.taken.refused_count + refused_count, ..self.taken })
    }

    fn line(&mut self, line: Result<(Did, Nsid), String>) {
        match line {
            Ok((did, collection)) => {
                self.taken.seen += 1;
                self.batch.push(Edit::Add(did, collection));
            }
            Err(error) => {
                self.taken.refused_count += 1;
                if self.taken.refused.len() < REFUSED_MAX {
                    self.taken.refused.push(Refused { line: self.lines.number, error });
                }
            }
        }
    }

    async fn send(&mut self) -> bool {
        self.batch.is_empty() || self.batches.send(std::mem::take(&mut self.batch)).await.is_ok()
    }
}

/// Brings the counts of a job up to what the directory knows, after a start.
pub(super) async fn catch_up(shared: &Shared, entry: &Entry) -> Result<(), Error> {
    let (mut job, parts) = entry.view(|view| (view.row.clone(), view.parts.clone()));
    let incarnation = shared.directory.incarnation();
    if job.incarnation != incarnation {
        begin_run(&mut job);
        (job.incarnation, job.state) = (incarnation, State::Queued);
        job.reason = Some("the directory is not the one that it filled: send the pairs again".to_owned());
        shared.decisions.plan_backfill_job(&job, &[], Actor::Relay, "begin").await?;
        shared.changed(entry, |view| (view.row, view.parts) = (job, Vec::new()));
    } else if let Some(part) = parts.into_iter().next() {
        let part = roll_forward(&shared.decisions, &shared.directory, &job, part).await?;
        shared.changed(entry, |view| view.parts = vec![part]);
    }
    Ok(())
}

async fn take(shared: &Shared, entry: &Entry, batches: mpsc::Receiver<Vec<Edit>>) -> Result<Taken, Error> {
    let _turn = entry.runner.lock().await;
    let (before, is_gone) = entry.view(|view| (view.row.state, view.is_gone));
    if is_gone {
        return Err(Error::NotFound(entry.name.clone()));
    }
    let advice = match before {
        State::Paused => Some("resume it, or name another job"),
        State::Cancelled => Some("run it, or name another job"),
        _ => None,
    };
    if let Some(advice) = advice {
        return Err(Error::State { name: entry.name.clone(), state: before, advice });
    }
    shared.changed(entry, |view| view.row.state = State::Running);
    let taken = take_all(shared, entry, batches).await;
    if let Err(error) = &taken {
        let now_ms = shared.clock.now_ms();
        shared.changed(entry, |view| {
            view.row.state = before;
            view.went_wrong(&error.to_string(), now_ms);
        });
    }
    taken
}

async fn take_all(shared: &Shared, entry: &Entry, mut batches: mpsc::Receiver<Vec<Edit>>) -> Result<Taken, Error> {
    let mut row = begin(shared, entry).await?;
    let mut taken = Taken::default();
    while let Some(edits) = batches.recv().await {
        let job = entry.view(|view| view.row.clone());
        let step = PartRow { moves: row.moves + 1, steps: row.steps + 1, ..row };
        let (moved, tally) = Move::new(&job, step).apply(&shared.directory, &job.name, edits).await?;
        row = PartRow { seen: moved.row.added, ..moved.row };
        taken.added += tally.added;
        taken.known += tally.known;
        taken.refused_count += tally.refused;
        shared.changed(entry, |view| view.moved(0, row.clone(), shared.clock.now_ms()));
    }
    // The notes hold what was counted; the database has to know it once.
    row.state = PartState::Done;
    row.moves += 1;
    shared.decisions.move_backfill_part(&entry.name, &row, &[], &[]).await?;
    let mut job = entry.view(|view| view.row.clone());
    job.state = job.state.after(Change::Done).unwrap_or(job.state);
    (job.reason, job.finished_at_ms) = (None, Some(shared.clock.now_ms()));
    shared.decisions.put_backfill_job(&job, Actor::Relay, "end").await?;
    shared.changed(entry, |view| (view.row, view.parts) = (job, vec![row]));
    Ok(taken)
}

/// The part of the job, up to what the directory knows.
async fn begin(shared: &Shared, entry: &Entry) -> Result<PartRow, Error> {
    catch_up(shared, entry).await?;
    let (mut job, part) = entry.view(|view| (view.row.clone(), view.parts.first().cloned()));
    if let Some(part) = part {
        return Ok(part);
    }
    let part = moves::planned(PART.to_owned(), entry.name.clone(), None);
    job.is_planned = true;
    job.started_at_ms = Some(shared.clock.now_ms());
    // Nothing goes on by itself: a start would find nobody who sends.
    job.state = State::Queued;
    shared.decisions.plan_backfill_job(&job, std::slice::from_ref(&part), Actor::Relay, "begin").await?;
    job.state = State::Running;
    shared.changed(entry, |view| (view.row, view.parts) = (job, vec![part.clone()]));
    Ok(part)
}

/// Finds lines in bytes as they come.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    is_too_long: bool,
    /// Of the last line.
    number: u64,
}

impl Lines {
    /// The line that ends with this byte, unless it is blank.
    fn feed(&mut self, byte: u8) -> Option<Result<(Did, Nsid), String>> {
        if byte == b'\n' {
            return self.end();
        }
        if self.line.len() < LINE_BYTES_MAX {
            self.line.push(byte);
        } else {
            self.is_too_long = true;
        }
        None
    }

    /// The line that has come so far.
    fn end(&mut self) -> Option<Result<(Did, Nsid), String>> {
        self.number += 1;
        let read = if std::mem::take(&mut self.is_too_long) {
            Some(Err(format!("longer than {LINE_BYTES_MAX} bytes")))
        } else {
            match std::str::from_utf8(&self.line) {
                Ok(text) if text.trim().is_empty() => None,
                Ok(text) => Some(read(text.trim())),
                Err(_) => Some(Err("not UTF-8".to_owned())),
            }
        };
        self.line.clear();
        read
    }
}

fn read(line: &str) -> Result<(Did, Nsid), String> {
    #[derive(Deserialize)]
    struct Pair {
        did: String,
        collection: String,
    }
    let (did, collection) = if line.starts_with('{') {
        let Pair { did, collection } = serde_json::from_str(line).map_err(|error| error.to_string())?;
        (did, collection)
    } else {
        let words = line.split(|char: char| char == ',' || char.is_whitespace()).filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();
        let &[did, collection] = words.as_slice() else {
            return Err("write a DID and a collection, with a space, a comma or a tab between them".to_owned());
        };
        (did.to_owned(), collection.to_owned())
    };
    let did = Did::parse(&did).map_err(|error| error.to_string())?;
    let collection = Nsid::parse(&collection).map_err(|error| error.to_string())?;
    Ok((did, collection))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";

    #[test]
    fn a_line_is_a_pair_in_any_of_its_forms() {
        let expected = Ok((DID.to_owned(), "com.example.record".to_owned()));
        for line in [
            format!("{DID} com.example.record"),
            format!("{DID},com.example.record"),
            format!("  {DID}\tcom.example.record\r"),
            format!("{DID}, com.example.record"),
            format!(r#"{{"did": "{DID}", "collection": "com.example.record", "more": 1}}"#),
        ] {
            let found = read(line.trim()).map(|(did, collection)| (did.to_string(), collection.to_string()));
            assert_eq!(found, expected, "{line:?}");
        }
        for line in [DID, "did:plc:short com.example.record", &format!("{DID} com"), "a b c", "{", "{}", "[]"] {
            assert!(read(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn lines_keep_their_numbers_over_blank_long_and_broken_ones() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let body = [format!("\n{DID} com.example.record\n{long}\n \n").as_bytes(), b"\xff\n", b"last"].concat();
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for byte in body {
            found.extend(lines.feed(byte).map(|line| (lines.number, line.is_ok())));
        }
        found.extend(lines.end().map(|line| (lines.number, line.is_ok())));
        assert_eq!(found, [(2, true), (3, false), (5, false), (6, false)]);
    }
}
