//! A simulated PDS: it keeps a backlog of frames, serves it as `subscribeRepos`, and misbehaves on demand.

mod accounts;
mod stream;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use self::accounts::Accounts;
pub use self::accounts::Question;
use crate::event::{Event, content};
use crate::server::{Server, free_address};

/// A host. While it is down, what it emits waits in its backlog.
pub struct Host {
    address: SocketAddr,
    server: Option<Server>,
    shared: Arc<Shared>,
}

/// A frame that a host has emitted.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its seq at the host.
    pub seq: u64,
    /// All of it.
    pub frame: Bytes,
}

impl Sent {
    /// All of it but the seq.
    ///
    /// # Panics
    ///
    /// When it is no event.
    pub fn content(&self) -> Vec<u8> {
        content(&self.frame).expect("an event")
    }
}

/// What the routes of a host work with.
struct Shared {
    name: String,
    state: Mutex<HostState>,
    /// Moves whenever the backlog or the streams do.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct HostState {
    backlog: VecDeque<Sent>,
    /// Frames that the backlog no longer has, since it keeps so many at most.
    gone: usize,
    kept_max: Option<usize>,
    last_seq: u64,
    /// Frames up to this seq are no longer served.
    forgotten: u64,
    accounts: Accounts,
    server_header: Option<HeaderValue>,
    /// The next frame is sent by half, and then the connection ends.
    cut_next: bool,
    streams: u64,
    /// The cursor of each subscription so far.
    cursors: Vec<Option<u64>>,
}

impl Host {
    /// Starts a host on a free port.
    pub async fn start() -> Host {
        let address = free_address();
        let (changes, _) = watch::channel(0);
        let shared = Arc::new(Shared { name: address.to_string(), state: Mutex::default(), changes });
        let mut host = Host { address, server: None, shared };
        host.up().await;
        host
    }

    /// Its name, as requestCrawl takes it.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Emits an event with the next seq.
    pub fn emit(&self, event: impl Into<Event>) -> Sent {
        let event = event.into();
        self.push(|state| {
            if let Event::Commit(commit) = &event {
                state.accounts.note(commit);
            }
            let seq = state.last_seq + 1;
            Sent { seq, frame: event.encode(seq).into() }
        })
    }

    /// Emits any bytes, made for the next seq.
    pub fn emit_frame(&self, frame: impl FnOnce(u64) -> Vec<u8>) -> Sent {
        self.push(|state| {
            let seq = state.last_seq + 1;
            Sent { seq, frame: frame(seq).into() }
        })
    }

    /// Emits any bytes in the place of a seq, which may lie far ahead. Seqs that are not ahead are for bytes that
    /// repeat one.
    pub fn emit_frame_as(&self, seq: u64, frame: Vec<u8>) -> Sent {
        self.push(|_| Sent { seq, frame: frame.into() })
    }

    fn push(&self, make: impl FnOnce(&mut HostState) -> Sent) -> Sent {
        let sent = {
            let mut state = self.shared.lock();
            let sent = make(&mut state);
            state.last_seq = state.last_seq.max(sent.seq);
            state.backlog.push_back(sent.clone());
            state.trim();
            sent
        };
        self.shared.changed();
        sent
    }

    /// Forgets its backlog, up to a seq: who asks for it is told `OutdatedCursor`.
    pub fn forget(&self, up_to: u64) {
        self.shared.lock().forgotten = up_to;
    }

    /// Keeps the newest frames alone from now on, and forgets those before them: for hosts that run for hours.
    pub fn keep(&self, frames: usize) {
        let mut state = self.shared.lock();
        state.kept_max = Some(frames);
        state.trim();
    }

    /// Forgets everything and counts from 1 again, as a host does that was set up anew.
    pub fn reset(&self) {
        let mut state = self.shared.lock();
        state.backlog.clear();
        (state.last_seq, state.forgotten, state.gone) = (0, 0, 0);
    }

    /// Calls itself something in the header `Server`.
    pub fn set_server_header(&self, value: &'static str) {
        self.shared.lock().server_header = Some(HeaderValue::from_static(value));
    }

    /// Breaks the connection within the next frame that it sends.
    pub fn cut_next_frame(&self) {
        self.shared.lock().cut_next = true;
    }

    /// Goes down: all connections end, and nobody listens any more.
    pub async fn down(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
            self.disconnected().await;
        }
    }

    /// Comes back.
    pub async fn up(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.server = Some(Server::start(self.address, |stop| routes(shared, stop)).await);
    }

    /// The seq of its last event; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.shared.lock().last_seq
    }

    /// The cursor of each subscription so far.
    pub fn cursors(&self) -> Vec<Option<u64>> {
        self.shared.lock().cursors.clone()
    }

    /// Waits until somebody is subscribed.
    pub async fn connected(&self) {
        self.subscribers(|streams| streams > 0).await;
    }

    /// Waits until nobody is subscribed.
    pub async fn disconnected(&self) {
        self.subscribers(|streams| streams == 0).await;
    }

    async fn subscribers(&self, wanted: impl Fn(u64) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        // The sender lives as long as the host.
        let _ = changes.wait_for(|_| wanted(self.shared.lock().streams)).await;
    }
}

impl HostState {
    fn trim(&mut self) {
        let surplus = self.kept_max.map_or(0, |max| self.backlog.len().saturating_sub(max));
        if let Some(last) = self.backlog.drain(..surplus).next_back() {
            self.forgotten = self.forgotten.max(last.seq);
            self.gone += surplus;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

fn routes(shared: Arc<Shared>, stop: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/xrpc/com.atproto.server.describeServer", get(describe_server))
        .route("/xrpc/com.atproto.sync.subscribeRepos", get(stream::subscribe_repos))
        .merge(accounts::routes())
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), server_header))
        .layer(axum::Extension(stop))
        .with_state(shared)
}

async fn server_header(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(value) = shared.lock().server_header.clone() {
        response.headers_mut().insert(header::SERVER, value);
    }
    response
}

async fn describe_server(State(shared): State<Arc<Shared>>) -> Response {
    let did = format!("did:web:{}", shared.name.replace(':', "%3A"));
    Json(json!({ "did": did, "availableUserDomains": [".example.com"] })).into_response()
}
