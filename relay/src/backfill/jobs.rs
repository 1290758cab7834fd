//! All jobs: what people, the admin API and the operator see and change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::backoff::TROUBLE;
use super::check::{SpecError, check_name};
use super::clock::Clock;
use super::life::Change;
use super::note::{self, StorageError};
use super::pairs;
use super::runner::{Run, next_run_ms};
use super::spec::{Job, Kind, Spec, State};
use super::view::View;
use super::work::Work;
use super::{Context, work};
use crate::collections::Directory;
use crate::decisions::{self, Actor, Decisions, JobRow, PartRow};

/// Jobs at once; each is made by a person or a line in a file.
const JOBS_MAX: usize = 200;

/// A stop of the process does not wait longer for what is being stored.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// All jobs; clones share them.
#[derive(Clone)]
pub struct Jobs {
    pub(super) shared: Arc<Shared>,
    schedules: AbortHandle,
}

/// What jobs need.
pub struct Parts {
    /// Where they and their progress are remembered.
    pub decisions: Decisions,
    /// What the kinds of jobs work with.
    pub context: Context,
}

/// Why a job is not as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("there is no job {0:?}")]
    NotFound(String),
    /// What is asked of it makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Not in this state.
    #[error("job {name:?} is {}: {advice}", state.name())]
    State {
        /// The job.
        name: String,
        /// How it stands.
        state: State,
        /// What can be done.
        advice: &'static str,
    },
    /// Pairs for a job that takes none.
    #[error("job {0:?} takes no pairs; name another one")]
    Kind(String),
    /// No more jobs.
    #[error("there are {JOBS_MAX} jobs; delete one first")]
    TooMany,
    /// It cannot be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<decisions::Error> for Error {
    fn from(error: decisions::Error) -> Error {
        Error::Storage(error.into())
    }
}

/// Makes the work that a spec asks for.
pub(super) type Make = Box<dyn Fn(&Spec) -> Box<dyn Work> + Send + Sync>;

/// What all jobs share.
pub(super) struct Shared {
    pub(super) decisions: Decisions,
    pub(super) directory: Directory,
    pub(super) clock: Clock,
    pub(super) make: Make,
    pub(super) allow_insecure: bool,
    entries: SyncMutex<BTreeMap<String, Arc<Entry>>>,
    /// Held while jobs come and go.
    coming: Mutex<()>,
    /// Whether all of them wait, for want of memory.
    held: watch::Sender<bool>,
    /// Whose turn it is at each provider.
    turns: SyncMutex<HashMap<String, Arc<Mutex<()>>>>,
    /// Says that a job is not as it was.
    pub(super) changes: watch::Sender<()>,
}

/// A job and who runs it.
pub(super) struct Entry {
    pub(super) name: String,
    view: SyncMutex<View>,
    /// Held by whoever changes the job, or takes pairs for it.
    pub(super) runner: Mutex<Option<Runner>>,
}

/// A run in its own task.
pub(super) struct Runner {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Runner {
    /// Stops it; what is being stored comes to its end.
    async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a backfill job broke off");
        }
    }
}

impl Runner {
    /// Ends it as a kill of the process would.
    #[cfg(test)]
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Entry {
    pub(super) fn view<T>(&self, look: impl FnOnce(&mut View) -> T) -> T {
        look(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Jobs {
    /// Bytes of what is known of jobs and their parts.
    pub fn memory_bytes(&self) -> usize {
        let entries: Vec<_> = self.shared.entries().values().cloned().collect();
        entries.iter().map(|entry| entry.view(|view| view.bytes())).sum()
    }
}

impl Shared {
    /// Changes what is known of a job.
    pub(super) fn changed<T>(&self, entry: &Entry, change: impl FnOnce(&mut View) -> T) -> T {
        let answer = entry.view(change);
        self.changes.send_replace(());
        answer
    }

    /// Whether all jobs wait for memory.
    pub(super) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Comes when jobs do not have to wait for memory.
    pub(super) async fn released(&self) {
        // The sender is in `self`.
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    /// The lock on a provider, whichever jobs ask it.
    pub(super) fn turn_of(&self, provider: &str) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(provider.to_owned()).or_default())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entry(&self, name: &str) -> Result<Arc<Entry>, Error> {
        self.entries().get(name).cloned().ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    fn insert(&self, row: JobRow, parts: Vec<PartRow>) -> Arc<Entry> {
        let name = row.name.clone();
        let view = SyncMutex::new(View::new(row, parts));
        let entry = Arc::new(Entry { name: name.clone(), view, runner: Mutex::new(None) });
        self.entries().insert(name, Arc::clone(&entry));
        self.changes.send_replace(());
        entry
    }

    pub(super) fn job(&self, entry: &Entry) -> Job {
        entry.view(|view| view.job(self.clock.now_ms()))
    }

    /// Lets a job run that has something to do.
    fn go_on(self: &Arc<Shared>, entry: &Arc<Entry>, runner: &mut Option<Runner>) {
        let (state, kind) = entry.view(|view| (view.row.state, view.row.spec.kind));
        if state.is_active() && kind != Kind::Pairs {
            let (stop, stopping) = watch::channel(false);
            let run = Run::new(Arc::clone(self), Arc::clone(entry), stopping);
            *runner = Some(Runner { stop, task: tokio::spawn(run.run()) });
        }
    }
}

impl Jobs {
    /// Reads the jobs and lets those go on that are not at their end.
    pub async fn start(parts: Parts) -> Result<Jobs, Error> {
        let Parts { decisions, context } = parts;
        let (directory, allow_insecure) = (context.directory.clone(), context.allow_insecure);
        let make = Box::new(move |spec: &Spec| work(spec, &context));
        Jobs::start_with(decisions, directory, make, Clock::Machine, allow_insecure).await
    }

    pub(super) async fn start_with(
        decisions: Decisions,
        directory: Directory,
        make: Make,
        clock: Clock,
        allow_insecure: bool,
    ) -> Result<Jobs, Error> {
        let shared = Arc::new(Shared {
            decisions,
            directory,
            clock,
            make,
            allow_insecure,
            entries: SyncMutex::default(),
            coming: Mutex::default(),
            held: watch::Sender::new(false),
            turns: SyncMutex::default(),
            changes: watch::Sender::new(()),
        });
        for mut row in shared.decisions.backfill_jobs().await? {
            let parts = shared.decisions.backfill_parts(&row.name).await?;
            let was_cut = row.state == State::Running;
            let is_lost = row.incarnation != shared.directory.incarnation();
            // What has filled another directory has to fill this one.
            let change = if is_lost && row.state == State::Done { Change::Run } else { Change::Restart };
            row.state = row.state.after(change).unwrap_or(row.state);
            let entry = shared.insert(row, parts);
            entry.view(|view| view.was_cut = was_cut);
            if entry.view(|view| view.row.spec.kind) == Kind::Pairs {
                pairs::catch_up(&shared, &entry).await?;
            }
            shared.go_on(&entry, &mut *entry.runner.lock().await);
        }
        let schedules = tokio::spawn(keep_schedules(Arc::clone(&shared))).abort_handle();
        Ok(Jobs { shared, schedules })
    }

    /// All jobs, by name.
    pub fn list(&self) -> Vec<Job> {
        let entries: Vec<Arc<Entry>> = self.shared.entries().values().cloned().collect();
        entries.iter().map(|entry| self.shared.job(entry)).collect()
    }

    /// A job by its name.
    pub fn get(&self, name: &str) -> Result<Job, Error> {
        Ok(self.shared.job(&*self.shared.entry(name)?))
    }

    /// Up to `limit` parts of a job in their order, from the part `from` on; and how many there are.
    pub fn parts(&self, name: &str, from: usize, limit: usize) -> Result<(Vec<PartRow>, usize), Error> {
        let page = |view: &mut View| (view.parts.iter().skip(from).take(limit).cloned().collect(), view.parts.len());
        Ok(self.shared.entry(name)?.view(page))
    }

    /// Makes a job, or changes what is asked of it. The same again changes nothing; who declares a job stays as it was
    /// unless the spec says otherwise.
    pub async fn put(&self, name: &str, spec: Spec, by: Actor<'_>) -> Result<Job, Error> {
        check_name(name)?;
        spec.check(self.shared.allow_insecure)?;
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        by_itself(by, async move |by| put(&shared, name, spec, by).await).await
    }

    /// Stops a job until it is resumed.
    pub async fn pause(&self, name: &str, by: Actor<'_>) -> Result<Job, Error> {
        self.change(name, Change::Pause, by).await
    }

    /// Lets a job go on that is paused.
    pub async fn resume(&self, name: &str, by: Actor<'_>) -> Result<Job, Error> {
        self.change(name, Change::Resume, by).await
    }

    /// Ends a job; what it has found stays.
    pub async fn cancel(&self, name: &str, by: Actor<'_>) -> Result<Job, Error> {
        self.change(name, Change::Cancel, by).await
    }

    /// Starts a job from the start that is at its end.
    pub async fn run(&self, name: &str, by: Actor<'_>) -> Result<Job, Error> {
        self.change(name, Change::Run, by).await
    }

    /// Removes a job; what it has found stays.
    pub async fn delete(&self, name: &str, by: Actor<'_>) -> Result<(), Error> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        by_itself(by, async move |by| delete(&shared, &name, by).await).await
    }

    /// Lets all jobs wait for memory, each after the step that it is at. What is stored of them says that they run, as
    /// they do after the next start; and people can change them as ever.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Lets them go on.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Stops everything, for the end of the process: the next start goes on.
    pub async fn stop(&self) {
        self.schedules.abort();
        let entries: Vec<Arc<Entry>> = self.shared.entries().values().cloned().collect();
        let stopped = entries.iter().map(async |entry| {
            if let Some(runner) = entry.runner.lock().await.take() {
                runner.stop().await;
            }
        });
        if tokio::time::timeout(STOP_TIME_MAX, join_all(stopped)).await.is_err() {
            tracing::warn!("backfill jobs were cut off; the next start finds out how far they were");
        }
    }

    /// Ends everything as a kill of the process would.
    #[cfg(test)]
    pub(super) async fn kill(&self) {
        self.schedules.abort();
        let entries: Vec<Arc<Entry>> = self.shared.entries().values().cloned().collect();
        for entry in entries {
            if let Some(runner) = entry.runner.lock().await.take() {
                runner.kill().await;
            }
        }
    }

    async fn change(&self, name: &str, change: Change, by: Actor<'_>) -> Result<Job, Error> {
        let (shared, entry) = (Arc::clone(&self.shared), self.shared.entry(name)?);
        by_itself(by, async move |by| changed(&shared, &entry, change, by).await).await
    }
}

/// Does something in a task of its own, which comes to its end also when nobody waits for the answer any more.
async fn by_itself<T: Send + 'static, F>(
    by: Actor<'_>,
    change: impl FnOnce(Option<String>) -> F + Send + 'static,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let by = match by {
        Actor::Relay => None,
        Actor::Admin(name) => Some(name.to_owned()),
    };
    tokio::spawn(change(by)).await.map_err(StorageError::from)?
}

fn actor(by: &Option<String>) -> Actor<'_> {
    by.as_deref().map_or(Actor::Relay, Actor::Admin)
}

async fn put(shared: &Arc<Shared>, name: String, mut spec: Spec, by: Option<String>) -> Result<Job, Error> {
    const ACTION: &str = "put_backfill_job";
    let _coming = shared.coming.lock().await;
    let Ok(entry) = shared.entry(&name) else {
        if shared.entries().len() >= JOBS_MAX {
            return Err(Error::TooMany);
        }
        let row = new_row(name, spec, shared.directory.incarnation(), shared.clock.now_ms());
        shared.decisions.put_backfill_job(&row, actor(&by), ACTION).await?;
        let entry = shared.insert(row, Vec::new());
        shared.go_on(&entry, &mut *entry.runner.lock().await);
        return Ok(shared.job(&entry));
    };
    let mut runner = entry.runner.lock().await;
    let known = entry.view(|view| view.row.spec.clone());
    spec.declared_by = spec.declared_by.or_else(|| known.declared_by.clone());
    if spec == known {
        return Ok(shared.job(&entry));
    }
    if let Some(runner) = runner.take() {
        runner.stop().await;
    }
    let mut row = entry.view(|view| view.row.clone());
    let (asks_more, is_other_kind) = (!spec.fills_as(&known), spec.kind != known.kind);
    row.spec = spec;
    if asks_more {
        row.state = row.state.after(Change::Ask).unwrap_or(row.state);
        (row.is_planned, row.reason, row.finished_at_ms, row.next_run_at_ms) = (false, None, None, None);
    }
    if matches!(row.state, State::Done | State::Failed) {
        row.next_run_at_ms = next_run_ms(&row, shared.clock.now_ms());
    }
    let stored = if is_other_kind {
        begin_run(&mut row);
        shared.decisions.plan_backfill_job(&row, &[], actor(&by), ACTION).await
    } else {
        shared.decisions.put_backfill_job(&row, actor(&by), ACTION).await
    };
    if stored.is_ok() {
        shared.changed(&entry, |view| {
            view.row = row;
            if is_other_kind {
                view.parts.clear();
            }
        });
    }
    shared.go_on(&entry, &mut runner);
    stored?;
    Ok(shared.job(&entry))
}

async fn delete(shared: &Arc<Shared>, name: &str, by: Option<String>) -> Result<(), Error> {
    let _coming = shared.coming.lock().await;
    let entry = shared.entry(name)?;
    let mut runner = entry.runner.lock().await;
    if let Some(runner) = runner.take() {
        runner.stop().await;
    }
    let removed = async {
        forget_notes(shared, &entry).await?;
        Ok::<(), Error>(shared.decisions.delete_backfill_job(name, actor(&by)).await?)
    };
    let removed = removed.await;
    if removed.is_ok() {
        shared.entries().remove(name);
        shared.changed(&entry, |view| view.is_gone = true);
    } else {
        shared.go_on(&entry, &mut runner);
    }
    removed
}

async fn changed(shared: &Arc<Shared>, entry: &Arc<Entry>, change: Change, by: Option<String>) -> Result<Job, Error> {
    let mut runner = entry.runner.lock().await;
    let after = || {
        let state = entry.view(|view| (!view.is_gone).then_some(view.row.state));
        let state = state.ok_or_else(|| Error::NotFound(entry.name.clone()))?;
        let refuse = || Error::State { name: entry.name.clone(), state, advice: advice(state) };
        Ok::<_, Error>((state, state.after(change).ok_or_else(refuse)?))
    };
    let (before, after_now) = after()?;
    if before == after_now {
        return Ok(shared.job(entry));
    }
    if let Some(runner) = runner.take() {
        runner.stop().await;
    }
    // It may have come to its end meanwhile.
    let stored = match after() {
        Ok((_, state)) => store_change(shared, entry, change, state, &by).await,
        Err(refused) => Err(refused),
    };
    shared.go_on(entry, &mut runner);
    stored?;
    Ok(shared.job(entry))
}

async fn store_change(
    shared: &Shared,
    entry: &Entry,
    change: Change,
    state: State,
    by: &Option<String>,
) -> Result<(), Error> {
    let mut row = entry.view(|view| view.row.clone());
    row.state = state;
    if change == Change::Run {
        begin_run(&mut row);
        row.incarnation = shared.directory.incarnation();
        forget_notes(shared, entry).await?;
        shared.decisions.plan_backfill_job(&row, &[], actor(by), "run_backfill_job").await?;
        shared.changed(entry, |view| *view = View::new(row, Vec::new()));
        return Ok(());
    }
    let action = match change {
        Change::Pause => "pause_backfill_job",
        Change::Cancel => "cancel_backfill_job",
        _ => "resume_backfill_job",
    };
    if change == Change::Cancel {
        row.finished_at_ms = Some(shared.clock.now_ms());
        row.next_run_at_ms = None;
    }
    shared.decisions.put_backfill_job(&row, actor(by), action).await?;
    shared.changed(entry, |view| view.row = row);
    Ok(())
}

/// Goes before the parts do: without their rows nobody would know of the notes.
async fn forget_notes(shared: &Shared, entry: &Entry) -> Result<(), StorageError> {
    let keys: Vec<String> = entry.view(|view| view.parts.iter().map(|part| part.key.clone()).collect());
    for key in &keys {
        note::forget(&shared.directory, &entry.name, key).await?;
    }
    Ok(())
}

/// What a person can do with a job in this state, other than what was tried.
fn advice(state: State) -> &'static str {
    match state {
        State::Queued | State::Running | State::Waiting => "pause or cancel it first",
        State::Paused => "resume or cancel it",
        State::Done | State::Failed | State::Cancelled => "run starts it from the start",
    }
}

fn new_row(name: String, spec: Spec, incarnation: u64, now_ms: i64) -> JobRow {
    JobRow {
        name,
        spec,
        state: State::Queued,
        reason: None,
        last_error: None,
        last_error_at_ms: None,
        run: 1,
        incarnation,
        is_planned: false,
        resumes: 0,
        resumed_from: None,
        resumed_at_ms: None,
        created_at_ms: now_ms,
        started_at_ms: None,
        finished_at_ms: None,
        next_run_at_ms: None,
    }
}

/// Makes a row that of the next run, of which nothing is done.
pub(super) fn begin_run(row: &mut JobRow) {
    row.run += 1;
    row.is_planned = false;
    (row.reason, row.started_at_ms, row.finished_at_ms, row.next_run_at_ms) = (None, None, None, None);
}

/// Starts jobs when their schedules say so, for as long as the relay runs. A time that has passed while it did not is
/// due at its start.
async fn keep_schedules(shared: Arc<Shared>) {
    let mut failures = 0;
    let mut changes = shared.changes.subscribe();
    loop {
        changes.borrow_and_update();
        let entries: Vec<Arc<Entry>> = shared.entries().values().cloned().collect();
        let at_ms = |entry: &Arc<Entry>| {
            let at_end = |view: &mut View| matches!(view.row.state, State::Done | State::Failed);
            entry.view(|view| view.row.next_run_at_ms.filter(|_| at_end(view)))
        };
        let next = entries.iter().filter_map(|entry| Some((at_ms(entry)?, entry))).min_by_key(|(at_ms, _)| *at_ms);
        let Some((at_ms, entry)) = next else {
            // The sender is in `shared`.
            let _ = changes.changed().await;
            continue;
        };
        tokio::select! {
            () = shared.clock.sleep_until(at_ms) => {}
            _ = changes.changed() => continue,
        }
        match changed(&shared, entry, Change::Run, None).await {
            Ok(_) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::warn!(job = entry.name, %error, "a scheduled backfill job does not start");
                shared.clock.sleep_until(shared.clock.now_ms() + TROUBLE.wait_ms(failures)).await;
            }
        }
    }
}
