//! What the relay remembers of an account: who hosts it, whether it is active, and where its repository stands.

mod local;
mod replay;
mod state;

pub use replay::{Cause, after, repo_of_commit};
pub use state::{Account, DecodeError, Local, Repo, Status};

use rocksdb::{IteratorMode, WriteBatch};

use crate::protocol::did::Did;
use crate::store::{Column, Store, StoreError};

/// The accounts, one row per DID in the derived store.
///
/// Rows are written by the sequencer alone, in the batch that also moves the applied seq; everyone else reads.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
}

/// A failed read of an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row is there and is not one of ours.
    #[error("account {did}: {source}; the derived store is damaged, remove its folder and start again")]
    Row {
        /// The account's DID.
        did: String,
        /// What is wrong with the row.
        source: DecodeError,
    },
}

impl Accounts {
    /// Accounts of `store`.
    pub fn new(store: Store) -> Accounts {
        Accounts { store }
    }

    /// The account of `did`, if the relay has ever passed an event of it.
    pub fn get(&self, did: &str) -> Result<Option<Account>, AccountError> {
        match self.store.get(Column::Account, did.as_bytes())? {
            None => Ok(None),
            Some(row) => Ok(Some(decode(did, &row)?)),
        }
    }

    /// Adds a change to a batch: the row, and the account's place among those that the relay itself holds something
    /// against.
    pub fn put(&self, batch: &mut WriteBatch, did: &Did, before: Option<&Account>, after: &Account) {
        self.store.put(batch, Column::Account, did.as_str().as_bytes(), &after.encode());
        local::put(&self.store, batch, did, before, after);
    }

    /// Up to `limit` accounts in DID order, those after `cursor` (a DID) only.
    pub fn page(&self, cursor: Option<&str>, limit: usize) -> Result<Vec<(String, Account)>, AccountError> {
        let start = cursor.map(|did| [did.as_bytes(), &[0]].concat()).unwrap_or_default();
        let mode = IteratorMode::From(&start, rocksdb::Direction::Forward);
        let mut page = Vec::with_capacity(limit.min(1000));
        for row in self.store.iterate(Column::Account, mode).take(limit) {
            let (key, value) = row?;
            let did = String::from_utf8_lossy(&key).into_owned();
            let account = decode(&did, &value)?;
            page.push((did, account));
        }
        Ok(page)
    }
}

fn decode(did: &str, row: &[u8]) -> Result<Account, AccountError> {
    Account::decode(row).map_err(|source| AccountError::Row { did: did.to_owned(), source })
}
