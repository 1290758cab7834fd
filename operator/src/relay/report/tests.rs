#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::super::fixtures::{minimal, valid, world};
use super::*;
use crate::relay::build::Declared;
use crate::relay_admin::{AskError, Document};

fn stateful_set() -> StatefulSet {
    serde_json::from_value(json!({
        "metadata": {"name": "demo", "generation": 3},
        "status": {"replicas": 1, "observedGeneration": 3, "updateRevision": "demo-b"},
    }))
    .unwrap()
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "demo-0", "labels": {"controller-revision-hash": "demo-b"}},
        "status": status,
    }))
    .unwrap()
}

fn ready_pod() -> Pod {
    pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))
}

fn waiting_pod(waiting: Value, last: Value) -> Pod {
    let container = json!({
        "name": "relay", "image": "", "imageID": "", "ready": false, "restartCount": 1,
        "state": {"waiting": waiting}, "lastState": last,
    });
    pod(json!({"containerStatuses": [container]}))
}

fn document(edit: impl FnOnce(&mut Value)) -> Document {
    let mut json: Value = serde_json::from_str(include_str!("../../../tests/contract/admin-status.json")).unwrap();
    edit(&mut json);
    serde_json::from_value(json).unwrap()
}

/// The jobs of a document, as if all of them were declared.
fn jobs(document: Document) -> Jobs {
    let found = document.backfill.unwrap().jobs.into_iter();
    let declared = found.map(|job| (Declared { name: job.name.clone(), spec: job.spec.clone() }, Some(job)));
    Jobs { declared: declared.collect(), trouble: None }
}

/// What is found of a relay that declares no backfill.
fn findings(relay: &ValidRelay, world: &World, applied: &Result<Applied, Error>) -> Vec<Finding> {
    let memory = memory::finding(relay, &RelayStatus::default(), Timestamp::UNIX_EPOCH);
    conditions::findings(relay, world, applied, vec![memory, backfill::finding(&[], &Jobs::default())])
}

/// `TYPE STATUS REASON` of the three conditions that are observed.
fn conditions(
    stateful_set: Option<StatefulSet>,
    pod: Option<Pod>,
    document: Option<Result<Document, AskError>>,
) -> Vec<String> {
    let relay = valid(&minimal(), &world());
    let world = World { pod: pod.map(Arc::new), document, ..world() };
    let applied = Ok(Applied { stateful_set: stateful_set.map(Arc::new), ..Applied::default() });
    findings(&relay, &world, &applied)
        .iter()
        .take(3)
        .map(|finding| format!("{} {} {}", finding.type_, finding.status(), finding.reason))
        .collect()
}

#[test]
fn a_relay_that_delivers_is_ready() {
    let got = conditions(Some(stateful_set()), Some(ready_pod()), Some(Ok(document(|_| {}))));
    assert_eq!(got, ["Ready True Delivering", "WorkloadReady True PodReady", "Delivering True Delivering"]);
}

#[test]
fn what_keeps_the_workload_from_being_ready_is_said() {
    let unseen = StatefulSet {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            generation: Some(4),
            ..stateful_set().metadata
        },
        ..stateful_set()
    };
    let mut outdated = ready_pod();
    outdated.labels_mut().insert("controller-revision-hash".into(), "demo-a".into());
    let waits = |reason: &str| waiting_pod(json!({"reason": reason, "message": "m"}), json!({}));
    let exited = json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "unknown key"}});
    let planned = json!({"terminated": {"exitCode": 75, "reason": "Error"}});
    let unschedulable = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "m"}]});
    #[rustfmt::skip]
    let table = [
        ("nothing yet", None, None, "NoStatefulSet"),
        ("no pod", Some(stateful_set()), None, "NoPod"),
        ("template unseen by its controller", Some(unseen), Some(ready_pod()), "RollingOut"),
        ("pod of an older template", Some(stateful_set()), Some(outdated), "RollingOut"),
        ("starting", Some(stateful_set()), Some(waits("ContainerCreating")), "PodNotReady"),
        ("no image", Some(stateful_set()), Some(waits("ImagePullBackOff")), "ImageNotPulled"),
        ("no Secret", Some(stateful_set()), Some(waits("CreateContainerConfigError")), "ContainerNotStarted"),
        ("planned restart", Some(stateful_set()), Some(waiting_pod(json!({"reason": "CrashLoopBackOff"}), planned)), "Restarting"),
        ("crash", Some(stateful_set()), Some(waiting_pod(json!({"reason": "CrashLoopBackOff"}), exited)), "CrashLooping"),
        ("no node", Some(stateful_set()), Some(pod(unschedulable)), "Unschedulable"),
    ];
    for (case, stateful_set, pod, reason) in table {
        let got = conditions(stateful_set, pod, Some(Ok(document(|_| {}))));
        assert_eq!(got[0], format!("Ready False {reason}"), "{case}");
        assert_eq!(got[1], format!("WorkloadReady False {reason}"), "{case}");
    }
}

#[test]
fn a_crash_is_told_with_the_last_words() {
    let last = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "unknown key `lisen`\n"}});
    let pod = waiting_pod(json!({"reason": "CrashLoopBackOff", "message": "back-off 10s"}), last);
    let relay = valid(&minimal(), &world());
    let world = World { pod: Some(Arc::new(pod)), ..world() };
    let applied = Ok(Applied { stateful_set: Some(Arc::new(stateful_set())), ..Applied::default() });
    let findings = findings(&relay, &world, &applied);
    assert_eq!(findings[0].message, "The relay ended with exit code 1 (Error): unknown key `lisen`");
}

#[test]
fn a_container_beside_the_relay_that_crashes_is_told_by_name() {
    let status = |name: &str, state: Value| {
        json!({
            "name": name, "image": "", "imageID": "", "ready": false, "restartCount": 1, "state": state,
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no database"}},
        })
    };
    let (waits, runs) = (json!({"waiting": {"reason": "CrashLoopBackOff"}}), json!({"running": {}}));
    let workload = |directory: &Value, relay_state: &Value| {
        // The kubelet tells of containers in the order of their names.
        let both = json!([status("collectiondir", directory.clone()), status("relay", relay_state.clone())]);
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let pod = pod(json!({"phase": "Running", "conditions": ready, "containerStatuses": both}));
        let world = World { pod: Some(Arc::new(pod)), ..world() };
        let applied = Ok(Applied { stateful_set: Some(Arc::new(stateful_set())), ..Applied::default() });
        findings(&valid(&minimal(), &world), &world, &applied)[1].clone()
    };
    assert_eq!(workload(&waits, &runs).message, "collectiondir ended with exit code 1 (Error): no database");
    assert_eq!(workload(&waits, &waits).message, "The relay ended with exit code 1 (Error): no database");
    assert_eq!(workload(&runs, &runs).reason, "PodReady");
}

#[test]
fn what_keeps_the_relay_from_delivering_is_said() {
    #[rustfmt::skip]
    let table = [
        ("no pod", None, "NoPod"),
        ("no answer", Some(Err(AskError::TimedOut)), "StatusUnavailable"),
        ("draining", Some(Ok(document(|d| d["draining"] = json!(true)))), "Draining"),
        ("not ready", Some(Ok(document(|d| d["ready"] = json!(false)))), "RelayNotReady"),
        ("no host", Some(Ok(document(|d| d["hosts"] = json!({"total": 0, "connected": 0})))), "NoHosts"),
        ("not connected", Some(Ok(document(|d| d["hosts"]["connected"] = json!(0)))), "NoHostConnected"),
    ];
    for (case, document, reason) in table {
        let got = conditions(Some(stateful_set()), Some(ready_pod()), document);
        assert_eq!(got[0], format!("Ready False {reason}"), "{case}");
        assert_eq!(got[2], format!("Delivering False {reason}"), "{case}");
    }
    let quiet = document(|d| d["events"]["perSecond"] = json!(0.0));
    let got = conditions(Some(stateful_set()), Some(ready_pod()), Some(Ok(quiet)));
    assert_eq!(got[0], "Ready True Delivering", "a quiet network is no fault");
}

#[test]
fn the_time_of_transition_changes_with_the_status_only() {
    let relay = valid(&minimal(), &world());
    let found = |document| {
        let world = World { pod: Some(Arc::new(ready_pod())), document: Some(Ok(document)), ..world() };
        findings(&relay, &world, &Ok(Applied { stateful_set: Some(Arc::new(stateful_set())), ..Applied::default() }))
    };
    let at = |second| Timestamp::from_second(second).unwrap();
    let time = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]| {
        conditions[0].last_transition_time.0.as_second()
    };
    let good = conditions::merge(&[], &found(document(|_| {})), Some(1), at(10));
    assert_eq!(time(&good), 10, "new");
    let same = conditions::merge(&good, &found(document(|_| {})), Some(2), at(20));
    assert_eq!((time(&same), same[0].observed_generation), (10, Some(2)), "unchanged, seen for a new generation");
    let bad = conditions::merge(&same, &found(document(|d| d["draining"] = json!(true))), Some(2), at(30));
    assert_eq!(time(&bad), 30, "turned");
    let other = conditions::merge(&bad, &found(document(|d| d["ready"] = json!(false))), Some(2), at(40));
    assert_eq!((time(&other), other[0].reason.as_str()), (30, "RelayNotReady"), "another reason, the same status");
}

#[test]
fn figures_are_written_when_noticeable_and_due() {
    let status = |second: i64, edit: fn(&mut Value)| {
        let mut status = RelayStatus::default();
        let document = document(edit);
        figures::fill(&mut status, &document, None, Timestamp::UNIX_EPOCH);
        status.backfill = backfill::status(None, &jobs(document));
        status.observed_at = Some(Time(Timestamp::from_second(second).unwrap()));
        status
    };
    let before = status(100, |_| {});
    let event: fn(&mut Value) = |d| d["seq"]["last"] = json!(124);
    #[rustfmt::skip]
    let table: &[(&str, RelayStatus, bool)] = &[
        ("nothing new", status(1000, |_| {}), false),
        ("an event, too soon", status(399, event), false),
        ("an event, due", status(400, event), true),
        ("a host, too soon", status(129, |d| d["hosts"]["connected"] = json!(1)), false),
        ("a host", status(130, |d| d["hosts"]["connected"] = json!(1)), true),
        ("a job's progress, due", status(130, |d| d["backfill"]["jobs"][0]["progress"]["seen"] = json!(13_000)), true),
        ("a job's progress, too soon", status(129, |d| d["backfill"]["jobs"][0]["progress"]["seen"] = json!(13_000)), false),
        ("a job's error, too soon", status(129, |d| d["backfill"]["jobs"][0]["lastError"] = json!("HTTP 500")), false),
        ("a job's state, at once", status(101, |d| d["backfill"]["jobs"][0]["state"] = json!("running")), true),
        ("a resume, at once", status(101, |d| d["backfill"]["jobs"][0]["resumes"] = json!(3)), true),
        ("a little more memory", status(1000, |d| d["memory"]["workingSetBytes"] = json!(75_000_000)), false),
        ("a step against pressure, at once", status(101, |d| d["memory"]["step"] = json!("caches")), true),
        ("much more memory", status(1000, |d| d["memory"]["workingSetBytes"] = json!(90_000_000)), true),
        ("a little faster", status(399, |d| d["events"]["perSecond"] = json!(20.0)), false),
        ("a little faster, due", status(400, |d| d["events"]["perSecond"] = json!(20.0)), true),
        ("much faster", status(130, |d| d["events"]["perSecond"] = json!(30.0)), true),
        ("another version, at once", status(101, |d| d["software"] = json!("relay/0.2.0")), true),
        ("figures gone, at once", RelayStatus { version: before.version.clone(), ..RelayStatus::default() }, true),
    ];
    for (case, after, want) in table {
        assert_eq!(worth_writing(&before, after), *want, "{case}");
    }
}

#[test]
fn figures_are_short_for_people_and_exact_for_programs() {
    let mut status = RelayStatus::default();
    figures::fill(&mut status, &document(|d| d["events"]["perSecond"] = json!(12.345)), None, Timestamp::UNIX_EPOCH);
    let memory = status.memory.unwrap();
    assert_eq!(status.events_per_second, Some(12.3));
    assert_eq!((memory.working_set_bytes, memory.summary.as_str()), (73_400_320, "70Mi/512Mi"));
}

#[test]
fn an_event_tells_a_turn_once() {
    let relay = valid(&minimal(), &world());
    let findings = findings(&relay, &world(), &Ok(Applied::default()));
    let event = turn(&RelayStatus::default(), &findings).unwrap();
    assert_eq!((event.reason.as_str(), event.type_), ("NoStatefulSet", EventType::Normal));
    let conditions = conditions::merge(&[], &findings, Some(1), Timestamp::UNIX_EPOCH);
    let told = RelayStatus { conditions, ..RelayStatus::default() };
    assert!(turn(&told, &findings).is_none(), "the same news is no Event");
}
