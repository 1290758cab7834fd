//! A new directory in a store that may know accounts already.

use rocksdb::WriteBatch;

use super::key::{CollectionId, DidKey, repo_key};
use super::mark::{Hidden, Mark};
use super::{Error, INCARNATION};
use crate::account::Accounts;
use crate::protocol::did::Did;
use crate::store::{Column, Store};

/// Accounts read at once.
const PAGE_ACCOUNTS: usize = 1000;

/// Marks the accounts that are not active, and then says that the directory is there. Done again from the start if it
/// does not come to its end.
pub(super) fn make(store: &Store, accounts: &Accounts) -> Result<u64, Error> {
    let mark = Mark { hidden: Some(Hidden::Inactive), has_many: false };
    let mut cursor: Option<String> = None;
    loop {
        let page = accounts.page(cursor.as_deref(), PAGE_ACCOUNTS)?;
        let Some((last, _)) = page.last() else { break };
        cursor = Some(last.clone());
        let mut rows = WriteBatch::default();
        let inactive = page.iter().filter(|(_, account)| !account.is_active());
        for did in inactive.filter_map(|(did, _)| Did::parse(did).ok()) {
            let key = DidKey::of(&did);
            if let Some(value) = mark.encode() {
                store.put(&mut rows, Column::Repo, &repo_key(key, CollectionId::MARK), &value);
            }
            if key.is_hashed() {
                store.put(&mut rows, Column::Name, &key.0, did.as_str().as_bytes());
            }
        }
        store.write_ahead(&rows)?;
    }
    let incarnation: u64 = rand::random();
    let mut rows = WriteBatch::default();
    store.put(&mut rows, Column::Meta, INCARNATION, &incarnation.to_be_bytes());
    store.write_ahead(&rows)?;
    store.sync()?;
    Ok(incarnation)
}
