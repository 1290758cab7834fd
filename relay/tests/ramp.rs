//! How hosts are reached when there are many, and how many streams may be open.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use common::World;
use relay::host::{ASKED_DIALS_MAX, DIALS_MAX};
use serde_json::{Value, json};
use sim::{Host, Relay};
use tokio::sync::watch;

/// Hosts of which each has an address of its own, and that answer no handshake before they are told to: then with an
/// error.
struct Crowd {
    names: Vec<String>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    counts: Mutex<Counts>,
    answers: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Counts {
    now: usize,
    most: usize,
    asked: HashSet<String>,
}

impl Crowd {
    async fn start(count: u8) -> Crowd {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = (1..=count).map(|index| SocketAddr::from(([127, 1, 1, index], port)).to_string()).collect();
        let shared = Arc::<Shared>::default();
        let describe = get(|| async { Json(json!({ "did": "did:web:crowd.example" })) });
        let routes = Router::new()
            .route("/xrpc/com.atproto.server.describeServer", describe)
            .route("/xrpc/com.atproto.sync.subscribeRepos", get(handshake))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Crowd { names, shared }
    }

    fn counts(&self) -> (usize, usize, usize) {
        let counts = self.shared.counts.lock().unwrap();
        (counts.now, counts.most, counts.asked.len())
    }
}

async fn handshake(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    /// The handshake may also end because the relay has lost patience.
    struct Under(Arc<Shared>);
    impl Drop for Under {
        fn drop(&mut self) {
            self.0.counts.lock().unwrap().now -= 1;
        }
    }
    let mut answers = shared.answers.subscribe();
    let _under = {
        let mut counts = shared.counts.lock().unwrap();
        counts.now += 1;
        counts.most = counts.most.max(counts.now);
        counts.asked.insert(request.headers()[HOST].to_str().unwrap().to_owned());
        Under(Arc::clone(&shared))
    };
    answers.wait_for(|answers| *answers).await.unwrap();
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

async fn report(relay: &Relay, name: &str) -> Value {
    let hosts = relay.get_admin("/admin/pds/list").await.json;
    hosts.as_array().unwrap().iter().find(|report| report["host"] == name).cloned().unwrap_or_default()
}

async fn waiting(relay: &Relay, what: &str) -> usize {
    let metrics = relay.get_admin("/metrics").await.text;
    let prefix = format!("relay_hosts_waiting{{for=\"{what}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().parse().unwrap()
}

/// Point by point: never more handshakes than may be, the others wait and say so, and who is asked for does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_reaches_many_hosts_few_at_a_time() {
    const HOSTS: u8 = 250;
    let dials_max = DIALS_MAX as usize;
    let crowd = Crowd::start(HOSTS).await;
    crowd.shared.answers.send_replace(true);
    let mut world = World::new(270, &[]).await;
    for name in &crowd.names {
        let answer = world.relay.request_crawl(name).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let (_, most, _) = crowd.counts();
    assert!(most <= ASKED_DIALS_MAX as usize, "asked for one by one: {most} at once");
    world.relay.kill();
    crowd.shared.answers.send_replace(false);
    *crowd.shared.counts.lock().unwrap() = Counts::default();

    world.relay.start_again().await;
    world.relay.until("as many handshakes as may be", async |_| crowd.counts().0 == dials_max).await;
    world.relay.until("the others wait", async |relay| waiting(relay, "dial").await == 250 - dials_max).await;
    let asked = crowd.shared.counts.lock().unwrap().asked.clone();
    let (waits, is_dialled) = (crowd.names.iter().find(|name| !asked.contains(*name)).unwrap(), &asked);
    let shown = report(&world.relay, waits).await;
    assert_eq!((&shown["waitsFor"], &shown["connected"]), (&json!("dial"), &json!(false)), "{shown}");
    let shown = report(&world.relay, is_dialled.iter().next().unwrap()).await;
    assert_eq!(shown["waitsFor"], Value::Null, "{shown}");

    // Who is asked for does not wait behind them, be it new or among those that wait.
    let host = world.host().await;
    host.connected().await;
    assert_eq!(world.relay.request_crawl(waits).await.status, 200);
    let is_dialled = async |_: &Relay| crowd.shared.counts.lock().unwrap().asked.contains(waits);
    world.relay.until("the one that was asked for", is_dialled).await;

    crowd.shared.answers.send_replace(true);
    world.relay.until("all had their turn", async |_| crowd.counts().2 == HOSTS as usize).await;
    let (_, most, _) = crowd.counts();
    assert!(most <= dials_max + ASKED_DIALS_MAX as usize, "{most} at once");
    assert!(host.cursors().len() == 1, "and the one that has a stream kept it");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_streams_are_open_than_may_be_and_the_others_say_so() {
    let world = World::new(271, &["--max-hosts=2"]).await;
    let open = [world.host().await, world.host().await];
    for host in &open {
        host.connected().await;
    }
    let mut beyond = Vec::new();
    for _ in 0..3 {
        let host = Host::start().await;
        assert_eq!(world.relay.request_crawl(host.name()).await.status, 200);
        beyond.push(host);
    }
    let relay = &world.relay;
    until(async || waiting(relay, "stream").await == 3).await;
    let shown = report(relay, beyond[0].name()).await;
    assert_eq!((&shown["waitsFor"], &shown["nextTryAt"]), (&json!("stream"), &Value::Null), "{shown}");
    assert!(beyond.iter().all(|host| host.cursors().is_empty()), "none of them was dialled");
    assert_eq!(relay.count("/hosts/connected").await, 2);

    // A stream that ends makes room for who waits longest.
    let path = format!("/admin/pds/block?host={}", open[0].name());
    assert_eq!(relay.post_admin(&path, Value::Null).await.status, 200);
    beyond[0].connected().await;
    until(async || waiting(relay, "stream").await == 2).await;
    assert_eq!(report(relay, beyond[0].name()).await["waitsFor"], Value::Null);
    assert!(beyond[1..].iter().all(|host| host.cursors().is_empty()));
    assert_eq!(open[1].cursors().len(), 1, "the other stream is the same");
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("in time");
}
