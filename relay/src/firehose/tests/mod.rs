//! The stream over real sockets, with an independent client, in front of a real log.

#![allow(clippy::unwrap_used)]

mod cursor;
mod drain;
mod heartbeat;
mod http;
mod memory;
mod slow;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use axum::Router;
use axum::serve::ListenerExt;
use futures_util::StreamExt;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error as ClientError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::log::{AccountTag, Durability, Header, Kind, Log, Options, Retention};

const PATH: &str = "/xrpc/com.atproto.sync.subscribeRepos";

/// Nothing in these tests takes so long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Client = WebSocketStream<TcpStream>;

/// A firehose behind a real server, with the log that feeds it.
struct Rig {
    firehose: Arc<Firehose>,
    log: Mutex<Log>,
    address: SocketAddr,
    dir: TempDir,
}

impl Rig {
    /// A log of small segments, holding events 1 to `events`, and a firehose that has just started on it.
    async fn new(limits: Limits, events: u64, event_bytes: usize) -> Rig {
        let dir = TempDir::new().unwrap();
        let options = Options { segment_bytes: 64 << 10, durability: Durability::Os, ..Options::new(dir.path()) };
        let (mut log, reader) = Log::open(options).unwrap();
        append_groups(&mut log, events, event_bytes, drop);
        let firehose = Firehose::new(reader, limits);

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route(PATH, firehose.route());
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener.tap_io(tune_socket), service).await });
        Rig { firehose, log: Mutex::new(log), address, dir }
    }

    /// Commits and publishes `count` events of about `bytes` bytes.
    fn publish(&self, count: u64, bytes: usize) {
        let mut log = self.log.lock().unwrap();
        append_groups(&mut log, count, bytes, |events| self.firehose.publish(events));
    }

    /// Retention removes all that it may.
    fn forget(&self) {
        let retention = Retention { oldest_ms: i64::MAX, max_bytes: 0, keep_after_seq: u64::MAX };
        self.log.lock().unwrap().retain(retention).unwrap();
    }

    async fn connect(&self, cursor: Option<u64>) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.upgrade(stream, cursor).await
    }

    /// A client whose kernel takes little ahead of its reads.
    async fn connect_narrow(&self, cursor: Option<u64>) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(128 << 10).unwrap();
        socket.connect(&self.address.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        self.upgrade(TcpStream::from_std(socket.into()).unwrap(), cursor).await
    }

    async fn upgrade(&self, stream: TcpStream, cursor: Option<u64>) -> Client {
        let query = cursor.map_or_else(String::new, |cursor| format!("?cursor={cursor}"));
        let (client, _) = client_async(format!("ws://{}{PATH}{query}", self.address), stream).await.unwrap();
        client
    }

    /// Returns when `condition` holds.
    async fn wait_until(&self, what: &str, condition: impl Fn(&Firehose) -> bool) {
        let wait = async {
            while !condition(&self.firehose) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn wait_for_disconnect(&self, reason: Disconnect) {
        self.wait_until(reason.label(), |firehose| firehose.stats().disconnects(reason) > 0).await;
    }
}

/// Commits the next `count` events in groups of up to 50, which can be in different segments.
fn append_groups(log: &mut Log, count: u64, bytes: usize, mut committed: impl FnMut(Vec<Event>)) {
    for start in (0..count).step_by(50) {
        committed(append(log, (count - start).min(50), bytes));
    }
}

/// Appends and commits the next `count` events, each with a body that [`check_body`] knows.
fn append(log: &mut Log, count: u64, bytes: usize) -> Vec<Event> {
    for seq in (log.next_seq()..).take(count as usize) {
        let header =
            Header { seq, time_ms: 0, host: 1, upstream_seq: seq, kind: Kind::Commit, account: AccountTag([0; 16]) };
        let body = body(seq, bytes);
        log.append(&header, &[&ws::frame_header(body.len()), &body[..]].concat()).unwrap();
    }
    log.commit().unwrap()
}

/// The body of event `seq`: the seq, then bytes that depend on it. Sizes vary around `bytes`.
fn body(seq: u64, bytes: usize) -> Vec<u8> {
    let len = bytes + (seq % 7) as usize;
    let mut body = seq.to_be_bytes().to_vec();
    body.extend((0..len).map(|index| (index as u64 ^ seq) as u8));
    body
}

/// What a client sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event(u64),
    /// A message without a seq; its text.
    Info(String),
    Error(String),
    /// A close frame; code and reason.
    Close(u16, String),
    /// The connection ended.
    End,
}

/// The next thing that `client` sees. Pings are answered by the client itself.
async fn see(client: &mut Client) -> Seen {
    loop {
        match timeout(PATIENCE, client.next()).await.expect("the server sends something in time") {
            Some(Ok(Message::Binary(message))) => return see_message(&message),
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.expect("a close frame of the server has a code");
                return Seen::Close(frame.code.into(), frame.reason.to_string());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => panic!("the server sent {other:?}"),
            None | Some(Err(ClientError::Io(_) | ClientError::ConnectionClosed)) => return Seen::End,
            Some(Err(ClientError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => return Seen::End,
            Some(Err(error)) => panic!("the client refuses what the server sent: {error}"),
        }
    }
}

fn see_message(message: &[u8]) -> Seen {
    let text = || String::from_utf8_lossy(message).into_owned();
    match message {
        [0, ..] => {
            let seq = u64::from_be_bytes(message[..8].try_into().unwrap());
            let bytes = message.len() - 8 - (seq % 7) as usize;
            assert!(message == body(seq, bytes), "event {seq} has other bytes than were published");
            Seen::Event(seq)
        }
        _ if text().contains("#info") => Seen::Info(text()),
        _ => Seen::Error(text()),
    }
}

/// Reads events `from..=to`: all of them, in order, once.
async fn expect_events(client: &mut Client, from: u64, to: u64) {
    for seq in from..=to {
        assert_eq!(see(client).await, Seen::Event(seq), "of {from} to {to}");
    }
}

/// Reads events that follow each other from `from` on, and gives the number of the next and what came instead of it.
async fn read_events(client: &mut Client, from: u64) -> (u64, Seen) {
    let mut next = from;
    loop {
        match see(client).await {
            Seen::Event(seq) => assert_eq!(seq, next, "events follow each other"),
            other => return (next, other),
        }
        next += 1;
    }
}

fn assert_error(seen: Seen, name: &str) {
    assert!(matches!(&seen, Seen::Error(text) if text.contains(name)), "expected {name}, saw {seen:?}");
}

/// Limits with which timeouts are not part of the test.
fn limits() -> Limits {
    Limits::default()
}
