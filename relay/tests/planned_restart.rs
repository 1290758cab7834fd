//! A relay that restarts by itself, or is stopped, in good order: what it leaves behind, what it says, and how the next
//! start takes over. `SIGUSR1` asks for what a relay does when its memory runs short.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::load::{Follower, Load, assert_complete};
use common::{World, assert_delivered};
use data_encoding::BASE32_NOPAD;
use rand::Rng;
use relay::exit::EXIT_PLANNED_RESTART;
use relay::protocol::cbor::Writer;
use reqwest::Method;
use rocksdb::{DB, IteratorMode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sim::account::POSTS;
use sim::process::{Setup, Signal};
use sim::repo::Write;
use sim::{Account, Consumer, Host, Network, Received, Relay, Sent};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

/// The close code "service restart".
const RESTART: Received = Received::Closed(Some(1012));

/// A file for the termination message.
struct LastWords(TempDir);

impl LastWords {
    fn new() -> LastWords {
        LastWords(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("termination-log")
    }

    /// The setting that names it.
    fn setting(&self) -> String {
        format!("--termination-log={}", self.file().display())
    }

    /// What was said last.
    fn read(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_restart_loses_nothing_and_repeats_nothing() {
    const ROUNDS: usize = 6;
    /// Every so many rounds the drain is killed while it is on.
    const KILLED: usize = 3;
    let last_words = LastWords::new();
    let mut world = World::new(90, &[&last_words.setting()]).await;
    let rests = [Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::from_millis(1)];
    let followers = rests.map(|rest| Follower::start(world.relay.public, rest));
    let mut load = Load::start(&world).await;
    for round in 1..=ROUNDS {
        let life = rand::rng().random_range(200..1200);
        tokio::time::sleep(Duration::from_millis(life)).await;
        if round % KILLED == 0 {
            world.relay.signal(Signal::USR1);
            let into_the_drain = rand::rng().random_range(0..150);
            tokio::time::sleep(Duration::from_millis(into_the_drain)).await;
            world.relay.kill();
        } else {
            assert_eq!(world.relay.end_as_planned().await.code(), Some(EXIT_PLANNED_RESTART.into()));
            let said = last_words.read();
            assert_eq!((&said["reason"], &said["message"]), (&"Requested".into(), &"told to restart; drained".into()));
            assert!(said["seq"].as_u64().unwrap() > 0, "{said}");
        }
        world.relay.start_again().await;
    }
    let sent = load.stop().await;
    let mut followers = followers.into_iter();
    let follower = followers.next().unwrap();
    let ends = std::sync::Arc::clone(&follower.ends);
    let delivered = follower.stop_at(sent.len()).await;
    assert_complete(&world, sent, &delivered).await;
    let in_order = ends.lock().unwrap().iter().filter(|end| **end == RESTART).count();
    assert!(in_order >= ROUNDS - ROUNDS / KILLED, "close frames: {:?}", ends.lock().unwrap());

    let kept = world.relay.consumer(Some(0)).await.events(delivered.len()).await;
    assert!(kept == delivered, "what was delivered is what the log holds");
    for (number, follower) in followers.enumerate() {
        let delivered = follower.stop_at(kept.len()).await;
        assert!(delivered == kept, "consumer {number}: {} events of {}", delivered.len(), kept.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_before_a_planned_restart_is_known_after_it() {
    const ACCOUNTS: usize = 100;
    let last_words = LastWords::new();
    let mut world = World::new(91, &[&last_words.setting()]).await;
    let hosts = [world.host().await, world.host().await];
    let mut accounts: Vec<(usize, Account)> =
        (0..ACCOUNTS).map(|number| (number % 2, world.account(&hosts[number % 2]))).collect();
    let mut consumer = world.relay.consumer(None).await;
    for (host, account) in &mut accounts {
        hosts[*host].emit(account.post());
    }
    let last = consumer.events(ACCOUNTS).await[ACCOUNTS - 1].seq;
    let requests = world.network.plc.requests();

    let (exit, close) = tokio::join!(world.relay.end_as_planned(), consumer.next());
    assert_eq!((exit.code(), close), (Some(EXIT_PLANNED_RESTART.into()), RESTART));
    assert_eq!(last_words.read()["seq"], last, "{}", last_words.read());
    world.relay.start_again().await;
    for (host, account) in &mut accounts {
        hosts[*host].emit(account.post());
    }
    let mut consumer = world.relay.consumer(Some(last)).await;
    let after = consumer.events(ACCOUNTS).await;
    assert!(after.iter().map(|event| event.seq).eq(last + 1..=last + ACCOUNTS as u64), "no gap");
    assert_eq!(world.network.plc.requests(), requests, "the directory is not asked for whom the relay knows");
    assert_eq!(world.dropped().await, Default::default());
}

/// More than the sockets of a consumer hold, of which it reads nothing.
async fn stalled(world: &mut World, host: &Host) -> (Consumer, Vec<Sent>) {
    const RECORDS: usize = 100;
    const RECORD_BYTES: usize = 200_000;
    let mut account = world.account(host);
    let consumer = world.relay.consumer(Some(0)).await;
    let mut large = |number: usize| {
        let mut record = Vec::new();
        Writer::new(&mut record).bytes(&[number as u8; RECORD_BYTES]);
        host.emit(account.commit(vec![Write::Create { path: format!("{POSTS}/{number}"), record }]))
    };
    let sent = (0..RECORDS).map(&mut large).collect();
    let passed = async |relay: &Relay| relay.count("/events/passed").await == RECORDS as u64;
    world.relay.until("all events have passed", passed).await;
    (consumer, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_does_not_read_holds_up_a_stop_for_its_part_of_the_time() {
    let last_words = LastWords::new();
    let mut world = World::new(92, &[&last_words.setting(), "--drain-time=5s"]).await;
    let host = world.host().await;
    let (_consumer, sent) = stalled(&mut world, &host).await;
    assert!(world.relay.terminate().await.success());
    let said = last_words.read();
    let message = "told to stop; drained but for consumers, which took too long";
    assert_eq!((&said["reason"], &said["message"]), (&"Stopped".into(), &message.into()), "{said}");
    world.relay.start_again().await;
    let delivered = world.relay.consumer(Some(0)).await.events(sent.len()).await;
    assert_delivered(&delivered, &sent, "all of it is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_says_so_and_ends_at_once_when_it_is_told_again() {
    let last_words = LastWords::new();
    let mut world = World::new(93, &[&last_words.setting(), "--drain-time=10m"]).await;
    let host = world.host().await;
    let (_consumer, sent) = stalled(&mut world, &host).await;
    world.relay.signal(Signal::TERM);
    let refused = async |relay: &Relay| match Consumer::connect(relay.public, None).await {
        Err(Error::Http(refusal)) => refusal.status() == 503 && refusal.headers().contains_key("retry-after"),
        _ => false,
    };
    world.relay.until("consumers are refused", refused).await;
    let relay = &world.relay;
    let ready = relay.answer(relay.request(Method::GET, relay.admin, "/readyz")).await;
    assert_eq!((ready.status, ready.text.as_str()), (503, "the relay is stopping\n"));
    assert_eq!(relay.answer(relay.request(Method::GET, relay.admin, "/livez")).await.status, 200);
    assert_eq!(relay.status().await["draining"], true);
    assert_eq!(last_words.read()["message"], "told to stop; draining", "said before it is done");

    world.relay.signal(Signal::TERM);
    assert_eq!(world.relay.ended().await.code(), Some(128 + 15), "as a shell says that SIGTERM has ended it");
    world.relay.start_again().await;
    let delivered = world.relay.consumer(Some(0)).await.events(sent.len()).await;
    assert_delivered(&delivered, &sent, "the log is whole");
}

/// A relay that does not come to the end of its start, since its database is locked. SQLite waits for 5 s for that.
struct Held {
    relay: Relay,
    lock: SqliteConnection,
    _network: Network,
    _folder: TempDir,
}

impl Held {
    async fn start(seed: u64, settings: &[&str]) -> Held {
        let network = Network::start(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        let lock = lock(&data_dir.join("decisions.sqlite")).await;
        let mut relay = Relay::new(Setup::new(env!("CARGO_BIN_EXE_relay"), &data_dir, &network.plc, settings));
        relay.launch();
        let is_held = async |relay: &Relay| {
            let answer = relay.request(Method::GET, relay.admin, "/readyz").send().await;
            let Ok(answer) = answer else { return false };
            assert_eq!(answer.status(), 503, "it cannot be ready");
            answer.text().await.unwrap() == "starting: opening the database of decisions\n"
        };
        relay.until("it waits for the database", is_held).await;
        Held { relay, lock, _network: network, _folder: folder }
    }
}

/// Keeps everybody from a database until the connection is closed.
async fn lock(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_answer_from_the_first_moment_and_the_relay_takes_over_without_a_break() {
    let mut held = Held::start(94, &[]).await;
    let relay = &held.relay;
    let mut kept = TcpStream::connect(relay.admin).await.unwrap();
    assert_eq!(ask(&mut kept, "/livez").await, (200, "ok\n".to_owned()));
    let for_all = ["/", "/_health", "/xrpc/_health", "/xrpc/com.atproto.sync.listRepos", "/xrpc/com.example.none"];
    let for_operators = ["/metrics", "/admin/status", "/admin", "/admin/openapi.json"];
    let on_public = for_all.iter().map(|path| (relay.public, path));
    for (address, path) in on_public.chain(for_all.iter().chain(&for_operators).map(|path| (relay.admin, path))) {
        let answer = relay.answer(relay.request(Method::GET, address, path)).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text);
        assert!(answer.headers.contains_key("retry-after"), "{path}: {:?}", answer.headers);
        assert!(answer.json["message"].as_str().unwrap().contains("starting: opening"), "{path}: {}", answer.text);
    }
    assert_eq!(relay.answer(relay.request(Method::GET, relay.public, "/livez")).await.status, 503, "no public route");
    let Err(Error::Http(refusal)) = Consumer::connect(relay.public, None).await else {
        panic!("there is no stream yet");
    };
    assert_eq!((refusal.status().as_u16(), refusal.headers().contains_key("retry-after")), (503, true));

    held.lock.close().await.unwrap();
    held.relay.until("it is ready", async |relay| relay.is_ready().await).await;
    assert_eq!(ask(&mut kept, "/readyz").await, (200, "ok\n".to_owned()), "on the connection that was open");
    let consumer = held.relay.consumer(None).await;
    drop(consumer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_told_to_stop_stops() {
    let last_words = LastWords::new();
    let mut held = Held::start(95, &[&last_words.setting()]).await;
    assert!(held.relay.terminate().await.success());
    let said = last_words.read();
    let message = "told to stop; it was not done starting";
    assert_eq!((&said["reason"], &said["message"]), (&"Stopped".into(), &message.into()), "{said}");
    held.lock.close().await.unwrap();
    held.relay.start_again().await;
}

/// Asks on a connection that is kept: status and body.
async fn ask(stream: &mut TcpStream, path: &str) -> (u16, String) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (status, String::from_utf8(body).unwrap())
}

#[test]
fn a_relay_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cases = [
        (vec!["--listen", address.as_str()], format!("cannot listen on {address}")),
        (vec!["--drain-time", "1s"], "too short to stop in good order".to_owned()),
        (vec!["--memory-limit", "1Mi"], "128 MiB".to_owned()),
    ];
    for (settings, part) in cases {
        let last_words = LastWords::new();
        let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_relay"))
            .args(["serve", "--admin-listen=127.0.0.1:0", &last_words.setting()])
            .arg("--data-dir")
            .arg(folder.path())
            .args(&settings)
            .output()
            .unwrap();
        let (said, stderr) = (last_words.read(), String::from_utf8(stderr).unwrap());
        assert_eq!((status.code(), &said["reason"]), (Some(1), &"Failed".into()), "{settings:?}: {said}, {stderr}");
        assert!(said["message"].as_str().unwrap().contains(&part), "{settings:?}: {said}");
        assert!(stderr.contains(&part), "{settings:?}: {stderr}");
        assert!(said["limit"].as_u64().unwrap() > 0, "{said}");
    }
}

/// How long a start takes that finds a million accounts and identities on disk: after a planned restart, and after a kill
/// with all events of a minute to make rows of again. `-- --ignored --nocapture` prints it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_start_with_a_million_accounts() {
    const ACCOUNTS: u64 = 1_000_000;
    const EVENTS: usize = 60_000;
    let mut world = World::new(96, &["--memory-limit=1Gi"]).await;
    let host = world.host().await;
    let mut accounts: Vec<Account> = (0..100).map(|_| world.account(&host)).collect();
    let mut consumer = world.relay.consumer(None).await;
    for account in &mut accounts {
        host.emit(account.post());
    }
    consumer.events(accounts.len()).await;
    drop(consumer);
    assert!(world.relay.terminate().await.success());
    let store = world.data_dir().join("store");
    tokio::task::spawn_blocking(move || remember(&store, ACCOUNTS)).await.unwrap();

    println!("the first start: {}", measure(&mut world.relay).await);
    assert_eq!(world.relay.end_as_planned().await.code(), Some(EXIT_PLANNED_RESTART.into()));
    println!("after a planned restart: {}", measure(&mut world.relay).await);
    for number in 0..EVENTS {
        host.emit(accounts[number % 100].act());
    }
    let passed = async |relay: &Relay| relay.count("/events/passed").await == EVENTS as u64;
    world.relay.until("all events have passed", passed).await;
    world.relay.kill();
    println!("after a kill behind {EVENTS} events: {}", measure(&mut world.relay).await);
}

/// Starts a relay: when it has answered, and when it was ready.
async fn measure(relay: &mut Relay) -> String {
    let start = Instant::now();
    relay.launch();
    let answers = async |relay: &Relay| relay.request(Method::GET, relay.admin, "/livez").send().await.is_ok();
    relay.until("it answers", answers).await;
    let answered = start.elapsed();
    relay.until("it is ready", async |relay| relay.is_ready().await).await;
    format!("answers after {answered:.2?}, ready after {:.2?}, asked every 20 ms", start.elapsed())
}

/// Puts as many accounts into a store as are asked for, each like one that is there.
fn remember(store: &Path, accounts: u64) {
    let options = rocksdb::Options::default();
    let columns = DB::list_cf(&options, store).unwrap();
    let db = DB::open_cf(&options, store, &columns).unwrap();
    for column in ["account", "identity"] {
        let column = db.cf_handle(column).unwrap();
        let mut rows = db.iterator_cf(column, IteratorMode::Start).map(Result::unwrap);
        let (_, row) = rows.find(|(key, _)| key.starts_with(b"did:plc:")).unwrap();
        for number in 0..accounts {
            let hash = Sha256::digest(number.to_be_bytes());
            let did = format!("did:plc:{}", BASE32_NOPAD.encode(&hash[..15]).to_lowercase());
            db.put_cf(column, did, &row).unwrap();
        }
        db.flush_cf(column).unwrap();
    }
}
