//! Whether anyone may name a host by requestCrawl; a holder of a token always may.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::super::App;
use super::super::answer::{self, Asked};
use super::super::auth::Holder;
use super::done;
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().route("/admin/subs/getEnabled", get(enabled)).route("/admin/subs/setEnabled", post(set_enabled))
}

async fn enabled(State(app): State<Arc<App>>) -> Response {
    Json(json!({ "enabled": app.request_crawl.is_enabled() })).into_response()
}

#[derive(Deserialize)]
struct Enable {
    enabled: bool,
}

async fn set_enabled(State(app): State<Arc<App>>, holder: Holder, Asked(asked): Asked<Enable>) -> Response {
    match app.request_crawl.set_enabled(asked.enabled, holder.actor()).await {
        Ok(()) => done(json!({ "enabled": asked.enabled })),
        Err(failure) => answer::internal(failure),
    }
}
