#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use tokio::net::TcpListener;

use super::*;
use crate::relay_admin::status::decode;

const RECORDED: &str = include_str!("../../tests/contract/admin-status.json");

fn recorded_job() -> Job {
    Job {
        name: "import".into(),
        spec: JobSpec {
            kind: Kind::Import,
            sources: vec!["https://relay.example.com".into()],
            collections: Collections {
                names: vec!["app.bsky.feed.post".into()],
                lists: vec!["https://lists.example.com/llms.txt".into()],
                ..Collections::default()
            },
            requests_per_second: Some(4.0),
            schedule: Some("@weekly".into()),
            declared_by: Some("operator".into()),
            ..JobSpec::default()
        },
        state: State::Waiting,
        reason: Some("relay.example.com asks for a pause".into()),
        last_error: Some("relay.example.com answers 429".into()),
        resumes: 2,
        resumed_from: Some("relay.example.com app.bsky.feed.post after did:plc:7iza6de2dwap2sbkpav7c6c6".into()),
        started_at: Some("2026-11-24T09:00:01Z".into()),
        finished_at: None,
        progress: Progress {
            parts: 4,
            parts_done: 1,
            seen: 12_000,
            added: 11_000,
            per_second: 250.5,
            eta_seconds: Some(3600),
        },
    }
}

#[test]
fn the_recorded_document_is_understood() {
    let document = decode(RECORDED.as_bytes()).unwrap();
    let want = Document {
        software: "relay/0.1.0".into(),
        ready: true,
        draining: false,
        seq: Seq { last: 123 },
        events: Events { per_second: 12.5 },
        hosts: Hosts { total: 3, connected: 2 },
        consumers: Consumers { connected: 1 },
        memory: Memory {
            limit_bytes: Some(536_870_912),
            working_set_bytes: 73_400_320,
            soft_bytes: Some(429_496_729),
            hard_bytes: Some(483_183_820),
            step: Some("none".into()),
            slope_bytes_per_hour: Some(1_048_576),
            seconds_to_limit: Some(1_592_000),
        },
        backfill: Some(Backfill { jobs: vec![recorded_job()] }),
    };
    assert_eq!(document, want);
}

#[test]
fn documents_of_another_form_are_told_apart() {
    let table = [
        ("", "cannot be understood"),
        ("[]", "cannot be understood"),
        (r#"{"version": 1}"#, "cannot be understood: missing field"),
        (r#"{"version": "1"}"#, "cannot be understood"),
        (r#"{"version": 2, "anything": {}}"#, "has version 2, this operator reads version 1"),
    ];
    for (body, sentence) in table {
        let error = decode(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(sentence), "{body}: {error}");
    }
    let stranger =
        RECORDED.replace(r#""waiting","#, r#""resting","#).replace(r#""kind": "import""#, r#""kind": "guess""#);
    let jobs = decode(stranger.as_bytes()).unwrap().backfill.unwrap().jobs;
    assert_eq!((jobs[0].state, jobs[0].spec.kind), (State::Other, Kind::Other), "what is new is something else");
    let newer = RECORDED.replacen('{', r#"{"added": [1, 2],"#, 1);
    assert!(decode(newer.as_bytes()).is_ok(), "fields that are new are no reason to stop");
}

/// A relay that answers each route with `status` and `body`, to the bearer of "good" alone.
async fn relay(status: StatusCode, body: String) -> Client {
    let answer = move |headers: HeaderMap| async move {
        match headers.get("authorization") {
            Some(value) if value == "Bearer good" => (status, body),
            _ => (StatusCode::UNAUTHORIZED, String::new()),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new()
        .route("/admin/status", get(answer.clone()))
        .route("/admin/backfill/jobs/import", put(answer.clone()).delete(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(port).unwrap()
}

fn door(ip: &str, token: &str) -> Door {
    Door { ip: ip.into(), token: Redacted::new(token.into()) }
}

#[tokio::test]
async fn answers_become_documents_or_reasons() {
    let good = door("127.0.0.1", "good\nnext");
    let ok = relay(StatusCode::OK, RECORDED.into()).await;
    assert!(ok.status(&good).await.is_ok(), "the first line of several is the token");
    let table = [
        (ok.status(&door("127.0.0.1", "bad")).await, "refuses the admin token"),
        (ok.status(&door("not an address", "good")).await, "does not answer"),
        (Client::new(1).unwrap().status(&good).await, "refused"),
        (relay(StatusCode::BAD_GATEWAY, String::new()).await.status(&good).await, "HTTP status 502"),
        (relay(StatusCode::FOUND, String::new()).await.status(&good).await, "HTTP status 302"),
        (relay(StatusCode::OK, " ".repeat(MAX_BYTES + 1)).await.status(&good).await, "larger than"),
        (relay(StatusCode::OK, "<html>".into()).await.status(&good).await, "cannot be understood"),
    ];
    for (result, sentence) in table {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(sentence), "want {sentence:?}, got {error:?}");
    }
}

#[tokio::test]
async fn a_change_of_a_job_is_taken_or_refused_with_the_reason() {
    let good = door("127.0.0.1", "good");
    let recorded: serde_json::Value = serde_json::from_str(RECORDED).unwrap();
    let ok = relay(StatusCode::OK, recorded["backfill"]["jobs"][0].to_string()).await;
    let job = recorded_job();
    assert_eq!(ok.put_job(&good, "import", &job.spec).await, Ok(job.clone()));
    assert_eq!(ok.delete_job(&good, "import").await, Ok(()));
    assert_eq!(ok.delete_job(&good, "gone").await, Ok(()), "what is not there is removed");

    let refusal = r#"{"error": "InvalidRequest", "message": "sources: no URL"}"#;
    let refusing = relay(StatusCode::BAD_REQUEST, refusal.into()).await;
    let refused = refusing.put_job(&good, "import", &job.spec).await;
    assert_eq!(refused, Err(AskError::Refused("sources: no URL".into())));
    let broken = relay(StatusCode::INTERNAL_SERVER_ERROR, String::new()).await;
    assert_eq!(broken.put_job(&good, "import", &job.spec).await, Err(AskError::Status(500)));
    let foreign = ok.put_job(&door("127.0.0.1", "bad"), "import", &job.spec).await;
    assert_eq!(foreign, Err(AskError::Unauthorized));
}

#[test]
fn a_job_is_written_as_the_relay_writes_it() {
    let recorded: serde_json::Value = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(serde_json::to_value(recorded_job().spec).unwrap(), recorded["backfill"]["jobs"][0]["spec"]);
}

/// What a relay of another project tells line by line, when `/metrics` answers with `status` and `body`.
async fn metrics(status: StatusCode, body: Vec<u8>) -> Result<Vec<String>, AskError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/metrics", get(move || async move { (status, body) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut lines = Vec::new();
    let client = Client::new(port).unwrap();
    client.metrics("127.0.0.1", 2471, |line| lines.push(line.to_owned())).await?;
    Ok(lines.into_iter().filter(|line| !line.is_empty()).collect())
}

#[tokio::test]
async fn metrics_are_told_line_by_line_and_bounded() {
    let lines: Vec<String> = (0..100_000).map(|n| format!("events{{pds=\"{n}\"}} {n}")).collect();
    let told = metrics(StatusCode::OK, lines.join("\n").into()).await;
    assert_eq!(told, Ok(lines), "whatever the pieces are in which they come");

    let mut odd = b"a 1\n".to_vec();
    odd.extend(vec![b'x'; MAX_LINE_BYTES + 1]);
    odd.extend(b"\n\xff\xfe\nb 2");
    assert_eq!(metrics(StatusCode::OK, odd).await, Ok(vec!["a 1".into(), "b 2".into()]), "the others are told");

    // Long lines, which a busy machine reads in time too.
    let line = [vec![b'x'; 1023], vec![b'\n']].concat();
    let much = metrics(StatusCode::OK, line.repeat(MAX_METRICS_BYTES / line.len() + 1)).await;
    assert_eq!(much, Err(AskError::TooLarge(MAX_METRICS_BYTES)));
    assert_eq!(metrics(StatusCode::NOT_FOUND, Vec::new()).await, Err(AskError::Status(404)));
}
