//! Opening a host's stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::check::is_relay;
use super::socket::{BUFFER_BYTES, Socket};
use super::{Host, HostsContext};
use crate::net;

/// TCP, TLS and WebSocket handshake together.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// What the kernel may hold of a host's stream that is not read; it doubles this for its own needs. The kernel's memory
/// counts against the limit too, and by itself it would take six megabytes for each host while the relay stands still.
/// At a round trip of 150 ms this lets 850 KB pass in a second, 200 events.
const RECEIVE_BUFFER_BYTES: usize = 128 << 10;
/// Longest head of the host's answer.
const HEAD_BYTES_MAX: usize = BUFFER_BYTES;

/// Why a stream did not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot resolve or reach the host: {0}")]
    Connect(String),
    #[error("no connection within {CONNECT_TIME_MAX:?}")]
    Timeout,
    #[error("the host refused the stream: {0}")]
    Refused(String),
    #[error(
        "the host is itself a relay, as its Server header says; relays that read each other repeat events for ever"
    )]
    Relay,
}

/// What a stream runs over: TCP, or TLS on it.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Subscribes to a host's events after `cursor`; to its live ones without (protocol 10).
pub(super) async fn dial(
    host: &Host,
    cursor: Option<u64>,
    context: &HostsContext,
) -> Result<Socket<Box<dyn Transport>>, DialError> {
    timeout(CONNECT_TIME_MAX, open(host, cursor, context)).await.unwrap_or(Err(DialError::Timeout))
}

async fn open(
    host: &Host,
    cursor: Option<u64>,
    context: &HostsContext,
) -> Result<Socket<Box<dyn Transport>>, DialError> {
    let unreachable = |error: &dyn std::fmt::Display| DialError::Connect(error.to_string());
    let (name, port) = host.name.address();
    let addresses = net::resolve_public(name, port, context.allow_insecure).await;
    let addresses = addresses.map_err(|error| unreachable(&error))?;
    let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(|error| unreachable(&error))?;
    let socket = SockRef::from(&tcp);
    let tuned = socket.set_tcp_nodelay(true).and_then(|()| socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES));
    tuned.map_err(|error| unreachable(&error))?;
    let transport: Box<dyn Transport> = if host.name.is_secure() {
        Box::new(context.tls.connect(name, tcp).await.map_err(|error| unreachable(&error))?)
    } else {
        Box::new(tcp)
    };
    let (transport, early) = upgrade(host, cursor, transport).await?;
    Ok(Socket::new(transport, &early, Arc::clone(&context.rooms)))
}

/// The WebSocket handshake. Gives the connection, and what came behind the handshake already.
async fn upgrade(
    host: &Host,
    cursor: Option<u64>,
    transport: Box<dyn Transport>,
) -> Result<(Box<dyn Transport>, Bytes), DialError> {
    let refused = |error: &dyn std::fmt::Display| DialError::Refused(error.to_string());
    let path = "/xrpc/com.atproto.sync.subscribeRepos";
    let key = generate_key();
    let request = Request::get(cursor.map_or_else(|| path.to_owned(), |cursor| format!("{path}?cursor={cursor}")))
        .header(HOST, host.name.as_str())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(USER_AGENT, crate::USER_AGENT)
        .body(Empty::<Bytes>::new())
        .map_err(|error| refused(&error))?;
    let mut http = http1::Builder::new();
    let handshake = http.max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(transport)).await;
    let (mut sender, connection) = handshake.map_err(|error| refused(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| refused(&error))?;
        let headers = response.headers();
        let accepted = headers.get(SEC_WEBSOCKET_ACCEPT).map(|accept| accept.as_bytes());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(DialError::Refused(format!("it answers {}", response.status())));
        }
        if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(DialError::Refused("its answer is none to our WebSocket handshake".to_owned()));
        }
        if is_relay(headers) {
            return Err(DialError::Relay);
        }
        hyper::upgrade::on(response).await.map_err(|error| refused(&error))
    };
    // The connection works for the exchange; how it ends the exchange learns.
    let connection = async {
        drop(connection.with_upgrades().await);
        std::future::pending::<Infallible>().await
    };
    let upgraded = select! {
        upgraded = exchange => upgraded?,
        never = connection => match never {},
    };
    match upgraded.downcast::<TokioIo<Box<dyn Transport>>>() {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(_) => Err(DialError::Refused("the connection was lost at the handshake".to_owned())),
    }
}
