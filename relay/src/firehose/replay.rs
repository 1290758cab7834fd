//! Reading from the log for consumers that are behind the ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::log::{self, Cursor, Event, Reader};
use crate::places::{Place, Places};

/// Bytes that one read of the log asks for: large enough that the read costs little per event.
pub const REPLAY_CHUNK_BYTES: usize = 256 << 10;

/// What a read gives at most for that, unless a single event is larger: blocks end with whole events.
const CHUNK_BYTES_MAX: usize = 2 * REPLAY_CHUNK_BYTES;

/// Longest time that a consumer may take to write a batch before it gives the rest back, so that consumers with slow
/// connections do not keep the turns, and the memory, from others.
pub(super) const BATCH_HOLD_MAX: Duration = Duration::from_secs(2);

/// Reads of the log at once: until one is done, nobody knows how large the next event is.
const READS_MAX: usize = 4;

/// Time between two chunks while memory is short: 1.3 MB a second for all consumers together.
const SLOW_PAUSE: Duration = Duration::from_millis(200);

/// Bounds how many bytes of the log are in memory; who waits first is served first.
#[derive(Debug)]
pub(super) struct Turns {
    places: Arc<Places<()>>,
    reads: Arc<Semaphore>,
    bytes_max: AtomicU64,
    is_slow: Arc<AtomicBool>,
}

/// The right to hold a chunk, until dropped.
pub(super) type Turn = Place<()>;

/// Events read from the log.
pub(super) struct Chunk {
    /// The events after the consumer's cursor, in order; empty if the log holds none.
    pub events: Vec<Event>,
    /// Where the next chunk starts.
    pub next: Cursor,
    /// The log holds all events up to here, so if it gave none, the consumer has them all.
    pub floor: u64,
    pub turn: Turn,
}

/// Why a chunk was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    /// Retention has removed events that the consumer has not read.
    #[error("the cursor has left the replay window")]
    Outrun,
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The runtime shuts down.
    #[error("the read was cancelled")]
    Cancelled,
}

impl Turns {
    /// Turns for chunks of so many bytes together, at least one.
    pub fn new(bytes_max: u64) -> Turns {
        let reads = Arc::new(Semaphore::new(READS_MAX));
        let turns = Turns { places: Places::new(0), reads, bytes_max: bytes_max.into(), is_slow: Arc::default() };
        turns.apply();
        turns
    }

    /// Changes how many bytes there may be.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.apply();
    }

    /// Has one turn at a time, with a pause before each, or as many as there may be.
    pub fn slow(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Ordering::Relaxed);
        self.apply();
    }

    /// Bytes of the turns that are taken.
    pub fn bytes(&self) -> u64 {
        self.places.taken()
    }

    fn apply(&self) {
        let is_slow = self.is_slow.load(Ordering::Relaxed);
        let bytes_max = if is_slow { 0 } else { self.bytes_max.load(Ordering::Relaxed) };
        self.places.set(bytes_max.max(REPLAY_CHUNK_BYTES as u64));
    }

    /// Waits for a turn, then reads the events after seq `after` (0: all) from a log that holds every event up to
    /// `floor`. `position` is where the last chunk ended, if that is there.
    pub fn read(
        &self,
        reader: Reader,
        position: Option<Cursor>,
        after: u64,
        floor: u64,
    ) -> impl Future<Output = Result<Chunk, ReplayError>> + Send + use<> {
        let (places, reads, is_slow) = (Arc::clone(&self.places), Arc::clone(&self.reads), Arc::clone(&self.is_slow));
        async move {
            let (mut bytes, mut position) = (REPLAY_CHUNK_BYTES, position);
            loop {
                let turn = places.take((), bytes as u64).await;
                if is_slow.load(Ordering::Relaxed) {
                    sleep(SLOW_PAUSE).await;
                }
                let _reading = reads.acquire().await.map_err(|_| ReplayError::Cancelled)?;
                let (reader, position) = (reader.clone(), position.take());
                let reading = spawn_blocking(move || read(&reader, position, after));
                let (events, next) = reading.await.unwrap_or(Err(ReplayError::Cancelled))?;
                let read_bytes = events.iter().map(|event| event.wire.len()).sum();
                if read_bytes <= bytes.max(CHUNK_BYTES_MAX) {
                    return Ok(Chunk { events, next, floor, turn });
                }
                // A single event of megabytes: read again with a turn of its size. To wait for more with what is here
                // already would end with everybody waiting.
                bytes = read_bytes;
            }
        }
    }
}

/// Reads the events after seq `after`; gives them and where the next are.
fn read(reader: &Reader, position: Option<Cursor>, after: u64) -> Result<(Vec<Event>, Cursor), ReplayError> {
    let mut next = position.unwrap_or_else(|| reader.cursor(after));
    let mut events = Vec::new();
    let result = next.read(REPLAY_CHUNK_BYTES, &mut events);
    if events.is_empty() {
        result?; // an error behind good events comes again with the next chunk
    }
    if after > 0 && starts_late(&events, after) && reader.first_seq() > after + 1 {
        return Err(ReplayError::Outrun);
    }
    Ok((events, next))
}

/// Whether seqs are missing between `after` and the first event: the log has jumped ahead, or lost its oldest events.
fn starts_late(events: &[Event], after: u64) -> bool {
    events.first().is_some_and(|event| event.header.seq > after + 1)
}
