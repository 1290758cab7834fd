//! The page for people: files in the binary, which need nothing from elsewhere.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::super::answer;
use super::routes::Routes;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const INDEX: &str = include_str!("page/index.html");
const FILES: [(&str, &str, &str); 8] = [
    ("style.css", CSS, include_str!("page/style.css")),
    ("main.js", JS, include_str!("page/main.js")),
    ("dom.js", JS, include_str!("page/dom.js")),
    ("table.js", JS, include_str!("page/table.js")),
    ("hosts.js", JS, include_str!("page/hosts.js")),
    ("lists.js", JS, include_str!("page/lists.js")),
    ("memory.js", JS, include_str!("page/memory.js")),
    ("backfill.js", JS, include_str!("page/backfill.js")),
];

/// Nothing from other servers, nothing inline, no frame around it: foreign text on the page cannot become a program.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Routes {
    Routes::new().route("/admin", get(|| async { page(HTML, INDEX) })).route("/admin/page/{file}", get(file))
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, content_type, text)) => page(content_type, text),
        None => answer::error(StatusCode::NOT_FOUND, "NotFound", "the page has no such file"),
    }
}

fn page(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
