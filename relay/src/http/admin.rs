//! The admin API. Routes and bodies are those of the reference relay where it has them, so that its command-line tools
//! work here; the status document is ours (DESIGN.md, "the contract between operator and relay").

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Asked, Told};
use super::xrpc::{Crawl, crawl};
use super::{App, answer, auth};
use crate::decisions::{self, OwnLimits};
use crate::firehose::ConsumerState;
use crate::host::{Host, Named};

const PAGE: &str = include_str!("page.html");

pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/admin", get(|| async { Html(PAGE) }))
        .route("/admin/status", get(status))
        .route("/admin/consumers/list", get(consumers))
        .route("/admin/pds/list", get(hosts))
        .route("/admin/pds/requestCrawl", post(request_crawl))
        .route("/admin/pds/block", post(block))
        .route("/admin/pds/unblock", post(unblock))
        .route("/admin/pds/changeLimits", post(change_limits))
        .route("/admin/subs/listDomainBans", get(domain_bans))
        .route("/admin/subs/banDomain", post(ban_domain))
        .route("/admin/subs/unbanDomain", post(unban_domain))
        .route("/admin/audit", get(audit))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), auth::require_token))
}

async fn status(State(app): State<Arc<App>>) -> Response {
    Json(app.reporter.status()).into_response()
}

async fn consumers(State(app): State<Arc<App>>) -> Response {
    let consumers = app.firehose.list();
    let rows = consumers.iter().map(|consumer| {
        json!({
            "id": consumer.id,
            "remote_addr": consumer.address.to_string(),
            "user_agent": consumer.user_agent,
            "connected_at": consumer.connected_at.to_string(),
            "cursor": consumer.cursor,
            "events_consumed": consumer.events_sent,
            "bytes": consumer.bytes_sent,
            "state": consumer_state(consumer.state),
        })
    });
    Json(rows.collect::<Vec<Value>>()).into_response()
}

fn consumer_state(state: ConsumerState) -> &'static str {
    match state {
        ConsumerState::Replaying => "replaying",
        ConsumerState::Live => "live",
    }
}

async fn hosts(State(app): State<Arc<App>>) -> Response {
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
        "accountLimit": limits.accounts,
        "eventsPerSecondLimit": limits.events_per_second,
        "received": host.counts.received.load(Ordering::Relaxed),
        "passed": host.counts.passed.load(Ordering::Relaxed),
        "dropped": host.counts.dropped.load(Ordering::Relaxed),
        "connects": host.counts.connects.load(Ordering::Relaxed),
        "lastError": host.last_error(),
    })
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

async fn change_limits(State(app): State<Arc<App>>, Told(change): Told<ChangeLimits>) -> Response {
    let Some(host) = app.hosts.find(&change.host) else { return unknown_host() };
    let limits = OwnLimits { accounts: change.account_limit, events_per_second: change.events_per_second };
    match app.hosts.set_limits(&host, limits).await {
        Ok(()) => Json(host_json(&host)).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

async fn domain_bans(State(app): State<Arc<App>>) -> Response {
    match app.decisions.banned_domains().await {
        Ok(domains) => Json(json!({ "banned_domains": domains })).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

#[derive(Deserialize)]
struct ByDomain {
    #[serde(alias = "Domain")]
    domain: String,
}

async fn ban_domain(State(app): State<Arc<App>>, Told(asked): Told<ByDomain>) -> Response {
    domain_changed(app.hosts.ban_domain(&asked.domain).await)
}

async fn unban_domain(State(app): State<Arc<App>>, Told(asked): Told<ByDomain>) -> Response {
    domain_changed(app.hosts.unban_domain(&asked.domain).await)
}

fn domain_changed(changed: Result<bool, decisions::Error>) -> Response {
    match changed {
        Ok(changed) => Json(json!({ "changed": changed })).into_response(),
        Err(error @ decisions::Error::Domain(_)) => answer::bad_request(error),
        Err(failure) => answer::internal(failure),
    }
}

/// A page of the audit: the rows before the one with this id, newest first.
#[derive(Deserialize)]
struct AuditPage {
    before: Option<u64>,
}

/// Rows in one page of the audit.
const AUDIT_PAGE: u32 = 200;

async fn audit(State(app): State<Arc<App>>, Asked(page): Asked<AuditPage>) -> Response {
    let rows = match app.decisions.audit(page.before, AUDIT_PAGE).await {
        Ok(rows) => rows,
        Err(failure) => return answer::internal(failure),
    };
    let rows = rows.iter().map(|row| {
        json!({
            "id": row.id,
            "at_ms": row.at_ms,
            "actor": row.actor,
            "action": row.action,
            "subject": row.subject,
            "detail": row.detail,
        })
    });
    Json(rows.collect::<Vec<Value>>()).into_response()
}

fn unknown_host() -> Response {
    answer::error(StatusCode::NOT_FOUND, "HostNotFound", "this relay does not know the host")
}
