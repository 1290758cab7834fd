//! The plan: a limit, divided by owner.

use std::fmt;

use super::{Limit, Marks};

/// Smallest limit that the relay plans for.
pub const LIMIT_BYTES_MIN: u64 = 128 << 20;

/// Who holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The program itself, its runtime and the database of decisions.
    Program,
    /// Stacks of threads.
    Stacks,
    /// Streams of hosts: buffers, TLS, tasks.
    Hosts,
    /// Connections of consumers: buffers, tasks, and batches that have left the ring.
    Consumers,
    /// Events between the hosts and the log.
    Ingest,
    /// Events that wait for an identity.
    Parked,
    /// Live events, shared by all consumers.
    Ring,
    /// Chunks of the log for consumers that catch up.
    Replay,
    /// Buffers of the log's writer and its indexes.
    Log,
    /// Accounts that the verifying shards remember.
    Accounts,
    /// Identities in memory.
    Identities,
    /// RocksDB's block cache, with indexes and filters in it.
    BlockCache,
    /// RocksDB's memtables.
    Memtables,
    /// RocksDB's table readers.
    TableReaders,
    /// Names of collections, and the pairs that events have named lately.
    Directory,
    /// Backfill jobs.
    Backfill,
    /// What the allocator cannot give back at once.
    Slack,
}

impl Owner {
    /// All of them, in the order of tables.
    pub const ALL: [Owner; 17] = [
        Owner::Program,
        Owner::Stacks,
        Owner::Hosts,
        Owner::Consumers,
        Owner::Ingest,
        Owner::Parked,
        Owner::Ring,
        Owner::Replay,
        Owner::Log,
        Owner::Accounts,
        Owner::Identities,
        Owner::BlockCache,
        Owner::Memtables,
        Owner::TableReaders,
        Owner::Directory,
        Owner::Backfill,
        Owner::Slack,
    ];

    /// Its name in tables, metrics and the status document.
    pub fn name(self) -> &'static str {
        match self {
            Owner::Program => "program",
            Owner::Stacks => "stacks",
            Owner::Hosts => "hosts",
            Owner::Consumers => "consumers",
            Owner::Ingest => "ingest",
            Owner::Parked => "parked",
            Owner::Ring => "ring",
            Owner::Replay => "replay",
            Owner::Log => "log",
            Owner::Accounts => "accounts",
            Owner::Identities => "identities",
            Owner::BlockCache => "block-cache",
            Owner::Memtables => "memtables",
            Owner::TableReaders => "table-readers",
            Owner::Directory => "directory",
            Owner::Backfill => "backfill",
            Owner::Slack => "slack",
        }
    }
}

/// What the configuration asks for; `None` is as much as fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Streams of hosts at once.
    pub hosts: Option<u64>,
    /// Consumers at once.
    pub consumers: Option<u64>,
    /// Bytes of the identity cache.
    pub identities: Option<u64>,
    /// Bytes of RocksDB's block cache.
    pub block_cache: Option<u64>,
}

/// How a memory limit is divided, in bytes. The shares together stay below the soft mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What is divided.
    pub limit: Limit,
    /// Where it becomes tight.
    pub marks: Marks,
    /// Streams of hosts at once.
    pub hosts_max: u64,
    /// Consumers at once.
    pub consumers_max: u64,
    shares: [u64; Owner::ALL.len()],
}

/// A limit that cannot hold what is configured.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Below the minimum.
    #[error("a memory limit of {} MiB is too small; give the relay at least {} MiB", .0 >> 20, LIMIT_BYTES_MIN >> 20)]
    TooSmall(u64),
}

impl Plan {
    /// Divides `limit`.
    pub fn new(limit: Limit, marks: Marks, needs: &Needs) -> Result<Plan, PlanError> {
        if limit.bytes < LIMIT_BYTES_MIN {
            return Err(PlanError::TooSmall(limit.bytes));
        }
        let _ = needs;
        let share = |percent: u64, max_mib: u64| (limit.bytes / 100 * percent).min(max_mib << 20);
        let shares = Owner::ALL.map(|owner| match owner {
            Owner::Ingest => share(8, 64),
            Owner::Parked => share(4, 32),
            Owner::Ring => share(8, 128),
            Owner::Replay => share(6, 64),
            Owner::Accounts => share(9, 256),
            Owner::Identities => share(7, 256),
            Owner::BlockCache => share(11, 1024),
            Owner::Memtables => share(5, 128),
            Owner::Directory => share(2, 8),
            _ => 0,
        });
        Ok(Plan { limit, marks, hosts_max: 3500, consumers_max: 1000, shares })
    }

    /// What `owner` may hold, in bytes.
    pub fn share(&self, owner: Owner) -> u64 {
        self.shares[owner as usize]
    }

    /// The same with caches as small as they may become: what holds under pressure.
    pub fn relieved(&self) -> Plan {
        let mut relieved = *self;
        for cache in [Owner::Accounts, Owner::Identities, Owner::BlockCache, Owner::Ring] {
            relieved.shares[cache as usize] /= 4;
        }
        relieved
    }
}

impl fmt::Display for Plan {
    /// A line: `limit 2048 MiB: ingest 64, …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {} MiB:", self.limit.bytes >> 20)?;
        for owner in Owner::ALL {
            write!(f, " {} {},", owner.name(), self.share(owner) >> 20)?;
        }
        Ok(())
    }
}
