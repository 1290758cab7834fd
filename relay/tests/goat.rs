//! `goat relay` and `goat relay admin`, the command line that operators of the reference relay know: each of its requests as
//! it sends them, and of each answer what it reads. Written down from its source (github.com/bluesky-social/goat, `relay.go`
//! and `relay_admin.go`), since goat itself is not in the Go registry.

#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use reqwest::Method;
use serde_json::{Value, json};
use sim::process::ADMIN_TOKEN;
use sim::{Account, Relay};

/// Sends a request as goat does: to the one address it is given, without `Content-Type` where there is no body. Anything but
/// 200 is a failure to it.
async fn goat(relay: &Relay, method: Method, path: &str, body: Option<Value>) -> Value {
    let request = relay.request(method, relay.admin, path).header("User-Agent", "goat/dev");
    let request = request.basic_auth("admin", Some(ADMIN_TOKEN));
    let answer = relay.answer(if let Some(body) = body { request.json(&body) } else { request }).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json
}

async fn get(relay: &Relay, path: &str) -> Value {
    goat(relay, Method::GET, path, None).await
}

/// `goat relay admin host|account|domain list` and `consumer list`: these must be arrays, never null.
fn rows(list: &Value) -> &[Value] {
    list.as_array().unwrap_or_else(|| panic!("goat prints the rows of {list}"))
}

/// `goat relay admin account list`: the first cursor is empty; the next one must be a string, and is absent at the end.
async fn listed_takedowns(relay: &Relay) -> Vec<String> {
    let (mut dids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(relay, &format!("/admin/repo/takedowns?cursor={cursor}&size=500")).await;
        dids.extend(rows(&page["dids"]).iter().map(|did| did.as_str().unwrap().to_owned()));
        match page.get("cursor") {
            None => return dids,
            Some(next) if next == "" => return dids,
            Some(next) => next.as_str().expect("goat takes a cursor as a string").clone_into(&mut cursor),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn goat_adds_blocks_lists_and_limits_hosts() {
    let world = World::new(70, &[]).await;
    let relay = &world.relay;
    let host = sim::Host::start().await;
    let name = host.name();
    assert_eq!(rows(&get(relay, "/admin/pds/list").await).len(), 0, "host list");

    goat(relay, Method::POST, "/admin/pds/requestCrawl", Some(json!({ "hostname": name }))).await;
    host.connected().await;
    assert_eq!(rows(&get(relay, "/admin/pds/list").await).len(), 1, "host list");
    let status = async || get(relay, &format!("/xrpc/com.atproto.sync.getHostStatus?hostname={name}")).await;

    let by_host = format!("?host={}", name.replace(':', "%3A"));
    goat(relay, Method::POST, &format!("/admin/pds/block{by_host}"), None).await;
    assert_eq!(status().await["status"], "banned", "host block");
    goat(relay, Method::POST, &format!("/admin/pds/unblock{by_host}"), None).await;
    assert_ne!(status().await["status"], "banned", "host block --reverse");
    host.connected().await;

    let mut account = world.account(&host);
    let mut consumer = relay.consumer(None).await;
    host.emit(account.act());
    consumer.events(1).await;
    goat(relay, Method::POST, "/admin/pds/changeLimits", Some(json!({ "host": name, "repo_limit": 1 }))).await;
    host.emit(world.account(&host).act());
    host.emit(account.act());
    let passed = consumer.events(1).await;
    assert_eq!(passed[0].did, account.did, "host config --account-limit 1 lets no further account in");

    let hosts = get(relay, "/xrpc/com.atproto.sync.listHosts?limit=500").await;
    let row = &rows(&hosts["hosts"])[0];
    assert_eq!((&row["hostname"], hosts.get("cursor")), (&json!(name), None), "relay host list");
    assert!(row["seq"].is_i64() && row["accountCount"].is_i64() && row["status"].is_string(), "relay host list: {row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn goat_takes_accounts_down_and_lists_them() {
    let mut world = World::new(71, &[]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    let mut accounts: Vec<Account> = (0..3).map(|_| world.account(&host)).collect();
    for account in &mut accounts {
        host.emit(account.act());
    }
    consumer.events(3).await;
    assert_eq!(listed_takedowns(&world.relay).await, Vec::<String>::new(), "account list of none");
    let mut taken_down = [0, 1].map(|number| accounts[number].did.clone());
    taken_down.sort();
    let status = async |relay: &Relay, did: &str| {
        let path = format!("/xrpc/com.atproto.sync.getRepoStatus?did={did}");
        get(relay, &path).await
    };

    for did in &taken_down {
        goat(&world.relay, Method::POST, "/admin/repo/takeDown", Some(json!({ "did": did }))).await;
    }
    let mut listed = listed_takedowns(&world.relay).await;
    listed.sort();
    assert_eq!(listed, taken_down, "account list");
    for did in &taken_down {
        let expected = (json!(false), json!("takendown"));
        let is_down = async |relay: &Relay| {
            let answer = status(relay, did).await;
            (answer["active"].clone(), answer["status"].clone()) == expected
        };
        world.relay.until("account takedown", is_down).await;
    }

    for did in &taken_down {
        goat(&world.relay, Method::POST, "/admin/repo/reverseTakedown", Some(json!({ "did": did }))).await;
    }
    assert_eq!(listed_takedowns(&world.relay).await, Vec::<String>::new(), "account takedown --reverse");
    let all_listed = async |relay: &Relay| {
        let page = get(relay, "/xrpc/com.atproto.sync.listRepos?limit=500").await;
        let is_whole = |repo: &Value| repo["did"].is_string() && repo["rev"].is_string() && repo["active"] == true;
        rows(&page["repos"]).iter().filter(|repo| is_whole(repo)).count() == accounts.len()
    };
    world.relay.until("relay account list has all as active again", all_listed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goat_pages_through_many_takedowns() {
    let world = World::new(72, &[]).await;
    // More than goat asks for at once.
    let mut expected: Vec<String> = (0..501).map(|_| world.network.unregistered_account().did).collect();
    for did in &expected {
        goat(&world.relay, Method::POST, "/admin/repo/takeDown", Some(json!({ "did": did }))).await;
    }
    let mut listed = listed_takedowns(&world.relay).await;
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn goat_bans_domains_and_lists_consumers() {
    let world = World::new(73, &[]).await;
    let relay = &world.relay;
    let banned = async || rows(&get(relay, "/admin/subs/listDomainBans").await["banned_domains"]).to_vec();
    assert_eq!(banned().await, Vec::<Value>::new(), "domain list of none");
    goat(relay, Method::POST, "/admin/subs/banDomain", Some(json!({ "domain": "example.com" }))).await;
    assert_eq!(banned().await, ["example.com"], "domain ban");
    goat(relay, Method::POST, "/admin/subs/unbanDomain", Some(json!({ "domain": "example.com" }))).await;
    assert_eq!(banned().await, Vec::<Value>::new(), "domain ban --reverse");

    assert_eq!(rows(&get(relay, "/admin/consumers/list").await).len(), 0, "consumer list of none");
    let _consumer = relay.consumer(None).await;
    let consumers = get(relay, "/admin/consumers/list").await;
    let fields = ["id", "remote_addr", "user_agent", "events_consumed", "connected_at"];
    let row = &rows(&consumers)[0];
    assert!(fields.iter().all(|field| row.get(field).is_some()), "consumer list: {row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn goat_may_send_the_token_as_bearer_and_a_wrong_one_fails() {
    let world = World::new(74, &[]).await;
    let relay = &world.relay;
    let list = || relay.request(Method::GET, relay.admin, "/admin/pds/list");
    assert_eq!(relay.answer(list().bearer_auth(ADMIN_TOKEN)).await.status, 200, "--admin-bearer-token");
    assert_eq!(relay.answer(list().bearer_auth("wrong")).await.status, 401, "--admin-bearer-token wrong");
    assert_eq!(relay.answer(list().basic_auth("admin", Some("wrong"))).await.status, 401, "--admin-password wrong");
}
