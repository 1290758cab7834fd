//! The most recent events, in memory, shared by all consumers that keep up.

use std::collections::VecDeque;
use std::mem;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::log::Event;

/// Most events that one read takes from the ring: what one vectored write can carry. Measured, the gain of larger
/// batches is small, and every consumer keeps room for one batch.
pub(super) const BATCH_EVENTS_MAX: usize = 64;

/// Most bytes that one read takes from the ring, unless a single event is larger: bounds what a stalled consumer holds.
pub(super) const BATCH_BYTES_MAX: usize = 256 << 10;

/// The newest events in order, up to a number of bytes; the oldest leave first.
///
/// The sequencer pushes; consumers read. Both hold the lock only to move or clone references to at most one batch.
#[derive(Debug)]
pub(super) struct Ring {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    events: VecDeque<Event>,
    bytes: usize,
    bytes_max: usize,
    /// Every event after this seq is in the ring; those up to it are only in the log.
    floor: u64,
    /// Seq of the newest event ever pushed.
    head: u64,
}

/// What a read of the ring found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// At least one event was taken.
    Events,
    /// There is no event after the cursor yet.
    UpToDate,
    /// The next event has left the ring, as has every event up to `floor`: it is in the log.
    Behind {
        /// See [`Ring::floor`].
        floor: u64,
    },
}

impl Ring {
    /// An empty ring behind a log whose newest event is `head`.
    pub fn new(bytes_max: usize, head: u64) -> Ring {
        Ring { inner: RwLock::new(Inner { events: VecDeque::new(), bytes: 0, bytes_max, floor: head, head }) }
    }

    /// Adds `events`, which follow those pushed before, and gives the new head.
    pub fn push(&self, events: Vec<Event>) -> u64 {
        let mut inner = self.write();
        for event in events {
            debug_assert!(event.header.seq > inner.head, "seq {} published after {}", event.header.seq, inner.head);
            inner.head = event.header.seq;
            inner.bytes += cost(&event);
            inner.events.push_back(event);
        }
        let head = inner.head;
        let retired = inner.retire();
        drop(inner);
        drop(retired); // memory is freed while no consumer waits for the lock
        head
    }

    /// Changes how many bytes it may hold. Who then is behind it reads from the log.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        let mut inner = self.write();
        inner.bytes_max = bytes_max;
        let retired = inner.retire();
        let used = inner.events.len();
        inner.events.shrink_to(2 * used);
        drop(inner);
        drop(retired);
    }

    /// Appends the events after `cursor` to `batch`, as many as make one batch.
    pub fn read_after(&self, cursor: u64, batch: &mut Vec<Event>) -> Found {
        let inner = self.read();
        if cursor >= inner.head {
            return Found::UpToDate;
        }
        if cursor < inner.floor {
            return Found::Behind { floor: inner.floor };
        }
        let start = inner.events.partition_point(|event| event.header.seq <= cursor);
        let mut bytes = 0;
        for event in inner.events.range(start..).take(BATCH_EVENTS_MAX) {
            bytes += event.wire.len();
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                break;
            }
            batch.push(event.clone());
        }
        Found::Events
    }

    /// Seq up to which events have left the ring.
    pub fn floor(&self) -> u64 {
        self.read().floor
    }

    /// Seq of the newest event.
    pub fn head(&self) -> u64 {
        self.read().head
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.read().bytes
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes out the oldest events that are too many.
    fn retire(&mut self) -> Vec<Event> {
        let mut retired = Vec::new();
        while self.bytes > self.bytes_max
            && let Some(event) = self.events.pop_front()
        {
            self.bytes -= cost(&event);
            self.floor = event.header.seq;
            retired.push(event);
        }
        retired
    }
}

/// Memory that an event takes in the ring, in bytes. It bounds the number of events too.
fn cost(event: &Event) -> usize {
    event.wire.len() + mem::size_of::<Event>()
}

#[cfg(test)]
mod tests;
