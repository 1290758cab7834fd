//! What no client library sends or serves: broken HTTP towards the relay, and hosts that answer with nonsense. The
//! relay says what is wrong, or ends the connection, and others feel nothing.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{World, assert_delivered};
use reqwest::Method;
use serde_json::json;
use sim::Relay;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Everything that a server answers to some bytes, up to its end of the connection.
async fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may have ended the connection before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Protocol 1: requests that are none get an HTTP status at most, and the connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn broken_requests_end_their_own_connection_alone() {
    let mut world = World::new(140, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let head = "GET /xrpc/com.atproto.sync.listHosts HTTP/1.1\r\nHost: relay\r\n";
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: relay\r\n\r\n", "a".repeat(1 << 20));
    let long_header = format!("{head}X-Long: {}\r\n\r\n", "a".repeat(1 << 20));
    let many_headers = format!("{head}{}\r\n", "X: y\r\n".repeat(1000));
    let crawl = "POST /xrpc/com.atproto.sync.requestCrawl HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n";
    let bad_length = format!("{crawl}Content-Length: -5\r\n\r\n");
    let two_lengths = format!("{crawl}Content-Length: 5\r\nContent-Length: 6\r\n\r\n[1,2]");
    let bad_chunk = format!("{crawl}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let cases: [(&str, &[u8], &[&str]); 9] = [
        ("garbage", &[0xff; 1000], &["HTTP/1.1 400", ""]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &["HTTP/1.1 400", ""]),
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", &["HTTP/1.1 400", ""]),
        ("a path of 1 MiB", long_path.as_bytes(), &["HTTP/1.1 414", "HTTP/1.1 431", ""]),
        ("a header of 1 MiB", long_header.as_bytes(), &["HTTP/1.1 431", ""]),
        ("a thousand headers", many_headers.as_bytes(), &["HTTP/1.1 431"]),
        ("a negative length", bad_length.as_bytes(), &["HTTP/1.1 400"]),
        ("two lengths", two_lengths.as_bytes(), &["HTTP/1.1 400"]),
        ("a chunk that is none", bad_chunk.as_bytes(), &["HTTP/1.1 400"]),
    ];
    for address in [world.relay.public, world.relay.admin] {
        for (what, request, expected) in &cases {
            let answer = answer(address, request).await;
            let is_expected =
                |start: &&str| if start.is_empty() { answer.is_empty() } else { answer.starts_with(*start) };
            assert!(expected.iter().any(is_expected), "{what} at {address}: {answer:?}");
        }
    }
    // Whoever begins a request and says no more holds up nobody, and is sent away.
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(world.relay.public).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let sent = host.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&sent], "the consumer beside them");
    assert_eq!(world.relay.get("/_health").await.status, 200);
    // A body that does not come is waited for a little longer than a head.
    let no_body = format!("{crawl}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{");
    let mut bodiless = TcpStream::connect(world.relay.public).await.unwrap();
    bodiless.write_all(no_body.as_bytes()).await.unwrap();
    let ends = silent.into_iter().chain([bodiless]).map(async |mut stream| {
        let mut answer = String::new();
        let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
        assert!(end.is_ok(), "the connection stays open");
        answer
    });
    let mut ends = futures_util::future::join_all(ends).await;
    let bodiless = ends.pop().unwrap();
    assert!(bodiless.starts_with("HTTP/1.1 408") && bodiless.contains("RequestTimeout"), "{bodiless}");
    assert!(ends.iter().all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 408")), "{ends:?}");
    assert!(world.relay.is_alive());
}

/// A host that answers every request with the same bytes, and leaves the connection open.
async fn canned(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while let Ok(1..) = stream.read(&mut request).await {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn response(status: &str, header: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn crawl(relay: &Relay, address: SocketAddr) -> (u16, String) {
    let path = "/xrpc/com.atproto.sync.requestCrawl";
    let request = relay.request(Method::POST, relay.public, path).json(&json!({ "hostname": address.to_string() }));
    let answer = relay.answer(request).await;
    assert!(answer.json["message"].is_string(), "{}", answer.text);
    (answer.status, answer.json["error"].as_str().unwrap_or_default().to_owned())
}

/// Protocol 14: a host that does not describe itself as a PDS within 5 s is not taken, and leaves no row.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_do_not_describe_themselves_are_not_taken() {
    let world = World::new(141, &[]).await;
    let large = format!("{{\"did\":\"did:web:a.example.com\",\"filler\":\"{}\"}}", "a".repeat(100_000));
    let cases = [
        ("nothing", Vec::new()),
        ("garbage", vec![0xff; 100]),
        ("no such method", response("404 Not Found", "", "{}")),
        ("a failure", response("500 Internal Server Error", "", "{\"did\":\"did:web:a.example.com\"}")),
        ("no JSON", response("200 OK", "", "<html>")),
        ("no did", response("200 OK", "", "{}")),
        ("a did that is none", response("200 OK", "", "{\"did\":7}")),
        ("more than a description", response("200 OK", "", &large)),
        ("a redirect without end", response("302 Found", "Location: /xrpc/again\r\n", "")),
        ("less than promised", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"did\":".to_vec()),
        ("a relay", response("200 OK", "Server: x (atproto-relay)\r\n", "{\"did\":\"did:web:a.example.com\"}")),
    ];
    for (what, bytes) in cases {
        let host = canned(bytes).await;
        assert_eq!(crawl(&world.relay, host).await, (400, "HostNotFound".to_owned()), "{what}");
    }
    assert_eq!(world.relay.get_admin("/admin/pds/list").await.json, json!([]), "no row");
}

/// Protocol 11: a host whose stream is no WebSocket is tried again later, and its error is there to see.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_whose_stream_is_none_are_tried_again() {
    let mut world = World::new(142, &[]).await;
    let good = world.host().await;
    let mut account = world.account(&good);
    let mut consumer = world.relay.consumer(None).await;
    let garbage_frames = [&b"HTTP/1.1 101 Switching Protocols\r\n\r\n"[..], &[0xff; 100]].concat();
    for (what, bytes) in [
        ("garbage", vec![0xff; 100]),
        ("a refusal", response("403 Forbidden", "", "")),
        ("a busy host", response("429 Too Many Requests", "Retry-After: 30\r\n", "")),
        ("no handshake", response("200 OK", "", "{}")),
        ("a handshake without its key", garbage_frames),
    ] {
        let name = canned(bytes).await.to_string();
        assert_eq!(world.relay.request_crawl(&name).await.status, 200, "an admin may name any host");
        let has_error = async |relay: &Relay| {
            let hosts = relay.get_admin("/admin/pds/list").await.json;
            let row = hosts.as_array().unwrap().iter().find(|row| row["host"] == name).unwrap().clone();
            row["lastError"].is_string() && row["connected"] == false && row["status"] != "banned"
        };
        world.relay.until(what, has_error).await;
    }
    let sent = good.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&sent], "the good host beside them");
    assert_eq!(good.cursors(), [None]);
}
