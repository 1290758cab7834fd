//! What passes, to the letter: the clauses of the protocol about a single event and its account (protocol 6, 8 and 16 to
//! 31). What must not pass is in `bad_input`.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{World, assert_delivered};
use relay::protocol::car::BLOCK_BYTES_MAX;
use relay::protocol::cbor::{Reader, Writer};
use relay::protocol::cid::Cid;
use relay::protocol::frame::{BLOCKS_BYTES_MAX, FRAME_BYTES_MAX, Frame, decode};
use relay::protocol::tid::Tid;
use sim::account::POSTS;
use sim::event::{Commit, car, varint};
use sim::mutation::with_field;
use sim::repo::{Blocks, Write};
use sim::{Account, Mutation, Relay};

async fn discontinuous(relay: &Relay) -> u64 {
    let metrics = relay.get_admin("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("relay_events_discontinuous_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// Protocol 2, 8: what comes out is the payload that came in under a header of two fields, for every kind of event.
#[tokio::test(flavor = "multi_thread")]
async fn messages_have_the_documented_form() {
    let world = World::new(110, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    account.post();
    let sync = host.emit(account.sync()).frame;
    host.emit(account.identity());
    host.emit(account.status(None));
    let events = consumer.events(4).await;
    for (event, tag) in events.iter().zip(["#commit", "#sync", "#identity", "#account"]) {
        let mut header = Vec::new();
        Writer::new(&mut header).map(2).text("t").text(tag).text("op").uint(1);
        assert!(event.frame.starts_with(&header), "{tag}: {:?}", &event.frame[..20]);
        let mut keys = Vec::new();
        let mut payload = Reader::new(&event.frame[header.len()..]);
        payload
            .map(|payload, key| {
                keys.push(key);
                payload.skip()
            })
            .unwrap();
        assert!(keys.contains(&"seq") && !keys.contains(&"$type"), "{tag}: {keys:?}");
    }
    let Ok(Frame::Commit(commit)) = decode(&events[0].frame) else { panic!("a #commit") };
    assert!(!commit.too_big && !commit.rebase, "the flags of before sync 1.1 are there, and off");
    assert!(events[0].frame.windows(7).any(|window| window == b"\x65blobs\x80"), "and no blobs");
    assert_eq!(events[1].frame, sync, "under seq 2 here and there");
}

/// Protocol 6, 11: a message may be as long as messages may be, with room for a longer seq.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_message_passes_and_no_longer_one_goes_out() {
    /// What is kept for our seq and header.
    const ROOM_BYTES: usize = 64;
    let world = World::new(111, &["--initial-seq=4000000000000000"]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let padded = |account: &mut Account, seq: u64, bytes: usize| {
        let frame = account.post().encode(seq);
        let mut filler = Vec::new();
        // The key, its head, and the head of the filler take 18 bytes.
        Writer::new(&mut filler).bytes(&vec![7; bytes - frame.len() - 18]);
        with_field(frame, "somethingNew", &filler)
    };
    let longest = host.emit_frame(|seq| padded(&mut account, seq, FRAME_BYTES_MAX - ROOM_BYTES));
    assert_eq!(longest.frame.len(), FRAME_BYTES_MAX - ROOM_BYTES);
    let event = consumer.event().await;
    assert_delivered(std::slice::from_ref(&event), [&longest], "the longest");
    assert!(event.frame.len() > longest.frame.len() && event.frame.len() <= FRAME_BYTES_MAX, "a longer seq");
    let mut copy = account.clone();
    host.emit_frame(|seq| padded(&mut copy, seq, FRAME_BYTES_MAX - ROOM_BYTES + 1));
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "after one that could grow too long");
    assert_eq!(world.dropped().await, BTreeMap::from([("oversize".to_owned(), 1)]));
}

/// Protocol 21: blocks may be in any order, there more than once, and there without need.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_in_any_order_and_number_pass() {
    let world = World::new(112, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let section = |cid: &Cid, block: &[u8]| [&varint(Cid::BYTES + block.len())[..], &cid.to_bytes(), block].concat();
    for _ in 0..10 {
        let commit = account.act();
        let mut sections: Vec<Vec<u8>> = commit.blocks.iter().map(|(cid, block)| section(cid, block)).collect();
        sections.reverse();
        sections.extend(sections.clone());
        sections.push(section(&Cid::of(b"nobody needs this"), b"nobody needs this"));
        let blocks = [car(&commit.root, &Blocks::new()), sections.concat()].concat();
        let sent = host.emit_frame(|seq| commit.encode_with(seq, &blocks));
        assert_delivered(&consumer.events(1).await, [&sent], "as it came");
    }
    assert_eq!(world.dropped().await, BTreeMap::new());
}

/// A commit whose object names a commit before it.
fn with_prev(account: &Account, commit: Commit, prev: &Cid) -> Commit {
    let object = |signature: Option<&[u8]>| {
        let mut object = Vec::new();
        let mut writer = Writer::new(&mut object);
        writer.map(if signature.is_some() { 6 } else { 5 });
        writer.text("did").text(&account.did).text("rev").text(&commit.rev);
        if let Some(signature) = signature {
            writer.text("sig").bytes(signature);
        }
        writer.text("data").cid(&account.repo().data()).text("prev").cid(prev).text("version").uint(3);
        object
    };
    let signed = object(Some(&account.key.sign(&object(None))));
    let root = Cid::of(&signed);
    let mut blocks = commit.blocks.clone();
    blocks.insert(root, signed);
    Commit { root, blocks, ..commit }
}

/// Protocol 22: `prev` of a commit object may name a commit, and is signed like the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_object_may_name_the_one_before() {
    let world = World::new(113, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let first = account.post();
    let prev = first.root;
    let second = account.post();
    let sent = [host.emit(first), host.emit(with_prev(&account, second, &prev))];
    assert_delivered(&consumer.events(2).await, &sent, "both");
}

/// Protocol 22: of both curves signatures pass, and none with a high S; a bad one makes the relay look once at the
/// identity again, not more.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_have_a_low_s_on_both_curves() {
    let world = World::new(114, &[]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    for number in 0..4 {
        let mut account = world.account(&host);
        let what = format!("account {number} of which the last is on P-256");
        let first = host.emit(account.post());
        assert_delivered(&consumer.events(1).await, [&first], &what);
        let asked = world.network.plc.requests_for(&account.did);
        host.emit_frame(|seq| Mutation::HighS.frame(&account, seq));
        let next = host.emit(account.post());
        assert_delivered(&consumer.events(1).await, [&next], &what);
        assert_eq!(world.network.plc.requests_for(&account.did), asked + 1, "{what}");
    }
    assert_eq!(world.dropped().await, BTreeMap::from([("signature".to_owned(), 4)]));
}

/// Protocol 20: revs hold across restarts, and on the host to which an account has moved.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_rev_stays_old_after_a_restart_and_on_another_host() {
    let mut world = World::new(115, &[]).await;
    let (old, new) = (world.host().await, world.host().await);
    let mut account = world.account(&old);
    let mut consumer = world.relay.consumer(None).await;
    old.emit(account.post());
    let mut last = consumer.event().await.seq;
    for crash in [true, false] {
        if crash {
            world.relay.kill();
        } else {
            world.stop(&mut consumer).await;
        }
        world.relay.start_again().await;
        old.connected().await;
        consumer = world.relay.consumer(Some(last)).await;
        old.emit_frame(|seq| Mutation::StaleRev.frame(&account, seq));
        let good = old.emit(account.post());
        let delivered = consumer.events(1).await;
        assert_delivered(&delivered, [&good], "after a restart");
        last = delivered[0].seq;
        world.until_dropped("stale_rev", 1).await;
    }
    world.network.plc.register(&account, new.name());
    new.connected().await;
    let announced = new.emit(account.identity());
    new.emit_frame(|seq| Mutation::StaleRev.frame(&account, seq));
    let good = new.emit(account.post());
    assert_delivered(&consumer.events(2).await, &[announced, good], "on the new host");
    world.until_dropped("stale_rev", 2).await;
}

/// Protocol 20: five minutes ahead of our clock is not the future yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_rev_may_be_a_little_ahead_of_the_clock() {
    let world = World::new(116, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let now = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap();
    let minutes = |count: u64| now + count * 60 * 1_000_000;
    account.set_clock(minutes(6));
    host.emit(account.clone().post());
    account.set_clock(minutes(4));
    let good = host.emit(account.post());
    assert!(account.rev().map(Tid::timestamp_us) > Some(minutes(4)));
    assert_delivered(&consumer.events(1).await, [&good], "four minutes ahead");
    assert_eq!(world.dropped().await, BTreeMap::from([("future_rev".to_owned(), 1)]), "six minutes ahead");
}

/// Protocol 28.
/// Protocol 27: a commit that does not follow the state that is known passes, is counted, and is the state from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_in_the_chain_passes_and_is_counted() {
    let world = World::new(117, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let first = [host.emit(account.post()), host.emit(account.post())];
    assert_delivered(&consumer.events(2).await, &first, "in a chain");
    assert_eq!(discontinuous(&world.relay).await, 0);

    account.post();
    let behind_a_gap = [host.emit(account.post()), host.emit(account.post())];
    assert_delivered(&consumer.events(2).await, &behind_a_gap, "one that we never saw is missing");
    assert_eq!(discontinuous(&world.relay).await, 1, "the first, and not the one that follows it");

    let since = Some(Tid::from_parts(1, 1).to_string());
    let other_since = host.emit(Commit { since, ..account.post() });
    assert_delivered(&consumer.events(1).await, [&other_since], "the tree is right, since is not");
    assert_eq!(discontinuous(&world.relay).await, 2);

    // A #sync states the new state: what follows it is in a chain again.
    account.post();
    let healed = [host.emit(account.sync()), host.emit(account.post())];
    assert_delivered(&consumer.events(2).await, &healed, "after a #sync (protocol 28)");
    assert_eq!(discontinuous(&world.relay).await, 2);
    assert_eq!(world.dropped().await, BTreeMap::new());
}

/// Protocol 28: a `#sync` of an old state is ignored, and so is one of the state that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_the_past_changes_nothing() {
    let world = World::new(118, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    let mut past = account.clone();
    host.emit(account.post());
    consumer.events(2).await;
    host.emit(past.sync());
    host.emit(account.clone().sync());
    let good = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "in a chain with the last commit");
    let reasons = ["stale_rev", "unchanged"].map(|reason| (reason.to_owned(), 1));
    assert_eq!(world.dropped().await, BTreeMap::from(reasons));
    assert_eq!(discontinuous(&world.relay).await, 0);
}

/// Protocol 29: an `#identity` makes the relay forget what it knew of the identity, before it passes.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_event_purges_what_was_known() {
    let world = World::new(119, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.event().await;
    assert_eq!(world.network.plc.requests_for(&account.did), 1);
    account.key = Account::new(u64::MAX, 1).key;
    account.handle = "renamed.example.com".to_owned();
    world.network.plc.register(&account, host.name());
    let sent = [host.emit(account.identity()), host.emit(account.post())];
    assert_delivered(&consumer.events(2).await, &sent, "the new handle is confirmed, the new key verifies");
    assert_eq!(world.network.plc.requests_for(&account.did), 2, "one look for both");
}

/// Protocol 16: an account has one spelling, whoever announces it.
#[tokio::test(flavor = "multi_thread")]
async fn the_did_of_an_identity_event_goes_out_in_its_normal_form() {
    let world = World::new(124, &[]).await;
    let (host, other) = (world.host().await, world.host().await);
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let normal = account.identity();
    let spelled = |did: String| sim::event::Identity { did, ..normal.clone() };
    let shouted = normal.did.to_uppercase().replace("DID:PLC:", "did:plc:");
    host.emit(spelled(shouted.clone()));
    assert_eq!(consumer.event().await.content(), normal.encode(1), "the handle is confirmed and stays");
    other.emit(spelled(shouted));
    let without_handle = sim::event::Identity { handle: None, ..normal.clone() };
    assert_eq!(consumer.event().await.content(), without_handle.encode(1), "from another host");
    other.emit(spelled("did:plc:short".to_owned()));
    world.until_dropped("did", 1).await;
}

/// Protocol 30: what a record says is not for a relay to judge: unknown types, wrong types, links that nobody can check,
/// or no data at all.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_not_judged() {
    let world = World::new(120, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let blake3_link = [&b"\xa1\x64link\xd8\x2a\x58\x25\x00\x01\x71\x1e\x20"[..], &[7; 32]].concat();
    let records = [
        ("empty", b"\xa0".to_vec()),
        ("a type that is a number", b"\xa1\x65$type\x01".to_vec()),
        ("a post without text", b"\xa1\x65$type\x72app.bsky.feed.post".to_vec()),
        ("a link by another hash", blake3_link),
        ("a link of CID version 0", [&b"\xa1\x64link\xd8\x2a\x58\x23\x00\x12\x20"[..], &[7; 32]].concat()),
        ("a float", b"\xa1\x61x\xfb\x3f\xf0\0\0\0\0\0\0".to_vec()),
        ("no CBOR", b"hello".to_vec()),
    ];
    for (number, (what, record)) in records.into_iter().enumerate() {
        let path = format!("{POSTS}/{number}");
        let sent = host.emit(account.commit(vec![Write::Create { path, record }]));
        assert_delivered(&consumer.events(1).await, [&sent], what);
    }
}

/// Protocol 24: the longest names that a path may have, and as many operations as a commit may have.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_paths_and_the_most_operations_pass() {
    let world = World::new(121, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let label = "a".repeat(63);
    // 253 bytes of authority, a dot, and a name of 63.
    let nsid = format!("{label}.{label}.{label}.{}.{label}", "a".repeat(61));
    assert_eq!(nsid.len(), 317);
    let paths =
        [format!("{nsid}/{}", "~".repeat(512)), "com.example.a/_:.-~".to_owned(), "com.example.a/...".to_owned()];
    let create = |path: String| Write::Create { path, record: vec![0xa0] };
    let longest = host.emit(account.commit(paths.map(create).into()));
    assert_delivered(&consumer.events(1).await, [&longest], "the longest");
    let paths: Vec<String> = (0..200).map(|number| format!("{POSTS}/{number:03}")).collect();
    let most = host.emit(account.commit(paths.iter().cloned().map(create).collect()));
    assert_delivered(&consumer.events(1).await, [&most], "200 creations");
    let delete = |path: &String| Write::Delete { path: path.clone() };
    let gone = host.emit(account.commit(paths.iter().map(delete).collect()));
    assert_delivered(&consumer.events(1).await, [&gone], "200 deletions");
    let nothing = host.emit(account.commit(Vec::new()));
    assert_delivered(&consumer.events(1).await, [&nothing], "none");
    assert_eq!(world.dropped().await, BTreeMap::new());
}

/// Protocol 21: a record of 1,000,000 bytes, and blocks of 2,000,000.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_records_and_blocks_pass() {
    let world = World::new(123, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let create = |number: usize, bytes: usize| Write::Create {
        path: format!("{POSTS}/large{number}"),
        record: vec![number as u8; bytes],
    };
    let largest = account.commit(vec![create(0, BLOCK_BYTES_MAX)]);
    let sent = host.emit(largest);
    assert_delivered(&consumer.events(1).await, [&sent], "the largest record");
    // How much is not the second record shows a commit in which that is smaller.
    let writes = |second: usize| vec![create(1, BLOCK_BYTES_MAX), create(2, second)];
    let other = account.clone().commit(writes(900_000));
    let rest = car(&other.root, &other.blocks).len() - 900_000;
    let fullest = account.commit(writes(BLOCKS_BYTES_MAX - rest));
    assert_eq!(car(&fullest.root, &fullest.blocks).len(), BLOCKS_BYTES_MAX);
    let sent = host.emit(fullest);
    assert_delivered(&consumer.events(1).await, [&sent], "the most that blocks may be");
}

/// Protocol 19: a host that goes down changes nothing of what is known of its accounts.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_leaves_its_accounts_as_they_are() {
    let world = World::new(122, &[]).await;
    let mut host = world.host().await;
    let (mut active, mut inactive) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    host.emit(active.post());
    host.emit(inactive.post());
    host.emit(inactive.status(Some("suspended")));
    consumer.events(3).await;
    host.down().await;
    for (account, is_active) in [(&active, true), (&inactive, false)] {
        let path = format!("/xrpc/com.atproto.sync.getRepoStatus?did={}", account.did);
        assert_eq!(world.relay.get(&path).await.json["active"], is_active);
    }
}
