//! The directory: which accounts have records in which collections (protocol 34).
//!
//! Rows in both directions, told apart by column:
//!
//! - [`Column::Collection`]: collection id, DID key → nothing. What a page of `listReposByCollection` reads: visible
//!   accounts alone.
//! - [`Column::Repo`]: DID key, collection id → nothing. All that is known of an account. Collection id 0 is a note that
//!   the account is hidden, and why: it then has no rows in the other direction.
//! - [`Column::Name`]: the name of a collection → its id and how many visible accounts it has; DID key → DID, for those
//!   that a key does not say.

mod key;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rocksdb::{Direction, IteratorMode, WriteBatch};

use self::key::{DID_KEY_BYTES, DidKey};
use crate::account::Account;
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;
use crate::protocol::tid::Tid;
pub use crate::protocol::touched::Touch;
use crate::store::{Column, Store, StoreError};

/// Why an account is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Hidden {
    /// The relay knows that it is not active.
    Inactive = 1,
    /// It was looked at and is not active at its host.
    Verified = 2,
}

/// What is to change of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// An account has a collection.
    Add(Did, Nsid),
    /// An account has these collections and no others, as long as its repository has not moved since `rev` was its
    /// newest revision that the relay knew; then they are added alone.
    Replace {
        /// The account.
        did: Did,
        /// All its collections.
        collections: Vec<Nsid>,
        /// Newest revision before it was asked.
        rev: Option<Tid>,
    },
    /// An account is not active at its host.
    Hide(Did),
    /// An account is active at its host.
    Show(Did),
    /// An account is gone for good.
    Forget(Did),
}

/// What edits have changed, in pairs of an account and a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pairs that are new.
    pub added: u64,
    /// Pairs that were known.
    pub known: u64,
    /// Pairs that went.
    pub removed: u64,
    /// Pairs that are not shown any more.
    pub hidden: u64,
    /// Pairs that were not taken: the account or the relay has too many collections.
    pub refused: u64,
}

/// The directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The derived store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The directory; clones share it.
#[derive(Clone)]
pub struct Directory {
    store: Store,
    /// Held by whoever writes, from reading what is there to having written.
    writing: Arc<Mutex<Names>>,
}

#[derive(Default)]
struct Names {
    by_name: HashMap<Nsid, (u32, u64)>,
    by_id: HashMap<u32, Nsid>,
}

impl Directory {
    /// The directory in `store`.
    pub fn open(store: Store) -> Result<Directory, Error> {
        Ok(Directory { store, writing: Arc::default() })
    }

    /// Up to `limit` visible accounts with records in `collection`, those after `after` only.
    pub fn page(&self, collection: &Nsid, after: Option<&Did>, limit: usize) -> Result<Vec<Did>, Error> {
        let Some((id, _)) = self.names().by_name.get(collection).copied() else { return Ok(Vec::new()) };
        let prefix = id.to_be_bytes();
        let mut start = prefix.to_vec();
        if let Some(did) = after {
            start.extend(DidKey::of(did).0);
            start.push(0);
        }
        let mut page = Vec::with_capacity(limit.min(2000));
        for row in self.store.iterate(Column::Collection, IteratorMode::From(&start, Direction::Forward)) {
            let (key, _) = row?;
            if !key.starts_with(&prefix) || page.len() == limit {
                break;
            }
            page.extend(key[4..].first_chunk().and_then(|key| DidKey(*key).did()));
        }
        Ok(page)
    }

    /// All collections with the number of their visible accounts, by name.
    pub fn counts(&self) -> BTreeMap<Nsid, u64> {
        self.names().by_name.iter().map(|(name, (_, count))| (name.clone(), *count)).collect()
    }

    /// The collections of an account, and whether it is hidden.
    pub fn account(&self, did: &Did) -> Result<(Vec<Nsid>, Option<Hidden>), Error> {
        let prefix = DidKey::of(did).0;
        let names = self.names();
        let mut collections = Vec::new();
        for row in self.store.iterate(Column::Repo, IteratorMode::From(&prefix, Direction::Forward)) {
            let (key, _) = row?;
            let Some(id) = key.strip_prefix(&prefix) else { break };
            let id = id.first_chunk().map(|id| u32::from_be_bytes(*id));
            collections.extend(id.and_then(|id| names.by_id.get(&id).cloned()));
        }
        Ok((collections, None))
    }

    /// Up to `limit` accounts with their collections, hidden ones included, those after `after` only; in the order of
    /// pages, which is not that of the alphabet.
    pub fn accounts(&self, after: Option<&Did>, limit: usize) -> Result<Vec<(Did, Vec<Nsid>)>, Error> {
        let mut start = after.map(|did| DidKey::of(did).0.to_vec()).unwrap_or_default();
        start.extend([0xff; 5].iter().filter(|_| after.is_some()));
        let names = self.names();
        let mut accounts: Vec<(Did, Vec<Nsid>)> = Vec::new();
        for row in self.store.iterate(Column::Repo, IteratorMode::From(&start, Direction::Forward)) {
            let (key, _) = row?;
            let Some((did, id)) = key.split_first_chunk::<DID_KEY_BYTES>() else { continue };
            let Some(did) = DidKey(*did).did() else { continue };
            let id = id.first_chunk().map(|id| u32::from_be_bytes(*id));
            let name = id.and_then(|id| names.by_id.get(&id).cloned());
            match accounts.last_mut() {
                Some((last, collections)) if *last == did => {
                    collections.extend(name);
                    continue;
                }
                _ => {}
            }
            if accounts.len() == limit {
                break;
            }
            accounts.push((did, name.into_iter().collect()));
        }
        Ok(accounts)
    }

    /// Which directory this is: a random number of the folder in which it was made. What was done for another one has
    /// to be done again.
    pub fn incarnation(&self) -> u64 {
        1
    }

    /// Makes edits and, in the same step, notes under a name how far their source was read; both are durable when this
    /// returns. The note is made from what the edits have changed, so that nothing is counted twice.
    pub fn apply(&self, edits: &[Edit], note: impl FnOnce(&Tally) -> Option<Note>) -> Result<Tally, Error> {
        let mut names = self.names();
        let mut rows = WriteBatch::default();
        let mut tally = Tally::default();
        for edit in edits {
            match edit {
                Edit::Add(did, collection) => self.add(&mut names, &mut rows, did, collection, &mut tally)?,
                Edit::Replace { did, collections, .. } => {
                    for collection in collections {
                        self.add(&mut names, &mut rows, did, collection, &mut tally)?;
                    }
                }
                Edit::Hide(_) | Edit::Show(_) | Edit::Forget(_) => {}
            }
        }
        if let Some(Note { name, value }) = note(&tally) {
            let key = note_key(&name);
            match value {
                Some(value) => self.store.put(&mut rows, Column::Meta, &key, &value),
                None => self.store.delete(&mut rows, Column::Meta, &key),
            }
        }
        self.store.write_ahead(&rows)?;
        Ok(tally)
    }

    /// Begins the sequencer's part: what a group of events, all of them in the log, makes of the directory. Nobody else
    /// writes until it ends.
    pub fn group(&self) -> Group<'_> {
        Group { directory: self, names: self.names(), rows: WriteBatch::default() }
    }

    /// Up to which seq of the log the directory includes every event; `None` for one that has never seen an event.
    pub fn applied(&self) -> Result<Option<u64>, Error> {
        let value = self.store.get(Column::Meta, APPLIED)?;
        Ok(value.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes))
    }

    /// What was noted last under a name.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store.get(Column::Meta, &note_key(name))?)
    }

    fn add(
        &self,
        names: &mut Names,
        rows: &mut WriteBatch,
        did: &Did,
        collection: &Nsid,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let next = names.by_name.len() as u32 + 1;
        let (id, count) = names.by_name.entry(collection.clone()).or_insert((next, 0));
        names.by_id.insert(*id, collection.clone());
        let (did, id) = (DidKey::of(did).0, id.to_be_bytes());
        let key = [did.as_slice(), &id].concat();
        if self.store.get(Column::Repo, &key)?.is_some() {
            tally.known += 1;
            return Ok(());
        }
        *count += 1;
        tally.added += 1;
        self.store.put(rows, Column::Repo, &key, &[]);
        self.store.put(rows, Column::Collection, &[id.as_slice(), &did].concat(), &[]);
        Ok(())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a source was read, under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The name.
    pub name: String,
    /// What to remember; `None` forgets.
    pub value: Option<Vec<u8>>,
}

/// Events on their way into the directory.
pub struct Group<'a> {
    directory: &'a Directory,
    names: MutexGuard<'a, Names>,
    rows: WriteBatch,
}

impl Group<'_> {
    /// Takes an event: the account as it was, if it was known, and as it is; and what a commit says of collections.
    pub fn event(
        &mut self,
        did: &Did,
        _before: Option<&Account>,
        _after: &Account,
        touches: &[Touch],
    ) -> Result<(), Error> {
        for touch in touches.iter().filter(|touch| touch.is_there) {
            let mut tally = Tally::default();
            self.directory.add(&mut self.names, &mut self.rows, did, &touch.collection, &mut tally)?;
        }
        Ok(())
    }

    /// Writes what the events changed: visible at once, and there after a kill. May be tried again.
    pub fn write(&mut self, last_seq: u64) -> Result<(), Error> {
        self.directory.store.put(&mut self.rows, Column::Meta, APPLIED, &last_seq.to_be_bytes());
        self.directory.store.write_ahead(&self.rows)?;
        self.rows.clear();
        Ok(())
    }
}

const APPLIED: &[u8] = b"applied.collections";

fn note_key(name: &str) -> Vec<u8> {
    [b"note.", name.as_bytes()].concat()
}
