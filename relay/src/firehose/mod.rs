//! The outbound stream `com.atproto.sync.subscribeRepos` (protocol 1–8).
//!
//! The sequencer hands every committed event to [`Firehose::publish`], which puts it into one [`ring`] in memory and
//! wakes the consumers. Each consumer is one task ([`consumer`]) that holds a cursor and at most one batch: it takes the
//! events after its cursor from the ring, writes them in one vectored write, and comes back. There is no queue per
//! consumer: one that is slow falls behind the ring and reads from the log ([`replay`]) until it has caught up; one that
//! takes nothing at all is cut. Events are bytes that were framed once ([`ws`]), shared by all.
//!
//! What happens at the hand-over between log and ring follows from two facts: the ring holds every event after its
//! floor, and the log shows an event before the ring does. A consumer therefore reads from the log while its cursor is
//! below the floor, from the ring otherwise, always the events strictly after its cursor: no gap, nothing twice.

mod consumer;
mod hidden;
mod kept;
mod outgoing;
mod registry;
mod replay;
mod ring;
mod socket;
mod stats;
#[cfg(test)]
mod tests;
mod upgrade;
pub mod ws;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::routing::{MethodRouter, any};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::log::{Event, Reader};
use hidden::Hidden;
use kept::Kept;
use registry::Registry;
use replay::Turns;
use ring::Ring;

pub use kept::KEPT_BYTES_MIN;
pub use registry::{ConsumerInfo, ConsumerState};
pub use replay::REPLAY_CHUNK_BYTES;
pub use socket::tune_socket;
pub use stats::{Disconnect, Stats};

/// Time between two wakes of all consumers, for each of them. A wake ends in a write, 8 µs together, so that waking takes
/// about 3 % of a core; more events then share a write. An event after a pause goes out at once.
const PACE_PER_CONSUMER: Duration = Duration::from_micros(250);

/// Longest time between two wakes, and so the most that it adds to an event's latency.
const PACE_MAX: Duration = Duration::from_millis(25);

/// What a connected consumer holds: its task, room for a batch, what HTTP leaves behind. 9.7 KiB were measured
/// (`relay/tests/connections.rs` shows it); one that catches up has a place in the log besides.
pub const CONSUMER_BYTES: u64 = 12 << 10;

/// What the kernel may hold for its socket, on average: little for one that keeps up, and 128 KiB for one that stalls.
pub const CONSUMER_SPARE_BYTES: u64 = 52 << 10;

/// Bounds of the stream.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Consumers served at once.
    pub consumers_max: usize,
    /// Memory of the consumers, in bytes: what is left of it beyond [`CONSUMER_BYTES`] and [`CONSUMER_SPARE_BYTES`] for
    /// each, and at least [`KEPT_BYTES_MIN`], is for frames that consumers are stalled in.
    pub consumer_bytes_max: u64,
    /// Consumers served at once to one IPv4 address or one IPv6 /64.
    pub consumers_per_address_max: usize,
    /// Size of the ring of live events, in bytes.
    pub ring_bytes_max: usize,
    /// Memory of chunks that were read from the log, of [`REPLAY_CHUNK_BYTES`] each; consumers beyond wait for their
    /// turn.
    pub replay_bytes_max: usize,
    /// A consumer behind the ring that takes no byte for this long is too slow (protocol 7).
    pub stall_timeout: Duration,
    /// A consumer that was sent nothing for this long is pinged (protocol 6).
    pub ping_interval: Duration,
    /// Time for the answer to a ping.
    pub pong_timeout: Duration,
    /// Time for a consumer to take the rest of its current frame, the error and the close frame, and to close.
    pub close_grace: Duration,
    /// Whether the last address in `X-Forwarded-For` is the consumer's: right only behind a proxy that appends it.
    pub trust_forwarded_for: bool,
}

impl Default for Limits {
    /// For 1,000 events of 4.4 KB a second: the ring holds 15 to 20 seconds.
    fn default() -> Limits {
        Limits {
            consumers_max: 1000,
            consumer_bytes_max: 32 << 20,
            consumers_per_address_max: 100,
            ring_bytes_max: 80 << 20,
            replay_bytes_max: 8 << 20,
            stall_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(30),
            close_grace: Duration::from_secs(30),
            trust_forwarded_for: false,
        }
    }
}

/// The stream and its consumers.
#[derive(Debug)]
pub struct Firehose {
    limits: Limits,
    reader: Reader,
    ring: Ring,
    turns: Turns,
    kept: Arc<Kept>,
    consumers_max: AtomicUsize,
    /// Whether no new consumers are taken, because memory is short.
    refuses: AtomicBool,
    hidden: Hidden,
    consumers: Arc<Registry>,
    stats: Stats,
    /// Head of the ring, as soon as it moves.
    published: watch::Sender<u64>,
    /// The same at the consumers' pace.
    wake: watch::Receiver<u64>,
    drain: watch::Sender<Option<Drain>>,
}

/// When a shutdown loses patience.
#[derive(Debug, Clone, Copy)]
struct Drain {
    /// Consumers that have not caught up are closed at the next frame boundary.
    cut_at: Instant,
    /// Connections end.
    end_at: Instant,
}

impl Firehose {
    /// A stream without consumers that continues the log behind `reader`: from now on, every event that is committed
    /// to the log must be [published](Firehose::publish).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(reader: Reader, limits: Limits) -> Arc<Firehose> {
        let head = reader.last_seq();
        let published = watch::Sender::new(head);
        let (waker, wake) = watch::channel(head);
        let consumers = Registry::new();
        tokio::spawn(pace(published.subscribe(), waker, Arc::clone(&consumers)));
        Arc::new(Firehose {
            ring: Ring::new(limits.ring_bytes_max, head),
            turns: Turns::new(limits.replay_bytes_max as u64),
            kept: Kept::new(kept_bytes(limits.consumers_max, limits.consumer_bytes_max)),
            consumers_max: AtomicUsize::new(limits.consumers_max),
            refuses: AtomicBool::new(false),
            hidden: Hidden::default(),
            consumers,
            stats: Stats::default(),
            published,
            wake,
            drain: watch::Sender::new(None),
            reader,
            limits,
        })
    }

    /// Gives committed events to the consumers, in the order of the log. For the sequencer's thread: takes no longer
    /// with more consumers, and never waits for one.
    pub fn publish(&self, events: Vec<Event>) {
        let head = self.ring.push(events);
        self.published.send_replace(head);
    }

    /// The route of `/xrpc/com.atproto.sync.subscribeRepos`. It needs `ConnectInfo<SocketAddr>`.
    pub fn route<S>(self: &Arc<Firehose>) -> MethodRouter<S> {
        any(upgrade::subscribe_repos).with_state(Arc::clone(self))
    }

    /// Ends the stream: refuses new consumers, sends what is published to those that keep up, and closes all with a
    /// close frame. Consumers that are catching up, and those that have not kept up by half of `patience`, are closed
    /// at the next frame boundary; after `patience` connections just end. Gives the number of consumers still
    /// connected then. Publish nothing after this.
    pub async fn close_all(&self, patience: Duration) -> usize {
        let now = Instant::now();
        let drain = Drain { cut_at: now + patience / 2, end_at: now + patience };
        self.drain.send_replace(Some(drain));
        let _ = timeout_at(drain.end_at, self.consumers.emptied()).await; // the count says how it went
        self.consumers.len()
    }

    /// Says whether the account's commits in the replay window are kept from consumers.
    pub fn hide(&self, did: &str, is_hidden: bool) {
        self.hidden.set(did, is_hidden);
    }

    /// The connected consumers, oldest first.
    pub fn list(&self) -> Vec<ConsumerInfo> {
        self.consumers.list()
    }

    /// Ends one consumer's connection; says who it was, if it is connected.
    pub fn disconnect(&self, id: u64) -> Option<ConsumerInfo> {
        self.consumers.cut(id)
    }

    /// Seq of the newest event, which a consumer that keeps up has.
    pub fn head(&self) -> u64 {
        self.reader.last_seq()
    }

    /// Number of connected consumers.
    pub fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// Totals over all consumers.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Memory held by the ring, in bytes.
    pub fn ring_bytes(&self) -> usize {
        self.ring.bytes()
    }

    /// Memory of chunks of the log, in bytes.
    pub fn replay_bytes(&self) -> usize {
        self.turns.bytes() as usize
    }

    /// Memory of the consumers, in bytes. What the kernel holds for their sockets is not in it: see [`tune_socket`].
    pub fn consumer_bytes(&self) -> u64 {
        self.consumers() as u64 * CONSUMER_BYTES + self.kept.bytes()
    }

    /// Changes the size of the ring. Consumers behind it go on from the log.
    pub fn set_ring_bytes(&self, bytes_max: usize) {
        self.ring.set_bytes_max(bytes_max);
    }

    /// Changes how much of the log may be in memory for consumers that catch up.
    pub fn set_replay_bytes(&self, bytes_max: usize) {
        self.turns.set_bytes_max(bytes_max as u64);
    }

    /// Changes how many consumers are served at once, and their memory. Those that are connected stay.
    pub fn set_consumer_bounds(&self, consumers_max: usize, bytes_max: u64) {
        self.consumers_max.store(consumers_max, Ordering::Relaxed);
        self.kept.set_max(kept_bytes(consumers_max, bytes_max));
    }

    /// Reads for consumers that catch up one by one, with pauses, while memory is short.
    pub fn slow_catch_up(&self, is_slow: bool) {
        self.turns.slow(is_slow);
    }

    /// Takes no new consumers while memory is short.
    pub fn refuse_consumers(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }
}

/// What of the consumers' memory is for frames that they are stalled in.
fn kept_bytes(consumers_max: usize, bytes_max: u64) -> u64 {
    bytes_max.saturating_sub(consumers_max as u64 * (CONSUMER_BYTES + CONSUMER_SPARE_BYTES))
}

/// Passes on the head from `published` to the consumers, until the firehose is dropped.
async fn pace(mut published: watch::Receiver<u64>, wake: watch::Sender<u64>, consumers: Arc<Registry>) {
    while published.changed().await.is_ok() {
        let head = *published.borrow_and_update();
        wake.send_replace(head);
        let count = u32::try_from(consumers.len()).unwrap_or(u32::MAX);
        sleep(PACE_PER_CONSUMER.saturating_mul(count).min(PACE_MAX)).await;
    }
}
