//! What connections hold, by the allocator's account and by ours.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use common::World;
use hyper_util::rt::TokioIo;
use relay::firehose::CONSUMER_BYTES;
use relay::firehose::ws::frame_header;
use relay::host::STREAM_BYTES;
use relay::protocol::frame::FRAME_BYTES_MAX;
use serde_json::{Value, json};
use sim::{Consumer, Relay};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The watch looks once a second.
const LOOKS: Duration = Duration::from_millis(2500);

/// The part of an owner, and all that the allocator has given out.
async fn held(relay: &Relay, owner: &str) -> (u64, u64) {
    tokio::time::sleep(LOOKS).await;
    let metrics = relay.get_admin("/metrics").await.text;
    let value = |name: String| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).trim().parse::<f64>().unwrap() as u64
    };
    let counted = value(format!("relay_memory_owner_bytes{{owner=\"{owner}\"}} "));
    (counted, value("relay_allocator_bytes{kind=\"allocated\"} ".to_owned()))
}

/// Checks that so many connections hold what is counted for them: no more, and not much less.
fn assert_cost(what: &str, count: u64, each: u64, before: (u64, u64), after: (u64, u64)) {
    let (counted, allocated) = (after.0 - before.0, after.1.saturating_sub(before.1));
    println!("{what}: {} bytes each, {each} counted", allocated / count);
    assert_eq!(counted, count * each, "{what}");
    assert!(allocated <= counted, "{what}: {} bytes each, of which {each} are counted", allocated / count);
    assert!(allocated >= counted / 4, "{what}: {} bytes each, but {each} are counted", allocated / count);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_hold_what_is_counted_for_them() {
    const CONSUMERS: u64 = 300;
    let world = World::new(280, &["--max-consumers-per-address=1000", "--max-consumers=1000"]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut first = world.relay.consumer(None).await;
    for _ in 0..100 {
        host.emit(account.post());
    }
    first.events(100).await;
    let before = held(&world.relay, "consumers").await;
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        consumers.push(Consumer::connect(world.relay.public, None).await.unwrap());
    }
    for _ in 0..50 {
        host.emit(account.post());
    }
    for consumer in &mut consumers {
        consumer.events(50).await;
    }
    let after = held(&world.relay, "consumers").await;
    assert_cost("a consumer", CONSUMERS, CONSUMER_BYTES, before, after);
}

/// Many hosts, each with an address of its own, that all send the same.
struct Crowd {
    names: Vec<String>,
    shared: Arc<Shared>,
}

struct Shared {
    /// What each sends behind the handshake.
    sends: Vec<u8>,
    connected: AtomicUsize,
}

impl Crowd {
    async fn start(count: u8, sends: Vec<u8>) -> Crowd {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = (1..=count).map(|index| SocketAddr::from(([127, 1, 2, index], port)).to_string()).collect();
        let shared = Arc::new(Shared { sends, connected: AtomicUsize::new(0) });
        let describe = get(|| async { Json(json!({ "did": "did:web:crowd.example" })) });
        let routes = Router::new()
            .route("/xrpc/com.atproto.server.describeServer", describe)
            .route("/xrpc/com.atproto.sync.subscribeRepos", get(subscribe))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Crowd { names, shared }
    }

    async fn join(&self, relay: &mut Relay) {
        for name in &self.names {
            assert_eq!(relay.request_crawl(name).await.status, 200);
        }
        let all = async |_: &Relay| self.shared.connected.load(Ordering::Relaxed) >= self.names.len();
        relay.until("all are connected", all).await;
    }
}

async fn subscribe(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let accept = derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        shared.connected.fetch_add(1, Ordering::Relaxed);
        if io.write_all(&shared.sends).await.is_ok() {
            // Neither says anything more nor ends.
            std::future::pending::<()>().await;
        }
    });
    let headers = [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, &accept)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_hosts_hold_what_is_counted_for_them() {
    const HOSTS: u8 = 250;
    let mut world = World::new(281, &[]).await;
    // A message of a kind that nobody knows is read, and ignored.
    let message = b"\xa2\x61t\x67#labels\x62op\x01\xa1\x63seq\x01".to_vec();
    let messages = [&*frame_header(message.len()), &message].concat().repeat(20);
    let crowd = Crowd::start(HOSTS, messages).await;
    let before = held(&world.relay, "hosts").await;
    crowd.join(&mut world.relay).await;
    let after = held(&world.relay, "hosts").await;
    assert_cost("a stream", u64::from(HOSTS), STREAM_BYTES, before, after);
}

/// Hosts that send all but the end of the longest message there is, and stall.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_hosts_that_stall_within_long_messages_stay_within_their_share() {
    const HOSTS: u8 = 100;
    let mut world = World::new(282, &["--memory-limit=256Mi"]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let sends = [&*frame_header(FRAME_BYTES_MAX), &vec![0; FRAME_BYTES_MAX - 1]].concat();
    let crowd = Crowd::start(HOSTS, sends).await;
    let before = held(&world.relay, "hosts").await;
    crowd.join(&mut world.relay).await;
    let after = held(&world.relay, "hosts").await;
    let memory = world.relay.get_admin("/admin/status").await.json["memory"].clone();
    let is_hosts = |owner: &&Value| owner["owner"] == "hosts";
    let share = memory["owners"].as_array().unwrap().iter().find(is_hosts).unwrap()["shareBytes"].as_u64().unwrap();
    assert!(after.0 <= share, "{} counted of {share}", after.0);
    let allocated = after.1.saturating_sub(before.1);
    assert!(allocated <= share, "{allocated} allocated for a share of {share}");
    assert!(u64::from(HOSTS) * (FRAME_BYTES_MAX as u64) > 2 * share, "and they would have liked more");

    // Those that keep others waiting are left; everybody else goes on.
    let sent = host.emit(account.post());
    common::assert_delivered(&consumer.events(1).await, [&sent], "meanwhile");
    let cut = async |relay: &Relay| {
        let metrics = relay.get_admin("/metrics").await.text;
        !metrics.contains("\nrelay_host_messages_cut_total 0\n")
    };
    world.relay.until("the first are cut", cut).await;
    assert_eq!(host.cursors(), [None], "on the same connection");
}
