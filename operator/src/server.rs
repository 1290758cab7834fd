//! The operator's own HTTP server: health and metrics.

use std::future::Future;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// How far the operator has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// The API server does not answer, or does not know Relays.
    WaitingForCrd,
    /// Another operator holds the lease; this one is ready to take over.
    StandingBy,
    /// The watches have not seen every object yet.
    FillingCaches,
    /// Relays are being reconciled.
    Ready,
}

#[derive(Clone)]
struct Shared {
    phase: watch::Receiver<Phase>,
    metrics: Metrics,
}

/// Serves `/livez` (the process answers), `/readyz` (it reconciles, or would if it held the lease) and `/metrics` until `shutdown`.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    phase: watch::Receiver<Phase>,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Shared { phase, metrics });
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let phase = *shared.phase.borrow();
    match phase {
        Phase::Ready => (StatusCode::OK, "ok"),
        // Ready, or a Deployment of two would never be; the lease says which of them works.
        Phase::StandingBy => (StatusCode::OK, "standing by: another operator holds the lease"),
        Phase::WaitingForCrd => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the API server to serve the kind Relay"),
        Phase::FillingCaches => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the first answers of the watches"),
    }
}

async fn metrics_text(State(shared): State<Shared>) -> impl IntoResponse {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
