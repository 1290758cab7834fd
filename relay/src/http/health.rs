//! Health, for people, probes and Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::{App, answer};

const BANNER: &str = concat!(
    "This is an AT Protocol relay, version ",
    env!("CARGO_PKG_VERSION"),
    ".\n\nFirehose: /xrpc/com.atproto.sync.subscribeRepos\nHealth:   /_health\n"
);

pub(super) fn public() -> Router<Arc<App>> {
    let health = get(health);
    let banner = get(|| async { BANNER });
    Router::new().route("/", banner).route("/_health", health.clone()).route("/xrpc/_health", health)
}

pub(super) fn probes() -> Router<Arc<App>> {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).route("/metrics", get(metrics))
}

pub(super) async fn live() -> &'static str {
    "ok\n"
}

async fn health(State(app): State<Arc<App>>) -> Response {
    match app.reporter.obstacle() {
        None => Json(json!({ "status": "ok", "version": crate::SOFTWARE })).into_response(),
        Some(why) => answer::error(StatusCode::SERVICE_UNAVAILABLE, "NotReady", why),
    }
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.reporter.obstacle() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.reporter.metrics() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(failure) => answer::internal(failure),
    }
}
