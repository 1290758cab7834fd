//! How the relay reads from hosts that do not behave (protocol 10 to 13), and what an operator sees of it.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{World, assert_delivered};
use relay::protocol::frame::{encode_error, encode_info};
use sim::{Host, Mutation, Relay};

/// What the admin API says of a host.
async fn row(relay: &Relay, host: &Host) -> serde_json::Value {
    let hosts = relay.get_admin("/admin/pds/list").await.json;
    hosts.as_array().unwrap().iter().find(|row| row["host"] == host.name()).unwrap().clone()
}

/// Protocol 11: one malformed message is skipped; whoever sends nothing else is left, with the reason, and tried again
/// later. Other hosts feel nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_sends_only_garbage_is_left() {
    const IN_A_ROW: usize = 16;
    let mut world = World::new(130, &[]).await;
    let (host, other) = (world.host().await, world.host().await);
    let (mut account, mut of_other) = (world.account(&host), world.account(&other));
    let mut consumer = world.relay.consumer(None).await;
    (1..IN_A_ROW).for_each(|_| drop(host.emit_frame(|_| vec![0xff])));
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "one less than too many");
    assert_eq!(host.cursors(), [None], "on the same connection");

    (0..IN_A_ROW).for_each(|_| drop(host.emit_frame(|_| vec![0xff])));
    let left = "the host is left, and the reason is there to see";
    let says_malformed = async |relay: &Relay| {
        row(relay, &host).await["lastError"].as_str().is_some_and(|error| error.contains("malformed"))
    };
    world.relay.until(left, says_malformed).await;
    let sent = other.emit(of_other.post());
    assert_delivered(&consumer.events(1).await, [&sent], "the other host");
    assert_eq!(other.cursors(), [None]);
    world.until_dropped("malformed", 2 * IN_A_ROW as u64 - 1).await;
}

/// Protocol 3, 10: an error ends the stream; the relay comes back with its cursor, and nothing is lost or repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cuts_us_off_is_asked_again_from_where_we_were() {
    let mut world = World::new(131, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let first = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&first], "before");
    let mut error = Vec::new();
    encode_error("ConsumerTooSlow", Some("you are too slow"), &mut error);
    // An error has no seq: it is not sent again.
    host.emit_frame_as(host.last_seq(), error);
    let told = "the host's reason is there to see";
    let says_slow = async |relay: &Relay| {
        row(relay, &host).await["lastError"].as_str().is_some_and(|error| error.contains("ConsumerTooSlow"))
    };
    world.relay.until(told, says_slow).await;
    let second = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&second], "after the reconnect");
    assert_eq!(host.cursors(), [None, Some(1)]);
    assert_eq!(world.dropped().await, Default::default());
    assert_eq!(row(&world.relay, &host).await["status"], "active");
    let row = row(&world.relay, &host).await;
    assert!(
        row["lastError"].as_str().is_some_and(|error| error.contains("ConsumerTooSlow")),
        "it stays to be seen: {row}"
    );
}

/// Protocol 12: a notice of the host is counted and costs nothing, whatever it is.
#[tokio::test(flavor = "multi_thread")]
async fn notices_of_hosts_are_counted() {
    let world = World::new(132, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    for name in ["OutdatedCursor", "SomethingElse"] {
        host.emit_frame(|_| {
            let mut info = Vec::new();
            encode_info(name, Some("a message for people"), &mut info);
            info
        });
        let sent = host.emit(account.post());
        assert_delivered(&consumer.events(1).await, [&sent], name);
    }
    let metrics = world.relay.get_admin("/metrics").await.text;
    assert!(metrics.contains("relay_upstream_info_total 2\n"), "{metrics}");
    assert_eq!(host.cursors(), [None]);
}

/// Protocol 12: a host that has lost its past is left alone, until somebody names it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_below_our_cursor_is_not_asked_again_by_itself() {
    let mut world = World::new(133, &[]).await;
    let mut host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    for _ in 0..3 {
        host.emit(account.post());
        consumer.event().await;
    }
    host.down().await;
    host.reset();
    host.up().await;
    world.relay.request_crawl(host.name()).await;
    let idle = "FutureCursor makes the host idle";
    world.relay.until(idle, async |relay| row(relay, &host).await["status"] == "idle").await;
    let asked = host.cursors();
    assert_eq!(asked.last(), Some(&Some(3)), "from our cursor");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(host.cursors(), asked, "long after the first back-off");
    assert_eq!(row(&world.relay, &host).await["cursor"], 3, "and the cursor stays");
}

/// Protocol 10: the cursor of a host is stored every few seconds, so that a crash does not make the relay take again what
/// left nothing in its log.
#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_moves_over_what_was_dropped_and_survives_a_crash() {
    /// Cursors are stored every four seconds.
    const STORED: Duration = Duration::from_secs(6);
    let mut world = World::new(134, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let first = host.emit(account.post());
    let delivered = consumer.events(1).await;
    assert_delivered(&delivered, [&first], "a good one");
    for _ in 0..20 {
        host.emit_frame(|seq| Mutation::StaleRev.frame(&account, seq));
    }
    let moved = "all are finished";
    world.relay.until(moved, async |relay| row(relay, &host).await["cursor"] == 21).await;
    tokio::time::sleep(STORED).await;
    world.relay.kill();
    let next = host.emit(account.post());
    world.relay.start_again().await;
    let mut consumer = world.relay.consumer(Some(delivered[0].seq)).await;
    assert_delivered(&consumer.events(1).await, [&next], "the next");
    assert_eq!(host.cursors(), [None, Some(21)]);
    assert_eq!(world.dropped().await, Default::default(), "nothing came again");
}
