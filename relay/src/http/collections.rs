//! The directory of collections for everyone (protocol 34): the XRPC method, and the routes of indigo's collectiondir.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::App;
use super::answer::{self, Asked, Limits, cut};
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;

/// Page sizes of accounts, as the lexicon states them.
const ACCOUNTS: Limits = Limits { default: 500, max: 2000 };
/// Page sizes of collections, as in collectiondir, which takes the nearest of these for any other.
const COLLECTIONS_DEFAULT: usize = 500;
const COLLECTIONS_MIN: usize = 50;
const COLLECTIONS_MAX: usize = 1000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/xrpc/com.atproto.sync.listReposByCollection", get(accounts))
        .route("/v1/getDidsForCollection", get(accounts))
        .route("/v1/listCollections", get(collections))
}

/// A page of the accounts with records in a collection: those after the cursor, which is a DID. An empty cursor is none,
/// as in collectiondir.
#[derive(Deserialize)]
struct AccountsPage {
    collection: Nsid,
    limit: Option<usize>,
    #[serde(default)]
    cursor: String,
}

#[derive(Serialize)]
struct Accounts<'a> {
    repos: Vec<Repo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Repo<'a> {
    did: &'a str,
}

async fn accounts(State(app): State<Arc<App>>, Asked(page): Asked<AccountsPage>) -> Response {
    let limit = match ACCOUNTS.of(page.limit) {
        Ok(limit) => limit,
        Err(response) => return *response,
    };
    let after = match (page.cursor.as_str(), Did::parse(&page.cursor)) {
        ("", _) => None,
        (_, Ok(did)) => Some(did),
        (_, Err(error)) => return answer::bad_request(format!("cursor is not one that this relay gave out: {error}")),
    };
    let directory = app.directory.clone();
    let read = answer::blocking(move || directory.page(&page.collection, after.as_ref(), limit + 1)).await;
    let mut dids = match read {
        Ok(dids) => dids,
        Err(response) => return *response,
    };
    let is_last = cut(&mut dids, limit);
    let cursor = dids.last().filter(|_| !is_last).map(Did::as_str);
    let repos = dids.iter().map(|did| Repo { did: did.as_str() }).collect();
    Json(Accounts { repos, cursor }).into_response()
}

/// The collections with the numbers of their accounts, by name.
#[derive(Serialize)]
struct Collections {
    collections: BTreeMap<Nsid, u64>,
    /// Empty on the last page, as in collectiondir.
    cursor: String,
}

/// `c` may be there several times: then these collections alone are told of.
async fn collections(State(app): State<Arc<App>>, Asked(asked): Asked<Vec<(String, String)>>) -> Response {
    let asked = match CollectionsPage::read(&asked) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let directory = app.directory.clone();
    let counts = match answer::blocking(move || Ok::<_, Infallible>(directory.counts())).await {
        Ok(counts) => counts,
        Err(response) => return *response,
    };
    Json(asked.of(&counts, app.collections_min_accounts)).into_response()
}

#[derive(Debug, PartialEq)]
enum CollectionsPage {
    /// These.
    Named(Vec<Nsid>),
    /// Up to `limit`, those after `after` only.
    All { after: Option<Nsid>, limit: usize },
}

impl CollectionsPage {
    fn read(parameters: &[(String, String)]) -> Result<CollectionsPage, Box<Response>> {
        let bad = |name: &str, error: &dyn std::fmt::Display| Box::new(answer::bad_request(format!("{name}: {error}")));
        let (mut named, mut after, mut limit) = (Vec::new(), None, COLLECTIONS_DEFAULT);
        for (name, value) in parameters {
            match name.as_str() {
                "c" => named.push(Nsid::parse(value).map_err(|error| bad(name, &error))?),
                "cursor" if !value.is_empty() => {
                    after = Some(Nsid::parse(value).map_err(|error| bad(name, &error))?);
                }
                "limit" => limit = value.parse().map_err(|error| bad(name, &error))?,
                _ => {}
            }
        }
        if named.is_empty() {
            Ok(CollectionsPage::All { after, limit: limit.clamp(COLLECTIONS_MIN, COLLECTIONS_MAX) })
        } else {
            Ok(CollectionsPage::Named(named))
        }
    }

    /// Collections that are asked for by name are told of however few accounts they have.
    fn of(self, counts: &BTreeMap<Nsid, u64>, accounts_min: u64) -> Collections {
        let (after, limit) = match self {
            CollectionsPage::Named(named) => {
                let known = named.into_iter().filter_map(|name| Some((name.clone(), *counts.get(&name)?)));
                return Collections { collections: known.collect(), cursor: String::new() };
            }
            CollectionsPage::All { after, limit } => (after.map_or(Bound::Unbounded, Bound::Excluded), limit),
        };
        let rest = counts.range((after, Bound::Unbounded));
        let mut shown = rest.filter(|(_, accounts)| **accounts >= accounts_min);
        let page: BTreeMap<Nsid, u64> =
            shown.by_ref().take(limit).map(|(name, accounts)| (name.clone(), *accounts)).collect();
        let last = page.keys().next_back().filter(|_| shown.next().is_some());
        Collections { cursor: last.map(Nsid::to_string).unwrap_or_default(), collections: page }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(number: usize) -> BTreeMap<Nsid, u64> {
        let name = |number| Nsid::parse(&format!("com.example.c{number:04}")).expect("an NSID");
        (0..number).map(|number| (name(number), number as u64 % 3)).collect()
    }

    fn read(query: &[(&str, &str)]) -> CollectionsPage {
        let query: Vec<(String, String)> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        CollectionsPage::read(&query).expect("a good query")
    }

    #[test]
    fn all_collections_come_once_and_in_order_over_the_pages() {
        let counts = counts(1000);
        for (limit, accounts_min, shown, pages) in
            [("1", 0, 1000, 20), ("333", 0, 1000, 4), ("1000", 0, 1000, 1), ("9999", 0, 1000, 1), ("500", 2, 333, 1)]
        {
            let (mut cursor, mut seen, mut requests) = (String::new(), Vec::new(), 0);
            loop {
                let page = read(&[("limit", limit), ("cursor", &cursor)]).of(&counts, accounts_min);
                assert!(page.collections.values().all(|accounts| *accounts >= accounts_min), "{limit}");
                seen.extend(page.collections.into_keys());
                requests += 1;
                cursor = page.cursor;
                if cursor.is_empty() {
                    break;
                }
            }
            assert_eq!((seen.len(), requests), (shown, pages), "{limit}");
            assert!(seen.is_sorted(), "{limit}");
        }
    }

    #[test]
    fn collections_that_are_named_are_told_of_alone() {
        let query = [("c", "com.example.c0001"), ("c", "com.example.c0003"), ("c", "com.example.other")];
        let page = read(&query).of(&counts(10), 5);
        let told: Vec<(&str, u64)> =
            page.collections.iter().map(|(name, accounts)| (name.as_str(), *accounts)).collect();
        assert_eq!(told, [("com.example.c0001", 1), ("com.example.c0003", 0)]);
        assert_eq!(page.cursor, "");
    }
}
