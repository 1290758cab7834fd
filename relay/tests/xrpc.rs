//! The XRPC methods: every answer that they have, good and bad (protocol 14, 33, 35).

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, assert_delivered};
use reqwest::Method;
use serde_json::{Value, json};
use sim::process::Answer;
use sim::{Account, Fault, Host};

fn sync(method: &str, query: &str) -> String {
    format!("/xrpc/com.atproto.sync.{method}{query}")
}

/// Checks that an answer is an XRPC error.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, error: &str, what: &str) {
    assert_eq!((answer.status, answer.json["error"].as_str()), (status, Some(error)), "{what}: {}", answer.text);
    assert!(answer.json["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {}", answer.text);
    assert_eq!(answer.headers["access-control-allow-origin"], "*", "{what}");
}

/// Protocol 19, 33: what is said of an account in each state, and that its commits pass or do not.
#[tokio::test(flavor = "multi_thread")]
async fn each_status_of_an_account_has_its_answers() {
    let world = World::new(100, &[]).await;
    let host = world.host().await;
    let mut consumer = world.relay.consumer(None).await;
    let mut silent = 0;
    for (active, status, error) in [
        (true, None, None),
        (false, Some("deactivated"), Some("RepoDeactivated")),
        (false, Some("deleted"), Some("RepoDeleted")),
        (false, Some("takendown"), Some("RepoTakendown")),
        (false, Some("suspended"), Some("RepoSuspended")),
        (true, Some("desynchronized"), None),
        (true, Some("throttled"), None),
        (false, Some("desynchronized"), Some("RepoInactive")),
        (false, Some("throttled"), Some("RepoInactive")),
    ] {
        let what = format!("{active}, {status:?}");
        let mut account = world.account(&host);
        let commit = account.post();
        host.emit(commit.clone());
        let mut event = account.status(status);
        event.active = active;
        let passed = host.emit(event);
        assert_eq!(consumer.events(2).await[1].content(), passed.content(), "{what}: the event itself passes");

        let did = &account.did;
        let mut expected = json!({ "did": did, "active": active, "rev": commit.rev });
        if let Some(status) = status {
            expected["status"] = status.into();
        }
        let answer = world.relay.get(&sync("getRepoStatus", &format!("?did={did}"))).await;
        assert_eq!((answer.status, &answer.json), (200, &expected), "{what}");
        let listed = world.relay.get(&sync("listRepos", "")).await.json;
        let listed = listed["repos"].as_array().unwrap().iter().find(|repo| repo["did"] == *did).unwrap();
        expected["head"] = commit.root.to_string().into();
        assert_eq!(listed, &expected, "{what}");
        let answer = world.relay.get(&sync("getLatestCommit", &format!("?did={did}"))).await;
        match error {
            Some(error) => assert_error(&answer, 403, error, &what),
            None => assert_eq!(answer.json, json!({ "cid": commit.root.to_string(), "rev": commit.rev }), "{what}"),
        }

        let commit = host.emit(account.post());
        account.post();
        let sync = host.emit(account.sync());
        if active {
            assert_delivered(&consumer.events(2).await, [&commit, &sync], &format!("{what}: goes on"));
        } else {
            silent += 2;
            world.until_dropped("account_inactive", silent).await;
        }
    }
}

/// Protocol 33: accounts of which nothing, or no commit, has come.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_commits_is_not_synchronized() {
    let world = World::new(101, &[]).await;
    let host = world.host().await;
    let (mut account, mut announced) = (world.account(&host), world.account(&host));
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.status(None));
    host.emit(announced.identity());
    consumer.events(2).await;
    let of = |method: &str, account: &Account| sync(method, &format!("?did={}", account.did));
    let answer = world.relay.get(&of("getRepoStatus", &account)).await;
    assert_eq!(answer.json, json!({ "did": account.did, "active": true }), "no rev yet");
    let answer = world.relay.get(&of("getLatestCommit", &account)).await;
    assert_error(&answer, 404, "RepoNotSynchronized", "no commit");
    assert_eq!(world.relay.get(&sync("listRepos", "")).await.json, json!({ "repos": [] }), "no repository to list");
    for method in ["getRepoStatus", "getLatestCommit"] {
        assert_error(&world.relay.get(&of(method, &announced)).await, 404, "RepoNotFound", "an #identity alone");
    }
}

/// Protocol 33: `getRepo` sends to the PDS, whatever is known here; without a PDS, or an answer of the directory, it says so.
#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_at_their_pds() {
    let world = World::new(102, &[]).await;
    let host = world.host().await;
    let account = world.account(&host);
    let path = sync("getRepo", &format!("?did={}", account.did));
    world.network.plc.set_fault(Some(Fault::Status(500)));
    assert_error(&world.relay.get(&path).await, 502, "IdentityUnavailable", "the directory fails");
    world.network.plc.set_fault(None);
    let answer = world.relay.get(&path).await;
    assert_eq!(answer.status, 302, "an account that has sent nothing: {}", answer.text);
    assert_eq!(answer.headers["location"], format!("http://{}{path}", host.name()));
    let nobody = world.network.unregistered_account();
    let answer = world.relay.get(&sync("getRepo", &format!("?did={}", nobody.did))).await;
    assert_error(&answer, 404, "RepoNotFound", "no such DID");
    let unused = world.network.unregistered_account();
    world.network.plc.enter(&unused.did, json!({ "id": unused.did, "verificationMethod": [], "service": [] }));
    let answer = world.relay.get(&sync("getRepo", &format!("?did={}", unused.did))).await;
    assert_error(&answer, 404, "RepoNotFound", "no PDS");
}

/// All pages of a list, from the first, with so many to a page.
async fn pages(world: &World, method: &str, field: &str, limit: usize) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.relay.get(&sync(method, &format!("?limit={limit}{cursor}"))).await;
        assert_eq!(page.status, 200, "{}", page.text);
        pages.push(page.json[field].as_array().unwrap().clone());
        let Some(next) = page.json["cursor"].as_str() else { return pages };
        cursor = format!("&cursor={next}");
    }
}

/// Protocol 33: limits of 1 to 1,000; every row once whatever the page's size; no cursor on the last page.
#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    const COUNT: usize = 4;
    let mut world = World::new(103, &[]).await;
    let silent = world.host().await;
    let mut hosts = Vec::new();
    let mut consumer = world.relay.consumer(None).await;
    let mut dids = Vec::new();
    for _ in 0..COUNT {
        let host = world.host().await;
        let mut account = world.account(&host);
        host.emit(account.post());
        consumer.event().await;
        dids.push(account.did);
        hosts.push(host);
    }
    dids.sort();
    let finished = "all that was sent is finished";
    let listed = async |relay: &sim::Relay| relay.get(&sync("listHosts", "")).await.json["hosts"].clone();
    let is_finished = async |relay: &sim::Relay| {
        let rows = listed(relay).await;
        rows.as_array().unwrap().len() == COUNT && rows.as_array().unwrap().iter().all(|row| row["seq"] == 1)
    };
    world.relay.until(finished, is_finished).await;

    let names: Vec<&str> = hosts.iter().map(Host::name).collect();
    for limit in [1, 2, 3, COUNT, COUNT + 1, 1000] {
        let count = COUNT.div_ceil(limit);
        for (method, field, key, expected) in [
            ("listRepos", "repos", "did", dids.iter().map(String::as_str).collect::<Vec<_>>()),
            // Oldest first, and none that has not sent anything.
            ("listHosts", "hosts", "hostname", names.clone()),
        ] {
            let pages = pages(&world, method, field, limit).await;
            let rows: Vec<&str> = pages.iter().flatten().map(|row| row[key].as_str().unwrap()).collect();
            assert_eq!(rows, expected, "{method} by {limit}");
            assert_eq!(pages.len(), count, "{method} by {limit}: no empty page at the end");
        }
    }
    for method in ["listRepos", "listHosts"] {
        for limit in ["0", "1001", "-1", "many", "1.5", ""] {
            let answer = world.relay.get(&sync(method, &format!("?limit={limit}"))).await;
            assert_error(&answer, 400, "InvalidRequest", &format!("{method} by {limit:?}"));
        }
    }
    for cursor in ["abc", "-1", "99999999999999999999"] {
        let answer = world.relay.get(&sync("listHosts", &format!("?cursor={cursor}"))).await;
        assert_error(&answer, 400, "InvalidRequest", &format!("cursor {cursor}"));
    }
    let behind = world.relay.get(&sync("listHosts", "?cursor=4000000000")).await;
    assert_eq!(behind.json, json!({ "hosts": [] }), "behind all hosts");

    let row = json!({ "hostname": names[0], "seq": 1, "accountCount": 1, "status": "active" });
    let status = async |name: &str| world.relay.get(&sync("getHostStatus", &format!("?hostname={name}"))).await;
    assert_eq!(status(names[0]).await.json, row);
    assert_eq!(status(silent.name()).await.json["status"], "idle", "a host that has sent nothing has a status too");
    assert_error(&status("pds.example.com").await, 404, "HostNotFound", "a host that nobody named");
    assert_error(&status("no name").await, 404, "HostNotFound", "no name of a host");
    assert_error(&world.relay.get(&sync("getHostStatus", "")).await, 400, "InvalidRequest", "no parameter");
}

/// Protocol 33: a relay says of every method that it lacks that it has none.
#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_not_here_say_so() {
    let world = World::new(104, &[]).await;
    let relay = &world.relay;
    for path in [&sync("getBlocks", ""), "/xrpc/com.atproto.server.describeServer", "/xrpc/"] {
        assert_error(&relay.get(path).await, 501, "MethodNotImplemented", path);
    }
    assert_error(&relay.get("/favicon.ico").await, 404, "NotFound", "no XRPC");
    for (method, path) in [
        (Method::POST, sync("listHosts", "")),
        (Method::PUT, sync("getRepo", "")),
        (Method::GET, sync("requestCrawl", "")),
        (Method::DELETE, "/_health".to_owned()),
    ] {
        let answer = relay.answer(relay.request(method.clone(), relay.public, &path)).await;
        assert_error(&answer, 405, "MethodNotAllowed", &format!("{method} {path}"));
    }
}

/// Protocol 9, 35: answers of every kind, the stream's among them, tell browsers and relays the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_the_relay_and_is_for_everyone() {
    let world = World::new(105, &[]).await;
    let relay = &world.relay;
    let get = |path: &str| relay.request(Method::GET, relay.public, path);
    let stream = get(&sync("subscribeRepos", "")).header("connection", "upgrade").header("upgrade", "websocket");
    let stream = stream.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let cases = [
        (101, stream),
        (200, get("/_health")),
        (200, get("/xrpc/_health")),
        (200, get(&sync("listHosts", ""))),
        (204, relay.request(Method::OPTIONS, relay.public, &sync("requestCrawl", ""))),
        (400, get(&sync("listHosts", "?limit=0"))),
        (404, get("/nothing")),
        (405, relay.request(Method::POST, relay.public, &sync("subscribeRepos", ""))),
        (426, get(&sync("subscribeRepos", ""))),
        (501, get(&sync("getBlocks", ""))),
    ];
    for (status, request) in cases {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let server = response.headers()["server"].to_str().unwrap();
        assert!(server.contains("(atproto-relay)"), "{status}: {server}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "{status}");
    }
}

/// Protocol 14: a domain that is banned is refused before anybody is asked, and leaves no row.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_a_banned_domain_are_refused() {
    let world = World::new(106, &[]).await;
    let relay = &world.relay;
    let ban = relay.post_admin("/admin/subs/banDomain", json!({ "domain": "example.com" })).await;
    assert_eq!(ban.status, 200, "{}", ban.text);
    for name in ["example.com", "pds.example.com", "https://a.b.EXAMPLE.com/"] {
        let request = relay.request(Method::POST, relay.public, &sync("requestCrawl", ""));
        let answer = relay.answer(request.json(&json!({ "hostname": name }))).await;
        assert_error(&answer, 403, "HostBanned", name);
    }
    assert_eq!(relay.get_admin("/admin/pds/list").await.json, json!([]), "no row");
}
