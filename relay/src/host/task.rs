//! The task of one host: when to connect, what a stream's end means, and when to try again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::dial::DialError;
use super::socket::ReadError;
use super::stream::{End, Stream};
use super::{Host, HostsContext, Standing};
use crate::decisions::HostStatus;
use crate::verify::Reason;

/// A host that somebody names is tried at once, but not more often than this: anyone may name it.
const WAKE_INTERVAL: Duration = Duration::from_secs(5);
/// A host that kept others waiting is left alone for this long at least.
const WAIT_AFTER_CUT: Duration = Duration::from_secs(60);
/// While no host at all can be reached the fault is ours, and we do not want to wait for hours when it is mended.
const WAIT_WHILE_ALONE_MAX: Duration = Duration::from_secs(60);

/// Runs until the relay stops.
pub(super) async fn run(host: Arc<Host>, context: Arc<HostsContext>) {
    let mut stop = context.stop.clone();
    let mut standing = host.watch();
    let mut resets = standing.borrow().resets;
    let mut stream = Stream::new(Arc::clone(&host), context);
    while !*stop.borrow() {
        let start = *standing.borrow_and_update();
        if start.resets != resets {
            stream.forget().await;
            resets = start.resets;
        }
        let tried_at = Instant::now();
        let wait = if start.status == HostStatus::Banned {
            None
        } else {
            let end = tokio::select! {
                end = stream.run() => Some(end),
                _ = standing.wait_for(|now| now.ends(&start)) => None,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Some(end) = end else { continue };
            ended(&mut stream, end).await
        };
        host.pulse.next_try(wait);
        tokio::select! {
            () = elapsed(wait) => {}
            () = called(&mut standing, &start, tried_at) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn elapsed(wait: Option<Duration>) {
    match wait {
        Some(wait) => sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Waits until somebody wants the host to be tried, who may have to wait a little in turn, or its standing is another.
async fn called(standing: &mut watch::Receiver<Standing>, start: &Standing, tried_at: Instant) {
    // The sender lives as long as the host.
    drop(standing.wait_for(|now| now.wakes != start.wakes || now.ends(start)).await);
    tokio::select! {
        () = sleep_until(tried_at + WAKE_INTERVAL) => {}
        _ = standing.wait_for(|now| now.ends(start)) => {}
    }
}

/// Decides, after a stream's end, how long to wait before the next; `None` waits for somebody to call.
async fn ended(stream: &mut Stream, end: End) -> Option<Duration> {
    let (host, context) = (Arc::clone(&stream.host), Arc::clone(&stream.context));
    tracing::debug!(host = %host.name, %end, "stream ended");
    if matches!(end, End::GaveWay) {
        return Some(Duration::ZERO);
    }
    context.failed(&host, end.to_string()).await;
    let wait = match end {
        // Beyond the end of a host that skips an oversize message: go on from its live stream.
        End::FutureCursor if stream.skips_oversize() => {
            stream.forget().await;
            return Some(Duration::ZERO);
        }
        // The host has lost its past, or is another one than before. What that means a person must say (protocol 12).
        End::FutureCursor => {
            context.set_status(&host, HostStatus::Idle).await;
            return None;
        }
        End::Dial(DialError::Relay) => stream.backoff.failed_for_long(),
        End::Read(ReadError::Oversize) => {
            context.intake.stats().dropped(Reason::Oversize);
            stream.backoff.failed()
        }
        End::Read(ReadError::Cut) => stream.backoff.failed().max(WAIT_AFTER_CUT),
        _ => stream.backoff.failed(),
    };
    if stream.backoff.is_offline() {
        context.set_status(&host, HostStatus::Offline).await;
    }
    Some(if context.is_alone() { wait.min(WAIT_WHILE_ALONE_MAX) } else { wait })
}
