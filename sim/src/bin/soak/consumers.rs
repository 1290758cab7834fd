//! Consumers that stay, come, go, read from the past, and read too slowly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use relay::protocol::frame::{Peek, peek};
use sim::Reader;
use tokio::task::JoinSet;

/// Consumers that read live and stay.
const STEADY: usize = 6;
/// Consumers that read less than is sent, each at this rate: they are cut, and come again.
const SLOW: [usize; 10] = [0, 0, 0, 1 << 10, 1 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10];
/// How often one comes that reads from the past, how far back at most, and how long it stays.
const VISIT_EVERY: Duration = Duration::from_secs(10);
const BACK_MAX: u64 = 20_000;
const VISIT_SECONDS: std::ops::Range<u64> = 5..60;
/// Before a consumer that was cut comes again.
const PAUSE: Duration = Duration::from_secs(5);
/// A consumer that reads nothing goes by itself after this: it does not learn that it was cut.
const IDLE: Duration = Duration::from_secs(120);

/// The consumers. They end with this.
pub struct Consumers {
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    last_seq: AtomicU64,
    events: AtomicU64,
    gaps: AtomicU64,
    lost: AtomicU64,
    visits: AtomicU64,
    cut: AtomicU64,
}

impl Consumers {
    pub fn start(address: SocketAddr) -> Consumers {
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        for _ in 0..STEADY {
            tasks.spawn(steady(address, Arc::clone(&counts)));
        }
        for bytes_per_second in SLOW {
            tasks.spawn(slow(address, bytes_per_second, Arc::clone(&counts)));
        }
        tasks.spawn(visitors(address, Arc::clone(&counts)));
        Consumers { counts, _tasks: tasks }
    }

    /// Seqs that did not come to consumers that stay.
    pub fn gaps(&self) -> u64 {
        self.counts.gaps.load(Ordering::Relaxed)
    }

    /// Events that came to consumers that stay.
    pub fn events(&self) -> u64 {
        self.counts.events.load(Ordering::Relaxed)
    }

    pub fn summary(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { events, gaps, lost, visits, cut, .. } = &*self.counts;
        format!(
            "{STEADY} that stay got {} events, missed {} seqs, were cut {} times; {} read from the past; those too slow \
             were cut {} times",
            count(events),
            count(gaps),
            count(lost),
            count(visits),
            count(cut)
        )
    }
}

/// Reads live, and goes on by its cursor where it was cut. Seqs have no holes.
async fn steady(address: SocketAddr, counts: Arc<Counts>) {
    let mut last = None;
    loop {
        if let Ok(mut reader) = Reader::connect(address, last).await {
            let mut note = |frame: &[u8]| {
                let Ok(Peek::Event { seq, .. }) = peek(frame) else { return };
                let missing = last.map_or(0, |last: u64| seq.abs_diff(last + 1));
                counts.gaps.fetch_add(missing, Ordering::Relaxed);
                counts.events.fetch_add(1, Ordering::Relaxed);
                counts.last_seq.fetch_max(seq, Ordering::Relaxed);
                last = Some(seq);
            };
            while reader.read(&mut note).await.is_ok() {}
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn slow(address: SocketAddr, bytes_per_second: usize, counts: Arc<Counts>) {
    loop {
        if let Ok(reader) = Reader::connect(address, None).await {
            let reading = reader.trickle(bytes_per_second);
            if bytes_per_second > 0 {
                reading.await;
            } else {
                // It counts as cut, since it is by then.
                let _ = tokio::time::timeout(IDLE, reading).await;
            }
            counts.cut.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn visitors(address: SocketAddr, counts: Arc<Counts>) {
    let mut visits = JoinSet::new();
    loop {
        tokio::time::sleep(VISIT_EVERY).await;
        while visits.try_join_next().is_some() {}
        let back = rand::rng().random_range(0..BACK_MAX);
        let stay = Duration::from_secs(rand::rng().random_range(VISIT_SECONDS));
        let cursor = counts.last_seq.load(Ordering::Relaxed).saturating_sub(back);
        counts.visits.fetch_add(1, Ordering::Relaxed);
        visits.spawn(tokio::time::timeout(stay, async move {
            if let Ok(mut reader) = Reader::connect(address, Some(cursor)).await {
                while reader.read(|_| {}).await.is_ok() {}
            }
        }));
    }
}
