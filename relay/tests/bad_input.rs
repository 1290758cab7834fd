//! Whatever hosts, directories and clients send: nothing bad reaches a consumer, nothing ends the process, everything
//! is counted by its reason, and the next good event passes.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{World, assert_delivered};
use relay::protocol::car::BLOCK_BYTES_MAX;
use relay::protocol::frame::FRAME_BYTES_MAX;
use reqwest::Method;
use sim::account::POSTS;
use sim::repo::Write;
use sim::{Account, Delivered, Fault, Host, Mutation, Sent};

/// The reason under which a mutation is counted.
fn expected_reason(mutation: Mutation) -> &'static str {
    use Mutation::*;
    match mutation {
        SignatureBit | HighS | OtherKey => "signature",
        OtherDid => "did_mismatch",
        OtherRev => "rev_mismatch",
        OtherVersion => "bad_commit",
        StaleRev => "stale_rev",
        FutureRev => "future_rev",
        BlockBit => "block_hash",
        NoCommit => "missing_commit",
        OtherCommit => "root_mismatch",
        NoNode => "missing_node",
        NoRecord => "missing_record",
        UnsortedNode | EmptyTop | OtherLayer | LongPrefix => "bad_mst",
        LargeRecord | CutCar | EndlessCarHeader | CarVersion | NoRoot => "bad_car",
        HiddenOp | OtherPrev | OtherPrevData => "inversion",
        OtherCid => "op_mismatch",
        NoPrev => "missing_prev",
        NoPrevData => "missing_prev_data",
        SamePath => "duplicate_path",
        BadPath | LongPath => "bad_path",
        BadSince => "bad_since",
        TooBig => "too_big",
        Rebase => "rebase",
        BadDid => "did",
        LargeBlocks | ManyOps | ZeroSeq | Garbage | Cut | Trailing | UnsortedKeys | Float => "malformed",
        Deep | BadTime | NoBlobs | RawCid => "malformed",
    }
}

/// An account with so many records that its tree has several nodes, all in its first commit.
fn account_with_records(world: &World, host: &Host) -> (Account, Sent) {
    let mut account = world.account(host);
    let create = |number| Write::Create { path: format!("{POSTS}/{number:03}"), record: vec![0xa0] };
    let sent = host.emit(account.commit((0..50).map(create).collect()));
    (account, sent)
}

/// Peer 2, 10, protocol 21, 23.
#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_is_dropped_for_its_reason_and_the_next_good_event_passes() {
    let mut world = World::new(30, &[]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    for mutation in Mutation::ALL {
        let (mut account, first) = account_with_records(&world, &host);
        assert_delivered(&consumer.events(1).await, [&first], "first commit");
        let mut expected = world.dropped().await;

        host.emit_frame(|seq| mutation.frame(&account, seq));
        let good = host.emit(account.act());
        assert_delivered(&consumer.events(1).await, [&good], &format!("after {mutation:?}"));

        *expected.entry(expected_reason(mutation).to_owned()).or_default() += 1;
        assert_eq!(world.dropped().await, expected, "{mutation:?} is counted once, under its reason");
    }
    assert!(world.relay.is_alive());
    let status = world.relay.status().await;
    assert_eq!(status["events"]["dropped"], Mutation::ALL.len(), "{status}");
    assert_eq!(world.relay.count("/hosts/connected").await, 1, "no mutation costs the connection");
}

/// Protocol 26.
#[tokio::test(flavor = "multi_thread")]
async fn under_observe_what_is_invalid_passes_but_not_what_is_nobodys_policy() {
    let world = World::new(31, &["--validation=observe"]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    for mutation in [Mutation::OtherKey, Mutation::HiddenOp, Mutation::NoPrevData, Mutation::NoRecord] {
        let (account, _) = account_with_records(&world, &host);
        consumer.event().await;
        let bad = host.emit_frame(|seq| mutation.frame(&account, seq));
        assert_delivered(&consumer.events(1).await, [&bad], &format!("{mutation:?} is observed"));
    }
    for mutation in [Mutation::StaleRev, Mutation::FutureRev, Mutation::Cut] {
        let (mut account, _) = account_with_records(&world, &host);
        consumer.event().await;
        host.emit_frame(|seq| mutation.frame(&account, seq));
        let good = host.emit(account.act());
        assert_delivered(&consumer.events(1).await, [&good], &format!("{mutation:?} is never let through"));
    }
}

/// Protocol 26.
#[tokio::test(flavor = "multi_thread")]
async fn under_lenient_commits_from_before_sync_1_1_pass_and_the_others_are_enforced() {
    let world = World::new(32, &["--validation=lenient"]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    for (mutation, passes) in [
        (Mutation::NoPrevData, true),
        (Mutation::NoPrev, true),
        (Mutation::OtherKey, false),
        (Mutation::HiddenOp, false),
        (Mutation::OtherPrevData, false),
    ] {
        let (mut account, _) = account_with_records(&world, &host);
        consumer.event().await;
        let bad = host.emit_frame(|seq| mutation.frame(&account, seq));
        if passes {
            assert_delivered(&consumer.events(1).await, [&bad], &format!("{mutation:?}"));
        } else {
            let good = host.emit(account.act());
            assert_delivered(&consumer.events(1).await, [&good], &format!("{mutation:?} is dropped"));
        }
    }
}

/// Protocol 11.
#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_message_is_stepped_over() {
    let world = World::new(33, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut sent = vec![host.emit(account.post())];
    for (what, count) in [("one", 1), ("two in a row", 2)] {
        for _ in 0..count {
            host.emit_frame(|_| vec![0; FRAME_BYTES_MAX + 1]);
        }
        sent.push(host.emit(account.post()));
        assert_delivered(&consumer.events(sent.len()).await, &sent, what);
        sent.clear();
    }
    assert!(world.relay.dropped("oversize").await >= 2, "{:?}", world.dropped().await);
}

/// Protocol 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_within_a_frame_costs_nothing() {
    let world = World::new(34, &[]).await;
    let mut host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut sent = vec![host.emit(account.post())];
    consumer.event().await;
    host.cut_next_frame();
    sent.push(host.emit(account.post()));
    assert_delivered(&consumer.events(1).await, &sent[1..], "sent again after the reconnect");
    host.down().await;
    sent.extend((0..5).map(|_| host.emit(account.post())));
    host.up().await;
    assert_delivered(&consumer.events(5).await, &sent[2..], "what came while the host was down");
    assert_eq!(host.cursors()[1..], [Some(1), Some(2)], "the host is asked from where it was");
}

/// Protocol 11.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_nobody_knows_are_ignored() {
    let world = World::new(35, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let unknown: [&[u8]; 3] = [
        // A kind of event from the future; an #info by another name; an operation that does not exist.
        b"\xa2\x61t\x67#labels\x62op\x01\xa1\x63seq\x01",
        b"\xa2\x61t\x65#info\x62op\x01\xa1\x64name\x65Hello",
        b"\xa1\x62op\x05\xa0",
    ];
    for bytes in unknown {
        host.emit_frame(|_| bytes.to_vec());
        let good = host.emit(account.post());
        assert_delivered(&consumer.events(1).await, [&good], "after an unknown message (protocol 11)");
    }
    assert_eq!(world.dropped().await, BTreeMap::new());
}

/// Protocol 11.
#[tokio::test(flavor = "multi_thread")]
async fn seqs_that_do_not_grow_are_dropped() {
    let world = World::new(36, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut sent = vec![host.emit(account.post())];
    let far = account.post();
    sent.push(host.emit_frame_as(1000, far.encode(1000)));
    for seq in [1000, 999, 1] {
        let repeated = account.clone().post();
        host.emit_frame_as(seq, repeated.encode(seq));
    }
    sent.push(host.emit(account.post()));
    assert_delivered(&consumer.events(3).await, &sent, "what goes forward");
    assert_eq!(world.dropped().await, BTreeMap::from([("out_of_order".to_owned(), 3)]), "protocol 11");
}

/// Peer 11, protocol 18, 29.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_speaks_for_its_own_accounts_alone() {
    let world = World::new(37, &[]).await;
    let (host, stranger) = (world.host().await, world.host().await);
    let mut account = world.account(&host);
    let mut own = world.account(&stranger);
    let mut consumer = world.relay.consumer(None).await;
    let first = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&first], "from its host");
    let mut copy = account.clone();
    stranger.emit(copy.post());
    copy.post();
    stranger.emit(copy.sync());
    stranger.emit(copy.status(Some("deleted")));
    let good = stranger.emit(own.post());
    assert_delivered(&consumer.events(1).await, [&good], "the stranger's own account");
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "the account goes on at its host");
    world.until_dropped("wrong_host", 3).await;
}

/// Protocol 28.
#[tokio::test(flavor = "multi_thread")]
async fn syncs_are_checked_like_commits() {
    let world = World::new(38, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.event().await;
    host.emit(account.clone().sync());
    let mut forged = account.clone();
    forged.key = Account::new(u64::MAX, 0).key;
    forged.post();
    host.emit(forged.sync());
    account.post();
    let mut foreign = account.sync();
    foreign.rev = "2222222222222".to_owned();
    host.emit(foreign);
    let good = host.emit(account.sync());
    assert_delivered(&consumer.events(1).await, [&good], "the good one");
    let reasons = ["rev_mismatch", "signature", "unchanged"].map(|reason| (reason.to_owned(), 1));
    assert_eq!(world.dropped().await, BTreeMap::from(reasons), "protocol 28");
}

/// Protocol 17.
#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_directory_that_fails_and_are_never_passed_unverified() {
    let world = World::new(39, &[]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    let mut known = world.account(&host);
    host.emit(known.post());
    consumer.event().await;
    let plc = &world.network.plc;
    for fault in [Fault::Status(500), Fault::Busy(1), Fault::OtherDid, Fault::Delay(Duration::from_millis(500))] {
        plc.set_fault(Some(fault));
        let mut account = world.account(&host);
        let (forged, good) = (Mutation::OtherKey.frame(&account, host.last_seq() + 1), account.post());
        host.emit_frame(|_| forged);
        let waiting = [host.emit(good), host.emit(account.post())];
        let passed = host.emit(known.post());
        assert_delivered(&consumer.events(1).await, [&passed], &format!("{fault:?}: an account that is known"));
        world.until_requested(&account).await;
        plc.set_fault(None);
        assert_delivered(&consumer.events(2).await, &waiting, &format!("{fault:?}: once it is over, in order"));
    }
    assert_eq!(world.dropped().await, BTreeMap::from([("signature".to_owned(), 4)]));
}

/// Protocol 17. Of the memory that these tests give the relay, 30 MiB are for events on their way and events that wait.
#[tokio::test(flavor = "multi_thread")]
async fn when_too_much_waits_for_the_directory_the_host_waits_too() {
    const ACCOUNTS: usize = 200;
    const RECORD_BYTES: usize = 200_000;
    let world = World::new(44, &[]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    world.network.plc.set_fault(Some(Fault::Status(503)));
    let large = |number: usize| {
        let mut account = world.account(&host);
        let path = format!("{POSTS}/{number}");
        host.emit(account.commit(vec![Write::Create { path, record: vec![0; RECORD_BYTES] }]))
    };
    let sent: Vec<Sent> = (0..ACCOUNTS).map(large).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.dropped().await, BTreeMap::new(), "nothing is dropped because the directory fails");
    world.network.plc.set_fault(None);
    let mut delivered: Vec<_> = consumer.events(ACCOUNTS).await.iter().map(Delivered::content).collect();
    let mut sent: Vec<_> = sent.iter().map(Sent::content).collect();
    delivered.sort();
    sent.sort();
    assert!(delivered == sent, "each event once");
}

/// Protocol 15.
/// Events of an account wait behind its #identity, and each of those makes the relay look the identity up again, which
/// it does for one account only now and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_makes_the_relay_wait_holds_up_itself_alone() {
    const REFRESHES: usize = 5;
    const LARGE_EVENTS: usize = 60;
    let world = World::new(45, &[]).await;
    let (host, hostile_host) = (world.host().await, world.host().await);
    let (mut account, mut hostile) = (world.account(&host), world.account(&hostile_host));
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.event().await;
    for _ in 0..REFRESHES {
        hostile_host.emit(hostile.identity());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for number in 0..LARGE_EVENTS {
        let path = format!("{POSTS}/{number}");
        hostile_host.emit(hostile.commit(vec![Write::Create { path, record: vec![0; BLOCK_BYTES_MAX] }]));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let sent = host.emit(account.post());
        let from_host = async {
            loop {
                let event = consumer.event().await;
                if event.did == account.did {
                    return event;
                }
            }
        };
        let event = tokio::time::timeout(Duration::from_secs(5), from_host).await;
        // Without a bound of its own the hostile host would hold everything for twice as long.
        assert_delivered(&[event.expect("the other host's event within 5 s")], [&sent], "the other host goes on");
    }
}

/// Protocol 17.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_an_identity_is_dropped() {
    let world = World::new(40, &[]).await;
    let host = world.host().await;
    let mut known = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut unregistered = world.network.unregistered_account();
    host.emit(unregistered.post());
    let mut tombstoned = world.account(&host);
    world.network.plc.set_fault_for(&tombstoned.did, Fault::Status(410));
    host.emit(tombstoned.post());
    world.until_dropped("identity_absent", 2).await;
    let good = host.emit(known.post());
    assert_delivered(&consumer.events(1).await, [&good], "an account with one");

    // It comes into being, and says so.
    world.network.plc.register(&unregistered, host.name());
    let sent = [host.emit(unregistered.identity()), host.emit(unregistered.post())];
    assert_delivered(&consumer.events(2).await, &sent, "after it was registered");
}

/// Protocol 22.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_changed_is_found_out() {
    let world = World::new(41, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.event().await;
    account.key = Account::new(u64::MAX, 3).key;
    world.network.plc.register(&account, host.name());
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "signed with the new key, no #identity came (protocol 22)");
}

/// Protocol 12, 13.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lost_its_past_and_one_that_is_a_relay_are_left() {
    let mut world = World::new(42, &[]).await;
    let mut host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.event().await;

    // It has forgotten what we missed: the rest passes, and the gap is counted.
    host.down().await;
    (0..5).for_each(|_| drop(host.emit(account.post())));
    host.forget(host.last_seq());
    host.up().await;
    world.relay.request_crawl(host.name()).await;
    host.connected().await;
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "after a gap");
    let metrics = world.relay.get_admin("/metrics").await.text;
    assert!(metrics.contains("relay_upstream_info_total 1\n"), "OutdatedCursor is counted (protocol 12)");
    assert!(metrics.contains("relay_events_discontinuous_total 1\n"), "so is the break in the chain (protocol 27)");

    let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name());
    host.down().await;
    host.reset();
    host.up().await;
    world.relay.request_crawl(host.name()).await;
    world
        .relay
        .until("FutureCursor makes the host idle (protocol 12)", async |relay| {
            relay.get(&path).await.json["status"] == "idle"
        })
        .await;

    let other = world.host().await;
    other.set_server_header("indigo (atproto-relay)");
    other.cut_next_frame();
    other.emit(world.account(&other).post());
    let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", other.name());
    world
        .relay
        .until("a relay is no host (protocol 13)", async |relay| relay.get(&path).await.json["status"] == "offline")
        .await;
    assert!(world.relay.is_alive());
}

/// Protocol 14.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_get_an_answer() {
    let mut world = World::new(43, &[]).await;
    let relay = &world.relay;
    let crawl = "/xrpc/com.atproto.sync.requestCrawl";
    let json = |body: Vec<u8>| {
        let request = relay.request(Method::POST, relay.public, crawl).header("content-type", "application/json");
        request.body(body)
    };
    let get = |path: &str| relay.request(Method::GET, relay.public, path);
    let cases = [
        ("no body", relay.request(Method::POST, relay.public, crawl), 400),
        ("no JSON", json(b"{".to_vec()), 400),
        ("other JSON", json(b"[1]".to_vec()), 400),
        ("a number for a name", json(b"{\"hostname\": 7}".to_vec()), 400),
        ("a cursor of another relay", get("/xrpc/com.atproto.sync.listHosts?cursor=abc"), 400),
        ("a limit that is no number", get("/xrpc/com.atproto.sync.listRepos?limit=many"), 400),
        (
            "a DID of 10,000 bytes",
            get(&format!("/xrpc/com.atproto.sync.getRepo?did=did:plc:{}", "a".repeat(10_000))),
            400,
        ),
        ("broken percent encoding", get("/xrpc/com.atproto.sync.getRepo?did=%ff"), 400),
    ];
    for (what, request, status) in cases {
        let answer = relay.answer(request).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert!(answer.json["message"].is_string(), "{what}: {}", answer.text);
    }
    // The answer may be lost, since it comes before the body has been sent.
    drop(json(vec![b' '; 1 << 20]).send().await);
    assert!(world.relay.is_alive());
}
