//! The accounts that a shard has lately seen, in front of the derived store.
//!
//! The store lags behind the shard by the events that are on their way to the log, so an account must stay here until
//! its last change has been applied there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::Account;
use crate::protocol::did::Did;

/// Two generations: when the young one is full, the old one goes, but for what is not applied yet.
pub(super) struct Recent {
    young: HashMap<Did, Entry>,
    old: HashMap<Did, Entry>,
    generation_max: usize,
    applied: Arc<AtomicU64>,
}

#[derive(Clone, Copy)]
struct Entry {
    account: Option<Account>,
    /// Which of the shard's events changed it last; the store has it once that many are applied.
    changed_by: u64,
}

impl Recent {
    /// Remembers about `capacity` accounts; `applied` counts the shard's events that the store includes.
    pub(super) fn new(capacity: usize, applied: Arc<AtomicU64>) -> Recent {
        Recent { young: HashMap::new(), old: HashMap::new(), generation_max: (capacity / 2).max(1), applied }
    }

    /// What is remembered of `did`: `Some(None)` is an account that the store does not have.
    pub(super) fn get(&mut self, did: &Did) -> Option<Option<Account>> {
        if let Some(entry) = self.young.get(did) {
            return Some(entry.account);
        }
        let entry = self.old.remove(did)?;
        self.insert(did.clone(), entry);
        Some(entry.account)
    }

    /// Remembers what the store says.
    pub(super) fn read(&mut self, did: &Did, account: Option<Account>) {
        self.insert(did.clone(), Entry { account, changed_by: 0 });
    }

    /// Remembers a change made by the shard's event number `event`, counted from 1.
    pub(super) fn change(&mut self, did: &Did, account: Account, event: u64) {
        self.old.remove(did);
        self.insert(did.clone(), Entry { account: Some(account), changed_by: event });
    }

    fn insert(&mut self, did: Did, entry: Entry) {
        self.young.insert(did, entry);
        if self.young.len() >= self.generation_max {
            let applied = self.applied.load(Ordering::Acquire);
            self.old.retain(|_, entry| entry.changed_by > applied);
            self.old.extend(self.young.drain());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:web:host{number}.example.com")).expect("a DID")
    }

    #[test]
    fn a_change_is_remembered_until_the_store_has_it() {
        let applied = Arc::new(AtomicU64::new(0));
        let mut recent = Recent::new(10, Arc::clone(&applied));
        recent.change(&did(0), Account::new(7), 1);
        for number in 1..100 {
            recent.read(&did(number), None);
        }
        assert_eq!(recent.get(&did(0)), Some(Some(Account::new(7))), "not applied yet");
        applied.store(1, Ordering::Release);
        for number in 1..100 {
            recent.read(&did(number), None);
        }
        assert_eq!(recent.get(&did(0)), None, "applied, and long not seen");
    }

    #[test]
    fn no_more_is_remembered_than_the_capacity() {
        let mut recent = Recent::new(10, Arc::new(AtomicU64::new(0)));
        for number in 0..1000 {
            recent.read(&did(number), None);
        }
        assert!(recent.young.len() + recent.old.len() <= 10);
    }
}
