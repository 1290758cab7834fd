//! The allocator: what it holds.

use tikv_jemalloc_ctl::{epoch, stats};

/// What jemalloc holds, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allocator {
    /// Given out.
    pub allocated: u64,
    /// Pages with something given out on them: `allocated`, and the gaps between.
    pub active: u64,
    /// Pages that may have memory behind them: `active`, `metadata`, and those that are kept for the next who asks. Memory
    /// that was given out and never touched counts, although there is none.
    pub resident: u64,
    /// What it needs for itself.
    pub metadata: u64,
    /// Addresses in use.
    pub mapped: u64,
    /// Addresses that are kept without memory behind them.
    pub retained: u64,
}

impl Allocator {
    /// As it is now; nothing where another allocator is at work, as in tests.
    pub fn now() -> Option<Allocator> {
        epoch::advance().ok()?;
        let bytes = |read: Result<usize, tikv_jemalloc_ctl::Error>| read.ok().map(|bytes| bytes as u64);
        let allocator = Allocator {
            allocated: bytes(stats::allocated::read())?,
            active: bytes(stats::active::read())?,
            resident: bytes(stats::resident::read())?,
            metadata: bytes(stats::metadata::read())?,
            mapped: bytes(stats::mapped::read())?,
            retained: bytes(stats::retained::read())?,
        };
        // It is linked in where nobody uses it.
        (allocator.allocated > 0).then_some(allocator)
    }

    /// Its figures by name, for the metrics.
    pub fn figures(&self) -> [(&'static str, u64); 6] {
        [
            ("allocated", self.allocated),
            ("active", self.active),
            ("resident", self.resident),
            ("metadata", self.metadata),
            ("mapped", self.mapped),
            ("retained", self.retained),
        ]
    }
}
