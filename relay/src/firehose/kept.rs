//! What consumers that stall keep for themselves: the rest of a frame, which must be finished if it was begun.
//!
//! A batch that is being written shares its memory with the ring, or has a [turn](super::replay). A consumer that does
//! not get on with it gives it back but for one frame, of which it has a copy. Mostly these are small; but a frame may
//! have megabytes, and a thousand consumers may stall within it. So their copies together are bounded, and one that
//! finds no room for its copy goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::frame::FRAME_BYTES_MAX;

/// Least bytes for all: the largest event with its framing, or nobody slow would ever get past it.
pub const KEPT_BYTES_MIN: u64 = FRAME_BYTES_MAX as u64 + 1024;

/// The bytes that are kept, of all consumers.
#[derive(Debug)]
pub(super) struct Kept {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
}

/// Bytes that one consumer keeps, until dropped.
#[derive(Debug)]
pub(super) struct Keeping {
    kept: Arc<Kept>,
    bytes: u64,
}

impl Kept {
    pub fn new(bytes_max: u64) -> Arc<Kept> {
        Arc::new(Kept { bytes: AtomicU64::new(0), bytes_max: AtomicU64::new(bytes_max.max(KEPT_BYTES_MIN)) })
    }

    /// Changes how many bytes there may be. What is kept stays.
    pub fn set_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max.max(KEPT_BYTES_MIN), Ordering::Relaxed);
    }

    /// Counts `bytes` more, if there is room for them.
    pub fn keep(self: &Arc<Kept>, bytes: usize) -> Option<Keeping> {
        let bytes = bytes as u64;
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        let more = |kept: u64| kept.checked_add(bytes).filter(|kept| *kept <= bytes_max);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Keeping { kept: Arc::clone(self), bytes })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.kept.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_may_be() {
        let kept = Kept::new(0);
        let whole = KEPT_BYTES_MIN as usize;
        let largest = kept.keep(whole).expect("the largest frame");
        assert!(kept.keep(1).is_none());
        kept.set_max(KEPT_BYTES_MIN + 1);
        let one = kept.keep(1).expect("room for one more");
        kept.set_max(0);
        assert_eq!(kept.bytes(), KEPT_BYTES_MIN + 1, "what is kept stays");
        drop(largest);
        assert!(kept.keep(whole).is_none() && kept.keep(whole - 1).is_some());
        drop(one);
        assert_eq!(kept.bytes(), 0);
    }
}
