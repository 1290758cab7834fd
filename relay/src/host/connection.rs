//! The task of one host: connect, read messages, hand events to the shards, and try again when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::backoff::Backoff;
use super::rate::Rate;
use super::{Arrival, Host, HostsContext, Standing};
use crate::decisions::HostStatus;
use crate::net;
use crate::protocol::frame::{self, FRAME_BYTES_MAX, Frame, Peek};
use crate::verify::{Inbound, Reason};

/// TCP, TLS and WebSocket handshake together.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// A ping goes out this often.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A connection on which nothing came for this long, no pong either, is dead.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// Read buffer of a connection: at 3,000 hosts the library's default of 128 KiB would cost 400 MiB.
const READ_BUFFER_BYTES: usize = 8 << 10;
/// Bytes of one host's events that may be on their way at once: the largest message there is. A host whose identities
/// cannot be resolved, or take long, holds up itself alone; one at full speed is not held up by a group commit of some
/// milliseconds.
const IN_FLIGHT_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// What an event counts for at least, so that small ones stay within some hundreds.
const IN_FLIGHT_BYTES_MIN: usize = 8 << 10;
/// Malformed messages in a row after which the connection is given up: that is no PDS. A single one is skipped, since
/// a reconnect would only meet it again (protocol 11 allows both).
const MALFORMED_IN_A_ROW_MAX: u32 = 16;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("cannot resolve or reach the host: {0}")]
    Connect(String),
    #[error("no connection within {CONNECT_TIME_MAX:?}")]
    ConnectTimeout,
    #[error("the host refused the stream: {0}")]
    Refused(String),
    #[error("the host is itself a relay")]
    Relay,
    #[error("the host's stream starts below our cursor (FutureCursor)")]
    FutureCursor,
    #[error("the host ended the stream: {0}")]
    Upstream(String),
    #[error("a message is longer than {FRAME_BYTES_MAX} bytes")]
    Oversize,
    #[error("{MALFORMED_IN_A_ROW_MAX} malformed messages in a row")]
    Malformed,
    #[error("nothing came for {SILENCE_MAX:?}")]
    Silence,
    #[error("the connection broke: {0}")]
    Broken(String),
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Runs until the relay stops.
pub(super) async fn run(host: Arc<Host>, context: Arc<HostsContext>) {
    let mut stop = context.stop.clone();
    let mut standing = host.watch();
    let mut connection = Connection {
        host,
        context,
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX)),
        backoff: Backoff::default(),
        last_seen: 0,
        oversize: 0,
    };
    while !*stop.borrow() {
        let Standing { status, cuts, .. } = *standing.borrow_and_update();
        let wait = if status == HostStatus::Banned {
            None
        } else {
            let end = tokio::select! {
                end = connection.stream() => Some(end),
                _ = stop.changed() => return,
                // A ban ends the stream, and so does whoever asks for it; anything else leaves it alone.
                _ = standing.wait_for(|now| now.status == HostStatus::Banned || now.cuts != cuts) => None,
            };
            match end {
                Some(end) => connection.ended(end).await,
                None => continue,
            }
        };
        let seen = *standing.borrow();
        tokio::select! {
            _ = sleep_or_forever(wait) => {}
            _ = standing.wait_for(|now| *now != seen) => {}
            _ = stop.changed() => return,
        }
    }
}

async fn sleep_or_forever(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

struct Connection {
    host: Arc<Host>,
    context: Arc<HostsContext>,
    in_flight: Arc<Semaphore>,
    backoff: Backoff,
    /// The highest seq that came on any stream.
    last_seen: u64,
    /// Streams in a row that ended with an oversize message, with no event before it since the first.
    oversize: u32,
}

impl Connection {
    /// Decides, after a stream's end, how long to wait before the next; `None` waits for somebody to wake the host.
    async fn ended(&mut self, end: End) -> Option<Duration> {
        let host = &self.host;
        tracing::debug!(host = %host.name, %end, "stream ended");
        self.context.failed(host, end.to_string()).await;
        match end {
            End::Relay => {
                self.context.set_status(host, HostStatus::Banned).await;
                None
            }
            // Beyond the end of a host that skips an oversize message: go on from its live stream.
            End::FutureCursor if self.oversize > 0 => {
                self.oversize = 0;
                self.last_seen = 0;
                host.reset_progress();
                Some(Duration::ZERO)
            }
            End::FutureCursor => {
                self.context.set_status(host, HostStatus::Idle).await;
                None
            }
            End::Oversize => {
                self.context.intake.stats().dropped(Reason::Oversize);
                self.oversize += 1;
                Some(self.backoff.failed())
            }
            _ => {
                let wait = self.backoff.failed();
                if self.backoff.is_offline() && host.status() != HostStatus::Offline {
                    self.context.set_status(host, HostStatus::Offline).await;
                }
                Some(wait)
            }
        }
    }

    async fn stream(&mut self) -> End {
        let connected = {
            let _dialing = self.context.dialing.acquire().await;
            timeout(CONNECT_TIME_MAX, self.connect()).await
        };
        let mut socket = match connected {
            Ok(Ok(socket)) => socket,
            Ok(Err(end)) => return end,
            Err(_) => return End::ConnectTimeout,
        };
        self.host.counts.connects.fetch_add(1, Ordering::Relaxed);
        let _open = Open::new(&self.host);
        self.read(&mut socket).await
    }

    async fn connect(&self) -> Result<WebSocketStream<Box<dyn Transport>>, End> {
        let (name, port) = self.host.name.address();
        let addresses = net::resolve_public(name, port, self.context.allow_insecure);
        let addresses = addresses.await.map_err(|error| End::Connect(error.to_string()))?;
        let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(|error| End::Connect(error.to_string()))?;
        tcp.set_nodelay(true).map_err(|error| End::Connect(error.to_string()))?;
        let transport: Box<dyn Transport> = if self.host.name.is_secure() {
            let tls = self.context.tls.connect(name, tcp).await;
            Box::new(tls.map_err(|error| End::Connect(error.to_string()))?)
        } else {
            Box::new(tcp)
        };

        let mut request = self.subscription().into_client_request().map_err(|error| End::Connect(error.to_string()))?;
        request.headers_mut().insert("user-agent", crate::USER_AGENT);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let upgraded = tokio_tungstenite::client_async_with_config(request, transport, Some(config)).await;
        let (socket, response) = upgraded.map_err(|error| End::Refused(error.to_string()))?;
        // A relay that reads from a relay makes loops (protocol 13).
        let server = response.headers().get("server").and_then(|server| server.to_str().ok());
        if server.is_some_and(|server| server.contains("atproto-relay")) {
            return Err(End::Relay);
        }
        Ok(socket)
    }

    /// The URL to subscribe at. The seq of an oversize message is not known, only that it follows the last one seen:
    /// the cursor steps over it by one, and by more each time that was not enough.
    fn subscription(&self) -> String {
        let cursor = self.host.cursor().map(|cursor| match self.oversize {
            0 => cursor,
            times => {
                let skip = 1u64.checked_shl(times - 1).unwrap_or(u64::MAX);
                cursor.max(self.last_seen).saturating_add(skip)
            }
        });
        let path = "/xrpc/com.atproto.sync.subscribeRepos";
        match cursor {
            None => self.host.name.url("ws", path),
            Some(cursor) => self.host.name.url("ws", &format!("{path}?cursor={cursor}")),
        }
    }

    async fn read(&mut self, socket: &mut WebSocketStream<Box<dyn Transport>>) -> End {
        let mut reader = Reader { last_seq: 0, malformed: 0, rate: Rate::default() };
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return End::Silence;
                    }
                    if let Err(error) = socket.send(Message::Ping(Bytes::new())).await {
                        return End::Broken(error.to_string());
                    }
                    continue;
                }
            };
            heard = Instant::now();
            let end = match message {
                Some(Ok(Message::Binary(bytes))) => reader.receive(self, &bytes).await.err(),
                Some(Ok(Message::Close(reason))) => {
                    Some(End::Upstream(reason.map_or_else(|| "closed".to_owned(), |reason| reason.to_string())))
                }
                // Pings are answered by the library; text is no part of the stream.
                Some(Ok(_)) => None,
                Some(Err(WsError::Capacity(CapacityError::MessageTooLong { .. }))) => Some(End::Oversize),
                Some(Err(error)) => Some(End::Broken(error.to_string())),
                None => Some(End::Upstream("closed without a reason".to_owned())),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// The host delivers: it is active, and whatever went wrong before is over.
    async fn delivers(&mut self) {
        self.backoff.succeeded();
        self.oversize = 0;
        if self.host.status() != HostStatus::Active {
            self.context.set_status(&self.host, HostStatus::Active).await;
        }
        self.host.set_last_error(None);
    }
}

/// A stream that is open, until this is dropped, which a ban does in the middle of reading.
struct Open(Arc<Host>);

impl Open {
    fn new(host: &Arc<Host>) -> Open {
        host.connected.store(true, Ordering::Relaxed);
        Open(Arc::clone(host))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connected.store(false, Ordering::Relaxed);
    }
}

/// What one stream's reading remembers between messages.
struct Reader {
    last_seq: u64,
    malformed: u32,
    rate: Rate,
}

impl Reader {
    async fn receive(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<(), End> {
        let host = Arc::clone(&connection.host);
        let stats = Arc::clone(connection.context.intake.stats());
        host.counts.received.fetch_add(1, Ordering::Relaxed);
        stats.received();
        let peek = match frame::peek(bytes) {
            Ok(peek) => peek,
            Err(error) => {
                tracing::debug!(host = %host.name, %error, "malformed message");
                stats.dropped(Reason::Malformed);
                host.counts.dropped.fetch_add(1, Ordering::Relaxed);
                self.malformed += 1;
                return if self.malformed < MALFORMED_IN_A_ROW_MAX { Ok(()) } else { Err(End::Malformed) };
            }
        };
        self.malformed = 0;
        match peek {
            Peek::Event { did, seq, .. } => {
                if self.last_seq == 0 {
                    connection.delivers().await;
                }
                connection.last_seen = connection.last_seen.max(seq);
                self.event(connection, did, seq, bytes).await;
                Ok(())
            }
            Peek::Other => match frame::decode(bytes) {
                Ok(Frame::Info { name, .. }) => {
                    // The host no longer holds what we missed (protocol 12).
                    tracing::info!(host = %host.name, name, "the host reports");
                    stats.upstream_info();
                    Ok(())
                }
                Ok(Frame::Error { error: "FutureCursor", .. }) => Err(End::FutureCursor),
                Ok(Frame::Error { error, message }) => {
                    Err(End::Upstream(format!("{error} {}", message.unwrap_or_default())))
                }
                // A kind of message that this version does not know (protocol 11).
                _ => Ok(()),
            },
        }
    }

    async fn event(&mut self, connection: &Connection, did: &str, seq: u64, bytes: &[u8]) {
        let (host, intake) = (&connection.host, &connection.context.intake);
        let refuse = |reason| {
            intake.stats().dropped(reason);
            host.counts.dropped.fetch_add(1, Ordering::Relaxed);
        };
        if seq <= self.last_seq {
            return refuse(Reason::OutOfOrder);
        }
        self.last_seq = seq;
        if let Some(per_second) = host.limits().events_per_second {
            self.rate.wait(per_second).await;
        }
        let counted = bytes.len().clamp(IN_FLIGHT_BYTES_MIN, IN_FLIGHT_BYTES_MAX) as u32;
        let Ok(share) = Arc::clone(&connection.in_flight).acquire_many_owned(counted).await else { return };
        if host.cursor().is_none() {
            connection.context.start_host_at(host, seq.saturating_sub(1));
        }
        // No await after `begin`: a stream that is cut here must not leave an event begun that nobody finishes.
        let Some(place) = intake.reserve(did, bytes.len()).await else { return };
        match host.begin(seq) {
            Arrival::Repeated => refuse(Reason::Repeated),
            Arrival::New => place.put(Inbound::new(Arc::clone(host), seq, bytes.into(), share)),
        }
    }
}
