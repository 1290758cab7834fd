//! What a request without a stream gets (protocol 1).

use std::fmt::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

pub(super) const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The answer to a request, as text.
pub(super) async fn request(rig: &Rig, method: &str, query: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("{method} {PATH}{query} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let _ = write!(answer, "{}", String::from_utf8_lossy(&buffer[..count]));
        }
    };
    timeout(PATIENCE, read).await.unwrap();
    answer
}

pub(super) fn assert_answer(name: &str, answer: &str, status: &str, parts: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    for part in parts {
        assert!(answer.contains(part), "{name}: {part} is missing in {answer}");
    }
}

/// Protocol 1, 4.
#[tokio::test]
async fn wrong_requests_are_refused_with_the_right_status() {
    let rig = Rig::new(limits(), 10, 100).await;
    let bad_request = r#"{"error":"BadRequest","message":"cursor must be a whole number"#;
    let no_upgrade = ["upgrade: websocket", "sec-websocket-version: 13", r#""error":"UpgradeRequired""#];
    let old = UPGRADE.replace("13", "8");
    let no_key = UPGRADE.replace("Sec-WebSocket-Key", "X-Key");
    let cases: [(&str, &str, &str, &str, &[&str]); 9] = [
        ("POST", "", UPGRADE, "405", &["allow: GET", r#""error":"MethodNotAllowed""#]),
        ("HEAD", "", UPGRADE, "405", &["allow: GET"]),
        ("GET", "", "", "426", &no_upgrade),
        ("GET", "", &old, "426", &no_upgrade),
        ("GET", "", &no_key, "400", &["Sec-WebSocket-Key"]),
        ("GET", "?cursor=-1", UPGRADE, "400", &[bad_request]),
        ("GET", "?cursor=abc", UPGRADE, "400", &[bad_request]),
        ("GET", "?cursor=1.0", UPGRADE, "400", &[bad_request]),
        ("GET", "?cursor=1&cursor=2", UPGRADE, "400", &[r#""error":"BadRequest""#]),
    ];
    for (method, query, headers, status, parts) in cases {
        let answer = request(&rig, method, query, headers).await;
        assert_answer(&format!("{method} {query}"), &answer, status, parts);
    }
    assert_eq!(rig.firehose.consumers(), 0);
}

/// Protocol 1.
#[tokio::test]
async fn a_right_request_is_accepted_with_the_key_of_the_rfc() {
    let rig = Rig::new(limits(), 10, 100).await;
    let answer = request(&rig, "GET", "?cursor=0", UPGRADE).await;
    assert_answer("upgrade", &answer, "101", &["sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
}

/// Protocol 1.
#[tokio::test]
async fn limits_are_answered_with_429() {
    let cases = [
        ("relay", Limits { consumers_max: 2, ..limits() }, "the relay serves as many"),
        ("address", Limits { consumers_per_address_max: 2, ..limits() }, "from your address"),
    ];
    for (name, limits, message) in cases {
        let rig = Rig::new(limits, 10, 100).await;
        let first = rig.connect(None).await;
        let _second = rig.connect(None).await;
        let answer = request(&rig, "GET", "", UPGRADE).await;
        assert_answer(name, &answer, "429", &["retry-after: 30", r#""error":"RateLimitExceeded""#, message]);
        assert_eq!(rig.firehose.stats().refused.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(first);
        rig.wait_until("a place is free", |firehose| firehose.consumers() == 1).await;
        let _third = rig.connect(None).await;
    }
}

/// Protocol 1.
#[tokio::test]
async fn a_draining_relay_is_unavailable() {
    let rig = Rig::new(limits(), 10, 100).await;
    assert_eq!(rig.firehose.close_all(PATIENCE).await, 0);
    let answer = request(&rig, "GET", "", UPGRADE).await;
    assert_answer("draining", &answer, "503", &["retry-after: 30", r#""error":"ServiceUnavailable""#]);
}
