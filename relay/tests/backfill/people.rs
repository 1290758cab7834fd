//! Jobs as people and the operator handle them.

use std::time::Duration;

use serde_json::{Value, json};
use sim::directory::{Fault, Route};

use crate::common::World;
use crate::jobs::{
    Pairs, assert_same, delete, directory, job, progress, put, send_pairs, tell, try_put, until, until_state,
};
use crate::world::{collection, did, import, named, sources, union};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_paused_resumed_cancelled_and_run_again() {
    let mut world = World::new(93, &[]).await;
    let sources = sources(10, 1000).await;
    sources.iter().for_each(|source| source.set_fault(Route::Repos, Some(Fault::Delay(Duration::from_millis(50)))));
    put(&world.relay, "all", &import(&sources)).await;
    until(&world.relay, "all", "under way", |job| progress(job, "seen") > 0).await;
    assert_eq!(tell(&world.relay, "all", "pause").await["state"], "paused");
    // It stays so over a restart.
    world.relay.kill();
    world.relay.start_again().await;
    let paused = job(&world.relay, "all").await;
    assert_eq!(paused["state"], "paused", "{paused:#}");
    let asked: Vec<u64> = sources.iter().map(|source| source.requests()).collect();
    tell(&world.relay, "all", "resume").await;
    until(&world.relay, "all", "going on", |job| progress(job, "seen") > progress(&paused, "seen")).await;
    assert_eq!(tell(&world.relay, "all", "cancel").await["state"], "cancelled");
    assert!(sources.iter().zip(asked).any(|(source, before)| source.requests() > before));

    sources.iter().for_each(|source| source.set_fault(Route::Repos, None));
    tell(&world.relay, "all", "run").await;
    let done = until_state(&world.relay, "all", "done").await;
    assert_same(&directory(&world.relay).await, &union(&sources), "the second run");
    assert_eq!((&done["run"], progress(&done, "seen")), (&json!(2), named(&sources)), "{done:#}");
    assert_eq!(delete(&world.relay, "all").await.status, 200);
    assert_eq!(world.relay.get_admin("/admin/backfill/jobs").await.json, json!({ "jobs": [] }));
    assert_same(&directory(&world.relay).await, &union(&sources), "what a deleted job has found stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_spec_changes_nothing_and_another_keeps_what_is_done() {
    let world = World::new(94, &[]).await;
    let sources = sources(4, 1000).await;
    let names = |kinds: &[usize]| -> Value {
        let names: Vec<String> = kinds.iter().map(|kind| collection(*kind)).collect();
        let urls: Vec<String> = sources.iter().map(|source| source.url()).collect();
        let collections = json!({ "names": names });
        json!({ "kind": "import", "sources": urls, "collections": collections, "declaredBy": "operator" })
    };
    put(&world.relay, "operator", &names(&[0, 1])).await;
    until_state(&world.relay, "operator", "done").await;
    let asked: Vec<u64> = sources.iter().map(|source| source.requests()).collect();
    let same = put(&world.relay, "operator", &names(&[0, 1])).await;
    assert_eq!((&same["state"], &same["run"]), (&json!("done"), &json!(1)), "{same:#}");

    put(&world.relay, "operator", &names(&[1, 2])).await;
    let changed = until(&world.relay, "operator", "done with 2 of each", |job| {
        job["state"] == "done" && job["spec"]["collections"]["names"][1] == collection(2)
    });
    let changed = changed.await;
    assert_eq!((progress(&changed, "parts"), progress(&changed, "partsDone")), (4, 4), "{changed:#}");
    for (source, before) in sources.iter().zip(asked) {
        let asked = source.asked().split_off(before as usize);
        assert!(asked.iter().all(|page| page.collection == collection(2)), "the other is done already: {asked:?}");
    }
    let expected = union(&sources).into_iter().filter(|(_, kind)| *kind != collection(3)).collect();
    assert_same(&directory(&world.relay).await, &expected, "both specs together");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_wrong_is_refused_with_the_field() {
    let world = World::new(95, &[]).await;
    let source = "http://127.0.0.1:1";
    for (spec, field) in [
        (json!({ "kind": "import", "collections": { "ofSources": true } }), "sources"),
        (json!({ "kind": "import", "sources": [source] }), "collections"),
        (json!({ "kind": "import", "sources": ["no url"], "collections": { "ofSources": true } }), "sources"),
        (json!({ "kind": "import", "sources": [source], "collections": { "names": ["no nsid"] } }), "names"),
        (json!({ "kind": "import", "sources": [source], "collections": { "ofSources": true }, "bogus": 1 }), "bogus"),
        (json!({ "kind": "verify", "schedule": "sometimes" }), "schedule"),
        (json!({ "kind": "verify", "requestsPerSecond": -1 }), "requestsPerSecond"),
        (json!({ "kind": "verify", "concurrency": 0 }), "concurrency"),
        (json!({ "kind": "knit" }), "kind"),
    ] {
        let answer = try_put(&world.relay, "wrong", &spec).await;
        assert_eq!(answer.status, 400, "{spec}: {}", answer.text);
        let message = answer.json["message"].as_str().unwrap();
        assert!(message.contains(field), "{spec}: {message}");
    }
    for name in ["Upper", "under_score", &"x".repeat(64)] {
        assert_eq!(try_put(&world.relay, name, &json!({ "kind": "verify" })).await.status, 400, "{name}");
    }
    let missing = world.relay.get_admin("/admin/backfill/jobs/missing").await;
    assert_eq!((missing.status, &missing.json["error"]), (404, &json!("JobNotFound")), "{}", missing.text);
    assert_eq!(world.relay.get_admin("/admin/backfill/jobs").await.json, json!({ "jobs": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_that_are_sent_count_once() {
    let mut world = World::new(96, &[]).await;
    let pairs: Pairs = (0..5000).map(|number| (did(number), collection(number % 3))).collect();
    let answer = send_pairs(&world.relay, "by-hand", &pairs).await;
    assert_eq!((&answer["seen"], &answer["added"], &answer["known"]), (&json!(5000), &json!(5000), &json!(0)));
    world.relay.kill();
    world.relay.start_again().await;
    let again = send_pairs(&world.relay, "by-hand", &pairs).await;
    assert_eq!((&again["added"], &again["known"]), (&json!(0), &json!(5000)), "{again}");
    assert_same(&directory(&world.relay).await, &pairs, "what was sent");
    assert_eq!(progress(&job(&world.relay, "by-hand").await, "added"), 5000);
}
