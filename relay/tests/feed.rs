//! The directory of collections as the firehose feeds it: what is listed follows what accounts do and become, whatever
//! happens to the relay meanwhile (protocol 34).

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use common::World;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use sim::event::Event;
use sim::repo::Write;
use sim::{Account, Host, Mutation, Relay, Sent};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LIKES: &str = "com.example.like";
const POSTS: &str = "com.example.post";
const RECORD: &[u8] = b"\xa0";

/// Everybody who is listed for a collection, in pages of a size that no directory here is a multiple of.
async fn listed(relay: &Relay, collection: &str) -> BTreeSet<String> {
    let mut dids = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path =
            format!("/xrpc/com.atproto.sync.listReposByCollection?collection={collection}&limit=97&cursor={cursor}");
        let answer = relay.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        for repo in answer.json["repos"].as_array().unwrap() {
            let did = repo["did"].as_str().unwrap();
            assert!(dids.insert(did.to_owned()), "{did} is listed twice for {collection}");
        }
        match answer.json["cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return dids,
        }
    }
}

/// Checks that these accounts and no others are listed.
async fn assert_listed<'a>(
    relay: &Relay,
    collection: &str,
    accounts: impl IntoIterator<Item = &'a Account>,
    what: &str,
) {
    let dids: BTreeSet<String> = accounts.into_iter().map(|account| account.did.clone()).collect();
    assert_eq!(listed(relay, collection).await, dids, "{collection}: {what}");
}

fn create(collection: &str, record: usize) -> Write {
    Write::Create { path: format!("{collection}/{record}"), record: RECORD.to_vec() }
}

fn delete(collection: &str, record: usize) -> Write {
    Write::Delete { path: format!("{collection}/{record}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_listed_from_its_first_record_to_its_last() {
    let world = World::new(200, &[]).await;
    let host = world.host().await;
    let (mut one, mut other) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    let relay = &world.relay;
    assert_listed(relay, POSTS, [], "nobody yet").await;

    host.emit(one.commit(vec![create(POSTS, 1)]));
    consumer.event().await;
    assert_listed(relay, POSTS, [&one], "the first record").await;
    host.emit(one.commit(vec![create(LIKES, 1), create(LIKES, 2)]));
    host.emit(other.commit(vec![create(LIKES, 1)]));
    consumer.events(2).await;
    assert_listed(relay, LIKES, [&one, &other], "a second collection, and a second account").await;
    assert_listed(relay, POSTS, [&one], "the first stays").await;

    host.emit(one.commit(vec![delete(LIKES, 1), delete(POSTS, 1)]));
    consumer.event().await;
    assert_listed(relay, POSTS, [], "its only record is gone").await;
    assert_listed(relay, LIKES, [&one, &other], "one of its two is gone").await;
    host.emit(one.commit(vec![delete(LIKES, 2)]));
    consumer.event().await;
    assert_listed(relay, LIKES, [&other], "the other is gone too, and the repository empty").await;
    host.emit(one.commit(vec![create(LIKES, 3)]));
    consumer.event().await;
    assert_listed(relay, LIKES, [&one, &other], "a new one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_listed_while_it_is_active() {
    let world = World::new(201, &[]).await;
    let host = world.host().await;
    let (mut account, mut other) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    let relay = &world.relay;
    host.emit(account.commit(vec![create(POSTS, 1), create(LIKES, 1)]));
    host.emit(other.commit(vec![create(POSTS, 1), create(LIKES, 1)]));
    consumer.events(2).await;

    for status in ["deactivated", "suspended", "takendown"] {
        host.emit(account.status(Some(status)));
        consumer.event().await;
        assert_listed(relay, POSTS, [&other], status).await;
        host.emit(account.status(None));
        consumer.event().await;
        for collection in [POSTS, LIKES] {
            assert_listed(relay, collection, [&account, &other], "it is back with all of them").await;
        }
    }

    let body = json!({ "did": account.did });
    assert_eq!(relay.post_admin("/admin/repo/takeDown", body.clone()).await.status, 200);
    consumer.event().await;
    assert_listed(relay, LIKES, [&other], "taken down here").await;
    host.emit(account.status(None));
    world.until_dropped("taken_down", 1).await;
    assert_listed(relay, LIKES, [&other], "whatever its host says").await;
    host.set_repo_status(&account.did, None);
    assert_eq!(relay.post_admin("/admin/repo/reverseTakedown", body).await.status, 200);
    consumer.event().await;
    assert_listed(relay, LIKES, [&account, &other], "reversed").await;

    host.emit(account.status(Some("deleted")));
    consumer.event().await;
    assert_listed(relay, LIKES, [&other], "deleted").await;
    host.emit(account.status(None));
    host.emit(account.commit(vec![create(POSTS, 2)]));
    consumer.events(2).await;
    assert_listed(relay, POSTS, [&account, &other], "made anew").await;
    assert_listed(relay, LIKES, [&other], "without what it had").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_moves_is_listed_once() {
    let world = World::new(202, &[]).await;
    let (old, new) = (world.host().await, world.host().await);
    let mut account = world.account(&old);
    let mut consumer = world.relay.consumer(None).await;
    old.emit(account.commit(vec![create(POSTS, 1), create(LIKES, 1)]));
    consumer.event().await;
    old.emit(account.status(Some("deactivated")));
    consumer.event().await;
    assert_listed(&world.relay, POSTS, [], "it is about to move").await;

    world.network.plc.register(&account, new.name());
    new.emit(account.identity());
    new.emit(account.status(None));
    new.emit(account.commit(vec![delete(LIKES, 1), create(POSTS, 2)]));
    consumer.events(3).await;
    assert_listed(&world.relay, POSTS, [&account], "on its new host").await;
    assert_listed(&world.relay, LIKES, [], "what it removed there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_did_web_is_listed_like_any_other() {
    let mut world = World::new(203, &[]).await;
    let host = world.host().await;
    let mut account = world.network.unregistered_account();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    account.did = format!("did:web:localhost%3A{}", listener.local_addr().unwrap().port());
    let document = json!({
        "id": account.did,
        "verificationMethod": [{
            "id": format!("{}#atproto", account.did),
            "type": "Multikey",
            "controller": account.did,
            "publicKeyMultibase": account.key.public().to_string().trim_start_matches("did:key:"),
        }],
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": format!("http://{}", host.name()),
        }],
    });
    let routes = Router::new().route("/.well-known/did.json", get(async move || Json(document)));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.commit(vec![create(POSTS, 1)]));
    consumer.event().await;
    assert_listed(&world.relay, POSTS, [&account], "its DID in full").await;
    world.relay.kill();
    world.relay.start_again().await;
    assert_listed(&world.relay, POSTS, [&account], "after a crash").await;
}

/// Protocol 26: what a policy lets pass is listed as far as it is proved.
#[tokio::test(flavor = "multi_thread")]
async fn what_passes_without_a_proof_is_not_listed() {
    let world = World::new(204, &["--validation=observe"]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let relay = &world.relay;
    host.emit(account.commit(vec![create(LIKES, 1), create(LIKES, 2)]));
    consumer.event().await;
    let broken = account.clone();
    host.emit_frame(|seq| Mutation::OtherPrevData.frame(&broken, seq));
    consumer.event().await;
    assert_listed(relay, sim::account::POSTS, [], "observed, with another tree before").await;

    let lenient = json!({ "host": host.name(), "validation": "lenient" });
    assert_eq!(relay.post_admin("/admin/pds/setValidation", lenient).await.status, 200);
    let mut account = world.account(&host);
    host.emit(account.commit(vec![create(LIKES, 1), create(POSTS, 1)]));
    consumer.event().await;
    let mut commit = account.commit(vec![create("com.example.repost", 1), delete(LIKES, 1)]);
    commit.prev_data = None;
    commit.ops.iter_mut().for_each(|op| op.prev = None);
    host.emit(commit);
    consumer.event().await;
    assert_listed(relay, "com.example.repost", [&account], "of before sync 1.1: the record is in the tree").await;
    assert_listed(relay, LIKES, [&broken], "and the tree shows that the other is gone").await;
}

/// Collections of the accounts under load. Some are rare, so that they come and go all the time.
const COLLECTIONS: [&str; 5] = [LIKES, POSTS, "com.example.like.a", "com.example.likes", "com.example.rare"];
const ACCOUNTS_PER_HOST: usize = 1200;
const HOSTS: usize = 2;
const KILLS: usize = 8;

/// An account under load.
struct Member {
    account: Account,
    status: Option<&'static str>,
}

impl Member {
    /// Does something. Nothing comes of an account that is not active, but that it is again.
    fn act(&mut self, random: &mut StdRng) -> Option<Event> {
        match (self.status, random.random_range(0..20)) {
            (Some("deleted"), _) => return None,
            (Some(_), 0..10) => return Some(self.set_status(None)),
            (Some(_), _) => return None,
            (None, 0) => return Some(self.set_status(Some("deactivated"))),
            (None, 1) if random.random_range(0..20) == 0 => return Some(self.set_status(Some("deleted"))),
            _ => {}
        }
        let records = self.account.repo().records();
        let removed = records.keys().cloned().choose_multiple(random, 3);
        let removals = removed.into_iter().map(|path| Write::Delete { path });
        let creates = COLLECTIONS.map(|collection| create(collection, random.random_range(0..1_000_000_000)));
        let creates = creates.into_iter().filter(|create| match create {
            Write::Create { path, .. } => !records.contains_key(path),
            _ => false,
        });
        let mut writes = removals.chain(creates).choose_multiple(random, 2);
        if random.random_range(0..3) == 0 {
            writes.truncate(1);
        }
        Some(self.account.commit(writes).into())
    }

    fn set_status(&mut self, status: Option<&'static str>) -> Event {
        self.status = status;
        self.account.status(status).into()
    }

    fn collections(&self) -> impl Iterator<Item = &str> {
        let records = self.account.repo().records().keys();
        records.filter(|_| self.status.is_none()).map(|path| path.split_once('/').unwrap().0)
    }
}

/// Emits until it is told to stop, in rounds of all accounts that take a while.
fn load(host: Arc<Host>, mut members: Vec<Member>, seed: u64, stop: watch::Receiver<bool>) -> JoinHandle<Vec<Member>> {
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        while !*stop.borrow() {
            for member in &mut members {
                if let Some(event) = member.act(&mut random) {
                    drop::<Sent>(host.emit(event));
                }
                tokio::task::yield_now().await;
            }
        }
        members
    })
}

/// Whether all that a host has said is processed.
async fn is_done(relay: &Relay, host: &Host) -> bool {
    let status = relay.get(&format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name())).await;
    status.json["seq"].as_u64() == Some(host.last_seq())
}

/// Who is listed for what.
async fn directory(relay: &Relay) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut pairs = BTreeMap::new();
    for collection in COLLECTIONS {
        pairs.insert(collection, listed(relay, collection).await);
    }
    pairs
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_right_to_the_pair_however_often_the_relay_is_killed() {
    let mut world = World::new(205, &[]).await;
    let (stop, stopping) = watch::channel(false);
    let mut consumer = world.relay.consumer(None).await;
    let (mut hosts, mut loads) = (Vec::new(), Vec::new());
    for number in 0..HOSTS {
        let host = Arc::new(world.host().await);
        let mut members: Vec<Member> =
            (0..ACCOUNTS_PER_HOST).map(|_| Member { account: world.account(&host), status: None }).collect();
        // From here on the relay may miss nothing of the host.
        host.emit(members[0].account.post());
        consumer.event().await;
        loads.push(load(Arc::clone(&host), members, number as u64, stopping.clone()));
        hosts.push(host);
    }
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(300..2000))).await;
        if kill == KILLS / 2 {
            assert!(world.relay.terminate().await.success());
        }
        world.relay.kill();
        world.relay.start_again().await;
    }
    stop.send_replace(true);
    let mut expected: BTreeMap<&str, BTreeSet<String>> =
        COLLECTIONS.into_iter().map(|collection| (collection, BTreeSet::new())).collect();
    for load in loads {
        for member in load.await.unwrap() {
            for collection in member.collections() {
                if let Some(dids) = expected.get_mut(collection) {
                    dids.insert(member.account.did.clone());
                }
            }
        }
    }
    for host in &hosts {
        world.relay.until("all is processed", async |relay| is_done(relay, host).await).await;
    }
    for moment in ["after the load", "after another crash"] {
        let found = directory(&world.relay).await;
        for collection in COLLECTIONS {
            let (found, expected) = (&found[collection], &expected[collection]);
            let missing: Vec<_> = expected.difference(found).collect();
            let ghosts: Vec<_> = found.difference(expected).collect();
            assert!(missing.is_empty() && ghosts.is_empty(), "{collection} {moment}: {missing:?} {ghosts:?}");
            assert!(found.len() > 100, "{collection}: the load was on, {} listed", found.len());
        }
        let counts: Value = world.relay.get("/v1/listCollections").await.json["collections"].clone();
        for (collection, dids) in &found {
            assert_eq!(counts[collection].as_u64(), Some(dids.len() as u64), "{collection}, counted {moment}");
        }
        world.relay.kill();
        world.relay.start_again().await;
    }
}
