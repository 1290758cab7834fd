//! Ending the stream.

use super::*;

const SERVICE_RESTART: u16 = 1012;

#[tokio::test]
async fn consumers_that_keep_up_get_everything_and_a_close_frame() {
    let rig = Rig::new(limits(), 10, 100).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = rig.connect(Some(10)).await;
        clients.push(tokio::spawn(async move {
            let rest = read_events(&mut client, 11).await;
            assert!(matches!(rest, (2011, Seen::Close(SERVICE_RESTART, _))), "after all events: {rest:?}");
            assert_eq!(see(&mut client).await, Seen::End);
        }));
    }
    rig.publish(2000, 4000);
    assert_eq!(rig.firehose.close_all(PATIENCE).await, 0);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(rig.firehose.stats().disconnects(Disconnect::Draining), 3);
}

#[tokio::test]
async fn a_replay_ends_between_two_events() {
    let rig = Rig::new(limits(), 5000, 4000).await;
    let mut client = rig.connect_narrow(Some(0)).await;
    expect_events(&mut client, 1, 10).await;
    let firehose = Arc::clone(&rig.firehose);
    let drained = tokio::spawn(async move { firehose.close_all(PATIENCE).await });
    let (next, instead) = read_events(&mut client, 11).await;
    assert!(next < 5000, "the replay was not finished: {next}");
    assert!(matches!(instead, Seen::Close(SERVICE_RESTART, _)), "{instead:?}");
    assert_eq!(see(&mut client).await, Seen::End);
    assert_eq!(drained.await.unwrap(), 0);
}

#[tokio::test]
async fn a_stalled_consumer_does_not_hold_up_the_end() {
    let limits = Limits { ping_interval: Duration::from_millis(200), ..limits() }; // quick ticks
    let rig = Rig::new(limits, 0, 0).await;
    let mut stalled = rig.connect_narrow(Some(0)).await;
    rig.publish(2000, 4000);
    rig.wait_until("stalled", |firehose| firehose.list().iter().any(|info| info.events_sent > 0)).await;
    let patience = Duration::from_secs(1);
    let started = Instant::now();
    rig.firehose.close_all(patience).await;
    assert!(started.elapsed() < patience + Duration::from_secs(1));
    rig.wait_until("ended", |firehose| firehose.consumers() == 0).await;
    let (next, instead) = read_events(&mut stalled, 1).await;
    assert!(next < 2000 && instead == Seen::End, "the connection ended where it stalled: {next}, {instead:?}");
}
