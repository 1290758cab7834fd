//! What the tasks of all hosts share, and what they note of their hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use jiff::Timestamp;
use rocksdb::WriteBatch;
use tokio::sync::{Semaphore, watch};

use super::ramp::{Ramp, Rank};
use super::registry::{floor_key, progress_key};
use super::room::Rooms;
use super::tls::Tls;
use super::{Host, ProgressRow, Trouble};
use crate::config::Config;
use crate::decisions::{Actor, Decisions, HostStatus};
use crate::log::Reader;
use crate::net::{self, ClientError};
use crate::places::Places;
use crate::store::{Column, Store};
use crate::verify::Intake;

/// What an open stream holds: 14.3 KiB were measured without TLS, 8 KiB of which are its buffer (`relay/tests/connections.rs`
/// shows it); TLS 1.3 adds 7 KiB.
pub const STREAM_BYTES: u64 = 22 << 10;
/// What it may hold besides while something comes: a message of at most 8 KiB, a record of TLS, and what the kernel holds
/// for its socket, typically.
pub const STREAM_SPARE_BYTES: u64 = 26 << 10;
/// Checks of new hosts that run at once.
const CHECKS_MAX: usize = 16;

/// The parts of the relay that the hosts work with.
pub struct Parts {
    /// Where events go.
    pub intake: Intake,
    /// Set to end every task.
    pub stop: watch::Receiver<bool>,
    /// What people have decided, and what must not be forgotten of hosts.
    pub decisions: Decisions,
    /// Where progress is kept.
    pub store: Store,
    /// The log.
    pub log: Reader,
    /// What streams may cost.
    pub bounds: Bounds,
}

/// What the streams of all hosts may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Streams open at once; hosts beyond wait for one.
    pub streams_max: u64,
    /// Bytes of all: what is left of them beyond [`STREAM_BYTES`] and [`STREAM_SPARE_BYTES`] for each stream, and at
    /// least [`ROOM_BYTES_MIN`](super::ROOM_BYTES_MIN), is for long messages that are being read.
    pub bytes_max: u64,
}

impl Bounds {
    fn room_bytes(&self) -> u64 {
        self.bytes_max.saturating_sub(self.streams_max.saturating_mul(STREAM_BYTES + STREAM_SPARE_BYTES))
    }
}

/// What the tasks of all hosts share.
pub struct HostsContext {
    /// Where events go.
    pub intake: Intake,
    /// Set to end every task.
    pub stop: watch::Receiver<bool>,
    pub(super) tls: Tls,
    /// Streams that may be open. Ranks are [`Rank::Asked`] and [`Rank::Other`]: among the others it goes by turns.
    pub(super) slots: Arc<Places<Rank>>,
    pub(super) ramp: Ramp,
    pub(super) rooms: Arc<Rooms>,
    pub(super) allow_insecure: bool,
    pub(super) checking: Semaphore,
    pub(super) http: reqwest::Client,
    pub(super) decisions: Decisions,
    pub(super) store: Store,
    log: Reader,
    /// Hosts with an open stream.
    connected: AtomicUsize,
    /// Long messages that were not waited for.
    pub(super) messages_cut: AtomicU64,
}

impl HostsContext {
    /// What tasks need, from the configuration.
    pub fn new(config: &Config, parts: Parts) -> Result<HostsContext, ClientError> {
        let Parts { intake, stop, decisions, store, log, bounds } = parts;
        Ok(HostsContext {
            intake,
            stop,
            tls: Tls::new()?,
            slots: Places::new(bounds.streams_max),
            ramp: Ramp::new(),
            rooms: Rooms::new(bounds.room_bytes()),
            allow_insecure: config.allow_insecure_hosts,
            checking: Semaphore::new(CHECKS_MAX),
            http: net::client(config.allow_insecure_hosts)?,
            decisions,
            store,
            log,
            connected: AtomicUsize::new(0),
            messages_cut: AtomicU64::new(0),
        })
    }

    /// Changes what streams may cost. Streams that are open beyond it end one after the other.
    pub(super) fn set_bounds(&self, bounds: Bounds) {
        self.slots.set(bounds.streams_max);
        self.rooms.set(bounds.room_bytes());
    }

    /// Memory of the streams that are open or being opened, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.slots.taken() * STREAM_BYTES + self.rooms.taken()
    }

    /// Whether no host has an open stream.
    pub(super) fn is_alone(&self) -> bool {
        self.connected.load(Ordering::Relaxed) == 0
    }

    /// Remembers where the relay's interest in a host begins, before its first event goes anywhere: were this lost in a
    /// crash, the host would be asked for live events alone, and what it sent meanwhile would be missed.
    pub(super) fn start_host_at(&self, host: &Host, cursor: u64) {
        host.start_at(cursor);
        let row = ProgressRow { cursor, finished_ahead: Vec::new() };
        let mut rows = WriteBatch::default();
        self.store.put(&mut rows, Column::Host, &progress_key(host.id), &row.encode());
        if let Err(error) = self.store.write_ahead(&rows) {
            tracing::warn!(host = %host.name, %error, "start of the host not stored");
        }
    }

    /// Forgets how far a host was read, for good: its events that are in the log say nothing of that any more.
    pub(super) fn forget_progress(&self, host: &Host) {
        host.reset_progress();
        let mut rows = WriteBatch::default();
        self.store.delete(&mut rows, Column::Host, &progress_key(host.id));
        self.store.put(&mut rows, Column::Host, &floor_key(host.id), &self.log.last_seq().to_be_bytes());
        if let Err(error) = self.store.write_ahead(&rows) {
            tracing::warn!(host = %host.name, %error, "reset of the host not stored");
        }
        tracing::info!(host = %host.name, "cursor reset to live");
    }

    /// Notes why the host could not be read.
    pub(super) async fn failed(&self, host: &Host, error: String) {
        if let Err(failure) = self.decisions.record_failure(host.id, &error).await {
            tracing::warn!(host = %host.name, error = %failure, "host failure not stored");
        }
        host.set_trouble(Trouble { error, at_ms: Timestamp::now().as_millisecond() });
    }

    /// Notes what the host's own behaviour has made of it, here and in the decisions.
    pub(super) async fn set_status(&self, host: &Host, status: HostStatus) {
        if host.status() == status {
            return;
        }
        match self.decisions.set_host_status(host.id, status, Actor::Relay).await {
            Ok(true) => {
                tracing::info!(host = %host.name, from = host.status().as_str(), to = status.as_str(), "host status");
                host.set_status(status);
            }
            // Somebody has banned it meanwhile.
            Ok(false) => {}
            Err(error) => tracing::warn!(host = %host.name, %error, "host status not stored"),
        }
    }
}

/// An open stream; it counts as one until this is dropped, however the stream ends.
pub(super) struct Connected {
    host: Arc<Host>,
    context: Arc<HostsContext>,
}

impl Connected {
    pub(super) fn new(host: Arc<Host>, context: Arc<HostsContext>) -> Connected {
        host.counts.connects.fetch_add(1, Ordering::Relaxed);
        host.pulse.connected();
        context.connected.fetch_add(1, Ordering::Relaxed);
        Connected { host, context }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.context.connected.fetch_sub(1, Ordering::Relaxed);
        self.host.pulse.disconnected();
    }
}
