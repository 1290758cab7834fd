//! Accounts: what the relay knows of one, and takedowns (protocol 19).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::App;
use super::super::answer::{self, Asked, Told};
use super::super::auth::Holder;
use super::done;
use super::routes::Routes;
use crate::account::{Account, Local};
use crate::collections::Hidden;
use crate::protocol::did::Did;
use crate::takedowns;

/// Takedowns in one page, unless fewer are asked for.
const TAKEDOWNS_PAGE: u32 = 500;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/admin/accounts", get(account))
        .route("/admin/repo/takedowns", get(takedowns))
        .route("/admin/repo/takeDown", post(take_down))
        .route("/admin/repo/reverseTakedown", post(reverse_takedown))
}

#[derive(Deserialize)]
struct ByDid {
    did: String,
}

impl ByDid {
    fn parse(&self) -> Result<Did, Box<Response>> {
        Did::parse(&self.did).map_err(|error| Box::new(answer::bad_request(error)))
    }
}

async fn account(State(app): State<Arc<App>>, Asked(query): Asked<ByDid>) -> Response {
    let did = match query.parse() {
        Ok(did) => did,
        Err(response) => return *response,
    };
    let account = match app.accounts.get(did.as_str()) {
        Ok(account) => account,
        Err(failure) => return answer::internal(failure),
    };
    let (collections, hidden) = match app.directory.account(&did) {
        Ok(found) => found,
        Err(failure) => return answer::internal(failure),
    };
    if account.is_none() && collections.is_empty() && hidden.is_none() {
        let message = "this relay has seen no event of the account, and its directory does not have it";
        return answer::error(StatusCode::NOT_FOUND, "RepoNotFound", message);
    }
    let mut json = account.map_or_else(|| json!({ "did": did.as_str() }), |account| account_json(&app, &did, &account));
    json["collections"] = json!(collections);
    json["hidden"] = hidden.map(hidden_name).into();
    Json(json).into_response()
}

fn hidden_name(hidden: Hidden) -> &'static str {
    match hidden {
        Hidden::Inactive => "inactive",
        Hidden::Verified => "verified",
    }
}

fn account_json(app: &App, did: &Did, account: &Account) -> Value {
    let repo = account.repo;
    json!({
        "did": did.as_str(),
        "active": account.is_active(),
        "status": account.status_name(),
        "host": app.hosts.by_id(account.host).map(|host| host.name.to_string()),
        "hostStatus": account.status.name().unwrap_or("active"),
        "takenDown": account.local == Local::TakenDown,
        "held": account.local == Local::Held,
        "rev": repo.map(|repo| repo.rev.to_string()),
        "commit": repo.map(|repo| repo.commit.to_string()),
        "data": repo.and_then(|repo| repo.data).map(|data| data.to_string()),
        "discontinuities": account.discontinuities,
    })
}

/// A page of takedowns. An empty cursor is none: so the reference command-line tool begins.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    cursor: String,
    size: Option<u32>,
}

async fn takedowns(State(app): State<Arc<App>>, Asked(page): Asked<Page>) -> Response {
    let size = page.size.unwrap_or(TAKEDOWNS_PAGE).clamp(1, TAKEDOWNS_PAGE);
    match app.decisions.takedowns(&page.cursor, size).await {
        Ok(dids) => {
            let cursor = dids.last().filter(|_| dids.len() == size as usize).cloned();
            let mut answer = json!({ "dids": dids });
            if let Some(cursor) = cursor {
                answer["cursor"] = cursor.into();
            }
            Json(answer).into_response()
        }
        Err(failure) => answer::internal(failure),
    }
}

async fn take_down(State(app): State<Arc<App>>, holder: Holder, Told(asked): Told<ByDid>) -> Response {
    let did = match asked.parse() {
        Ok(did) => did,
        Err(response) => return *response,
    };
    decided(&app, &did, app.takedowns.take_down(&did, holder.actor()).await)
}

async fn reverse_takedown(State(app): State<Arc<App>>, holder: Holder, Told(asked): Told<ByDid>) -> Response {
    let did = match asked.parse() {
        Ok(did) => did,
        Err(response) => return *response,
    };
    decided(&app, &did, app.takedowns.reverse(&did, holder.actor()).await)
}

fn decided(app: &App, did: &Did, decided: Result<Account, takedowns::Error>) -> Response {
    match decided {
        Ok(account) => done(account_json(app, did, &account)),
        Err(error @ takedowns::Error::Stopping) => answer::error(StatusCode::SERVICE_UNAVAILABLE, "Stopping", error),
        Err(failure) => answer::internal(failure),
    }
}
