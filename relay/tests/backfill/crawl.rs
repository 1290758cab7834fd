//! Crawls of PDS hosts, and verifications of what others have said.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sim::Host;
use sim::directory::Fault;
use sim::host::Question;

use crate::common::{World, assert_delivered};
use crate::jobs::{Pairs, assert_same, directory, job, progress, put, send_pairs, tell, until_ended, until_state};
use crate::world::{collection, did};

/// Accounts of a host, of which every fifth is deactivated.
const ACCOUNTS: usize = 40;

/// A host that the relay does not read from, with accounts in the directory of identities; what a crawl finds there.
async fn host(world: &World) -> (Host, Pairs) {
    let (host, mut pairs) = (Host::start().await, Pairs::new());
    for number in 0..ACCOUNTS {
        let account = world.account(&host);
        let collections: Vec<String> = (0..number % 4).map(collection).collect();
        let status = (number % 5 == 0).then_some("deactivated");
        host.set_account(&account.did, &collections.iter().map(String::as_str).collect::<Vec<_>>(), status);
        if status.is_none() {
            pairs.extend(collections.into_iter().map(|name| (account.did.clone(), name)));
        }
    }
    (host, pairs)
}

fn crawl(hosts: &[&Host]) -> Value {
    let names: Vec<&str> = hosts.iter().map(|host| host.name()).collect();
    json!({ "kind": "crawl", "hosts": names, "requestsPerSecond": 1000 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crawl_asks_again_whom_it_could_not_ask() {
    let world = World::new(100, &[]).await;
    let (busy, of_busy) = host(&world).await;
    let (broken, of_broken) = host(&world).await;
    let (small, of_small) = host(&world).await;
    busy.fail_next(Question::Accounts, 1, Fault::Busy(Some(2)));
    broken.fail_next(Question::Collections, 2, Fault::Status(500));
    small.set_page_max(7);
    put(&world.relay, "crawl", &crawl(&[&busy, &broken, &small])).await;
    let job = until_ended(&world.relay, "crawl").await;
    assert_eq!((&job["state"], &job["reason"]), (&json!("done"), &Value::Null), "{job:#}");
    assert_same(&directory(&world.relay).await, &(&(&of_busy | &of_broken) | &of_small), "what the hosts have");
    assert_eq!(progress(&job, "seen"), 3 * ACCOUNTS as u64, "{job:#}");
    assert_eq!(progress(&job, "retrying"), 0, "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crawl_that_is_killed_goes_on_where_it_was() {
    const KILLS: usize = 10;
    let mut world = World::new(101, &[]).await;
    let (host, expected) = host(&world).await;
    host.set_page_max(15);
    host.set_fault(Question::Collections, Some(Fault::Delay(Duration::from_millis(60))));
    put(&world.relay, "crawl", &crawl(&[&host])).await;
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.relay.kill();
        world.relay.start_again().await;
    }
    host.set_fault(Question::Collections, None);
    let job = until_state(&world.relay, "crawl", "done").await;
    assert_same(&directory(&world.relay).await, &expected, "a crawl that was killed");
    assert_eq!(progress(&job, "seen"), ACCOUNTS as u64, "each account counts once: {job:#}");
    assert_eq!(progress(&job, "added"), expected.len() as u64, "{job:#}");
}

/// A host without an answer is one part that fails or waits, and holds up no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_no_pds_is_named_and_the_others_are_crawled() {
    let world = World::new(102, &[]).await;
    let (good, expected) = host(&world).await;
    let (liar, _) = host(&world).await;
    liar.set_fault(Question::Accounts, Some(Fault::Html));
    put(&world.relay, "crawl", &crawl(&[&good, &liar])).await;
    let job = until_ended(&world.relay, "crawl").await;
    assert_eq!((&job["state"], progress(&job, "partsFailed")), (&json!("done"), 1), "{job:#}");
    assert!(job["reason"].as_str().unwrap().contains(liar.name()), "{job:#}");
    assert_same(&directory(&world.relay).await, &expected, "the other host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_removes_ghosts_and_says_what_they_were() {
    let world = World::new(103, &[]).await;
    let (old, new) = (world.host().await, Host::start().await);
    let kind = collection(0);
    let mut said = Pairs::new();
    let mut account = |host: &Host, status: Option<&str>| {
        let account = world.account(host);
        host.set_account(&account.did, &[&kind], status);
        said.insert((account.did.clone(), kind.clone()));
        account.did
    };
    let present = account(&old, None);
    let deleted = account(&old, None);
    old.remove_account(&deleted);
    account(&old, Some("deactivated"));
    account(&old, Some("takendown"));
    account(&old, Some("suspended"));
    let extra = account(&old, None);
    old.set_account(&extra, &[&collection(1)], None);
    said.extend((0..3).map(|number| (did(number), kind.clone())));
    let homeless = world.network.unregistered_account();
    world.network.plc.enter(&homeless.did, json!({ "id": homeless.did, "service": [] }));
    said.insert((homeless.did.clone(), kind.clone()));

    // One whom the relay knows on a host that it has left since, without a word.
    let mut mover = world.account(&old);
    let mut consumer = world.relay.consumer(None).await;
    let sent = old.emit(mover.post());
    assert_delivered(&consumer.events(1).await, [&sent], "the relay knows where it is");
    world.network.plc.register(&mover, new.name());
    old.remove_account(&mover.did);
    new.set_account(&mover.did, &[sim::account::POSTS], None);
    // Identities are remembered for a time; this one is asked for anew because its host does not know it.
    send_pairs(&world.relay, "said", &said).await;
    let moved = (mover.did.clone(), sim::account::POSTS.to_owned());
    assert_same(&directory(&world.relay).await, &said.iter().cloned().chain([moved.clone()]).collect(), "before");

    put(&world.relay, "verify", &json!({ "kind": "verify", "requestsPerSecond": 1000 })).await;
    let verified = until_state(&world.relay, "verify", "done").await;
    let expected = Pairs::from([(present, kind), (extra, collection(1)), moved]);
    assert_same(&directory(&world.relay).await, &expected, "after");
    let classes: BTreeMap<String, u64> = serde_json::from_value(verified["progress"]["classes"].clone()).unwrap();
    let found = [
        ("active", 1),
        ("deactivated", 1),
        ("gone", 4),
        ("homeless", 1),
        ("mended", 1),
        ("migrated", 1),
        ("suspended", 1),
        ("takendown", 1),
    ];
    assert_eq!(classes, found.map(|(class, count)| (class.to_owned(), count)).into());
    assert_eq!(progress(&verified, "seen"), 11, "{verified:#}");

    // What a stale source says again is removed again.
    send_pairs(&world.relay, "said", &said).await;
    tell(&world.relay, "verify", "run").await;
    until_state(&world.relay, "verify", "done").await;
    assert_same(&directory(&world.relay).await, &expected, "after the second time");
    assert_eq!(job(&world.relay, "verify").await["run"], 2);
}
