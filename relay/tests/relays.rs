//! Other relays: those whose lists name hosts, and the siblings that are told what is decided here.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use common::World;
use serde::Deserialize;
use serde_json::{Value, json};
use sim::process::ADMIN_TOKEN;
use sim::{Host, Relay};
use tokio::net::TcpListener;

/// Starts a server on a port of the loopback interface; the answer is its URL.
async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

/// A relay of which only the list of hosts is there.
#[derive(Clone, Default)]
struct Lister(Arc<Mutex<List>>);

#[derive(Default)]
struct List {
    /// Entries, one on each page.
    entries: Vec<Value>,
    /// For how many seconds it asks to be left alone, by the next request.
    busy: Option<&'static str>,
    /// The page that fails once.
    fails_at: Option<usize>,
    /// The cursor of each request so far.
    asked: Vec<Option<usize>>,
}

#[derive(Deserialize)]
struct PageQuery {
    limit: usize,
    cursor: Option<usize>,
}

impl Lister {
    async fn start(&self) -> String {
        serve(Router::new().route("/xrpc/com.atproto.sync.listHosts", get(list)).with_state(self.clone())).await
    }

    fn add(&self, host: &Host, status: &str) {
        self.0.lock().unwrap().entries.push(json!({ "hostname": host.name(), "seq": 1, "status": status }));
    }

    fn asked(&self) -> Vec<Option<usize>> {
        self.0.lock().unwrap().asked.clone()
    }
}

async fn list(State(Lister(list)): State<Lister>, Query(query): Query<PageQuery>) -> Response {
    let mut list = list.lock().unwrap();
    assert!((1..=1000).contains(&query.limit), "protocol 33");
    list.asked.push(query.cursor);
    if let Some(seconds) = list.busy.take() {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds)]).into_response();
    }
    if query.cursor.is_some() && query.cursor == list.fails_at {
        list.fails_at = None;
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let place = query.cursor.unwrap_or(0);
    let hosts: Vec<&Value> = list.entries.iter().skip(place).take(1).collect();
    let mut page = json!({ "hosts": hosts });
    if place + 1 < list.entries.len() {
        page["cursor"] = (place + 1).to_string().into();
    }
    Json(page).into_response()
}

async fn names(relay: &Relay) -> Vec<String> {
    let hosts = relay.get_admin("/admin/pds/list").await.json;
    hosts.as_array().unwrap().iter().map(|host| host["host"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_of_a_bootstrap_relay_are_found_whatever_it_answers_in_between() {
    let lister = Lister::default();
    let (active, idle, offline) = (Host::start().await, Host::start().await, Host::start().await);
    let (mut down, relay_like, last) = (Host::start().await, Host::start().await, Host::start().await);
    down.down().await;
    relay_like.set_server_header("indigo (atproto-relay)");
    lister.add(&active, "active");
    lister.add(&offline, "offline");
    lister.0.lock().unwrap().entries.push(json!({ "hostname": 7 }));
    lister.add(&down, "active");
    lister.add(&relay_like, "active");
    lister.add(&idle, "idle");
    lister.add(&last, "active");
    lister.0.lock().unwrap().busy = Some("2");
    let url = lister.start().await;
    let gone = "http://127.0.0.1:1".to_owned();
    let start = Instant::now();
    let settings = [format!("--bootstrap-relay={gone}"), format!("--bootstrap-relay={url}")];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let more = ["--discovery-interval=1s", "--new-hosts-per-day=1"];
    let mut world = World::new(100, &[&settings[..], &more[..]].concat()).await;

    last.connected().await;
    assert!(start.elapsed() >= Duration::from_secs(2), "it asked for two seconds (Retry-After)");
    active.connected().await;
    idle.connected().await;
    let mut expected = [active.name().to_owned(), idle.name().to_owned(), last.name().to_owned()];
    expected.sort();
    let mut found = names(&world.relay).await;
    found.sort();
    assert_eq!(found, expected, "those that deliver and prove it; a list does not use up the day's new hosts");
    let all: Vec<Option<usize>> = [None, None].into_iter().chain((1..=6).map(Some)).collect();
    assert_eq!(lister.asked()[..8], all, "after the pause, page by page");

    // A failure in the middle: the list is read on from there. A host that has come since is found.
    let late = Host::start().await;
    lister.add(&late, "active");
    lister.0.lock().unwrap().fails_at = Some(3);
    world.relay.until("the failure", async |_| lister.0.lock().unwrap().fails_at.is_none()).await;
    late.connected().await;
    let asked = lister.asked();
    assert!(
        asked.windows(2).any(|pair| pair == [Some(3), Some(3)]),
        "the page that failed is asked for again: {asked:?}"
    );
    assert!(world.relay.is_alive());
}

/// A sibling that writes down what it is told.
#[derive(Clone, Default)]
struct Sibling(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    requests: Vec<Request>,
    /// How it answers the next requests.
    statuses: VecDeque<u16>,
}

#[derive(Debug, Clone)]
struct Request {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Value,
}

impl Sibling {
    async fn start(&self) -> String {
        serve(Router::new().fallback(tell).with_state(self.clone())).await
    }

    /// Waits until it was told something so many times.
    async fn told(&self, count: usize) -> Vec<Request> {
        let told = async {
            loop {
                let requests = self.0.lock().unwrap().requests.clone();
                if requests.len() >= count {
                    return requests;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), told).await;
        in_time.unwrap_or_else(|_| panic!("told {count} times, but: {:?}", self.0.lock().unwrap().requests))
    }
}

async fn tell(
    State(Sibling(told)): State<Sibling>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut told = told.lock().unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    told.requests.push(Request { method, uri: uri.to_string(), headers, body });
    StatusCode::from_u16(told.statuses.pop_front().unwrap_or(200)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_sent_on_to_the_siblings_once() {
    let sibling = Sibling::default();
    let setting = format!("--sibling-relay={}", sibling.start().await);
    let mut world = World::new(101, &[&setting]).await;
    let relay = &world.relay;
    let host = Host::start().await;
    let crawl = "/xrpc/com.atproto.sync.requestCrawl";
    let named = json!({ "hostname": host.name() });
    for _ in 0..3 {
        let request = relay.request(Method::POST, relay.public, crawl).json(&named);
        assert_eq!(relay.answer(request.bearer_auth("somebody's")).await.status, 200);
    }
    let refused = relay.request(Method::POST, relay.public, crawl).json(&json!({ "hostname": "no-name" }));
    assert_eq!(relay.answer(refused).await.status, 400);
    let told = sibling.told(1).await;
    assert_eq!((&told[0].method, told[0].uri.as_str(), &told[0].body), (&Method::POST, crawl, &named));
    assert!(told[0].headers["via"].to_str().unwrap().contains("atproto-relay"), "{told:?}");
    assert_eq!(told[0].headers.get("authorization"), None, "anyone's credentials are none of the sibling's business");

    // Decisions, in their order, with the caller's token in the form that every relay takes.
    let by_host = |verb: &str| format!("/admin/pds/{verb}?host={}", host.name());
    let of_account = json!({ "did": world.account(&host).did });
    let decisions = [
        (by_host("block"), Value::Null, Value::Null),
        (by_host("unblock"), Value::Null, Value::Null),
        ("/admin/subs/banDomain".to_owned(), json!({ "Domain": "spam.example" }), json!({ "Domain": "spam.example" })),
        (
            "/admin/subs/unbanDomain".to_owned(),
            json!({ "domain": "spam.example" }),
            json!({ "domain": "spam.example" }),
        ),
        (
            "/admin/pds/changeLimits".to_owned(),
            json!({ "host": host.name(), "account_limit": 0, "events_per_second": 7 }),
            json!({ "host": host.name(), "repo_limit": 10_000_000, "events_per_second": 7 }),
        ),
        ("/admin/pds/requestCrawl".to_owned(), named.clone(), named.clone()),
        ("/admin/repo/takeDown".to_owned(), of_account.clone(), of_account.clone()),
        ("/admin/repo/reverseTakedown".to_owned(), of_account.clone(), of_account.clone()),
    ];
    for (path, body, _) in &decisions {
        let answer = relay.post_admin(path, body.clone()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let told = sibling.told(1 + decisions.len()).await;
    for ((path, _, body), told) in decisions.iter().zip(&told[1..]) {
        assert_eq!((&told.uri, &told.body), (path, body));
        let authorization = told.headers["authorization"].to_str().unwrap();
        let basic = data_encoding::BASE64.encode(format!("admin:{ADMIN_TOKEN}").as_bytes());
        assert_eq!(authorization, format!("Basic {basic}"));
    }

    // What is refused, read, this relay's own, or came from a relay, is not sent on.
    let post = |path: &str| relay.request(Method::POST, relay.admin, path);
    let block = || post(&by_host("block")).bearer_auth(ADMIN_TOKEN);
    let silent = [
        (post(&by_host("block")).bearer_auth("guess"), 401),
        (post("/admin/pds/block?host=nobody.example.com").bearer_auth(ADMIN_TOKEN), 404),
        (block().header("via", "HTTP/1.1 atproto-relay"), 200),
        (block().header("via", "1.1 proxy").header("via", "HTTP/1.1 atproto-relay"), 200),
        (block().header("user-agent", "indigo-relay/v0 (atproto-relay)"), 200),
        (post(&by_host("resetCursor")).bearer_auth(ADMIN_TOKEN), 200),
        (post("/admin/subs/setPerDayLimit?limit=7").bearer_auth(ADMIN_TOKEN), 200),
    ];
    for (request, status) in silent {
        assert_eq!(relay.answer(request).await.status, status);
    }
    assert_eq!(relay.answer(block().header("via", "1.1 proxy")).await.status, 200);
    let told = sibling.told(2 + decisions.len()).await;
    assert_eq!(told.len(), 2 + decisions.len(), "{told:?}");
    assert_eq!(told.last().unwrap().uri, by_host("block"), "through a proxy that is no relay");
    let sent = format!("relay_sibling_requests_total{{outcome=\"sent\"}} {}\n", told.len());
    world.relay.until("all is counted", async |relay| relay.get_admin("/metrics").await.text.contains(&sent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_that_is_away_is_told_later_and_nobody_waits_for_it() {
    let sibling = Sibling::default();
    sibling.0.lock().unwrap().statuses = VecDeque::from([503, 429, 200, 400]);
    let url = sibling.start().await;
    let settings = [format!("--sibling-relay={url}"), "--sibling-relay=http://127.0.0.1:1".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let world = World::new(102, &[&settings[..], &["--sibling-token=theirs"]].concat()).await;
    let start = Instant::now();
    for domain in ["a.example", "b.example", "c.example"] {
        assert_eq!(world.relay.post_admin("/admin/subs/banDomain", json!({ "domain": domain })).await.status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "the answers did not wait for the siblings");
    let told = sibling.told(5).await;
    let domains: Vec<_> = told.iter().map(|request| request.body["domain"].as_str().unwrap()).collect();
    assert_eq!(
        domains,
        ["a.example", "a.example", "a.example", "b.example", "c.example"],
        "in order, until it takes them"
    );
    let basic = data_encoding::BASE64.encode(b"admin:theirs");
    assert_eq!(told[0].headers["authorization"], format!("Basic {basic}"), "its own token");
    let metrics = world.relay.get_admin("/metrics").await.text;
    assert!(metrics.contains("relay_sibling_requests_total{outcome=\"refused\"} 1\n"), "{metrics}");
    assert!(metrics.contains("relay_sibling_requests_waiting 2\n"), "the other sibling is still away: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_here_is_a_ban_at_our_own_kind() {
    let mut second = World::new(103, &[]).await;
    let setting = format!("--sibling-relay=http://{}", second.relay.admin);
    let first = World::new(103, &[&setting]).await;
    let host = Host::start().await;
    assert_eq!(first.relay.request_crawl(host.name()).await.status, 200);
    second.relay.until("the host is known there too", async |relay| names(relay).await == [host.name()]).await;
    assert_eq!(
        first.relay.post_admin(&format!("/admin/pds/block?host={}", host.name()), Value::Null).await.status,
        200
    );
    let is_banned = async |relay: &Relay| relay.get_admin("/admin/pds/list").await.json[0]["status"] == "banned";
    second.relay.until("the host is banned there too", is_banned).await;
    let audit = second.relay.get_admin("/admin/audit").await.json;
    assert_eq!(audit[0]["subject"], host.name(), "and the audit there tells of it");
}
