//! The accounts that the relay itself holds something against, in an order that makes them easy to find: by what it is,
//! by host, by DID.

use std::collections::HashMap;

use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::{Account, Accounts, Local};
use crate::protocol::did::Did;
use crate::store::{Column, Store, StoreError};

/// Bytes of a key in front of the DID.
const PREFIX_BYTES: usize = 5;

/// Keeps the rows in step with a change of an account.
pub(super) fn put(store: &Store, batch: &mut WriteBatch, did: &Did, before: Option<&Account>, after: &Account) {
    let key = |account: &Account| {
        let is_listed = account.local != Local::Free;
        is_listed.then(|| [prefix(account.local, account.host).as_slice(), did.as_str().as_bytes()].concat())
    };
    let (was, is) = (before.and_then(key), key(after));
    if was == is {
        return;
    }
    if let Some(key) = was {
        store.delete(batch, Column::Local, &key);
    }
    if let Some(key) = is {
        store.put(batch, Column::Local, &key, &[]);
    }
}

impl Accounts {
    /// The accounts of a host that are held back, in DID order.
    pub fn held_on(&self, host: u32) -> Result<Vec<Did>, StoreError> {
        self.local_rows(&prefix(Local::Held, host)).map(|row| row.map(|(_, did)| did)).collect()
    }

    /// How many accounts are held back on each host.
    pub fn held(&self) -> Result<HashMap<u32, u64>, StoreError> {
        let mut counts = HashMap::new();
        for row in self.local_rows(&[Local::Held as u8]) {
            *counts.entry(row?.0).or_default() += 1;
        }
        Ok(counts)
    }

    /// The accounts whose rows say that they are taken down here.
    pub fn taken_down(&self) -> Result<Vec<Did>, StoreError> {
        self.local_rows(&[Local::TakenDown as u8]).map(|row| row.map(|(_, did)| did)).collect()
    }

    /// Hosts and DIDs of the rows whose key begins like this.
    fn local_rows(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(u32, Did), StoreError>> {
        let prefix = prefix.to_vec();
        let rows = self.store.iterate(Column::Local, IteratorMode::From(&prefix, Direction::Forward));
        rows.take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .filter_map(|row| row.map(|(key, _)| read_key(&key)).transpose())
    }
}

fn prefix(local: Local, host: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = host.to_be_bytes();
    [local as u8, a, b, c, d]
}

fn read_key(key: &[u8]) -> Option<(u32, Did)> {
    let (&[_, a, b, c, d], did) = key.split_first_chunk::<PREFIX_BYTES>()?;
    Some((u32::from_be_bytes([a, b, c, d]), Did::parse(str::from_utf8(did).ok()?).ok()?))
}
