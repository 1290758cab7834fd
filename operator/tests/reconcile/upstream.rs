//! Stories of what a spec says of hosts: bans that are asked of the relay, and the token of its siblings.

use serde_json::{Value, json};

use super::relay::{FakeRelay, Mood};
use super::{POD, RECORDED, STATEFUL_SET, Story, await_change};

const SIBLING: &str = "/api/v1/namespaces/relays/secrets/sibling";
const NONE: [&str; 0] = [];

fn banning(domains: &[&str]) -> Value {
    json!({"hostname": "relay.test", "upstream": {"bannedDomains": domains}})
}

/// A relay without bans that is up and was reported once.
async fn up(spec: Value) -> (Story, FakeRelay) {
    let mut story = Story::of(spec).await;
    story.reconcile().await.unwrap();
    let mut document: Value = serde_json::from_str(RECORDED).unwrap();
    document["backfill"] = json!({"byState": {}, "jobs": []});
    let relay = story.start_pod(document.to_string()).await;
    (story, relay)
}

#[tokio::test]
async fn domains_are_banned_once_and_let_in_when_no_spec_bans_them() {
    let (story, relay) = up(banning(&["spam.example", "zip"])).await;
    assert_eq!(story.condition("BansApplied"), "False RelayUnavailable", "there was no pod yet");
    relay.set_banned("of-a-person.example", true);
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["banDomain spam.example", "banDomain zip"]);
    assert_eq!(story.condition("BansApplied"), "True Applied");
    assert_eq!(story.status()["bannedDomains"], json!(["spam.example", "zip"]));

    story.api.writes();
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), NONE, "an unchanged world");
    assert_eq!(story.api.writes(), NONE);

    relay.set_banned("zip", false);
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["banDomain zip"], "what the spec bans is banned, whoever has let it in");

    story.write(banning(&["zip"]));
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["unbanDomain spam.example"]);
    story.write(super::minimal());
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["unbanDomain zip"]);
    assert_eq!(relay.banned(), ["of-a-person.example"], "what a person has banned stays so");
    story.reconcile().await.unwrap();
    assert_eq!(story.status()["bannedDomains"], Value::Null);
    let conditions = story.status()["conditions"].to_string();
    assert!(!conditions.contains("BansApplied"), "nothing is said of what nobody asks for: {conditions}");
}

#[tokio::test]
async fn a_spec_remembers_what_it_has_banned_while_the_relay_is_away() {
    let (story, relay) = up(banning(&["spam.example"])).await;
    story.reconcile().await.unwrap();
    let pod = story.api.get(POD);
    story.api.put(POD, Value::Null);
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("BansApplied"), "True Applied", "the relay has it in its database");
    story.write(super::minimal());
    story.reconcile().await.unwrap();
    assert_eq!(story.condition("BansApplied"), "False RelayUnavailable", "it is still to be let in");
    // A spec that makes no sense, meanwhile, is no reason to forget.
    story.write(json!({"hostname": "relay.test", "memory": {"limit": "1Mi"}}));
    story.reconcile().await.unwrap();
    story.write(super::minimal());
    story.api.put(POD, pod);
    relay.requests();
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["unbanDomain spam.example"]);
}

#[tokio::test]
async fn a_relay_that_does_not_take_a_ban_is_a_condition_and_is_asked_again() {
    for (mood, asked) in [(Mood::Refusing(401, ""), 1), (Mood::Refusing(400, "not a domain"), 2), (Mood::Silent, 0)] {
        let (story, relay) = up(banning(&["a.example", "b.example"])).await;
        relay.set_mood(mood);
        assert_ne!(story.reconcile().await.unwrap(), await_change(), "it is looked at again");
        assert_eq!(relay.requests().len(), asked, "others are asked only where the answer is of one domain");
        assert_eq!(story.condition("BansApplied"), "False ApplyFailed");
        assert_eq!(story.condition("Ready"), "True Delivering");
        relay.set_mood(Mood::Willing);
        story.reconcile().await.unwrap();
        assert_eq!(relay.banned(), ["a.example", "b.example"]);
        assert_eq!(story.condition("BansApplied"), "True Applied");
    }
}

#[tokio::test]
async fn a_paused_relay_keeps_its_bans_as_they_are() {
    let (story, relay) = up(super::minimal()).await;
    let mut spec = banning(&["spam.example"]);
    spec["paused"] = json!(true);
    story.write(spec.clone());
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), NONE);
    assert_eq!(story.condition("BansApplied"), "False RelayPaused");
    spec["paused"] = json!(false);
    story.write(spec);
    story.reconcile().await.unwrap();
    assert_eq!(relay.requests(), ["banDomain spam.example"]);
}

#[tokio::test]
async fn a_token_of_siblings_that_is_missing_is_told_and_looked_for_again() {
    let spec = json!({"hostname": "relay.test", "upstream": {
        "siblingRelays": ["https://relay2.example.com"], "siblingTokenSecretRef": {"name": "sibling"},
    }});
    let story = Story::of(spec).await;
    assert_ne!(story.reconcile().await.unwrap(), await_change());
    assert_eq!(story.condition("Ready"), "False SecretNotFound");
    story.api.put(
        SIBLING,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sibling"}, "data": {"token": "dDBrZW4="}}),
    );
    story.reconcile().await.unwrap();
    let env = story.api.get(STATEFUL_SET)["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    let reference = json!({"secretKeyRef": {"name": "sibling", "key": "token"}});
    assert_eq!(env, json!([{"name": "RELAY_SIBLING_TOKEN", "valueFrom": reference}]));
}
