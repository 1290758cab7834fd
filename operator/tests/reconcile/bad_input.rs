//! Stories of input that makes no sense: each a condition that says what to do, and nothing else goes wrong.

use std::time::Duration;

use serde_json::json;

use super::{RELAY, STATEFUL_SET, Story, minimal};

#[tokio::test]
async fn an_object_that_is_no_relay_gets_a_condition_and_keeps_its_status() {
    let story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    let endpoint = story.status()["endpoint"].clone();
    story.api.writes();

    story.write(json!({"hostname": 7}));
    let error = story.reconcile().await.unwrap_err();
    assert_eq!(error.reason(), "Undecodable");
    assert_eq!(story.api.writes(), [format!("PATCH {RELAY}/status")], "and no more");
    assert_eq!(story.condition("Ready"), "False Undecodable");
    let message = story.status()["conditions"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Invalid type integer `7`. Expected a string"), "{message}");
    assert_eq!(story.status()["endpoint"], endpoint, "the rest stays");
    assert_eq!(story.status()["observedGeneration"], 2);
    story.reconcile().await.unwrap_err();
    assert_eq!(story.api.writes(), Vec::<String>::new(), "said once");

    story.write(minimal());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Ready"), "False NoPod", "it heals");
}

#[tokio::test]
async fn an_object_that_was_never_a_relay_gets_a_condition_too() {
    let story = Story::of(json!({"hostname": "relay.test", "upstream": {"hosts": "pds.example.com"}})).await;
    assert_eq!(story.reconcile().await.unwrap_err().reason(), "Undecodable");
    assert_eq!(story.condition("Ready"), "False Undecodable");
}

#[tokio::test]
async fn an_older_definition_costs_the_status_its_new_fields_and_nothing_else() {
    let story = Story::of(minimal()).await;
    story.api.forget(Some("database"));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("SchemaCurrent"), "False CRDOutdated");
    assert_eq!(story.condition("Ready"), "False NoPod", "the rest is reported");
    assert_eq!(story.status()["endpoint"], "ws://demo.relays.svc:3000");
    assert!(story.status().get("database").is_none());

    story.api.forget(None);
    story.reconcile().await.unwrap();
    assert_eq!(story.status()["database"], "Embedded");
    let conditions = story.status()["conditions"].clone();
    assert!(conditions.as_array().unwrap().iter().all(|condition| condition["type"] != "SchemaCurrent"), "it is over");
}

#[tokio::test]
async fn a_secret_that_holds_something_else_is_waited_for() {
    let database = json!({"externalSecretRef": {"name": "relay-db"}});
    let story = Story::of(json!({"hostname": "relay.test", "database": database})).await;
    let secret = "/api/v1/namespaces/relays/secrets/relay-db";
    // mysql://db/relay
    story.api.put(secret, json!({"data": {"url": "bXlzcWw6Ly9kYi9yZWxheQ=="}}));
    assert_ne!(story.reconcile().await.unwrap(), super::await_change(), "it may heal without a change of the Relay");
    assert_eq!(story.condition("Ready"), "False SecretValueInvalid");
    assert_eq!(story.condition("DatabaseReady"), "Unknown SecretValueInvalid");
    // postgres://db/relay
    story.api.put(secret, json!({"data": {"url": "cG9zdGdyZXM6Ly9kYi9yZWxheQ=="}}));
    story.secrets.pass(Duration::from_secs(60));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("DatabaseReady"), "True SecretFound");
}

#[tokio::test]
async fn another_program_than_the_one_there_is_refused_whatever_the_schema_says() {
    let story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    let before = story.api.get(STATEFUL_SET);
    let image = json!({"repository": "r.test/indigo", "tag": "1"});
    story.write(json!({"hostname": "relay.test", "implementation": "Indigo", "image": image}));
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Ready"), "False ImplementationImmutable");
    assert_eq!(story.api.get(STATEFUL_SET), before, "what runs goes on running");
}
