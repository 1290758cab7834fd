//! Consumers that are slow, and those beside them (protocol 7).

use super::*;

/// A ring of a few dozen events, and quick judgement.
fn impatient() -> Limits {
    Limits { ring_bytes_max: 256 << 10, stall_timeout: Duration::from_millis(400), ..limits() }
}

/// Protocol 7.
#[tokio::test]
async fn a_stalled_consumer_is_cut_and_can_read_why() {
    let rig = Rig::new(impatient(), 0, 0).await;
    let mut stalled = rig.connect(Some(0)).await;
    let mut other = rig.connect(Some(0)).await;
    let reader = tokio::spawn(async move {
        expect_events(&mut other, 1, 3000).await;
        other
    });
    for _ in 0..30 {
        rig.publish(100, 4000);
        sleep(Duration::from_millis(20)).await;
    }
    let mut other = reader.await.unwrap();
    sleep(Duration::from_secs(1)).await; // longer than the stall timeout and a tick

    let (next, instead) = read_events(&mut stalled, 1).await;
    assert!(next < 3000, "it was cut before the end: {next}");
    assert_error(instead, "ConsumerTooSlow");
    assert_eq!(see(&mut stalled).await, Seen::Close(1008, "ConsumerTooSlow".to_owned()));
    assert_eq!(see(&mut stalled).await, Seen::End);
    rig.wait_for_disconnect(Disconnect::TooSlow).await;

    rig.publish(10, 4000);
    expect_events(&mut other, 3001, 3010).await;
}

/// Protocol 7.
#[tokio::test]
async fn a_cut_consumer_that_never_reads_is_dropped() {
    let rig = Rig::new(Limits { close_grace: Duration::from_millis(100), ..impatient() }, 5000, 4000).await;
    let _stalled = rig.connect_narrow(Some(0)).await;
    rig.wait_for_disconnect(Disconnect::TooSlow).await;
    assert_eq!(rig.firehose.consumers(), 0);
}

/// Protocol 7.
#[tokio::test]
async fn a_slow_consumer_that_goes_on_is_not_cut() {
    let rig = Rig::new(impatient(), 1500, 1000).await;
    let mut slow = rig.connect_narrow(Some(0)).await;
    let started = Instant::now();
    for start in (1..=1500).step_by(50) {
        expect_events(&mut slow, start, start + 49).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert!(started.elapsed() > 3 * impatient().stall_timeout, "it took longer than a stall may");
    assert_eq!(rig.firehose.stats().disconnects(Disconnect::TooSlow), 0);
}

#[tokio::test]
async fn a_stalled_consumer_within_the_ring_is_left_alone() {
    let rig = Rig::new(Limits { ring_bytes_max: 64 << 20, ..impatient() }, 0, 0).await;
    let mut stalled = rig.connect_narrow(Some(0)).await;
    rig.publish(2000, 4000);
    sleep(Duration::from_secs(1)).await;
    expect_events(&mut stalled, 1, 2000).await;
}

#[tokio::test]
async fn a_replaying_consumer_that_retention_overtakes_is_too_slow() {
    let rig = Rig::new(Limits { ring_bytes_max: 256 << 10, ..limits() }, 5000, 4000).await;
    let mut slow = rig.connect_narrow(Some(0)).await;
    expect_events(&mut slow, 1, 10).await;
    rig.forget();
    let (next, instead) = read_events(&mut slow, 11).await;
    assert!(next < 5000, "events were missing: {next}");
    assert_error(instead, "ConsumerTooSlow");
    assert!(matches!(see(&mut slow).await, Seen::Close(1008, _)));
}

/// Protocol 7.
#[tokio::test]
async fn a_stalled_replay_does_not_keep_its_turn() {
    let rig = Rig::new(Limits { replay_bytes_max: 1, ..limits() }, 3000, 4000).await;
    let mut stalled = rig.connect_narrow(Some(0)).await;
    rig.wait_until("stalled", |firehose| firehose.list().iter().any(|info| info.events_sent > 0)).await;
    let mut other = rig.connect(Some(0)).await;
    expect_events(&mut other, 1, 3000).await;
    expect_events(&mut stalled, 1, 3000).await;
}
