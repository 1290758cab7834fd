#![allow(clippy::unwrap_used)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::{ResizeStatus, RestartStatus, RestartsStatus};
use crate::relay::fixtures::{minimal, valid, world};

const NOW: i64 = 100_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A relay that uses so many percent of its limit of 1 Gi, and for so many seconds has done something about it.
fn uses(percent: i64, pressure: Option<i64>) -> RelayStatus {
    let memory = MemoryStatus {
        working_set_bytes: (1 << 30) / 100 * percent,
        limit_bytes: Some(1 << 30),
        pressure_since: pressure.map(|seconds| Time(at(NOW - seconds))),
        ..MemoryStatus::default()
    };
    RelayStatus { memory: Some(memory), ..RelayStatus::default() }
}

fn ended(mut status: RelayStatus, causes: &[(RestartCause, i64)]) -> RelayStatus {
    let end = |(cause, seconds): &(RestartCause, i64)| RestartStatus {
        at: Time(at(NOW - seconds)),
        cause: *cause,
        reason: None,
        message: None,
        exit_code: None,
        working_set: None,
        limit: None,
        seq: None,
    };
    status.restarts = Some(RestartsStatus { last: causes.iter().map(end).collect(), ..RestartsStatus::default() });
    status
}

fn resizing(mut status: RelayStatus, state: ResizeState) -> RelayStatus {
    let (limit, grown_from) = ("1280Mi".into(), "1Gi".into());
    status.resize = Some(ResizeStatus { limit, grown_from, at: Time(at(NOW)), state, message: Some("m".into()) });
    status
}

fn look(memory: Value, status: &RelayStatus) -> (&'static str, &'static str) {
    let mut spec = minimal();
    spec["memory"] = memory;
    let finding = finding(&valid(&spec, &world()), status, at(NOW));
    assert!(!finding.message.is_empty());
    (finding.status(), finding.reason)
}

#[test]
fn memory_is_healthy_or_there_is_a_reason_the_most_pressing_one() {
    use ResizeState::{Deferred, Done, InProgress, Infeasible, WaitingForWindow};
    use RestartCause::{Crashed, OOMKilled, PlannedRestart};
    let mut soon = uses(85, Some(10));
    soon.memory.as_mut().unwrap().seconds_to_limit = Some(60);
    let mut rising = uses(40, None);
    rising.memory.as_mut().unwrap().seconds_to_limit = Some(60);
    let quiet = || uses(40, None);
    let pressed = || uses(82, Some(60));
    #[rustfmt::skip]
    let table = [
        ("quiet", quiet(), ("True", "Healthy")),
        ("caches shrink now and then", uses(82, Some(59)), ("True", "Healthy")),
        ("pressure that lasts", pressed(), ("False", "UnderPressure")),
        ("at the hard mark", uses(90, Some(5)), ("False", "NearLimit")),
        ("at the limit before a restart is done", soon, ("False", "NearLimit")),
        ("a start that rises fast", rising, ("True", "Healthy")),
        ("no word from it", RelayStatus::default(), ("Unknown", "Unknown")),
        ("killed within the hour", ended(quiet(), &[(OOMKilled, 3599)]), ("False", "OOMKilled")),
        ("killed within the hour, no word from it", ended(RelayStatus::default(), &[(OOMKilled, 5)]), ("False", "OOMKilled")),
        ("killed before", ended(quiet(), &[(OOMKilled, 3600)]), ("True", "Healthy")),
        ("one restart", ended(quiet(), &[(PlannedRestart, 10)]), ("True", "Healthy")),
        ("as many as it may", ended(quiet(), &[(PlannedRestart, 10), (PlannedRestart, 3000)]), ("False", "RestartLoop")),
        ("as many, but not within an hour", ended(quiet(), &[(PlannedRestart, 10), (PlannedRestart, 4000)]), ("True", "Healthy")),
        ("crashes are another condition's", ended(quiet(), &[(Crashed, 1), (Crashed, 2)]), ("True", "Healthy")),
        ("a loop and a kill", ended(quiet(), &[(OOMKilled, 5), (PlannedRestart, 10), (PlannedRestart, 30)]), ("False", "RestartLoop")),
        ("resized", resizing(quiet(), Done), ("True", "Healthy")),
        ("resizing", resizing(quiet(), InProgress), ("False", "ResizePending")),
        ("no room now", resizing(pressed(), Deferred), ("False", "ResizeDeferred")),
        ("no room ever", resizing(uses(95, Some(90)), Infeasible), ("False", "ResizeInfeasible")),
        ("no such API", resizing(pressed(), WaitingForWindow), ("False", "ResizePending")),
    ];
    for (case, status, want) in table {
        assert_eq!(look(json!({"limit": "1Gi", "max": "2Gi", "resize": "InPlace"}), &status), want, "{case}");
    }
    let max = json!({"limit": "1Gi", "resize": "InPlace"});
    assert_eq!(look(max, &pressed()), ("False", "AtMaximum"), "it cannot grow any more");
    assert_eq!(look(json!({"limit": "1Gi"}), &pressed()), ("False", "UnderPressure"), "it was never to grow");
    let never = ended(quiet(), &[(PlannedRestart, 10)]);
    assert_eq!(look(json!({"limit": "1Gi", "maxRestartsPerHour": 0}), &never).1, "Healthy", "none were allowed before");
}

#[test]
fn ends_are_told_as_what_they_are() {
    let new = |cause, count| {
        let end = ended(RelayStatus::default(), &[(cause, 0)]).restarts.unwrap().last.remove(0);
        let event = event(&New { count, end: RestartStatus { message: Some("m.".into()), ..end } });
        format!("{:?} {} {}", event.type_, event.reason, event.note.unwrap())
    };
    assert_eq!(new(RestartCause::PlannedRestart, 1), "Normal PlannedRestart m.");
    assert_eq!(new(RestartCause::OOMKilled, 1), "Warning OOMKilled m.");
    assert_eq!(new(RestartCause::Crashed, 1), "Warning Crashed m.");
    assert_eq!(new(RestartCause::Unseen, 3), "Normal Unseen m. Ends that nobody has seen: 3.");
}
