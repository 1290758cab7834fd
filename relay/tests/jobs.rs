//! Backfill jobs of the real program: pairs that are sent to it, kills, and the admin API.

#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use reqwest::Method;
use serde_json::{Value, json};
use sim::Relay;
use sim::process::{ADMIN_TOKEN, Answer};

/// Pairs of one request.
const CHUNK: u64 = 100_000;
const PAIRS: u64 = 1_000_000;

fn did(number: u64) -> String {
    let letters = (0..24).rev().map(|place| char::from(b'a' + (number.checked_shr(4 * place).unwrap_or(0) % 16) as u8));
    format!("did:plc:{}", letters.collect::<String>())
}

/// The pairs with these numbers: ten accounts' worth of collections in turn.
fn chunk(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| format!("{} com.example.record{}\n", did(number / 10), number % 10)).collect()
}

async fn ask(relay: &Relay, method: Method, path: &str, body: Value) -> Answer {
    relay.answer(relay.request(method, relay.admin, path).bearer_auth(ADMIN_TOKEN).json(&body)).await
}

async fn send(relay: &Relay, job: &str, body: impl Into<reqwest::Body>) -> Answer {
    let path = format!("/admin/backfill/pairs?job={job}");
    relay.answer(relay.request(Method::POST, relay.admin, &path).bearer_auth(ADMIN_TOKEN).body(body)).await
}

async fn job(relay: &Relay, name: &str) -> Value {
    relay.get_admin(&format!("/admin/backfill/jobs/{name}")).await.json
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_pairs_are_taken_and_a_chunk_that_is_sent_again_or_cut_by_a_kill_counts_once() {
    let mut world = World::new(400, &[]).await;
    for begin in (0..PAIRS - CHUNK).step_by(CHUNK as usize) {
        let answer = send(&world.relay, "pairs", chunk(begin..begin + CHUNK)).await;
        let expected = json!({ "seen": CHUNK, "added": CHUNK, "known": 0, "refused": [], "refusedCount": 0 });
        assert_eq!((answer.status, &answer.json), (200, &expected), "{}", answer.text);
    }
    let again = send(&world.relay, "pairs", chunk(0..CHUNK)).await.json;
    assert_eq!((&again["added"], &again["known"]), (&json!(0), &json!(CHUNK)));

    // The last chunk is cut off when some of it is taken.
    let path = "/admin/backfill/pairs?job=pairs";
    let request = world.relay.request(Method::POST, world.relay.admin, path).bearer_auth(ADMIN_TOKEN);
    let sending = tokio::spawn(request.body(chunk(PAIRS - CHUNK..PAIRS)).send());
    let some = async |relay: &Relay| job(relay, "pairs").await["progress"]["added"].as_u64() > Some(PAIRS - CHUNK);
    world.relay.until("some of the last chunk is taken", some).await;
    world.relay.kill();
    let _ = sending.await;
    world.relay.start_again().await;
    let added = job(&world.relay, "pairs").await["progress"]["added"].as_u64().unwrap();
    assert!(added > PAIRS - CHUNK && added <= PAIRS, "what was taken is counted: {added}");
    let rest = send(&world.relay, "pairs", chunk(PAIRS - CHUNK..PAIRS)).await.json;
    assert_eq!(rest["added"].as_u64(), Some(PAIRS - added));

    let job = job(&world.relay, "pairs").await;
    let progress = &job["progress"];
    assert_eq!((&progress["seen"], &progress["added"]), (&json!(PAIRS), &json!(PAIRS)), "as of an undisturbed import");
    assert_eq!((&job["state"], &job["run"]), (&json!("done"), &json!(1)));
    let audit = world.relay.get_admin("/admin/audit").await.json;
    let rows: Vec<&Value> = audit.as_array().unwrap().iter().filter(|row| row["subject"] == "pairs").collect();
    assert_eq!(rows.len(), 1, "once for the job: {rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_pairs_are_refused_by_their_numbers_and_the_rest_is_taken() {
    let world = World::new(401, &[]).await;
    let (first, second) = (did(1), did(2));
    let long = "x".repeat(5000);
    let body = format!(
        "{first},com.example.record\n\nno pair\n{{\"did\": \"{second}\", \"collection\": \"com.example.record\"}}\r\n\
         {first}\tcom\n{long}\ndid:example:1 com.example.record\n{second} com.example.other"
    );
    let answer = send(&world.relay, "sent", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let lines: Vec<u64> =
        answer.json["refused"].as_array().unwrap().iter().map(|refused| refused["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [3, 5, 6, 7], "{}", answer.text);
    assert_eq!(
        (&answer.json["seen"], &answer.json["added"], &answer.json["refusedCount"]),
        (&json!(3), &json!(3), &json!(4))
    );

    let many = send(&world.relay, "sent", "no pair\n".repeat(1000)).await.json;
    assert_eq!((many["refused"].as_array().unwrap().len(), &many["refusedCount"]), (100, &json!(1000)));
    let huge = send(&world.relay, "sent", vec![b'\n'; 17 << 20]).await;
    assert_eq!((huge.status, &huge.json["error"]), (413, &json!("PayloadTooLarge")), "{}", huge.text);
    for name in ["", "Sent", "a/b"] {
        assert_eq!(send(&world.relay, name, "").await.status, 400, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_made_changed_and_removed_with_answers_that_say_what_is_wrong() {
    let mut world = World::new(402, &[]).await;
    let relay = &world.relay;
    let path = "/admin/backfill/jobs/import";
    let missing = relay.get_admin(path).await;
    assert_eq!((missing.status, &missing.json["error"]), (404, &json!("JobNotFound")));
    let refused = [
        (json!({ "kind": "import" }), "sources: "),
        (json!({ "kind": "import", "sources": ["relay.example.com"], "collections": { "seen": true } }), "sources: "),
        (json!({ "kind": "import", "sources": ["https://relay.example.com"] }), "collections: "),
        (json!({ "kind": "crawl", "schedule": "often" }), "schedule: "),
        (json!({ "kind": "steal" }), "kind: "),
        (json!({ "kind": "crawl", "speed": 1 }), "unknown field `speed`"),
    ];
    for (spec, expected) in refused {
        let answer = ask(relay, Method::PUT, path, spec.clone()).await;
        let message = answer.json["message"].as_str().unwrap();
        assert!(answer.status == 400 && message.contains(expected), "{spec}: {message}");
    }
    assert_eq!(relay.get_admin("/admin/backfill/jobs").await.json, json!({ "jobs": [] }));

    let path = "/admin/backfill/jobs/sent";
    let spec = json!({ "kind": "pairs", "declaredBy": "operator" });
    let made = ask(relay, Method::PUT, path, spec.clone()).await;
    assert_eq!((made.status, &made.json["state"], &made.json["spec"]), (200, &json!("queued"), &spec));
    assert_eq!(ask(relay, Method::PUT, path, spec).await.json, made.json, "the same again");
    let post = async |action: &str| ask(relay, Method::POST, &format!("{path}/{action}"), Value::Null).await;
    assert_eq!(post("pause").await.json["state"], json!("paused"));
    let paused = send(relay, "sent", chunk(0..10)).await;
    assert_eq!((paused.status, &paused.json["error"]), (409, &json!("JobState")), "{}", paused.text);
    assert_eq!(post("run").await.status, 409);
    assert_eq!(post("resume").await.json["state"], json!("queued"));
    assert_eq!(send(relay, "sent", chunk(0..10)).await.json["added"], json!(10));
    let parts = relay.get_admin(&format!("{path}/parts")).await.json;
    assert_eq!((&parts["parts"][0]["key"], &parts["parts"][0]["added"]), (&json!("pairs"), &json!(10)));

    world.relay.terminate().await;
    world.relay.start_again().await;
    let relay = &world.relay;
    let kept = job(relay, "sent").await;
    assert_eq!((&kept["state"], &kept["progress"]["added"], &kept["resumes"]), (&json!("done"), &json!(10), &json!(0)));
    assert_eq!(ask(relay, Method::DELETE, path, Value::Null).await.json, json!({}));
    assert_eq!(relay.get_admin(path).await.status, 404);
    let audit = relay.get_admin("/admin/audit").await.json;
    let actions: Vec<&str> =
        audit.as_array().unwrap().iter().rev().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["put", "pause", "resume", "delete"].map(|action| format!("{action}_backfill_job")));
}
