#![allow(clippy::unwrap_used)]

mod bounds;
mod concurrency;
mod events;
mod kill;
mod model;

use std::path::Path;

use rocksdb::WriteBatch;
use tempfile::TempDir;

use super::*;
use crate::account::{Account, Repo, Status};
use crate::protocol::cid::Cid;
use crate::protocol::tid::Tid;
use crate::store::Sizes;

const MEMORY_BYTES: usize = 1 << 16;

/// A directory with its store.
struct Rig {
    store: Store,
    accounts: Accounts,
    directory: Directory,
    folder: TempDir,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path());
        Rig::with(folder, store, MEMORY_BYTES)
    }

    fn with(folder: TempDir, store: Store, memory_bytes: usize) -> Rig {
        let accounts = Accounts::new(store.clone());
        let directory = Directory::open(store.clone(), memory_bytes).unwrap();
        Rig { store, accounts, directory, folder }
    }

    /// The same after a stop and a start.
    fn restarted(self) -> Rig {
        let Rig { store, accounts, directory, folder } = self;
        drop((store, accounts, directory));
        let store = open_store(folder.path());
        Rig::with(folder, store, MEMORY_BYTES)
    }

    fn apply(&self, edits: &[Edit]) -> Tally {
        self.directory.apply(edits, |_| None).unwrap()
    }

    /// What the sequencer does of an event.
    fn event(&self, did: &Did, after: Account, touches: &[Touch]) {
        let before = self.accounts.get(did.as_str()).unwrap();
        self.write_account(did, before, after);
        let mut group = self.directory.group();
        group.event(did, before.as_ref(), &after, touches).unwrap();
        group.write(self.directory.applied().unwrap().unwrap_or(0) + 1).unwrap();
    }

    fn write_account(&self, did: &Did, before: Option<Account>, after: Account) {
        let mut rows = WriteBatch::default();
        self.accounts.put(&mut rows, did, before.as_ref(), &after);
        self.store.write(&rows).unwrap();
    }

    fn page(&self, collection: &Nsid) -> Vec<Did> {
        self.directory.page(collection, None, 1000).unwrap()
    }
}

fn open_store(folder: &Path) -> Store {
    Store::open(folder, Sizes { block_cache: 1 << 20, memtables: 1 << 20 }).unwrap()
}

fn did(number: u32) -> Did {
    Did::of_plc_bytes(&std::array::from_fn(|i| number.to_be_bytes().get(i).copied().unwrap_or(7)))
}

fn web(number: u32) -> Did {
    Did::parse(&format!("did:web:user{number}.example.com")).unwrap()
}

fn nsid(number: usize) -> Nsid {
    Nsid::parse(&format!("com.example.record{number}")).unwrap()
}

fn active() -> Account {
    Account::new(1)
}

fn with_status(status: Status) -> Account {
    Account { status, ..active() }
}

fn at_rev(rev: u64) -> Account {
    Account { repo: Some(Repo { rev: tid(rev), commit: Cid::from_digest([0; 32]), data: None }), ..active() }
}

fn tid(number: u64) -> Tid {
    Tid::from_u64(number).unwrap()
}

fn has(collection: &Nsid) -> Touch {
    Touch { collection: collection.clone(), is_there: true }
}

fn has_no(collection: &Nsid) -> Touch {
    Touch { collection: collection.clone(), is_there: false }
}
