//! Consumers that run beside a scenario.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use relay::protocol::frame::{Peek, peek};
use sim::{Reader, Traffic};
use tokio::task::JoinHandle;

/// When nothing came for so long, nothing more comes.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// A silence of so long is worth a note.
const SILENCE_NOTED: Duration = Duration::from_secs(1);

/// A consumer that counts.
pub struct Watcher {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    events: AtomicU64,
    last_seq: AtomicU64,
}

impl Watcher {
    /// Subscribes, from now or from a cursor.
    pub async fn start(address: SocketAddr, cursor: Option<u64>) -> anyhow::Result<Watcher> {
        let mut reader = Reader::connect(address, cursor).await.context("no firehose")?;
        let seen = Arc::<Seen>::default();
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                let count = |frame: &[u8]| {
                    if let Some(seq) = seq(frame) {
                        seen.last_seq.store(seq, Ordering::Relaxed);
                        seen.events.fetch_add(1, Ordering::Relaxed);
                    }
                };
                // A stream that ends shows in what is missing.
                while reader.read(count).await.is_ok() {}
            }
        });
        Ok(Watcher { seen, task })
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.seen.events.load(Ordering::Relaxed)
    }

    /// Seq of the last one.
    pub fn last_seq(&self) -> u64 {
        self.seen.last_seq.load(Ordering::Relaxed)
    }

    /// Waits until so many events came.
    pub async fn until_events(&self, events: usize) -> anyhow::Result<()> {
        self.until(|watcher| watcher.events() >= events as u64).await
    }

    /// Waits until the event of this seq came.
    pub async fn until_seq(&self, seq: u64) -> anyhow::Result<()> {
        self.until(|watcher| watcher.last_seq() >= seq).await
    }

    async fn until(&self, is_so: impl Fn(&Watcher) -> bool) -> anyhow::Result<()> {
        let (mut events, mut since) = (self.events(), Instant::now());
        while !is_so(self) {
            if self.events() != events {
                if since.elapsed() > SILENCE_NOTED {
                    eprintln!("  (nothing came for {:.1} s after {events} events)", since.elapsed().as_secs_f64());
                }
                (events, since) = (self.events(), Instant::now());
            }
            anyhow::ensure!(since.elapsed() < SILENCE_MAX, "a consumer got {events} events and then nothing more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A consumer that notes when each event came.
pub struct Timer(JoinHandle<Vec<(usize, Instant)>>);

impl Timer {
    /// Subscribes from now. It ends when it has so many events, or the stream does.
    pub async fn start(address: SocketAddr, traffic: &Arc<Traffic>, events: usize) -> anyhow::Result<Timer> {
        let mut reader = Reader::connect(address, None).await.context("no firehose")?;
        let traffic = Arc::clone(traffic);
        Ok(Timer(tokio::spawn(async move {
            let mut came = Vec::with_capacity(events);
            while came.len() < events {
                let note = |frame: &[u8]| {
                    let now = Instant::now();
                    came.extend(traffic.find(frame).map(|event| (event, now)));
                };
                if reader.read(note).await.is_err() {
                    break;
                }
            }
            came
        })))
    }

    /// What came.
    pub async fn end(self) -> anyhow::Result<Vec<(usize, Instant)>> {
        tokio::time::timeout(SILENCE_MAX, self.0).await.context("events are missing")?.context("a consumer failed")
    }
}

/// The seq of an event.
pub fn seq(frame: &[u8]) -> Option<u64> {
    match peek(frame) {
        Ok(Peek::Event { seq, .. }) => Some(seq),
        _ => None,
    }
}
