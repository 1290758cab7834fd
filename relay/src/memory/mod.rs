//! Memory: the limit, and how it is divided.
//!
//! The limit is the cgroup's; what counts against it is the working set, as the kubelet counts it: everything charged
//! to the cgroup but the page cache that the kernel can drop at once.

mod cgroup;

pub use cgroup::Cgroup;

use std::fmt;

/// Smallest limit that the relay plans for.
pub const LIMIT_BYTES_MIN: u64 = 128 << 20;

/// How a memory limit is divided, in bytes. Everything that the relay can hold counts against one of these; the rest
/// is for the program, its connections, and what the allocator cannot give back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What is divided.
    pub limit: u64,
    /// Events between the hosts and the log.
    pub ingest: u64,
    /// Events that wait for an identity.
    pub parked: u64,
    /// Live events, shared by all consumers.
    pub ring: u64,
    /// Reads of consumers that catch up.
    pub replay: u64,
    /// Accounts that the verifying shards remember.
    pub accounts: u64,
    /// Identities in memory.
    pub identities: u64,
    /// RocksDB's block cache, with its indexes and filters.
    pub block_cache: u64,
    /// RocksDB's memtables.
    pub memtables: u64,
    /// Names of collections, and the pairs of accounts and collections that events have named lately.
    pub directory: u64,
}

/// A limit that is too small.
#[derive(Debug, thiserror::Error)]
#[error("a memory limit of {} MiB is too small; give the relay at least {} MiB", .0 >> 20, LIMIT_BYTES_MIN >> 20)]
pub struct TooSmall(u64);

impl Budget {
    /// Divides `limit`. The shares together are 60 % of it; above the maxima, more memory makes nothing faster.
    pub fn plan(limit: u64) -> Result<Budget, TooSmall> {
        if limit < LIMIT_BYTES_MIN {
            return Err(TooSmall(limit));
        }
        let share = |percent: u64, max_mib: u64| (limit / 100 * percent).min(max_mib << 20);
        Ok(Budget {
            limit,
            ingest: share(8, 64),
            parked: share(4, 32),
            ring: share(8, 128),
            replay: share(6, 64),
            accounts: share(9, 256),
            identities: share(7, 256),
            block_cache: share(11, 1024),
            memtables: share(5, 128),
            directory: share(2, 8),
        })
    }

    fn shares(&self) -> [(&'static str, u64); 9] {
        [
            ("ingest", self.ingest),
            ("parked", self.parked),
            ("ring", self.ring),
            ("replay", self.replay),
            ("accounts", self.accounts),
            ("identities", self.identities),
            ("block cache", self.block_cache),
            ("memtables", self.memtables),
            ("directory", self.directory),
        ]
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} MiB:", self.limit >> 20)?;
        let mut rest = self.limit;
        for (owner, bytes) in self.shares() {
            write!(f, " {owner} {},", bytes >> 20)?;
            rest -= bytes;
        }
        write!(f, " program, connections and slack {}", rest >> 20)
    }
}

/// The machine's memory, for where no cgroup limits it.
pub fn machine_bytes() -> Option<u64> {
    proc_bytes("/proc/meminfo", "MemTotal:")
}

/// Memory of this process, for where no cgroup counts it.
pub fn resident_bytes() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmRSS:")
}

fn proc_bytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_leave_room_at_every_limit() {
        for mib in [128, 256, 512, 1024, 2048, 8192, 65536] {
            let budget = Budget::plan(mib << 20).expect("a limit that fits");
            let shares: u64 = budget.shares().iter().map(|(_, bytes)| bytes).sum();
            assert!(shares <= budget.limit / 100 * 60, "{budget}");
        }
    }

    #[test]
    fn too_small_a_limit_says_what_to_do() {
        let error = Budget::plan(64 << 20).expect_err("64 MiB");
        assert_eq!(error.to_string(), "a memory limit of 64 MiB is too small; give the relay at least 128 MiB");
    }
}
