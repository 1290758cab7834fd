//! Who holds memory.

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

    /// What it holds, in a few words for people.
    pub fn purpose(self) -> &'static str {
        match self {
            Owner::Program => "the program, its runtime, the database of decisions",
            Owner::Stacks => "stacks of threads",
            Owner::Hosts => "streams of hosts: buffers, TLS, sockets, messages that are not complete yet",
            Owner::Consumers => "connections of consumers: buffers, sockets, what slow ones hold",
            Owner::Ingest => "events between the hosts and the log",
            Owner::Parked => "events that wait for an identity",
            Owner::Ring => "the newest events, for consumers that keep up",
            Owner::Replay => "pieces of the log for consumers that catch up",
            Owner::Log => "buffers and indexes of the log",
            Owner::Accounts => "accounts seen lately",
            Owner::Identities => "identities seen lately",
            Owner::BlockCache => "RocksDB: blocks, indexes and filters",
            Owner::Memtables => "RocksDB: rows that are not in a file yet",
            Owner::TableReaders => "RocksDB: open files",
            Owner::Directory => "names of collections, pairs seen lately",
            Owner::Backfill => "pages and lists that backfill jobs read",
            Owner::Slack => "what the allocator needs on top",
        }
    }
}
