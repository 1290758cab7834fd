//! The derived store: RocksDB with one column family per kind of row.
//!
//! Everything in it but the identities and the directory of collections can be derived from the event log, so the rest
//! runs without a write-ahead log of its own: all column families are flushed together, and a start replays the log from
//! the applied seq that the flush holds (ARCHITECTURE.md, "Derived rows follow the log").

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rocksdb::compaction_filter::Decision as CompactionDecision;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRawIterator, FlushOptions, IteratorMode, Options, ReadOptions, SliceTransform, WriteBatch, WriteBufferManager,
    WriteOptions,
};

use crate::identity;

/// A kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// DID → [`crate::account::Account`].
    Account,
    /// Host id → [`crate::host::HostRow`].
    Host,
    /// Single values of the whole store: see [`Store::applied`].
    Meta,
    /// What the relay itself holds against accounts: kind, host id and DID → nothing.
    Local,
    /// DID → identity, written with a write-ahead log since nothing else holds it.
    Identity,
    /// Collection and account → nothing: see [`crate::collections`]. Written with a write-ahead log, as are the next two.
    Collection,
    /// Account and collection → nothing.
    Repo,
    /// Names of collections and accounts.
    Name,
}

impl Column {
    const ALL: [Column; 8] = [
        Column::Account,
        Column::Host,
        Column::Meta,
        Column::Local,
        Column::Identity,
        Column::Collection,
        Column::Repo,
        Column::Name,
    ];

    /// Name of the column family.
    pub fn name(self) -> &'static str {
        match self {
            Column::Account => "account",
            Column::Host => "host",
            Column::Meta => "meta",
            Column::Local => "local",
            Column::Identity => "identity",
            Column::Collection => "collection",
            Column::Repo => "repo",
            Column::Name => "name",
        }
    }

    /// Length of the part of a key by which its rows belong together, where there are many of each.
    fn prefix_bytes(self) -> Option<usize> {
        match self {
            Column::Collection => Some(4),
            Column::Repo => Some(16),
            _ => None,
        }
    }
}

/// A key and its value.
pub type Row = (Box<[u8]>, Box<[u8]>);

/// A failed operation of the store.
#[derive(Debug, thiserror::Error)]
#[error("derived store: {0}")]
pub struct StoreError(#[from] rocksdb::Error);

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the derived store in {path}: {source}; check that the folder is writable and no other relay uses it"
)]
pub struct OpenError {
    path: String,
    source: rocksdb::Error,
}

/// Up to which seq of the log the store's rows are right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Account rows include every event up to this seq.
    pub accounts: u64,
    /// Host rows include every event up to this seq.
    pub hosts: u64,
}

const APPLIED_ACCOUNTS: &[u8] = b"applied.accounts";
const APPLIED_HOSTS: &[u8] = b"applied.hosts";

/// Every identity is looked at this often, whether it can go.
const PRUNE_INTERVAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Memory of the store, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Block cache, with index and filter blocks in it.
    pub block_cache: usize,
    /// All memtables together.
    pub memtables: usize,
}

impl Sizes {
    /// The cache is never smaller: below it every read of a row reads an index and a filter from the disk.
    const BLOCK_CACHE_MIN: usize = 1 << 20;
    /// Memtables are never fewer: below it every group of events is flushed to files of its own.
    const MEMTABLES_MIN: usize = 3 << 20;

    fn bounded(self) -> Sizes {
        let Sizes { block_cache, memtables } = self;
        Sizes { block_cache: block_cache.max(Sizes::BLOCK_CACHE_MIN), memtables: memtables.max(Sizes::MEMTABLES_MIN) }
    }

    /// At which size of all memtables they are flushed. While that is done, writes go into new ones, and wait only when
    /// these have reached half of it: so that all of them are within the share, it is two thirds.
    fn flush_at(self) -> usize {
        self.memtables / 3 * 2
    }
}

/// What a memtable takes at a time. Every column has one; at a MiB each, as the library has it, they would fill a small
/// share before there is anything in them.
const MEMTABLE_STEP_BYTES: usize = 64 << 10;
/// Size of a file: the filter of one is made in memory, at 8 bytes a row.
const FILE_BYTES: u64 = 32 << 20;
/// What a compaction reads at a time of each of its files.
const COMPACTION_READ_BYTES: usize = 512 << 10;

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    db: Arc<DB>,
    cache: Cache,
    /// Counts all memtables, and says when they are flushed. They are not counted in the cache, as they could be: what
    /// is written would then take the room of what is read, and neither would have a share of its own.
    memtables: WriteBufferManager,
}

impl Store {
    /// Opens or creates the store in `path`.
    pub fn open(path: &Path, sizes: Sizes) -> Result<Store, OpenError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        let sizes = sizes.bounded();
        // Without a stall at the bound: memtables that a reader holds on to would stop the writers for as long.
        let memtables = WriteBufferManager::new_write_buffer_manager(sizes.flush_at(), false);
        options.set_write_buffer_manager(&memtables);
        options.set_compaction_readahead_size(COMPACTION_READ_BYTES);
        options.set_max_background_jobs(2);
        options.set_max_open_files(256);
        options.set_keep_log_file_num(2);
        let cache = Cache::new_lru_cache(sizes.block_cache);
        let columns = Column::ALL.map(|column| {
            let mut options = column_options(column, &cache);
            if column == Column::Identity {
                options.set_compaction_filter("identities", prune_identity);
                options.set_periodic_compaction_seconds(PRUNE_INTERVAL.as_secs());
            }
            ColumnFamilyDescriptor::new(column.name(), options)
        });
        let db = DB::open_cf_descriptors(&options, path, columns)
            .map_err(|source| OpenError { path: path.display().to_string(), source })?;
        Ok(Store { db: Arc::new(db), cache, memtables })
    }

    /// The database itself, for the owner of [`Column::Identity`].
    pub fn database(&self) -> Arc<DB> {
        Arc::clone(&self.db)
    }

    /// One row.
    pub fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get_cf(self.family(column), key)?)
    }

    /// Adds a row to a batch.
    pub fn put(&self, batch: &mut WriteBatch, column: Column, key: &[u8], value: &[u8]) {
        batch.put_cf(self.family(column), key, value);
    }

    /// Adds the removal of a row to a batch.
    pub fn delete(&self, batch: &mut WriteBatch, column: Column, key: &[u8]) {
        batch.delete_cf(self.family(column), key);
    }

    /// Rows in key order.
    pub fn iterate<'a>(
        &'a self,
        column: Column,
        mode: IteratorMode<'_>,
    ) -> impl Iterator<Item = Result<Row, StoreError>> + use<'a> {
        self.db.iterator_cf_opt(self.family(column), in_total_order(), mode).map(|row| row.map_err(StoreError))
    }

    /// The rows whose keys begin with `prefix`, those from `start` on, in key order and without a copy of each.
    pub fn scan(&self, column: Column, prefix: &[u8], start: &[u8]) -> Scan<'_> {
        let mut options = in_total_order();
        if column.prefix_bytes() == Some(prefix.len()) {
            options = ReadOptions::default();
            options.set_prefix_same_as_start(true);
        }
        if let Some(end) = end_of_prefix(prefix) {
            options.set_iterate_upper_bound(end);
        }
        let mut rows = self.db.raw_iterator_cf_opt(self.family(column), options);
        rows.seek(start);
        Scan { rows, is_at_first: true }
    }

    /// Up to which seq the rows are right.
    pub fn applied(&self) -> Result<Applied, StoreError> {
        let seq = |key| -> Result<u64, StoreError> {
            let value = self.get(Column::Meta, key)?;
            Ok(value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_be_bytes))
        };
        Ok(Applied { accounts: seq(APPLIED_ACCOUNTS)?, hosts: seq(APPLIED_HOSTS)? })
    }

    /// Says, in the batch that makes it true, that the account rows include all events up to `seq`.
    pub fn put_applied_accounts(&self, batch: &mut WriteBatch, seq: u64) {
        self.put(batch, Column::Meta, APPLIED_ACCOUNTS, &seq.to_be_bytes());
    }

    /// The same for the host rows.
    pub fn put_applied_hosts(&self, batch: &mut WriteBatch, seq: u64) {
        self.put(batch, Column::Meta, APPLIED_HOSTS, &seq.to_be_bytes());
    }

    /// Writes derived rows: visible at once, durable with the next [`Store::flush`].
    pub fn write(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        // A copy, since the library consumes the batch and a failed write must be tried again.
        Ok(self.db.write_opt(WriteBatch::from_data(batch.data()), &options)?)
    }

    /// Writes rows that survive the process at once: those that the log cannot rebuild, or not in full.
    pub fn write_ahead(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        Ok(self.db.write(WriteBatch::from_data(batch.data()))?)
    }

    /// Makes durable what was written ahead until now.
    pub fn sync(&self) -> Result<(), StoreError> {
        Ok(self.db.flush_wal(true)?)
    }

    /// Makes all rows durable, in one step over all columns.
    pub fn flush(&self) -> Result<(), StoreError> {
        let families = Column::ALL.map(|column| self.family(column));
        let families: Vec<_> = families.iter().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.db.flush_cfs_opt(&families, &options)?)
    }

    /// Bytes that the store holds in memory: block cache, memtables, table readers.
    pub fn memory_bytes(&self) -> u64 {
        (self.block_cache_bytes() + self.memtable_bytes() + self.table_reader_bytes()) as u64
    }

    /// What RocksDB says that it holds, in bytes by kind. What is pinned is a part of the block cache.
    pub fn memory(&self) -> [(&'static str, u64); 4] {
        [
            ("block-cache", self.block_cache_bytes() as u64),
            ("block-cache-pinned", self.cache.get_pinned_usage() as u64),
            ("memtables", self.memtable_bytes() as u64),
            ("table-readers", self.table_reader_bytes() as u64),
        ]
    }

    /// Bytes of the block cache, those included that readers hold on to.
    pub fn block_cache_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Bytes of the memtables of all columns: those written to, those being flushed, and those that readers hold on to.
    pub fn memtable_bytes(&self) -> usize {
        self.memtables.get_usage()
    }

    /// Bytes that open files take outside of the block cache.
    pub fn table_reader_bytes(&self) -> usize {
        self.sum_over_columns("rocksdb.estimate-table-readers-mem") as usize
    }

    /// Gives the block cache another share. What is too much goes before this returns, but for what readers hold on to.
    pub fn set_block_cache_bytes(&self, bytes: usize) {
        let sizes = Sizes { block_cache: bytes, memtables: 0 }.bounded();
        // The library wants it mutable; clones are the same cache.
        self.cache.clone().set_capacity(sizes.block_cache);
    }

    /// Gives the memtables another share: what is too much is flushed with the next write.
    pub fn set_memtable_bytes(&self, bytes: usize) {
        let sizes = Sizes { block_cache: 0, memtables: bytes }.bounded();
        self.memtables.set_buffer_size(sizes.flush_at());
    }

    /// The library counts most things for each column by itself.
    fn sum_over_columns(&self, property: &str) -> u64 {
        let of_column = |column| self.db.property_int_value_cf(self.family(column), property).ok().flatten();
        Column::ALL.into_iter().filter_map(of_column).sum()
    }

    /// Merges all that a column holds into its last level, and waits for it.
    pub fn compact(&self, column: Column) {
        self.db.compact_range_cf(self.family(column), None::<&[u8]>, None::<&[u8]>);
    }

    /// Bytes of a column's files.
    pub fn file_bytes(&self, column: Column) -> u64 {
        let value = self.db.property_int_value_cf(self.family(column), "rocksdb.total-sst-files-size");
        value.ok().flatten().unwrap_or(0)
    }

    fn family(&self, column: Column) -> &ColumnFamily {
        self.db.cf_handle(column.name()).expect("open creates every column")
    }
}

fn prune_identity(_level: u32, key: &[u8], row: &[u8]) -> CompactionDecision {
    if identity::is_worthless(key, row) { CompactionDecision::Remove } else { CompactionDecision::Keep }
}

/// A key and its value where they lie.
pub type RowRef<'a> = (&'a [u8], &'a [u8]);

/// Rows in the order of their keys, one after the other.
pub struct Scan<'a> {
    rows: DBRawIterator<'a>,
    is_at_first: bool,
}

impl Scan<'_> {
    /// Key and value of the next row.
    pub fn next_row(&mut self) -> Result<Option<RowRef<'_>>, StoreError> {
        if !std::mem::take(&mut self.is_at_first) {
            self.rows.next();
        }
        match self.rows.item() {
            Some(row) => Ok(Some(row)),
            None => Ok(self.rows.status().map(|()| None)?),
        }
    }
}

/// Past all keys that begin like this.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Reading that is right over the prefixes of a column, at the price of its filters.
fn in_total_order() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options
}

fn column_options(column: Column, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(10.0, false);
    table.set_block_size(16 << 10);
    let mut options = Options::default();
    options.set_arena_block_size(MEMTABLE_STEP_BYTES);
    options.set_target_file_size_base(FILE_BYTES);
    if let Some(bytes) = column.prefix_bytes() {
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(bytes));
        // Indexes and filters of hundreds of millions of rows, of which the cache holds the parts that are used.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_pin_top_level_index_and_filter(true);
        // Rows of the one are asked for by key, those of the other never.
        table.set_whole_key_filtering(column == Column::Repo);
    }
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(sizes: Sizes) -> (Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        (Store::open(folder.path(), sizes).expect("a store"), folder)
    }

    /// Writes rows of 200 bytes with keys from `start` on.
    fn write(store: &Store, column: Column, start: u64, count: u64) {
        for first in (start..start + count).step_by(100) {
            let mut batch = WriteBatch::default();
            for number in first..first + 100 {
                let noise: [u8; 192] = std::array::from_fn(|at| (number.wrapping_mul(0x9E37_79B9) >> (at % 24)) as u8);
                store.put(&mut batch, column, &number.to_be_bytes(), &noise);
            }
            store.write(&batch).expect("written");
        }
    }

    #[test]
    fn memtables_of_every_column_are_counted_and_stay_within_their_share() {
        let sizes = Sizes { block_cache: 4 << 20, memtables: 6 << 20 };
        let (store, _folder) = open(sizes);
        let mut most = 0;
        for round in 0..100 {
            write(&store, [Column::Account, Column::Repo, Column::Identity][round % 3], round as u64 * 10_000, 2000);
            let counted = store.memtable_bytes();
            assert!(
                counted as u64 >= store.sum_over_columns("rocksdb.cur-size-active-mem-table"),
                "no column is left out"
            );
            most = most.max(counted);
        }
        assert!(most <= sizes.memtables, "{most} bytes at most");
        assert!(most >= sizes.memtables / 3, "{most} bytes at most: the share is used");
    }

    #[test]
    fn memtables_take_another_share_while_they_are_written_to() {
        let (store, _folder) = open(Sizes { block_cache: 4 << 20, memtables: 60 << 20 });
        write(&store, Column::Account, 0, 100_000);
        assert!(store.memtable_bytes() > 20 << 20, "{} bytes", store.memtable_bytes());
        store.set_memtable_bytes(6 << 20);
        write(&store, Column::Account, 100_000, 100);
        store.flush().expect("flushed");
        let mut most = 0;
        for round in 0..50 {
            write(&store, Column::Account, 200_000 + round * 10_000, 2000);
            most = most.max(store.memtable_bytes());
        }
        assert!(most <= 6 << 20, "{most} bytes at most");
        for number in (0..100_000u64).step_by(997) {
            assert!(store.get(Column::Account, &number.to_be_bytes()).expect("read").is_some(), "{number} is there");
        }
    }

    #[test]
    fn the_block_cache_shrinks_at_once_and_grows() {
        let (store, _folder) = open(Sizes { block_cache: 32 << 20, memtables: 8 << 20 });
        write(&store, Column::Account, 0, 100_000);
        store.flush().expect("flushed");
        // So that nothing else reads.
        store.compact(Column::Account);
        let read_all = || {
            let rows = store.iterate(Column::Account, IteratorMode::Start);
            assert_eq!(rows.filter(Result::is_ok).count(), 100_000);
        };
        read_all();
        let full = store.block_cache_bytes();
        assert!(full > 10 << 20, "{full} bytes are read");
        store.set_block_cache_bytes(2 << 20);
        assert!(store.block_cache_bytes() <= 2 << 20, "{} bytes", store.block_cache_bytes());
        read_all();
        assert!(store.block_cache_bytes() <= 2 << 20, "{} bytes", store.block_cache_bytes());
        store.set_block_cache_bytes(32 << 20);
        read_all();
        assert!(store.block_cache_bytes() > 10 << 20, "{} bytes", store.block_cache_bytes());
    }

    #[test]
    fn open_files_of_every_column_are_counted() {
        let (store, _folder) = open(Sizes { block_cache: 4 << 20, memtables: 8 << 20 });
        let empty = store.table_reader_bytes();
        for column in [Column::Account, Column::Repo] {
            write(&store, column, 0, 1000);
        }
        store.flush().expect("flushed");
        for column in [Column::Account, Column::Repo] {
            assert!(store.get(column, &7u64.to_be_bytes()).expect("read").is_some());
        }
        assert!(store.table_reader_bytes() > empty);
    }
}
