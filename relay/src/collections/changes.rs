//! Changes on their way: what they make of rows, names and counts, and the one step in which all of it is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::key::{CollectionId, DidKey, collection_key, repo_key};
use super::mark::{Hidden, Mark};
use super::rows::Rows;
use super::{APPLIED, Edit, Error, Note, Shared, Tally, Writing, names, note_key};
use crate::protocol::did::Did;
use crate::protocol::nsid::Nsid;
use crate::store::{Column, StoreError};

/// Collections that an account may have. The most that was seen of one is some hundreds.
pub const ACCOUNT_COLLECTIONS_MAX: usize = 1000;
/// To count the collections of an account costs more than to add one. They are counted before it gets one that is not
/// among the first so many of the directory, which are most additions; and always, once so many were counted. Without
/// that it cannot have more than the two together.
const UNCOUNTED: usize = ACCOUNT_COLLECTIONS_MAX / 2;

/// Changes that are not written yet. Nobody else can make any meanwhile.
pub(super) struct Changes<'a> {
    shared: &'a Shared,
    pub writing: MutexGuard<'a, Writing>,
    rows: Rows<'a>,
    /// Collections with changed rows, by how many visible accounts more they have.
    counts: BTreeMap<CollectionId, i64>,
    /// Names that nobody knows yet.
    fresh: HashMap<Nsid, CollectionId>,
}

/// What became of a pair that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addition {
    New,
    Known,
    /// The account or the directory has too many collections, or the account's key is another's.
    Refused,
}

impl<'a> Changes<'a> {
    pub fn new(shared: &'a Shared, writing: MutexGuard<'a, Writing>) -> Changes<'a> {
        Changes { shared, writing, rows: Rows::new(&shared.store), counts: BTreeMap::new(), fresh: HashMap::new() }
    }

    /// Makes an edit.
    pub fn edit(&mut self, edit: &Edit, tally: &mut Tally) -> Result<(), Error> {
        match edit {
            Edit::Add(did, collection) => count(tally, self.add(did, collection)?),
            Edit::Replace { did, collections, rev } => {
                let account = self.shared.accounts.get(did.as_str())?;
                let newest = account.and_then(|account| account.repo).map(|repo| repo.rev);
                if newest <= *rev {
                    tally.removed += self.remove_others(did, collections)?;
                }
                for collection in collections {
                    count(tally, self.add(did, collection)?);
                }
            }
            Edit::Hide(did) => tally.hidden += self.hide(did, Hidden::Verified)?,
            Edit::Show(did) => self.show(did, Hidden::Verified)?,
            Edit::Forget(did) => {
                let account = self.shared.accounts.get(did.as_str())?;
                let is_inactive = account.is_some_and(|account| !account.is_active());
                tally.removed += self.forget(did, is_inactive.then_some(Hidden::Inactive))?;
            }
        }
        Ok(())
    }

    /// Adds a pair; it is shown if the account is.
    pub fn add(&mut self, did: &Did, collection: &Nsid) -> Result<Addition, Error> {
        let Some(key) = self.key(did)? else { return Ok(self.refuse()) };
        let known = self.id(collection);
        if let Some(id) = known
            && self.has(key, id)?
        {
            return Ok(Addition::Known);
        }
        let mut mark = self.mark(key)?;
        if mark.has_many || known.is_none_or(|id| id.0 as usize > UNCOUNTED) {
            let count = self.rows.collections(key)?.len();
            if count >= ACCOUNT_COLLECTIONS_MAX {
                return Ok(self.refuse());
            }
            if count + 1 >= UNCOUNTED && !mark.has_many {
                mark.has_many = true;
                self.set_mark(did, key, mark);
            }
        }
        let Some(id) = known.or_else(|| self.intern(collection)) else { return Ok(self.refuse()) };
        self.rows.put(Column::Repo, &repo_key(key, id), &[]);
        self.name_account(did, key);
        self.expose(key, id, mark.hidden.is_none());
        Ok(Addition::New)
    }

    /// Removes a pair; says whether it was there.
    pub fn remove(&mut self, did: &Did, collection: &Nsid) -> Result<bool, Error> {
        let (Some(key), Some(id)) = (self.key(did)?, self.id(collection)) else { return Ok(false) };
        if !self.has(key, id)? {
            return Ok(false);
        }
        let is_shown = self.mark(key)?.hidden.is_none();
        self.drop_pair(key, id, is_shown);
        Ok(true)
    }

    /// Shows an account no more; says how many pairs that takes away. What is known to be inactive here stays that.
    pub fn hide(&mut self, did: &Did, why: Hidden) -> Result<u64, Error> {
        let Some(key) = self.key(did)? else { return Ok(0) };
        let mark = self.mark(key)?;
        let ids = if mark.hidden.is_none() { self.rows.collections(key)? } else { Vec::new() };
        let is_news = match why {
            Hidden::Inactive => mark.hidden != Some(Hidden::Inactive),
            Hidden::Verified => !ids.is_empty(),
        };
        if is_news {
            self.set_mark(did, key, Mark { hidden: Some(why), ..mark });
        }
        for id in &ids {
            self.conceal(key, *id);
        }
        Ok(ids.len() as u64)
    }

    /// Shows an account again that was hidden for this reason.
    pub fn show(&mut self, did: &Did, why: Hidden) -> Result<(), Error> {
        let Some(key) = self.key(did)? else { return Ok(()) };
        let mark = self.mark(key)?;
        if mark.hidden == Some(why) {
            let ids = self.rows.collections(key)?;
            self.set_mark(did, key, Mark { hidden: None, ..mark });
            for id in ids {
                self.expose(key, id, true);
            }
        }
        Ok(())
    }

    /// Removes all pairs of an account, which is hidden from now on or not; says how many they were.
    pub fn forget(&mut self, did: &Did, hidden: Option<Hidden>) -> Result<u64, Error> {
        let Some(key) = self.key(did)? else { return Ok(0) };
        let mark = self.mark(key)?;
        let ids = self.rows.collections(key)?;
        for id in &ids {
            self.drop_pair(key, *id, mark.hidden.is_none());
        }
        self.set_mark(did, key, Mark { hidden, has_many: false });
        if hidden.is_none() && key.is_hashed() {
            self.rows.delete(Column::Name, &key.0);
        }
        Ok(ids.len() as u64)
    }

    /// Remembers something under a name, in the same step.
    pub fn note(&mut self, note: &Note) {
        let key = note_key(&note.name);
        match &note.value {
            Some(value) => self.rows.put(Column::Meta, &key, value),
            None => self.rows.delete(Column::Meta, &key),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The id of a collection that has a name already.
    pub fn id(&self, collection: &Nsid) -> Option<CollectionId> {
        self.shared.names().id(collection).or_else(|| self.fresh.get(collection).copied())
    }

    /// Writes everything in one step, and that the directory includes all events up to this one. After an error, all is
    /// as it was, and it may be tried again.
    pub fn write(&mut self, seq: Option<u64>) -> Result<(), Error> {
        let store = &self.shared.store;
        let mut batch = self.rows.batch();
        let mut fresh: Vec<_> = self.fresh.iter().map(|(name, id)| (*id, name.clone())).collect();
        fresh.sort_unstable_by_key(|(id, _)| *id);
        let mut counts = Vec::with_capacity(self.counts.len());
        for (id, more) in &self.counts {
            let names = self.shared.names();
            let is_fresh = fresh.binary_search_by_key(id, |(id, _)| *id);
            let name = is_fresh.map_or_else(|_| names.name(*id), |place| Some(&fresh[place].1));
            let accounts = names.accounts(*id).saturating_add_signed(*more);
            if let Some(name) = name {
                store.put(&mut batch, Column::Name, name.as_str().as_bytes(), &names::encode(*id, accounts));
            }
            counts.push((*id, accounts));
        }
        if let Some(seq) = seq {
            store.put(&mut batch, Column::Meta, APPLIED, &seq.to_be_bytes());
        }
        store.write_ahead(&batch)?;

        if !fresh.is_empty() {
            let mut names = self.shared.names_mut();
            fresh.into_iter().for_each(|(_, name)| names.push(name, 0));
        }
        let names = self.shared.names();
        counts.into_iter().for_each(|(id, accounts)| names.set_accounts(id, accounts));
        drop(names);
        self.writing.stored_seq = seq.or(self.writing.stored_seq);
        self.rows.clear();
        self.counts.clear();
        self.fresh.clear();
        Ok(())
    }

    fn remove_others(&mut self, did: &Did, kept: &[Nsid]) -> Result<u64, Error> {
        let Some(key) = self.key(did)? else { return Ok(0) };
        let kept: Vec<_> = kept.iter().filter_map(|name| self.id(name)).collect();
        let mut others = self.rows.collections(key)?;
        others.retain(|id| !kept.contains(id));
        let is_shown = self.mark(key)?.hidden.is_none();
        for id in &others {
            self.drop_pair(key, *id, is_shown);
        }
        Ok(others.len() as u64)
    }

    /// The account's key, unless that is another's.
    fn key(&self, did: &Did) -> Result<Option<DidKey>, StoreError> {
        let key = DidKey::of(did);
        if key.is_hashed()
            && let Some(owner) = self.rows.get(Column::Name, &key.0)?
            && owner != did.as_str().as_bytes()
        {
            return Ok(None);
        }
        Ok(Some(key))
    }

    /// Says whose key it is, if the key does not.
    fn name_account(&mut self, did: &Did, key: DidKey) {
        if key.is_hashed() {
            self.rows.put(Column::Name, &key.0, did.as_str().as_bytes());
        }
    }

    fn has(&self, key: DidKey, id: CollectionId) -> Result<bool, StoreError> {
        Ok(self.rows.get(Column::Repo, &repo_key(key, id))?.is_some())
    }

    fn mark(&self, key: DidKey) -> Result<Mark, StoreError> {
        let value = self.rows.get(Column::Repo, &repo_key(key, CollectionId::MARK))?;
        Ok(value.map(|value| Mark::decode(&value)).unwrap_or_default())
    }

    fn set_mark(&mut self, did: &Did, key: DidKey, mark: Mark) {
        let row = repo_key(key, CollectionId::MARK);
        match mark.encode() {
            Some(value) => {
                self.rows.put(Column::Repo, &row, &value);
                self.name_account(did, key);
            }
            None => self.rows.delete(Column::Repo, &row),
        }
    }

    /// Gives a name an id, unless there are too many.
    fn intern(&mut self, collection: &Nsid) -> Option<CollectionId> {
        let names = self.shared.names();
        let id = names.has_room(collection, self.fresh.keys()).then(|| names.next(self.fresh.len()))?;
        self.fresh.insert(collection.clone(), id);
        Some(id)
    }

    /// A pair is there, and shown if its account is.
    fn expose(&mut self, key: DidKey, id: CollectionId, is_shown: bool) {
        if is_shown {
            self.rows.put(Column::Collection, &collection_key(id, key), &[]);
        }
        // A collection without a visible account has a row for its name too.
        *self.counts.entry(id).or_default() += i64::from(is_shown);
    }

    fn conceal(&mut self, key: DidKey, id: CollectionId) {
        self.writing.seen.remove(key, id);
        self.rows.delete(Column::Collection, &collection_key(id, key));
        *self.counts.entry(id).or_default() -= 1;
    }

    fn drop_pair(&mut self, key: DidKey, id: CollectionId, is_shown: bool) {
        self.rows.delete(Column::Repo, &repo_key(key, id));
        if is_shown {
            self.conceal(key, id);
        } else {
            self.writing.seen.remove(key, id);
        }
    }

    fn refuse(&self) -> Addition {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        Addition::Refused
    }
}

fn count(tally: &mut Tally, addition: Addition) {
    match addition {
        Addition::New => tally.added += 1,
        Addition::Known => tally.known += 1,
        Addition::Refused => tally.refused += 1,
    }
}
