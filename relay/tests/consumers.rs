//! Many consumers of the real program; how one consumer is treated is tested beside the code.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{World, assert_delivered};
use sim::{Consumer, Received, Sent};
use tokio_tungstenite::tungstenite::Error;

/// Protocol 4.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_at_every_place_of_the_stream_get_the_same_events() {
    const EVENTS: usize = 300;
    let world = World::new(60, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut first = world.relay.consumer(Some(0)).await;
    let mut sent: Vec<Sent> = Vec::new();
    let mut reading = Vec::new();
    for number in 0..EVENTS {
        sent.push(host.emit(account.act()));
        if number % 10 == 0 {
            let seq = first.event().await.seq;
            let mut consumer = world.relay.consumer(Some(seq - 1)).await;
            let rest = EVENTS - (seq as usize - 1);
            reading.push((seq as usize - 1, tokio::spawn(async move { consumer.events(rest).await })));
        }
    }
    for (behind, events) in reading {
        assert_delivered(&events.await.unwrap(), &sent[behind..], &format!("from event {behind}"));
    }
}

/// Protocol 1.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_consumers_are_served_than_the_limit() {
    let mut world = World::new(61, &["--max-consumers=2"]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let leaving = world.relay.consumer(None).await;
    let Err(Error::Http(refusal)) = Consumer::connect(world.relay.public, None).await else {
        panic!("a third consumer is refused");
    };
    assert_eq!(refusal.status(), 429, "protocol 1");
    assert!(refusal.headers().contains_key("retry-after"), "{refusal:?}");
    let listed = world.relay.get_admin("/admin/consumers/list").await.json;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");

    drop(leaving);
    world.relay.until("the place is free again", async |relay| relay.count("/consumers/connected").await == 1).await;
    let mut other = world.relay.consumer(None).await;
    let sent = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&sent], "one that stayed");
    assert_delivered(&other.events(1).await, [&sent], "one that came");
}

/// Protocol 7.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_reads_nothing_holds_up_nobody() {
    const EVENTS: usize = 20_000;
    let world = World::new(62, &[]).await;
    let host = world.host().await;
    let mut accounts: Vec<_> = (0..20).map(|_| world.account(&host)).collect();
    let mut idle = world.relay.consumer(Some(0)).await;
    let mut consumer = world.relay.consumer(Some(0)).await;
    let sent: Vec<Sent> = (0..EVENTS).map(|number| host.emit(accounts[number % 20].act())).collect();
    let events = tokio::time::timeout(Duration::from_secs(20), consumer.events(EVENTS)).await;
    assert_eq!(events.unwrap().len(), EVENTS);
    // More than the sockets hold has passed, so the idle consumer gets the rest from the log.
    let events = idle.events(EVENTS).await;
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert!(seqs.iter().copied().eq(1..=EVENTS as u64), "every seq, once");
    assert_eq!(idle_next(&mut idle).await, None, "and no more");
    assert_eq!(sent.len(), EVENTS);
}

/// What comes within a moment.
async fn idle_next(consumer: &mut Consumer) -> Option<Received> {
    tokio::time::timeout(Duration::from_millis(200), consumer.next()).await.ok()
}
