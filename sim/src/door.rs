//! What a host without an HTTP server answers to a relay, up to the start of a stream.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::wire::{http_header, take_http_head};

/// What a relay calls the host that listens at an address.
pub(crate) fn name_of(address: SocketAddr) -> String {
    match address.ip() {
        // The one name of the loopback interface that every relay knows.
        ip if ip == Ipv4Addr::LOCALHOST => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    }
}

/// What was asked.
pub(crate) enum Request {
    /// A stream, from a cursor. The answer to it is the upgrade.
    Subscription {
        /// Where it begins.
        cursor: Option<u64>,
        /// What the client wants to see in the answer.
        accept: String,
    },
    /// Something that is answered already.
    Answered,
}

/// Reads a request, and answers it unless it is for a stream.
pub(crate) async fn request(tcp: &mut TcpStream, name: &str) -> io::Result<Request> {
    tcp.set_nodelay(true)?;
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(head) = take_http_head(&mut bytes) {
            break head;
        }
        if tcp.read_buf(&mut bytes).await? == 0 {
            return Ok(Request::Answered);
        }
    };
    let target = head.split_whitespace().nth(1).unwrap_or_default();
    match (target.strip_prefix("/xrpc/com.atproto.sync.subscribeRepos"), http_header(&head, "sec-websocket-key")) {
        (Some(query), Some(key)) => {
            let cursor = query.strip_prefix("?cursor=").and_then(|cursor| cursor.parse().ok());
            return Ok(Request::Subscription { cursor, accept: derive_accept_key(key.as_bytes()) });
        }
        _ if target.starts_with("/xrpc/com.atproto.server.describeServer") => {
            let body = format!(r#"{{"did":"did:web:{}","availableUserDomains":[]}}"#, name.replace(':', "%3A"));
            json(tcp, "200 OK", &body).await?;
        }
        _ => json(tcp, "404 Not Found", r#"{"error":"MethodNotImplemented"}"#).await?,
    }
    Ok(Request::Answered)
}

/// Begins the stream.
pub(crate) async fn upgrade(tcp: &mut TcpStream, accept: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await
}

async fn json(tcp: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!("Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n");
    tcp.write_all(format!("HTTP/1.1 {status}\r\n{head}\r\n{body}").as_bytes()).await
}
