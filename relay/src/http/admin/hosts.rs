//! Hosts: what they are at, and what an operator decides about them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::super::App;
use super::super::answer::{self, Asked, Told};
use super::super::xrpc::{Crawl, crawl};
use crate::config::Validation;
use crate::decisions::OwnLimits;
use crate::host::Named;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/admin/pds/list", get(list))
        .route("/admin/pds/requestCrawl", post(request_crawl))
        .route("/admin/pds/block", post(block))
        .route("/admin/pds/unblock", post(unblock))
        .route("/admin/pds/resetCursor", post(reset_cursor))
        .route("/admin/pds/changeLimits", post(change_limits))
        .route("/admin/pds/setValidation", post(set_validation))
        .route("/admin/subs/perDayLimit", get(new_hosts_per_day))
        .route("/admin/subs/setPerDayLimit", post(set_new_hosts_per_day))
}

async fn list(State(app): State<Arc<App>>) -> Response {
    Json(app.hosts.all().iter().map(|host| host.report()).collect::<Vec<_>>()).into_response()
}

async fn request_crawl(State(app): State<Arc<App>>, Told(asked): Told<Crawl>) -> Response {
    crawl(&app, &asked, Named::ByAdmin).await
}

#[derive(Deserialize)]
struct ByHost {
    host: String,
}

async fn block(State(app): State<Arc<App>>, Asked(query): Asked<ByHost>) -> Response {
    set_banned(&app, &query.host, true).await
}

async fn unblock(State(app): State<Arc<App>>, Asked(query): Asked<ByHost>) -> Response {
    set_banned(&app, &query.host, false).await
}

async fn set_banned(app: &App, host: &str, is_banned: bool) -> Response {
    let Some(host) = app.hosts.find(host) else { return unknown_host() };
    match app.hosts.set_banned(&host, is_banned).await {
        Ok(()) => Json(host.report()).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

async fn reset_cursor(State(app): State<Arc<App>>, Asked(query): Asked<ByHost>) -> Response {
    let Some(host) = app.hosts.find(&query.host) else { return unknown_host() };
    match app.hosts.reset_cursor(&host).await {
        Ok(()) => Json(host.report()).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

/// How many new hosts a day may bring by requestCrawl; 0 is no limit.
#[derive(Deserialize)]
struct PerDay {
    limit: u64,
}

async fn new_hosts_per_day(State(app): State<Arc<App>>) -> Response {
    Json(json!({ "limit": app.hosts.new_hosts_per_day().unwrap_or(0) })).into_response()
}

async fn set_new_hosts_per_day(State(app): State<Arc<App>>, Asked(asked): Asked<PerDay>) -> Response {
    match app.hosts.set_new_hosts_per_day(asked.limit).await {
        Ok(()) => new_hosts_per_day(State(app)).await,
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

async fn change_limits(State(app): State<Arc<App>>, Told(change): Told<ChangeLimits>) -> Response {
    let Some(host) = app.hosts.find(&change.host) else { return unknown_host() };
    let limits = OwnLimits { accounts: change.account_limit, events_per_second: change.events_per_second };
    match app.hosts.set_limits(&host, limits).await {
        Ok(let_in) => {
            let mut answer = json!(host.report());
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

async fn set_validation(State(app): State<Arc<App>>, Told(change): Told<SetValidation>) -> Response {
    let Some(host) = app.hosts.find(&change.host) else { return unknown_host() };
    match app.hosts.set_validation(&host, change.validation).await {
        Ok(()) => Json(host.report()).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

fn unknown_host() -> Response {
    answer::error(StatusCode::NOT_FOUND, "HostNotFound", "this relay does not know the host")
}
