//! Opening a host's stream.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::check::is_relay;
use super::{Host, HostsContext};
use crate::net;
use crate::protocol::frame::FRAME_BYTES_MAX;

/// TCP, TLS and WebSocket handshake together.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// Read buffer of a connection: at 3,000 hosts the library's default of 128 KiB would cost 400 MiB.
const READ_BUFFER_BYTES: usize = 8 << 10;

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

/// An open stream.
pub(super) type Socket = WebSocketStream<Box<dyn Transport>>;

/// Subscribes to a host's events after `cursor`; to its live ones without (protocol 10).
pub(super) async fn dial(host: &Host, cursor: Option<u64>, context: &HostsContext) -> Result<Socket, DialError> {
    let _dialing = context.dialing.acquire().await;
    timeout(CONNECT_TIME_MAX, open(host, cursor, context)).await.unwrap_or(Err(DialError::Timeout))
}

async fn open(host: &Host, cursor: Option<u64>, context: &HostsContext) -> Result<Socket, DialError> {
    let unreachable = |error: &dyn std::fmt::Display| DialError::Connect(error.to_string());
    let (name, port) = host.name.address();
    let addresses = net::resolve_public(name, port, context.allow_insecure).await;
    let addresses = addresses.map_err(|error| unreachable(&error))?;
    let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(|error| unreachable(&error))?;
    tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
    let transport: Box<dyn Transport> = if host.name.is_secure() {
        Box::new(context.tls.connect(name, tcp).await.map_err(|error| unreachable(&error))?)
    } else {
        Box::new(tcp)
    };

    let path = "/xrpc/com.atproto.sync.subscribeRepos";
    let url = match cursor {
        None => host.name.url("ws", path),
        Some(cursor) => host.name.url("ws", &format!("{path}?cursor={cursor}")),
    };
    let mut request = url.into_client_request().map_err(|error| unreachable(&error))?;
    request.headers_mut().insert("user-agent", crate::USER_AGENT);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let upgraded = tokio_tungstenite::client_async_with_config(request, transport, Some(config)).await;
    let (socket, response) = upgraded.map_err(|error| DialError::Refused(error.to_string()))?;
    if is_relay(response.headers()) { Err(DialError::Relay) } else { Ok(socket) }
}
