//! How the relay is: the status document, and its memory by owner.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::super::App;
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().route("/admin/status", get(status)).route("/admin/memory", get(memory))
}

async fn status(State(app): State<Arc<App>>) -> Response {
    Json(app.reporter.status()).into_response()
}

async fn memory(State(app): State<Arc<App>>) -> Response {
    Json(app.reporter.memory()).into_response()
}
