//! How the relay ends, and what it leaves behind for whoever starts it again.

use std::path::Path;

use serde::Serialize;

use crate::memory::RestartReason;

/// Exit code of a restart that the relay has planned itself.
pub const EXIT_PLANNED_RESTART: u8 = 75;

/// How a relay that had started came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// It wants to be started again.
    Restart(RestartReason),
}

/// The termination message: what Kubernetes shows of a container that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// One word: `Stopped`, `MemoryHardMark`, `MemoryTrend`, `Failed`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The last seq in the log; 0 when it is empty.
    pub seq: u64,
    /// Working set, in bytes.
    pub working_set: u64,
    /// Memory limit, in bytes.
    pub limit: u64,
    /// When (RFC 3339).
    pub at: String,
}

impl Termination {
    /// Writes it to `path`.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let json = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        std::fs::write(path, json)
    }
}
