//! The XRPC methods of a relay besides the firehose (protocol 14, 33).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Asked, Limits, Told, cut};
use super::{App, answer};
use crate::account::Account;
use crate::host::{AddError, Host, Named};
use crate::identity::{Freshness, Lookup};
use crate::protocol::did::Did;

/// Page sizes, as the lexicons state them.
const LIST_REPOS: Limits = Limits { default: 500, max: 1000 };
const LIST_HOSTS: Limits = Limits { default: 200, max: 1000 };

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/xrpc/com.atproto.sync.requestCrawl", post(request_crawl))
        .route("/xrpc/com.atproto.sync.listHosts", get(list_hosts))
        .route("/xrpc/com.atproto.sync.getHostStatus", get(host_status))
        .route("/xrpc/com.atproto.sync.listRepos", get(list_repos))
        .route("/xrpc/com.atproto.sync.getRepoStatus", get(repo_status))
        .route("/xrpc/com.atproto.sync.getLatestCommit", get(latest_commit))
        .route("/xrpc/com.atproto.sync.getRepo", get(repo))
}

/// Body of requestCrawl, here and in the admin API.
#[derive(Deserialize)]
pub(super) struct Crawl {
    hostname: String,
}

async fn request_crawl(State(app): State<Arc<App>>, Told(asked): Told<Crawl>) -> Response {
    if !app.request_crawl.is_enabled() {
        return answer::error(StatusCode::FORBIDDEN, "Forbidden", "requestCrawl is switched off on this relay");
    }
    crawl(&app, &asked, Named::ByAnyone).await
}

/// Takes a host that is named.
pub(super) async fn crawl(app: &App, asked: &Crawl, by: Named<'_>) -> Response {
    match app.hosts.add(&asked.hostname, by).await {
        Ok(_) => Json(json!({})).into_response(),
        Err(error @ AddError::Name(_)) => answer::error(StatusCode::BAD_REQUEST, "BadRequest", error),
        Err(error @ AddError::Banned(_)) => answer::error(StatusCode::FORBIDDEN, "HostBanned", error),
        Err(error @ AddError::Check(_)) => answer::error(StatusCode::BAD_REQUEST, "HostNotFound", error),
        // What XRPC calls a limit that is reached: clients know the name, the status and the header, and PDSes go on.
        Err(error @ AddError::DayIsFull { retry_after, .. }) => {
            let mut response = answer::error(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", error);
            response.headers_mut().insert(header::RETRY_AFTER, retry_after.as_secs().into());
            response
        }
        Err(error @ AddError::Stopping) => answer::error(StatusCode::SERVICE_UNAVAILABLE, "Stopping", error),
        Err(error @ AddError::Decisions(_)) => answer::internal(error),
    }
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list_hosts(State(app): State<Arc<App>>, Asked(page): Asked<Page>) -> Response {
    let limit = match LIST_HOSTS.of(page.limit) {
        Ok(limit) => limit,
        Err(response) => return *response,
    };
    let Ok(after) = page.cursor.map_or(Ok(0), |cursor| cursor.parse()) else {
        return answer::bad_request("cursor is not one that this relay gave out");
    };
    let mut hosts = app.hosts.page(after, limit + 1);
    let is_last = cut(&mut hosts, limit);
    let cursor = hosts.last().filter(|_| !is_last).map(|host| host.id.to_string());
    let hosts: Vec<Value> = hosts.iter().map(|host| host_json(host)).collect();
    Json(with_cursor(json!({ "hosts": hosts }), cursor)).into_response()
}

#[derive(Deserialize)]
struct ByHostname {
    hostname: String,
}

async fn host_status(State(app): State<Arc<App>>, Asked(query): Asked<ByHostname>) -> Response {
    match app.hosts.find(&query.hostname) {
        Some(host) => Json(host_json(&host)).into_response(),
        None => answer::error(StatusCode::NOT_FOUND, "HostNotFound", "this relay does not know the host"),
    }
}

fn host_json(host: &Host) -> Value {
    let mut json = json!({
        "hostname": host.name.as_str(),
        "accountCount": host.accounts(),
        "status": host.status().as_str(),
    });
    if let Some(seq) = host.cursor() {
        json["seq"] = seq.into();
    }
    json
}

async fn list_repos(State(app): State<Arc<App>>, Asked(page): Asked<Page>) -> Response {
    let limit = match LIST_REPOS.of(page.limit) {
        Ok(limit) => limit,
        Err(response) => return *response,
    };
    let accounts = app.accounts.clone();
    let read = answer::blocking(move || accounts.page(page.cursor.as_deref(), limit + 1)).await;
    let mut accounts = match read {
        Ok(accounts) => accounts,
        Err(response) => return *response,
    };
    let is_last = cut(&mut accounts, limit);
    let cursor = accounts.last().filter(|_| !is_last).map(|(did, _)| did.clone());
    let repos: Vec<Value> = accounts.iter().filter_map(|(did, account)| repo_json(did, account)).collect();
    Json(with_cursor(json!({ "repos": repos }), cursor)).into_response()
}

fn repo_json(did: &str, account: &Account) -> Option<Value> {
    let repo = account.repo?;
    let mut json = account_json(did, account);
    json["head"] = repo.commit.to_string().into();
    Some(json)
}

fn account_json(did: &str, account: &Account) -> Value {
    let mut json = json!({ "did": did, "active": account.is_active() });
    if let Some(status) = account.status_name() {
        json["status"] = status.into();
    }
    if let Some(repo) = account.repo {
        json["rev"] = repo.rev.to_string().into();
    }
    json
}

#[derive(Deserialize)]
struct ByDid {
    did: String,
}

async fn repo_status(State(app): State<Arc<App>>, Asked(query): Asked<ByDid>) -> Response {
    match known_account(&app, &query) {
        Ok((did, account)) => Json(account_json(did.as_str(), &account)).into_response(),
        Err(response) => *response,
    }
}

async fn latest_commit(State(app): State<Arc<App>>, Asked(query): Asked<ByDid>) -> Response {
    let account = match known_account(&app, &query) {
        Ok((_, account)) => account,
        Err(response) => return *response,
    };
    let inactive = (!account.is_active()).then(|| match account.status_name() {
        Some("deactivated") => "RepoDeactivated",
        Some("deleted") => "RepoDeleted",
        Some("takendown") => "RepoTakendown",
        Some("suspended") => "RepoSuspended",
        _ => "RepoInactive",
    });
    match (inactive, account.repo) {
        (Some(name), _) => answer::error(StatusCode::FORBIDDEN, name, "the account is not active"),
        (None, None) => {
            answer::error(StatusCode::NOT_FOUND, "RepoNotSynchronized", "no commit of the repository has come yet")
        }
        (None, Some(repo)) => {
            Json(json!({ "cid": repo.commit.to_string(), "rev": repo.rev.to_string() })).into_response()
        }
    }
}

fn known_account(app: &App, query: &ByDid) -> Result<(Did, Account), Box<Response>> {
    let did = parse_did(query)?;
    match app.accounts.get(did.as_str()) {
        Ok(Some(account)) => Ok((did, account)),
        Ok(None) => {
            let message = "this relay has seen no event of the account";
            Err(Box::new(answer::error(StatusCode::NOT_FOUND, "RepoNotFound", message)))
        }
        Err(failure) => Err(Box::new(answer::internal(failure))),
    }
}

/// Sends the client to the account's PDS, which has the repository; we do not.
async fn repo(State(app): State<Arc<App>>, Asked(query): Asked<ByDid>) -> Response {
    let did = match parse_did(&query) {
        Ok(did) => did,
        Err(response) => return *response,
    };
    let identity = match app.resolver.get(&did) {
        Lookup::Known(identity) => Some(identity),
        Lookup::Absent => None,
        Lookup::Unknown => match app.resolver.resolve(&did, Freshness::Cached).await {
            Ok(identity) => identity,
            Err(error) => return answer::error(StatusCode::BAD_GATEWAY, "IdentityUnavailable", error),
        },
    };
    let Some(pds) = identity.as_ref().and_then(|identity| identity.pds.as_ref()) else {
        return answer::error(StatusCode::NOT_FOUND, "RepoNotFound", "the account has no PDS");
    };
    let scheme = if pds.secure { "https" } else { "http" };
    let url = format!("{scheme}://{}/xrpc/com.atproto.sync.getRepo?did={did}", pds.host);
    match HeaderValue::from_str(&url) {
        Ok(url) => (StatusCode::FOUND, [(header::LOCATION, url)]).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

fn parse_did(query: &ByDid) -> Result<Did, Box<Response>> {
    Did::parse(&query.did).map_err(|error| Box::new(answer::bad_request(error)))
}

fn with_cursor(mut page: Value, cursor: Option<String>) -> Value {
    if let Some(cursor) = cursor {
        page["cursor"] = cursor.into();
    }
    page
}
