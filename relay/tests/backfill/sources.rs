//! Sources that are busy, broken or away, and sources that lie.

use std::time::Duration;

use serde_json::json;
use sim::directory::{Fault, Limit, Route};
use sim::{Directory, Relay};

use crate::common::{World, assert_delivered};
use crate::jobs::{Pairs, assert_same, directory, progress, put, tell, until, until_ended, until_state};
use crate::world::{PAGE, collection, did, import, named, sources, union};

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_or_broken_source_is_waited_for() {
    let world = World::new(85, &[]).await;
    let sources = sources(4, 1000).await;
    for (name, fault, words) in [
        ("busy", Fault::Busy(Some(3)), "429"),
        ("busy-until", Fault::BusyUntil(3), "429"),
        ("broken", Fault::Status(500), "500"),
        ("away", Fault::Close, ""),
    ] {
        let world = if name == "busy" { &world } else { &World::new(86, &[]).await };
        // In the middle of the import.
        sources[0].fail_next(Route::Repos, 3, Fault::Delay(Duration::from_millis(1)));
        sources.iter().for_each(|source| source.fail_next(Route::Repos, 2, fault.clone()));
        put(&world.relay, name, &import(&sources)).await;
        let waiting = until_state(&world.relay, name, "waiting").await;
        let reason = waiting["reason"].as_str().unwrap();
        assert!(reason.contains(words) && reason.contains("127.0.0.1"), "{name}: {reason}");
        assert!(waiting["waitsUntil"].is_string() && waiting["lastError"].is_string(), "{waiting:#}");
        let job = until_state(&world.relay, name, "done").await;
        assert_same(&directory(&world.relay).await, &union(&sources), name);
        assert_eq!(progress(&job, "seen"), named(&sources), "{name}: {job:#}");
        assert_eq!((&job["reason"], &job["waitsUntil"]), (&json!(null), &json!(null)), "{job:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_has_expired_begins_its_collection_anew() {
    let world = World::new(87, &[]).await;
    let sources = sources(4, 1000).await;
    sources[0].fail_next(Route::Repos, 2, Fault::Delay(Duration::from_millis(1)));
    sources[0].fail_next(Route::Repos, 1, Fault::CursorExpired);
    put(&world.relay, "all", &import(&sources)).await;
    let job = until_state(&world.relay, "all", "done").await;
    assert_same(&directory(&world.relay).await, &union(&sources), "with a cursor that expired");
    assert_eq!(progress(&job, "partsFailed"), 0, "{job:#}");
    assert_eq!(progress(&job, "added"), union(&sources).len() as u64, "nothing is new twice: {job:#}");
}

/// Three pages, the last of which has room.
const LIAR_ACCOUNTS: usize = 3 * PAGE - 1;

/// A source with one collection, which misbehaves whenever it is asked for accounts.
async fn liar(fault: Fault) -> Directory {
    let source = Directory::start((0..LIAR_ACCOUNTS).map(|number| (did(number), collection(0)))).await;
    source.set_limit(Limit::Caps(PAGE));
    source.set_fault(Route::Repos, Some(fault));
    source
}

/// Far more than a job needs for a source of one small collection.
const REQUESTS_MAX: u64 = 500;

async fn is_well(relay: &Relay) -> bool {
    relay.is_ready().await && relay.memory_bytes("VmRSS") < 256 << 20
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lies_ends_its_part_with_a_reason() {
    let world = World::new(88, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let honest = Directory::start([(did(1_000_000), collection(0))]).await;
    for (name, fault) in [
        ("cursor-expired", Fault::CursorExpired),
        ("same-cursor", Fault::SameCursor),
        ("cursor-cycle", Fault::CursorCycle(3)),
        ("endless-empty", Fault::EndlessEmpty),
        ("endless-same", Fault::EndlessSame),
        ("wrong-types", Fault::WrongTypes),
        ("html", Fault::Html),
        ("huge-body", Fault::HugeBody),
        ("huge-cursor", Fault::HugeCursor(1 << 20)),
        ("foreign-dids", Fault::ForeignDids),
        ("refused", Fault::Error(400, "InvalidRequest".to_owned())),
    ] {
        let source = liar(fault).await;
        let spec = json!({
            "kind": "import",
            "sources": [source.url(), honest.url()],
            "collections": { "names": [collection(0)] },
            "requestsPerSecond": 1000,
        });
        put(&world.relay, name, &spec).await;
        let job = until_ended(&world.relay, name).await;
        assert_eq!(job["state"], "done", "{name}: the honest source was read: {job:#}");
        assert_eq!(progress(&job, "partsFailed"), 1, "{name}: {job:#}");
        let reason = job["reason"].as_str().unwrap_or_else(|| panic!("{name} has no reason: {job:#}"));
        assert!(reason.len() < 1000, "{name}: {reason}");
        assert!(source.requests() < REQUESTS_MAX, "{name}: {} requests", source.requests());
        let parts = world.relay.get_admin(&format!("/admin/backfill/jobs/{name}/parts")).await.json;
        let failed: Vec<_> =
            parts["parts"].as_array().unwrap().iter().filter(|part| part["state"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{name}: {parts:#}");
        assert!(
            failed[0]["error"].is_string() && failed[0]["key"].as_str().unwrap().contains(&collection(0)),
            "{parts:#}"
        );
        let sent = host.emit(account.post());
        assert_delivered(&consumer.events(1).await, [&sent], name);
        assert!(is_well(&world.relay).await, "{name}: the relay has {} bytes", world.relay.memory_bytes("VmRSS"));
    }
    assert!(directory(&world.relay).await.contains(&(did(1_000_000), collection(0))), "what the honest one says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_did_that_is_none_is_left_out_and_the_others_are_taken() {
    let world = World::new(89, &[]).await;
    let sources = [liar(Fault::MalformedDid).await];
    put(&world.relay, "all", &import(&sources)).await;
    until_ended(&world.relay, "all").await;
    let first_of_each_page = 3;
    assert_eq!(directory(&world.relay).await.len(), LIAR_ACCOUNTS - first_of_each_page);
}

/// What has more accounts than any honest source is ended by a bound that no test reaches; until then it costs disk alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_an_end_does_not_fill_the_memory_and_can_be_cancelled() {
    let world = World::new(90, &[]).await;
    let sources = [liar(Fault::EndlessMadeUp).await];
    put(&world.relay, "all", &import(&sources)).await;
    until(&world.relay, "all", "under way", |job| progress(job, "seen") > 20_000).await;
    assert_eq!(tell(&world.relay, "all", "cancel").await["state"], "cancelled");
    assert!(is_well(&world.relay).await, "the relay has {} bytes", world.relay.memory_bytes("VmRSS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_not_say_what_it_has_is_waited_for_and_named() {
    let world = World::new(91, &[]).await;
    let sources = sources(2, 300).await;
    sources[1].set_fault(Route::Collections, Some(Fault::Status(503)));
    put(&world.relay, "all", &import(&sources)).await;
    let job = until_state(&world.relay, "all", "waiting").await;
    assert!(job["reason"].as_str().unwrap().contains("503"), "{job:#}");
    assert_eq!(directory(&world.relay).await, Pairs::new(), "it is not known yet what to import");
}
