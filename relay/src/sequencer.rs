//! The one writer: gives each verified event its seq, appends it to the log, and then lets everybody see it.
//!
//! The order is what makes a crash harmless: log first, then the directory of collections and the derived rows, which
//! the log can rebuild, then the consumers, and only then is the event finished for its host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rocksdb::WriteBatch;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::account::Accounts;
use crate::collections::Directory;
use crate::config::Durability;
use crate::firehose::{Firehose, ws};
use crate::host::Hosts;
use crate::log::{self, AccountTag, Event, Header, Log, Retention};
use crate::protocol::frame;
use crate::store::Store;
use crate::verify::{Change, Outlet, Source, Verified};
use crate::vital::Vital;

/// Events in one group commit: enough that a disk flush of milliseconds is shared by hundreds of events, few enough
/// that none of them waits for the others' encoding.
const BATCH_EVENTS: usize = 512;
/// Bytes in one group commit, unless a single event is larger: what is on its way to the disk is held twice.
const GROUP_BYTES: usize = 4 << 20;
/// Group commits begin this far apart, while there are not enough events for full ones: at some hundred events a second,
/// several then share a disk flush and the waking of every consumer, which cost most. Half of it is added to an event's
/// latency; one that comes after a pause does not wait.
const COMMIT_INTERVAL: Duration = Duration::from_millis(20);
/// Host cursors are written this often (protocol 10).
const CURSOR_INTERVAL: Duration = Duration::from_secs(4);
/// Derived rows are made durable, and old segments removed, this often; a start replays at most this much of the log.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// Wait after a failed write: the disk is full or broken, and the hosts are held back until it is not.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// What the sequencer has done.
#[derive(Debug, Default)]
pub struct Stats {
    /// Events passed on.
    pub passed: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Group commits.
    pub commits: AtomicU64,
    /// Writes that failed and were tried again.
    pub failures: AtomicU64,
    /// The last write failed: nothing passes until one succeeds.
    pub is_stuck: AtomicBool,
}

/// What it works with.
pub struct Sequencer {
    /// The log.
    pub log: Log,
    /// The derived store.
    pub store: Store,
    /// Its account rows.
    pub accounts: Accounts,
    /// Which accounts have which collections.
    pub directory: Directory,
    /// Its host rows, and who is who.
    pub hosts: Arc<Hosts>,
    /// Where committed events go.
    pub firehose: Arc<Firehose>,
    /// Where verified events come from.
    pub outlet: Outlet,
    /// When an event counts as written.
    pub durability: Durability,
    /// When old events go.
    pub replay_window: Duration,
    /// At which size of the log they go.
    pub replay_max_bytes: Option<u64>,
    /// Counters.
    pub stats: Arc<Stats>,
}

impl Sequencer {
    /// Runs until all shards have ended, then leaves everything durable. Not on a thread of the runtime.
    pub fn run(mut self, runtime: &Handle) {
        let _vital = Vital("sequencer");
        let mut batch = Vec::with_capacity(BATCH_EVENTS);
        let mut buffers = Buffers::default();
        let mut commit_at = Instant::now();
        let mut cursors_at = Instant::now() + CURSOR_INTERVAL;
        let mut checkpoint_at = Instant::now() + CHECKPOINT_INTERVAL;
        let checkpoint = Checkpoint::default();
        loop {
            if self.outlet.events.len() < BATCH_EVENTS {
                // What comes meanwhile waits in the queue, which holds more than that.
                std::thread::sleep(commit_at.saturating_duration_since(Instant::now()));
            }
            let wait = cursors_at.saturating_duration_since(Instant::now());
            let events = &mut self.outlet.events;
            let received = runtime.block_on(async { timeout(wait, events.recv_many(&mut batch, BATCH_EVENTS)).await });
            match received {
                Ok(0) => break,
                Ok(_) => {
                    commit_at = Instant::now() + COMMIT_INTERVAL;
                    self.sequence(&mut batch, &mut buffers);
                }
                Err(_) => {}
            }
            if Instant::now() >= cursors_at {
                self.write_cursors();
                cursors_at = Instant::now() + CURSOR_INTERVAL;
            }
            if Instant::now() >= checkpoint_at {
                checkpoint.start(&self.store);
                self.retain(checkpoint.durable_seq());
                checkpoint_at = Instant::now() + CHECKPOINT_INTERVAL;
            }
        }
        self.write_cursors();
        // The log first: rows that are durable say nothing that it does not hold.
        if let Err(error) = self.log.close() {
            tracing::error!(%error, "log not closed cleanly");
        }
        if let Err(error) = self.store.flush() {
            tracing::error!(%error, "derived rows not flushed; the next start rebuilds them from the log");
        }
    }

    /// Passes on what was received, in as many group commits as its bytes need.
    fn sequence(&mut self, batch: &mut Vec<Verified>, buffers: &mut Buffers) {
        while !batch.is_empty() {
            let mut bytes = 0;
            let fits = |event: &&Verified| {
                let is_first = bytes == 0;
                bytes += event.source.frame().len();
                is_first || bytes <= GROUP_BYTES
            };
            let count = batch.iter().take_while(fits).count();
            self.commit(batch.drain(..count).collect(), buffers);
        }
    }

    /// One group commit.
    fn commit(&mut self, group: Vec<Verified>, buffers: &mut Buffers) {
        let mut rows = WriteBatch::default();
        let mut changes = Vec::with_capacity(group.len());
        for event in &group {
            if let Err(error) = self.append(event, buffers) {
                // Verification lets no event through that the log does not take.
                tracing::error!(%error, did = event.did.as_str(), "event not logged");
                continue;
            }
            if let Some(change) = &event.change {
                self.accounts.put(&mut rows, &event.did, change.before.as_ref(), &change.after);
                self.hosts.account_changed(&mut rows, change);
                changes.push((event, change));
            }
        }
        let last = self.log.next_seq() - 1;
        self.store.put_applied_accounts(&mut rows, last);

        let stats = Arc::clone(&self.stats);
        let events: Vec<Event> = until_written(&stats, "event log", || self.log.commit());
        self.write_derived(&changes, &rows, last);
        let bytes: usize = events.iter().map(|event| event.wire.len()).sum();
        self.firehose.publish(events);

        stats.commits.fetch_add(1, Ordering::Relaxed);
        stats.passed.fetch_add(group.len() as u64, Ordering::Relaxed);
        stats.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        for event in group {
            self.outlet.applied[event.shard].fetch_add(1, Ordering::Release);
            if let Source::Host(inbound) = event.source {
                inbound.host.counts.passed.fetch_add(1, Ordering::Relaxed);
                inbound.host.finish(inbound.seq);
            }
        }
    }

    /// Writes what events that are in the log, up to this one, have changed. The directory's group ends after the rows:
    /// whoever writes the directory next goes by them.
    fn write_derived(&self, changes: &[(&Verified, &Change)], rows: &WriteBatch, last_seq: u64) {
        let mut directory = self.directory.group();
        for (event, Change { before, after }) in changes {
            until_written(&self.stats, "directory of collections", || {
                directory.event(&event.did, before.as_ref(), after, &event.touches)
            });
        }
        until_written(&self.stats, "directory of collections", || directory.write(last_seq));
        until_written(&self.stats, "derived rows", || self.store.write(rows));
    }

    /// Appends one event in the form in which consumers get it.
    fn append(&mut self, event: &Verified, buffers: &mut Buffers) -> Result<(), log::Error> {
        let Buffers { frame, wire } = buffers;
        let seq = self.log.next_seq();
        frame.clear();
        frame::with_seq(event.source.frame(), event.seq_span.clone(), seq, frame);
        wire.clear();
        wire.extend_from_slice(&ws::frame_header(frame.len()));
        wire.extend_from_slice(frame);
        let header = Header {
            seq,
            time_ms: now_ms(),
            host: event.source.host(),
            upstream_seq: event.source.cause().upstream_seq(),
            kind: event.kind,
            account: AccountTag::of(event.did.as_str()),
        };
        self.log.append(&header, wire)
    }

    /// Writes the cursors of the hosts that moved. Every event in the log is finished here, so the rows are right up
    /// to the log's end.
    fn write_cursors(&mut self) {
        let mut rows = WriteBatch::default();
        self.hosts.put_progress(&mut rows);
        self.store.put_applied_hosts(&mut rows, self.log.next_seq() - 1);
        // A kill then costs no more than what came since. Where the log itself may lose its end, cursors must not be
        // durable before it.
        until_written(&self.stats, "host cursors", || match self.durability {
            Durability::Sync => self.store.write_ahead(&rows),
            Durability::Os => self.store.write(&rows),
        });
    }

    fn retain(&mut self, durable_seq: u64) {
        let window = i64::try_from(self.replay_window.as_millis()).unwrap_or(i64::MAX);
        let retention = Retention {
            oldest_ms: now_ms().saturating_sub(window),
            max_bytes: self.replay_max_bytes.unwrap_or(u64::MAX),
            keep_after_seq: durable_seq,
        };
        if let Err(error) = self.log.retain(retention) {
            tracing::warn!(%error, "old segments not removed");
        }
    }
}

/// Reused from event to event.
#[derive(Default)]
struct Buffers {
    frame: Vec<u8>,
    wire: Vec<u8>,
}

/// Makes the derived rows durable beside the sequencer's work.
#[derive(Default)]
struct Checkpoint {
    durable: Arc<AtomicU64>,
    running: Arc<AtomicBool>,
}

impl Checkpoint {
    /// The log can be rebuilt from beyond this seq.
    fn durable_seq(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    fn start(&self, store: &Store) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, durable, running) = (store.clone(), Arc::clone(&self.durable), Arc::clone(&self.running));
        let flush = move || {
            let flushed = store.applied().and_then(|applied| store.flush().map(|()| applied));
            match flushed {
                Ok(applied) => durable.store(applied.accounts.min(applied.hosts), Ordering::Release),
                Err(error) => tracing::warn!(%error, "derived rows not flushed; the log keeps what they lack"),
            }
            running.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(flush) {
            tracing::warn!(%error, "no thread for the checkpoint");
            self.running.store(false, Ordering::Release);
        }
    }
}

/// Tries until it succeeds. Nothing may be skipped, and holding the sequencer holds back the hosts.
fn until_written<T, E: std::fmt::Display>(stats: &Stats, what: &str, mut write: impl FnMut() -> Result<T, E>) -> T {
    loop {
        match write() {
            Ok(written) => {
                stats.is_stuck.store(false, Ordering::Relaxed);
                return written;
            }
            Err(error) => {
                tracing::error!(%error, "{what} not written, trying again; is the disk full?");
                stats.failures.fetch_add(1, Ordering::Relaxed);
                stats.is_stuck.store(true, Ordering::Relaxed);
                std::thread::sleep(WRITE_RETRY);
            }
        }
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
