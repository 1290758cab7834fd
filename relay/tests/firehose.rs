//! The relay as its users see it: what goes in at the hosts comes out at the firehose, and the APIs tell of it.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::{World, assert_delivered};
use reqwest::Method;
use reqwest::header::{HeaderMap, LOCATION};
use serde_json::{Value, json};
use sim::mutation::with_unknown_field;
use sim::process::ADMIN_TOKEN;
use sim::{Delivered, Host, Received, Sent};

/// Protocol 5, 8, 15.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_two_hosts_pass_verbatim_and_in_the_order_of_each_account() {
    let world = World::new(10, &[]).await;
    let hosts = [world.host().await, world.host().await];
    let mut accounts: Vec<_> = (0..8).map(|number| (number % 2, world.account(&hosts[number % 2]))).collect();
    let mut consumer = world.relay.consumer(None).await;

    let mut sent: HashMap<String, Vec<Sent>> = HashMap::new();
    for round in 0..25 {
        for (host, account) in &mut accounts {
            let host = &hosts[*host];
            let event = match round {
                5 => host.emit(account.identity()),
                10 => host.emit(account.status(None)),
                15 => {
                    // A state that no commit has led to: only a #sync can tell of it.
                    account.post();
                    host.emit(account.sync())
                }
                20 => {
                    let frame = account.act();
                    host.emit_frame(|seq| with_unknown_field(frame.encode(seq)))
                }
                _ => host.emit(account.act()),
            };
            sent.entry(account.did.clone()).or_default().push(event);
        }
    }
    let delivered = consumer.events(8 * 25).await;

    assert!(delivered.is_sorted_by(|a, b| a.seq < b.seq), "seqs only grow (protocol 5)");
    for (did, sent) in &sent {
        let delivered: Vec<Delivered> = delivered.iter().filter(|event| event.did == *did).cloned().collect();
        assert_delivered(&delivered, sent, did);
    }
    assert_eq!(world.dropped().await, Default::default());
}

/// Protocol 4.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_goes_on_from_its_cursor() {
    let world = World::new(11, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut sent: Vec<Sent> = (0..10).map(|_| host.emit(account.act())).collect();
    let first = consumer.events(10).await;
    assert_delivered(&first, &sent, "live");

    sent.extend((0..10).map(|_| host.emit(account.act())));
    let mut again = world.relay.consumer(Some(first[4].seq)).await;
    assert_delivered(&again.events(15).await, &sent[5..], "from the cursor, then live");
    let mut whole = world.relay.consumer(Some(0)).await;
    assert_delivered(&whole.events(20).await, &sent, "the whole window");

    let mut future = world.relay.consumer(Some(1_000_000)).await;
    assert_eq!(future.next().await, Received::Error("FutureCursor".to_owned()));
    assert!(matches!(future.next().await, Received::Closed(Some(_))), "an error ends the stream");
}

/// Protocol 13, 14.
#[tokio::test(flavor = "multi_thread")]
async fn request_crawl_takes_hosts_that_prove_themselves() {
    let mut world = World::new(12, &[]).await;
    let relay = &world.relay;
    let crawl = async |hostname: &str| {
        let path = "/xrpc/com.atproto.sync.requestCrawl";
        let request = relay.request(Method::POST, relay.public, path).json(&json!({ "hostname": hostname }));
        let answer = relay.answer(request).await;
        (answer.status, answer.json["error"].as_str().unwrap_or_default().to_owned())
    };
    let named = |status, error: &str| (status, error.to_owned());

    let host = Host::start().await;
    assert_eq!(crawl(host.name()).await, named(200, ""));
    host.connected().await;
    assert_eq!(crawl(&format!("http://{}/", host.name())).await, named(200, ""), "known already");

    let mut down = Host::start().await;
    down.down().await;
    let relay_like = Host::start().await;
    relay_like.set_server_header("indigo (atproto-relay)");
    let cases = [
        ("", "BadRequest"),
        ("no-name", "BadRequest"),
        ("pds.example.com/path", "BadRequest"),
        ("http://pds.example.com", "BadRequest"),
        (down.name(), "HostNotFound"),
        (relay_like.name(), "HostNotFound"),
    ];
    for (name, error) in cases {
        assert_eq!(crawl(name).await, named(400, error), "{name:?}");
    }
    let hosts = world.relay.get_admin("/admin/pds/list").await.json;
    assert_eq!(hosts.as_array().unwrap().len(), 1, "no row before the checks pass (protocol 14)");

    // Whoever holds the token needs no proof: the host may be down at the moment.
    assert_eq!(world.relay.request_crawl(down.name()).await.status, 200);
    down.up().await;
    down.connected().await;
    assert!(world.relay.is_alive());
}

/// Protocol 33.
#[tokio::test(flavor = "multi_thread")]
async fn the_apis_tell_of_hosts_and_accounts() {
    let mut world = World::new(13, &[]).await;
    let host = world.host().await;
    let mut accounts = [world.account(&host), world.account(&host), world.account(&host)];
    let mut consumer = world.relay.consumer(None).await;
    let commits: Vec<_> = accounts.iter_mut().map(|account| account.post()).collect();
    commits.iter().for_each(|commit| drop(host.emit(commit.clone())));
    host.emit(accounts[2].status(Some("takendown")));
    consumer.events(4).await;
    let seq = host.last_seq();
    world
        .relay
        .until("the host's cursor is at its end", async |relay| {
            relay.get("/xrpc/com.atproto.sync.listHosts").await.json["hosts"][0]["seq"] == seq
        })
        .await;

    let relay = &world.relay;
    // The account that is taken down does not count.
    let of_host = json!({ "hostname": host.name(), "seq": seq, "accountCount": 2, "status": "active" });
    let answer = relay.get("/xrpc/com.atproto.sync.listHosts").await.json;
    assert_eq!(answer, json!({ "hosts": [of_host] }), "no cursor on the last page (protocol 33)");
    let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name());
    assert_eq!(relay.get(&path).await.json, of_host);

    let mut repos: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = relay.get(&format!("/xrpc/com.atproto.sync.listRepos?limit=2{cursor}")).await.json;
        repos.extend(page["repos"].as_array().unwrap().iter().cloned());
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    repos.sort_by_key(|repo| repo["rev"].to_string() + repo["did"].as_str().unwrap());
    let mut expected: Vec<Value> = commits
        .iter()
        .enumerate()
        .map(|(number, commit)| {
            let mut repo =
                json!({ "did": commit.did, "head": commit.root.to_string(), "rev": commit.rev, "active": number < 2 });
            if number == 2 {
                repo["status"] = "takendown".into();
            }
            repo
        })
        .collect();
    expected.sort_by_key(|repo| repo["rev"].to_string() + repo["did"].as_str().unwrap());
    assert_eq!(repos, expected);

    let of = |method: &str, did: &str| format!("/xrpc/com.atproto.sync.{method}?did={did}");
    let [active, _, inactive] = &commits[..] else { panic!("three commits") };
    let answer = relay.get(&of("getRepoStatus", &active.did)).await.json;
    assert_eq!(answer, json!({ "did": active.did, "active": true, "rev": active.rev }));
    let answer = relay.get(&of("getRepoStatus", &inactive.did)).await.json;
    assert_eq!(answer, json!({ "did": inactive.did, "active": false, "status": "takendown", "rev": inactive.rev }));
    let answer = relay.get(&of("getLatestCommit", &active.did)).await.json;
    assert_eq!(answer, json!({ "cid": active.root.to_string(), "rev": active.rev }));
    let answer = relay.get(&of("getRepo", &active.did)).await;
    assert_eq!(answer.status, 302);
    let location = format!("http://{}{}", host.name(), of("getRepo", &active.did));
    assert_eq!(answer.headers[LOCATION], location, "the account's PDS has the repository");

    let unknown = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let errors = [
        (of("getRepoStatus", unknown), 404, "RepoNotFound"),
        (of("getLatestCommit", unknown), 404, "RepoNotFound"),
        (of("getLatestCommit", &inactive.did), 403, "RepoTakendown"),
        (of("getRepo", unknown), 404, "RepoNotFound"),
        (of("getRepoStatus", "alice"), 400, "InvalidRequest"),
        ("/xrpc/com.atproto.sync.getRepoStatus".to_owned(), 400, "InvalidRequest"),
        ("/xrpc/com.atproto.sync.getHostStatus?hostname=pds.example.com".to_owned(), 404, "HostNotFound"),
        ("/xrpc/com.atproto.sync.listHosts?limit=0".to_owned(), 400, "InvalidRequest"),
        ("/xrpc/com.atproto.sync.listRepos?limit=1001".to_owned(), 400, "InvalidRequest"),
        ("/xrpc/com.atproto.sync.getRecord".to_owned(), 501, "MethodNotImplemented"),
    ];
    for (path, status, error) in errors {
        let answer = relay.get(&path).await;
        assert_eq!((answer.status, answer.json["error"].as_str()), (status, Some(error)), "{path}");
    }
}

/// Protocol 9, 35.
#[tokio::test(flavor = "multi_thread")]
async fn health_and_names_on_both_ports_and_admin_on_one() {
    let world = World::new(14, &[]).await;
    let relay = &world.relay;
    for address in [relay.public, relay.admin] {
        for path in ["/_health", "/xrpc/_health"] {
            let answer = relay.answer(relay.request(Method::GET, address, path)).await;
            assert_eq!((answer.status, &answer.json["status"]), (200, &json!("ok")), "{address}{path}");
            assert!(is_named(&answer.headers), "protocol 9: {:?}", answer.headers);
            assert_eq!(answer.headers["access-control-allow-origin"], "*", "protocol 35");
        }
        let preflight = relay.answer(relay.request(Method::OPTIONS, address, "/xrpc/com.atproto.sync.listHosts")).await;
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(relay.get_admin(path).await.status, 200, "{path}");
        assert_eq!(relay.get(path).await.status, 404, "{path} is for operators alone");
    }
    assert!(relay.get_admin("/metrics").await.text.ends_with("# EOF\n"), "OpenMetrics");

    let status = || relay.request(Method::GET, relay.admin, "/admin/status");
    let cases = [
        ("none", status(), 401),
        ("Bearer", status().bearer_auth(ADMIN_TOKEN), 200),
        ("Basic", status().basic_auth("admin", Some(ADMIN_TOKEN)), 200),
        ("another token", status().bearer_auth("guess"), 401),
        ("another user", status().basic_auth("root", Some(ADMIN_TOKEN)), 401),
        ("the public port", relay.request(Method::GET, relay.public, "/admin/status").bearer_auth(ADMIN_TOKEN), 404),
    ];
    for (what, request, expected) in cases {
        assert_eq!(relay.answer(request).await.status, expected, "{what}");
    }
}

/// Protocol 1.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_for_websockets_alone() {
    let world = World::new(15, &[]).await;
    let relay = &world.relay;
    let path = "/xrpc/com.atproto.sync.subscribeRepos";
    let request = |method| relay.request(method, relay.public, path);
    assert_eq!(relay.answer(request(Method::GET)).await.status, 426, "protocol 1");
    assert_eq!(relay.answer(request(Method::POST)).await.status, 405, "protocol 1");
    let negative = relay.request(Method::GET, relay.public, &format!("{path}?cursor=-1"));
    let upgrade = negative.header("connection", "upgrade").header("upgrade", "websocket");
    let upgrade = upgrade.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(relay.answer(upgrade).await.status, 400, "protocol 4");
}

fn is_named(headers: &HeaderMap) -> bool {
    headers.get("server").is_some_and(|server| server.to_str().unwrap().contains("atproto-relay"))
}

/// Protocol 15.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_held_to_its_rate_by_waiting() {
    const RATE: usize = 10;
    // So much passes at once before the rate holds.
    const BURST: usize = 10 * RATE;
    let world = World::new(17, &[&format!("--host-events-per-second={RATE}")]).await;
    let (host, other) = (world.host().await, world.host().await);
    let (mut account, mut free) = (world.account(&host), world.account(&other));
    let mut consumer = world.relay.consumer(None).await;

    let start = Instant::now();
    let sent: Vec<Sent> = (0..BURST + 4 * RATE).map(|_| host.emit(account.post())).collect();
    let mut delivered = consumer.events(BURST + RATE).await;
    assert!(start.elapsed() > Duration::from_millis(900), "one second's worth takes a second");
    other.emit(free.post());
    let start = Instant::now();
    while consumer.event().await.did == account.did {}
    assert!(start.elapsed() < Duration::from_secs(1), "another host is not held up");

    let limits = json!({ "host": host.name(), "events_per_second": 0 });
    assert_eq!(world.relay.post_admin("/admin/pds/changeLimits", limits).await.status, 200);
    let start = Instant::now();
    let mut whole = world.relay.consumer(Some(delivered[0].seq - 1)).await;
    delivered = whole.events(sent.len() + 1).await;
    delivered.retain(|event| event.did == account.did);
    assert!(start.elapsed() < Duration::from_secs(1), "limit switched off");
    assert_delivered(&delivered, &sent, "nothing is lost by waiting");
}

/// Protocol 14.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_host_is_left_and_read_on_when_it_is_let_in_again() {
    let world = World::new(18, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.event().await;

    let set = async |verb: &str| {
        let path = format!("/admin/pds/{verb}?host={}", host.name());
        world.relay.post_admin(&path, Value::Null).await.status
    };
    assert_eq!(set("block").await, 200);
    host.disconnected().await;
    let missed = host.emit(account.post());
    let answer = world.relay.request_crawl(host.name()).await;
    assert_eq!((answer.status, answer.json["error"].as_str()), (403, Some("HostBanned")));
    let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name());
    assert_eq!(world.relay.get(&path).await.json["status"], "banned");

    assert_eq!(set("unblock").await, 200);
    assert_delivered(&consumer.events(1).await, [&missed], "what came meanwhile");
    assert_eq!(world.relay.get(&path).await.json["status"], "active");
    let nobody = world.relay.post_admin("/admin/pds/block?host=pds.example.com", Value::Null).await;
    assert_eq!(nobody.status, 404);
}

/// Protocol 32.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_and_its_old_host_has_no_say_any_more() {
    let world = World::new(19, &[]).await;
    let (old, new) = (world.host().await, world.host().await);
    let mut account = world.account(&old);
    let mut consumer = world.relay.consumer(None).await;
    old.emit(account.post());
    consumer.event().await;

    world.network.plc.register(&account, new.name());
    // One #identity, one #account, one #commit, all from the new host (protocol 32).
    let moved = [new.emit(account.identity()), new.emit(account.status(None)), new.emit(account.post())];
    assert_delivered(&consumer.events(3).await, &moved, "from the new host");
    let mut behind = account.clone();
    old.emit(behind.post());
    old.emit(behind.status(Some("deactivated")));
    world.until_dropped("wrong_host", 2).await;
    let good = new.emit(account.post());
    assert_delivered(&consumer.events(1).await, [&good], "the new host goes on");
    for (host, count) in [(&old, 0), (&new, 1)] {
        let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name());
        assert_eq!(world.relay.get(&path).await.json["accountCount"], count, "the account is counted where it is");
    }
}

/// Protocol 19.
#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_account_is_silent_until_it_comes_back() {
    let world = World::new(20, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let sent = [host.emit(account.post()), host.emit(account.status(Some("deactivated")))];
    assert_delivered(&consumer.events(2).await, &sent, "until it is deactivated");
    host.emit(account.clone().post());
    let sent = [host.emit(account.status(None)), host.emit(account.post())];
    assert_delivered(&consumer.events(2).await, &sent, "from when it is active again (protocol 19)");
    world.until_dropped("account_inactive", 1).await;
}

/// Protocol 18.
#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_the_identity_does_not_confirm_is_left_out() {
    let world = World::new(21, &[]).await;
    let (host, other) = (world.host().await, world.host().await);
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    let mut claimed = account.identity();
    claimed.handle = Some("somebody.example.com".to_owned());
    host.emit(claimed.clone());
    claimed.handle = None;
    let without = claimed.encode(1);
    assert_eq!(consumer.event().await.content(), without, "another handle than the document's (protocol 18)");

    let mut elsewhere = account.identity();
    other.emit(elsewhere.clone());
    elsewhere.handle = None;
    assert_eq!(consumer.event().await.content(), elsewhere.encode(1), "from another host than the account's");
}
