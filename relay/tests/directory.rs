//! The directory of collections, as others read it (protocol 34).

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use common::World;
use relay::collections::{Directory, Edit};
use relay::protocol::did::Did;
use relay::protocol::nsid::Nsid;
use relay::store::{Sizes, Store};
use reqwest::Method;
use serde_json::{Value, json};

const PAGE: &str = "/xrpc/com.atproto.sync.listReposByCollection";

/// Memory of a store that nothing is measured on.
const SIZES: Sizes = Sizes { block_cache: 8 << 20, memtables: 8 << 20 };

fn did(number: usize) -> Did {
    let text = match number % 10 {
        9 => format!("did:web:account{number}.example.com"),
        _ => {
            let letters = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
            format!("did:plc:{letters:a>24}")
        }
    };
    Did::parse(&text).unwrap()
}

fn nsid(name: &str) -> Nsid {
    Nsid::parse(name).unwrap()
}

/// The accounts of these numbers have a collection.
fn add(collection: &Nsid, numbers: impl IntoIterator<Item = usize>) -> Vec<Edit> {
    numbers.into_iter().map(|number| Edit::Add(did(number), collection.clone())).collect()
}

/// A relay whose directory has had these edits before it started.
async fn relay_with(seed: u64, settings: &[&str], edits: &[Edit]) -> World {
    let mut world = World::new(seed, settings).await;
    assert!(world.relay.terminate().await.success());
    let store = Store::open(&world.data_dir().join("store"), SIZES).unwrap();
    Directory::open(store, 1 << 16).unwrap().apply(edits, |_| None).unwrap();
    world.relay.start_again().await;
    world
}

async fn get(world: &World, address: SocketAddr, path: &str) -> Value {
    let answer = world.relay.answer(world.relay.request(Method::GET, address, path)).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
    assert_eq!(answer.headers["content-type"], "application/json", "{path}");
    answer.json
}

/// All pages of a collection, with so many accounts to a page.
async fn pages(world: &World, address: SocketAddr, path: &str, query: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(world, address, &format!("{path}?{query}{cursor}")).await;
        let rows = page["repos"].as_array().unwrap().iter();
        let dids: Vec<String> = rows.map(|row| row["did"].as_str().unwrap().to_owned()).collect();
        let last = dids.last().cloned();
        pages.push(dids);
        match page.get("cursor") {
            None => return pages,
            Some(next) => {
                assert_eq!(next.as_str(), last.as_deref(), "the cursor is the last account");
                cursor = format!("&cursor={}", last.unwrap());
            }
        }
    }
}

/// Protocol 34: 1 to 2,000 accounts in a page, 500 unless the client says otherwise; each once, whatever the page's size;
/// no cursor on the last page.
#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_a_collection_come_in_pages() {
    const COUNT: usize = 2001;
    let (posts, other) = (nsid("app.bsky.feed.post"), nsid("com.example.other"));
    let edits = [add(&posts, 0..COUNT), add(&other, COUNT..COUNT + 3)].concat();
    let world = relay_with(340, &[], &edits).await;
    let expected: BTreeSet<String> = (0..COUNT).map(|number| did(number).to_string()).collect();
    let (public, admin) = (world.relay.public, world.relay.admin);
    for (address, path, limit, sizes) in [
        (public, PAGE, "", vec![500, 500, 500, 500, 1]),
        (public, PAGE, "&limit=2000", vec![2000, 1]),
        (public, PAGE, "&limit=667", vec![667, 667, 667]),
        (admin, PAGE, "&limit=1999", vec![1999, 2]),
        (public, "/v1/getDidsForCollection", "&limit=2000", vec![2000, 1]),
    ] {
        let pages = pages(&world, address, path, &format!("collection={posts}{limit}")).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{path} {limit}");
        let dids: Vec<String> = pages.concat();
        assert_eq!(dids.iter().cloned().collect::<BTreeSet<_>>(), expected, "{path} {limit}");
        assert_eq!(dids.len(), COUNT, "{path} {limit}: each once");
    }
    for collection in ["com.example.unknown", "com.example.Other", "app.bsky.feed"] {
        let page = get(&world, public, &format!("{PAGE}?collection={collection}")).await;
        assert_eq!(page, json!({ "repos": [] }), "{collection} is not known, and that is no error");
    }
    let page = get(&world, public, &format!("{PAGE}?collection={other}&limit=1&cursor=")).await;
    assert_eq!(page["repos"].as_array().unwrap().len(), 1);
    let cursor = did(7_000_000);
    get(&world, public, &format!("{PAGE}?collection={other}&cursor={cursor}")).await;
}

/// Protocol 34.
#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_answered_with_what_would() {
    let world = relay_with(341, &[], &[]).await;
    let posts = format!("{PAGE}?collection=app.bsky.feed.post");
    let cases = [
        (PAGE.to_owned(), "missing field `collection`"),
        (format!("{PAGE}?collection="), "is not an NSID"),
        (format!("{PAGE}?collection=post"), "\"post\" is not an NSID; write one like com.example.record"),
        (format!("{PAGE}?collection=app.bsky.feed.post%00"), "is not an NSID"),
        (format!("{PAGE}?collection=did:plc:7iza6de2dwap2sbkpav7c6c6"), "is not an NSID"),
        (format!("{PAGE}?collection={}.record", "a".repeat(9_000)), "is not an NSID"),
        (format!("{posts}&limit=0"), "limit must be between 1 and 2000"),
        (format!("{posts}&limit=2001"), "limit must be between 1 and 2000"),
        (format!("{posts}&limit=-1"), "limit"),
        (format!("{posts}&limit=many"), "limit"),
        (format!("{posts}&limit=1.5"), "limit"),
        (format!("{posts}&limit="), "limit"),
        (format!("{posts}&limit=99999999999999999999999"), "limit"),
        (format!("{posts}&cursor=abc"), "cursor is not one that this relay gave out"),
        (format!("{posts}&cursor=did:plc:short"), "cursor is not one that this relay gave out"),
        (format!("{posts}&cursor=did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N"), "cursor"),
        (format!("{posts}&cursor=%ff"), ""),
        ("/v1/getDidsForCollection?collection=post".to_owned(), "is not an NSID"),
        ("/v1/listCollections?c=post".to_owned(), "c: \"post\" is not an NSID"),
        ("/v1/listCollections?cursor=post".to_owned(), "cursor: \"post\" is not an NSID"),
        ("/v1/listCollections?limit=many".to_owned(), "limit: "),
        ("/v1/listCollections?limit=-1".to_owned(), "limit: "),
    ];
    for (path, message) in cases {
        for address in [world.relay.public, world.relay.admin] {
            let answer = world.relay.answer(world.relay.request(Method::GET, address, &path)).await;
            assert_eq!(
                (answer.status, &answer.json["error"]),
                (400, &json!("InvalidRequest")),
                "{path}: {}",
                answer.text
            );
            let told = answer.json["message"].as_str().unwrap();
            assert!(told.contains(message) && !told.is_empty(), "{path}: {told}");
            assert!(told.len() < 200, "{path}: what was sent is not sent back in full: {told}");
        }
    }
}

/// Protocol 34: names in their order, the numbers of accounts, and the filters of collectiondir.
#[tokio::test(flavor = "multi_thread")]
async fn collections_are_listed_with_the_numbers_of_their_accounts() {
    const COUNT: usize = 120;
    let name = |number: usize| nsid(&format!("com.example.c{number:03}"));
    let edits: Vec<Edit> = (0..COUNT).flat_map(|number| add(&name(number), 0..=number % 4)).collect();
    let mut world = relay_with(342, &["--collections-min-accounts=2"], &edits).await;
    let path = "/v1/listCollections";
    let mut listed = Vec::new();
    let mut cursor = String::new();
    for expected in [50, 40] {
        let page = get(&world, world.relay.public, &format!("{path}?limit=1&cursor={cursor}")).await;
        let page_of = page["collections"].as_object().unwrap();
        assert_eq!(page_of.len(), expected, "50 is the least that collectiondir gives");
        listed.extend(page_of.iter().map(|(name, accounts)| (name.clone(), accounts.as_u64().unwrap())));
        cursor = page["cursor"].as_str().unwrap().to_owned();
    }
    assert_eq!(cursor, "", "the last page");
    let expected = (0..COUNT).filter(|number| number % 4 >= 1);
    let expected: Vec<_> = expected.map(|number| (name(number).to_string(), number as u64 % 4 + 1)).collect();
    assert_eq!(listed, expected, "all with two accounts and more");

    let named =
        get(&world, world.relay.admin, &format!("{path}?c={}&c={}&c=com.example.unknown", name(7), name(4))).await;
    let expected = json!({ "collections": { name(7).as_str(): 4, name(4).as_str(): 1 }, "cursor": "" });
    assert_eq!(named, expected, "who asks by name is told of small ones too");
    assert!(world.relay.is_alive());
}

/// Protocol 34: whatever comes and goes between two pages, an account that stays is on one of them, once.
#[test]
fn pages_are_consistent_while_the_directory_changes() {
    const COUNT: usize = 300;
    let posts = nsid("app.bsky.feed.post");
    let is_steady = |number: &usize| number.is_multiple_of(3);
    for limit in [1, 2, 7, 50] {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(Store::open(folder.path(), SIZES).unwrap(), 1 << 16).unwrap();
        directory.apply(&add(&posts, (0..COUNT).filter(is_steady)), |_| None).unwrap();
        let (mut seen, mut after, mut turn) = (Vec::new(), None, 0);
        loop {
            let page = directory.page(&posts, after.as_ref(), limit).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            seen.extend(page);
            // All others come and go: each of them is there at every second page.
            let come_and_go = (0..COUNT).filter(|number| !is_steady(number));
            let edit = |number: usize| match (number + turn) % 2 {
                0 => Edit::Add(did(number), posts.clone()),
                _ => Edit::Replace { did: did(number), collections: Vec::new(), rev: None },
            };
            directory.apply(&come_and_go.map(edit).collect::<Vec<_>>(), |_| None).unwrap();
            turn += 1;
        }
        let distinct: BTreeSet<&Did> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "pages of {limit}: no account twice");
        for number in (0..COUNT).filter(is_steady) {
            assert!(distinct.contains(&did(number)), "pages of {limit}: {} is missing", did(number));
        }
        let others = seen.len() - (0..COUNT).filter(is_steady).count();
        assert!(others > 0, "pages of {limit}: others were there too");
    }
}
