//! An operator from its start to its end: the kind Relay, the lease, the Relays, and giving all back.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use crate::lease::{self, Lost};
use crate::relay;
use crate::server::Phase;

/// Longest time for what is under way when the operator is told to stop. A pod has 30 s by default.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// What an operator is told at its start.
pub struct Options {
    /// Of the Relays.
    pub relays: relay::Options,
    /// Of the lease.
    pub lease: lease::Options,
}

/// Lives until `stop` turns true. `phase` is told how far it is.
///
/// # Errors
///
/// When the lease was lost: nothing is written any more, and the process should start anew.
pub async fn live(options: Options, phase: watch::Sender<Phase>, stop: watch::Receiver<bool>) -> Result<(), Lost> {
    let Options { relays, lease } = options;
    let (client, metrics) = (relays.once.clone(), relays.metrics.clone());
    let last_words = lease.last_words();
    let begin = async {
        relay::wait_for_crd(&relays.client, relays.namespace.as_deref()).await;
        acquire(client, lease, &phase).await
    };
    let mut held = tokio::select! {
        held = begin => held,
        () = turned(stop.clone()) => return Ok(()),
    };
    tracing::info!("leading");
    metrics.leads(true);
    phase.send_replace(Phase::FillingCaches);
    let filled = {
        let phase = phase.clone();
        move || {
            phase.send_replace(Phase::Ready);
            tracing::info!("ready");
        }
    };
    let (drain, draining) = watch::channel(false);
    let mut controller = std::pin::pin!(relay::run(relays, filled, turned(draining)));
    let result = tokio::select! {
        () = &mut controller => Ok(()),
        () = turned(stop) => Ok(()),
        lost = held.hold() => Err(lost),
    };
    drain.send_replace(true);
    match &result {
        // The lease is renewed meanwhile: until then nobody else writes.
        Ok(()) => tokio::select! {
            () = &mut controller => {}
            _ = held.hold() => {}
            () = tokio::time::sleep(DRAIN_MAX) => tracing::warn!("what is under way takes too long and is left"),
        },
        Err(lost) => {
            tracing::error!(%lost, "the lease is lost");
            let _ = tokio::time::timeout(last_words, &mut controller).await;
        }
    }
    metrics.leads(false);
    if result.is_ok() {
        held.release().await;
    }
    result
}

async fn acquire(client: Client, lease: lease::Options, phase: &watch::Sender<Phase>) -> lease::Held {
    lease::acquire(client, lease, |holder| {
        tracing::info!(holder, "another operator holds the lease; waiting for it");
        phase.send_replace(Phase::StandingBy);
    })
    .await
}

/// Returns when `signal` has turned true.
pub async fn turned(mut signal: watch::Receiver<bool>) {
    // A sender that is gone has nothing more to say: then it never turns.
    if signal.wait_for(|turned| *turned).await.is_err() {
        std::future::pending::<()>().await;
    }
}
