//! Hosts: what they are at, and what an operator decides about them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::App;
use super::super::answer::{self, Asked, Told};
use super::super::auth::Holder;
use super::super::xrpc::{Crawl, crawl};
use crate::config::Validation;
use crate::decisions::{Actor, OwnLimits};
use crate::host::{Host, Named};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/admin/pds/list", get(list))
        .route("/admin/pds/requestCrawl", post(request_crawl))
        .route("/admin/pds/block", post(block))
        .route("/admin/pds/unblock", post(unblock))
        .route("/admin/pds/changeLimits", post(change_limits))
        .route("/admin/pds/setValidation", post(set_validation))
}

async fn list(State(app): State<Arc<App>>) -> Response {
    let hosts = app.hosts.all();
    Json(hosts.iter().map(|host| host_json(host)).collect::<Vec<Value>>()).into_response()
}

fn host_json(host: &Host) -> Value {
    let limits = host.limits();
    json!({
        "id": host.id,
        "host": host.name.as_str(),
        "status": host.status().as_str(),
        "connected": host.is_connected(),
        "cursor": host.cursor(),
        "accounts": host.accounts(),
        "accountsHeld": host.held(),
        "validation": host.validation().as_str(),
        "accountLimit": limits.accounts,
        "eventsPerSecondLimit": limits.events_per_second,
        "received": host.counts.received.load(Ordering::Relaxed),
        "passed": host.counts.passed.load(Ordering::Relaxed),
        "dropped": host.counts.dropped.load(Ordering::Relaxed),
        "connects": host.counts.connects.load(Ordering::Relaxed),
        "lastError": host.last_error(),
    })
}

async fn request_crawl(State(app): State<Arc<App>>, holder: Holder, Told(asked): Told<Crawl>) -> Response {
    crawl(&app, &asked, Named::ByAdmin(holder.name())).await
}

#[derive(Deserialize)]
struct ByHost {
    host: String,
}

async fn block(State(app): State<Arc<App>>, holder: Holder, Asked(query): Asked<ByHost>) -> Response {
    set_banned(&app, &query.host, true, holder.actor()).await
}

async fn unblock(State(app): State<Arc<App>>, holder: Holder, Asked(query): Asked<ByHost>) -> Response {
    set_banned(&app, &query.host, false, holder.actor()).await
}

async fn set_banned(app: &App, host: &str, is_banned: bool, by: Actor<'_>) -> Response {
    let Some(host) = app.hosts.find(host) else { return unknown_host() };
    match app.hosts.set_banned(&host, is_banned, by).await {
        Ok(()) => Json(host_json(&host)).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

/// New limits of one host. A limit that is left out goes back to the configured one, 0 is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeLimits {
    host: String,
    #[serde(alias = "repo_limit")]
    account_limit: Option<u64>,
    events_per_second: Option<u32>,
}

async fn change_limits(State(app): State<Arc<App>>, holder: Holder, Told(change): Told<ChangeLimits>) -> Response {
    let Some(host) = app.hosts.find(&change.host) else { return unknown_host() };
    let limits = OwnLimits { accounts: change.account_limit, events_per_second: change.events_per_second };
    match app.hosts.set_limits(&host, limits, holder.actor()).await {
        Ok(let_in) => {
            let mut answer = host_json(&host);
            answer["accountsLetIn"] = let_in.into();
            Json(answer).into_response()
        }
        Err(failure) => answer::internal(failure),
    }
}

/// What happens to a host's events that fail verification; absent or null is as configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetValidation {
    host: String,
    validation: Option<Validation>,
}

async fn set_validation(State(app): State<Arc<App>>, holder: Holder, Told(change): Told<SetValidation>) -> Response {
    let Some(host) = app.hosts.find(&change.host) else { return unknown_host() };
    match app.hosts.set_validation(&host, change.validation, holder.actor()).await {
        Ok(()) => Json(host_json(&host)).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

fn unknown_host() -> Response {
    answer::error(StatusCode::NOT_FOUND, "HostNotFound", "this relay does not know the host")
}
