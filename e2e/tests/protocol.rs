//! Clients that nobody here wrote, and the reference PDS through the life of an account, at the relay's program. No cluster
//! is needed: PLC directory, PDSes, relay and clients are processes.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use common::clients::consumer::Consumer;
use common::clients::indigo::Service;
use common::clients::tap::Tap;
use common::pds::{Account, POSTS, Post};
use common::until;
use common::world::World;
use reqwest::StatusCode;
use serde_json::{Value, json};

const NOTES: &str = "com.example.note";

/// An event without what the relay gives it, its place in the stream.
fn without_seq(event: &Value) -> Value {
    let mut event = event.clone();
    event.as_object_mut().unwrap().remove("seq");
    event
}

/// Checks that two consumers were given the same events.
#[track_caller]
fn assert_same(given: &[Value], expected: &[Value], what: &str) {
    for (place, (given, expected)) in given.iter().zip(expected).enumerate() {
        assert_eq!(given, expected, "{what}, event {place}");
    }
    assert_eq!(given.len(), expected.len(), "{what}: number of events");
}

#[tokio::test]
async fn tap_finds_every_repository_and_gets_every_post_once() -> Result<()> {
    let world = World::start(2).await?;
    let mut expected: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
    let mut post = async |account: &Account, words: String| -> Result<Post> {
        let post = account.post(&words).await?;
        expected.insert((account.did.clone(), post.rkey.clone()), (post.cid.clone(), words));
        Ok(post)
    };
    let mut accounts = Vec::new();
    for number in 0..6 {
        let account = Account::create(&world.pds_urls[number % 2]).await?;
        for post_number in 0..number {
            post(&account, format!("Post {post_number} of account {number}, before tap.")).await?;
        }
        accounts.push(account);
    }
    let mut tap = Tap::start(&world.place).await?;
    for account in &accounts {
        post(account, "While tap reads.".to_owned()).await?;
    }
    let newcomer = Account::create(&world.pds_urls[1]).await?;
    post(&newcomer, "From an account that was not there before.".to_owned()).await?;

    let mut delivered = BTreeMap::new();
    while delivered.len() < expected.len() {
        let change = tap.next().await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (text(&change["did"]), text(&change["rkey"]));
        let value = (text(&change["cid"]), text(&change["record"]["text"]));
        ensure!(change["action"] == "create", "nothing was edited: {change}");
        if let Some(before) = delivered.insert(key, value) {
            bail!("{change} came twice, before as {before:?}");
        }
    }
    assert_eq!(delivered, expected);
    Ok(())
}

/// Reads up to a record behind rainbow, which gives the event at the cursor again, and the one where it changes from replay
/// to live twice: its playback is inclusive (indigo, `PebblePersist::Playback`).
async fn read_behind_rainbow(consumer: &mut Consumer, cursor: u64, did: &str, rkey: &str) -> Result<Vec<Value>> {
    let mut events = consumer.read_until_record(did, rkey).await?;
    events.dedup();
    events.retain(|event| event["seq"].as_u64().unwrap() > cursor);
    Ok(events)
}

#[tokio::test]
async fn rainbow_and_collectiondir_stand_between_the_relay_and_consumers() -> Result<()> {
    let world = World::start(1).await?;
    let pds = &world.pds_urls[0];
    let poster = Account::create(pds).await?;
    let before = poster.post("Before rainbow and collectiondir.").await?;
    let mut direct = Consumer::reference(&world.place, 0)?;
    let mut everything = direct.read_until_record(&poster.did, &before.rkey).await?;

    let mut directory = Service::collectiondir(&world.place).await?;
    world.relay.until_consumed_by("collectiondir").await?;
    let rainbow = Service::rainbow(&world.place, &directory).await?;
    world.relay.until_consumed_by("rainbow").await?;
    let behind = world.place.at(&rainbow.url);
    let mut through_rainbow = Consumer::reference(&behind, 0)?;

    // collectiondir reads from now on: who posted before is not there until he posts again.
    let writer = Account::create(pds).await?;
    writer.note(NOTES).await?;
    directory.until_listed(NOTES, &[&writer.did]).await?;
    directory.until_listed(POSTS, &[]).await?;
    poster.post("While rainbow and collectiondir read.").await?;
    writer.post("Me too.").await?;
    directory.until_listed(POSTS, &[&poster.did, &writer.did]).await?;

    // It goes on where it was.
    directory.stop().await?;
    let third = Account::create(pds).await?;
    third.post("While collectiondir is away.").await?;
    directory.start_again().await?;
    directory.until_listed(POSTS, &[&poster.did, &writer.did, &third.did]).await?;
    directory.until_listed(NOTES, &[&writer.did]).await?;

    // Behind rainbow is the same stream, from the beginning and from any place in it.
    let last = third.post("The end.").await?;
    everything.extend(direct.read_until_record(&third.did, &last.rkey).await?);
    let replayed = read_behind_rainbow(&mut through_rainbow, 0, &third.did, &last.rkey).await?;
    assert_same(&replayed, &everything, "behind rainbow");
    for place in [0, everything.len() / 2, everything.len() - 2] {
        let cursor = everything[place]["seq"].as_u64().unwrap();
        let mut again = Consumer::reference(&behind, cursor)?;
        let replayed = read_behind_rainbow(&mut again, cursor, &third.did, &last.rkey).await?;
        assert_same(&replayed, &everything[place + 1..], &format!("behind rainbow from {cursor}"));
    }

    // So are the queries.
    let (status, commit) = rainbow.query("com.atproto.sync.getLatestCommit", &[("did", &third.did)]).await?;
    assert_eq!((status, &commit["rev"]), (StatusCode::OK, &json!(last.rev)), "{commit}");
    let (status, _) =
        rainbow.query("com.atproto.sync.getLatestCommit", &[("did", "did:web:nobody.example.com")]).await?;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, repos) = rainbow.query("com.atproto.sync.listRepos", &[("limit", "1000")]).await?;
    for account in [&poster, &writer, &third] {
        let is_it = |repo: &&Value| repo["did"] == account.did;
        let repo = repos["repos"].as_array().unwrap().iter().find(is_it).unwrap();
        assert_eq!(repo["head"], account.latest_commit().await?["cid"], "{repo}");
    }
    rainbow.until_listed(POSTS, &[&poster.did, &writer.did, &third.did]).await
}

#[tokio::test]
async fn the_reference_consumer_and_the_python_sdk_read_the_same_records() -> Result<()> {
    let world = World::start(2).await?;
    let mut posts = Vec::new();
    let mut last = None;
    for (number, pds) in world.pds_urls.iter().cycle().take(6).enumerate() {
        let account = Account::create(pds).await?;
        // The CBOR of text in every width of UTF-8, and of lengths around where its own changes.
        for words in ["ü 漢 🦋", &"x".repeat(23), &"x".repeat(24), &"x".repeat(256), &number.to_string()] {
            let post = account.post(words).await?;
            posts.push((account.did.clone(), post.rkey.clone(), post.cid.clone(), post.rev.clone(), words.to_owned()));
            last = Some((account.did.clone(), post.rkey));
        }
    }
    let (did, rkey) = last.unwrap();
    let reference = Consumer::reference(&world.place, 0)?.read_until_record(&did, &rkey).await?;
    let python = Consumer::python(&world.place, 0)?.read_until_record(&did, &rkey).await?;
    let records = |events: &[Value]| -> Vec<Value> {
        events.iter().filter(|event| event["event"] == "create").cloned().collect()
    };
    assert_same(&records(&python), &records(&reference), "what the two read");
    let read: Vec<_> = records(&python)
        .iter()
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let [did, rkey, cid, rev] = ["did", "rkey", "cid", "rev"].map(|key| text(&event[key]));
            (did, rkey, cid, rev, text(&event["record"]["text"]))
        })
        .collect();
    let (mut read, mut posts) = (read, posts);
    read.sort();
    posts.sort();
    assert_eq!(read, posts, "every record as its author wrote it");

    // From a place in the stream, and from one that it has not reached.
    let seq = python[python.len() / 2]["seq"].as_u64().unwrap();
    let rest = Consumer::python(&world.place, seq)?.read_until_record(&did, &rkey).await?;
    assert_same(&rest, &python[python.len() / 2 + 1..], &format!("from {seq}"));
    let refused = Consumer::python(&world.place, 1 << 40)?.next().await?;
    assert!(refused["error"].as_str().unwrap().contains("FutureCursor"), "{refused}");
    Ok(())
}

/// One account, seen at its PDS and behind the relay.
struct Watch {
    did: String,
    at_pds: Consumer,
    behind_relay: Consumer,
    /// All that came from the relay.
    seen: Vec<Value>,
}

impl Watch {
    /// Waits for the next events of the account at the PDS, which are of these kinds, and checks that they come from the
    /// relay, unchanged; all but those with a minus in front. Gives what came from the relay.
    async fn expect(&mut self, what: &str, kinds: &[&str]) -> Result<Vec<Value>> {
        let mut sent = Vec::new();
        for kind in kinds {
            let event =
                next_of(&mut self.at_pds, &self.did).await.with_context(|| format!("{what}: {kind} at the PDS"))?;
            assert_eq!(event["event"], kind.trim_start_matches('-'), "{what}, at the PDS: {event}");
            if !kind.starts_with('-') {
                sent.push(event);
            }
        }
        let mut passed = Vec::new();
        for event in &sent {
            let found = next_of(&mut self.behind_relay, &self.did).await;
            let found = found.with_context(|| format!("{what}: {event} behind the relay"))?;
            assert_eq!(without_seq(&found), without_seq(event), "{what}, behind the relay");
            passed.push(found);
        }
        self.seen.extend(passed.iter().cloned());
        Ok(passed)
    }
}

async fn next_of(consumer: &mut Consumer, did: &str) -> Result<Value> {
    let mut events = consumer.read_until("an event of the account", |event| event["did"] == did).await?;
    events.pop().context("no event")
}

/// Checks that the relay says of an active account what its PDS says.
async fn assert_active(world: &World, account: &Account, what: &str) -> Result<()> {
    let commit = account.latest_commit().await?;
    let answer = until_answered(world, "getLatestCommit", &account.did, |answer| *answer == commit).await;
    assert_eq!(answer.with_context(|| what.to_owned())?.0, StatusCode::OK, "{what}");
    let status = json!({ "did": account.did, "active": true, "rev": commit["rev"] });
    assert_eq!(world.relay.ask("getRepoStatus", &account.did).await?, (StatusCode::OK, status), "{what}");
    let location = format!("{}/xrpc/com.atproto.sync.getRepo?did={}", account.pds, account.did);
    assert_eq!(world.relay.repo_location(&account.did).await?, location, "{what}");
    Ok(())
}

/// Checks what the relay says of an account that is not active.
async fn assert_inactive(world: &World, did: &str, status: &str, error: &str) -> Result<()> {
    let (code, _) = until_answered(world, "getLatestCommit", did, |answer| answer["error"] == error).await?;
    assert_eq!(code, StatusCode::FORBIDDEN);
    let (_, answer) = world.relay.ask("getRepoStatus", did).await?;
    assert_eq!((&answer["active"], &answer["status"]), (&json!(false), &json!(status)), "{answer}");
    Ok(())
}

/// The relay's answer about an account once it is this; a consumer may have an event before a query knows of it.
async fn until_answered(
    world: &World,
    method: &str,
    did: &str,
    is_it: impl Fn(&Value) -> bool,
) -> Result<(StatusCode, Value)> {
    until(method, || async {
        let (code, answer) = world.relay.ask(method, did).await?;
        if is_it(&answer) { Ok(Some((code, answer))) } else { bail!("{code}: {answer}") }
    })
    .await
}

#[tokio::test]
async fn an_account_of_the_reference_pds_through_its_whole_life() -> Result<()> {
    let mut world = World::start(2).await?;
    let [first, second] = [0, 1].map(|number| world.pds_urls[number].clone());
    let mut account = Account::create(&first).await?;
    let did = account.did.clone();
    let mut watch = Watch {
        did: did.clone(),
        at_pds: Consumer::reference(&world.place.at(&first), 0)?,
        behind_relay: Consumer::reference(&world.place, 0)?,
        seen: Vec::new(),
    };
    // The PDS states with a #sync what its first commit has said.
    watch.expect("creation", &["identity", "account", "-sync"]).await?;
    assert_active(&world, &account, "creation").await?;

    let post = account.post("The first words.").await?;
    watch.expect("post", &["create"]).await?;
    assert_active(&world, &account, "post").await?;
    let edited = account.edit(&post.rkey, "Better words.").await?;
    let seen = watch.expect("edit", &["update"]).await?;
    assert_eq!((&seen[0]["cid"], &seen[0]["record"]["text"]), (&json!(edited.cid), &json!("Better words.")));
    assert_active(&world, &account, "edit").await?;
    let rev = account.delete_record(POSTS, &post.rkey).await?;
    let seen = watch.expect("deletion of a record", &["delete"]).await?;
    assert_eq!((&seen[0]["rkey"], &seen[0]["rev"]), (&json!(post.rkey), &json!(rev)));
    assert_active(&world, &account, "deletion of a record").await?;

    account.deactivate().await?;
    let seen = watch.expect("deactivation", &["account"]).await?;
    assert_eq!((&seen[0]["active"], &seen[0]["status"]), (&json!(false), &json!("deactivated")));
    assert_inactive(&world, &did, "deactivated", "RepoDeactivated").await?;
    account.activate().await?;
    watch.expect("activation", &["account", "identity", "-sync"]).await?;
    assert_active(&world, &account, "activation").await?;

    // The reference consumer verifies the post with the new key, as the relay does.
    world.network.rotate_key(0, &did).await?;
    watch.expect("new signing key", &["identity", "sync"]).await?;
    assert_active(&world, &account, "new signing key").await?;
    account.post("Signed with another key.").await?;
    watch.expect("post with the new key", &["create"]).await?;
    assert_active(&world, &account, "post with the new key").await?;

    let first_handle = account.handle.clone();
    account.rename().await?;
    watch.expect("handle", &["identity"]).await?;
    assert_active(&world, &account, "handle").await?;

    // Migration, as https://atproto.com/guides/account-migration describes it. All that passes is from the new PDS.
    account.tell("identity.requestPlcOperationSignature").await?;
    let token = world.network.mailed_token(0, &account)?;
    let copy = account.copy_to(&second).await?;
    watch.at_pds = Consumer::reference(&world.place.at(&second), 0)?;
    account.hand_over(&copy, &token).await?;
    watch.expect("identity at the new PDS", &["identity"]).await?;
    // Valid at the old PDS, where the account is active still; but it does not speak for it any more.
    account.post("To nobody.").await?;
    copy.activate().await?;
    account.deactivate().await?;
    // This #sync is not valid: the PDS gives the import a new rev, and has the commit as the old PDS signed it.
    watch.expect("activation at the new PDS", &["account", "identity", "-sync"]).await?;
    copy.post("From the new PDS.").await?;
    watch.expect("post at the new PDS", &["create"]).await?;
    assert_active(&world, &copy, "post at the new PDS").await?;
    until("both events of the old PDS are dropped", || async {
        let status = world.relay.status().await?;
        let dropped = &status["events"]["droppedByReason"];
        if dropped["wrong_host"] == 2 { Ok(Some(())) } else { bail!("{dropped}") }
    })
    .await?;

    copy.tell("server.requestAccountDelete").await?;
    let token = world.network.mailed_token(1, &copy)?;
    copy.delete(&token).await?;
    let seen = watch.expect("deletion", &["account"]).await?;
    assert_eq!((&seen[0]["active"], &seen[0]["status"]), (&json!(false), &json!("deleted")));
    assert_inactive(&world, &did, "deleted", "RepoDeleted").await?;
    let mut dropped = world.relay.status().await?["events"]["droppedByReason"].clone();
    dropped.as_object_mut().unwrap().remove("unchanged");
    assert_eq!(dropped, json!({ "wrong_host": 2, "rev_mismatch": 1 }), "and nothing else");

    // The Python SDK reads the same life, and the handles in it.
    let is_end = |event: &Value| event["did"] == did && event["status"] == "deleted";
    let mut life = Consumer::python(&world.place, 0)?.read_until("the deletion", is_end).await?;
    life.retain(|event| event["did"] == did);
    let identities = life.iter_mut().filter(|event| event["event"] == "identity");
    let handles: Vec<Option<Value>> = identities.map(|it| it.as_object_mut().unwrap().remove("handle")).collect();
    assert_same(&life, &watch.seen, "what the two read");
    let [first_handle, second_handle, last_handle] =
        [&first_handle, &account.handle, &copy.handle].map(|handle| Some(json!(handle)));
    let expected = [first_handle.clone(), first_handle, None, second_handle, None, last_handle];
    assert_eq!(handles, expected, "handles");
    Ok(())
}
