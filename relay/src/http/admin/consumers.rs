//! The consumers of the firehose.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::App;
use crate::firehose::ConsumerState;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/admin/consumers/list", get(list))
}

async fn list(State(app): State<Arc<App>>) -> Response {
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
            "state": state_name(consumer.state),
        })
    });
    Json(rows.collect::<Vec<Value>>()).into_response()
}

fn state_name(state: ConsumerState) -> &'static str {
    match state {
        ConsumerState::Replaying => "replaying",
        ConsumerState::Live => "live",
    }
}
