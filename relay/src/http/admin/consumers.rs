//! The consumers of the firehose.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::App;
use super::super::answer::{self, Asked};
use super::super::auth::Holder;
use super::done;
use super::routes::Routes;
use crate::firehose::{ConsumerInfo, ConsumerState};

pub(super) fn routes() -> Routes {
    Routes::new().route("/admin/consumers/list", get(list)).route("/admin/consumers/disconnect", post(disconnect))
}

async fn list(State(app): State<Arc<App>>) -> Response {
    let head = app.firehose.head();
    let consumers = app.firehose.list();
    Json(consumers.iter().map(|consumer| consumer_json(consumer, head)).collect::<Vec<Value>>()).into_response()
}

fn consumer_json(consumer: &ConsumerInfo, head: u64) -> Value {
    json!({
        "id": consumer.id,
        "remote_addr": consumer.address.to_string(),
        "user_agent": consumer.user_agent,
        "connected_at": consumer.connected_at.to_string(),
        "cursor": consumer.cursor,
        "lag": head.saturating_sub(consumer.cursor),
        "events_consumed": consumer.events_sent,
        "bytes": consumer.bytes_sent,
        "state": match consumer.state {
            ConsumerState::Replaying => "replaying",
            ConsumerState::Live => "live",
        },
    })
}

#[derive(Deserialize)]
struct ById {
    id: u64,
}

async fn disconnect(State(app): State<Arc<App>>, holder: Holder, Asked(asked): Asked<ById>) -> Response {
    let Some(consumer) = app.firehose.disconnect(asked.id) else {
        return answer::error(StatusCode::NOT_FOUND, "ConsumerNotFound", "no consumer with this id is connected");
    };
    let address = consumer.address.to_string();
    // The audit shows who it was, as it calls itself.
    let noted = app.decisions.note(holder.actor(), "disconnect_consumer", &address, Some(&consumer.user_agent)).await;
    match noted {
        Ok(()) => done(json!({})),
        Err(failure) => answer::internal(failure),
    }
}
