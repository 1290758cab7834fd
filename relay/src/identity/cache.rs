//! What is known of DIDs, in memory and on disk.

use std::sync::Arc;

use rocksdb::{ColumnFamily, DB};

use super::coverage::{Coverage, Position};
use super::memory::Entry;
use super::{Identity, Lifetimes, millis, row};
use crate::memory::Remembered;
use crate::protocol::did::Did;

/// Where the position in the export is, among the DIDs.
const POSITION_KEY: &[u8] = b"export";

/// The identities: those in use in memory, all on disk. Failures of the disk are logged, and cost a request.
pub(super) struct Cache {
    memory: Remembered<Entry>,
    database: Arc<DB>,
    column: &'static str,
    lifetimes: Lifetimes,
    coverage: Arc<Coverage>,
}

impl Cache {
    /// `column` has to exist in `database`.
    pub(super) fn new(
        database: Arc<DB>,
        column: &'static str,
        bytes_max: usize,
        lifetimes: Lifetimes,
        coverage: Arc<Coverage>,
    ) -> Cache {
        Cache { memory: Remembered::new(bytes_max, |_| false), database, column, lifetimes, coverage }
    }

    /// What is known of a DID: `Some(None)` is that it has no identity, `None` that nothing good is known.
    pub(super) fn get(&self, did: &Did, now_ms: i64) -> Option<Option<Arc<Identity>>> {
        let entry = self.memory.get(did).or_else(|| self.load(did))?;
        let is_good = |identity: &Arc<Identity>| now_ms < self.good_until_ms(did, identity);
        let is_good = now_ms < entry.good_until_ms || entry.identity.as_ref().is_some_and(is_good);
        is_good.then_some(entry.identity)
    }

    /// The same, whether it is good or past its time.
    pub(super) fn known(&self, did: &Did) -> Option<Option<Arc<Identity>>> {
        Some(self.memory.get(did).or_else(|| self.load(did))?.identity)
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
            Some(identity) => self.good_until_ms(did, identity),
            None => now_ms + millis(self.lifetimes.absent),
        };
        self.memory.put(did, Entry { identity, good_until_ms });
    }

    /// An identity that is past its time and cannot be refreshed now: it is good for a while longer, if it is not too
    /// old for any use.
    pub(super) fn extend(&self, did: &Did, now_ms: i64) -> Option<Arc<Identity>> {
        let identity = self.memory.get(did).or_else(|| self.load(did))?.identity?;
        let oldest_ms = now_ms - millis(self.lifetimes.stale_max);
        if self.coverage.right_until_ms(did, &identity) < oldest_ms {
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

    /// How far the export at an address has been followed.
    pub(super) fn position(&self, url: &str) -> Option<Position> {
        let row = self.database.get_pinned_cf(self.column(), POSITION_KEY).unwrap_or_else(|error| {
            tracing::warn!(%error, "position in the export not read");
            None
        })?;
        Position::decode(&row, url)
    }

    /// Remembers how far the export has been followed, behind what has been forgotten on the way.
    pub(super) fn put_position(&self, url: &str, position: &Position) {
        if let Err(error) = self.database.put_cf(self.column(), POSITION_KEY, position.encode(url)) {
            tracing::warn!(%error, "position in the export not stored");
        }
    }

    /// Bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// Holds within other bounds; what is too much goes at once, and is still on disk.
    pub(super) fn set_bytes_max(&self, bytes_max: usize) {
        self.memory.set_bytes_max(bytes_max);
    }

    fn load(&self, did: &Did) -> Option<Entry> {
        let row = self.database.get_pinned_cf(self.column(), did.as_str()).unwrap_or_else(|error| {
            tracing::warn!(%did, %error, "identity not read");
            None
        })?;
        let identity = row::decode(&row)?;
        let entry = Entry { good_until_ms: self.good_until_ms(did, &identity), identity: Some(Arc::new(identity)) };
        self.memory.put(did, entry.clone());
        Some(entry)
    }

    fn good_until_ms(&self, did: &Did, identity: &Identity) -> i64 {
        let lifetime = if identity.is_working() { self.lifetimes.known } else { self.lifetimes.absent };
        self.coverage.right_until_ms(did, identity).saturating_add(millis(lifetime))
    }

    fn column(&self) -> &ColumnFamily {
        // The resolver is not made without it.
        self.database.cf_handle(self.column).expect("the column exists")
    }
}
