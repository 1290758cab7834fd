#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;
use crate::relay::fixtures::{valid, world};

/// 2026-11-28T05:30:00Z.
const NOW: i64 = 1_795_843_800;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn relay(backup: &Value) -> ValidRelay {
    valid(&json!({"hostname": "relay.test", "backup": backup}), &world())
}

fn claim(phase: &str) -> PersistentVolumeClaim {
    serde_json::from_value(json!({"metadata": {"name": "data-demo-0"}, "status": {"phase": phase}})).unwrap()
}

/// A snapshot of so many hours ago.
fn snapshot(name: &str, hours: i64, is_scheduled: bool, is_ready: bool) -> Snapshot {
    let at = Timestamp::from_second(NOW - hours * 3600).unwrap();
    Snapshot { name: name.into(), uid: format!("uid-{name}"), at, is_scheduled, is_ready, error: None }
}

fn made(backup: &Value, phase: &str, asked: Option<&str>, snapshots: &[Snapshot]) -> Vec<String> {
    let plan = decide(&relay(backup), Some(&claim(phase)), asked, snapshots, now());
    plan.make.into_iter().map(|wanted| wanted.name).collect()
}

#[test]
fn a_snapshot_is_made_once_in_each_span_of_time() {
    let daily = json!({"every": "24h"});
    type Case<'a> = (&'a str, &'a Value, &'a str, &'a [Snapshot], &'a [&'a str]);
    #[rustfmt::skip]
    let table: &[Case] = &[
        ("the first", &daily, "Bound", &[], &["demo-20261128-000000"]),
        ("there is one of today", &daily, "Bound", &[snapshot("a", 5, true, true)], &[]),
        ("there is one that is not ready yet", &daily, "Bound", &[snapshot("a", 1, true, false)], &[]),
        ("the last was yesterday", &daily, "Bound", &[snapshot("a", 6, true, true)], &["demo-20261128-000000"]),
        ("one that was asked for does not count", &daily, "Bound", &[snapshot("a", 1, false, true)], &["demo-20261128-000000"]),
        ("two are stuck", &daily, "Bound", &[snapshot("a", 30, true, false), snapshot("b", 60, true, false)], &[]),
        ("no volume yet", &daily, "Pending", &[], &[]),
        ("hourly", &json!({"every": "1h"}), "Bound", &[snapshot("a", 1, true, true)], &["demo-20261128-050000"]),
        ("not by time", &json!({}), "Bound", &[], &[]),
    ];
    for (case, backup, phase, snapshots, want) in table {
        assert_eq!(made(backup, phase, None, snapshots), *want, "{case}");
    }
}

#[test]
fn one_that_somebody_asks_for_has_the_name_they_give() {
    let none = json!({});
    assert_eq!(made(&none, "Bound", Some("before-move"), &[]), ["demo-before-move"]);
    assert_eq!(made(&none, "Pending", Some("before-move"), &[]), Vec::<String>::new(), "it waits for the volume");
    for bad in ["Before", "a/b", "", &"a".repeat(41)] {
        let plan = decide(&relay(&none), Some(&claim("Bound")), Some(bad), &[], now());
        assert_eq!(plan.make, [], "{bad:?}");
        assert!(plan.refused.unwrap().contains("write at most 40 lower-case letters"), "{bad:?}");
    }
}

#[test]
fn the_newest_that_can_be_restored_are_kept_and_only_those_of_the_clock_go() {
    let snapshots = [
        snapshot("new-unready", 1, true, false),
        snapshot("a", 10, true, true),
        snapshot("asked", 20, false, true),
        snapshot("b", 30, true, true),
        snapshot("old-unready", 35, true, false),
        snapshot("c", 40, true, true),
        snapshot("old-asked", 50, false, true),
    ];
    let gone = |backup: Value| -> Vec<String> {
        let plan = decide(&relay(&backup), Some(&claim("Bound")), None, &snapshots, now());
        plan.delete.into_iter().map(|snapshot| snapshot.name).collect()
    };
    assert_eq!(gone(json!({"every": "24h", "keep": 2})), ["old-unready", "c"]);
    assert_eq!(gone(json!({"every": "24h", "keep": 1})), ["b", "old-unready", "c"]);
    assert_eq!(gone(json!({"every": "24h"})), Vec::<String>::new(), "three are kept by default");
    assert_eq!(gone(json!({"keep": 1})), Vec::<String>::new(), "without a clock nothing goes");
}

#[test]
fn a_relay_that_is_paused_gets_no_snapshot() {
    let spec = json!({"hostname": "relay.test", "backup": {"every": "1h"}, "paused": true});
    assert_eq!(decide(&valid(&spec, &world()), Some(&claim("Bound")), Some("x"), &[], now()), Plan::default());
}

#[test]
fn the_object_of_a_snapshot() {
    let wanted = Wanted { name: "demo-20261128-000000".into(), request: None };
    let object = object(&relay(&json!({"every": "24h", "snapshotClassName": "csi"})), &wanted);
    insta::assert_snapshot!("snapshot", serde_yaml_ng::to_string(&object).unwrap());
}

#[test]
fn what_the_cluster_has_is_read_newest_first() {
    let object = |name: &str, at: &str, more: Value| {
        let mut object = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": {"name": name, "uid": name, "creationTimestamp": at, "labels": {LABEL: SCHEDULED}},
        });
        for (key, value) in more.as_object().unwrap() {
            object[key] = value.clone();
        }
        Arc::new(serde_json::from_value::<DynamicObject>(object).unwrap())
    };
    let all = Snapshot::all(&[
        object("old", "2026-11-26T00:00:00Z", json!({"status": {"readyToUse": true}})),
        object("new", "2026-11-28T00:00:00Z", json!({"status": {"error": {"message": "no driver"}}})),
        object("fresh", "2026-11-27T00:00:00Z", json!({})),
    ]);
    let told: Vec<_> = all.iter().map(|s| (s.name.as_str(), s.is_ready, s.error.as_deref())).collect();
    assert_eq!(told, [("new", false, Some("no driver")), ("fresh", false, None), ("old", true, None)]);
    assert!(all.iter().all(|snapshot| snapshot.is_scheduled));
}
