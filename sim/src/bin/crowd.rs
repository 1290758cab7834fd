//! A network that wants more memory than a relay has: many hosts and accounts, hosts that attack, a directory of large
//! documents, and lists of millions of accounts. It runs for a relay elsewhere, which learns of its hosts by `listHosts`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Deserialize;
use serde_json::{Value, json};
use sim::server::free_address_on;
use sim::traffic::{Plan, Traffic};
use sim::{Fault, Fleet, Hostile, Malice};
use tokio::net::TcpListener;

/// A network that wants more memory than a relay has. Says where it is in one line, and sends when somebody reads
#[derive(Parser)]
struct Arguments {
    /// Address of this machine that the relay can reach
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    ip: Ipv4Addr,

    /// Hosts that send events
    #[arg(long, default_value_t = 1000)]
    hosts: usize,

    /// Accounts on each, which all do something
    #[arg(long, default_value_t = 20)]
    accounts_per_host: usize,

    /// Hosts that attack, of each kind
    #[arg(long, default_value_t = 12)]
    hostile: usize,

    /// Events per second, of all hosts
    #[arg(long, default_value_t = 300.0)]
    rate: f64,

    /// How long they are sent
    #[arg(long, default_value_t = 150)]
    seconds: u64,

    /// One account of so many has a DID document of a megabyte
    #[arg(long, default_value_t = 10)]
    large_document_every: usize,

    /// PLC directory that knows the accounts of other hosts
    #[arg(long, value_name = "URL")]
    plc: Option<String>,

    /// Collections that `listReposByCollection` knows: com.example.crowda, com.example.crowdb, …
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=26))]
    collections: u64,

    /// Accounts that each has, none of which has another
    #[arg(long, default_value_t = 400_000)]
    accounts_per_collection: u64,
}

/// Records of an account: the events should be small, since it is their number that counts.
const RECORDS: usize = 10;
const LARGE_DOCUMENT_BYTES: usize = 1 << 20;
/// Hosts on a page of `listHosts`.
const HOSTS_PAGE: usize = 200;
/// Accounts on a page of `listReposByCollection`, at most.
const ACCOUNTS_PAGE: u64 = 2000;
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What the lists say.
struct Lists {
    hosts: Vec<String>,
    collections: u64,
    accounts_per_collection: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).context("cannot raise the limit of open files")?;

    let accounts = arguments.hosts * arguments.accounts_per_host;
    let events = (arguments.rate * arguments.seconds as f64) as usize;
    let traffic = Arc::new(Traffic::make(&Plan {
        seed: 6,
        hosts: arguments.hosts,
        accounts_per_host: arguments.accounts_per_host,
        records: RECORDS,
        events: events.saturating_sub(accounts),
        bad: Vec::new(),
    }));
    let mut fleet = Fleet::start_on(arguments.ip, &traffic).await;
    for (_, account) in traffic.accounts().step_by(arguments.large_document_every.max(1)) {
        fleet.plc.set_fault_for(&account.did, Fault::Padded(LARGE_DOCUMENT_BYTES));
    }
    if let Some(url) = &arguments.plc {
        fleet.plc.set_upstream(url);
    }
    let mut hostile = Vec::new();
    for malice in Malice::ALL.into_iter().cycle().take(arguments.hostile * Malice::ALL.len()) {
        hostile.push(Hostile::start(arguments.ip, malice).await);
    }
    let names = hostile.iter().map(Hostile::name).chain(fleet.names()).map(str::to_owned);
    let lists = lists(
        arguments.ip,
        Lists {
            hosts: names.collect(),
            collections: arguments.collections,
            accounts_per_collection: arguments.accounts_per_collection,
        },
    );
    println!("ready plc={} lists=http://{}", fleet.plc.url(), lists.await?);

    while fleet.streams() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    send(&mut fleet, arguments.rate).await;
    println!("sent {} events", fleet.released());
    std::future::pending().await
}

/// Sends everything, and says how far it is.
async fn send(fleet: &mut Fleet, rate: f64) {
    let piece = (rate * TOLD_EVERY.as_secs_f64()).max(1.0) as usize;
    while fleet.left() > 0 {
        fleet.release_at(rate, piece.min(fleet.left())).await;
        eprintln!(
            "crowd: {} events sent, {} left, {} streams, {} documents asked for",
            fleet.released(),
            fleet.left(),
            fleet.streams(),
            fleet.plc.requests()
        );
    }
}

async fn lists(ip: Ipv4Addr, lists: Lists) -> anyhow::Result<SocketAddr> {
    let address = free_address_on(ip);
    let listener = TcpListener::bind(address).await.context("no port for the lists")?;
    let routes = Router::new()
        .route("/xrpc/com.atproto.sync.listHosts", get(list_hosts))
        .route("/xrpc/com.atproto.sync.listReposByCollection", get(list_accounts))
        .with_state(Arc::new(lists));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    collection: String,
    cursor: Option<u64>,
    limit: Option<u64>,
}

async fn list_hosts(State(lists): State<Arc<Lists>>, Query(page): Query<Page>) -> Json<Value> {
    let begin = page.cursor.unwrap_or(0) as usize;
    let hosts = lists.hosts.iter().skip(begin).take(HOSTS_PAGE);
    let hosts: Vec<Value> = hosts.map(|name| json!({ "hostname": name, "status": "active" })).collect();
    let end = begin + hosts.len();
    let mut answer = json!({ "hosts": hosts });
    if end < lists.hosts.len() {
        answer["cursor"] = end.to_string().into();
    }
    Json(answer)
}

/// The accounts of `com.example.crowda` are the first, those of `com.example.crowdb` follow them, and so on.
async fn list_accounts(State(lists): State<Arc<Lists>>, Query(page): Query<Page>) -> Json<Value> {
    let number = match page.collection.strip_prefix("com.example.crowd").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Some(u64::from(letter - b'a')),
        _ => None,
    };
    let known = number.filter(|number| *number < lists.collections);
    let (begin, until) = match known {
        Some(number) => {
            let first = number * lists.accounts_per_collection;
            (page.cursor.unwrap_or(first), first + lists.accounts_per_collection)
        }
        None => (0, 0),
    };
    let end = until.min(begin + page.limit.unwrap_or(ACCOUNTS_PAGE).min(ACCOUNTS_PAGE));
    let repos: Vec<Value> = (begin..end).map(|number| json!({ "did": did(number) })).collect();
    let mut answer = json!({ "repos": repos });
    if end < until {
        answer["cursor"] = end.to_string().into();
    }
    Json(answer)
}

/// The account of this number, in the order of the numbers.
fn did(number: u64) -> String {
    let letters = format!("{number:0>24}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
    format!("did:plc:{letters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pages_of_a_collection_are_its_accounts_once_and_in_order() {
        let lists = Arc::new(Lists { hosts: Vec::new(), collections: 2, accounts_per_collection: 5 });
        let mut dids = Vec::new();
        let mut cursor = None;
        loop {
            let page = Page { collection: "com.example.crowdb".to_owned(), cursor, limit: Some(2) };
            let Json(page) = list_accounts(State(Arc::clone(&lists)), Query(page)).await;
            let repos = page["repos"].as_array().expect("a list");
            dids.extend(repos.iter().filter_map(|repo| repo["did"].as_str()).map(str::to_owned));
            let Some(next) = page["cursor"].as_str() else { break };
            cursor = next.parse().ok();
        }
        assert_eq!(dids, (5..10).map(did).collect::<Vec<_>>());
        assert!(dids.is_sorted());
        for unknown in ["com.example.crowdc", "com.example.crowd", "com.example.post"] {
            let page = Page { collection: unknown.to_owned(), cursor: None, limit: None };
            let Json(page) = list_accounts(State(Arc::clone(&lists)), Query(page)).await;
            assert_eq!(page, json!({ "repos": [] }), "{unknown}");
        }
    }
}
