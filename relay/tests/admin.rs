//! The admin API of the real program: who may use it, what it changes, and that it says who did.

#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use reqwest::Method;
use serde_json::{Value, json};
use sim::process::Answer;
use sim::{Host, Relay};

/// A request to the admin port with a token of its own.
async fn with_token(relay: &Relay, method: Method, path: &str, token: &str) -> Answer {
    relay.answer(relay.request(method, relay.admin, path).basic_auth("admin", Some(token))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_rotated_without_a_restart_and_the_audit_names_their_holders() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "first-token ada\n").unwrap();
    let mut world = World::new(300, &[&format!("--admin-token-file={}", file.display())]).await;
    let host = world.host().await;
    let block = format!("/admin/pds/block?host={}", host.name());
    assert_eq!(with_token(&world.relay, Method::POST, &block, "first-token").await.status, 200);

    std::fs::write(&file, "second-token grace\n").unwrap();
    let is_gone =
        async |relay: &Relay| with_token(relay, Method::GET, "/admin/audit", "first-token").await.status == 401;
    world.relay.until("the first token is gone", is_gone).await;
    let unblock = format!("/admin/pds/unblock?host={}", host.name());
    assert_eq!(with_token(&world.relay, Method::POST, &unblock, "second-token").await.status, 200);

    let audit = world.relay.get_admin("/admin/audit").await.json;
    let who_did_what = |row: &Value| (row["actor"].clone(), row["action"].clone(), row["detail"].clone());
    let rows: Vec<_> = audit.as_array().unwrap().iter().map(who_did_what).collect();
    let expected = [
        (json!("grace"), json!("set_host_status"), json!("idle")),
        (json!("ada"), json!("set_host_status"), json!("banned")),
        (json!("admin"), json!("add_host"), Value::Null),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_tokens_has_to_wait_and_the_others_do_not() {
    let world = World::new(301, &[]).await;
    let address = std::net::IpAddr::from([127, 0, 0, 9]);
    let guesser = reqwest::Client::builder().no_proxy().local_address(address).build().unwrap();
    let url = format!("http://{}/admin/status", world.relay.admin);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = guesser.get(&url).bearer_auth("a guess").send().await.unwrap();
        if answer.status() == 429 {
            assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
        } else {
            assert!(answer.headers().contains_key("www-authenticate"), "{answer:?}");
        }
        statuses.push(answer.status().as_u16());
    }
    assert_eq!((statuses[0], statuses[11]), (401, 429), "{statuses:?}");
    assert_eq!(world.relay.get_admin("/admin/status").await.status, 200, "another address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_cannot_use_the_token_that_a_browser_remembers() {
    let world = World::new(302, &[]).await;
    let ban = |headers: &[(&'static str, String)]| {
        let request = world.relay.request(Method::POST, world.relay.admin, "/admin/subs/banDomain");
        let request =
            request.basic_auth("admin", Some(sim::process::ADMIN_TOKEN)).json(&json!({ "domain": "example.com" }));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        world.relay.answer(request)
    };
    let foreign = ban(&[("origin", "https://evil.example".to_owned())]).await;
    assert_eq!((foreign.status, &foreign.json["error"]), (403, &json!("CrossSite")), "{}", foreign.text);
    assert_eq!(ban(&[("sec-fetch-site", "cross-site".to_owned())]).await.status, 403);
    assert!(foreign.headers.get("access-control-allow-origin").is_none(), "and may not read an answer: {foreign:?}");
    let bans = world.relay.get_admin("/admin/subs/listDomainBans").await.json;
    assert_eq!(bans, json!({ "banned_domains": [] }));

    assert_eq!(ban(&[("origin", format!("http://{}", world.relay.admin))]).await.status, 200, "our own page");
    assert_eq!(ban(&[]).await.status, 200, "a program");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_crawl_is_switched_off_for_everybody_but_holders_of_a_token_and_stays_so() {
    let mut world = World::new(303, &[]).await;
    let host = Host::start().await;
    let ask = async |relay: &Relay| {
        let request = relay.request(Method::POST, relay.public, "/xrpc/com.atproto.sync.requestCrawl");
        relay.answer(request.json(&json!({ "hostname": host.name() }))).await
    };
    assert_eq!(world.relay.get_admin("/admin/subs/getEnabled").await.json, json!({ "enabled": true }));
    let switched = world.relay.post_admin("/admin/subs/setEnabled?enabled=false", Value::Null).await;
    assert_eq!((switched.status, &switched.json["success"]), (200, &json!("true")), "{}", switched.text);
    assert_eq!(ask(&world.relay).await.status, 403);

    world.relay.terminate().await;
    world.relay.start_again().await;
    assert_eq!(world.relay.get_admin("/admin/subs/getEnabled").await.json, json!({ "enabled": false }));
    let refused = ask(&world.relay).await;
    assert_eq!((refused.status, &refused.json["error"]), (403, &json!("Forbidden")), "{}", refused.text);
    assert_eq!(world.relay.request_crawl(host.name()).await.status, 200, "a holder of a token");

    world.relay.post_admin("/admin/subs/setEnabled?enabled=true", Value::Null).await;
    assert_eq!(ask(&world.relay).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_limit_leaves_the_other_as_it_is() {
    let world = World::new(304, &["--host-account-limit=100", "--host-events-per-second=50"]).await;
    let host = world.host().await;
    let change = async |body: Value| {
        let mut body = body;
        body["host"] = host.name().into();
        let answer = world.relay.post_admin("/admin/pds/changeLimits", body).await;
        let limits = (answer.json["accountLimit"].clone(), answer.json["eventsPerSecondLimit"].clone());
        (answer.status, limits)
    };
    assert_eq!(change(json!({ "repo_limit": 7 })).await, (200, (json!(7), json!(50))), "the reference tool's form");
    assert_eq!(change(json!({ "events_per_second": 0 })).await, (200, (json!(7), Value::Null)), "0 is no limit");
    let by_sibling = json!({ "repo_limit": null, "account_limit_alerts_silenced": true });
    assert_eq!(change(by_sibling).await, (200, (json!(7), Value::Null)), "nothing that this relay has");
    let by_dashboard = json!({ "per_second": 1, "per_hour": 2, "per_day": 3, "repo_limit": 8 });
    assert_eq!(change(by_dashboard).await, (200, (json!(8), Value::Null)));
    assert_eq!(change(json!({ "account_limit": null })).await, (200, (json!(100), Value::Null)), "as configured again");
    assert_eq!(change(json!({})).await.0, 400, "no limit is named");
    assert_eq!(change(json!({ "acount_limit": 1 })).await.0, 400, "no such limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_ended_and_made_again_or_its_host_banned() {
    let mut world = World::new(305, &[]).await;
    let host = world.host().await;
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.events(1).await;
    let connected = async || world.relay.get_admin("/admin/subs/getUpstreamConns").await.json;
    assert_eq!(connected().await, json!([host.name()]));

    let kill = format!("/admin/subs/killUpstream?host={}", host.name());
    assert_eq!(world.relay.post_admin(&format!("{kill}&block=false"), Value::Null).await.status, 200);
    let connects = async |relay: &Relay| relay.get_admin("/admin/pds/list").await.json[0]["connects"].as_u64().unwrap();
    world.relay.until("it is connected again", async |relay| connects(relay).await == 2).await;
    host.emit(account.post());
    consumer.events(1).await;

    assert_eq!(world.relay.post_admin(&format!("{kill}&block=true"), Value::Null).await.status, 200);
    let is_empty = async |relay: &Relay| relay.get_admin("/admin/subs/getUpstreamConns").await.json == json!([]);
    world.relay.until("no stream is open", is_empty).await;
    let again = world.relay.post_admin(&kill, Value::Null).await;
    assert_eq!(again.status, 400, "there is none to end: {}", again.text);
    assert_eq!(world.relay.count("/hosts/banned").await, 1);
}
