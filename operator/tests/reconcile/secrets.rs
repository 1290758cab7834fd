//! Stories of Secrets: read once, and again when they may have changed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{POD, RECORDED, SECRET, Story, minimal};

const DATABASE: &str = "/api/v1/namespaces/relays/secrets/relay-db";

fn with_database() -> Value {
    json!({"hostname": "relay.test", "database": {"externalSecretRef": {"name": "relay-db"}}})
}

/// A relay that runs, has its Secrets, and says that it is well.
async fn at_rest() -> Story {
    let mut story = Story::of(with_database()).await;
    story.api.put(DATABASE, json!({"data": {"url": "cG9zdGdyZXM6Ly9kYg=="}}));
    story.reconcile().await.unwrap();
    story.reconcile().await.unwrap();
    story.start_pod(RECORDED.into()).await;
    story.reconcile().await.unwrap();
    story.api.read("secrets");
    story.api.writes();
    story
}

#[tokio::test]
async fn at_rest_no_secret_is_read_until_its_time_has_come() {
    let story = at_rest().await;
    for _ in 0..20 {
        story.reconcile().await.unwrap();
    }
    assert_eq!(story.api.read("secrets"), Vec::<String>::new());
    story.secrets.pass(Duration::from_secs(9 * 60));
    story.reconcile().await.unwrap();
    assert_eq!(story.api.read("secrets"), Vec::<String>::new());
    story.secrets.pass(Duration::from_secs(60));
    story.reconcile().await.unwrap();
    assert_eq!(story.api.read("secrets"), ["demo-admin", "relay-db"]);
    assert_eq!(story.api.writes(), Vec::<String>::new(), "it is as it was");
}

#[tokio::test]
async fn a_new_spec_reads_them_anew() {
    let story = at_rest().await;
    story.write(json!({"hostname": "other.test", "database": {"externalSecretRef": {"name": "relay-db"}}}));
    story.reconcile().await.unwrap();
    assert_eq!(story.api.read("secrets"), ["demo-admin", "relay-db"]);
}

#[tokio::test]
async fn a_relay_that_does_not_answer_well_casts_doubt_on_them_but_not_in_every_reconcile() {
    let mut story = at_rest().await;
    story.admin_port = 1;
    for _ in 0..5 {
        story.reconcile().await.unwrap();
    }
    assert_eq!(story.api.read("secrets"), Vec::<String>::new());
    story.secrets.pass(Duration::from_secs(60));
    story.reconcile().await.unwrap();
    assert_eq!(story.api.read("secrets"), ["demo-admin", "relay-db"]);
    story.reconcile().await.unwrap();
    assert_eq!(story.api.read("secrets"), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_missing_is_not_remembered() {
    let story = Story::of(with_database()).await;
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("Ready"), "False SecretNotFound");
    story.api.put(DATABASE, json!({"data": {"url": "cG9zdGdyZXM6Ly9kYg=="}}));
    story.reconcile().await.unwrap();
    assert_ne!(story.condition("Ready"), "False SecretNotFound");
}

#[tokio::test]
async fn a_generated_token_that_somebody_deletes_is_made_again_within_a_bounded_time() {
    let story = Story::of(minimal()).await;
    story.reconcile().await.unwrap();
    story.reconcile().await.unwrap();
    assert_eq!(story.api.get(POD), Value::Null, "nobody says that all is well");
    story.api.put(SECRET, Value::Null);
    story.secrets.pass(Duration::from_secs(60));
    story.reconcile().await.unwrap();
    assert_ne!(story.api.get(SECRET), Value::Null);
}
