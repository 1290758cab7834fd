#![allow(clippy::unwrap_used)]

use kube::api::DynamicObject;

use super::*;

const NOW: &str = "2026-11-28T10:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn relay(name: &str, spec: Value, status: Value) -> Seen {
    let object = json!({
        "apiVersion": "relay.waow.tech/v1alpha1", "kind": "Relay",
        "metadata": {
            "name": name, "namespace": "relays", "generation": 3, "creationTimestamp": "2026-11-25T10:00:00Z",
        },
        "spec": spec, "status": status,
    });
    Seen::of(serde_json::from_value::<DynamicObject>(object).unwrap())
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 3,
        "lastTransitionTime": "2026-11-28T09:00:00Z",
    })
}

/// A relay of which everything is known, and something is wrong.
fn busy() -> Seen {
    let status = json!({
        "observedGeneration": 3,
        "conditions": [
            condition("Ready", "False", "NoHostConnected", "The relay is connected to none of its hosts."),
            condition("WorkloadReady", "True", "PodReady", "The pod is ready."),
            condition("Delivering", "False", "NoHostConnected", "The relay is connected to none of its hosts."),
            condition("MemoryHealthy", "Unknown", "Unknown", "The relay cannot be asked now."),
            condition("Paused", "False", "NotPaused", ""),
        ],
        "endpoint": "wss://relay.example.com",
        "version": "relay/0.1.0",
        "seq": 123_456_789,
        "hosts": {"connected": 0, "total": 2731},
        "eventsPerSecond": 12.5,
        "memory": {
            "workingSetBytes": 3_865_470_566_i64, "limitBytes": 4_294_967_296_i64, "summary": "3686Mi/4Gi", "step": "shrink-caches",
            "pressureSince": "2026-11-28T09:50:00Z", "slopeBytesPerHour": 104_857_600, "secondsToLimit": 14_400,
        },
        "resize": {
            "limit": "4Gi", "grownFrom": "3Gi", "at": "2026-11-28T09:55:00Z", "state": "Deferred", "message": "node has no room",
        },
        "restarts": {
            "planned": 2, "oomKilled": 1, "crashed": 0, "evicted": 0, "nodeLost": 0, "stopped": 3, "unseen": 0,
            "last": [
                {"at": "2026-11-28T08:00:00Z", "cause": "PlannedRestart", "reason": "MemoryHardMark", "message": "the hard mark\u{1b}[2J",
                 "exitCode": 75, "workingSet": 963_641_344, "limit": 1_073_741_824, "seq": 7},
                {"at": "2026-11-27T10:00:00Z", "cause": "OOMKilled", "exitCode": 137},
            ],
        },
        "consumers": 4,
        "backfill": {
            "summary": "1/2 done", "total": 2, "done": 1, "running": 1, "waiting": 0, "paused": 0, "failed": 0, "seen": 12_000,
            "added": 11_000, "perSecond": 250.5, "etaSeconds": 3600,
            "jobs": [
                {"name": "import-0", "state": "done", "progress": "4/4", "resumes": 1},
                {"name": "crawl", "state": "running", "progress": "3/40", "lastError": "pds.test: timed out", "resumes": 0},
            ],
        },
        "update": {
            "phase": "Proving", "revision": "demo-7d", "lastGood": "demo-6c", "since": "2026-11-28T09:58:00Z",
            "message": "80 % of the events of before are wanted",
        },
        "observedAt": "2026-11-28T09:59:40Z",
    });
    relay("demo", json!({"hostname": "relay.example.com", "implementation": "Bundled", "paused": true}), status)
}

fn good() -> Seen {
    let status = json!({
        "conditions": [condition("Ready", "True", "Delivering", "The relay delivers.")],
        "hosts": {"connected": 2, "total": 3}, "eventsPerSecond": 12.5,
        "memory": {"workingSetBytes": 73_400_320, "summary": "70Mi/512Mi"},
    });
    relay("good", json!({"hostname": "good.test"}), status)
}

/// Not seen by any operator.
fn new() -> Seen {
    relay("new", json!({"hostname": "new.test"}), Value::Null)
}

/// By an operator of another version.
fn strange() -> Seen {
    relay("strange", json!({"hostname": "strange.test"}), json!({"memory": {"summary": 7}}))
}

#[track_caller]
fn assert_golden(name: &str, text: &str) {
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, anstream::adapter::strip_str(text).to_string());
    });
}

#[test]
fn a_relay_with_everything() {
    assert_golden("status-busy", &details::text(&busy(), now()));
}

#[test]
fn a_relay_that_is_well_says_it_in_its_first_line() {
    let text = details::text(&good(), now());
    assert!(
        text.starts_with("\u{1b}[1mrelays/good\u{1b}[0m  \u{1b}[32mReady\u{1b}[0m  The relay delivers.\n"),
        "{text:?}"
    );
}

#[test]
fn relays_that_nobody_understands_are_shown_all_the_same() {
    let texts = [details::text(&new(), now()), details::text(&strange(), now())];
    assert_golden("status-unknown", &texts.concat());
}

#[test]
fn a_line_for_each() {
    let relays = [busy(), good(), new(), strange()];
    assert_golden("status-list", &list(&relays, true, now()));
    assert!(list(&relays, false, now()).contains("\ndemo "), "without namespaces");
}

#[test]
fn what_a_relay_says_does_not_move_the_cursor() {
    let text = details::text(&busy(), now());
    assert!(!text.contains("\u{1b}[2J"), "{text:?}");
}

#[test]
fn programs_get_the_status_as_it_is() {
    let document = document(&busy());
    assert_eq!(document["status"]["update"]["phase"], "Proving");
    assert_eq!((&document["name"], &document["paused"]), (&json!("demo"), &json!(true)));
}
