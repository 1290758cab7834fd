//! Many hosts, accounts and consumers at once, on a directory that takes its time: nothing is lost, repeated or out of
//! order, for anybody.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::World;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sim::{Account, Checker, Consumer, Delivered, Fault, Host, Mutation, Report};

/// Protocol 15, 17: accounts that nobody has met, on many hosts, with a directory that is far away.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_network_at_once_is_taken_in() {
    const HOSTS: usize = 60;
    const ACCOUNTS: usize = 3 * HOSTS;
    const EVENTS: usize = 20 * ACCOUNTS;
    let mut world = World::new(150, &["--durability=os"]).await;
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        hosts.push(world.host().await);
    }
    let mut accounts: Vec<Account> = (0..ACCOUNTS).map(|number| world.account(&hosts[number % HOSTS])).collect();
    let mut consumer = world.relay.consumer(None).await;
    world.network.plc.set_fault(Some(Fault::Delay(Duration::from_millis(50))));
    let mut checker = Checker::default();
    let mut random = StdRng::seed_from_u64(150);
    let mut bad: u64 = 0;
    for number in 0..EVENTS {
        let (host, account) = (&hosts[number % HOSTS], &mut accounts[number % ACCOUNTS]);
        if number >= ACCOUNTS && random.random_ratio(1, 20) {
            host.emit_frame(|seq| Mutation::OtherPrevData.frame(account, seq));
            bad += 1;
        }
        checker.emit(host, account.act());
    }
    for event in consumer.events(EVENTS).await {
        checker.receive(&event);
    }
    assert_eq!(checker.report(), Report::CLEAN);
    let counted = "each bad event is counted";
    world.relay.until(counted, async |relay| relay.count("/events/dropped").await == bad).await;
    let (median, most) = (checker.latency(50).unwrap(), checker.latency(100).unwrap());
    assert!(Duration::ZERO < median && median <= most, "{median:?}, {most:?}");
    for account in &accounts {
        assert_eq!(world.network.plc.requests_for(&account.did), 1, "asked for once: {}", account.did);
    }
    assert_eq!(world.relay.count("/accounts").await, ACCOUNTS as u64);
}

/// A consumer that comes and goes at will, always from where it was, until it has seen the last event.
async fn restless(address: std::net::SocketAddr, seed: u64, is_over: Arc<AtomicBool>) -> Vec<Delivered> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut seen: Vec<Delivered> = Vec::new();
    loop {
        let last_chance = is_over.load(Ordering::Acquire);
        let cursor = seen.last().map_or(0, |event| event.seq);
        let mut consumer = Consumer::connect(address, Some(cursor)).await.unwrap();
        let wanted = random.random_range(1..500);
        for _ in 0..wanted {
            match tokio::time::timeout(Duration::from_millis(500), consumer.next()).await {
                Ok(sim::Received::Event(event)) => seen.push(event),
                Ok(other) => panic!("{other:?} in place of an event"),
                Err(_) if last_chance => return seen,
                Err(_) => break,
            }
        }
    }
}

/// Protocol 4: however often a consumer comes back, it has seen each event once, while more come.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_come_and_go_see_each_event_once() {
    const CONSUMERS: u64 = 8;
    const EVENTS: usize = 5_000;
    let world = World::new(151, &[]).await;
    let hosts: [Host; 2] = [world.host().await, world.host().await];
    let mut accounts: Vec<Account> = (0..20).map(|number| world.account(&hosts[number % 2])).collect();
    let mut live = world.relay.consumer(None).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let restless: Vec<_> =
        (0..CONSUMERS).map(|seed| tokio::spawn(restless(world.relay.public, seed, Arc::clone(&is_over)))).collect();
    let mut checker = Checker::default();
    for number in 0..EVENTS {
        checker.emit(&hosts[number % 2], accounts[number % 20].act());
        if number % 100 == 0 {
            checker.receive(&live.event().await);
        }
    }
    while checker.delivered() < EVENTS {
        checker.receive(&live.event().await);
    }
    is_over.store(true, Ordering::Release);
    assert_eq!(checker.report(), Report::CLEAN);
    for (number, seen) in restless.into_iter().enumerate() {
        let seen = seen.await.unwrap();
        assert_eq!(seen.len(), EVENTS, "consumer {number}");
        assert!(checker.is_replay(0, &seen), "consumer {number}");
    }
}
