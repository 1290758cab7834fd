//! The forms of requests and answers.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

/// The parameters of a query; what does not fit is answered as XRPC does.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Response> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(query)| Asked(query)).map_err(bad_request)
    }
}

/// A JSON body; what does not fit is answered as XRPC does.
pub(super) struct Told<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Told<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Told<T>, Response> {
        let body = Json::from_request(request, state).await;
        body.map(|Json(body)| Told(body)).map_err(bad_request)
    }
}

/// Page sizes of a list.
pub(super) struct Limits {
    pub(super) default: usize,
    pub(super) max: usize,
}

impl Limits {
    /// The size that is asked for, or the answer that there is none such.
    pub(super) fn of(&self, asked: Option<usize>) -> Result<usize, Box<Response>> {
        let limit = asked.unwrap_or(self.default);
        if (1..=self.max).contains(&limit) {
            Ok(limit)
        } else {
            Err(Box::new(bad_request(format!("limit must be between 1 and {}", self.max))))
        }
    }
}

/// Cuts a page to its limit; says whether nothing follows it.
pub(super) fn cut<T>(page: &mut Vec<T>, limit: usize) -> bool {
    let is_last = page.len() <= limit;
    page.truncate(limit);
    is_last
}

/// Reads where that may take its time, or gives the answer that it failed.
pub(super) async fn blocking<T, E>(read: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Box<Response>>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) => Err(Box::new(internal(failure))),
        Err(failure) => Err(Box::new(internal(failure))),
    }
}

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
