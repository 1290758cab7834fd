//! The OpenAPI document of the admin API, held against the real program. That every path is in it is tested beside the
//! routes.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use common::World;
use common::schema::misfits;
use reqwest::Method;
use serde_json::{Value, json};
use sim::Relay;
use sim::process::{ADMIN_TOKEN, Answer};

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

async fn document(relay: &Relay) -> Value {
    let answer = relay.answer(relay.request(Method::GET, relay.admin, "/admin/openapi.json")).await;
    assert_eq!(answer.status, 200, "it needs no token: {}", answer.text);
    answer.json
}

/// Path, method and description of every operation.
fn operations(document: &Value) -> Vec<(&str, Method, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&'_ String, &'_ Value)| {
        assert!(item.as_object().unwrap().keys().all(|key| METHODS.contains(&key.as_str())), "{path}");
    };
    paths.iter().for_each(of_path);
    let operation = |method: &'static str| {
        let described = paths.iter().filter_map(move |(path, item)| Some((path.as_str(), item.get(method)?)));
        described.map(move |(path, operation)| (path, method.to_uppercase().parse().unwrap(), operation))
    };
    METHODS.into_iter().flat_map(operation).collect()
}

/// The path to request, with the example in place of the parameter that it may have.
fn filled(path: &str, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.filter(|parameter| parameter["in"] == "path").fold(path.to_owned(), |path, parameter| {
        let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
        path.replace(&name, parameter["example"].as_str().expect("an example of a path's parameter"))
    })
}

/// A request with the token; text goes as it is, everything else as JSON.
async fn ask(relay: &Relay, method: Method, path: &str, body: Value) -> Answer {
    let request = relay.request(method, relay.admin, path).bearer_auth(ADMIN_TOKEN);
    relay.answer(if let Value::String(text) = body { request.body(text) } else { request.json(&body) }).await
}

/// Checks that an answer is what the document says of it.
#[track_caller]
fn assert_fits(document: &Value, operation: &Value, path: &str, answer: &Answer) {
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let content_type = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
    let described = &operation["responses"]["200"]["content"][content_type];
    assert!(described.is_object(), "{path} is {content_type}, of which the document does not know");
    if let Some(schema) = described.get("schema") {
        let misfits = misfits(document, schema, &answer.json);
        assert!(misfits.is_empty(), "{path} answers what openapi.json does not describe:\n{}", misfits.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_has_the_methods_that_the_document_says() {
    let world = World::new(310, &[]).await;
    let relay = &world.relay;
    let document = document(relay).await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let answer = relay.answer(relay.request(Method::PATCH, relay.admin, path).bearer_auth(ADMIN_TOKEN)).await;
        assert_eq!(answer.status, 405, "{path} has a method that nobody described");
        let allowed = answer.headers["allow"].to_str().unwrap().to_lowercase();
        let allowed: BTreeSet<&str> = allowed.split(',').map(str::trim).filter(|method| *method != "head").collect();
        let described: BTreeSet<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_answers_without_the_token_or_with_a_wrong_one() {
    let world = World::new(311, &[]).await;
    let relay = &world.relay;
    let document = document(relay).await;
    let closed = operations(&document).into_iter().filter(|(_, _, operation)| operation.get("security").is_none());
    let mut tried = 0u8;
    for (path, method, _) in closed {
        let answer = relay.answer(relay.request(method.clone(), relay.admin, path)).await;
        assert_eq!(answer.status, 401, "{method} {path} without a token: {}", answer.text);
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "), "{path}");

        // From another address each time, since one may not guess for long.
        tried += 1;
        let from = IpAddr::from([127, 0, 1, tried]);
        let client = reqwest::Client::builder().no_proxy().local_address(from).build().unwrap();
        let request = client.request(method.clone(), format!("http://{}{path}", relay.admin));
        let answer = relay.answer(request.basic_auth("admin", Some("wrong"))).await;
        assert_eq!(answer.status, 401, "{method} {path} with a wrong token: {}", answer.text);
        let misfits = misfits(&document, &json!({ "$ref": "#/components/schemas/Error" }), &answer.json);
        assert!(misfits.is_empty(), "{method} {path}: {misfits:?}");
    }
    assert!(tried > 10, "the document has more operations than that");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_the_document_describes_it() {
    let mut world = World::new(312, &[]).await;
    let (host, other) = (world.host().await, world.host().await);
    let mut account = world.account(&host);
    let mut consumer = world.relay.consumer(None).await;
    host.emit(account.post());
    consumer.events(1).await;
    let document = document(&world.relay).await;
    let consumers = world.relay.get_admin("/admin/consumers/list").await.json;
    let consumer_id = consumers[0]["id"].clone();

    let (name, another, did) = (host.name(), other.name(), account.did.to_string());
    let pairs = json!({ "kind": "pairs" });
    let pair = json!(format!("{did} com.example.record\nno pair\n"));
    let job = |action: &str| format!("/admin/backfill/jobs/{{name}}{action}");
    let post = |path: &str, query: String, body: Value| (Method::POST, path.to_owned(), query, body);
    // A request for each operation that changes something, in this order.
    let changes = [
        post(
            "/admin/pds/changeLimits",
            String::new(),
            json!({ "host": name, "account_limit": 7, "events_per_second": null }),
        ),
        post("/admin/pds/setValidation", String::new(), json!({ "host": name, "validation": "observe" })),
        post("/admin/repo/takeDown", String::new(), json!({ "did": did })),
        post("/admin/repo/reverseTakedown", String::new(), json!({ "did": did })),
        post("/admin/pds/resetCursor", format!("?host={name}"), Value::Null),
        post("/admin/subs/setPerDayLimit", "?limit=50".to_owned(), Value::Null),
        post("/admin/subs/killUpstream", format!("?host={name}&block=false"), Value::Null),
        post("/admin/pds/block", format!("?host={another}"), Value::Null),
        post("/admin/pds/unblock", format!("?host={another}"), Value::Null),
        post("/admin/pds/requestCrawl", String::new(), json!({ "hostname": another })),
        post("/admin/subs/setEnabled", "?enabled=true".to_owned(), Value::Null),
        post("/admin/subs/banDomain", String::new(), json!({ "Domain": "example.com" })),
        post("/admin/subs/unbanDomain", String::new(), json!({ "domain": "example.com" })),
        post("/admin/consumers/disconnect", format!("?id={consumer_id}"), Value::Null),
        (Method::PUT, job(""), String::new(), pairs.clone()),
        post(&job("/pause"), String::new(), Value::Null),
        post(&job("/resume"), String::new(), Value::Null),
        post(&job("/cancel"), String::new(), Value::Null),
        post(&job("/run"), String::new(), Value::Null),
        post("/admin/backfill/pairs", "?job=sent".to_owned(), pair),
        (Method::DELETE, job(""), String::new(), Value::Null),
    ];
    ask(&world.relay, Method::PUT, "/admin/backfill/jobs/sent", pairs).await;
    let mut left: BTreeSet<(String, String)> = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        if method == Method::GET {
            let query = if path == "/admin/accounts" { format!("?did={did}") } else { String::new() };
            let answer = world.relay.get_admin(&format!("{}{query}", filled(path, operation))).await;
            assert_fits(&document, operation, path, &answer);
        } else {
            left.insert((method.as_str().to_lowercase(), path.to_owned()));
        }
    }
    for (method, path, query, body) in changes {
        let is_open = async |relay: &Relay| relay.count("/hosts/connected").await > 0;
        world.relay.until("a stream is open", is_open).await;
        let name = method.as_str().to_lowercase();
        let operation = &document["paths"][&path][&name];
        let answer = ask(&world.relay, method, &format!("{}{query}", filled(&path, operation)), body).await;
        assert_fits(&document, operation, &path, &answer);
        left.remove(&(name, path));
    }
    assert!(left.is_empty(), "add a request for each of these to the test: {left:?}");
    // With rows in them now.
    for path in ["/admin/audit", "/admin/pds/list"] {
        let answer = world.relay.get_admin(path).await;
        assert_fits(&document, &document["paths"][path]["get"], path, &answer);
        assert!(!answer.json.as_array().unwrap().is_empty());
    }
}

/// The reference is generated: `UPDATE_GENERATED=1 cargo test -p relay --test openapi`.
#[test]
fn the_reference_is_what_the_document_says() {
    let document: Value = serde_json::from_str(include_str!("../src/http/admin/openapi.json")).unwrap();
    let mut table = String::from("| route | body | |\n|---|---|---|\n");
    for path in document["paths"].as_object().unwrap().keys() {
        for method in METHODS {
            let Some(operation) = document["paths"][path].get(method) else { continue };
            let route = format!("{} {path}{}", method.to_uppercase(), query(operation));
            let summary = operation["summary"].as_str().unwrap();
            table += &format!("| `{route}` | {} | {summary} |\n", body(operation));
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/admin-api.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- from openapi.json -->\n").expect("a place for the table");
    let (_, after) = rest.split_once("<!-- end -->").expect("an end of the table");
    let generated = format!("{before}<!-- from openapi.json -->\n\n{table}\n<!-- end -->{after}");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&file, generated).unwrap();
    } else {
        let command = "UPDATE_GENERATED=1 dev/cargo.sh test --release --workspace --test openapi";
        assert!(text == generated, "docs/reference/admin-api.md is stale; run: {command}");
    }
}

fn query(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.filter(|parameter| parameter["in"] == "query");
    let names: Vec<String> = parameters.map(|parameter| format!("{}=", parameter["name"].as_str().unwrap())).collect();
    if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) }
}

fn body(operation: &Value) -> String {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let names = schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys());
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
