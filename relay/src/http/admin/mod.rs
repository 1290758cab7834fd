//! The admin API, a file for each subject. Routes and bodies are those of the reference relay where it has them, so that
//! its command-line tools work here; the status document is ours (ARCHITECTURE.md, "The contract between operator and
//! relay"). All of it is described by `openapi.json`.

mod accounts;
mod audit;
mod backfill;
mod collections;
mod consumers;
mod domains;
mod hosts;
mod page;
mod reference;
mod request_crawl;
mod routes;
mod status;
mod upstream;

use std::sync::Arc;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use super::{App, auth};
use routes::Routes;

/// The document for programs and people.
const OPENAPI: &str = include_str!("openapi.json");

pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let closed = closed().router.route_layer(middleware::from_fn_with_state(Arc::clone(app), auth::require_token));
    closed.merge(open().router).layer(middleware::map_response(never_stored))
}

/// What needs the token.
fn closed() -> Routes {
    let subjects = [
        page::routes(),
        status::routes(),
        hosts::routes(),
        accounts::routes(),
        collections::routes(),
        upstream::routes(),
        request_crawl::routes(),
        domains::routes(),
        consumers::routes(),
        backfill::routes(),
        audit::routes(),
    ];
    subjects.into_iter().fold(Routes::new(), Routes::merge)
}

/// What does not: what it says is no secret.
fn open() -> Routes {
    let openapi = || async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) };
    Routes::new().route("/admin/openapi.json", get(openapi))
}

/// Nothing of this belongs into a cache, or into a frame of another page.
async fn never_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// The answer to a change: what the reference relay says, and what else there is to say.
fn done(mut more: Value) -> Response {
    more["success"] = json!("true");
    Json(more).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_openapi_document_and_the_reverse() {
        let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let described: BTreeSet<&str> =
            document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
        let served: BTreeSet<&str> = closed().paths.into_iter().chain(open().paths).collect();
        assert_eq!(served, described, "routes on the left, openapi.json on the right");
    }
}
