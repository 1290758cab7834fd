//! Sends on to the sibling relays what was accepted here.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::{App, BODY_BYTES_MAX, answer, auth};
use crate::siblings::{Accepted, REQUEST_CRAWL};

/// What the reference relay sends on, too. What is about this relay alone stays here: its cursors, its daily limit.
const FORWARDED: [&str; 10] = [
    REQUEST_CRAWL,
    "/admin/pds/requestCrawl",
    "/admin/pds/block",
    "/admin/pds/unblock",
    "/admin/pds/changeLimits",
    "/admin/subs/banDomain",
    "/admin/subs/unbanDomain",
    "/admin/subs/killUpstream",
    "/admin/repo/takeDown",
    "/admin/repo/reverseTakedown",
];

/// Lets a request through, and sends it on if it was accepted.
pub(super) async fn to_siblings(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_forwarded = request.method() == Method::POST && FORWARDED.contains(&request.uri().path());
    if app.siblings.is_empty() || !is_forwarded {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return answer::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", "the body is too long, or broke off");
    };
    let (uri, headers) = (parts.uri.clone(), parts.headers.clone());
    let response = next.run(Request::from_parts(parts, Body::from(body.clone()))).await;
    if response.status().is_success() {
        let token = auth::offered_token(&headers).and_then(|token| String::from_utf8(token).ok());
        app.siblings.forward(&Accepted {
            path: uri.path(),
            query: uri.query(),
            headers: &headers,
            body: &body,
            token: token.as_deref(),
        });
    }
    response
}
