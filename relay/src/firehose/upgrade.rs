//! From the HTTP request to the consumer's task.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::header::{
    ALLOW, CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::consumer::Consumer;
use super::registry::{Full, Registration};
use super::stats::{Disconnect, add};
use super::{Firehose, Limits};

/// When a refused consumer should come back, in seconds.
const RETRY_AFTER_SECONDS: &str = "30";

const WEBSOCKET_VERSION: &str = "13";

/// The request's query.
#[derive(Debug, Deserialize)]
pub(super) struct Params {
    cursor: Option<String>,
}

/// Serves `GET /xrpc/com.atproto.sync.subscribeRepos` (protocol 1).
pub(super) async fn subscribe_repos(
    State(firehose): State<Arc<Firehose>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    params: Result<Query<Params>, QueryRejection>,
    mut request: Request,
) -> Response {
    match accept(&firehose, peer, params, &request) {
        Ok((accept_key, cursor, registration)) => {
            tokio::spawn(serve(firehose, registration, hyper::upgrade::on(&mut request), cursor));
            let headers =
                [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, accept_key.as_str())];
            (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
        }
        Err(refusal) => {
            match refusal {
                Refusal::Full(_) => add(&firehose.stats.refused, 1),
                Refusal::Memory => add(&firehose.stats.refused_for_memory, 1),
                _ => {}
            }
            refusal.into_response()
        }
    }
}

/// A consumer's life after the handshake.
async fn serve(firehose: Arc<Firehose>, registration: Registration, upgrade: OnUpgrade, cursor: Option<u64>) {
    let entry = Arc::clone(&registration.entry);
    tracing::debug!(consumer = ?entry.info(), cursor, "a consumer connects");
    let end = match upgrade.await {
        Ok(stream) => Consumer::new(Arc::clone(&firehose), registration).run(TokioIo::new(stream), cursor).await,
        Err(_) => Disconnect::Protocol,
    };
    firehose.stats.count_disconnect(end);
    tracing::debug!(consumer = ?entry.info(), reason = end.label(), "a consumer is gone");
}

/// Checks the request from the cheap to the costly; a place is taken last.
fn accept(
    firehose: &Firehose,
    peer: SocketAddr,
    params: Result<Query<Params>, QueryRejection>,
    request: &Request,
) -> Result<(String, Option<u64>, Registration), Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    let headers = request.headers();
    let accept_key = accept_key(headers)?;
    let cursor = match params {
        Ok(Query(params)) => parse_cursor(params.cursor.as_deref())?,
        Err(error) => return Err(Refusal::BadRequest(error.body_text())),
    };
    if firehose.drain.borrow().is_some() {
        return Err(Refusal::Draining);
    }
    if firehose.refuses.load(Ordering::Relaxed) {
        return Err(Refusal::Memory);
    }
    let limits = &firehose.limits;
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let registration = firehose
        .consumers
        .admit(
            firehose.consumers_max.load(Ordering::Relaxed),
            limits.consumers_per_address_max,
            address(limits, peer, headers),
            user_agent,
        )
        .map_err(Refusal::Full)?;
    Ok((accept_key, cursor, registration))
}

/// The value of `Sec-WebSocket-Accept` for a request that asks properly for a WebSocket.
fn accept_key(headers: &HeaderMap) -> Result<String, Refusal> {
    if !has_token(headers, CONNECTION, "upgrade") || !has_token(headers, UPGRADE, "websocket") {
        return Err(Refusal::NoUpgrade);
    }
    if !has_token(headers, SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION) {
        return Err(Refusal::NoUpgrade);
    }
    match headers.get(SEC_WEBSOCKET_KEY) {
        Some(key) => Ok(derive_accept_key(key.as_bytes())),
        None => Err(Refusal::BadRequest("the header Sec-WebSocket-Key is missing".to_owned())),
    }
}

/// Whether one of the comma-separated values of header `name` is `token`, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// The seq after which the consumer wants events; absent or empty is "from now on" (protocol 4).
fn parse_cursor(cursor: Option<&str>) -> Result<Option<u64>, Refusal> {
    match cursor {
        None | Some("") => Ok(None),
        Some(text) => match text.parse::<i64>().map(u64::try_from) {
            Ok(Ok(cursor)) => Ok(Some(cursor)),
            _ => Err(Refusal::BadRequest(format!("cursor must be a whole number from 0 on, not {text:?}"))),
        },
    }
}

/// Address of the consumer: what the trusted proxy says, else the connection's.
fn address(limits: &Limits, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let forwarded = || {
        let value = headers.get_all("x-forwarded-for").into_iter().next_back()?;
        let last = value.to_str().ok()?.rsplit(',').next()?.trim();
        last.parse::<IpAddr>().ok().or_else(|| Some(last.parse::<SocketAddr>().ok()?.ip()))
    };
    let address = if limits.trust_forwarded_for { forwarded() } else { None };
    address.unwrap_or(peer.ip()).to_canonical()
}

/// Why a request got no stream.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("use GET")]
    Method,
    #[error("this endpoint is a WebSocket of version 13; send the headers Connection: Upgrade and Upgrade: websocket")]
    NoUpgrade,
    #[error("{0}")]
    BadRequest(String),
    #[error("{}", match .0 {
        Full::Relay => "the relay serves as many consumers as it may; come back later",
        Full::Address => "too many connections from your address; close one",
    })]
    Full(Full),
    #[error("the relay is shutting down; come back in a moment")]
    Draining,
    #[error("the relay is short of memory and takes no new consumers for now; come back later")]
    Memory,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Refusal::NoUpgrade => (StatusCode::UPGRADE_REQUIRED, "UpgradeRequired"),
            Refusal::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Refusal::Full(_) => (StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded"),
            Refusal::Draining | Refusal::Memory => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        };
        let headers: &[(HeaderName, &'static str)] = match self {
            Refusal::Method => &[(ALLOW, "GET")],
            Refusal::NoUpgrade => &[(UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION)],
            Refusal::BadRequest(_) => &[],
            Refusal::Full(_) | Refusal::Draining | Refusal::Memory => &[(RETRY_AFTER, RETRY_AFTER_SECONDS)],
        };
        let mut response = (status, Json(json!({ "error": error, "message": self.to_string() }))).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name.clone(), axum::http::HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests;
