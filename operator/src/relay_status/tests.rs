#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;

const RECORDED: &str = include_str!("../../tests/contract/admin-status.json");

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
        memory: Memory { limit_bytes: Some(536_870_912), working_set_bytes: 73_400_320 },
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
    let newer = RECORDED.replacen('{', r#"{"added": [1, 2],"#, 1);
    assert!(decode(newer.as_bytes()).is_ok(), "fields that are new are no reason to stop");
}

/// A relay that answers with `status` and `body`, to the bearer of "good" alone.
async fn relay(status: StatusCode, body: String) -> Reader {
    let answer = move |headers: HeaderMap| async move {
        match headers.get("authorization") {
            Some(value) if value == "Bearer good" => (status, body),
            _ => (StatusCode::UNAUTHORIZED, String::new()),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/admin/status", get(answer))).await });
    Reader::new(port).unwrap()
}

#[tokio::test]
async fn answers_become_documents_or_reasons() {
    let good = Redacted::new("good\nnext".into());
    let bad = Redacted::new("bad".into());
    let ok = relay(StatusCode::OK, RECORDED.into()).await;
    assert!(ok.read("127.0.0.1", &good).await.is_ok(), "the first line of several is the token");
    let table = [
        (ok.read("127.0.0.1", &bad).await, "refuses the admin token"),
        (ok.read("not an address", &good).await, "does not answer"),
        (Reader::new(1).unwrap().read("127.0.0.1", &good).await, "refused"),
        (relay(StatusCode::BAD_GATEWAY, String::new()).await.read("127.0.0.1", &good).await, "HTTP status 502"),
        (relay(StatusCode::FOUND, String::new()).await.read("127.0.0.1", &good).await, "HTTP status 302"),
        (relay(StatusCode::OK, " ".repeat(MAX_BYTES + 1)).await.read("127.0.0.1", &good).await, "larger than"),
        (relay(StatusCode::OK, "<html>".into()).await.read("127.0.0.1", &good).await, "cannot be understood"),
    ];
    for (result, sentence) in table {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(sentence), "want {sentence:?}, got {error:?}");
    }
}
