#![allow(clippy::unwrap_used)]

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::relay::jobs::Trouble;
use crate::relay::report::conditions;
use crate::relay_admin::AskError;

/// A job as the relay shows it; `null` when it does not have it.
fn declared(name: &str, kind: &str, job: Value) -> (Declared, Option<Job>) {
    let spec = serde_json::from_value(json!({"kind": kind, "declaredBy": "operator"})).unwrap();
    let mut job = job;
    if !job.is_null() {
        job["name"] = json!(name);
        job["spec"] = json!({"kind": kind, "declaredBy": "operator"});
    }
    (Declared { name: name.into(), spec }, serde_json::from_value(job).unwrap())
}

fn import(job: Value) -> Jobs {
    Jobs { declared: vec![declared("import-a", "import", job)], trouble: None }
}

fn in_state(state: &str) -> Value {
    json!({"state": state, "startedAt": (state != "queued").then_some("2026-11-24T09:00:00Z")})
}

/// `STATUS REASON MESSAGE` of the condition.
fn condition(before: &[Condition], jobs: &Jobs) -> String {
    let finding = finding(before, jobs);
    format!("{} {} {}", finding.status(), finding.reason, finding.message)
}

#[test]
fn the_condition_says_what_the_backfill_waits_for() {
    let why = |state: &str| json!({"state": state, "reason": "a.example asks for a pause"});
    #[rustfmt::skip]
    let table = [
        (Jobs::default(), "True NotDeclared spec.backfill declares no import and no crawl."),
        (import(json!(null)), "False Waiting The job import-a waits for its turn."),
        (import(in_state("queued")), "False Waiting The job import-a waits for its turn."),
        (import(in_state("running")), "False Running Jobs are at work; status.backfill says how far they are."),
        (import(why("waiting")), "False Waiting The job import-a waits: a.example asks for a pause"),
        (import(in_state("paused")), "False Paused The job import-a was paused; it goes on with `relay backfill resume import-a`."),
        (import(in_state("cancelled")), "False Cancelled The job import-a was cancelled; `relay backfill run import-a` starts it again."),
        (import(why("failed")), "False Failed The job import-a cannot go on: a.example asks for a pause"),
        (import(in_state("resting")), "False Waiting The job import-a waits for its turn."),
        (import(in_state("done")), "True Done Every declared import and crawl is done."),
        (import(json!({"state": "done", "reason": "2 of 40 parts failed"})), "True Done Every declared import and crawl is done. import-a: 2 of 40 parts failed"),
    ];
    for (jobs, want) in table {
        assert_eq!(condition(&[], &jobs), want);
    }
}

#[test]
fn the_worst_job_decides_and_a_verification_none() {
    let states = |import: &str, crawl: &str, verify: &str| Jobs {
        declared: vec![
            declared("import-a", "import", in_state(import)),
            declared("crawl", "crawl", in_state(crawl)),
            declared("verify", "verify", in_state(verify)),
        ],
        trouble: None,
    };
    for (import, crawl, verify, want) in [
        ("done", "done", "running", "True Done"),
        ("done", "done", "failed", "True Done"),
        ("done", "running", "done", "False Running"),
        ("waiting", "running", "done", "False Running"),
        ("paused", "running", "done", "False Paused"),
        ("paused", "failed", "done", "False Failed"),
    ] {
        let got = condition(&[], &states(import, crawl, verify));
        assert!(got.starts_with(want), "{import}, {crawl}, {verify}: {got}");
    }
}

#[test]
fn what_is_done_stays_done_while_the_relay_is_away_and_other_troubles_are_told() {
    let done = conditions::merge(&[], &[finding(&[], &import(in_state("done")))], Some(1), Timestamp::UNIX_EPOCH);
    let running = conditions::merge(&[], &[finding(&[], &import(in_state("running")))], Some(1), Timestamp::UNIX_EPOCH);
    let with = |trouble: Trouble| Jobs { trouble: Some(trouble), ..import(json!(null)) };
    let away = || with(Trouble::Away(AskError::TimedOut));
    let refused = with(Trouble::Ask { job: "import-a".into(), source: AskError::Refused("sources: no URL".into()) });
    #[rustfmt::skip]
    let table = [
        (&done, away(), "True Done Every declared import and crawl is done."),
        (&done, with(Trouble::NoPod), "True Done Every declared import and crawl is done."),
        (&running, with(Trouble::NoPod), "False RelayUnavailable No pod runs yet."),
        (&running, away(), "False RelayUnavailable the relay's admin API did not answer within 5 s"),
        (&done, refused, "False ApplyFailed The job import-a cannot be brought to what is declared: the relay refuses it: sources: no URL"),
        (&done, with(Trouble::Paused), "False RelayPaused spec.paused is true"),
        (&done, with(Trouble::NameTaken("crawl".into())), "False NameTaken The relay has a job crawl"),
        (&done, with(Trouble::Unsupported), "False Unsupported This version of the relay"),
    ];
    for (before, jobs, want) in table {
        let got = condition(before, &jobs);
        assert!(got.starts_with(want), "want {want:?}, got {got:?}");
    }
}

#[test]
fn figures_are_summed_over_the_jobs_that_fill() {
    let progress = |done: u64, eta: Value| json!({"parts": 40, "partsDone": done, "seen": 1000, "added": 10, "perSecond": 2.04, "etaSeconds": eta});
    let job = |state: &str, done, eta| json!({"state": state, "resumes": 2, "progress": progress(done, eta)});
    let jobs = Jobs {
        declared: vec![
            declared("import-a", "import", job("done", 40, json!(null))),
            declared("import-b", "import", job("running", 3, json!(60))),
            declared("import-c", "import", json!(null)),
            declared("crawl", "crawl", job("cancelled", 0, json!(7))),
            declared("verify", "verify", job("running", 0, json!(9999))),
        ],
        trouble: None,
    };
    let status = status(None, &jobs).unwrap();
    assert_eq!((status.summary.as_str(), status.total), ("1/4 done", 4));
    assert_eq!((status.done, status.running, status.waiting, status.paused, status.failed), (1, 1, 1, 1, 0));
    assert_eq!((status.seen, status.added, status.per_second, status.eta_seconds), (3000, 30, 6.1, Some(60)));
    let list = status.jobs.iter().map(|job| format!("{} {} {:?}", job.name, job.state, job.progress.as_deref()));
    assert_eq!(
        list.collect::<Vec<_>>(),
        [
            r#"import-a done Some("40/40")"#,
            r#"import-b running Some("3/40")"#,
            "import-c missing None",
            r#"crawl cancelled Some("0/40")"#,
            r#"verify running Some("0/40")"#,
        ]
    );
}

#[test]
fn figures_stay_while_nothing_is_heard_and_go_with_the_declaration() {
    let known = status(None, &import(json!({"state": "running", "resumes": 3}))).unwrap();
    let away = Jobs { trouble: Some(Trouble::NoPod), ..import(json!(null)) };
    assert_eq!(status(Some(&known), &away), Some(known.clone()));
    assert_eq!(status(Some(&known), &Jobs::default()), None);
}

/// Reasons and notes of what is told about a job that was `before` and is `now`.
fn told(before: Value, now: Value) -> Vec<String> {
    let before = (!before.is_null()).then(|| status(None, &import(before)).unwrap());
    let events = events(before.as_ref(), &import(now));
    events.iter().map(|event| format!("{}: {}", event.reason, event.note.as_deref().unwrap())).collect()
}

#[test]
fn what_happens_to_a_job_is_told_once() {
    let resumed = |resumes: u64, state: &str| {
        json!({
            "state": state, "startedAt": "2026-11-24T09:00:00Z", "resumes": resumes,
            "resumedFrom": "a.example app.bsky.feed.post after did:plc:7iza6de2dwap2sbkpav7c6c6",
        })
    };
    let (started, completed) = (
        "BackfillStarted: The job import-a has begun.",
        "BackfillCompleted: The job import-a is done: sources named 0 DIDs, 0 pairs were new.",
    );
    let went_on = "BackfillResumed: After a restart of the relay the job import-a goes on from \
        a.example app.bsky.feed.post after did:plc:7iza6de2dwap2sbkpav7c6c6";
    let failed = "BackfillFailed: The job import-a cannot go on: it does not say why";
    let again = |state: &str| json!({"state": state, "startedAt": "2026-12-01T09:00:00Z", "finishedAt": "2026-12-01T10:00:00Z"});
    #[rustfmt::skip]
    let table = [
        ("new", json!(null), in_state("queued"), vec![]),
        ("begins", in_state("queued"), in_state("running"), vec![started]),
        ("begins and waits", json!(null), in_state("waiting"), vec![started]),
        ("goes on", in_state("waiting"), in_state("running"), vec![]),
        ("resumed", in_state("running"), resumed(1, "running"), vec![went_on]),
        ("found at work by a start", in_state("running"), json!({"state": "queued", "startedAt": "2026-11-24T09:00:00Z"}), vec![]),
        ("paused by a person, and let go on", in_state("paused"), in_state("running"), vec![]),
        ("resumed, told already", resumed(1, "running"), resumed(1, "waiting"), vec![]),
        ("resumed again", resumed(1, "running"), resumed(2, "running"), vec![went_on]),
        ("done", in_state("running"), in_state("done"), vec![completed]),
        ("done at once", in_state("queued"), in_state("done"), vec![started, completed]),
        ("done, told already", in_state("done"), in_state("done"), vec![]),
        ("another run begins", in_state("done"), again("running"), vec![started]),
        ("another run is done", in_state("done"), again("done"), vec![started, completed]),
        ("fails", in_state("running"), in_state("failed"), vec![failed]),
        ("fails, told already", in_state("failed"), in_state("failed"), vec![]),
        ("made anew", resumed(3, "running"), in_state("queued"), vec![]),
        ("resumed and done", in_state("running"), resumed(1, "done"), vec![went_on, completed]),
    ];
    for (case, before, now, want) in table {
        assert_eq!(told(before, now), want, "{case}");
    }
}
