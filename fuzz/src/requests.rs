//! HTTP requests of strangers and of administrators, as a running relay takes them.

use relay::host::HostName;
use serde::Deserialize;
use serde_json::Value;

use crate::relay_inside::{Listener, TOKEN, exchange};

/// Between the query and what the client says then.
const SEPARATOR: u8 = b'\n';
const FIREHOSE: &str = "com.atproto.sync.subscribeRepos";
/// What is asked with a query, and asks nobody else.
const QUERIES: [&str; 6] = [
    FIREHOSE,
    "com.atproto.sync.listRepos",
    "com.atproto.sync.listHosts",
    "com.atproto.sync.getHostStatus",
    "com.atproto.sync.getRepoStatus",
    "com.atproto.sync.getLatestCommit",
];
const UPGRADE: &str = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const CLOSE: &str = "Connection: close\r\n";
/// Routes that take a body.
const BODIES: [&str; 8] = [
    "/admin/pds/changeLimits",
    "/admin/subs/banDomain",
    "/admin/subs/unbanDomain",
    "/xrpc/com.atproto.sync.requestCrawl",
    "/admin/pds/requestCrawl",
    "/admin/pds/setValidation",
    "/admin/repo/takeDown",
    "/admin/repo/reverseTakedown",
];

/// A query: its first byte says which, the rest of the line is what is asked for, and all behind the line is what the
/// client sends on the stream. The cursor is a whole number from 0 on or an error (protocol 4), and nothing that a client
/// sends is an error of the relay.
pub fn cursor(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let method = QUERIES[usize::from(*choice) % QUERIES.len()];
    let end = rest.iter().position(|byte| *byte == SEPARATOR).unwrap_or(rest.len());
    let (query, client) = rest.split_at(end);
    let headers = if method == FIREHOSE { UPGRADE } else { CLOSE };
    let head =
        [b"GET /xrpc/", method.as_bytes(), b"?", query, b" HTTP/1.1\r\nHost: relay\r\n", headers.as_bytes(), b"\r\n"];
    let client = client.get(1..).unwrap_or_default();
    let answer = exchange(Listener::Public, &head.concat(), client);
    let status = check_answer(&answer);
    if method == FIREHOSE
        && client.is_empty()
        && let Some(cursor) = query.strip_prefix(b"cursor=")
    {
        // Others are escaped, or have several parameters.
        if cursor.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) {
            let text = str::from_utf8(cursor).unwrap_or_default();
            let is_cursor = text.is_empty() || text.parse::<i64>().is_ok_and(|cursor| cursor >= 0);
            assert_eq!(status, Some(if is_cursor { 101 } else { 400 }), "cursor {text:?}");
        }
    }
}

/// A body: its first byte says for which route.
pub fn admin(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let route = BODIES[usize::from(*choice) % BODIES.len()];
    if names_host(body) {
        return;
    }
    let head = format!(
        "POST {route} HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{CLOSE}\r\n",
        body.len()
    );
    let answer = exchange(Listener::Operators, &[head.as_bytes(), body].concat(), &[]);
    assert!(check_answer(&answer).is_some(), "no answer");
}

/// Whether a host would be asked whether it is one: nothing here goes to the network.
fn names_host(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Crawl {
        hostname: String,
    }
    serde_json::from_slice(body).is_ok_and(|Crawl { hostname }| HostName::parse(&hostname, true).is_ok())
}

/// An answer is none at all, to what is not even HTTP, or one that blames the client in the form of XRPC. Gives the
/// status.
fn check_answer(answer: &[u8]) -> Option<u16> {
    let head = answer.strip_prefix(b"HTTP/1.1 ")?;
    let status = str::from_utf8(head.first_chunk::<3>()?).ok()?.parse().ok()?;
    assert!(status < 500, "{}", String::from_utf8_lossy(answer));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    let body = &answer[end..];
    // What hyper itself refuses has no body.
    if status >= 400 && !body.is_empty() {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        assert!(error["error"].is_string() && error["message"].is_string(), "{}", String::from_utf8_lossy(answer));
    }
    Some(status)
}
