//! What consumers may hold, and what changes of it while they are connected.

use std::sync::atomic::Ordering::Relaxed;

use super::http::{UPGRADE, assert_answer, request};
use super::*;

/// Larger than what the sockets of both sides take.
const LARGE: usize = 5_000_000;

#[tokio::test]
async fn the_ring_takes_another_size_and_nobody_misses_anything() {
    let rig = Rig::new(limits(), 0, 0).await;
    let mut consumers = [rig.connect(Some(0)).await, rig.connect_narrow(Some(0)).await];
    rig.publish(1000, 4000);
    let full = rig.firehose.ring_bytes();
    assert!(full > 4_000_000, "all of it: {full}");
    rig.firehose.set_ring_bytes(100 << 10);
    assert!(rig.firehose.ring_bytes() <= 100 << 10, "at once");
    rig.publish(1000, 4000);
    assert!(rig.firehose.ring_bytes() <= 100 << 10);
    rig.firehose.set_ring_bytes(8 << 20);
    rig.publish(1000, 4000);
    assert!(rig.firehose.ring_bytes() > 4_000_000, "it may grow again");
    for consumer in &mut consumers {
        expect_events(consumer, 1, 3000).await;
    }
}

#[tokio::test]
async fn while_memory_is_short_consumers_catch_up_one_by_one() {
    let rig = Rig::new(limits(), 500, 4000).await;
    rig.firehose.slow_catch_up(true);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut consumer = rig.connect(Some(0)).await;
        readers.spawn(async move { expect_events(&mut consumer, 1, 500).await });
    }
    let mut reading = 0;
    while !readers.is_empty() {
        let bytes = rig.firehose.replay_bytes();
        assert!(bytes <= REPLAY_CHUNK_BYTES, "one at a time: {bytes}");
        reading += u32::from(bytes > 0);
        while let Some(read) = readers.try_join_next() {
            read.unwrap();
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(reading > 0);
    assert_eq!(rig.firehose.replay_bytes(), 0);

    rig.firehose.slow_catch_up(false);
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(rig.connect_narrow(Some(0)).await);
    }
    rig.wait_until("several at a time", |firehose| firehose.replay_bytes() > REPLAY_CHUNK_BYTES).await;
}

#[tokio::test]
async fn large_events_of_the_log_are_counted_by_their_size() {
    let bytes_max = 2 * LARGE + 100;
    let rig = Rig::new(Limits { ring_bytes_max: 0, replay_bytes_max: bytes_max, ..limits() }, 0, 0).await;
    rig.publish(6, LARGE);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let mut consumer = rig.connect_narrow(Some(0)).await;
        readers.spawn(async move { expect_events(&mut consumer, 1, 6).await });
    }
    let mut most = 0;
    while !readers.is_empty() {
        most = most.max(rig.firehose.replay_bytes());
        while let Some(read) = readers.try_join_next() {
            read.unwrap();
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert!((LARGE..=bytes_max).contains(&most), "{most}");
}

#[tokio::test]
async fn consumers_that_stall_within_large_events_keep_no_more_than_there_is_room_for() {
    let rig = Rig::new(Limits { consumer_bytes_max: 0, ..limits() }, 0, 0).await;
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(rig.connect_narrow(None).await);
    }
    rig.wait_until("connected", |firehose| firehose.consumers() == 5).await;
    rig.publish(1, LARGE);
    rig.wait_until("four are cut", |firehose| firehose.stats().disconnects(Disconnect::TooSlow) == 4).await;
    let kept = rig.firehose.consumer_bytes() - CONSUMER_BYTES;
    assert!((LARGE as u64..=KEPT_BYTES_MIN).contains(&kept), "{kept}");

    let mut whole = 0;
    for client in &mut stalled {
        match timeout(PATIENCE, client.next()).await.unwrap() {
            Some(Ok(Message::Binary(message))) => {
                assert_eq!(see_message(&message), Seen::Event(1));
                whole += 1;
            }
            other => assert!(!matches!(other, Some(Ok(_))), "cut within the event: {other:?}"),
        }
    }
    assert_eq!(whole, 1, "one goes on");
    rig.wait_until("nothing is kept", |firehose| firehose.consumer_bytes() == CONSUMER_BYTES).await;
    let mut again = rig.connect(Some(0)).await;
    expect_events(&mut again, 1, 1).await;
}

#[tokio::test]
async fn the_limit_of_consumers_changes_and_who_is_connected_stays() {
    let rig = Rig::new(Limits { consumers_max: 2, ..limits() }, 0, 0).await;
    let mut connected = [rig.connect(None).await, rig.connect(None).await];
    rig.firehose.set_consumer_bounds(1, 0);
    assert_answer("fewer", &request(&rig, "GET", "", UPGRADE).await, "429", &["retry-after: 30"]);
    rig.publish(3, 100);
    for consumer in &mut connected {
        expect_events(consumer, 1, 3).await;
    }
    rig.firehose.set_consumer_bounds(3, 0);
    let mut third = rig.connect(Some(0)).await;
    expect_events(&mut third, 1, 3).await;
    assert_answer("more", &request(&rig, "GET", "", UPGRADE).await, "429", &["the relay serves as many"]);
}

#[tokio::test]
async fn while_memory_is_short_new_consumers_are_told_to_come_back() {
    let rig = Rig::new(limits(), 3, 100).await;
    let mut connected = rig.connect(None).await;
    rig.firehose.refuse_consumers(true);
    let parts = ["retry-after: 30", r#""error":"ServiceUnavailable""#, "short of memory"];
    assert_answer("short", &request(&rig, "GET", "", UPGRADE).await, "503", &parts);
    assert_answer("wrong all the same", &request(&rig, "GET", "?cursor=x", UPGRADE).await, "400", &[]);
    let stats = rig.firehose.stats();
    assert_eq!((stats.refused_for_memory.load(Relaxed), stats.refused.load(Relaxed)), (1, 0));
    rig.publish(1, 100);
    expect_events(&mut connected, 4, 4).await;
    rig.firehose.refuse_consumers(false);
    let mut second = rig.connect(Some(0)).await;
    expect_events(&mut second, 1, 4).await;
}
