//! A run of a job: plans its parts, lets them be worked on, and ends it.
//!
//! It begins from what is stored, however the one before ended, and again so whenever something could not be stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, watch};

use super::backoff::TROUBLE;
use super::clock::ms;
use super::jobs::{Entry, Shared};
use super::lane::Lane;
use super::life::Change;
use super::moves::{self, told};
use super::note::{self, Move, StorageError, roll_forward};
use super::schedule::Schedule;
use super::view::{View, Wait, has_begun};
use super::work::{Planned, Trouble, Work};
use crate::collections::Edit;
use crate::decisions::{Actor, JobRow, PartRow, PartState};

/// Providers that a job asks at the same time, unless it says otherwise.
const CONCURRENCY: u32 = 4;
/// Parts of a job.
const PARTS_MAX: usize = 200_000;
/// Parts that failed and are named in the reason.
const NAMED_MAX: usize = 3;
/// Stands for all lanes while there are none.
const PLAN: &str = "";

/// A job that runs.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<Entry>,
    pub(super) work: Box<dyn Work>,
    /// For lanes that work.
    pub(super) places: Semaphore,
    stop: watch::Receiver<bool>,
}

impl Run {
    pub(super) fn new(shared: Arc<Shared>, entry: Arc<Entry>, stop: watch::Receiver<bool>) -> Run {
        let spec = entry.view(|view| view.row.spec.clone());
        let places = Semaphore::new(spec.concurrency.unwrap_or(CONCURRENCY) as usize);
        let work = (shared.make)(&spec);
        Run { shared, entry, work, places, stop }
    }

    /// Runs until the job is done or failed, or is stopped.
    pub(super) async fn run(self) {
        let mut failures = 0;
        while let Err(error) = self.attempt().await {
            failures += 1;
            tracing::warn!(job = self.name(), %error, "backfill waits: cannot store");
            let reason = format!("cannot store how far it is: {error}");
            if self.wait(&reason, TROUBLE.wait_ms(failures)).await.is_none() {
                break;
            }
        }
        self.view(|view| view.set_lanes(0));
    }

    async fn attempt(&self) -> Result<(), StorageError> {
        self.begin().await?;
        if !self.job().is_planned && !self.plan().await? {
            return Ok(());
        }
        self.work_through().await;
        if *self.stop.borrow() { Ok(()) } else { self.finish().await }
    }

    /// Reads what is stored, and brings it up to what the directory knows.
    async fn begin(&self) -> Result<(), StorageError> {
        let (shared, now_ms) = (&self.shared, self.shared.clock.now_ms());
        let (mut job, was_cut) = self.view(|view| (view.row.clone(), view.was_cut));
        let mut parts = shared.decisions.backfill_parts(&job.name).await?;
        let incarnation = shared.directory.incarnation();
        let is_other = job.incarnation != incarnation;
        if is_other {
            job.run += u64::from(job.started_at_ms.is_some());
            job.reason =
                job.started_at_ms.map(|_| "it began anew: the directory is not the one that it filled".to_owned());
            (job.incarnation, job.is_planned, job.started_at_ms) = (incarnation, false, None);
            (job.finished_at_ms, job.next_run_at_ms) = (None, None);
            parts.clear();
        }
        for part in parts.iter_mut().filter(|part| matches!(part.state, PartState::Open | PartState::Retrying)) {
            *part = roll_forward(&shared.decisions, &shared.directory, &job, part.clone()).await?;
        }
        if was_cut && !is_other {
            job.resumes += 1;
            job.resumed_from = Some(place(&parts));
            job.resumed_at_ms = Some(now_ms);
            tracing::info!(job = job.name, from = job.resumed_from, "backfill goes on");
        }
        job.state = job.state.after(Change::Begin).unwrap_or(job.state);
        job.started_at_ms.get_or_insert(now_ms);
        if is_other {
            shared.decisions.plan_backfill_job(&job, &parts, Actor::Relay, "begin").await?;
        } else {
            shared.decisions.put_backfill_job(&job, Actor::Relay, "begin").await?;
        }
        self.view(|view| {
            (view.row, view.parts, view.was_cut) = (job, parts, false);
            view.set_lanes(1);
        });
        Ok(())
    }

    /// Plans the parts; the answer is `false` when that is the end, for now.
    async fn plan(&self) -> Result<bool, StorageError> {
        let mut failures = 0;
        loop {
            let plan = async {
                self.until_released(PLAN).await;
                self.work.plan().await
            };
            let Some(planned) = self.unless_stopped(plan).await else { return Ok(false) };
            match planned {
                Ok(planned) if planned.len() <= PARTS_MAX => {
                    self.take_plan(planned).await?;
                    return Ok(true);
                }
                Ok(planned) => {
                    let reason = format!("it would have {} parts, more than {PARTS_MAX}", planned.len());
                    self.end(Change::Fail, Some(reason)).await?;
                    return Ok(false);
                }
                Err(Trouble::Fail(reason)) => {
                    self.end(Change::Fail, Some(reason)).await?;
                    return Ok(false);
                }
                Err(Trouble::Restart(reason)) => {
                    failures += 1;
                    if self.wait(&reason, TROUBLE.wait_ms(failures)).await.is_none() {
                        return Ok(false);
                    }
                }
                Err(Trouble::Wait { reason, after }) => {
                    failures += 1;
                    let wait_ms = TROUBLE.wait_ms(failures).max(after.map_or(0, ms).min(ms(super::lane::PAUSE_MAX)));
                    if self.wait(&reason, wait_ms).await.is_none() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Parts that are still asked for keep what was done of them, unless they failed.
    async fn take_plan(&self, planned: Vec<Planned>) -> Result<(), StorageError> {
        let (mut job, known) = self.view(|view| (view.row.clone(), view.parts.clone()));
        let mut known: HashMap<String, PartRow> = known.into_iter().map(|part| (part.key.clone(), part)).collect();
        let mut names = HashSet::new();
        let mut parts = Vec::with_capacity(planned.len());
        for Planned { key, provider, expected } in planned {
            if !names.insert(key.clone()) {
                continue;
            }
            match known.remove(&key) {
                Some(part) if part.state != PartState::Failed => parts.push(PartRow { provider, expected, ..part }),
                failed => {
                    parts.push(moves::planned(key.clone(), provider, expected));
                    known.extend(failed.map(|part| (key, part)));
                }
            }
        }
        for key in known.keys() {
            note::forget(&self.shared.directory, &job.name, key).await?;
        }
        job.is_planned = true;
        self.shared.decisions.plan_backfill_job(&job, &parts, Actor::Relay, "plan").await?;
        self.view(|view| {
            *view = View::new(job, parts);
            view.set_lanes(1);
        });
        Ok(())
    }

    /// Works on all parts until nothing is left to do, or the job is stopped.
    async fn work_through(&self) {
        let lanes = self.view(|view| {
            let mut lanes: Vec<(String, Vec<usize>)> = Vec::new();
            let mut by_provider = HashMap::new();
            for (index, part) in view.parts.iter().enumerate() {
                if matches!(part.state, PartState::Open | PartState::Retrying) {
                    let lane = *by_provider.entry(part.provider.as_str()).or_insert_with(|| {
                        lanes.push((part.provider.clone(), Vec::new()));
                        lanes.len() - 1
                    });
                    lanes[lane].1.push(index);
                }
            }
            lanes
        });
        self.view(|view| view.set_lanes(lanes.len()));
        let lanes = lanes.into_iter().map(|(provider, parts)| Lane::new(self, provider, parts).work());
        let mut lanes: FuturesUnordered<_> = lanes.collect();
        while lanes.next().await.is_some() {}
    }

    async fn finish(&self) -> Result<(), StorageError> {
        let (parts, failed): (usize, Vec<String>) = self.view(|view| {
            let failed = view.parts.iter().filter(|part| part.state == PartState::Failed);
            let told = |part: &PartRow| format!("{}: {}", part.key, part.error.as_deref().unwrap_or("failed"));
            (view.parts.len(), failed.map(told).collect())
        });
        if parts == 0 {
            return self.end(Change::Done, Some("there was nothing to do".to_owned())).await;
        }
        if failed.is_empty() {
            return self.end(Change::Done, None).await;
        }
        let change = if failed.len() == parts { Change::Fail } else { Change::Done };
        let mut reason =
            format!("{} of {parts} parts failed: {}", failed.len(), failed[..failed.len().min(NAMED_MAX)].join("; "));
        if failed.len() > NAMED_MAX {
            reason.push_str("; …");
        }
        self.end(change, Some(reason)).await
    }

    async fn end(&self, change: Change, reason: Option<String>) -> Result<(), StorageError> {
        let mut job = self.job();
        let now_ms = self.shared.clock.now_ms();
        job.state = job.state.after(change).unwrap_or(job.state);
        job.reason = reason.as_deref().map(told);
        job.finished_at_ms = Some(now_ms);
        job.next_run_at_ms = next_run_ms(&job, now_ms);
        self.shared.decisions.put_backfill_job(&job, Actor::Relay, "end").await?;
        tracing::info!(job = job.name, state = job.state.name(), reason = job.reason, "backfill ended");
        self.view(|view| view.row = job);
        Ok(())
    }

    /// Waits; nothing when the job is stopped meanwhile.
    async fn wait(&self, reason: &str, wait_ms: i64) -> Option<()> {
        let now_ms = self.shared.clock.now_ms();
        let wait = Wait { until_ms: now_ms + wait_ms, reason: told(reason) };
        let until_ms = wait.until_ms;
        self.view(|view| {
            view.went_wrong(&wait.reason, now_ms);
            view.set_lanes(1);
            view.set_wait(PLAN, Some(wait));
        });
        self.unless_stopped(self.shared.clock.sleep_until(until_ms)).await?;
        self.view(|view| view.set_wait(PLAN, None));
        Some(())
    }

    async fn unless_stopped<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            answer = answer => Some(answer),
        }
    }

    /// Waits while all jobs are held for want of memory.
    pub(super) async fn until_released(&self, provider: &str) {
        if self.shared.is_held() {
            self.view(|view| view.set_held(provider, true));
            self.shared.released().await;
            self.view(|view| view.set_held(provider, false));
        }
    }

    /// Comes when the job is to stop.
    pub(super) async fn stopped(&self) {
        // Who started this keeps the other end.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    /// Makes a move, in the directory and then in the database.
    pub(super) async fn apply(&self, moved: Move, edits: Vec<Edit>) -> Result<PartRow, StorageError> {
        let (moved, _) = moved.apply(&self.shared.directory, self.name(), edits).await?;
        let row = moved.store(&self.shared.decisions, self.name()).await?;
        if row.state == PartState::Done {
            note::forget(&self.shared.directory, self.name(), &row.key).await?;
        }
        Ok(row)
    }

    /// A part as it is stored.
    pub(super) async fn stored_part(&self, index: usize) -> Result<PartRow, StorageError> {
        let row = self.part(index);
        let stored = self.shared.decisions.backfill_parts(self.name()).await?;
        let row = stored.into_iter().find(|part| part.key == row.key).unwrap_or(row);
        roll_forward(&self.shared.decisions, &self.shared.directory, &self.job(), row).await
    }

    pub(super) fn view<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        self.shared.changed(&self.entry, change)
    }

    pub(super) fn moved(&self, index: usize, row: PartRow) {
        let now_ms = self.shared.clock.now_ms();
        self.view(|view| view.moved(index, row, now_ms));
    }

    /// A part by its number.
    pub(super) fn part(&self, index: usize) -> PartRow {
        self.entry.view(|view| view.parts[index].clone())
    }

    pub(super) fn job(&self) -> JobRow {
        self.entry.view(|view| view.row.clone())
    }

    pub(super) fn name(&self) -> &str {
        &self.entry.name
    }
}

/// When a job that ends now runs again.
pub(super) fn next_run_ms(job: &JobRow, now_ms: i64) -> Option<i64> {
    Schedule::parse(job.spec.schedule.as_deref()?).ok()?.next_after(now_ms)
}

/// Where a job goes on, in words.
fn place(parts: &[PartRow]) -> String {
    let next =
        parts.iter().find(|part| has_begun(part)).or_else(|| parts.iter().find(|part| part.state == PartState::Open));
    match next {
        Some(PartRow { key, cursor: Some(cursor), .. }) => format!("{key} after {cursor}"),
        Some(part) => format!("{} from its begin", part.key),
        None if parts.is_empty() => "its plan".to_owned(),
        None => "accounts that are asked again".to_owned(),
    }
}
