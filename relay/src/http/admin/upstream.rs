//! The streams that are open to hosts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::super::App;
use super::super::answer::{self, Asked};
use super::super::auth::Holder;
use super::done;
use super::hosts::{host_json, unknown_host};
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().route("/admin/subs/getUpstreamConns", get(list)).route("/admin/subs/killUpstream", post(kill))
}

async fn list(State(app): State<Arc<App>>) -> Response {
    let hosts = app.hosts.all();
    let connected = hosts.iter().filter(|host| host.is_connected()).map(|host| host.name.as_str());
    Json(connected.collect::<Vec<_>>()).into_response()
}

#[derive(Deserialize)]
struct Kill {
    host: String,
    /// Whether the host is banned too; else it is connected again.
    #[serde(default)]
    block: bool,
}

async fn kill(State(app): State<Arc<App>>, holder: Holder, Asked(asked): Asked<Kill>) -> Response {
    let Some(host) = app.hosts.find(&asked.host) else { return unknown_host() };
    if !host.is_connected() {
        return answer::bad_request("no stream to the host is open");
    }
    let changed = match asked.block {
        true => app.hosts.set_banned(&host, true, holder.actor()).await,
        false => app.hosts.disconnect(&host, holder.actor()).await,
    };
    match changed {
        Ok(()) => done(host_json(&host)),
        Err(failure) => answer::internal(failure),
    }
}
