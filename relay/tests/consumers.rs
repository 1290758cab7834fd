//! Many consumers of the real program; how one consumer is treated is tested beside the code.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{World, assert_delivered};
use serde_json::Value;
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
async fn no_more_consumers_of_one_address_are_served_than_its_limit() {
    let mut world = World::new(63, &["--max-consumers-per-address=2"]).await;
    let _first = world.relay.consumer(None).await;
    let leaving = world.relay.consumer(None).await;
    let Err(Error::Http(refusal)) = Consumer::connect(world.relay.public, None).await else {
        panic!("a third consumer of the address is refused");
    };
    assert_eq!(refusal.status(), 429, "protocol 1");
    let body = refusal.body().as_deref().unwrap_or_default();
    assert!(String::from_utf8_lossy(body).contains("from your address"), "{refusal:?}");
    drop(leaving);
    world.relay.until("the place is free again", async |relay| relay.count("/consumers/connected").await == 1).await;
    let _other = world.relay.consumer(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_tells_how_far_a_consumer_is_and_an_operator_can_end_it() {
    let mut world = World::new(64, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut staying = world.relay.consumer(None).await;
    let mut leaving = Consumer::connect_as("reader/1.2", world.relay.public, None).await.unwrap();
    let sent: Vec<Sent> = (0..3).map(|_| host.emit(account.act())).collect();
    leaving.events(3).await;
    let is_counted = async |relay: &sim::Relay| consumer(relay, "reader/1.2").await["events_consumed"] == 3;
    world.relay.until("all three are counted", is_counted).await;
    let listed = consumer(&world.relay, "reader/1.2").await;
    let bytes: u64 = sent.iter().map(|event| event.content().len() as u64).sum();
    assert!(listed["bytes"].as_u64().unwrap() > bytes, "the frames of {bytes} bytes and more: {listed}");
    assert_eq!((&listed["cursor"], &listed["lag"]), (&3.into(), &0.into()), "{listed}");
    assert_eq!((&listed["remote_addr"], &listed["state"]), (&"127.0.0.1".into(), &"live".into()), "{listed}");

    let path = format!("/admin/consumers/disconnect?id={}", listed["id"]);
    assert_eq!(world.relay.post_admin(&path, Value::Null).await.status, 200);
    assert_eq!(leaving.next().await, Received::Closed(Some(1008)), "told to go");
    world.relay.until("it is gone", async |relay| relay.count("/consumers/connected").await == 1).await;
    assert_eq!(world.relay.post_admin(&path, Value::Null).await.status, 404, "nobody of that id is there any more");
    let newest = &world.relay.get_admin("/admin/audit").await.json[0];
    assert_eq!((&newest["action"], &newest["detail"]), (&"disconnect_consumer".into(), &"reader/1.2".into()));

    let last = host.emit(account.act());
    assert_delivered(&staying.events(4).await[3..], [&last], "the other one");
}

/// A consumer in the list, by its user agent.
async fn consumer(relay: &sim::Relay, user_agent: &str) -> Value {
    let listed = relay.get_admin("/admin/consumers/list").await.json;
    let found = listed.as_array().unwrap().iter().find(|consumer| consumer["user_agent"] == user_agent);
    found.cloned().unwrap_or_default()
}

/// Protocol 7: a slow consumer.
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
