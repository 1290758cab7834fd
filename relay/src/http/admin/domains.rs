//! Domains that are banned: every host in them is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::super::App;
use super::super::answer::{self, Told};
use super::super::auth::Holder;
use super::done;
use super::routes::Routes;
use crate::decisions;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/admin/subs/listDomainBans", get(list))
        .route("/admin/subs/banDomain", post(ban))
        .route("/admin/subs/unbanDomain", post(unban))
}

async fn list(State(app): State<Arc<App>>) -> Response {
    match app.decisions.banned_domains().await {
        Ok(domains) => Json(json!({ "banned_domains": domains })).into_response(),
        Err(failure) => answer::internal(failure),
    }
}

#[derive(Deserialize)]
struct ByDomain {
    #[serde(alias = "Domain")]
    domain: String,
}

async fn ban(State(app): State<Arc<App>>, holder: Holder, Told(asked): Told<ByDomain>) -> Response {
    answer_change(app.hosts.ban_domain(&asked.domain, holder.actor()).await)
}

async fn unban(State(app): State<Arc<App>>, holder: Holder, Told(asked): Told<ByDomain>) -> Response {
    answer_change(app.hosts.unban_domain(&asked.domain, holder.actor()).await)
}

fn answer_change(changed: Result<bool, decisions::Error>) -> Response {
    match changed {
        Ok(changed) => done(json!({ "changed": changed })),
        Err(error @ decisions::Error::Domain(_)) => answer::bad_request(error),
        Err(failure) => answer::internal(failure),
    }
}
