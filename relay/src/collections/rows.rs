//! Rows as they will be, once what was changed of them is written.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;

use super::key::{CollectionId, DidKey, read_repo_key};
use crate::store::{Column, Store, StoreError};

/// The rows of the store under changes that are not written yet.
pub(super) struct Rows<'a> {
    store: &'a Store,
    /// What is to be there, by column and key; `None` goes.
    changed: BTreeMap<(Column, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a> Rows<'a> {
    pub fn new(store: &'a Store) -> Rows<'a> {
        Rows { store, changed: BTreeMap::new() }
    }

    pub fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.changed.is_empty()
            && let Some(value) = self.changed.get(&(column, key.to_vec()))
        {
            return Ok(value.clone());
        }
        self.store.get(column, key)
    }

    pub fn put(&mut self, column: Column, key: &[u8], value: &[u8]) {
        self.changed.insert((column, key.to_vec()), Some(value.to_vec()));
    }

    pub fn delete(&mut self, column: Column, key: &[u8]) {
        self.changed.insert((column, key.to_vec()), None);
    }

    /// The collections of an account.
    pub fn collections(&self, did: DidKey) -> Result<Vec<CollectionId>, StoreError> {
        let mut ids = BTreeMap::new();
        let mut scan = self.store.scan(Column::Repo, &did.0, &did.0);
        while let Some((key, _)) = scan.next_row()? {
            ids.extend(read_repo_key(key).map(|(_, id)| (id, true)));
        }
        let changed = self.changed.range((Column::Repo, did.0.to_vec())..);
        for ((_, key), value) in
            changed.take_while(|((column, key), _)| *column == Column::Repo && key.starts_with(&did.0))
        {
            ids.extend(read_repo_key(key).map(|(_, id)| (id, value.is_some())));
        }
        ids.remove(&CollectionId::MARK);
        Ok(ids.into_iter().filter(|(_, is_there)| *is_there).map(|(id, _)| id).collect())
    }

    /// All changes.
    pub fn batch(&self) -> WriteBatch {
        let mut batch = WriteBatch::default();
        for ((column, key), value) in &self.changed {
            match value {
                Some(value) => self.store.put(&mut batch, *column, key, value),
                None => self.store.delete(&mut batch, *column, key),
            }
        }
        batch
    }

    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Once they are written.
    pub fn clear(&mut self) {
        self.changed.clear();
    }
}
