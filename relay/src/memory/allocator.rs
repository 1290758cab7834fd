//! The allocator: what it holds, and how it is asked to give back.

use tikv_jemalloc_ctl::{epoch, stats};

/// What jemalloc holds, in bytes. Each contains the one before it, but for what it has set aside without memory behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allocator {
    /// Given out.
    pub allocated: u64,
    /// Pages with something given out on them.
    pub active: u64,
    /// Pages with memory behind them.
    pub resident: u64,
    /// Addresses kept without memory behind them.
    pub retained: u64,
}

impl Allocator {
    /// As it is now; nothing where another allocator is at work, as in tests.
    pub fn now() -> Option<Allocator> {
        epoch::advance().ok()?;
        let bytes = |read: Result<usize, tikv_jemalloc_ctl::Error>| read.ok().map(|bytes| bytes as u64);
        Some(Allocator {
            allocated: bytes(stats::allocated::read())?,
            active: bytes(stats::active::read())?,
            resident: bytes(stats::resident::read())?,
            retained: bytes(stats::retained::read())?,
        })
    }
}
