//! What survives: a stop, a `kill -9` at any moment, a torn log, a full disk.

#![allow(clippy::unwrap_used)]

mod common;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::load::{Follower, Load, assert_complete};
use common::{World, assert_delivered};
use rand::Rng;
use relay::protocol::cbor::Writer;
use sim::account::POSTS;
use sim::process::Setup;
use sim::repo::Write;
use sim::{Fault, Host, Network, Received, Relay, Sent};

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

/// Peer 3, 13, protocol 5.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_passes_once_however_often_the_relay_is_killed() {
    const ROUNDS: usize = 8;
    let mut world = World::new(52, &[]).await;
    let follower = Follower::start(world.relay.public, Duration::ZERO);
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
    let delivered = follower.stop_at(sent.len()).await;
    assert_complete(&world, sent, &delivered).await;

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

/// A relay on a small disk, which is full but for little.
struct SmallDisk {
    network: Network,
    relay: Relay,
    data_dir: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where users may have no namespaces.
    async fn new(seed: u64, settings: &[&str]) -> Option<SmallDisk> {
        if !Command::new(NAMESPACE[0]).args(&NAMESPACE[1..]).arg("true").status().is_ok_and(|status| status.success()) {
            eprintln!("left out: no user namespaces here");
            return None;
        }
        let network = Network::start(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        let mut setup = Setup::new(env!("CARGO_BIN_EXE_relay"), &data_dir, &network.plc, settings);
        let script =
            format!("mount -t tmpfs -o {DISK} tmpfs $0 && head -c {BALLAST_BYTES} /dev/zero > $0/ballast && exec $@");
        let shell = ["sh", "-c", &script];
        let wrapper = NAMESPACE.iter().chain(&shell).map(OsString::from);
        setup.command = wrapper.chain([OsString::from(&data_dir)]).chain(setup.command).collect();
        Some(SmallDisk { network, relay: Relay::start(setup).await, data_dir, _folder: folder })
    }

    /// Has a host emit more than the disk holds, and waits until the relay cannot write any more.
    async fn fill(&mut self, host: &Host) -> Vec<Sent> {
        let mut account = self.network.account(host);
        let mut large = |number: usize| {
            let mut record = Vec::new();
            Writer::new(&mut record).bytes(&[number as u8; LARGE_RECORD_BYTES]);
            host.emit(account.commit(vec![Write::Create { path: format!("{POSTS}/{number}"), record }]))
        };
        let sent = (0..LARGE_RECORDS).map(&mut large).collect();
        self.relay.until("a relay that cannot write is not ready", async |relay| !relay.is_ready().await).await;
        sent
    }
}

/// What cannot be written is not waited for: its host sends it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_a_full_disk_comes_to_its_end() {
    let last_words = tempfile::NamedTempFile::new().unwrap();
    let setting = format!("--termination-log={}", last_words.path().display());
    let Some(mut disk) = SmallDisk::new(57, &["--drain-time=5s", &setting]).await else { return };
    let host = Host::start().await;
    disk.relay.crawl(&host).await;
    disk.fill(&host).await;
    assert!(disk.relay.terminate().await.success());
    let said = std::fs::read_to_string(last_words.path()).unwrap();
    assert!(said.contains("drained but for events on their way"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_the_hosts_back() {
    let Some(mut disk) = SmallDisk::new(55, &[]).await else { return };
    let (host, other_host) = (Host::start().await, Host::start().await);
    disk.relay.crawl(&host).await;
    disk.relay.crawl(&other_host).await;
    let mut other = disk.network.account(&other_host);
    let mut consumer = disk.relay.consumer(None).await;
    let sent = disk.fill(&host).await;
    let (relay, data_dir) = (&mut disk.relay, &disk.data_dir);
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
