//! Reading from the log for consumers that are behind the ring.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::log::{self, Cursor, Event, Reader};

/// Bytes that one read of the log asks for: large enough that the read costs little per event.
pub const REPLAY_CHUNK_BYTES: usize = 256 << 10;

/// Longest time that a consumer may take to write a batch before it gives the rest back, so that consumers with slow
/// connections do not keep the turns, and the memory, from others.
pub(super) const BATCH_HOLD_MAX: Duration = Duration::from_secs(2);

/// Bounds how many chunks of the log are in memory; who waits first is served first.
#[derive(Debug)]
pub(super) struct Turns(Arc<Semaphore>);

/// The right to hold a chunk, until dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

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
    /// `count` turns, at least one.
    pub fn new(count: usize) -> Turns {
        Turns(Arc::new(Semaphore::new(count.max(1))))
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
        let turns = Arc::clone(&self.0);
        async move {
            let permit = turns.acquire_owned().await.map_err(|_| ReplayError::Cancelled)?;
            spawn_blocking(move || {
                let mut next = position.unwrap_or_else(|| reader.cursor(after));
                let mut events = Vec::new();
                let result = next.read(REPLAY_CHUNK_BYTES, &mut events);
                if events.is_empty() {
                    result?; // an error behind good events comes again with the next chunk
                }
                if after > 0 && starts_late(&events, after) && reader.first_seq() > after + 1 {
                    return Err(ReplayError::Outrun);
                }
                Ok(Chunk { events, next, floor, turn: Turn(permit) })
            })
            .await
            .unwrap_or(Err(ReplayError::Cancelled))
        }
    }
}

/// Whether seqs are missing between `after` and the first event: the log has jumped ahead, or lost its oldest events.
fn starts_late(events: &[Event], after: u64) -> bool {
    events.first().is_some_and(|event| event.header.seq > after + 1)
}
