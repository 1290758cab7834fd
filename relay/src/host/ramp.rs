//! When a host is dialled: a start, or the end of an outage, reaches thousands of hosts without a storm on DNS, on the
//! network and on them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep_until};

use super::Host;
use crate::decisions::HostStatus;
use crate::places::{Place, Places};

/// Dials under way at once: resolving, TCP, TLS and WebSocket handshake.
pub const DIALS_MAX: u64 = 64;
/// The same for hosts that somebody has asked for, which do not wait behind the others.
pub const ASKED_DIALS_MAX: u64 = 16;
/// Mean time between two dials that nobody has asked for: 3,000 hosts are dialled in a quarter of a minute, those
/// that had a stream when the relay stopped first. A TLS handshake costs both sides together 0.23 ms of a core.
const DIAL_INTERVAL: Duration = Duration::from_millis(5);

/// In what order hosts are dialled, and take the streams that may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Somebody has just named the host.
    Asked,
    /// It had a stream not long ago.
    Active,
    /// It is new, or was not reached last time.
    Other,
}

impl Rank {
    /// Of a host that nobody has asked for.
    pub(super) fn of(host: &Host) -> Rank {
        match host.status() {
            HostStatus::Active | HostStatus::Throttled => Rank::Active,
            HostStatus::Idle | HostStatus::Offline | HostStatus::Banned => Rank::Other,
        }
    }
}

/// The dials of all hosts.
#[derive(Debug)]
pub(super) struct Ramp {
    asked: Arc<Places<Rank>>,
    others: Arc<Places<Rank>>,
    next_at: Mutex<Instant>,
}

impl Ramp {
    pub(super) fn new() -> Ramp {
        Ramp {
            asked: Places::new(ASKED_DIALS_MAX),
            others: Places::new(DIALS_MAX),
            next_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits until a host may be dialled; it may for as long as the place is held.
    pub(super) async fn turn(&self, rank: Rank) -> Place<Rank> {
        if rank == Rank::Asked {
            return self.asked.take(rank, 1).await;
        }
        let place = self.others.take(rank, 1).await;
        sleep_until(self.next_start()).await;
        place
    }

    fn next_start(&self) -> Instant {
        let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next_at).max(Instant::now());
        *next_at = at + DIAL_INTERVAL.mul_f64(rand::rng().random_range(0.5..=1.5));
        at
    }

    /// Hosts that wait to be dialled.
    pub(super) fn waiting(&self) -> usize {
        self.asked.waiting() + self.others.waiting()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn dials_are_spread_over_time_but_for_those_that_are_asked_for() {
        let (ramp, start) = (Ramp::new(), Instant::now());
        for _ in 0..100 {
            drop(ramp.turn(Rank::Active).await);
        }
        assert!(start.elapsed() >= DIAL_INTERVAL * 99 / 2, "{:?}", start.elapsed());
        assert!(ramp.turn(Rank::Asked).now_or_never().is_some(), "at once");
    }

    #[tokio::test]
    async fn a_host_that_is_asked_for_does_not_wait_behind_hosts_that_hang() {
        let ramp = Ramp::new();
        let mut hanging = Vec::new();
        for _ in 0..DIALS_MAX {
            hanging.push(ramp.turn(Rank::Active).await);
        }
        let mut other = Box::pin(ramp.turn(Rank::Other));
        assert!(other.as_mut().now_or_never().is_none() && ramp.waiting() == 1);
        let asked = ramp.turn(Rank::Asked).now_or_never();
        assert!(asked.is_some());
        hanging.pop();
        drop(other.await);
    }
}
