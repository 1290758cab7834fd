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
            "before": {"eventsPerSecond": 480.5, "hostsConnected": 2700}, "now": {"eventsPerSecond": 12.5, "hostsConnected": 0},
        },
        "observedAt": "2026-11-28T09:59:40Z",
    });
    relay("busy", json!({"hostname": "relay.example.com", "implementation": "Bundled", "paused": true}), status)
}

/// A relay as it should be; the how-to shows it.
fn good() -> Seen {
    let status = json!({
        "conditions": [
            condition("Ready", "True", "Delivering", "The relay delivers."),
            condition("WorkloadReady", "True", "PodReady", "The pod is ready."),
            condition("Delivering", "True", "Delivering", "The relay takes events from its hosts."),
            condition("MemoryHealthy", "True", "Healthy", "The relay has memory enough."),
            condition("BackfillComplete", "False", "Running", "Jobs are at work; status.backfill says how far they are."),
            condition("Paused", "False", "NotPaused", ""),
        ],
        "endpoint": "wss://relay.example.com",
        "version": "relay/0.1.0",
        "seq": 48_213_077,
        "hosts": {"connected": 2698, "total": 2731},
        "eventsPerSecond": 512.4,
        "memory": {"workingSetBytes": 1_932_735_283, "limitBytes": 4_294_967_296_i64, "summary": "1843Mi/4Gi", "step": "none"},
        "restarts": {
            "planned": 1, "stopped": 2,
            "last": [{
                "at": "2026-11-27T03:12:44Z", "cause": "PlannedRestart", "reason": "MemoryHardMark", "exitCode": 75,
                "message": "the working set has passed the hard mark of 90 %",
                "workingSet": 3_876_000_000_i64, "limit": 4_294_967_296_i64,
            }],
        },
        "consumers": 4,
        "backfill": {
            "summary": "0/1 done", "total": 1, "done": 0, "running": 1, "waiting": 0, "paused": 0, "failed": 0, "seen": 12_000,
            "added": 11_000, "perSecond": 250.5, "etaSeconds": 9000,
            "jobs": [{"name": "import-bsky-network", "state": "running", "progress": "3/40", "resumes": 1}],
        },
        "observedAt": "2026-11-28T09:59:40Z",
    });
    relay("demo", json!({"hostname": "relay.example.com"}), status)
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
    assert_golden("status-good", &text);
    assert!(
        text.starts_with("\u{1b}[1mrelays/demo\u{1b}[0m  \u{1b}[32mReady\u{1b}[0m  The relay delivers.\n"),
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
    assert_eq!((&document["name"], &document["paused"]), (&json!("busy"), &json!(true)));
}

#[test]
fn the_how_to_shows_what_is_printed() {
    let page = include_str!("../../../../docs/how-to/use-kubectl.md");
    let shown = details::text(&good(), now());
    assert!(page.contains(&anstream::adapter::strip_str(&shown).to_string()), "put this into the how-to:\n{shown}");
}
