//! How fast a resolver's server may be asked, and when it is left alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Transient;
use crate::memory::{allocated_bytes, table_bytes};

/// Failures in a row after which a server is left alone for a while; single ones are the matter of one DID.
const FAILURES_TOLERATED: u32 = 5;
/// First and longest time that a failing server is left alone.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(60);
/// Longest `Retry-After` that is believed: a mistake there must not stop the relay for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10 * 60);
/// Longest wait for a turn; whoever would wait longer is told to come back.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Servers that are remembered, at about 150 bytes each. Anyone can name new ones in a `did:web`.
const SERVERS_MAX: usize = 10_000;

/// The servers that have lately been asked.
#[derive(Default)]
pub(super) struct Pace {
    servers: Mutex<HashMap<Box<str>, Server>>,
}

struct Server {
    /// When the next request may be sent.
    turn: Instant,
    /// Until when none may be sent, because of failures or of a `Retry-After`.
    paused_until: Instant,
    /// Failures in a row; those during a pause count as one.
    failures: u32,
}

impl Pace {
    /// Takes the next turn of a server and says how long to wait for it.
    pub(super) fn take_turn(&self, host: &str, per_second: u32, now: Instant) -> Result<Duration, Transient> {
        let mut servers = self.lock();
        if servers.len() >= SERVERS_MAX && !servers.contains_key(host) {
            servers.retain(|_, server| server.paused_until > now);
            if servers.len() >= SERVERS_MAX {
                servers.clear();
            }
        }
        let server = servers.entry(host.into()).or_insert(Server { turn: now, paused_until: now, failures: 0 });
        let retry = |retry_after| Transient::Paused { host: host.into(), retry_after };
        if server.paused_until > now {
            return Err(retry(server.paused_until - now));
        }
        let wait = server.turn.saturating_duration_since(now);
        if wait > TURN_WAIT_MAX {
            return Err(retry(wait));
        }
        server.turn = server.turn.max(now) + Duration::from_secs(1) / per_second.max(1);
        Ok(wait)
    }

    /// The server has answered.
    pub(super) fn succeeded(&self, host: &str) {
        if let Some(server) = self.lock().get_mut(host) {
            server.failures = 0;
        }
    }

    /// The server has failed, or has asked to be left alone.
    pub(super) fn failed(&self, host: &str, retry_after: Option<Duration>, now: Instant) {
        let mut servers = self.lock();
        let Some(server) = servers.get_mut(host) else { return };
        if let Some(retry_after) = retry_after {
            server.paused_until = server.paused_until.max(now + retry_after.min(RETRY_AFTER_MAX));
        } else if server.paused_until <= now {
            server.failures = server.failures.saturating_add(1);
            if let Some(beyond) = server.failures.checked_sub(FAILURES_TOLERATED) {
                let doubled = PAUSE_FIRST.saturating_mul(1u32.checked_shl(beyond).unwrap_or(u32::MAX));
                server.paused_until = now + doubled.min(PAUSE_LONGEST);
            }
        }
    }

    /// Bytes of what is remembered.
    pub(super) fn bytes(&self) -> usize {
        let servers = self.lock();
        let names: usize = servers.keys().map(|name| allocated_bytes(name.len())).sum();
        table_bytes::<(Box<str>, Server)>(servers.capacity()) + names
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HOST: &str = "plc.example.com";

    fn wait(pace: &Pace, now: Instant) -> Result<Duration, Duration> {
        pace.take_turn(HOST, 10, now).map_err(|error| error.retry_after().unwrap())
    }

    #[test]
    fn turns_come_at_the_rate_and_not_too_far_ahead() {
        let pace = Pace::default();
        let now = Instant::now();
        for turn in 0..=100 {
            assert_eq!(wait(&pace, now), Ok(Duration::from_millis(100) * turn), "turn {turn}");
        }
        assert_eq!(wait(&pace, now), Err(Duration::from_millis(10_100)), "too long to wait for");
        assert_eq!(wait(&pace, now + Duration::from_secs(60)), Ok(Duration::ZERO), "after a quiet minute");
        assert_eq!(pace.take_turn("other.example.com", 10, now).unwrap(), Duration::ZERO, "others have their own");
    }

    #[test]
    fn a_server_that_fails_is_left_alone_for_longer_and_longer() {
        let pace = Pace::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..14 {
            match wait(&pace, now) {
                Ok(_) => pace.failed(HOST, None, now),
                Err(pause) => {
                    pauses.push(pause.as_secs());
                    now += pause;
                }
            }
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16]);
        wait(&pace, now).unwrap();
        for _ in 0..64 {
            pace.failed(HOST, None, now);
        }
        assert_eq!(wait(&pace, now), Err(Duration::from_secs(32)), "requests that fail together count once");
        now += Duration::from_secs(32);
        wait(&pace, now).unwrap();
        pace.succeeded(HOST);
        pace.failed(HOST, None, now);
        assert!(wait(&pace, now + Duration::from_secs(1)).is_ok(), "a success forgives");
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        for (asked, granted) in [(7, 7), (24 * 3600, 600)] {
            let pace = Pace::default();
            let now = Instant::now();
            wait(&pace, now).unwrap();
            pace.failed(HOST, Some(Duration::from_secs(asked)), now);
            assert_eq!(wait(&pace, now), Err(Duration::from_secs(granted)), "asked for {asked} s");
            assert!(wait(&pace, now + Duration::from_secs(granted)).is_ok());
        }
    }

    #[test]
    fn servers_that_strangers_name_are_forgotten() {
        let pace = Pace::default();
        let now = Instant::now();
        for number in 0..3 * SERVERS_MAX {
            let host = format!("host{number}.example.com");
            pace.take_turn(&host, 1, now).unwrap();
            if number % 2 == 0 {
                pace.failed(&host, Some(RETRY_AFTER_MAX), now);
            }
            assert!(pace.lock().len() <= SERVERS_MAX);
        }
    }
}
