//! Counters of the firehose, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a consumer's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disconnect {
    /// The consumer closed, or its connection broke.
    Client,
    /// It fell behind the ring and took nothing for too long, or behind the log's window.
    TooSlow,
    /// It asked for a cursor that the relay has not reached (protocol 4).
    FutureCursor,
    /// It was idle and did not answer a ping.
    PingTimeout,
    /// It broke the WebSocket protocol, sent too much, or never finished the upgrade.
    Protocol,
    /// The relay shuts down.
    Draining,
    /// The relay could not read its own log.
    Log,
    /// An operator ended it.
    Operator,
}

impl Disconnect {
    /// Every reason.
    pub const ALL: [Disconnect; 8] = [
        Disconnect::Client,
        Disconnect::TooSlow,
        Disconnect::FutureCursor,
        Disconnect::PingTimeout,
        Disconnect::Protocol,
        Disconnect::Draining,
        Disconnect::Log,
        Disconnect::Operator,
    ];

    /// Label of the reason in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Disconnect::Client => "client",
            Disconnect::TooSlow => "too_slow",
            Disconnect::FutureCursor => "future_cursor",
            Disconnect::PingTimeout => "ping_timeout",
            Disconnect::Protocol => "protocol",
            Disconnect::Draining => "draining",
            Disconnect::Log => "log",
            Disconnect::Operator => "operator",
        }
    }
}

/// Totals over all consumers since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Events written to consumers, each counted once per consumer.
    pub events_sent: AtomicU64,
    /// Bytes written to consumers, with WebSocket framing.
    pub bytes_sent: AtomicU64,
    /// Events read from the log for consumers behind the ring.
    pub events_replayed: AtomicU64,
    /// Requests refused because of a limit (HTTP 429).
    pub refused: AtomicU64,
    /// Requests refused because memory is short (HTTP 503).
    pub refused_for_memory: AtomicU64,
    disconnects: [AtomicU64; Disconnect::ALL.len()],
}

impl Stats {
    /// Connections that ended for `reason`.
    pub fn disconnects(&self, reason: Disconnect) -> u64 {
        self.disconnects[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_disconnect(&self, reason: Disconnect) {
        add(&self.disconnects[reason as usize], 1);
    }
}

/// Counts `amount` more.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
