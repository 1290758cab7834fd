//! The collection directory and its backfill with what others run: `tap` finds accounts by it, `collectiondir` is a source of
//! it and its measure, reference PDSes are crawled. No cluster is needed.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use common::clients::indigo::Service;
use common::clients::python;
use common::clients::tap::Tap;
use common::directory::{Pairs, accounts, collections, of_pdses, pairs, until_pairs};
use common::pds::{Account, POSTS};
use common::relay::Relay;
use common::until;
use common::world::World;
use serde_json::{Value, json};

const NOTES: &str = "com.example.note";
const LIKES: &str = "com.example.like";

/// Accounts on all PDSes, each with posts, every second with notes, every third with likes.
async fn people(world: &World, count: usize) -> Result<Vec<Account>> {
    let mut people = Vec::new();
    for (number, pds) in world.pds_urls.iter().cycle().take(count).enumerate() {
        let account = Account::create(pds).await?;
        account.post("Hello.").await?;
        for (collection, every) in [(NOTES, 2), (LIKES, 3)] {
            if number % every == 0 {
                account.note(collection).await?;
            }
        }
        people.push(account);
    }
    Ok(people)
}

/// Deletes an account for good.
async fn delete(world: &World, account: &Account) -> Result<()> {
    account.tell("server.requestAccountDelete").await?;
    let pds = world.pds_urls.iter().position(|url| *url == account.pds).context("a PDS of another network")?;
    account.delete(&world.network.mailed_token(pds, account)?).await
}

/// DIDs that no directory of identities knows, all of them before any real one in the order of pages.
fn ghosts(count: usize) -> Vec<String> {
    let letter = |number: usize| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[number % 32]);
    let tail = |number: usize| [number / 1024, number / 32, number].map(letter).iter().collect::<String>();
    (0..count).map(|number| format!("did:plc:{}{}", "a".repeat(21), tail(number))).collect()
}

#[tokio::test]
async fn tap_finds_exactly_the_accounts_with_its_signal_collection() -> Result<()> {
    let world = World::start(2).await?;
    let people = people(&world, 6).await?;
    let once = Account::create(&world.pds_urls[0]).await?;
    let note = once.note(NOTES).await?;
    once.post("I had a note.").await?;
    once.delete_record(NOTES, &note.rkey).await?;
    until_pairs(&world.relay.url, &of_pdses(&world.pds_urls).await?).await?;

    // More than the page that tap asks for lies before the first account that is there.
    let ghosts = ghosts(1100);
    let lines: String = ghosts.iter().map(|did| format!("{did} {NOTES}\n")).collect();
    world.relay.backfill_with(&["import", "-", "--job", "ghosts"], &lines).await?;

    let mut tap = Tap::of_collection(&world.place, NOTES).await?;
    let (with, without): (Vec<_>, Vec<_>) = people.iter().enumerate().partition(|(number, _)| number % 2 == 0);
    let mut expected = BTreeSet::new();
    for (number, account) in &with {
        let kinds = [POSTS, NOTES, LIKES].into_iter().take(if number % 3 == 0 { 3 } else { 2 });
        expected.extend(kinds.map(|kind| (account.did.clone(), kind.to_owned())));
    }
    let mut delivered = BTreeSet::new();
    while delivered.len() < expected.len() {
        let change = tap.next().await?;
        let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
        ensure!(delivered.insert((text("did"), text("collection"))), "{change} came twice");
    }
    assert_eq!(delivered, expected, "all records of these accounts, and of no others");
    let all = (ghosts.len() + with.len()) as u64;
    until("tap follows all that the directory lists", || async {
        let count = tap.repo_count().await?;
        if count == all { Ok(Some(())) } else { bail!("{count} of {all}") }
    })
    .await?;
    for (_, account) in &without {
        assert!(!tap.follows(&account.did).await?, "{} has no note", account.did);
    }
    assert!(!tap.follows(&once.did).await?, "the last note of {} was deleted", once.did);

    let late = without[0].1;
    late.note(NOTES).await?;
    let post = late.post("Now I have a note.").await?;
    tap.wait_for(&late.did, &post.rkey).await?;
    Ok(())
}

#[tokio::test]
async fn a_collectiondir_fills_an_empty_relay() -> Result<()> {
    let world = World::start(2).await?;
    people(&world, 6).await?;
    let source = Service::collectiondir(&world.place).await?;
    world.relay.until_consumed_by("collectiondir").await?;
    people(&world, 6).await?;
    for pds in &world.pds_urls {
        source.crawl(pds).await?;
    }
    let expected = of_pdses(&world.pds_urls).await?;
    until_listed(&source, &expected).await?;

    let relay = Relay::start(&world.place.plc).await?;
    let start = ["start", "all", "--kind", "import", "--source", &source.url, "--of-sources", "--wait"];
    relay.backfill(&start).await?;
    assert_eq!(pairs(&relay.url).await?, expected, "all that collectiondir lists");
    let job = relay.job("all").await?;
    assert_eq!(job["state"], "done", "{job}");
    let count = json!(expected.len());
    assert_eq!((&job["progress"]["seen"], &job["progress"]["added"]), (&count, &count), "{job}");

    // The relay that stands by the network and the one that was filled say the same; the second adds nothing of it.
    until_pairs(&world.relay.url, &expected).await?;
    let start = ["start", "other", "--kind", "import", "--source", &world.relay.url, "--of-sources", "--wait"];
    relay.backfill(&start).await?;
    let job = relay.job("other").await?;
    assert_eq!((&job["progress"]["seen"], &job["progress"]["added"]), (&count, &json!(0)), "{job}");
    Ok(())
}

/// Waits until a collectiondir lists this. It counts its collections once in minutes, so that it is asked for each by name.
async fn until_listed(source: &Service, expected: &Pairs) -> Result<()> {
    let mut by_collection = BTreeMap::<&str, Vec<&str>>::new();
    for (collection, did) in expected {
        by_collection.entry(collection).or_default().push(did);
    }
    for (collection, dids) in by_collection {
        source.until_listed(collection, &dids).await?;
    }
    Ok(())
}

#[tokio::test]
async fn all_that_collectiondir_lists_and_that_is_there_is_in_our_directory() -> Result<()> {
    let world = World::start(2).await?;
    let reference = Service::collectiondir(&world.place).await?;
    world.relay.until_consumed_by("collectiondir").await?;
    let mut people = people(&world, 12).await?;
    let everything = of_pdses(&world.pds_urls).await?;
    until_listed(&reference, &everything).await?;
    until_pairs(&world.relay.url, &everything).await?;

    // A life goes on.
    let note = people[0].note(NOTES).await?;
    people[0].delete_record(NOTES, &note.rkey).await?; // one of two
    let only = people[1].note(LIKES).await?;
    people[1].delete_record(LIKES, &only.rkey).await?;
    people[2].deactivate().await?;
    people[3].deactivate().await?;
    people[3].activate().await?;
    let gone = people.remove(4);
    delete(&world, &gone).await?;
    let expected = of_pdses(&world.pds_urls).await?;
    until_pairs(&world.relay.url, &expected).await?;
    reference.until_listed(LIKES, &listed(&everything, LIKES, &[&people[1].did])).await?;

    let theirs = pairs(&reference.url).await?;
    let ours = pairs(&world.relay.url).await?;
    let counts: BTreeMap<String, u64> = ours.iter().fold(BTreeMap::new(), |mut counts, (collection, _)| {
        *counts.entry(collection.clone()).or_default() += 1;
        counts
    });
    assert_eq!(collections(&world.relay.url).await?, counts, "counts are the lengths of the pages");
    let ghosts: Pairs = theirs.difference(&expected).cloned().collect();
    println!("collectiondir lists {}, of which {} are not there any more: {ghosts:?}", theirs.len(), ghosts.len());
    let missing: Vec<_> = theirs.iter().filter(|pair| !ghosts.contains(*pair) && !ours.contains(*pair)).collect();
    assert!(missing.is_empty(), "collectiondir lists what is there and we do not: {missing:?}");
    for did in [&people[1].did, &people[2].did, &gone.did] {
        assert!(ghosts.iter().any(|(_, ghost)| ghost == did), "{did} is a ghost of collectiondir");
    }
    assert_eq!(ours, expected, "we list what is there, and no ghost");
    Ok(())
}

/// The accounts with a collection, and these.
fn listed<'a>(pairs: &'a Pairs, collection: &str, others: &[&'a str]) -> Vec<&'a str> {
    let of_it = pairs.iter().filter(|(name, _)| name == collection).map(|(_, did)| did.as_str());
    of_it.chain(others.iter().copied()).collect()
}

#[tokio::test]
async fn a_crawl_of_reference_pdses_finds_what_the_firehose_has_told_and_verify_removes_who_left() -> Result<()> {
    let world = World::start(2).await?;
    let people = people(&world, 10).await?;
    people[9].deactivate().await?;
    let expected = of_pdses(&world.pds_urls).await?;
    until_pairs(&world.relay.url, &expected).await?;

    // A relay that has never heard of these hosts, and hears nothing of them but by the crawl.
    let relay = Relay::start(&world.place.plc).await?;
    let hosts = world.pds_urls.iter().map(|url| url.trim_start_matches("http://"));
    let mut start = vec!["start", "crawl", "--kind", "crawl", "--wait"];
    hosts.for_each(|host| start.extend(["--host", host]));
    relay.backfill(&start).await?;
    assert_eq!(pairs(&relay.url).await?, expected, "what a crawl finds is what the firehose has told");

    delete(&world, &people[0]).await?;
    people[1].deactivate().await?;
    relay.backfill(&["start", "verify", "--kind", "verify", "--wait"]).await?;
    let expected = of_pdses(&world.pds_urls).await?;
    assert_eq!(pairs(&relay.url).await?, expected, "who left is not listed any more");
    let classes = &relay.job("verify").await?["progress"]["classes"];
    assert_eq!((&classes["gone"], &classes["deactivated"]), (&json!(1), &json!(1)), "{classes}");

    people[1].activate().await?;
    relay.backfill(&["run", "verify", "--wait"]).await?;
    assert_eq!(pairs(&relay.url).await?, of_pdses(&world.pds_urls).await?, "who came back is listed again");
    Ok(())
}

#[tokio::test]
async fn the_command_line_handles_jobs() -> Result<()> {
    let relay = Relay::start("http://127.0.0.1:1").await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pairs");
    let lines: Vec<String> = ghosts(50).iter().map(|did| format!("{did}\t{NOTES}\n")).collect();
    std::fs::write(&file, lines.concat())?;
    relay.backfill(&["import", file.to_str().unwrap(), "--job", "file"]).await?;
    assert_eq!(accounts(&relay.url, NOTES, 7).await?, ghosts(50), "from a file, in the order of pages");
    let json: String =
        ghosts(60).iter().map(|did| format!("{}\n", json!({ "did": did, "collection": NOTES }))).collect();
    let said: Value =
        serde_json::from_str(&relay.backfill_with(&["import", "-", "--job", "stdin", "--json"], &json).await?)?;
    assert_eq!((&said["seen"], &said["added"], &said["known"]), (&json!(60), &json!(10), &json!(50)), "{said}");

    // A source that does not answer: the job waits, and can be handled meanwhile.
    let start = ["start", "slow", "--kind", "import", "--source", "http://127.0.0.1:1", "--collection", NOTES];
    relay.backfill(&start).await?;
    let show = async || -> Result<Value> {
        Ok(serde_json::from_str::<Value>(&relay.backfill(&["show", "slow", "--json"]).await?)?["job"].take())
    };
    let waiting = until("the job waits", || async {
        let job = show().await?;
        if job["state"] == "waiting" { Ok(Some(job)) } else { bail!("{job}") }
    });
    let waiting = waiting.await?;
    let reason = waiting["reason"].as_str().context("it says why")?;
    assert!(relay.backfill(&["show", "slow"]).await?.contains(reason), "and to people");
    for (command, state) in [("pause", "paused"), ("resume", "waiting"), ("cancel", "cancelled")] {
        relay.backfill(&[command, "slow"]).await?;
        until(&format!("{command} makes it {state}"), || async {
            let job = show().await?;
            if job["state"] == state { Ok(Some(())) } else { bail!("{job}") }
        })
        .await?;
    }
    let list = relay.backfill(&["list"]).await?;
    assert!(["file", "stdin", "slow", "cancelled"].iter().all(|word| list.contains(word)), "{list}");
    let list: Value = serde_json::from_str(&relay.backfill(&["list", "--json"]).await?)?;
    let names: BTreeSet<&str> =
        list["jobs"].as_array().unwrap().iter().filter_map(|job| job["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["file", "slow", "stdin"]), "{list}");
    let refused = relay.backfill_refused(&["show", "nothing"]).await?;
    assert!(refused.contains("nothing"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn the_python_sdk_reads_every_page() -> Result<()> {
    let relay = Relay::start("http://127.0.0.1:1").await?;
    let lines: String = ghosts(1234).iter().map(|did| format!("{did} {NOTES}\n")).collect();
    relay.backfill_with(&["import", "-", "--job", "ghosts"], &lines).await?;
    for limit in [100, 1000, 2000] {
        assert_eq!(python::repos_by_collection(&relay.url, NOTES, limit).await?, ghosts(1234), "pages of {limit}");
    }
    Ok(())
}
