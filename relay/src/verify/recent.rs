//! The accounts that a shard has lately seen, in front of the derived store.
//!
//! The store lags behind the shard by the events that are on their way to the log, so an account must stay here until
//! its last change has been applied there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::Account;
use crate::memory::{Memo, Remembered};
use crate::protocol::did::Did;

/// What a shard remembers of its accounts; clones share it.
#[derive(Clone)]
pub(super) struct Recent {
    accounts: Arc<Remembered<Entry>>,
}

#[derive(Clone, Copy)]
struct Entry {
    account: Option<Account>,
    /// Which of the shard's events changed it last; the store has it once that many are applied.
    changed_by: u64,
}

impl Memo for Entry {
    fn bytes_outside(&self) -> usize {
        0
    }
}

impl Recent {
    /// Remembers within `bytes_max`, and what the store does not have yet beyond that; `applied` counts the shard's
    /// events that it includes.
    pub(super) fn new(bytes_max: usize, applied: Arc<AtomicU64>) -> Recent {
        let is_needed = move |entry: &Entry| entry.changed_by > applied.load(Ordering::Acquire);
        Recent { accounts: Arc::new(Remembered::new(bytes_max, is_needed)) }
    }

    /// What is remembered of `did`: `Some(None)` is an account that the store does not have.
    pub(super) fn get(&self, did: &Did) -> Option<Option<Account>> {
        self.accounts.get(did).map(|entry| entry.account)
    }

    /// Remembers what the store says.
    pub(super) fn read(&self, did: &Did, account: Option<Account>) {
        self.accounts.put(did, Entry { account, changed_by: 0 });
    }

    /// Remembers a change made by the shard's event number `event`, counted from 1.
    pub(super) fn change(&self, did: &Did, account: Account, event: u64) {
        self.accounts.put(did, Entry { account: Some(account), changed_by: event });
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.accounts.bytes()
    }

    /// Remembers within other bounds; from any thread, and at once.
    pub(super) fn set_bytes_max(&self, bytes_max: usize) {
        self.accounts.set_bytes_max(bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::measured;

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:web:host{number}.example.com")).expect("a DID")
    }

    #[test]
    fn a_change_is_remembered_until_the_store_has_it() {
        let applied = Arc::new(AtomicU64::new(0));
        let recent = Recent::new(16 << 10, Arc::clone(&applied));
        recent.change(&did(0), Account::new(7), 1);
        let read_others = || (1..1000).for_each(|number| recent.read(&did(number), None));
        read_others();
        recent.set_bytes_max(0);
        assert_eq!(recent.get(&did(0)), Some(Some(Account::new(7))), "not applied yet");
        applied.store(1, Ordering::Release);
        recent.set_bytes_max(16 << 10);
        read_others();
        assert_eq!(recent.get(&did(0)), None, "applied, and long not seen");
    }

    #[test]
    fn accounts_are_counted_as_they_are_taken() {
        let (recent, measured) = measured::of(|| {
            let recent = Recent::new(64 << 20, Arc::default());
            for number in 0..50_000 {
                recent.change(&did(number), Account::new(7), 1);
            }
            recent
        });
        measured::assert_near(recent.bytes(), measured, 1);
    }
}
