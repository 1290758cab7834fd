//! The two listeners: the public one with the firehose and XRPC, and the one for operators with everything.

mod admin;
mod answer;
mod auth;
mod collections;
mod forward;
mod health;
mod server;
mod starting;
mod xrpc;

pub use auth::Tokens;
pub use server::Server;
pub use starting::Starting;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::account::Accounts;
use crate::backfill::Jobs;
use crate::collections::Directory;
use crate::decisions::Decisions;
use crate::firehose::Firehose;
use crate::host::{Hosts, RequestCrawl};
use crate::identity::Resolver;
use crate::report::Reporter;
use crate::siblings::Siblings;
use crate::takedowns::Takedowns;

/// Longest time for a request and its answer; requestCrawl takes longest.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest request body: a host name, a limit.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What the routes work with.
pub struct App {
    /// Outgoing stream.
    pub firehose: Arc<Firehose>,
    /// Hosts.
    pub hosts: Arc<Hosts>,
    /// Whether anyone may name a host.
    pub request_crawl: RequestCrawl,
    /// Accounts.
    pub accounts: Accounts,
    /// Which accounts have which collections.
    pub directory: Directory,
    /// Collections with fewer accounts are not in the public list.
    pub collections_min_accounts: u64,
    /// What fills it from outside.
    pub jobs: Jobs,
    /// Identities.
    pub resolver: Arc<Resolver>,
    /// What people have decided.
    pub decisions: Decisions,
    /// Says how the relay is.
    pub reporter: Arc<Reporter>,
    /// Relays that are told what is accepted here.
    pub siblings: Arc<Siblings>,
    /// Tokens of the admin API.
    pub tokens: Tokens,
    /// Takes accounts down.
    pub takedowns: Takedowns,
}

/// Routes of the public listener.
pub fn public(app: &Arc<App>) -> Router {
    with_common(for_everyone(app), app)
}

/// Routes of the operators' listener: the public ones, and health, metrics and admin.
pub fn operators(app: &Arc<App>) -> Router {
    with_common(for_everyone(app).merge(health::probes()).merge(admin::routes(app)), app)
}

fn for_everyone(app: &Arc<App>) -> Router<Arc<App>> {
    let firehose = Router::new().route("/xrpc/com.atproto.sync.subscribeRepos", app.firehose.route());
    health::public().merge(xrpc::routes()).merge(collections::routes()).merge(firehose)
}

fn with_common(routes: Router<Arc<App>>, app: &Arc<App>) -> Router {
    let routes = routes.fallback(not_found).method_not_allowed_fallback(wrong_method);
    let routes = routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let routes = routes.layer(middleware::from_fn_with_state(Arc::clone(app), forward::to_siblings));
    routes.layer(middleware::from_fn(common_headers)).with_state(Arc::clone(app))
}

/// An XRPC method that this relay does not have, or no route.
async fn not_found(uri: Uri) -> Response {
    match uri.path().strip_prefix("/xrpc/") {
        Some(method) => {
            answer::error(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", format!("this relay has no {method}"))
        }
        None => answer::error(StatusCode::NOT_FOUND, "NotFound", "this relay has no such route"),
    }
}

async fn wrong_method(method: Method) -> Response {
    answer::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", format!("this route does not take {method}"))
}

fn timed_out() -> Response {
    answer::error(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the request was not complete in time")
}

/// CORS for browsers, and the name by which relays know each other (protocol 9, 35). The admin API is not for pages of
/// other sites.
async fn common_headers(request: Request, next: Next) -> Response {
    let is_for_all = !request.uri().path().starts_with("/admin");
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = if is_preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await.unwrap_or_else(|_| timed_out())
    };
    let headers = response.headers_mut();
    headers.insert(header::SERVER, crate::USER_AGENT);
    if is_for_all {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if is_for_all && is_preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    }
    response
}
