//! Stories of declared backfills: what is asked of the relay, and what is told of it.

use serde_json::{Value, json};

use super::relay::{FakeRelay, Mood};
use super::{POD, RECORDED, RELAY, Story, await_change};

const CURSOR: &str = "a.example app.bsky.feed.post after did:plc:7iza6de2dwap2sbkpav7c6c6";

fn declaring(backfill: Value) -> Value {
    json!({"hostname": "relay.test", "backfill": backfill})
}

fn one_import() -> Value {
    json!({"sources": [{"url": "https://a.example"}], "collections": {"names": ["app.bsky.feed.post"]}})
}

fn import_and_crawl() -> Value {
    let mut backfill = one_import();
    backfill["crawl"] = json!({"enabled": true});
    backfill
}

/// A relay without jobs that is up and was reported once.
async fn up(spec: Value) -> (Story, FakeRelay) {
    let mut story = Story::of(spec).await;
    let mut document: Value = serde_json::from_str(RECORDED).unwrap();
    document["backfill"] = json!({"byState": {}, "jobs": []});
    story.reconcile().await.unwrap();
    let relay = story.start_pod(document.to_string()).await;
    (story, relay)
}

impl Story {
    fn message(&self, type_: &str) -> String {
        let status = self.status();
        let condition = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == type_).unwrap();
        condition["message"].as_str().unwrap().to_owned()
    }

    fn backfill_events(&self) -> Vec<String> {
        self.api.events().into_iter().filter(|event| event.starts_with("Backfill")).collect()
    }
}

#[tokio::test]
async fn declared_jobs_are_made_once() {
    let (story, relay) = up(declaring(import_and_crawl())).await;
    assert_eq!(story.condition("BackfillComplete"), "False RelayUnavailable", "there was no pod yet");
    story.reconcile().await.unwrap();
    assert_eq!(
        relay.requests(),
        [
            r#"PUT import-a-example {"collections":{"names":["app.bsky.feed.post"]},"declaredBy":"operator","kind":"import","sources":["https://a.example"]}"#,
            r#"PUT crawl {"declaredBy":"operator","kind":"crawl"}"#,
        ]
    );
    assert_eq!(story.condition("BackfillComplete"), "False Waiting");
    assert_eq!(story.condition("Ready"), "True Delivering", "a relay need not be complete to deliver");
    assert_eq!(story.status()["backfill"]["summary"], "0/2 done");

    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), Vec::<String>::new(), "an unchanged world");
    assert_eq!(story.api.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_declared_otherwise_changes_its_job_and_what_is_no_longer_declared_goes() {
    let (story, relay) = up(declaring(import_and_crawl())).await;
    story.reconcile().await.unwrap();
    relay.requests();

    let mut changed = import_and_crawl();
    changed["sources"][0]["requestsPerSecond"] = json!(2.5);
    story.write(declaring(changed));
    story.reconcile().await.unwrap();
    assert_eq!(
        relay.requests(),
        [
            r#"PUT import-a-example {"collections":{"names":["app.bsky.feed.post"]},"declaredBy":"operator","kind":"import","requestsPerSecond":2.5,"sources":["https://a.example"]}"#
        ]
    );

    story.write(declaring(json!({"crawl": {"enabled": true}})));
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["DELETE import-a-example"]);
    story.write(super::minimal());
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["DELETE crawl"]);
    assert_eq!(story.condition("BackfillComplete"), "True NotDeclared");
    assert_eq!(story.status()["backfill"], Value::Null);
}

#[tokio::test]
async fn what_people_do_with_jobs_is_left_alone() {
    let (story, relay) = up(declaring(one_import())).await;
    story.reconcile().await.unwrap();
    relay.requests();
    relay.change("import-a-example", |job| job["state"] = json!("paused"));
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), Vec::<String>::new(), "a job that a person paused stays paused");
    assert_eq!(story.condition("BackfillComplete"), "False Paused");

    relay.change("import-a-example", |job| job["spec"]["declaredBy"] = json!("somebody"));
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), Vec::<String>::new(), "a job of somebody else is not changed");
    assert_eq!(story.condition("BackfillComplete"), "False NameTaken");
    story.write(super::minimal());
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), Vec::<String>::new(), "nor removed");
}

#[tokio::test]
async fn a_relay_that_does_not_take_a_job_is_a_condition_and_is_asked_again() {
    for (mood, asked, message) in [
        (Mood::Refusing(401, ""), 1, "refuses the admin token"),
        (Mood::Refusing(500, ""), 1, "HTTP status 500"),
        (Mood::Refusing(400, "sources: not reachable"), 2, "the relay refuses it: sources: not reachable"),
        (Mood::Silent, 0, "did not answer within"),
    ] {
        let (story, relay) = up(declaring(import_and_crawl())).await;
        relay.set_mood(mood);
        assert_ne!(story.reconcile().await.unwrap(), await_change(), "{message}: it is looked at again");
        assert_eq!(relay.requests().len(), asked, "{message}: others are asked only where the answer is of one job");
        assert_eq!(story.condition("BackfillComplete"), "False ApplyFailed", "{message}");
        assert!(story.message("BackfillComplete").contains(message), "{}", story.message("BackfillComplete"));
        assert_eq!(story.condition("Ready"), "True Delivering", "{message}");

        relay.set_mood(Mood::Willing);
        story.reconcile().await.unwrap();
        assert_eq!(relay.requests().len(), 2, "{message}: both are made at last");
        assert_eq!(story.condition("BackfillComplete"), "False Waiting", "{message}");
    }
}

#[tokio::test]
async fn a_paused_relay_keeps_its_jobs_as_they_are() {
    let (story, relay) = up(super::minimal()).await;
    let mut spec = declaring(one_import());
    spec["paused"] = json!(true);
    story.write(spec.clone());
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), Vec::<String>::new());
    assert_eq!(story.condition("BackfillComplete"), "False RelayPaused");
    spec["paused"] = json!(false);
    story.write(spec);
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests().len(), 1);
}

#[tokio::test]
async fn a_restart_of_the_pod_is_told_once_with_the_cursor() {
    let (mut story, relay) = up(declaring(one_import())).await;
    story.reconcile().await.unwrap();
    relay.change("import-a-example", |job| {
        job["state"] = json!("running");
        job["startedAt"] = json!("2026-11-24T09:00:01Z");
    });
    story.reconcile().await.unwrap();
    assert_eq!(story.backfill_events(), ["BackfillStarted: The job import-a-example has begun."]);

    let pod = story.api.get(POD);
    story.api.put(POD, Value::Null);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("BackfillComplete"), "False RelayUnavailable");
    // A spec that makes no sense, meanwhile, is no reason to forget.
    let spec = story.api.get(RELAY)["spec"].clone();
    story.write(json!({"hostname": "relay.test", "memory": {"limit": "1Mi"}}));
    story.reconcile().await.unwrap();
    story.write(spec);
    story.api.put(POD, pod);

    relay.change("import-a-example", |job| {
        job["resumes"] = json!(1);
        job["resumedFrom"] = json!(CURSOR);
    });
    let went_on =
        format!("BackfillResumed: After a restart of the relay the job import-a-example goes on from {CURSOR}");
    // Each of these reconciles is that of an operator that has just been started.
    for _ in 0..3 {
        story.reconcile().await.unwrap();
        assert_eq!(story.backfill_events()[1..], [went_on.as_str()]);
    }
    let relay = story.start_pod(relay.document().to_string()).await;
    relay.change("import-a-example", |job| job["resumes"] = json!(2));
    story.reconcile().await.unwrap();
    assert_eq!(story.backfill_events()[1..], [went_on.as_str(), went_on.as_str()], "each restart has its Event");

    relay.change("import-a-example", |job| {
        job["state"] = json!("done");
        job["progress"]["seen"] = json!(12);
    });
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("BackfillComplete"), "True Done");
    let done = "BackfillCompleted: The job import-a-example is done: sources named 12 DIDs, 0 pairs were new.";
    assert_eq!(story.backfill_events()[3..], [done]);
    assert_eq!(story.status()["backfill"]["summary"], "1/1 done");
}
