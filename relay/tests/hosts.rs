//! Hosts: how they come, what becomes of them, and what is told of them.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use common::{World, assert_delivered};
use reqwest::Method;
use serde_json::{Value, json};
use sim::process::Answer;
use sim::{Host, Relay, Sent};

/// What the admin API says of a host.
async fn report(relay: &Relay, host: &Host) -> Value {
    let hosts = relay.get_admin("/admin/pds/list").await.json;
    let of_host = hosts.as_array().unwrap().iter().find(|report| report["host"] == host.name());
    of_host.cloned().unwrap_or_default()
}

async fn until_status(world: &mut World, host: &Host, status: &str) {
    let is_so = async |relay: &Relay| report(relay, host).await["status"] == status;
    world.relay.until(&format!("{} is {status}", host.name()), is_so).await;
}

/// `requestCrawl` as anyone can send it.
async fn public_crawl(relay: &Relay, hostname: &str) -> Answer {
    let request = relay.request(Method::POST, relay.public, "/xrpc/com.atproto.sync.requestCrawl");
    relay.answer(request.json(&json!({ "hostname": hostname }))).await
}

/// Makes an admin request that acts on a host.
async fn act(relay: &Relay, verb: &str, host: &Host) -> u16 {
    relay.post_admin(&format!("/admin/pds/{verb}?host={}", host.name()), Value::Null).await.status
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Protocol 13: a relay is no host.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_among_the_hosts_is_offline_and_tried_when_somebody_names_it_but_not_too_often() {
    let mut world = World::new(90, &[]).await;
    let (other, host) = (world.host().await, Host::start().await);
    host.set_server_header("indigo (atproto-relay)");
    assert_eq!(world.relay.request_crawl(host.name()).await.status, 200);
    until_status(&mut world, &host, "offline").await;
    let shown = report(&world.relay, &host).await;
    assert_eq!(shown["connected"], false);
    assert!(shown["lastError"].as_str().unwrap().contains("is itself a relay"), "protocol 13: {shown}");
    let (at, next): (jiff::Timestamp, jiff::Timestamp) = (
        shown["lastErrorAt"].as_str().unwrap().parse().unwrap(),
        shown["nextTryAt"].as_str().unwrap().parse().unwrap(),
    );
    assert!(next.duration_since(at).as_secs() > 3600, "a relay stays one: {at}, again at {next}");
    let troubled = world.relay.status().await["hosts"]["troubled"].clone();
    assert_eq!((&troubled[0]["host"], troubled.as_array().unwrap().len()), (&json!(host.name()), 1), "{troubled}");

    // Whoever names it makes it be tried, at once for the first, and then from time to time.
    let (tries, start) = (host.cursors().len(), Instant::now());
    for _ in 0..20 {
        assert_eq!(public_crawl(&world.relay, host.name()).await.status, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let allowed = 2 + start.elapsed().as_secs() as usize / 5;
    assert!(host.cursors().len() - tries <= allowed, "{} tries, {allowed} allowed", host.cursors().len() - tries);

    // It is a PDS again, and says so; no need to wait for hours.
    host.set_server_header("pds");
    assert_eq!(public_crawl(&world.relay, host.name()).await.status, 200);
    until_status(&mut world, &host, "active").await;
    let shown = report(&world.relay, &host).await;
    assert_eq!((&shown["connected"], &shown["nextTryAt"]), (&json!(true), &Value::Null));
    assert!(shown["lastErrorAt"].is_string(), "the last error is still to be seen, with its time: {shown}");
    assert_eq!(world.relay.status().await["hosts"]["troubled"], json!([]), "but it is over");
    assert_eq!(report(&world.relay, &other).await["connected"], true, "nobody else was touched");
}

/// Protocol 12: a host that has lost its past waits for a person.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lost_its_past_is_idle_until_somebody_resets_its_cursor() {
    let mut world = World::new(91, &[]).await;
    let mut host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    (0..20).for_each(|_| drop(host.emit(account.post())));
    consumer.events(20).await;

    host.down().await;
    host.reset();
    host.up().await;
    world.relay.request_crawl(host.name()).await;
    until_status(&mut world, &host, "idle").await;
    let shown = report(&world.relay, &host).await;
    assert_eq!((&shown["cursor"], &shown["nextTryAt"]), (&json!(20), &Value::Null), "protocol 12: {shown}");
    assert!(shown["lastError"].as_str().unwrap().contains("FutureCursor"), "{shown}");
    // Naming it is not enough: it is asked, and answers the same.
    let asked = host.cursors().len();
    public_crawl(&world.relay, host.name()).await;
    world.relay.until("it was asked again", async |_| host.cursors().len() > asked).await;
    until_status(&mut world, &host, "idle").await;
    assert_eq!(host.cursors().last(), Some(&Some(20)), "the cursor is not reset by itself");

    assert_eq!(act(&world.relay, "resetCursor", &host).await, 200);
    host.connected().await;
    world.relay.until("it is asked for live events", async |_| host.cursors().last() == Some(&None)).await;
    let sent: Vec<Sent> = (0..10).map(|_| host.emit(account.post())).collect();
    assert_delivered(&consumer.events(10).await, &sent, "live, although the host counts from 1 again");
    until_status(&mut world, &host, "active").await;
    let audit = world.relay.get_admin("/admin/audit").await.json;
    assert_eq!((&audit[0]["action"], &audit[0]["detail"]), (&json!("reset_cursor"), &json!("it was 20")));

    // The seqs that the host had before its loss are in the log, and say nothing of those after it.
    world.relay.kill();
    let sent: Vec<Sent> = (0..15).map(|_| host.emit(account.post())).collect();
    world.relay.start_again().await;
    let last = world.relay.consumer(Some(30)).await.events(15).await;
    assert_delivered(&last, &sent, "11 to 25, of which 11 to 20 were seen before the loss too");

    // A reset survives a crash, even before anything has come.
    assert_eq!(act(&world.relay, "resetCursor", &host).await, 200);
    world.relay.until("the reset", async |_| host.cursors().last() == Some(&None)).await;
    world.relay.kill();
    world.relay.start_again().await;
    host.connected().await;
    assert_eq!(host.cursors().last(), Some(&None));
    assert_eq!(world.relay.post_admin("/admin/pds/resetCursor?host=nobody.example.com", Value::Null).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_over_its_event_limit_is_throttled_while_that_is_so() {
    const RATE: usize = 10;
    let mut world = World::new(92, &[&format!("--host-events-per-second={RATE}")]).await;
    let (host, other) = (world.host().await, world.host().await);
    let (mut account, mut free) = (world.account(&host), world.account(&other));
    let mut consumer = world.relay.consumer(None).await;
    // Ten seconds' worth passes at once, and the rest is held.
    let sent: Vec<Sent> = (0..20 * RATE).map(|_| host.emit(account.post())).collect();
    other.emit(free.post());
    until_status(&mut world, &host, "throttled").await;
    let status = world.relay.status().await;
    assert_eq!((&status["hosts"]["throttled"], &status["hosts"]["active"]), (&json!(1), &json!(1)), "{status}");
    let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name());
    assert_eq!(world.relay.get(&path).await.json["status"], "throttled", "protocol 33");

    let limits = json!({ "host": host.name(), "events_per_second": 0 });
    assert_eq!(world.relay.post_admin("/admin/pds/changeLimits", limits).await.status, 200);
    let mut delivered = consumer.events(sent.len() + 1).await;
    delivered.retain(|event| event.did == account.did);
    assert_delivered(&delivered, &sent, "nothing was lost by waiting (protocol 15)");
    until_status(&mut world, &host, "active").await;
}

/// Protocol 14: strangers bring so many new hosts a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_brings_so_many_new_hosts_by_request_crawl() {
    let trusted = Host::start().await;
    let pattern = format!("--trusted-domain={}", trusted.name());
    let mut world = World::new(93, &["--new-hosts-per-day=2", &pattern]).await;
    let hosts = [Host::start().await, Host::start().await, Host::start().await, Host::start().await];
    for host in [&hosts[0], &hosts[1], &trusted] {
        let answer = public_crawl(&world.relay, host.name()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for restart in [false, true] {
        if restart {
            assert!(world.relay.terminate().await.success());
            world.relay.start_again().await;
        }
        let answer = public_crawl(&world.relay, hosts[2].name()).await;
        assert_eq!((answer.status, &answer.json["error"]), (429, &json!("RateLimitExceeded")), "{}", answer.text);
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((80_000..=86_400).contains(&wait), "until the first of today's is a day old: {wait}");
        assert_eq!(report(&world.relay, &hosts[2]).await, Value::Null, "no row (protocol 14)");
    }
    assert_eq!(public_crawl(&world.relay, hosts[0].name()).await.status, 200, "it is here already");
    assert_eq!(world.relay.request_crawl(hosts[3].name()).await.status, 200, "whoever holds the token may");

    let relay = &world.relay;
    assert_eq!(relay.get_admin("/admin/subs/perDayLimit").await.json, json!({ "limit": 2 }));
    assert_eq!(relay.post_admin("/admin/subs/setPerDayLimit?limit=3", Value::Null).await.status, 200);
    assert_eq!(public_crawl(relay, hosts[2].name()).await.status, 200, "three are allowed now, and two were used");
    assert_eq!(public_crawl(relay, Host::start().await.name()).await.status, 429);
    let audit = relay.get_admin("/admin/audit").await.json;
    assert_eq!((&audit[0]["subject"], &audit[0]["detail"]), (&json!("new_hosts_per_day"), &json!("3")));
}

/// Starts a server that answers every request in one way; the answer is its name.
async fn server_that_answers(status: u16, location: Option<&'static str>, body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let answer = move || async move {
        let headers = location.map(|location| (LOCATION, location.parse().unwrap()));
        (StatusCode::from_u16(status).unwrap(), HeaderMap::from_iter(headers), body)
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    name
}

/// Protocol 14: there is no row before the checks pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_pds_leaves_no_row() {
    let world = World::new(96, &["--new-hosts-per-day=1"]).await;
    let servers = [
        ("no did", server_that_answers(200, None, r#"{"availableUserDomains": []}"#).await),
        ("no DID", server_that_answers(200, None, r#"{"did": "pds.example.com"}"#).await),
        ("no JSON", server_that_answers(200, None, "<html>").await),
        ("an endless list", server_that_answers(200, None, "[".repeat(100_000).leak()).await),
        ("an error", server_that_answers(500, None, r#"{"did": "did:web:pds.example.com"}"#).await),
        ("itself, elsewhere", server_that_answers(302, Some("/elsewhere"), "").await),
        ("the machine's own services", server_that_answers(302, Some("http://127.0.0.1:1/"), "").await),
    ];
    for (what, name) in &servers {
        let answer = public_crawl(&world.relay, name).await;
        assert_eq!((answer.status, &answer.json["error"]), (400, &json!("HostNotFound")), "{what}: {}", answer.text);
    }
    assert_eq!(world.relay.get_admin("/admin/pds/list").await.json, json!([]), "protocol 14");
    let host = Host::start().await;
    assert_eq!(public_crawl(&world.relay, host.name()).await.status, 200, "and none of them was the day's new host");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_tells_how_far_each_host_is_behind() {
    let mut world = World::new(94, &[]).await;
    let (live, late, quiet) = (world.host().await, world.host().await, world.host().await);
    let (mut of_live, mut of_late) = (world.account(&live), world.account(&late));
    let mut consumer = world.relay.consumer(None).await;
    of_live.set_clock(now_us() - 2_000_000);
    of_late.set_clock(now_us() - 7_200_000_000);
    live.emit(of_live.post());
    late.emit(of_late.post());
    consumer.events(2).await;

    let [of_live, of_late] = [report(&world.relay, &live).await, report(&world.relay, &late).await];
    let lag = |shown: &Value| shown["lagSeconds"].as_u64().unwrap();
    assert!(lag(&of_live) < 60 && of_live["catchingUp"] == false, "{of_live}");
    assert!((7200..7300).contains(&lag(&of_late)) && of_late["catchingUp"] == true, "{of_late}");
    for shown in [&of_live, &of_late] {
        assert_eq!((&shown["eventsSinceConnect"], &shown["connects"]), (&json!(1), &json!(1)), "{shown}");
        assert!(shown["lastEventAt"].is_string() && shown["connectedAt"].is_string(), "{shown}");
        assert!(shown["eventsPerSecond"].is_number(), "{shown}");
    }
    let of_quiet = report(&world.relay, &quiet).await;
    assert_eq!((&of_quiet["lagSeconds"], &of_quiet["lastEventAt"]), (&Value::Null, &Value::Null), "{of_quiet}");
    let status = world.relay.status().await;
    assert_eq!(status["hosts"]["catchingUp"], 1, "{status}");
    assert!(status["hosts"]["largestLagSeconds"].as_u64().unwrap() >= 7200, "{status}");
    let metrics = world.relay.get_admin("/metrics").await.text;
    for line in ["relay_hosts_behind{over=\"1h\"} 1\n", "relay_hosts_behind{over=\"1d\"} 0\n"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    // A host that is open and has nothing to say is active; one that is banned is not connected.
    until_status(&mut world, &quiet, "active").await;
    assert_eq!(act(&world.relay, "block", &late).await, 200);
    late.disconnected().await;
    world.relay.until("no stream", async |relay| report(relay, &late).await["connected"] == false).await;
    let shown = report(&world.relay, &late).await;
    assert_eq!((&shown["lagSeconds"], &shown["catchingUp"]), (&Value::Null, &json!(false)), "{shown}");
    assert_eq!(act(&world.relay, "unblock", &live).await, 200);
    assert_eq!(report(&world.relay, &live).await["status"], "active", "it was not banned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_counts_the_accounts_that_it_has() {
    let world = World::new(95, &[]).await;
    let (old, new) = (world.host().await, world.host().await);
    let mut accounts = [world.account(&old), world.account(&old), world.account(&old)];
    let mut consumer = world.relay.consumer(None).await;
    let counts = async |what: &str, of_old: u64, of_new: u64| {
        for (host, count) in [(&old, of_old), (&new, of_new)] {
            let path = format!("/xrpc/com.atproto.sync.getHostStatus?hostname={}", host.name());
            assert_eq!(world.relay.get(&path).await.json["accountCount"], count, "{what}");
        }
    };
    accounts.iter_mut().for_each(|account| drop(old.emit(account.post())));
    consumer.events(3).await;
    counts("three accounts", 3, 0).await;

    old.emit(accounts[0].status(Some("deleted")));
    consumer.event().await;
    counts("one is deleted", 2, 0).await;
    old.emit(accounts[0].status(None));
    consumer.event().await;
    counts("it is back", 3, 0).await;

    old.emit(accounts[1].status(Some("takendown")));
    consumer.event().await;
    counts("one is taken down by its host", 2, 0).await;
    old.emit(accounts[1].status(Some("takendown")));
    old.emit(accounts[1].status(None));
    consumer.events(2).await;
    counts("it is back", 3, 0).await;
    old.emit(accounts[1].status(Some("deactivated")));
    consumer.event().await;
    counts("one that is deactivated still has its place", 3, 0).await;

    world.network.plc.register(&accounts[2], new.name());
    new.emit(accounts[2].status(None));
    consumer.event().await;
    counts("one has moved", 2, 1).await;
}
