#![allow(clippy::unwrap_used)]
//! Jobs with a scripted source, a clock that the test sets, and kills.

mod hold;
mod life;
mod trouble;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::clock::Clock;
use super::jobs::Jobs;
use super::spec::{Job, Kind, Spec, State};
use super::work::{Later, Part, Planned, Step, Trouble, Work};
use crate::collections::{Directory, Edit};
use crate::decisions::{Actor, Decisions};
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;
use crate::store::{Sizes, Store};

const ADMIN: Actor<'static> = Actor::Admin("alice");
/// 2026-11-24T10:00:00Z, in milliseconds.
const BEGIN_MS: i64 = 1_795_514_400_000;
const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
/// Pages of a part, and DIDs in each.
const PAGES: u64 = 4;
const PER_PAGE: u64 = 10;

/// What a source answers to a step; nothing for one that hangs.
type Answer = dyn Fn(&Part) -> Option<Result<Step, Trouble>> + Send + Sync;
/// What comes of accounts that are asked again.
type Again = dyn Fn(&[Did]) -> Result<Step, Trouble> + Send + Sync;

/// A source whose parts are the hosts of the spec; what follows the first dot of a host is its provider.
struct Script {
    answer: Box<Answer>,
    again: Box<Again>,
    plan: Box<dyn Fn() -> Result<(), Trouble> + Send + Sync>,
    /// Keys of the parts that were asked, in order.
    asked: Mutex<Vec<String>>,
    /// Providers that are asked now, and the most at once.
    busy: Mutex<(BTreeSet<String>, usize)>,
}

impl Script {
    fn new(answer: impl Fn(&Part) -> Option<Result<Step, Trouble>> + Send + Sync + 'static) -> Script {
        Script {
            answer: Box::new(answer),
            again: Box::new(|_| Ok(Step::default())),
            plan: Box::new(|| Ok(())),
            asked: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    /// One that always answers with what it has.
    fn honest() -> Script {
        Script::new(|part| Some(page(part)))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The page of an honest source: part `pN.…` has the DIDs from 1000 N on.
fn page(part: &Part) -> Result<Step, Trouble> {
    let number: u64 = part.key[1..].split('.').next().unwrap().parse().unwrap();
    let page: u64 = part.cursor.as_deref().unwrap_or("0").parse().unwrap();
    let first = number * 1000 + page * PER_PAGE;
    let edits = (first..first + PER_PAGE).map(|number| Edit::Add(did(number), collection()));
    let cursor = (page + 1 < PAGES).then(|| (page + 1).to_string());
    Ok(Step { edits: edits.collect(), seen: PER_PAGE, cursor, ..Step::default() })
}

fn did(number: u64) -> Did {
    let letters = (0..24).rev().map(|place| char::from(b'a' + (number.checked_shr(4 * place).unwrap_or(0) % 16) as u8));
    Did::parse(&format!("did:plc:{}", letters.collect::<String>())).unwrap()
}

fn collection() -> Nsid {
    Nsid::parse("com.example.record").unwrap()
}

struct Scripted {
    script: Arc<Script>,
    hosts: Vec<String>,
}

fn provider(key: &str) -> &str {
    key.split_once('.').unwrap().1
}

/// A provider that is being asked.
struct Busy<'a>(&'a Script, &'a str);

impl<'a> Busy<'a> {
    fn new(script: &'a Script, provider: &'a str) -> Busy<'a> {
        let (busy, most) = &mut *script.busy.lock().unwrap();
        assert!(busy.insert(provider.to_owned()), "{provider} is asked already");
        *most = busy.len().max(*most);
        Busy(script, provider)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap().0.remove(self.1);
    }
}

impl Work for Scripted {
    fn plan(&self) -> Later<'_, Result<Vec<Planned>, Trouble>> {
        let planned = |key: &String| Planned { key: key.clone(), provider: provider(key).to_owned(), expected: None };
        let planned = (self.script.plan)().map(|()| self.hosts.iter().map(planned).collect());
        Box::pin(std::future::ready(planned))
    }

    fn step<'a>(&'a self, part: &'a Part) -> Later<'a, Result<Step, Trouble>> {
        Box::pin(async move {
            let script = &self.script;
            script.asked.lock().unwrap().push(part.key.clone());
            let busy = Busy::new(script, provider(&part.key));
            // So that others come between.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            drop(busy);
            match (script.answer)(part) {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }

    fn retry<'a>(&'a self, part: &'a Part, dids: &'a [Did]) -> Later<'a, Result<Step, Trouble>> {
        self.script.asked.lock().unwrap().push(format!("{} again", part.key));
        Box::pin(std::future::ready((self.script.again)(dids)))
    }
}

/// What survives a kill.
struct World {
    folder: tempfile::TempDir,
    directory: Directory,
    clock: watch::Sender<i64>,
    script: Arc<Script>,
}

impl World {
    fn new(script: Script) -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let store = Store::open(&store, Sizes { block_cache: 1 << 20, memtables: 4 << 20 }).unwrap();
        let directory = Directory::open(store, 1 << 20).unwrap();
        World { folder, directory, clock: watch::Sender::new(BEGIN_MS), script: Arc::new(script) }
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("decisions.sqlite").display())
    }

    async fn start(&self) -> Jobs {
        let decisions = Decisions::open(&self.url()).await.unwrap();
        let script = Arc::clone(&self.script);
        let make = move |spec: &Spec| {
            Box::new(Scripted { script: Arc::clone(&script), hosts: spec.hosts.clone() }) as Box<dyn Work>
        };
        let clock = Clock::Set(self.clock.subscribe());
        Jobs::start_with(decisions, self.directory.clone(), Box::new(make), clock, false).await.unwrap()
    }

    /// Changes the database behind the back of the jobs.
    async fn sql(&self, statement: &'static str) {
        let pool = sqlx::AnyPool::connect(&self.url()).await.unwrap();
        sqlx::query(statement).execute(&pool).await.unwrap();
        pool.close().await;
    }

    fn later(&self, ms: i64) {
        self.clock.send_modify(|now_ms| *now_ms += ms);
    }

    /// Lets time pass whenever the job waits, until something is so.
    async fn pass_until(&self, jobs: &Jobs, what: &str, is_so: impl Fn(&Job) -> bool) -> Job {
        loop {
            let job = until(jobs, what, |job| is_so(job) || job.state == State::Waiting).await;
            if is_so(&job) {
                return job;
            }
            let until: jiff::Timestamp = job.waits_until.unwrap().parse().unwrap();
            let mut changes = jobs.shared.changes.subscribe();
            self.clock.send_modify(|now_ms| *now_ms = (*now_ms).max(until.as_millisecond()));
            changes.changed().await.unwrap();
        }
    }

    fn pairs(&self) -> u64 {
        self.directory.counts().values().sum()
    }
}

const NAME: &str = "crawl";

fn crawl(parts: &[&str]) -> Spec {
    Spec { hosts: parts.iter().map(|part| (*part).to_owned()).collect(), ..Spec::of_kind(Kind::Crawl) }
}

/// Waits until something is so of the job.
async fn until(jobs: &Jobs, what: &str, is_so: impl Fn(&Job) -> bool) -> Job {
    let mut changes = jobs.shared.changes.subscribe();
    let wait = async {
        loop {
            changes.borrow_and_update();
            let job = jobs.get(NAME).unwrap();
            if is_so(&job) {
                return job;
            }
            changes.changed().await.unwrap();
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
    in_time.unwrap_or_else(|_| panic!("{what}, but: {:#?}", jobs.get(NAME)))
}

async fn until_state(jobs: &Jobs, state: State) -> Job {
    until(jobs, state.name(), |job| job.state == state).await
}

/// What counts, and may not depend on what has happened on the way.
fn counts(job: &Job) -> (u64, u64, u64, u64, u64) {
    let progress = &job.progress;
    (progress.parts, progress.parts_done, progress.parts_failed, progress.seen, progress.added)
}
