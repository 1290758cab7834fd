//! The admin API, a file for each subject. Routes and bodies are those of the reference relay where it has them, so that
//! its command-line tools work here; the status document is ours (ARCHITECTURE.md, "The contract between operator and
//! relay").

mod accounts;
mod audit;
mod consumers;
mod domains;
mod hosts;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};

use super::{App, auth};

const PAGE: &str = include_str!("page.html");

pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let own = Router::new().route("/admin", get(|| async { Html(PAGE) })).route("/admin/status", get(status));
    own.merge(hosts::routes())
        .merge(accounts::routes())
        .merge(domains::routes())
        .merge(consumers::routes())
        .merge(audit::routes())
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), auth::require_token))
}

async fn status(State(app): State<Arc<App>>) -> Response {
    Json(app.reporter.status()).into_response()
}
