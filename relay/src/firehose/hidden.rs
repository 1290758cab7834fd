//! Accounts whose past events no consumer gets any more: those that are taken down.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::log::{AccountTag, Event, Kind};

/// The hidden accounts. The log keeps their events, so that a takedown can be reversed.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// How many there are: mostly none, and then nothing is looked at.
    count: AtomicUsize,
    tags: RwLock<HashSet<AccountTag>>,
}

impl Hidden {
    pub fn set(&self, did: &str, is_hidden: bool) {
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let tag = AccountTag::of(did);
        let _ = if is_hidden { tags.insert(tag) } else { tags.remove(&tag) };
        self.count.store(tags.len(), Ordering::Release);
    }

    /// Removes what shows the content of hidden accounts. What tells of their status and identity stays.
    pub fn filter(&self, events: &mut Vec<Event>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let tags = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        events.retain(|Event { header, .. }| {
            matches!(header.kind, Kind::Identity | Kind::Account) || !tags.contains(&header.account)
        });
    }
}
