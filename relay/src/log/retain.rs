//! Removing old segments.

use std::sync::Arc;

use super::segment::Segment;
use super::{Error, Log};

/// What the log keeps. The segment being written always stays.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Events older than this may go, in milliseconds since 1970.
    pub oldest_ms: i64,
    /// The oldest events may go while the log is larger on disk, in bytes.
    pub max_bytes: u64,
    /// Events after this seq stay in any case: derived state does not hold them yet.
    pub keep_after_seq: u64,
}

/// What [`Log::retain`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Number of segments.
    pub segments: u64,
    /// Their size on disk, in bytes.
    pub bytes: u64,
}

impl Log {
    /// Removes the oldest segments, as far as `retention` lets them go: a segment goes as a whole, when its newest
    /// event may.
    ///
    /// Cursors that read a removed segment read it to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when a file cannot be removed; it is tried again the next time.
    pub fn retain(&mut self, retention: Retention) -> Result<Removed, Error> {
        let mut removed = Removed::default();
        let mut bytes = self.shared.bytes();
        while let Some(oldest) = self.pop_oldest(&retention, bytes) {
            if let Err(error) = oldest.remove() {
                oldest.release();
                self.shared.segments_mut().push_front(oldest);
                return Err(error);
            }
            let freed = oldest.disk_bytes();
            bytes = bytes.saturating_sub(freed);
            removed.segments += 1;
            removed.bytes += freed;
        }
        let plain: Vec<u64> = {
            let segments = self.shared.segments();
            segments
                .iter()
                .filter(|segment| segment.packed_bytes().is_none())
                .map(|segment| segment.first_seq())
                .collect()
        };
        self.shared.indexes().keep_only(&plain);
        Ok(removed)
    }

    /// Takes the oldest segment out of the log of `bytes` bytes, if it may go. One that just gets its compressed form
    /// goes the next time.
    fn pop_oldest(&self, retention: &Retention, bytes: u64) -> Option<Arc<Segment>> {
        let mut segments = self.shared.segments_mut();
        let (oldest, next) = (segments.front()?, segments.get(1)?);
        let is_needed = oldest.sealed().is_none_or(|last| last > retention.keep_after_seq);
        let is_old = next.header.first_ms < retention.oldest_ms;
        if is_needed || !(is_old || bytes > retention.max_bytes) || !oldest.claim() {
            return None;
        }
        segments.pop_front()
    }
}
