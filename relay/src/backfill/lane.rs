//! A lane: the parts of a job that ask one provider, one after the other.
//!
//! A part that has to wait steps aside for the next one; what the provider itself asks for, all of them wait for. A lane
//! that waits leaves its place among those that work to another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, SemaphorePermit};

use super::backoff::TROUBLE;
use super::clock::ms;
use super::moves::{self, told};
use super::note::{self, StorageError};
use super::runner::Run;
use super::view::Wait;
use super::work::{Part, Step, Trouble};
use crate::decisions::{PartRow, PartState, Retry};
use crate::protocol::did::Did;

/// Longest time of a step, whatever it does.
const STEP_TIME_MAX: Duration = Duration::from_secs(300);
/// Longest pause that a source can ask for.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Wait before a part is begun anew.
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// Accounts in one retry.
const RETRIES_AT_ONCE: u32 = 20;

/// The parts of a job that ask one provider.
pub(super) struct Lane<'a> {
    run: &'a Run,
    provider: String,
    /// Held during a step: jobs take turns.
    turn: Arc<Mutex<()>>,
    parts: Vec<Place>,
    /// Among the lanes that work.
    permit: Option<SemaphorePermit<'a>>,
    /// Troubles in a row.
    failures: u32,
    wait: Option<Wait>,
}

/// A part in its lane.
struct Place {
    index: usize,
    /// Troubles in a row.
    failures: u32,
    wait: Option<Wait>,
    /// When the first of its accounts is to be asked again, where that is known.
    next_retry_ms: Option<i64>,
    /// Whether a write has failed, so that what is stored has to be read again.
    is_stale: bool,
}

/// What to do next.
enum Next {
    Step(usize),
    Retry(usize, Vec<Retry>),
    Wait(Wait),
    Nothing,
}

/// What came of it.
struct Found {
    place: usize,
    tried: Option<Vec<Retry>>,
    outcome: Result<Step, Trouble>,
}

impl<'a> Lane<'a> {
    /// A lane of the parts with these numbers.
    pub(super) fn new(run: &'a Run, provider: String, parts: Vec<usize>) -> Lane<'a> {
        let turn = run.shared.turn_of(&provider);
        let place = |index| Place { index, failures: 0, wait: None, next_retry_ms: None, is_stale: false };
        let parts = parts.into_iter().map(place).collect();
        Lane { run, provider, turn, parts, permit: None, failures: 0, wait: None }
    }

    /// Works until nothing is left, or the job is stopped.
    pub(super) async fn work(mut self) {
        let run = self.run;
        loop {
            // Looking for the next piece may be broken off at any time; storing one may not.
            let found = tokio::select! {
                biased;
                () = run.stopped() => return,
                found = self.find() => found,
            };
            match found {
                Some(found) => self.store(found).await,
                None => break,
            }
        }
        run.view(|view| view.end_lane(&self.provider));
    }

    async fn find(&mut self) -> Option<Found> {
        loop {
            if self.run.shared.is_held() {
                self.permit = None;
                self.run.until_released(&self.provider).await;
            }
            let next = match self.next().await {
                Ok(next) => next,
                Err(error) => {
                    self.storage_failed(&error);
                    continue;
                }
            };
            let (place, tried) = match next {
                Next::Step(place) => (place, None),
                Next::Retry(place, tried) => (place, Some(tried)),
                Next::Wait(wait) => {
                    self.sleep(wait).await;
                    continue;
                }
                Next::Nothing => return None,
            };
            if self.permit.is_none() {
                self.permit = self.run.places.acquire().await.ok();
            }
            let turn = Arc::clone(&self.turn);
            let _turn = turn.lock().await;
            if self.run.shared.is_held() {
                continue;
            }
            let outcome = self.ask(place, tried.as_deref()).await;
            return Some(Found { place, tried, outcome });
        }
    }

    async fn sleep(&mut self, wait: Wait) {
        self.permit = None;
        let until_ms = wait.until_ms;
        self.run.view(|view| view.set_wait(&self.provider, Some(wait)));
        self.run.shared.clock.sleep_until(until_ms).await;
        self.run.view(|view| view.set_wait(&self.provider, None));
    }

    async fn next(&mut self) -> Result<Next, StorageError> {
        let now_ms = self.run.shared.clock.now_ms();
        let has_to_wait = |wait: &Option<Wait>| wait.clone().filter(|wait| wait.until_ms > now_ms);
        if let Some(wait) = has_to_wait(&self.wait) {
            return Ok(Next::Wait(wait));
        }
        let mut first: Option<Wait> = None;
        let mut retrying = Vec::new();
        for place in 0..self.parts.len() {
            if let Some(wait) = has_to_wait(&self.parts[place].wait) {
                first = earlier(first, wait);
                continue;
            }
            match self.row(place).await?.state {
                PartState::Open => return Ok(Next::Step(place)),
                PartState::Retrying => retrying.push(place),
                PartState::Done | PartState::Failed => {}
            }
        }
        for place in retrying {
            match self.retries(place, now_ms).await? {
                Ok(due) => return Ok(Next::Retry(place, due)),
                Err(wait) => first = earlier(first, wait),
            }
        }
        Ok(first.map_or(Next::Nothing, Next::Wait))
    }

    /// The row of a part, as it is stored.
    async fn row(&mut self, place: usize) -> Result<PartRow, StorageError> {
        let Place { index, is_stale, .. } = self.parts[place];
        if is_stale {
            let row = self.run.stored_part(index).await?;
            self.run.moved(index, row);
            self.parts[place].is_stale = false;
        }
        Ok(self.run.part(index))
    }

    /// The accounts of a part that are due, or when the first one is.
    async fn retries(&mut self, place: usize, now_ms: i64) -> Result<Result<Vec<Retry>, Wait>, StorageError> {
        let Place { index, next_retry_ms, .. } = self.parts[place];
        let row = self.run.part(index);
        let wait = |until_ms| Wait { until_ms, reason: format!("{} accounts are asked again", row.retrying) };
        if let Some(next_ms) = next_retry_ms.filter(|next_ms| *next_ms > now_ms) {
            return Ok(Err(wait(next_ms)));
        }
        let retries = self.run.shared.decisions.backfill_retries(self.run.name(), &row.key, RETRIES_AT_ONCE).await?;
        let next_ms = retries.first().map(|retry| retry.next_at_ms).filter(|next_ms| *next_ms > now_ms);
        self.parts[place].next_retry_ms = next_ms;
        let due = retries.into_iter().filter(|retry| retry.next_at_ms <= now_ms).collect();
        Ok(next_ms.map_or(Ok(due), |next_ms| Err(wait(next_ms))))
    }

    async fn ask(&self, place: usize, tried: Option<&[Retry]>) -> Result<Step, Trouble> {
        let row = self.run.part(self.parts[place].index);
        let part = Part { key: row.key, cursor: row.cursor, seen: row.seen, steps: row.steps };
        let dids: Vec<Did> = tried.unwrap_or_default().iter().filter_map(|retry| Did::parse(&retry.did).ok()).collect();
        let work = &self.run.work;
        let asked = async {
            match tried {
                None => work.step(&part).await,
                Some(_) if dids.is_empty() => Ok(Step::default()),
                Some(_) => work.retry(&part, &dids).await,
            }
        };
        let clock = &self.run.shared.clock;
        tokio::select! {
            outcome = asked => outcome,
            () = clock.sleep_until(clock.now_ms() + ms(STEP_TIME_MAX)) => {
                let reason = format!("{}: no end within {} s", part.key, STEP_TIME_MAX.as_secs());
                Err(Trouble::Wait { reason, after: None })
            }
        }
    }

    async fn store(&mut self, found: Found) {
        let Found { place, tried, outcome } = found;
        let row = self.run.part(self.parts[place].index);
        let stored = match (outcome, tried) {
            (Err(Trouble::Wait { reason, after }), _) => return self.wait(place, &reason, after),
            (Ok(step), None) => self.stepped(row, step).await,
            (Ok(step), Some(tried)) => self.retried(row, tried, step).await,
            (Err(Trouble::Restart(reason)), None) => {
                self.went_wrong(&format!("{}: {reason}", row.key));
                let until_ms = self.run.shared.clock.now_ms() + ms(RESTART_WAIT);
                self.parts[place].wait = Some(Wait { until_ms, reason: format!("{} begins anew: {reason}", row.key) });
                self.reset(moves::begun_anew(row, &reason)).await
            }
            (Err(Trouble::Fail(reason)), None) => {
                self.went_wrong(&format!("{}: {reason}", row.key));
                self.reset(moves::failed(row, &reason)).await
            }
            (Err(Trouble::Restart(reason) | Trouble::Fail(reason)), Some(tried)) => {
                let again = tried.iter().filter_map(|retry| Some((Did::parse(&retry.did).ok()?, reason.clone())));
                let step = Step { again: again.collect(), ..Step::default() };
                self.retried(row, tried, step).await
            }
        };
        match stored {
            Ok(row) => {
                self.failures = 0;
                let place = &mut self.parts[place];
                (place.failures, place.next_retry_ms) = (0, None);
                self.run.moved(place.index, row);
            }
            Err(error) => {
                self.parts[place].is_stale = true;
                self.storage_failed(&error);
            }
        }
    }

    async fn stepped(&self, row: PartRow, step: Step) -> Result<PartRow, StorageError> {
        let shared = &self.run.shared;
        let moved = moves::stepped(&self.run.job(), row.clone(), &step, shared.clock.now_ms());
        match moved {
            Ok(moved) => self.run.apply(moved, step.edits).await,
            Err(reason) => {
                self.went_wrong(&format!("{}: {reason}", row.key));
                self.reset(moves::failed(row, &reason)).await
            }
        }
    }

    async fn retried(&self, row: PartRow, tried: Vec<Retry>, step: Step) -> Result<PartRow, StorageError> {
        let moved = moves::retried(&self.run.job(), row, tried, &step, self.run.shared.clock.now_ms());
        self.run.apply(moved, step.edits).await
    }

    /// Writes a row that no accounts are to be asked again for.
    async fn reset(&self, row: PartRow) -> Result<PartRow, StorageError> {
        let shared = &self.run.shared;
        shared.decisions.reset_backfill_part(self.run.name(), &row).await?;
        if row.state == PartState::Failed {
            note::forget(&shared.directory, self.run.name(), &row.key).await?;
        }
        Ok(row)
    }

    /// What somebody has asked for holds for all parts of the lane; other trouble may be of this part alone, so that the
    /// next one is tried, soon at first.
    fn wait(&mut self, place: usize, reason: &str, after: Option<Duration>) {
        self.went_wrong(reason);
        let now_ms = self.run.shared.clock.now_ms();
        let part = &mut self.parts[place];
        part.failures = part.failures.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        let asked_ms = after.map(|after| ms(after.min(PAUSE_MAX)));
        let of_part_ms = TROUBLE.wait_ms(part.failures).max(asked_ms.unwrap_or(0));
        let of_lane_ms = TROUBLE.wait_ms(self.failures).max(asked_ms.unwrap_or(0));
        part.wait = Some(Wait { until_ms: now_ms + of_part_ms, reason: told(reason) });
        self.wait = Some(Wait { until_ms: now_ms + of_lane_ms, reason: told(reason) });
    }

    fn storage_failed(&mut self, error: &StorageError) {
        let reason = told(&format!("cannot store how far it is: {error}"));
        tracing::warn!(job = self.run.name(), %error, "backfill waits: cannot store");
        self.went_wrong(&reason);
        self.failures = self.failures.saturating_add(1);
        let until_ms = self.run.shared.clock.now_ms() + TROUBLE.wait_ms(self.failures);
        self.wait = Some(Wait { until_ms, reason });
    }

    fn went_wrong(&self, error: &str) {
        let now_ms = self.run.shared.clock.now_ms();
        self.run.view(|view| view.went_wrong(&told(error), now_ms));
    }
}

fn earlier(first: Option<Wait>, wait: Wait) -> Option<Wait> {
    Some(first.filter(|first| first.until_ms <= wait.until_ms).unwrap_or(wait))
}
