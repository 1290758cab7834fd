//! Hosts: what they are at, and what an operator decides about them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::super::App;
use super::super::answer::{self, Asked, Told};
use super::super::auth::Holder;
use super::super::xrpc::{Crawl, crawl};
use super::routes::Routes;
use super::{done, reference};
use crate::config::Validation;
use crate::decisions::{Actor, OwnLimits};
use crate::host::{Host, Named};

pub(super) fn routes() -> Routes {
    Routes::new()
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
    let hosts = app.hosts.all();
    Json(hosts.iter().map(|host| host_json(host)).collect::<Vec<Value>>()).into_response()
}

/// A host with our names for what is known of it, and with those of the reference relay.
pub(super) fn host_json(host: &Host) -> Value {
    let mut json = json!(host.report());
    reference::put_names(&mut json, host);
    json
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
        Ok(()) => done(host_json(&host)),
        Err(failure) => answer::internal(failure),
    }
}

async fn reset_cursor(State(app): State<Arc<App>>, holder: Holder, Asked(query): Asked<ByHost>) -> Response {
    let Some(host) = app.hosts.find(&query.host) else { return unknown_host() };
    match app.hosts.reset_cursor(&host, holder.actor()).await {
        Ok(()) => done(host_json(&host)),
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

async fn set_new_hosts_per_day(State(app): State<Arc<App>>, holder: Holder, Asked(asked): Asked<PerDay>) -> Response {
    match app.hosts.set_new_hosts_per_day(asked.limit, holder.actor()).await {
        Ok(()) => done(json!({ "limit": asked.limit })),
        Err(failure) => answer::internal(failure),
    }
}

/// New limits of one host: one that is left out stays as it is, null goes back to the configured one, 0 is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeLimits {
    host: String,
    #[serde(default, deserialize_with = "given")]
    account_limit: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    events_per_second: Option<Option<u32>>,
    /// The reference relay's name for `account_limit`. Null is no change here: a sibling sends it when it has changed
    /// something else.
    repo_limit: Option<u64>,
    /// What the reference relay and its dashboard send besides, and this relay does not have.
    account_limit_alerts_silenced: Option<IgnoredAny>,
    per_second: Option<IgnoredAny>,
    per_hour: Option<IgnoredAny>,
    per_day: Option<IgnoredAny>,
}

impl ChangeLimits {
    fn is_empty(&self) -> bool {
        let ignored = [&self.account_limit_alerts_silenced, &self.per_second, &self.per_hour, &self.per_day];
        let is_given = self.account_limit.is_some() || self.repo_limit.is_some() || self.events_per_second.is_some();
        !is_given && ignored.iter().all(|ignored| ignored.is_none())
    }
}

/// Tells what is null from what is not there.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

async fn change_limits(State(app): State<Arc<App>>, holder: Holder, Told(change): Told<ChangeLimits>) -> Response {
    let Some(host) = app.hosts.find(&change.host) else { return unknown_host() };
    if change.is_empty() {
        return answer::bad_request("name a limit to change: account_limit (or repo_limit), events_per_second");
    }
    let before = match app.decisions.host(host.name.as_str()).await {
        Ok(row) => row.map(|row| row.limits).unwrap_or_default(),
        Err(failure) => return answer::internal(failure),
    };
    let limits = OwnLimits {
        accounts: change.account_limit.or(change.repo_limit.map(Some)).unwrap_or(before.accounts),
        events_per_second: change.events_per_second.unwrap_or(before.events_per_second),
    };
    match app.hosts.set_limits(&host, limits, holder.actor()).await {
        Ok(let_in) => {
            let mut answer = host_json(&host);
            answer["accountsLetIn"] = let_in.into();
            done(answer)
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
        Ok(()) => done(host_json(&host)),
        Err(failure) => answer::internal(failure),
    }
}

pub(super) fn unknown_host() -> Response {
    answer::error(StatusCode::NOT_FOUND, "HostNotFound", "this relay does not know the host")
}
