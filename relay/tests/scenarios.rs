//! The end-to-end scenarios that the reference implementation tests its own relay with, played against the running
//! relay: the accounts' identities come from a directory, the messages from a host, over WebSockets.
//!
//! The reference plays them with its check of an account's host switched off, since the identities name hosts of the
//! real network. Here they name the host that plays the scenario, and the check is on.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/indigo.rs"]
mod indigo;

use common::World;
use indigo::text;
use relay::protocol::frame::{Frame, decode};
use serde_json::{Value, json};
use sim::Host;

const FOLDER: &str = "cmd/relay/testing/testdata";

struct Scenario(Value);

impl Scenario {
    fn load(name: &str) -> Scenario {
        Scenario(indigo::json(format!("{FOLDER}/{name}.json")))
    }

    /// Commits from before sync 1.1 are to pass.
    fn lenient(&self) -> bool {
        self.0["lenient"].as_bool().unwrap()
    }

    fn messages(&self) -> &[Value] {
        self.0["messages"].as_array().unwrap()
    }

    /// Which messages are to pass.
    fn expected(&self) -> Vec<bool> {
        self.messages().iter().map(|message| !message["drop"].as_bool().unwrap()).collect()
    }

    /// Which are to pass where commits from before sync 1.1 are invalid.
    fn expected_without_legacy(&self) -> Vec<bool> {
        let is_legacy = |frame: &Value| frame["header"]["t"] == "#commit" && frame["body"]["prevData"].is_null();
        let messages = self.messages().iter().zip(self.expected());
        messages.map(|(message, passes)| passes && !is_legacy(&message["frame"])).collect()
    }

    /// Enters the accounts at the directory, on a host.
    fn register(&self, world: &World, host: &Host) {
        for account in self.0["accounts"].as_array().unwrap() {
            assert_eq!(account["status"], "active", "no scenario has another status so far");
            let identity = &account["identity"];
            let did = text(identity, "did");
            let document = json!({
                "id": did,
                "alsoKnownAs": [format!("at://{}", text(identity, "handle"))],
                "verificationMethod": [{
                    "id": format!("{did}#atproto"),
                    "type": text(&identity["keys"]["atproto"], "type"),
                    "controller": did,
                    "publicKeyMultibase": text(&identity["keys"]["atproto"], "publicKeyMultibase"),
                }],
                "service": [{
                    "id": "#atproto_pds",
                    "type": "AtprotoPersonalDataServer",
                    "serviceEndpoint": format!("http://{}", host.name()),
                }],
            });
            world.network.plc.enter(did, document);
        }
    }

    /// Plays the messages, of which just these must pass, as they are and in order.
    async fn play(&self, lenient: bool, expected: &[bool]) {
        let policy = if lenient { "--validation=lenient" } else { "--validation=enforce" };
        let mut world = World::new(70, &[policy]).await;
        let host = world.host().await;
        self.register(&world, &host);
        let mut consumer = world.relay.consumer(None).await;
        for (number, (message, passes)) in self.messages().iter().zip(expected).enumerate() {
            let bytes = indigo::event(&message["frame"]);
            let seq = message["frame"]["body"]["seq"].as_u64().unwrap();
            let sent = host.emit_frame_as(seq, bytes);
            if *passes {
                let delivered = consumer.event().await;
                assert!(delivered.content() == sent.content(), "message {number}: {:?}", decode(&delivered.frame));
            }
        }
        let drops = expected.iter().filter(|passes| !**passes).count() as u64;
        let all = "each message that must not pass is counted";
        world.relay.until(all, async |relay| relay.count("/events/dropped").await == drops).await;
        let last = world.account(&host).post();
        let last = host.emit(last);
        let delivered = consumer.event().await;
        assert!(delivered.content() == last.content(), "nothing else passes: {:?}", decode(&delivered.frame));
    }

    async fn passes_as_expected(&self) {
        self.play(self.lenient(), &self.expected()).await;
    }
}

/// Protocol 19, 28: an account is made, states its repository, and is deleted; with and without leniency.
#[tokio::test(flavor = "multi_thread")]
async fn account_lifecycle() {
    let scenario = Scenario::load("account_lifecycle");
    assert!(!scenario.lenient());
    scenario.play(false, &scenario.expected()).await;
    scenario.play(true, &scenario.expected()).await;
}

/// Protocol 19, 27: commits of a deactivated account are dropped; what follows the gap passes.
#[tokio::test(flavor = "multi_thread")]
async fn deactivation() {
    Scenario::load("deactivation").passes_as_expected().await;
}

/// Protocol 26: a commit from before sync 1.1 passes where that is the policy, and there alone.
#[tokio::test(flavor = "multi_thread")]
async fn legacy() {
    let scenario = Scenario::load("legacy");
    assert!(scenario.lenient());
    scenario.passes_as_expected().await;
    scenario.play(false, &scenario.expected_without_legacy()).await;
}

/// Protocol 22: the reference's own variation of this scenario, in which the identity has another key.
#[tokio::test(flavor = "multi_thread")]
async fn legacy_with_another_key() {
    let mut scenario = Scenario::load("legacy");
    let key = &mut scenario.0["accounts"][0]["identity"]["keys"]["atproto"]["publicKeyMultibase"];
    *key = "zQ3shbzd9YoCFQrzfdw2AGpxUHTjUhh69MXRh7hHBavx9wQon".into();
    scenario.play(true, &[true, true, false]).await;
}

/// Protocol 26: real commits of sync 1.1, each with its proof.
#[tokio::test(flavor = "multi_thread")]
async fn post_lifecycle() {
    let scenario = Scenario::load("post_lifecycle");
    assert!(!scenario.lenient());
    scenario.passes_as_expected().await;
}

/// Protocol 26: the same from before sync 1.1. Without leniency none passes; the reference expects the same.
#[tokio::test(flavor = "multi_thread")]
async fn post_lifecycle_legacy() {
    let scenario = Scenario::load("post_lifecycle_legacy");
    assert!(scenario.lenient());
    scenario.passes_as_expected().await;
    let expected = scenario.expected_without_legacy();
    assert!(!expected.contains(&true));
    scenario.play(false, &expected).await;
}

/// Protocol 20: a rev that is no TID, and one that came already.
#[tokio::test(flavor = "multi_thread")]
async fn rev_ordering() {
    Scenario::load("rev_ordering").passes_as_expected().await;
}

/// Protocol 11: seqs that repeat or go back.
#[tokio::test(flavor = "multi_thread")]
async fn seq_ordering() {
    Scenario::load("seq_ordering").passes_as_expected().await;
}

/// A scenario that the reference adds is one that is played here.
#[test]
fn no_scenario_is_left_out() {
    let played = [
        "account_lifecycle",
        "deactivation",
        "legacy",
        "post_lifecycle",
        "post_lifecycle_legacy",
        "rev_ordering",
        "seq_ordering",
    ];
    assert_eq!(indigo::names(FOLDER), played.map(|name| format!("{name}.json")));
    for name in played {
        let scenario = Scenario::load(name);
        assert!(!scenario.messages().is_empty(), "{name}");
        for message in scenario.messages() {
            let bytes = indigo::event(&message["frame"]);
            assert!(!matches!(decode(&bytes), Err(_) | Ok(Frame::Unknown)), "{name}: {message}");
        }
    }
}
