//! An import that is interrupted, however often, ends where one that was left alone ends.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use sim::directory::{Fault, Route};
use sim::repo::Write;
use sim::{Account, Directory, Host};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::common::World;
use crate::jobs::{Pairs, assert_same, counts, directory, progress, put, until, until_state};
use crate::world::{import, named, sources, union};

/// How often the relay is killed within one import.
const KILLS: usize = 60;
/// How often while hosts are at work as well.
const KILLS_LIVE: usize = 20;
/// It lives for up to so long, from when its program is started; a start takes a part of that.
const LIFE_MS_MAX: u64 = 700;
/// So late are the sources' answers meanwhile, that a life is long enough for a few pages only.
const PAGE_DELAY: Duration = Duration::from_millis(250);

/// Kills the relay, and starts and kills it again at any moment of its start or after it; at the end it runs.
async fn kill_often(world: &mut World, kills: usize) {
    for kill in 1..=kills {
        world.relay.kill();
        if kill == kills {
            break;
        }
        let life = Duration::from_millis(rand::rng().random_range(0..LIFE_MS_MAX));
        let live = async {
            world.relay.start_again().await;
            std::future::pending::<()>().await;
        };
        // It always ends by the time.
        let _ = tokio::time::timeout(life, live).await;
    }
    world.relay.start_again().await;
}

fn slow_down(sources: &[Directory], delay: Option<Duration>) {
    for source in sources {
        source.set_fault(Route::Repos, delay.map(Fault::Delay));
    }
}

/// Pages that a source was asked for, and how many of them more than once.
fn asked(source: &Directory) -> (usize, usize) {
    let asked = source.asked();
    let distinct: HashSet<_> = asked.iter().map(|page| (&page.collection, &page.cursor)).collect();
    (distinct.len(), asked.len() - distinct.len())
}

/// What an import is that nothing interrupts: the job, the directory, and the pages that each source was asked for.
async fn undisturbed(sources: &[Directory]) -> (Value, Pairs, Vec<usize>) {
    let world = World::new(80, &[]).await;
    let before: Vec<usize> = sources.iter().map(|source| source.asked().len()).collect();
    put(&world.relay, "all", &import(sources)).await;
    let job = until_state(&world.relay, "all", "done").await;
    let pages = sources.iter().zip(before).map(|(source, before)| source.asked().len() - before).collect();
    (job, directory(&world.relay).await, pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_ends_the_same_however_often_the_relay_is_killed() {
    let mut world = World::new(81, &[]).await;
    let sources = sources(40, 2000).await;
    slow_down(&sources, Some(PAGE_DELAY));
    put(&world.relay, "all", &import(&sources)).await;
    kill_often(&mut world, KILLS).await;
    let interrupted = until(&world.relay, "all", "there", |_| true).await;
    assert!(progress(&interrupted, "seen") < named(&sources), "it was killed within the import: {interrupted:#}");
    slow_down(&sources, None);
    let job = until_state(&world.relay, "all", "done").await;

    let found = directory(&world.relay).await;
    let again: Vec<(usize, usize)> = sources.iter().map(asked).collect();
    let (expected_job, expected, pages) = undisturbed(&sources).await;
    assert_same(&expected, &union(&sources), "the undisturbed import");
    assert_same(&found, &expected, "the import that was killed");
    for count in ["seen", "added", "removed", "parts", "partsDone", "partsFailed"] {
        assert_eq!(progress(&job, count), progress(&expected_job, count), "{count}: {job:#}");
    }
    assert_eq!(progress(&job, "seen"), named(&sources), "each pair counts once for each source that names it");
    assert_eq!(progress(&job, "added"), expected.len() as u64, "each pair is new once");
    for ((distinct, repeated), pages) in again.into_iter().zip(pages) {
        assert_eq!(distinct, pages, "the pages that the undisturbed import has read");
        assert!(repeated <= KILLS, "{repeated} pages were asked for again by {KILLS} starts");
    }
    let resumes = job["resumes"].as_u64().unwrap();
    assert!((1..=KILLS as u64).contains(&resumes), "{resumes} resumes: {job:#}");
    assert!(job["resumedFrom"].is_string() && job["resumedAt"].is_string(), "{job:#}");
    assert_eq!((&job["run"], &job["reason"]), (&Value::from(1), &Value::Null), "{job:#}");
}

/// Accounts of a host that create and delete records of a few collections, all the time.
struct Live {
    host: Arc<Host>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<Account>>,
}

const LIVE_COLLECTIONS: usize = 5;
/// The last thing that each account writes.
const END: &str = "com.example.live.end";

impl Live {
    async fn start(world: &World) -> Live {
        let host = Arc::new(world.host().await);
        let accounts = (0..10).map(|_| world.account(&host)).collect();
        let (stop, stopping) = watch::channel(false);
        Live { task: tokio::spawn(work(Arc::clone(&host), accounts, stopping)), host, stop }
    }

    /// Ends, and says what its accounts have.
    async fn stop(self) -> (Arc<Host>, Pairs) {
        self.stop.send_replace(true);
        let mut pairs = Pairs::new();
        for mut account in self.task.await.unwrap() {
            self.host.emit(account.commit(vec![create(&format!("{END}/end"))]));
            let collections = account.repo().records().keys().filter_map(|path| path.split_once('/'));
            pairs.extend(collections.map(|(collection, _)| (account.did.clone(), collection.to_owned())));
        }
        (self.host, pairs)
    }
}

async fn work(host: Arc<Host>, mut accounts: Vec<Account>, stop: watch::Receiver<bool>) -> Vec<Account> {
    while !*stop.borrow() {
        for account in &mut accounts {
            let kind = rand::rng().random_range(0..LIVE_COLLECTIONS);
            let path = format!("com.example.live.kind{kind}/{}", rand::rng().random_range(0..3));
            let is_there = account.repo().records().contains_key(&path);
            host.emit(account.commit(vec![if is_there { Write::Delete { path } } else { create(&path) }]));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    accounts
}

/// A record that says nothing.
fn create(path: &str) -> Write {
    Write::Create { path: path.to_owned(), record: vec![0xa0] }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_meanwhile_is_in_the_directory_with_what_is_imported() {
    let mut world = World::new(82, &[]).await;
    let sources = sources(20, 400).await;
    let live = Live::start(&world).await;
    slow_down(&sources, Some(PAGE_DELAY));
    put(&world.relay, "all", &import(&sources)).await;
    kill_often(&mut world, KILLS_LIVE).await;
    slow_down(&sources, None);
    let job = until_state(&world.relay, "all", "done").await;
    let (_host, pairs) = live.stop().await;
    let ended = pairs.iter().filter(|(_, collection)| collection == END).count() as u64;
    let has_ended = async |relay: &sim::Relay| counts(relay).await.get(END) == Some(&ended);
    world.relay.until("the directory has the last record of every account", has_ended).await;

    assert_same(&directory(&world.relay).await, &(&union(&sources) | &pairs), "import and firehose together");
    assert_eq!(progress(&job, "seen"), named(&sources), "{job:#}");
    assert_eq!(progress(&job, "added"), union(&sources).len() as u64, "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_asks_for_no_page_again() {
    let mut world = World::new(83, &[]).await;
    let sources = sources(10, 1000).await;
    slow_down(&sources, Some(Duration::from_millis(50)));
    put(&world.relay, "all", &import(&sources)).await;
    until(&world.relay, "all", "under way", |job| progress(job, "seen") > named(&sources) / 4).await;
    assert!(world.relay.terminate().await.success());
    world.relay.start_again().await;
    let job = until_state(&world.relay, "all", "done").await;

    assert_same(&directory(&world.relay).await, &union(&sources), "the import that was stopped");
    assert_eq!(progress(&job, "seen"), named(&sources), "{job:#}");
    assert_eq!(job["resumes"], 1, "{job:#}");
    // The one that was on its way.
    assert!(sources.iter().all(|source| asked(source).1 <= 1), "{:?}", sources.each_ref().map(asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_lost_is_filled_from_the_beginning() {
    let mut world = World::new(84, &[]).await;
    let sources = sources(10, 1000).await;
    slow_down(&sources, Some(Duration::from_millis(50)));
    put(&world.relay, "all", &import(&sources)).await;
    until(&world.relay, "all", "under way", |job| progress(job, "seen") > named(&sources) / 4).await;
    world.relay.kill();
    std::fs::remove_dir_all(world.data_dir().join("store")).unwrap();
    slow_down(&sources, None);
    world.relay.start_again().await;
    let job = until_state(&world.relay, "all", "done").await;

    assert_same(&directory(&world.relay).await, &union(&sources), "the import that began anew");
    assert_eq!(progress(&job, "seen"), named(&sources), "what was counted for the lost one counts no more: {job:#}");
    assert_eq!(progress(&job, "added"), union(&sources).len() as u64, "{job:#}");
}
