//! What is known of DIDs, in memory and on disk.

use std::sync::Arc;

use rocksdb::{ColumnFamily, DB};

use super::memory::{Entry, Memory};
use super::{Identity, Lifetimes, row};
use crate::protocol::did::Did;

/// The identities: those in use in memory, all on disk. Failures of the disk are logged, and cost a request.
pub(super) struct Cache {
    memory: Memory,
    database: Arc<DB>,
    column: &'static str,
    lifetimes: Lifetimes,
}

impl Cache {
    /// `column` has to exist in `database`.
    pub(super) fn new(database: Arc<DB>, column: &'static str, bytes_max: usize, lifetimes: Lifetimes) -> Cache {
        Cache { memory: Memory::new(bytes_max), database, column, lifetimes }
    }

    /// What is known of a DID: `Some(None)` is that it has no identity, `None` that nothing good is known.
    pub(super) fn get(&self, did: &Did, now_ms: i64) -> Option<Option<Arc<Identity>>> {
        let entry = self.memory.get(did).or_else(|| self.load(did))?;
        (now_ms < entry.good_until_ms).then_some(entry.identity)
    }

    /// Remembers what was just learned of a DID.
    pub(super) fn put(&self, did: &Did, identity: Option<Arc<Identity>>, now_ms: i64) {
        let written = match &identity {
            Some(identity) => self.database.put_cf(self.column(), did.as_str(), row::encode(identity)),
            // A DID without an identity is remembered in memory alone: anyone can invent any number of them.
            None => self.database.delete_cf(self.column(), did.as_str()),
        };
        if let Err(error) = written {
            tracing::warn!(%did, %error, "identity not stored");
        }
        let good_until_ms = match &identity {
            Some(identity) => self.good_until_ms(identity),
            None => now_ms + millis(self.lifetimes.absent),
        };
        self.memory.put(did, Entry { identity, good_until_ms });
    }

    /// An identity that is past its time and cannot be refreshed now: it is good for a while longer, if it is not too
    /// old for any use.
    pub(super) fn extend(&self, did: &Did, now_ms: i64) -> Option<Arc<Identity>> {
        let identity = self.memory.get(did).or_else(|| self.load(did))?.identity?;
        let oldest_ms = now_ms - millis(self.lifetimes.stale_max);
        if identity.fetched_at_ms < oldest_ms {
            return None;
        }
        let good_until_ms = now_ms + millis(self.lifetimes.stale_retry);
        self.memory.put(did, Entry { identity: Some(Arc::clone(&identity)), good_until_ms });
        Some(identity)
    }

    /// Forgets a DID.
    pub(super) fn remove(&self, did: &Did) {
        self.memory.remove(did);
        if let Err(error) = self.database.delete_cf(self.column(), did.as_str()) {
            tracing::warn!(%did, %error, "identity not removed");
        }
    }

    /// Bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    fn load(&self, did: &Did) -> Option<Entry> {
        let row = self.database.get_pinned_cf(self.column(), did.as_str()).unwrap_or_else(|error| {
            tracing::warn!(%did, %error, "identity not read");
            None
        })?;
        let identity = row::decode(&row)?;
        let entry = Entry { good_until_ms: self.good_until_ms(&identity), identity: Some(Arc::new(identity)) };
        self.memory.put(did, entry.clone());
        Some(entry)
    }

    fn good_until_ms(&self, identity: &Identity) -> i64 {
        let lifetime = if identity.is_working() { self.lifetimes.known } else { self.lifetimes.absent };
        identity.fetched_at_ms.saturating_add(millis(lifetime))
    }

    fn column(&self) -> &ColumnFamily {
        // The resolver is not made without it.
        self.database.cf_handle(self.column).expect("the column exists")
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}
