//! What survives: a stop, a `kill -9` at any moment, a torn log, a full disk.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{World, assert_delivered};
use rand::Rng;
use relay::protocol::cbor::Writer;
use relay::protocol::frame::{Peek, peek};
use sim::account::POSTS;
use sim::process::Setup;
use sim::repo::Write;
use sim::{Account, Consumer, Delivered, Fault, Host, Mutation, Network, Received, Relay, Sent};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Protocol 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_drains_and_the_next_start_goes_on() {
    let mut world = World::new(50, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut sent: Vec<Sent> = (0..50).map(|_| host.emit(account.act())).collect();
    let delivered = consumer.events(50).await;
    let last = delivered[49].seq;

    let start = Instant::now();
    let (exit, close) = tokio::join!(world.relay.terminate(), consumer.next());
    assert!(exit.success(), "SIGTERM ends with exit code 0");
    assert_eq!(close, Received::Closed(Some(1012)), "consumers are closed properly");
    assert!(start.elapsed() < Duration::from_secs(5), "a stop with consumers that have everything is quick");

    sent.extend((0..50).map(|_| host.emit(account.act())));
    let requests = world.network.plc.requests();
    world.relay.start_again().await;
    let mut consumer = world.relay.consumer(Some(last)).await;
    let after = consumer.events(50).await;
    assert_delivered(&after, &sent[50..], "what came meanwhile, and nothing again");
    assert_eq!(after[0].seq, last + 1, "a clean stop leaves no gap");
    assert_eq!(host.cursors(), [None, Some(50)], "the cursor was stored");
    assert_eq!(world.network.plc.requests(), requests, "identities are remembered");
    assert_eq!(world.dropped().await, Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_at_a_stop_is_neither_lost_nor_repeated() {
    let mut world = World::new(51, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(Some(0)).await;
    let sent: Vec<Sent> = (0..2000).map(|_| host.emit(account.act())).collect();
    let mut delivered = consumer.events(100).await;
    let until_closed = async {
        loop {
            match consumer.next().await {
                Received::Event(event) => delivered.push(event),
                other => return other,
            }
        }
    };
    let (exit, close) = tokio::join!(world.relay.terminate(), until_closed);
    assert!(exit.success());
    assert_eq!(close, Received::Closed(Some(1012)), "after all that was published");
    world.relay.start_again().await;
    let mut consumer = world.relay.consumer(delivered.last().map(|event| event.seq)).await;
    delivered.extend(consumer.events(2000 - delivered.len()).await);
    assert_delivered(&delivered, &sent, "each event once");
}

/// Protocol 10.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_for_an_identity_survive_a_crash() {
    let mut world = World::new(56, &[]).await;
    let host = world.host().await;
    let (mut known, mut unknown) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    host.emit(known.post());
    consumer.event().await;
    for crash in [true, false] {
        world.network.plc.set_fault(Some(Fault::Status(503)));
        let waiting = host.emit(unknown.post());
        let passing = host.emit(known.post());
        let delivered = consumer.events(1).await;
        assert_delivered(&delivered, [&passing], "an account that is known");
        if crash {
            world.relay.kill();
        } else {
            assert!(tokio::join!(world.relay.terminate(), consumer.next()).0.success());
        }
        world.network.plc.set_fault(None);
        world.relay.start_again().await;
        consumer = world.relay.consumer(Some(delivered[0].seq)).await;
        assert_delivered(&consumer.events(1).await, [&waiting], "what waited comes again, and what passed does not");
        unknown = world.account(&host);
    }
}

/// Hosts whose accounts never rest.
struct Load {
    hosts: Vec<Arc<Host>>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts once the relay has seen something of each host: from there on it may miss nothing.
    async fn start(world: &World) -> Load {
        let (stop, _) = watch::channel(false);
        let mut consumer = world.relay.consumer(None).await;
        let mut load = Load { hosts: Vec::new(), sent: Arc::default(), stop, tasks: Vec::new() };
        let mut members = Vec::new();
        for _ in 0..2 {
            let host = Arc::new(world.host().await);
            let mut accounts: Vec<Account> = (0..10).map(|_| world.account(&host)).collect();
            let first = accounts.iter_mut().map(|account| host.emit(account.post()).content());
            load.sent.lock().unwrap().extend(first);
            consumer.events(accounts.len()).await;
            members.push((host, accounts));
        }
        for (host, accounts) in members {
            load.hosts.push(Arc::clone(&host));
            load.tasks.push(tokio::spawn(emit(host, accounts, Arc::clone(&load.sent), load.stop.subscribe())));
        }
        load
    }

    /// Ends, and says what was sent: the contents, each account's in order. The hosts stay.
    async fn stop(&mut self) -> Vec<Vec<u8>> {
        self.stop.send_replace(true);
        for task in &mut self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

/// What must not pass, however it is mixed with kills.
const BAD: [Mutation; 4] = [Mutation::BlockBit, Mutation::HiddenOp, Mutation::StaleRev, Mutation::Cut];

async fn emit(host: Arc<Host>, mut accounts: Vec<Account>, log: Arc<Mutex<Vec<Vec<u8>>>>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        for account in &mut accounts {
            let sent = host.emit(account.any_event());
            log.lock().unwrap().push(sent.content());
            match rand::rng().random_range(0..500) {
                0 => host.cut_next_frame(),
                number if number < 20 => drop(host.emit_frame(|seq| BAD[number % BAD.len()].frame(account, seq))),
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A consumer that comes back whenever it is cut off, and goes on from the last event that it had.
fn follow(address: SocketAddr, delivered: Arc<Mutex<Vec<Delivered>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let cursor = delivered.lock().unwrap().last().map_or(0, |event: &Delivered| event.seq);
            if let Ok(mut consumer) = Consumer::connect(address, Some(cursor)).await {
                while let Received::Event(event) = consumer.next().await {
                    delivered.lock().unwrap().push(event);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// Waits until so many events have arrived, or for long in vain, and then for a moment in which more might come.
async fn arrived(delivered: &Mutex<Vec<Delivered>>, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while delivered.lock().unwrap().len() < count && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Contents by account, each account's in order.
fn by_account(events: impl IntoIterator<Item = Vec<u8>>) -> HashMap<String, Vec<Vec<u8>>> {
    let mut accounts = HashMap::<String, Vec<Vec<u8>>>::new();
    for content in events {
        let Ok(Peek::Event { did, .. }) = peek(&content) else { panic!("no event") };
        accounts.entry(did.to_owned()).or_default().push(content);
    }
    accounts
}

/// Peer 3, 13, protocol 5.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_passes_once_however_often_the_relay_is_killed() {
    const ROUNDS: usize = 8;
    let mut world = World::new(52, &[]).await;
    let delivered = Arc::<Mutex<Vec<Delivered>>>::default();
    let following = follow(world.relay.public, Arc::clone(&delivered));
    let mut load = Load::start(&world).await;
    for round in 0..ROUNDS {
        let life = rand::rng().random_range(100..1500);
        tokio::time::sleep(Duration::from_millis(life)).await;
        // A clean stop in between leaves derived rows from which the later starts go on.
        if round == ROUNDS / 2 {
            assert!(world.relay.terminate().await.success());
        }
        world.relay.kill();
        world.relay.start_again().await;
    }
    for host in &load.hosts {
        assert!(host.cursors().len() > ROUNDS / 2, "the load was on: {:?}", host.cursors());
    }
    let sent = load.stop().await;
    arrived(&delivered, sent.len()).await;
    following.abort();

    let delivered = std::mem::take(&mut *delivered.lock().unwrap());
    assert!(delivered.is_sorted_by(|a, b| a.seq < b.seq), "a consumer never sees a seq twice, or an earlier one");
    let (was_sent, was_delivered) = (by_account(sent), by_account(delivered.iter().map(Delivered::content)));
    for (did, sent) in &was_sent {
        let delivered = was_delivered.get(did).map_or(&[][..], Vec::as_slice);
        let difference = sent.iter().zip(delivered).position(|(sent, delivered)| sent != delivered);
        let found = (difference, delivered.len());
        let hosts = world.relay.get_admin("/admin/pds/list").await.text;
        let dropped = world.dropped().await;
        assert_eq!(found, (None, sent.len()), "first difference and number of {did}; {dropped:?}; {hosts}");
    }

    let mut audit = world.relay.consumer(Some(0)).await;
    let kept = audit.events(delivered.len()).await;
    assert!(kept == delivered, "a seq means the same event before and after a crash");
}

/// The newest segment of the log.
fn last_segment(data_dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(data_dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_of_the_log_is_cut_off() {
    let mut world = World::new(53, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut sent: Vec<Sent> = (0..20).map(|_| host.emit(account.act())).collect();
    let delivered = consumer.events(20).await;
    world.relay.kill();

    // The next record was half written.
    let segment = last_segment(&world.data_dir());
    let bytes = std::fs::read(&segment).unwrap();
    let torn = [&bytes[..], &bytes[bytes.len() - 500..]].concat();
    std::fs::write(&segment, torn).unwrap();
    world.relay.start_again().await;
    sent.push(host.emit(account.act()));
    let mut consumer = world.relay.consumer(Some(0)).await;
    let again = consumer.events(21).await;
    assert_delivered(&again, &sent, "nothing is lost with the torn end");
    assert!(again[..20] == delivered, "under the same seqs");
}

/// Protocol 5.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_gives_no_seq_twice() {
    let mut world = World::new(54, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let sent: Vec<Sent> = (0..20).map(|_| host.emit(account.act())).collect();
    let delivered = consumer.events(20).await;
    assert!(world.relay.terminate().await.success());

    // The disk did not keep what it had confirmed.
    let segment = last_segment(&world.data_dir());
    let length = std::fs::metadata(&segment).unwrap().len();
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(length - 10).unwrap();
    world.relay.start_again().await;
    let good = host.emit(account.act());
    let mut consumer = world.relay.consumer(Some(delivered[19].seq)).await;
    let next = consumer.events(1).await;
    assert_delivered(&next, [&good], "a consumer that had the lost event gets the next one");
    assert!(next[0].seq > delivered[19].seq, "the lost event's seq stays its own (protocol 5)");
    let mut consumer = world.relay.consumer(Some(0)).await;
    assert_delivered(&consumer.events(20).await, sent[..19].iter().chain([&good]), "the rest is there");
}

/// Size of the disk of [`a_full_disk_holds_the_hosts_back`], how much of it is filled by others, and what comes.
const DISK: &str = "size=64m";
const BALLAST_BYTES: usize = 48 << 20;
const LARGE_RECORD_BYTES: usize = 200_000;
const LARGE_RECORDS: usize = 150;

/// Programs that run a command on a disk of its own, which needs no privilege where users may have namespaces.
const NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_the_hosts_back() {
    if !Command::new(NAMESPACE[0]).args(&NAMESPACE[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("left out: no user namespaces here");
        return;
    }
    let network = Network::start(55).await;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    let mut setup = Setup::new(env!("CARGO_BIN_EXE_relay"), &data_dir, &network.plc, &[]);
    let script =
        format!("mount -t tmpfs -o {DISK} tmpfs $0 && head -c {BALLAST_BYTES} /dev/zero > $0/ballast && exec $@");
    let shell = ["sh", "-c", &script];
    let wrapper = NAMESPACE.iter().chain(&shell).map(OsString::from);
    setup.command = wrapper.chain([OsString::from(&data_dir)]).chain(setup.command).collect();
    let mut relay = Relay::start(setup).await;

    let (host, other_host) = (Host::start().await, Host::start().await);
    relay.crawl(&host).await;
    relay.crawl(&other_host).await;
    let (mut account, mut other) = (network.account(&host), network.account(&other_host));
    let mut consumer = relay.consumer(None).await;
    let mut large = |number: usize| {
        let mut record = Vec::new();
        Writer::new(&mut record).bytes(&[number as u8; LARGE_RECORD_BYTES]);
        host.emit(account.commit(vec![Write::Create { path: format!("{POSTS}/{number}"), record }]))
    };
    let sent: Vec<Sent> = (0..LARGE_RECORDS).map(&mut large).collect();
    relay.until("a relay that cannot write is not ready", async |relay| !relay.is_ready().await).await;
    assert_eq!(relay.request(reqwest::Method::GET, relay.admin, "/livez").send().await.unwrap().status(), 200);
    assert!((relay.count("/events/passed").await as usize) < LARGE_RECORDS, "the disk is full");
    // An identity that cannot be remembered now is no reason to lose the event.
    let of_other = other_host.emit(other.post());
    tokio::time::sleep(Duration::from_millis(500)).await;

    let ballast = format!("/proc/{}/root{}/ballast", relay.pid().as_raw_nonzero(), data_dir.display());
    std::fs::remove_file(ballast).unwrap();
    let delivered = consumer.events(LARGE_RECORDS + 1).await;
    let (of_other_delivered, delivered): (Vec<_>, Vec<_>) =
        delivered.into_iter().partition(|event| event.did == other.did);
    assert_delivered(&delivered, &sent, "all of it, once there is room");
    assert_delivered(&of_other_delivered, [&of_other], "that of the other host");
    relay.until("it is ready again", async |relay| relay.is_ready().await).await;
    assert!(relay.terminate().await.success());
}
