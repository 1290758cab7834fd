//! What operators have changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::App;
use super::super::answer::{self, Asked};
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().route("/admin/audit", get(page))
}

/// A page of the audit: the rows before the one with this id, newest first.
#[derive(Deserialize)]
struct AuditPage {
    before: Option<u64>,
}

/// Rows in one page of the audit.
const AUDIT_PAGE: u32 = 200;

async fn page(State(app): State<Arc<App>>, Asked(asked): Asked<AuditPage>) -> Response {
    let rows = match app.decisions.audit(asked.before, AUDIT_PAGE).await {
        Ok(rows) => rows,
        Err(failure) => return answer::internal(failure),
    };
    let rows = rows.iter().map(|row| {
        json!({
            "id": row.id,
            "at_ms": row.at_ms,
            "actor": row.actor,
            "action": row.action,
            "subject": row.subject,
            "detail": row.detail,
        })
    });
    Json(rows.collect::<Vec<Value>>()).into_response()
}
