//! How the directory misbehaves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use data_encoding::BASE32_NOPAD;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Parameters, failure};

/// Accounts of a page that is made up.
const MADE_UP_PAGE: u64 = 100;

/// How the directory misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with a status.
    Status(u16),
    /// Answers with a status and the name of an XRPC error.
    Error(u16, String),
    /// Answers 429; asks for so many seconds, if it says.
    Busy(Option<u32>),
    /// Answers 429, with the time from which on it may be asked again, so many seconds from now.
    BusyUntil(u32),
    /// Answers right, with one more header.
    Header(&'static str, String),
    /// Answers late.
    Delay(Duration),
    /// Answers never.
    Silent,
    /// Closes the connection within the answer.
    Close,
    /// Redirects to this URL.
    Redirect(String),
    /// Does not know any cursor any more: 400, `InvalidCursor`.
    CursorExpired,
    /// Answers with the accounts that it should, and the cursor that it was asked with.
    SameCursor,
    /// Goes round in a circle of so many pages, after one that is not part of it.
    CursorCycle(u64),
    /// Always has one more page, with nobody on it.
    EndlessEmpty,
    /// Always has one more page, with the same accounts under a new cursor.
    EndlessSame,
    /// Always has one more page of accounts that are made up.
    EndlessMadeUp,
    /// Pages of so many accounts, whatever the limit.
    Overfull(u64),
    /// Accounts are numbers, the cursor as well.
    WrongTypes,
    /// A page for people, with status 200.
    Html,
    /// An answer without an end.
    HugeBody,
    /// A cursor of so many bytes.
    HugeCursor(usize),
    /// One of its accounts is no DID, the others are as they should be.
    MalformedDid,
    /// None of its accounts is a DID of the network.
    ForeignDids,
    /// Answers for another account than it was asked for.
    OtherDid,
}

/// No two of the cursors that are made up are the same.
static CURSORS: AtomicU64 = AtomicU64::new(0);

impl Fault {
    /// The answer to a request that would be answered with `honest`.
    pub(crate) async fn answer(&self, query: &Parameters, honest: Response) -> Response {
        let cursor = query.get("cursor").map(str::to_owned);
        let new_cursor = || format!("made-up-{}", CURSORS.fetch_add(1, Ordering::Relaxed));
        match self {
            Fault::Status(status) => failure(status_code(*status), "Simulated"),
            Fault::Error(status, name) => failure(status_code(*status), name),
            Fault::Busy(None) => failure(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded"),
            Fault::Busy(Some(seconds)) => busy(seconds.to_string()),
            Fault::BusyUntil(seconds) => {
                let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(i64::from(*seconds));
                busy(time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
            }
            Fault::Header(name, value) => ([(*name, value.clone())], honest).into_response(),
            Fault::Delay(delay) => {
                tokio::time::sleep(*delay).await;
                honest
            }
            Fault::Silent => std::future::pending().await,
            Fault::Close => {
                let chunks = [Ok(Bytes::from_static(b"{\"repos\":[")), Err(std::io::ErrorKind::BrokenPipe)];
                Body::from_stream(stream::iter(chunks.map(|chunk| chunk.map_err(std::io::Error::from)))).into_response()
            }
            Fault::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response(),
            Fault::CursorExpired if cursor.is_some() => failure(StatusCode::BAD_REQUEST, "InvalidCursor"),
            Fault::CursorExpired => honest,
            Fault::SameCursor => {
                changed(honest, |page| page["cursor"] = json!(cursor.as_deref().unwrap_or("same"))).await
            }
            Fault::CursorCycle(length) => {
                let at = cursor.and_then(|cursor| cursor.strip_prefix("cycle-")?.parse().ok()).unwrap_or(0);
                made_up(at, MADE_UP_PAGE, format!("cycle-{}", at % length + 1))
            }
            Fault::EndlessEmpty => Json(json!({ "repos": [], "cursor": new_cursor() })).into_response(),
            Fault::EndlessSame => made_up(0, MADE_UP_PAGE, new_cursor()),
            Fault::EndlessMadeUp => made_up(CURSORS.load(Ordering::Relaxed), MADE_UP_PAGE, new_cursor()),
            Fault::Overfull(size) => made_up(0, *size, new_cursor()),
            Fault::WrongTypes => Json(json!({ "repos": [1, 2, 3], "cursor": 4 })).into_response(),
            Fault::Html => Html("<!DOCTYPE html><title>Welcome</title><p>Please log in.").into_response(),
            Fault::HugeBody => {
                let repo = Bytes::from(r#"{"did":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"},"#.repeat(1000));
                let begin = stream::iter([Bytes::from_static(b"{\"repos\":[")]);
                let endless = begin.chain(stream::repeat(repo)).map(Ok::<_, std::convert::Infallible>);
                ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(endless)).into_response()
            }
            Fault::HugeCursor(bytes) => changed(honest, |page| page["cursor"] = json!("c".repeat(*bytes))).await,
            Fault::MalformedDid => changed(honest, |page| page["repos"][0]["did"] = json!("not a DID")).await,
            Fault::OtherDid => changed(honest, |answer| answer["did"] = json!(made_up_did(0, 0))).await,
            Fault::ForeignDids => {
                let dids = ["did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N", "did:plc:short", "", "at://x"];
                Json(json!({ "repos": dids.map(|did| json!({ "did": did })) })).into_response()
            }
        }
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status")
}

fn busy(retry_after: String) -> Response {
    ([(header::RETRY_AFTER, retry_after)], failure(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded")).into_response()
}

/// An answer in JSON, with something changed.
async fn changed(answer: Response, change: impl FnOnce(&mut Value)) -> Response {
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body in memory");
    let mut page = serde_json::from_slice(&body).expect("JSON of our own");
    change(&mut page);
    Json(page).into_response()
}

/// Page `number` of accounts that do not exist.
fn made_up(number: u64, size: u64, cursor: String) -> Response {
    let repos: Vec<Value> = (0..size).map(|index| json!({ "did": made_up_did(number, index) })).collect();
    Json(json!({ "repos": repos, "cursor": cursor })).into_response()
}

fn made_up_did(page: u64, index: u64) -> String {
    let digest = Sha256::digest(format!("{page}/{index}"));
    format!("did:plc:{}", BASE32_NOPAD.encode(&digest[..15]).to_ascii_lowercase())
}
