//! What both listeners answer while the relay starts: that it lives, and what it is at.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{answer, common_headers};

/// When whoever is refused should come back, in seconds: most starts take less.
const RETRY_AFTER_SECONDS: &str = "5";

/// What the start is at; clones share it.
#[derive(Debug, Clone)]
pub struct Starting(Arc<Mutex<&'static str>>);

impl Starting {
    /// A start that is at `step`.
    pub fn new(step: &'static str) -> Starting {
        Starting(Arc::new(Mutex::new(step)))
    }

    /// The start goes on to the next step.
    pub fn go_on(&self, step: &'static str) {
        tracing::debug!(step, "starting");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    /// Routes of the public listener.
    pub fn public(&self) -> Router {
        let health = get(not_ready);
        self.complete(Router::new().route("/_health", health.clone()).route("/xrpc/_health", health))
    }

    /// Routes of the operators' listener.
    pub fn operators(&self) -> Router {
        let health = get(not_ready);
        let routes = Router::new().route("/_health", health.clone()).route("/xrpc/_health", health);
        self.complete(routes.route("/livez", get(super::health::live)).route("/readyz", get(not_ready_in_plain_text)))
    }

    fn complete(&self, routes: Router<Starting>) -> Router {
        routes.fallback(unavailable).layer(middleware::from_fn(common_headers)).with_state(self.clone())
    }

    fn obstacle(&self) -> String {
        format!("starting: {}", *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn not_ready(State(starting): State<Starting>) -> Response {
    with_retry(answer::error(StatusCode::SERVICE_UNAVAILABLE, "NotReady", starting.obstacle()))
}

async fn not_ready_in_plain_text(State(starting): State<Starting>) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", starting.obstacle())).into_response()
}

async fn unavailable(State(starting): State<Starting>) -> Response {
    let message = format!("the relay is {}; come back in a moment", starting.obstacle());
    with_retry(answer::error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message))
}

fn with_retry(answer: Response) -> Response {
    ([(header::RETRY_AFTER, RETRY_AFTER_SECONDS)], answer).into_response()
}
