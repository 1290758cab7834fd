//! The collections that accounts have records in.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::super::App;
use super::super::answer::{self, Asked, Limits};
use super::routes::Routes;
use crate::protocol::nsid::Nsid;

/// A network has some ten thousand collections; the page for people reads them all.
const PAGE: Limits = Limits { default: 1000, max: 10_000 };

pub(super) fn routes() -> Routes {
    Routes::new().route("/admin/collections", get(list))
}

/// A page of collections, by name. An empty cursor is none.
#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
    #[serde(default)]
    cursor: String,
}

#[derive(Serialize)]
struct Collections<'a> {
    collections: Vec<Collection<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a Nsid>,
}

#[derive(Serialize)]
struct Collection<'a> {
    collection: &'a Nsid,
    accounts: u64,
}

async fn list(State(app): State<Arc<App>>, Asked(page): Asked<Page>) -> Response {
    let limit = match PAGE.of(page.limit) {
        Ok(limit) => limit,
        Err(response) => return *response,
    };
    let after = match (page.cursor.as_str(), Nsid::parse(&page.cursor)) {
        ("", _) => Bound::Unbounded,
        (_, Ok(name)) => Bound::Excluded(name),
        (_, Err(error)) => return answer::bad_request(format!("cursor: {error}")),
    };
    let directory = app.directory.clone();
    let counts: BTreeMap<Nsid, u64> = match answer::blocking(move || Ok::<_, Infallible>(directory.counts())).await {
        Ok(counts) => counts,
        Err(response) => return *response,
    };
    let mut rest = counts.range((after, Bound::Unbounded));
    let page = rest.by_ref().take(limit).map(|(collection, accounts)| Collection { collection, accounts: *accounts });
    let collections: Vec<Collection<'_>> = page.collect();
    let cursor = collections.last().map(|last| last.collection).filter(|_| rest.next().is_some());
    Json(Collections { collections, cursor }).into_response()
}
