//! Backfill jobs, and pairs that are sent to them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::App;
use super::super::answer::{self, Asked, Told};
use super::super::auth::Holder;
use super::routes::Routes;
use crate::backfill::{Error, Job, Spec};
use crate::decisions::PartRow;

/// Pairs of one request: about a quarter of a million.
const PAIRS_BYTES_MAX: usize = 16 << 20;
/// Parts in one page, unless fewer are asked for.
const PARTS_PAGE: usize = 500;

pub(super) fn routes() -> Routes {
    let pairs = post(pairs).layer(DefaultBodyLimit::max(PAIRS_BYTES_MAX));
    Routes::new()
        .route("/admin/backfill/jobs", get(list))
        .route("/admin/backfill/jobs/{name}", get(show).put(put).delete(delete))
        .route("/admin/backfill/jobs/{name}/parts", get(parts))
        .route("/admin/backfill/jobs/{name}/pause", post(pause))
        .route("/admin/backfill/jobs/{name}/resume", post(resume))
        .route("/admin/backfill/jobs/{name}/cancel", post(cancel))
        .route("/admin/backfill/jobs/{name}/run", post(run))
        .route("/admin/backfill/pairs", pairs)
}

async fn list(State(app): State<Arc<App>>) -> Response {
    Json(json!({ "jobs": app.jobs.list() })).into_response()
}

async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    answer_job(app.jobs.get(&name))
}

async fn put(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    holder: Holder,
    Told(spec): Told<Spec>,
) -> Response {
    answer_job(app.jobs.put(&name, spec, holder.actor()).await)
}

async fn delete(State(app): State<Arc<App>>, Path(name): Path<String>, holder: Holder) -> Response {
    match app.jobs.delete(&name, holder.actor()).await {
        Ok(()) => Json(json!({})).into_response(),
        Err(error) => refused(error),
    }
}

async fn pause(State(app): State<Arc<App>>, Path(name): Path<String>, holder: Holder) -> Response {
    answer_job(app.jobs.pause(&name, holder.actor()).await)
}

async fn resume(State(app): State<Arc<App>>, Path(name): Path<String>, holder: Holder) -> Response {
    answer_job(app.jobs.resume(&name, holder.actor()).await)
}

async fn cancel(State(app): State<Arc<App>>, Path(name): Path<String>, holder: Holder) -> Response {
    answer_job(app.jobs.cancel(&name, holder.actor()).await)
}

async fn run(State(app): State<Arc<App>>, Path(name): Path<String>, holder: Holder) -> Response {
    answer_job(app.jobs.run(&name, holder.actor()).await)
}

/// A page of parts; the cursor counts those before it.
#[derive(Deserialize)]
struct Page {
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn parts(State(app): State<Arc<App>>, Path(name): Path<String>, Asked(page): Asked<Page>) -> Response {
    let from = match page.cursor.as_deref().filter(|cursor| !cursor.is_empty()).map(str::parse::<usize>) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return answer::bad_request("cursor: write the one that the page before has answered"),
    };
    let limit = page.limit.unwrap_or(PARTS_PAGE).clamp(1, PARTS_PAGE);
    match app.jobs.parts(&name, from, limit) {
        Ok((parts, all)) => {
            let next = from + parts.len();
            let mut answer = json!({ "parts": parts.iter().map(part_json).collect::<Vec<_>>() });
            if next < all && !parts.is_empty() {
                answer["cursor"] = next.to_string().into();
            }
            Json(answer).into_response()
        }
        Err(error) => refused(error),
    }
}

fn part_json(part: &PartRow) -> Value {
    json!({
        "key": part.key,
        "provider": part.provider,
        "state": part.state,
        "expected": part.expected,
        "cursor": part.cursor,
        "seen": part.seen,
        "added": part.added,
        "removed": part.removed,
        "retrying": part.retrying,
        "classes": part.classes,
        "error": part.error,
    })
}

#[derive(Deserialize)]
struct ForJob {
    job: String,
}

/// Reads as it takes: the next piece of the body waits until the one before is in the directory.
async fn pairs(
    State(app): State<Arc<App>>,
    holder: Holder,
    Asked(ForJob { job }): Asked<ForJob>,
    request: Request,
) -> Response {
    let mut taking = match app.jobs.take_pairs(&job, holder.actor()).await {
        Ok(taking) => taking,
        Err(error) => return refused(error),
    };
    let mut body = axum::RequestExt::into_limited_body(request).into_data_stream();
    while let Some(bytes) = body.next().await {
        let Ok(bytes) = bytes else {
            let message = format!(
                "the body is longer than {} MiB, or broke off: send the pairs in smaller pieces; those before were taken",
                PAIRS_BYTES_MAX >> 20
            );
            return answer::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message);
        };
        if !taking.feed(&bytes).await {
            break;
        }
    }
    match taking.finish().await {
        Ok(taken) => Json(taken).into_response(),
        Err(error) => refused(error),
    }
}

fn answer_job(job: Result<Job, Error>) -> Response {
    match job {
        Ok(job) => Json(job).into_response(),
        Err(error) => refused(error),
    }
}

fn refused(error: Error) -> Response {
    match error {
        Error::NotFound(_) => answer::error(StatusCode::NOT_FOUND, "JobNotFound", error),
        Error::State { .. } => answer::error(StatusCode::CONFLICT, "JobState", error),
        Error::Spec(_) | Error::Kind(_) | Error::TooMany => answer::bad_request(error),
        Error::Storage(failure) => answer::internal(failure),
    }
}
