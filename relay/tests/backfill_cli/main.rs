//! `relay backfill`: against an admin API that answers what the test wants, what is asked of it and what is said; and with
//! a real relay.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod fake;
mod import;
mod real;

use std::net::TcpListener;

use fake::{Fake, TOKEN, document, run, spawn, stderr, stdout};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A job as the relay shows it, in a state; with a field that this program does not know.
fn job(state: &str) -> Value {
    json!({
        "name": "likes",
        "spec": { "kind": "import", "sources": ["https://relay.example.com"], "collections": { "seen": true } },
        "state": state,
        "run": 1,
        "resumes": 2,
        "resumedFrom": "relay.example.com app.bsky.feed.like after did:plc:7iza6de2dwap2sbkpav7c6c6",
        "resumedAt": "2026-11-24T09:59:00Z",
        "createdAt": "2026-11-24T09:00:00Z",
        "fieldOfALaterVersion": 7,
        "progress": {
            "parts": 4, "partsDone": 1, "partsFailed": 1, "seen": 12000, "added": 11000, "removed": 3,
            "retrying": 0, "perSecond": 250.5, "etaSeconds": 3600, "classes": { "gone": 3 },
        },
    })
}

fn waiting() -> Value {
    let mut job = job("waiting");
    job["reason"] = json!("relay.example.com asks for a pause");
    job["waitsUntil"] = json!("2026-11-24T10:05:00Z");
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn start_asks_for_the_job_that_its_flags_describe() {
    let fake = Fake::start([(200, job("queued"))]).await;
    let import = ["--kind", "import", "--source", "https://relay.example.com"];
    let cases: [(&[&str], Value); 4] = [
        (
            &["--collection", "app.bsky.feed.like", "--collection", "app.bsky.feed.post"],
            json!({
                "kind": "import",
                "sources": ["https://relay.example.com"],
                "collections": { "names": ["app.bsky.feed.like", "app.bsky.feed.post"] },
            }),
        ),
        (
            &[
                "--source",
                "https://other.example.com",
                "--list",
                "https://lists.example.com/llms.txt",
                "--seen",
                "--of-sources",
                "--schedule",
                "@weekly",
                "--requests-per-second",
                "2.5",
                "--concurrency",
                "3",
            ],
            json!({
                "kind": "import",
                "sources": ["https://relay.example.com", "https://other.example.com"],
                "collections": { "lists": ["https://lists.example.com/llms.txt"], "seen": true, "ofSources": true },
                "schedule": "@weekly",
                "requestsPerSecond": 2.5,
                "concurrency": 3,
            }),
        ),
        (
            &["--kind", "crawl", "--host", "pds.example.com", "--host", "10.0.0.7:2583"],
            json!({ "kind": "crawl", "hosts": ["pds.example.com", "10.0.0.7:2583"] }),
        ),
        (&["--kind", "verify"], json!({ "kind": "verify" })),
    ];
    for (flags, spec) in cases {
        let kind: &[&str] = if flags.contains(&"--kind") { &[] } else { &import };
        let output = fake.run(&[&["start", "likes"], kind, flags].concat()).await;
        assert!(output.status.success(), "{flags:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "likes is queued; 12,000 seen, 11,000 added, 3 removed\n");
        let asked = fake.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!((asked[0].line.as_str(), asked[0].json()), ("PUT /admin/backfill/jobs/likes", spec), "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_make_no_sense_are_refused_before_anybody_is_asked() {
    let fake = Fake::start([(200, job("queued"))]).await;
    let cases: [(&[&str], &str); 11] = [
        (&["start", "likes"], "--kind"),
        (&["start", "--kind", "verify"], "NAME"),
        (&["start", "likes", "--kind", "pairs"], "invalid value 'pairs'"),
        (&["start", "likes", "--kind", "import", "--seen"], "needs a service to read; name one by --source"),
        (&["start", "likes", "--kind", "import", "--source", "https://relay.example.com"], "which collections"),
        (&["start", "likes", "--kind", "import", "--source", "x", "--collection", "post"], "is not an NSID"),
        (&["start", "likes", "--kind", "crawl", "--seen"], "--seen is not for jobs of this kind"),
        (&["start", "likes", "--kind", "verify", "--host", "pds.example.com"], "--host is not for jobs of this kind"),
        (&["start", "likes", "--kind", "verify", "--concurrency", "few"], "--concurrency"),
        (&["list", "--admin-url", "relay:3001"], "write a URL like http://127.0.0.1:3001"),
        (&["pause"], "NAME"),
    ];
    for (arguments, message) in cases {
        let output = fake.run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_for_people_and_for_programs() {
    let jobs = json!({ "jobs": [job("running"), waiting()] });
    let fake = Fake::start([(200, jobs.clone())]).await;
    let table = "\
NAME   KIND    STATE    PARTS           SEEN    ADDED   RATE   LEFT    WHY
likes  import  running  1/4 (1 failed)  12,000  11,000  251/s  60 min
likes  import  waiting  1/4 (1 failed)  12,000  11,000                 relay.example.com asks for a pause
";
    assert_eq!(stdout(&fake.run(&["list"]).await), table);
    assert_eq!(document(&fake.run(&["list", "--json"]).await), jobs, "as the relay says it, in one document");
    let lines: Vec<String> = fake.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["GET /admin/backfill/jobs"; 2]);
    fake.will_answer([(200, json!({ "jobs": [] }))]);
    assert!(stdout(&fake.run(&["list"]).await).contains("`relay backfill start` makes one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_shown_with_all_its_parts() {
    let part =
        |key: &str| json!({ "key": key, "state": "running", "seen": 1200, "added": 7, "cursor": "did:web:x.example" });
    let failed = json!({ "key": "c", "state": "failed", "error": "it lies" });
    let answers = || {
        [
            (200, waiting()),
            (200, json!({ "parts": [part("a"), part("b")], "cursor": "b" })),
            (200, json!({ "parts": [failed.clone()] })),
        ]
    };
    let fake = Fake::start(answers()).await;
    let output = fake.run(&["show", "likes"]).await;
    let text = stdout(&output);
    for line in [
        "name            likes",
        "state           waiting: relay.example.com asks for a pause, until 2026-11-24T10:05:00Z",
        "collections     those seen here",
        "found           12,000 seen, 11,000 added, 3 removed",
        "classes         3 gone",
        "resumed from    relay.example.com app.bsky.feed.like after did:plc:7iza6de2dwap2sbkpav7c6c6 (2026-11-24T09:59:00Z)",
        "PART  STATE    SEEN   ADDED  NEXT               ERROR",
        "a     running  1,200  7      did:web:x.example",
        "c     failed   0      0                         it lies",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line:?} is missing in:\n{text}");
    }
    let lines: Vec<String> = fake.asked().into_iter().map(|asked| asked.line).collect();
    let expected = [
        "GET /admin/backfill/jobs/likes",
        "GET /admin/backfill/jobs/likes/parts?limit=500",
        "GET /admin/backfill/jobs/likes/parts?limit=500&cursor=b",
    ];
    assert_eq!(lines, expected);
    fake.will_answer(answers());
    let expected = json!({ "job": waiting(), "parts": [part("a"), part("b"), failed] });
    assert_eq!(document(&fake.run(&["--json", "show", "likes"]).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_one_request() {
    let fake = Fake::start([(200, job("paused"))]).await;
    for action in ["pause", "resume", "cancel", "run"] {
        let output = fake.run(&[action, "likes"]).await;
        assert_eq!(stdout(&output), "likes is paused; 12,000 seen, 11,000 added, 3 removed\n", "{}", stderr(&output));
        let asked = fake.asked();
        assert_eq!(asked.len(), 1, "{action}");
        assert_eq!((asked[0].line.clone(), &*asked[0].body), (format!("POST /admin/backfill/jobs/likes/{action}"), ""));
        assert_eq!(document(&fake.run(&[action, "likes", "--json"]).await), job("paused"));
        fake.asked();
    }
    fake.will_answer([(200, json!({}))]);
    assert_eq!(stdout(&fake.run(&["delete", "likes"]).await), "likes is deleted; what it has found stays\n");
    assert_eq!(fake.asked()[0].line, "DELETE /admin/backfill/jobs/likes");
    // A name from outside stays one segment of the path.
    fake.run(&["delete", "a/../b?c#d"]).await;
    assert_eq!(fake.asked()[0].line, "DELETE /admin/backfill/jobs/a%2F..%2Fb%3Fc%23d");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_what_to_do() {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nowhere}");
    let output = run(&["list", "--admin-url", &url], &[], "").await;
    let expected = format!(
        "relay: no relay answers at {url}/: Connection refused (os error 111); is it running, and is --admin-url its \
         admin-listen address?\n"
    );
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), expected));

    let fake = Fake::start([(200, json!({ "jobs": [] }))]).await;
    let output = run(&["list", "--admin-url", &fake.url()], &[], "").await;
    assert!(stderr(&output).contains("wants its admin token; give it by --admin-token, --admin-token-file"), "none");
    let output = run(&["list", "--admin-url", &fake.url(), "--admin-token=wrong"], &[], "").await;
    assert!(stderr(&output).contains("does not know this admin token; give another by --admin-token"), "a wrong one");
    assert_eq!(output.status.code(), Some(1));

    let error = |error: &str, message: &str| json!({ "error": error, "message": message });
    for (status, answer, code, message) in [
        (404, error("JobNotFound", "there is no job \"likes\""), 1, "relay: there is no job \"likes\"\n"),
        (400, error("InvalidRequest", "schedule: no cron expression"), 2, "relay: schedule: no cron expression\n"),
        (503, error("Stopping", "the relay is stopping"), 1, "answers 503 Service Unavailable: the relay is stopping"),
        (500, json!("what?"), 1, "the relay answers 500 Internal Server Error: \"what?\""),
        (404, json!("<html>"), 1, "answers 404 Not Found, \"<html>\"; is --admin-url the admin-listen address"),
        (200, json!({ "job": 1 }), 1, "the relay's answer is not as expected: missing field `name`"),
    ] {
        fake.will_answer([(status, answer)]);
        let output = fake.run(&["pause", "likes"]).await;
        assert_eq!(output.status.code(), Some(code), "{status}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{status}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_found_where_the_relay_has_it() {
    let fake = Fake::start([(200, json!({ "jobs": [] }))]).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, with_token, with_file) =
        (folder.path().join("tokens"), folder.path().join("a.toml"), folder.path().join("b.toml"));
    std::fs::write(&file, format!("{TOKEN} Ada\nother\n")).unwrap();
    std::fs::write(&with_token, format!("admin-token = \"{TOKEN}\"")).unwrap();
    std::fs::write(&with_file, format!("admin-token-file = {file:?}")).unwrap();
    let [file, with_token, with_file] = [&file, &with_token, &with_file].map(|path| path.to_str().unwrap());
    let (name, url) = ("RELAY_ADMIN_URL", fake.url());
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: [Case<'_>; 6] = [
        (&["--admin-token", TOKEN], &[]),
        (&[], &[("RELAY_ADMIN_TOKEN", TOKEN)]),
        (&["--admin-token-file", file], &[]),
        (&[], &[("RELAY_ADMIN_TOKEN_FILE", file)]),
        (&["--config", with_token], &[]),
        (&[], &[("RELAY_CONFIG", with_file)]),
    ];
    for (flags, environment) in cases {
        let output = run(&[&["list"], flags].concat(), &[&[(name, url.as_str())], environment].concat(), "").await;
        assert!(output.status.success(), "{flags:?}, {environment:?}: {}", stderr(&output));
    }
    let output = run(&["list", "--admin-token-file", "/nowhere"], &[(name, &url)], "").await;
    assert!(stderr(&output).contains("cannot read the token file /nowhere"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_when_the_job_does() {
    let fake = Fake::start([(200, job("done"))]).await;
    for (command, last, code) in [
        (&["start", "likes", "--kind", "verify"][..], "done", 0),
        (&["run", "likes"], "failed", 1),
        (&["resume", "likes"], "cancelled", 1),
    ] {
        let busy = json!({ "error": "Stopping", "message": "the relay is stopping" });
        fake.will_answer([
            (200, job("queued")),
            (200, job("running")),
            (200, waiting()),
            (503, busy),
            (200, job(last)),
        ]);
        let output = fake.run(&[command, &["--wait", "--json"]].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{last}: {}", stderr(&output));
        assert_eq!(document(&output), job(last), "one document, when it has ended");
        let progress = stderr(&output);
        assert!(progress.contains("likes: running; 1/4 (1 failed) parts, 12,000 seen"), "{progress}");
        assert!(progress.contains("likes: waiting: relay.example.com asks for a pause"), "{progress}");
        assert!(progress.contains("answers 503"), "{progress}");
    }
    fake.will_answer([(200, job("queued")), (404, json!({ "error": "JobNotFound", "message": "there is no job" }))]);
    let output = fake.run(&["run", "likes", "--wait"]).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "it was deleted meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_survives_a_restart_of_the_relay() {
    let mut fake = Fake::start([(200, job("running"))]).await;
    let url = fake.url();
    let environment = [("RELAY_ADMIN_URL", url.as_str()), ("RELAY_ADMIN_TOKEN", TOKEN)];
    let mut child = spawn(&["run", "likes", "--wait"], &environment);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    assert!(first.starts_with("likes: running"), "{first}");
    fake.stop().await;
    let second = lines.next_line().await.unwrap().unwrap();
    assert!(second.starts_with("no relay answers at") && second.contains("Still trying"), "{second}");
    fake.will_answer([(200, job("done"))]);
    fake.start_again().await;
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.starts_with("likes is done"), "{text}");
    assert!(text.contains("`relay backfill show likes` names the parts that failed"), "{text}");
}
