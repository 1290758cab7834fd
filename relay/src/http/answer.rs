//! The forms of answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An XRPC error: `{error, message}`.
pub(super) fn error(status: StatusCode, name: &str, message: impl std::fmt::Display) -> Response {
    (status, Json(json!({ "error": name, "message": message.to_string() }))).into_response()
}

/// A request that does not fit its route.
pub(super) fn bad_request(message: impl std::fmt::Display) -> Response {
    error(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

/// A failure of the relay; details are for its log alone.
pub(super) fn internal(failure: impl std::fmt::Display) -> Response {
    tracing::error!(error = %failure, "request failed");
    error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "the relay could not answer; its log says why")
}
