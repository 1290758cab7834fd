//! Who may use the admin API: holders of a token, as `Bearer TOKEN` or as HTTP Basic `admin:TOKEN`.

mod same_site;
mod tokens;
mod tries;

pub use tokens::Tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use data_encoding::BASE64;

use super::{App, answer};
use crate::decisions::Actor;

/// The name of the token that a request came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder(Arc<str>);

impl Holder {
    /// The name, as the audit shows it.
    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Who decides, for the decisions.
    pub(super) fn actor(&self) -> Actor<'_> {
        Actor::Admin(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Holder {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Holder, Response> {
        parts
            .extensions
            .get()
            .cloned()
            .ok_or_else(|| answer::internal("a route without require_token asks who it serves"))
    }
}

/// Lets only holders of a token through, and tells the routes who it is.
pub(super) async fn require_token(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    if app.tokens.is_empty() {
        let message = "the admin API is closed; start the relay with admin-token or admin-token-file";
        return answer::error(StatusCode::FORBIDDEN, "AdminClosed", message);
    }
    let Some(offered) = offered_token(request.headers()) else { return ask_for_token("send the admin token") };
    if let Some(wait) = app.tokens.tries.wait(peer.ip(), Instant::now()) {
        let message = "too many wrong tokens from your address; come back later";
        let mut response = answer::error(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", message);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        return response;
    }
    let Some(holder) = app.tokens.holder(&offered) else {
        tracing::warn!(%peer, "wrong admin token");
        app.tokens.tries.failed(peer.ip(), Instant::now());
        return ask_for_token("this is not an admin token");
    };
    let changes_something = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes_something && !same_site::is_own(request.headers()) {
        return answer::error(StatusCode::FORBIDDEN, "CrossSite", "a page of another site may not use the admin API");
    }
    request.extensions_mut().insert(Holder(holder));
    next.run(request).await
}

/// The token in the `Authorization` header, however it is written; empty when it is not understood.
pub(super) fn offered_token(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?;
    let understood = || {
        let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(rest.trim().as_bytes().to_vec());
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let pair = BASE64.decode(rest.trim().as_bytes()).ok()?;
            return pair.strip_prefix(b"admin:").map(<[u8]>::to_vec);
        }
        None
    };
    Some(understood().unwrap_or_default())
}

fn ask_for_token(message: &str) -> Response {
    let mut response = answer::error(StatusCode::UNAUTHORIZED, "AuthRequired", message);
    // Makes a browser ask for it, so that the page works without a login form of its own.
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"relay admin\""));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_accepted_in_both_forms_and_no_other() {
        let tokens = Tokens::new(Some("new"), None);
        let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair.as_bytes()));
        let cases = [
            ("Bearer new".to_owned(), true),
            ("bearer new".to_owned(), true),
            (basic("admin:new"), true),
            (basic("root:new"), false),
            (basic("admin:"), false),
            ("Bearer ".to_owned(), false),
            ("Bearer ne".to_owned(), false),
            ("new".to_owned(), false),
            ("Basic %%%".to_owned(), false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            let offered = offered_token(&headers).expect("something offered");
            assert_eq!(tokens.holder(&offered).is_some(), expected, "{value:?}");
        }
        assert_eq!(offered_token(&HeaderMap::new()), None, "no header");
    }
}
