#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::relay::fixtures::{minimal, relay, valid, world};

const GI: u64 = 1 << 30;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn with_memory(memory: Value) -> Value {
    let mut spec = minimal();
    spec["memory"] = memory;
    spec
}

/// What is decided of a relay with this spec, after `before` was reported of the same.
fn look(spec: &Value, before: RelayStatus, world: &World, second: i64) -> Limits {
    let mut relay = relay(spec);
    relay.status = Some(RelayStatus { observed_generation: relay.metadata.generation, ..before });
    decide(&relay, &valid(spec, world), world, at(second))
}

fn in_place() -> Value {
    with_memory(json!({"limit": "1Gi", "max": "2Gi", "resize": "InPlace"}))
}

/// A cluster that can resize pods.
fn able() -> World {
    World { can_resize: true, ..world() }
}

/// The same with a pod.
fn with_pod(pod: Pod) -> World {
    World { pod: Some(Arc::new(pod)), ..able() }
}

/// A pod with `has` in its spec and `in_force` in its cgroup.
fn pod(has: &str, in_force: &str, conditions: Value) -> Pod {
    let resources = json!({"limits": {"memory": has}, "requests": {"memory": has}});
    let status = json!({
        "name": "relay", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "resources": {"limits": {"memory": in_force}},
    });
    serde_json::from_value(json!({
        "metadata": {"name": "demo-0", "uid": "p"},
        "spec": {"containers": [{"name": "relay", "resources": resources}]},
        "status": {"phase": "Running", "containerStatuses": [status], "conditions": conditions},
    }))
    .unwrap()
}

/// What a relay with the limit `limit` says that uses `percent` of it.
fn uses(limit: u64, percent: u64, seconds_to_limit: Option<u64>) -> World {
    let mut json: Value = serde_json::from_str(include_str!("../../../../tests/contract/admin-status.json")).unwrap();
    json["memory"] = json!({
        "limitBytes": limit, "workingSetBytes": limit / 100 * percent,
        "softBytes": limit / 100 * 80, "hardBytes": limit / 100 * 90, "secondsToLimit": seconds_to_limit,
    });
    let size = ByteSize(limit).to_string();
    World { document: Some(Ok(serde_json::from_value(json).unwrap())), ..with_pod(pod(&size, &size, json!([]))) }
}

/// What was reported before: pressure since then, and a limit.
fn before(pressure_since: Option<i64>, resize: Option<ResizeStatus>) -> RelayStatus {
    let pressure_since = pressure_since.map(|second| Time(at(second)));
    let memory = crate::api::MemoryStatus { pressure_since, ..crate::api::MemoryStatus::default() };
    RelayStatus { memory: Some(memory), resize, ..RelayStatus::default() }
}

fn told(limit: &str, state: ResizeState, second: i64) -> ResizeStatus {
    ResizeStatus { limit: limit.into(), grown_from: "1Gi".into(), at: Time(at(second)), state, message: None }
}

#[test]
fn the_limit_grows_when_pressure_lasts_or_there_is_no_time() {
    let sizes = |size: &str| ByteSize::parse(size).unwrap().0;
    let done = |limit: &str, second| Some(told(limit, ResizeState::Done, second));
    #[rustfmt::skip]
    let table = [
        ("no pressure", 1 << 30, 79, None, None, None, "1Gi"),
        ("pressure, just begun", GI, 81, None, None, None, "1Gi"),
        ("pressure, begun before", GI, 81, None, Some(971), None, "1Gi"),
        ("pressure that lasts", GI, 81, None, Some(970), None, "1280Mi"),
        ("pressure that lasts, below the mark now", GI, 79, None, Some(900), None, "1Gi"),
        ("halfway to the hard mark", GI, 85, None, None, None, "1280Mi"),
        ("the kernel counts in pages", GI - 4096, 85, None, None, None, "1280Mi"),
        ("at the limit soon", GI, 81, Some(599), None, None, "1280Mi"),
        ("at the limit some time", GI, 81, Some(601), None, None, "1Gi"),
        ("at the limit soon, far below", GI, 70, Some(10), None, None, "1Gi"),
        ("grown, and again", sizes("1280Mi"), 81, None, Some(900), done("1280Mi", 900), "1536Mi"),
        ("grown just now", sizes("1280Mi"), 81, None, Some(900), done("1280Mi", 990), "1280Mi"),
        ("grown, and not in force yet", GI, 95, None, Some(900), Some(told("1280Mi", ResizeState::InProgress, 900)), "1280Mi"),
        ("the last step is what is left", sizes("1792Mi"), 95, None, None, done("1792Mi", 0), "2Gi"),
        ("at the maximum", 2 * GI, 95, None, Some(0), done("2Gi", 0), "2Gi"),
    ];
    for (case, limit, percent, seconds, pressure_since, resize, want) in table {
        let limits = look(&in_place(), before(pressure_since, resize), &uses(limit, percent, seconds), 1000);
        assert_eq!(limits.wanted.limit.to_string(), want, "{case}");
    }
    let mut paused = in_place();
    paused["paused"] = json!(true);
    for (case, spec) in [
        ("never", with_memory(json!({"limit": "1Gi", "max": "2Gi"}))),
        ("no maximum", with_memory(json!({"limit": "1Gi", "resize": "InPlace"}))),
        ("paused", paused),
    ] {
        let limits = look(&spec, RelayStatus::default(), &uses(GI, 95, None), 1000);
        assert_eq!((limits.wanted.limit, limits.patch), (ByteSize(GI), None), "{case}");
    }
    let odd = with_memory(json!({"limit": "130Mi", "max": "1Gi", "resize": "InPlace"}));
    let limits = look(&odd, RelayStatus::default(), &uses(130 << 20, 95, None), 1000);
    assert_eq!(limits.wanted.limit.to_string(), "163Mi", "a quarter, in whole MiB");
}

#[test]
fn another_spec_ends_the_growth() {
    for (case, memory, want) in [
        ("the same", json!({"limit": "1Gi", "max": "2Gi", "resize": "InPlace"}), "1536Mi"),
        ("another limit", json!({"limit": "1200Mi", "max": "2Gi", "resize": "InPlace"}), "1200Mi"),
        ("a smaller limit", json!({"limit": "512Mi", "max": "2Gi", "resize": "InPlace"}), "512Mi"),
        ("a maximum below", json!({"limit": "1Gi", "max": "1280Mi", "resize": "InPlace"}), "1280Mi"),
        ("no maximum", json!({"limit": "1Gi", "resize": "InPlace"}), "1Gi"),
    ] {
        let spec = with_memory(memory);
        let mut edited = relay(&spec);
        edited.status = Some(before(None, Some(told("1536Mi", ResizeState::Done, 0))));
        let old = valid(&in_place(), &world());
        let old = crate::relay::build::build(&old, old.memory.at(ByteSize(GI + 1))).unwrap().stateful_set;
        let world = World { stateful_set: Some(Arc::new(old)), ..uses(3 * GI / 2, 10, None) };
        let limits = decide(&edited, &valid(&spec, &world), &world, at(1000));
        assert_eq!(limits.wanted.limit.to_string(), want, "{case}");
        let patched = limits.patch.map(|memory| memory.limit.to_string());
        assert_eq!(patched.as_deref(), (want != "1536Mi").then_some(want), "{case}: the running pod gets it");

        // The pod does not have it yet at the next look, which is after the edit was reported.
        let resize = limits.status.clone();
        let again = look(&spec, RelayStatus { resize, ..RelayStatus::default() }, &world, 1005);
        assert_eq!(again, limits, "{case}");
    }
    let never = with_memory(json!({"limit": "1Gi"}));
    let grown = before(None, Some(told("1536Mi", ResizeState::Done, 0)));
    let never = look(&never, grown, &uses(3 * GI / 2, 10, None), 1000);
    assert_eq!((never.patch, never.status), (None, None), "the pod keeps what it has");
}

#[test]
fn what_the_pod_has_is_not_taken_back_because_the_status_is_old() {
    for resize in [None, Some(told("1280Mi", ResizeState::Done, 0))] {
        let limits = look(&in_place(), before(None, resize), &uses(3 * GI / 2, 10, None), 1000);
        assert_eq!((limits.wanted.limit.to_string().as_str(), limits.patch), ("1536Mi", None));
        assert_eq!(limits.status.unwrap().limit, "1536Mi");
    }
    let beyond = look(&in_place(), RelayStatus::default(), &uses(3 * GI, 10, None), 1000);
    assert_eq!(beyond.wanted.limit.to_string(), "2Gi", "but what is beyond the maximum is");
}

#[test]
fn what_is_said_of_a_resize_is_what_the_pod_says() {
    let pending =
        |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason, "message": "no room"}]);
    let at_it = json!([{"type": "PodResizeInProgress", "status": "True"}]);
    let failing = json!([{"type": "PodResizeInProgress", "status": "True", "reason": "Error", "message": "in use"}]);
    let (grows, no_room, in_use) = (Some("1280Mi"), Some("no room"), Some("in use"));
    #[rustfmt::skip]
    let table = [
        ("to be asked for", pod("1Gi", "1Gi", json!([])), ResizeState::InProgress, None, grows),
        ("asked for", pod("1280Mi", "1Gi", json!([])), ResizeState::InProgress, None, None),
        ("under way", pod("1280Mi", "1280Mi", at_it), ResizeState::InProgress, None, None),
        ("fails", pod("1280Mi", "1Gi", failing), ResizeState::InProgress, in_use, None),
        ("no room now", pod("1280Mi", "1Gi", pending("Deferred")), ResizeState::Deferred, no_room, None),
        ("no room ever", pod("1280Mi", "1Gi", pending("Infeasible")), ResizeState::Infeasible, no_room, None),
        ("done", pod("1280Mi", "1280Mi", json!([])), ResizeState::Done, None, None),
    ];
    for (case, pod, state, message, patch) in table {
        let grown = before(None, Some(told("1280Mi", ResizeState::InProgress, 7)));
        let limits = look(&in_place(), grown, &with_pod(pod), 1000);
        let status = limits.status.unwrap();
        assert_eq!((status.state, status.message.as_deref()), (state, message), "{case}");
        assert_eq!((status.limit.as_str(), status.at.0), ("1280Mi", at(7)), "{case}");
        assert_eq!(limits.patch.map(|memory| memory.limit.to_string()).as_deref(), patch, "{case}");
    }
    let quiet = look(&in_place(), RelayStatus::default(), &uses(GI, 10, None), 0);
    assert_eq!((quiet.status, quiet.patch), (None, None), "the limit of the spec, in force");
    let none = look(&in_place(), RelayStatus::default(), &able(), 0);
    assert_eq!((none.status, none.patch), (None, None), "no pod");
}

#[test]
fn an_edit_outlives_the_pods_that_come_from_an_older_template() {
    let relay = valid(&with_memory(json!({"limit": "2Gi", "max": "4Gi", "resize": "InPlace"})), &world());
    let old = crate::relay::build::build(&relay, relay.memory.at(ByteSize(2 * GI))).unwrap().stateful_set;
    let spec = with_memory(json!({"limit": "1Gi", "max": "4Gi", "resize": "InPlace"}));
    let seen = |before: Option<ResizeStatus>, pod: Option<Pod>| {
        let world = World { stateful_set: Some(Arc::new(old.clone())), pod: pod.map(Arc::new), ..able() };
        let before = RelayStatus { resize: before, ..RelayStatus::default() };
        let limits = look(&spec, before, &world, 1000);
        assert_eq!(limits.wanted.limit, ByteSize(GI));
        limits
    };
    let mut edited = crate::relay::fixtures::relay(&spec);
    edited.status = Some(RelayStatus::default());
    let without_pod = World { stateful_set: Some(Arc::new(old.clone())), ..able() };
    let limits = decide(&edited, &valid(&spec, &without_pod), &without_pod, at(1000));
    let limits = seen(limits.status, Some(pod("2Gi", "2Gi", json!([]))));
    assert!(limits.patch.is_some(), "the edit came while there was no pod");
    let limits = seen(limits.status, Some(pod("1Gi", "1Gi", json!([]))));
    assert_eq!(limits.status.as_ref().unwrap().state, ResizeState::Done);
    let limits = seen(limits.status, Some(pod("2Gi", "2Gi", json!([]))));
    assert!(limits.patch.is_some(), "a new pod of the old template");
}

#[test]
fn a_refusal_rests_before_it_is_tried_again() {
    let refused = |second| {
        let before = before(None, Some(told("1280Mi", ResizeState::Infeasible, 1000)));
        look(&in_place(), before, &uses(GI, 10, None), second)
    };
    let soon = refused(1599);
    assert_eq!((soon.patch, soon.status.unwrap().state), (None, ResizeState::Infeasible));
    let later = refused(1600);
    assert_eq!(later.patch.map(|memory| memory.limit.to_string()).as_deref(), Some("1280Mi"));
    assert_eq!(later.status.unwrap().at.0, at(1600), "the time of this try");
}

#[test]
fn a_pod_that_cannot_be_resized_now_is_left_alone() {
    let edited = |edit: fn(&mut Pod)| {
        let mut pod = pod("1Gi", "1Gi", json!([]));
        edit(&mut pod);
        let grown = before(None, Some(told("1280Mi", ResizeState::Done, 0)));
        look(&in_place(), grown, &with_pod(pod), 1000).patch.is_some()
    };
    assert!(edited(|_| {}), "a new pod, made from the template, gets what it had");
    assert!(!edited(|pod| pod.metadata.deletion_timestamp = Some(Time(at(0)))), "it goes");
    assert!(!edited(|pod| pod.status.as_mut().unwrap().phase = Some("Pending".into())), "it does not run yet");
}

#[test]
fn the_request_grows_with_the_limit_unless_it_is_the_persons() {
    for (request, want) in [(json!(null), "1280Mi"), (json!("1Gi"), "1280Mi"), (json!("256Mi"), "256Mi")] {
        let mut spec = in_place();
        if !request.is_null() {
            spec["memory"]["request"] = request.clone();
        }
        let limits = look(&spec, RelayStatus::default(), &uses(GI, 95, None), 1000);
        assert_eq!(limits.patch.unwrap().request.to_string(), want, "{request}");
    }
}

#[test]
fn where_pods_cannot_be_resized_the_template_changes_in_the_window() {
    let template = |size: &str| {
        let relay = valid(&in_place(), &world());
        let memory = relay.memory.at(ByteSize::parse(size).unwrap());
        Some(Arc::new(crate::relay::build::build(&relay, memory).unwrap().stateful_set))
    };
    let (old, new) = (template("1Gi"), template("1280Mi"));
    let limits = |spec: &Value, stateful_set: &Option<Arc<_>>, second| {
        let grown = before(None, Some(told("1280Mi", ResizeState::WaitingForWindow, 0)));
        let stateful_set = stateful_set.clone();
        let world = World { stateful_set, can_resize: false, ..uses(GI, 10, None) };
        let limits = look(spec, grown, &world, second);
        assert_eq!(limits.patch, None, "the API is not there");
        (limits.kept.map(|memory| memory.limit.to_string()), limits.status.map(|status| status.state))
    };
    let kept = |size: &str| Some(size.to_owned());
    let waits = Some(ResizeState::WaitingForWindow);
    // 1970-01-01 was a Thursday.
    let mut spec = in_place();
    spec["update"] = json!({"window": "Thu 01:00-02:00 UTC"});
    assert_eq!(limits(&spec, &old, 10), (kept("1Gi"), waits), "before the window");
    assert_eq!(limits(&spec, &old, 3600), (None, waits), "in the window another template replaces the pod");
    assert_eq!(limits(&spec, &new, 7200), (kept("1280Mi"), waits), "after it the template stays");
    spec["update"] = json!({});
    assert_eq!(limits(&spec, &old, 10), (None, waits), "without a window any time will do");
    spec["update"] = json!({"window": "Thu 01:00-02:00 UTC"});
    spec["memory"]["limit"] = json!("2Gi");
    assert_eq!(limits(&spec, &old, 10), (None, None), "what a person writes does not wait");
}
