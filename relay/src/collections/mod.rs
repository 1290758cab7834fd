//! The directory: which accounts have records in which collections (protocol 34).
//!
//! Rows in both directions, told apart by column:
//!
//! - [`Column::Collection`]: collection id, DID key → nothing. What a page of `listReposByCollection` reads: visible
//!   accounts alone.
//! - [`Column::Repo`]: DID key, collection id → nothing. All that is known of an account. In the place of a collection,
//!   id 0 says that the account is hidden, and why: it then has no rows in the other direction.
//! - [`Column::Name`]: the name of a collection → its id and how many visible accounts it has; DID key → DID, for those
//!   that a key does not say.
//!
//! Everything is written under one lock, held from reading what is there to having written, and with a write-ahead log.
//! Readers take none of it: each sees the rows as they are at one moment.

mod changes;
mod edit;
mod group;
mod key;
mod make;
mod mark;
mod names;
mod rows;
mod seen;
#[cfg(test)]
mod tests;

pub use changes::ACCOUNT_COLLECTIONS_MAX;
pub use edit::{Edit, Note, Tally};
pub use group::Group;
pub use mark::Hidden;
pub use names::COLLECTIONS_MAX;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::changes::Changes;
use self::key::{CollectionId, DidKey, collection_key, did_of_collection_key, read_repo_key, repo_key};
use self::mark::Mark;
use self::names::Names;
use self::seen::Seen;
use crate::account::{AccountError, Accounts};
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;
pub use crate::protocol::touched::Touch;
use crate::store::{Column, Store, StoreError};

/// The directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The derived store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row of an account cannot be read.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Rows that no version writes.
    #[error("the directory of collections is damaged; remove the folder of the derived store and start again")]
    Damaged,
}

/// The directory; clones share it.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    accounts: Accounts,
    names: RwLock<Names>,
    /// Held by whoever writes, from reading what is there to having written.
    writing: Mutex<Writing>,
    /// How large [`Writing::seen`] is to be; whoever writes next sees to it.
    seen_bytes: AtomicUsize,
    refused: AtomicU64,
    incarnation: u64,
}

/// What writers alone look at.
struct Writing {
    seen: Seen,
    /// Up to here the directory includes every event.
    seq: Option<u64>,
    /// Up to here the store says so.
    stored_seq: Option<u64>,
}

const INCARNATION: &[u8] = b"incarnation.collections";
const APPLIED: &[u8] = b"applied.collections";

/// Rows for which a page has room before any is read.
const PAGE_ROWS: usize = 2000;

impl Directory {
    /// The directory in `store`, in this much memory beside the store's.
    pub fn open(store: Store, memory_bytes: usize) -> Result<Directory, Error> {
        let accounts = Accounts::new(store.clone());
        let incarnation = match number(&store, INCARNATION)? {
            Some(incarnation) => incarnation,
            None => make::make(&store, &accounts)?,
        };
        let seq = number(&store, APPLIED)?;
        let names = Names::load(&store, memory_bytes / 2)?;
        let seen = Seen::new(memory_bytes / 2);
        let seen_bytes = seen.bytes().into();
        let shared = Shared {
            store,
            accounts,
            names: RwLock::new(names),
            writing: Mutex::new(Writing { seen, seq, stored_seq: seq }),
            seen_bytes,
            refused: AtomicU64::new(0),
            incarnation,
        };
        Ok(Directory { shared: Arc::new(shared) })
    }

    /// Up to `limit` visible accounts with records in `collection`, those after `after` only. The order is one that does
    /// not change: an account that stays is on exactly one of the pages of which each begins after the last of the one
    /// before.
    pub fn page(&self, collection: &Nsid, after: Option<&Did>, limit: usize) -> Result<Vec<Did>, Error> {
        let Some(id) = self.shared.names().id(collection) else { return Ok(Vec::new()) };
        let store = &self.shared.store;
        let prefix = id.0.to_be_bytes();
        let start = match after {
            Some(did) => [collection_key(id, DidKey::of(did)).as_slice(), &[0]].concat(),
            None => prefix.to_vec(),
        };
        let mut page = Vec::with_capacity(limit.min(PAGE_ROWS));
        let mut rows = store.scan(Column::Collection, &prefix, &start);
        while page.len() < limit
            && let Some((key, _)) = rows.next_row()?
        {
            let key = did_of_collection_key(key).ok_or(Error::Damaged)?;
            page.extend(did_of(store, key)?);
        }
        Ok(page)
    }

    /// Every collection that has visible accounts, with their number, by name.
    pub fn counts(&self) -> BTreeMap<Nsid, u64> {
        let counts = self.shared.names().counts();
        counts.into_iter().collect()
    }

    /// The collections of an account, and whether it is hidden.
    pub fn account(&self, did: &Did) -> Result<(Vec<Nsid>, Option<Hidden>), Error> {
        let (store, key) = (&self.shared.store, DidKey::of(did));
        if did_of(store, key)?.as_ref() != Some(did) {
            return Ok((Vec::new(), None));
        }
        let (mut ids, mut hidden) = (Vec::new(), None);
        let mut rows = store.scan(Column::Repo, &key.0, &key.0);
        while let Some((row, value)) = rows.next_row()? {
            match read_repo_key(row).ok_or(Error::Damaged)? {
                (_, CollectionId::MARK) => hidden = Mark::decode(value).hidden,
                (_, id) => ids.push(id),
            }
        }
        let names = self.shared.names();
        let mut collections: Vec<Nsid> = ids.into_iter().filter_map(|id| names.name(id).cloned()).collect();
        collections.sort_unstable();
        Ok((collections, hidden))
    }

    /// Up to `limit` accounts with their collections, hidden ones included, those after `after` only; in the order of
    /// pages, which is not that of the alphabet.
    pub fn accounts(&self, after: Option<&Did>, limit: usize) -> Result<Vec<(Did, Vec<Nsid>)>, Error> {
        let store = &self.shared.store;
        let start = match after {
            Some(did) => [repo_key(DidKey::of(did), CollectionId(u32::MAX)).as_slice(), &[0]].concat(),
            None => Vec::new(),
        };
        let mut accounts: Vec<(Did, Vec<Nsid>)> = Vec::new();
        let mut last = None;
        let mut rows = store.scan(Column::Repo, &[], &start);
        while let Some((row, _)) = rows.next_row()? {
            let (key, id) = read_repo_key(row).ok_or(Error::Damaged)?;
            if id == CollectionId::MARK {
                continue;
            }
            if last != Some(key) {
                if accounts.len() == limit {
                    break;
                }
                let Some(did) = did_of(store, key)? else { continue };
                accounts.push((did, Vec::new()));
                last = Some(key);
            }
            let name = self.shared.names().name(id).cloned();
            if let Some((_, collections)) = accounts.last_mut() {
                collections.extend(name);
            }
        }
        Ok(accounts)
    }

    /// Which directory this is: a random number of the folder in which it was made. What was done for another one has
    /// to be done again.
    pub fn incarnation(&self) -> u64 {
        self.shared.incarnation
    }

    /// Makes edits and, in the same step, notes under a name how far their source was read; both are durable when this
    /// returns. The note is made from what the edits have changed, so that nothing is counted twice. After an error,
    /// either all of it is there or nothing, and the note tells which.
    pub fn apply(&self, edits: &[Edit], note: impl FnOnce(&Tally) -> Option<Note>) -> Result<Tally, Error> {
        let mut changes = self.changes();
        let mut tally = Tally::default();
        for edit in edits {
            changes.edit(edit, &mut tally)?;
        }
        if let Some(note) = note(&tally) {
            changes.note(&note);
        }
        // So no event that came before is looked at again, and makes what these edits have changed what it was.
        let seq = changes.writing.seq;
        changes.write(seq)?;
        drop(changes);
        self.shared.store.sync()?;
        Ok(tally)
    }

    /// Begins the sequencer's part: what a group of events makes of the directory. Nobody else writes until it ends.
    /// The events are in the log, and their accounts' rows are written before it ends.
    pub fn group(&self) -> Group<'_> {
        Group::new(self.changes())
    }

    /// Up to which seq of the log the directory includes every event; `None` for one that has never seen an event.
    pub fn applied(&self) -> Result<Option<u64>, Error> {
        number(&self.shared.store, APPLIED)
    }

    /// What was noted last under a name.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.shared.store.get(Column::Meta, &note_key(name))?)
    }

    /// Pairs of events and edits that were not taken since the start: the account or the directory has too many
    /// collections.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Bytes that the directory holds in memory, beside the store's.
    pub fn memory_bytes(&self) -> usize {
        self.shared.seen_bytes.load(Ordering::Relaxed) + self.shared.names().bytes()
    }

    /// Gives it another share: a half for the pairs that events have named lately, and a half for names, which have what
    /// they once had. Does not wait for whoever writes, who may wait for a disk: they see to it themselves then.
    pub fn set_memory_bytes(&self, bytes: usize) {
        self.shared.names_mut().raise_bytes_max(bytes / 2);
        self.shared.seen_bytes.store(bytes / 2, Ordering::Relaxed);
        if let Ok(mut writing) = self.shared.writing.try_lock() {
            writing.seen.set_bytes(bytes / 2);
        }
    }

    fn changes(&self) -> Changes<'_> {
        let mut writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.seen.set_bytes(self.shared.seen_bytes.load(Ordering::Relaxed));
        Changes::new(&self.shared, writing)
    }
}

impl Shared {
    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account of a key; `None` when it has gone meanwhile.
fn did_of(store: &Store, key: DidKey) -> Result<Option<Did>, Error> {
    if let Some(did) = key.did() {
        return Ok(Some(did));
    }
    let Some(text) = store.get(Column::Name, &key.0)? else { return Ok(None) };
    let did = str::from_utf8(&text).ok().and_then(|text| Did::parse(text).ok());
    did.map(Some).ok_or(Error::Damaged)
}

fn number(store: &Store, key: &[u8]) -> Result<Option<u64>, Error> {
    let value = store.get(Column::Meta, key)?;
    Ok(value.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes))
}

fn note_key(name: &str) -> Vec<u8> {
    [b"note.", name.as_bytes()].concat()
}
