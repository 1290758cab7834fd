#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const RECORDED: &str = include_str!("../../../tests/contract/termination.json");

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The pod `uid` with a container in `state`, after `last`.
fn pod(uid: &str, restarts: i32, state: Value, last: Value) -> Pod {
    let container = json!({
        "name": "relay", "image": "", "imageID": "", "ready": true, "restartCount": restarts,
        "state": state, "lastState": last,
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"memory": "256Mi"}},
    });
    serde_json::from_value(json!({
        "metadata": {"name": "demo-0", "uid": uid},
        "spec": {"containers": []},
        "status": {"phase": "Running", "containerStatuses": [container]},
    }))
    .unwrap()
}

fn running() -> Value {
    json!({"running": {}})
}

fn waiting() -> Value {
    json!({"waiting": {"reason": "CrashLoopBackOff"}})
}

fn terminated(code: i32, reason: &str, message: &str) -> Value {
    let finished = "2026-11-28T10:00:00Z";
    json!({"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": finished}})
}

/// `pod` with other fields, by their paths.
fn going(pod: Pod, fields: Value) -> Pod {
    let mut json = serde_json::to_value(&pod).unwrap();
    for (path, value) in fields.as_object().unwrap() {
        let (parent, name) = path.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    serde_json::from_value(json).unwrap()
}

fn deleted(pod: Pod) -> Pod {
    going(pod, json!({"/metadata/deletionTimestamp": "2026-11-28T10:00:00Z"}))
}

fn disrupted(pod: Pod, reason: &str, unready_since: Option<&str>) -> Pod {
    let mut conditions = vec![json!({
        "type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": "2026-11-28T10:00:00Z",
    })];
    conditions
        .extend(unready_since.map(|since| json!({"type": "Ready", "status": "False", "lastTransitionTime": since})));
    going(deleted(pod), json!({"/status/conditions": conditions}))
}

/// The causes that become known when `looks` are seen one after the other, each twice, as `CAUSE×COUNT` for more than one.
fn causes(looks: &[Option<Pod>]) -> Vec<String> {
    let mut status = None;
    let mut causes = Vec::new();
    for look in looks {
        let seen = observe(status.as_ref(), look.as_ref(), None, at(1000));
        causes.extend(seen.new.iter().map(|new| match new.count {
            1 => new.end.cause.name().to_owned(),
            count => format!("{}×{count}", new.end.cause.name()),
        }));
        // As it comes back from the API server.
        let stored: RestartsStatus = serde_json::from_value(serde_json::to_value(&seen.status).unwrap()).unwrap();
        let again = observe(Some(&stored), look.as_ref(), None, at(2000));
        assert_eq!((again.new.len(), &again.status), (0, &stored), "an unchanged pod is no news: {look:?}");
        status = Some(stored);
    }
    let status = status.unwrap_or_default();
    let sum = status.planned + status.oom_killed + status.crashed + status.evicted + status.node_lost;
    let told: i64 = causes.iter().map(|cause| cause.split_once('×').map_or(1, |(_, n)| n.parse().unwrap())).sum();
    assert_eq!(sum + status.stopped + status.unseen, told, "every end has one counter");
    causes
}

#[test]
fn causes_are_told_apart() {
    let stopped = RECORDED.replace("MemoryHardMark", "Stopped");
    let failed = RECORDED.replace("MemoryHardMark", "Failed");
    let r = |code, reason, message: &str| Some(pod("a", 1, running(), terminated(code, reason, message)));
    let leaves = |edit: fn(Pod) -> Pod, code, reason, message: &str| {
        Some(edit(pod("a", 0, terminated(code, reason, message), json!({}))))
    };
    let evicted: fn(Pod) -> Pod = |pod| disrupted(pod, "EvictionByEvictionAPI", None);
    let preempted: fn(Pod) -> Pod = |pod| disrupted(pod, "PreemptionByScheduler", None);
    let pressed: fn(Pod) -> Pod = |pod| going(pod, json!({"/status/phase": "Failed", "/status/reason": "Evicted"}));
    let shut_down: fn(Pod) -> Pod =
        |pod| going(pod, json!({"/status/phase": "Failed", "/status/reason": "Terminated"}));
    let collected: fn(Pod) -> Pod = |pod| disrupted(pod, "DeletionByPodGC", None);
    let tainted: fn(Pod) -> Pod = |pod| disrupted(pod, "DeletionByTaintManager", None);
    let unreachable: fn(Pod) -> Pod = |pod| disrupted(pod, "DeletionByTaintManager", Some("2026-11-28T09:55:00Z"));
    #[rustfmt::skip]
    let table = [
        ("a planned restart", r(75, "Error", RECORDED), "PlannedRestart"),
        ("the same without its message", r(75, "Error", ""), "PlannedRestart"),
        ("the kernel", r(137, "OOMKilled", ""), "OOMKilled"),
        ("the kernel, while the pod is deleted", leaves(deleted, 137, "OOMKilled", ""), "OOMKilled"),
        ("a bad setting", r(2, "Error", "unknown key `lisen`"), "Crashed"),
        ("an error with a message", r(1, "Error", &failed), "Crashed"),
        ("a panic", r(134, "Error", ""), "Crashed"),
        ("killed by nobody knows whom", r(137, "Error", ""), "Crashed"),
        ("told to stop, the pod stays", r(0, "Completed", &stopped), "Stopped"),
        ("told to stop before it could listen", r(143, "Error", ""), "Stopped"),
        ("a rollout", leaves(deleted, 0, "Completed", &stopped), "Stopped"),
        ("a rollout, too slow", leaves(deleted, 137, "Error", ""), "Stopped"),
        ("an error while it stops", leaves(deleted, 1, "Error", &failed), "Crashed"),
        ("an eviction by the API", leaves(evicted, 0, "Completed", &stopped), "Evicted"),
        ("a pod of more importance", leaves(preempted, 0, "Completed", &stopped), "Evicted"),
        ("pressure on the node", leaves(pressed, 137, "Error", ""), "Evicted"),
        ("pressure on the node, killed before", leaves(pressed, 137, "ContainerStatusUnknown", ""), "Evicted"),
        ("a taint that somebody has put on the node", leaves(tainted, 0, "Completed", &stopped), "Evicted"),
        ("a node that shuts down", leaves(shut_down, 0, "Completed", &stopped), "NodeLost"),
        ("a node that was removed", leaves(collected, 137, "ContainerStatusUnknown", ""), "NodeLost"),
        ("a node that does not answer", leaves(unreachable, 137, "ContainerStatusUnknown", ""), "NodeLost"),
        ("a node that was switched off and on", r(255, "Unknown", ""), "NodeLost"),
    ];
    for (case, pod, want) in table {
        assert_eq!(causes(&[pod]), [want], "{case}");
    }
}

#[test]
fn each_run_is_counted_once_however_it_is_looked_at() {
    let planned = || terminated(75, "Error", RECORDED);
    let oom = || terminated(137, "OOMKilled", "");
    let crash = || terminated(1, "Error", "x");
    let lost = || terminated(137, "ContainerStatusUnknown", "");
    let a = |restarts, state: Value, last: Value| Some(pod("a", restarts, state, last));
    let b = || Some(pod("b", 0, running(), json!({})));
    type Case<'a> = (&'a str, Vec<Option<Pod>>, &'a [&'a str]);
    #[rustfmt::skip]
    let table: &[Case] = &[
        ("nothing", vec![None, None], &[]),
        ("a start", vec![None, a(0, running(), json!({}))], &[]),
        ("seen at every stage", vec![a(0, running(), json!({})), a(0, planned(), json!({})), a(0, waiting(), planned()), a(1, running(), planned())], &["PlannedRestart"]),
        ("seen late", vec![a(0, running(), json!({})), a(1, running(), planned())], &["PlannedRestart"]),
        ("two at once", vec![a(0, running(), json!({})), a(1, oom(), planned())], &["PlannedRestart", "OOMKilled"]),
        ("two at once, in back-off", vec![a(0, waiting(), planned()), a(1, waiting(), oom())], &["PlannedRestart", "OOMKilled"]),
        ("two, of which one is seen", vec![a(0, running(), json!({})), a(2, running(), oom())], &["Unseen", "OOMKilled"]),
        ("many, of which one is seen", vec![a(1, running(), planned()), a(6, waiting(), oom())], &["PlannedRestart", "Unseen×5", "OOMKilled"]),
        ("many, of which none is seen", vec![a(0, running(), json!({})), a(3, running(), json!({}))], &["Unseen×3"]),
        ("an operator that is new here", vec![a(5, running(), crash())], &["Unseen×4", "Crashed"]),
        ("the node loses a container", vec![a(0, running(), json!({})), a(1, waiting(), lost()), a(1, running(), lost())], &["NodeLost"]),
        ("a rollout seen to its end", vec![a(0, running(), json!({})), a(0, terminated(0, "Completed", ""), json!({})).map(deleted), None, b()], &["Stopped"]),
        ("a rollout whose end is not seen", vec![a(0, running(), json!({})), a(0, running(), json!({})).map(deleted), b()], &["Stopped"]),
        ("a pod that is gone between two looks", vec![a(0, running(), json!({})), b()], &["Unseen"]),
        ("an eviction whose end is not seen", vec![a(0, running(), json!({})), a(0, running(), json!({})).map(|pod| disrupted(pod, "EvictionByEvictionAPI", None)), None, b()], &["Evicted"]),
        ("a pod in back-off is removed", vec![a(0, waiting(), crash()), None, b()], &["Crashed"]),
        ("a pod that never ran is removed", vec![a(0, waiting(), json!({})), b()], &[]),
        ("a node that does not answer, and comes back", vec![
            a(0, running(), json!({})),
            a(0, running(), json!({})).map(|pod| disrupted(pod, "DeletionByTaintManager", Some("2026-11-28T09:55:00Z"))),
            a(0, terminated(0, "Completed", ""), json!({})).map(|pod| disrupted(pod, "DeletionByTaintManager", Some("2026-11-28T09:55:00Z"))),
            b(),
        ], &["NodeLost"]),
        ("ends of one pod and of the next", vec![a(1, running(), oom()), Some(pod("b", 1, running(), oom()))], &["OOMKilled", "Unseen", "OOMKilled"]),
    ];
    for (case, looks, want) in table {
        assert_eq!(causes(looks), *want, "{case}");
    }
}

#[test]
fn an_eviction_that_the_operator_has_planned_is_a_planned_restart() {
    let mut status = observe(None, Some(&pod("a", 0, running(), json!({}))), None, at(1)).status;
    status.counted.as_mut().unwrap().leaving = Some(RestartCause::PlannedRestart);
    let leaving = disrupted(pod("a", 0, running(), json!({})), "EvictionByEvictionAPI", None);
    let status = observe(Some(&status), Some(&leaving), None, at(2)).status;
    let gone = observe(Some(&status), None, None, at(3));
    assert_eq!(gone.new[0].end.cause, RestartCause::PlannedRestart);
}

#[test]
fn an_eviction_for_another_template_is_a_stop_and_one_that_did_not_come_about_is_forgotten() {
    let mut status = observe(None, Some(&pod("a", 0, running(), json!({}))), None, at(1)).status;
    status.counted.as_mut().unwrap().leaving = Some(RestartCause::Stopped);
    let leaving = disrupted(pod("a", 0, running(), json!({})), "EvictionByEvictionAPI", None);
    let left = observe(Some(&status), Some(&leaving), None, at(2)).status;
    assert_eq!(observe(Some(&left), None, None, at(3)).new[0].end.cause, RestartCause::Stopped);
    // The budget refused it, and somebody has changed their mind; then the node is drained.
    let stays = observe(Some(&status), Some(&pod("a", 0, running(), json!({}))), None, at(2)).status;
    let drained = observe(Some(&stays), Some(&leaving), None, at(3)).status;
    assert_eq!(observe(Some(&drained), None, None, at(4)).new[0].end.cause, RestartCause::Evicted);
}

#[test]
fn a_pod_that_has_gone_tells_of_its_last_run() {
    let seen = observe(None, Some(&pod("a", 0, running(), json!({}))), None, at(1)).status;
    let next = pod("b", 0, running(), json!({}));
    let stopped = RECORDED.replace("MemoryHardMark", "Stopped");
    let drained = terminated(0, "Completed", &stopped);
    let removed = going(pod("a", 0, running(), json!({})), json!({"/status/phase": "Failed"}));
    #[rustfmt::skip]
    let table = [
        ("a rollout", deleted(pod("a", 0, drained.clone(), json!({}))), vec!["Stopped"], true),
        ("an eviction", disrupted(pod("a", 0, drained, json!({})), "EvictionByEvictionAPI", None), vec!["Evicted"], true),
        ("a node that was removed", disrupted(removed, "DeletionByPodGC", None), vec!["NodeLost"], false),
        ("two ends at once", deleted(pod("a", 1, terminated(0, "Completed", ""), terminated(137, "OOMKilled", ""))), vec!["OOMKilled", "Stopped"], true),
        ("removed by force", pod("a", 0, running(), json!({})), vec!["Unseen"], false),
        ("another pod", deleted(pod("c", 0, terminated(1, "Error", ""), json!({}))), vec!["Unseen"], false),
    ];
    for (case, gone, want, has_code) in table {
        for now in [None, Some(&next)] {
            let observed = observe(Some(&seen), now, Some(&gone), at(2));
            let causes: Vec<_> = observed.new.iter().map(|new| new.end.cause.name()).collect();
            assert_eq!(causes, want, "{case}");
            assert_eq!(observed.status.last[0].exit_code.is_some(), has_code, "{case}");
            let again = observe(Some(&observed.status), now, Some(&gone), at(3));
            assert_eq!(again.new, [], "{case}: once");
        }
    }
}

#[test]
fn the_relays_last_words_are_passed_on() {
    let end = |code, reason: &str, message: &str| {
        let pod = pod("a", 1, running(), terminated(code, reason, message));
        observe(None, Some(&pod), None, at(1000)).status.last.remove(0)
    };
    let planned = end(75, "Error", RECORDED);
    assert_eq!(planned.at.0, "2026-11-28T10:00:00Z".parse().unwrap());
    assert_eq!((planned.reason.as_deref(), planned.exit_code), (Some("MemoryHardMark"), Some(75)));
    assert_eq!(
        (planned.working_set, planned.limit, planned.seq),
        (Some(963_641_344), Some(1_073_741_824), Some(123_456))
    );
    assert!(planned.message.unwrap().contains("has passed the hard mark"));

    let log = end(1, "Error", "INFO starting\nERROR the log cannot be opened\n");
    assert_eq!(
        log.message.unwrap(),
        "The relay ended with exit code 1 (Error): INFO starting\nERROR the log cannot be opened"
    );
    let json_line = end(1, "Error", r#"{"level":"ERROR","message":"no"}"#);
    assert!(json_line.message.unwrap().contains(r#""level":"ERROR""#), "a log of one line is no last word");
    assert_eq!(json_line.reason.as_deref(), Some("Error"));
    let oom = end(137, "OOMKilled", "");
    assert_eq!(oom.message.unwrap(), "The kernel killed the relay at its memory limit of 256Mi.");
    assert_eq!((oom.limit, oom.working_set), (Some(256 << 20), None));
    let long = end(1, "Error", &"x".repeat(5000));
    assert!(long.message.unwrap().chars().count() < 600, "what is long is cut");
}

#[test]
fn the_status_keeps_the_newest_ten() {
    let mut status = None;
    for run in 1..=12 {
        let pod = pod("a", run, running(), terminated(run, "Error", ""));
        status = Some(observe(status.as_ref(), Some(&pod), None, at(1000)).status);
    }
    let status = status.unwrap();
    assert_eq!(status.crashed, 12);
    let codes: Vec<_> = status.last.iter().map(|end| end.exit_code.unwrap()).collect();
    assert_eq!(codes, (3..=12).rev().collect::<Vec<_>>());
}
