//! What other relays get wrong, each as a story that this one must get right. The numbers are those of the table "what
//! other relays get wrong" in docs/reference/protocol.md, which also says which findings are tested elsewhere.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{World, assert_delivered};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use relay::protocol::cbor::Writer;
use sim::account::POSTS;
use sim::process::Setup;
use sim::repo::Write;
use sim::{Account, Checker, Consumer, Delivered, Host, Mutation, Network, Received, Relay, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A post of so many bytes.
fn large_post(account: &mut Account, number: usize, bytes: usize) -> sim::event::Commit {
    let mut record = Vec::new();
    Writer::new(&mut record).bytes(&vec![number as u8; bytes]);
    account.commit(vec![Write::Create { path: format!("{POSTS}/large{number:05}"), record }])
}

/// Peer 1, protocol 4: a replay has every event behind its cursor, wherever that lies: in the first file of the log,
/// around multiples of 10,000, at the border of two files, at the end. Then it goes on live.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_loses_nothing_at_any_cursor() {
    const SMALL: usize = 20_100;
    const LARGE: usize = 290;
    const LARGE_BYTES: usize = 950_000;
    let world = World::new(80, &["--durability=os"]).await;
    let host = world.host().await;
    let mut accounts: Vec<Account> = (0..50).map(|_| world.account(&host)).collect();
    let mut checker = Checker::default();
    let mut live = world.relay.consumer(Some(0)).await;
    for number in 0..SMALL {
        checker.emit(&host, accounts[number % 50].act());
    }
    for event in live.events(SMALL).await {
        checker.receive(&event);
    }
    for number in 0..LARGE {
        checker.emit(&host, large_post(&mut accounts[number % 50], number, LARGE_BYTES));
        checker.receive(&live.event().await);
    }
    assert_eq!(checker.report(), Report::CLEAN);
    let segments = std::fs::read_dir(world.data_dir().join("log")).unwrap();
    let segments = segments.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "log"));
    assert!(segments.count() > 1, "the log has several files");

    let last = checker.seqs().last().unwrap();
    let mut cursors: Vec<u64> = (0..200).chain((9_990..10_010).chain(19_990..20_010)).collect();
    cursors.extend((200..last).step_by(499));
    cursors.extend(last - LARGE as u64..=last);
    for cursor in &cursors {
        let mut consumer = world.relay.consumer(Some(*cursor)).await;
        let replay = consumer.events(usize::try_from(last - cursor).unwrap().min(3)).await;
        assert!(checker.is_replay(*cursor, &replay), "cursor {cursor}");
    }
    for cursor in [0, 1, 9_999, 10_000, 10_001, 20_000] {
        let mut consumer = world.relay.consumer(Some(cursor)).await;
        let replay = consumer.events(usize::try_from(last - cursor).unwrap()).await;
        assert!(checker.is_replay(cursor, &replay), "all behind cursor {cursor}");
        checker.emit(&host, accounts[0].post());
        let next = live.event().await;
        checker.receive(&next);
        loop {
            // What was live for an earlier consumer of this loop is replayed to a later one.
            let event = consumer.event().await;
            if event.seq == next.seq {
                assert!(event == next, "live behind cursor {cursor}");
                break;
            }
        }
    }
    assert_eq!(checker.report(), Report::CLEAN);
}

/// Peer 1, 14, protocol 4: the event at the cursor does not come again, and what comes is what came live.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_every_cursor_equals_what_came_live() {
    const EVENTS: usize = 400;
    let world = World::new(81, &[]).await;
    let host = world.host().await;
    let mut accounts: Vec<Account> = (0..5).map(|_| world.account(&host)).collect();
    let mut checker = Checker::default();
    let mut live = world.relay.consumer(None).await;
    for number in 0..EVENTS {
        checker.emit(&host, accounts[number % 5].any_event());
        checker.receive(&live.event().await);
    }
    assert_eq!(checker.report(), Report::CLEAN);
    let seqs: Vec<u64> = checker.seqs().collect();
    for (place, cursor) in [0].iter().chain(&seqs).enumerate() {
        let mut consumer = world.relay.consumer(Some(*cursor)).await;
        let replay = consumer.events(EVENTS - place).await;
        assert!(checker.is_replay(*cursor, &replay), "from cursor {cursor}");
    }
}

/// Peer 2, 11, protocol 21 to 28: every kind of bad event, amid good ones, at full speed, from both kinds of keys.
#[tokio::test(flavor = "multi_thread")]
async fn amid_many_events_nothing_bad_passes_and_nothing_good_is_lost() {
    const EVENTS: usize = 4_000;
    let mut world = World::new(82, &[]).await;
    let mut random = StdRng::seed_from_u64(82);
    let mut hosts = Vec::new();
    for _ in 0..4 {
        hosts.push(world.host().await);
    }
    let mut consumer = world.relay.consumer(None).await;
    let mut checker = Checker::default();
    let mut accounts: Vec<(usize, Account)> =
        (0..40).map(|number| (number % 4, world.account(&hosts[number % 4]))).collect();
    for (host, account) in &mut accounts {
        let create = |number| Write::Create { path: format!("{POSTS}/{number:03}"), record: vec![0xa0] };
        checker.emit(&hosts[*host], account.commit((0..50).map(create).collect()));
    }
    let mut bad: u64 = 0;
    for _ in 0..EVENTS {
        let place = random.random_range(0..accounts.len());
        let (host, account) = &mut accounts[place];
        if random.random_ratio(1, 10) {
            let mutation = *Mutation::ALL.choose(&mut random).unwrap();
            hosts[*host].emit_frame(|seq| mutation.frame(account, seq));
            bad += 1;
        }
        checker.emit(&hosts[*host], account.any_event());
    }
    for event in consumer.events(checker.sent()).await {
        checker.receive(&event);
    }
    let dropped = "each bad event is counted";
    world.relay.until(dropped, async |relay| relay.count("/events/dropped").await == bad).await;
    assert_eq!(checker.report(), Report::CLEAN);
    assert_eq!(world.relay.count("/events/passed").await, checker.sent() as u64, "and nothing else passed");
}

/// Peer 4, protocol 7: a consumer that takes nothing and falls behind can read why it was cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_consumer_is_told_that_it_was_too_slow() {
    /// More than the ring of live events and the sockets hold.
    const EVENTS: usize = 300;
    const EVENT_BYTES: usize = 200_000;
    /// The consumer is cut half a minute after it last took something, and then has half a minute to read why.
    const STALL: Duration = Duration::from_secs(40);
    let world = World::new(83, &["--memory-limit=128Mi"]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut stalled = world.relay.consumer(None).await;
    let mut other = world.relay.consumer(None).await;
    for number in 0..EVENTS {
        host.emit(large_post(&mut account, number, EVENT_BYTES));
        other.event().await;
    }
    tokio::time::sleep(STALL).await;
    let mut events = 0;
    let end = loop {
        match stalled.next().await {
            Received::Event(_) => events += 1,
            end => break end,
        }
    };
    assert_eq!(end, Received::Error("ConsumerTooSlow".to_owned()), "after {events} events");
    assert_eq!(stalled.next().await, Received::Closed(Some(1008)));
    assert!(events < EVENTS);
    let sent = host.emit(account.post());
    assert_delivered(&other.events(1).await, [&sent], "the other consumer feels nothing");
}

/// Peer 5, protocol 15: many events of few accounts at once do not pile up in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_does_not_outgrow_the_memory_limit() {
    const EVENTS: usize = 40_000;
    const RECORD_BYTES: usize = 4_000;
    const LIMIT_BYTES: u64 = 256 << 20;
    let world = World::new(84, &["--memory-limit=256Mi"]).await;
    let mut host = world.host().await;
    let mut accounts = [world.account(&host), world.account(&host)];
    let mut consumer = world.relay.consumer(None).await;
    let mut checker = Checker::default();
    for account in &mut accounts {
        checker.emit(&host, account.post());
        checker.receive(&consumer.event().await);
    }
    host.down().await;
    for number in 0..EVENTS {
        checker.emit(&host, large_post(&mut accounts[number % 2], number, RECORD_BYTES));
    }
    host.up().await;
    world.relay.crawl(&host).await;
    for event in consumer.events(EVENTS).await {
        checker.receive(&event);
    }
    assert_eq!(checker.report(), Report::CLEAN);
    let peak = world.relay.memory_bytes("VmHWM");
    assert!(peak < LIMIT_BYTES, "{} MiB at the most", peak >> 20);
}

/// Peer 7, protocol 3, 4: a consumer whose cursor lies before or behind what there is, is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_outside_of_the_window_is_answered() {
    let world = World::new(85, &["--initial-seq=1000"]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut live = world.relay.consumer(None).await;
    let sent = [host.emit(account.post()), host.emit(account.post())];
    let delivered = live.events(2).await;
    assert_eq!(delivered[0].seq, 1000, "seqs begin at the floor");

    let mut old = world.relay.consumer(Some(5)).await;
    assert_eq!(old.next().await, Received::Info("OutdatedCursor".to_owned()));
    assert_delivered(&old.events(2).await, &sent, "then the whole window");
    let mut whole = world.relay.consumer(Some(0)).await;
    assert_delivered(&whole.events(2).await, &sent, "cursor 0 asks for just that, and is told nothing");
    let mut future = world.relay.consumer(Some(2000)).await;
    assert_eq!(future.next().await, Received::Error("FutureCursor".to_owned()));
    assert_eq!(future.next().await, Received::Closed(Some(1008)));
    let next = host.emit(account.post());
    for consumer in [&mut live, &mut old, &mut whole] {
        assert_delivered(&consumer.events(1).await, [&next], "the others go on live");
    }
}

/// Peer 8, protocol 2: a message is one WebSocket frame, however long it is.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_not_fragmented() {
    const FINAL_BINARY: u8 = 0x82;
    let world = World::new(86, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut stream = TcpStream::connect(world.relay.public).await.unwrap();
    let request = "GET /xrpc/com.atproto.sync.subscribeRepos?cursor=0 HTTP/1.1\r\nHost: relay\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));

    for (number, bytes) in [100, 5_000, 70_000, 900_000].into_iter().enumerate() {
        let sent = host.emit(large_post(&mut account, number, bytes));
        assert_eq!(stream.read_u8().await.unwrap(), FINAL_BINARY, "{bytes} bytes");
        let length = match stream.read_u8().await.unwrap() {
            126 => u64::from(stream.read_u16().await.unwrap()),
            127 => stream.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut message = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut message).await.unwrap();
        assert_eq!(message, sent.frame, "{bytes} bytes; the seq is the same here and there");
    }
}

/// Peer 9, protocol 10, 11: garbage and broken connections amid events of every kind, `#identity` among them.
#[tokio::test(flavor = "multi_thread")]
async fn after_garbage_and_broken_connections_each_event_has_passed_once() {
    const EVENTS: usize = 300;
    let mut world = World::new(87, &[]).await;
    let host = world.host().await;
    let mut accounts: Vec<Account> = (0..6).map(|_| world.account(&host)).collect();
    let mut consumer = world.relay.consumer(None).await;
    let mut checker = Checker::default();
    let mut cuts = 0;
    // Without an event of the host the relay has no cursor there, and a broken connection begins anew with live events.
    checker.emit(&host, accounts[0].act());
    checker.receive(&consumer.event().await);
    for number in 0..EVENTS {
        let account = &mut accounts[number % 6];
        match number % 50 {
            10 => drop(host.emit_frame(|_| vec![0xff; 100])),
            20 => drop(host.emit_frame(|_| b"\xa2\x61t\x67#commit\x62op\x01".to_vec())),
            30 => {
                host.cut_next_frame();
                cuts += 1;
            }
            _ => {}
        }
        if number % 50 == 40 {
            checker.emit(&host, account.identity());
        } else {
            checker.emit(&host, account.act());
        }
        if number % 50 == 31 {
            // Everything has come before the next cut, so that each of them breaks a connection.
            while checker.delivered() < checker.sent() {
                checker.receive(&consumer.event().await);
            }
        }
    }
    while checker.delivered() < checker.sent() {
        checker.receive(&consumer.event().await);
    }
    let nothing = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(nothing.is_err(), "nothing comes twice: {nothing:?}");
    assert_eq!(checker.report(), Report::CLEAN);
    assert!(host.cursors().len() > cuts, "the connection broke {cuts} times: {:?}", host.cursors());
    assert!(world.relay.is_alive());
}

/// Peer 12, protocol 20: a rev from the future leaves nothing behind that later ones would be held against.
#[tokio::test(flavor = "multi_thread")]
async fn a_rev_from_the_future_does_not_poison_its_account() {
    let mut world = World::new(88, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut checker = Checker::default();
    for round in 0..3 {
        checker.emit(&host, account.post());
        host.emit_frame(|seq| Mutation::FutureRev.frame(&account, seq));
        for _ in 0..50 {
            checker.emit(&host, account.act());
        }
        let mut last = 0;
        while checker.delivered() < checker.sent() {
            let event = consumer.event().await;
            last = event.seq;
            checker.receive(&event);
        }
        world.until_dropped("future_rev", 1).await;
        assert_eq!(checker.report(), Report::CLEAN, "round {round}");
        if round == 1 {
            world.relay.kill();
        } else {
            world.stop(&mut consumer).await;
        }
        world.relay.start_again().await;
        consumer = world.relay.consumer(Some(last)).await;
    }
}

/// Peer 13, protocol 10: hosts that are known are connected to after a crash and after a stop, though nobody names them.
#[tokio::test(flavor = "multi_thread")]
async fn known_hosts_are_dialled_again_after_a_restart() {
    let mut world = World::new(89, &[]).await;
    let hosts = [world.host().await, world.host().await, world.host().await];
    let mut accounts: Vec<Account> = hosts.iter().map(|host| world.account(host)).collect();
    let mut checker = Checker::default();
    let delivered = Arc::<Mutex<Vec<Delivered>>>::default();
    for round in 0..3 {
        for (host, account) in hosts.iter().zip(&mut accounts) {
            checker.emit(host, account.post());
        }
        let last = delivered.lock().unwrap().last().map_or(0, |event| event.seq);
        let mut consumer = world.relay.consumer(Some(last)).await;
        let events = consumer.events(hosts.len()).await;
        events.iter().for_each(|event| checker.receive(event));
        delivered.lock().unwrap().extend(events);
        assert_eq!(checker.report(), Report::CLEAN, "round {round}");
        if round == 0 {
            world.relay.kill();
        } else {
            world.stop(&mut consumer).await;
        }
        for host in &hosts {
            host.disconnected().await;
        }
        world.relay.start_again().await;
        for host in &hosts {
            host.connected().await;
        }
    }
    for host in &hosts {
        assert_eq!(host.cursors().len(), 4, "once for each start: {:?}", host.cursors());
    }
}

/// Peer 16, protocol 17: a relay starts and serves what it has, whether or not there is a directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_starts_without_its_directory() {
    let network = Network::start(90).await;
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(env!("CARGO_BIN_EXE_relay"), &folder.path().join("data"), &network.plc, &[]);
    let url = network.plc.url();
    // Nobody listens at the discard port.
    setup.settings.iter_mut().filter(|setting| **setting == url).for_each(|url| *url = "http://127.0.0.1:9".to_owned());
    let mut relay = Relay::start(setup).await;
    let host = Host::start().await;
    relay.crawl(&host).await;
    host.emit(network.account(&host).post());
    let waits = "its event waits";
    relay
        .until(waits, async |relay| relay.get_admin("/metrics").await.text.contains("relay_events_parked_total 1\n"))
        .await;
    assert!(relay.is_ready().await);
    let mut consumer: Consumer = relay.consumer(Some(0)).await;
    let nothing = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(nothing.is_err(), "what cannot be verified does not pass: {nothing:?}");
    assert_eq!(relay.count("/events/dropped").await, 0, "and is not dropped");
}
