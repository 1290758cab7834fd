//! Who may use the admin API: holders of a token, as `Bearer TOKEN` or as HTTP Basic `admin:TOKEN`.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::{App, answer};

/// The tokens, as hashes: a comparison then takes the same time whatever the length and content of what is offered.
pub struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Several tokens make a rotation possible; none closes the API.
    pub fn new(tokens: &[String]) -> Tokens {
        Tokens(tokens.iter().map(|token| Sha256::digest(token).into()).collect())
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(offered) = offered_token(headers) else { return false };
        let offered: [u8; 32] = Sha256::digest(offered).into();
        self.0.iter().any(|token| verify_slices_are_equal(token, &offered).is_ok())
    }
}

/// The token in the `Authorization` header, however it is written.
pub(super) fn offered_token(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = BASE64.decode(rest.trim().as_bytes()).ok()?;
        return pair.strip_prefix(b"admin:").map(<[u8]>::to_vec);
    }
    None
}

/// Lets only holders of a token through.
pub(super) async fn require_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.tokens.0.is_empty() {
        let message = "the admin API is closed; start the relay with admin-token or admin-token-file";
        return answer::error(StatusCode::FORBIDDEN, "AdminClosed", message);
    }
    if app.tokens.admit(request.headers()) {
        return next.run(request).await;
    }
    let mut response = answer::error(StatusCode::UNAUTHORIZED, "AuthRequired", "send the admin token");
    // Makes a browser ask for it, so that the page works without a login form of its own.
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"relay admin\""));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_accepted_in_both_forms_and_no_other() {
        let tokens = Tokens::new(&["old".to_owned(), "new".to_owned()]);
        let basic = |pair: &str| format!("Basic {}", BASE64.encode(pair.as_bytes()));
        let cases = [
            ("Bearer new".to_owned(), true),
            ("bearer old".to_owned(), true),
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
            assert_eq!(tokens.admit(&headers), expected, "{value:?}");
        }
        assert!(!tokens.admit(&HeaderMap::new()), "no header");
    }
}
