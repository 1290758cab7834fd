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
    DBRawIterator, FlushOptions, IteratorMode, Options, ReadOptions, SliceTransform, WriteBatch, WriteOptions,
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

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    db: Arc<DB>,
}

impl Store {
    /// Opens or creates the store in `path`.
    pub fn open(path: &Path, sizes: Sizes) -> Result<Store, OpenError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_db_write_buffer_size(sizes.memtables);
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
        Ok(Store { db: Arc::new(db) })
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
        let value = |name| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        value("rocksdb.block-cache-usage")
            + value("rocksdb.cur-size-all-mem-tables")
            + value("rocksdb.estimate-table-readers-mem")
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
