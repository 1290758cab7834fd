//! Identities in memory, bounded by bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Identity;
use crate::protocol::did::Did;

/// Parts with a lock of their own, so that the verifying threads do not wait for each other.
const PARTS: usize = 16;
/// What the map itself takes for an entry: it is between half full and full, and has a byte of its own for each.
const ENTRY_BYTES: usize = 2 * (size_of::<(Did, Entry)>() + 1);
/// The two counters in front of what an `Arc` points to.
const ARC_BYTES: usize = 2 * size_of::<usize>();

/// What is known of a DID, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The identity; none when the DID is known to have none.
    pub(super) identity: Option<Arc<Identity>>,
    /// When it has to be asked for again, in milliseconds since 1970.
    pub(super) good_until_ms: i64,
}

/// Entries by DID; those that were not asked for lately go first.
pub(super) struct Memory {
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
}

/// Two generations: when the young one is full, it becomes the old one, and the old one goes. What is asked for moves
/// to the young one. It is nearly a least-recently-used order, at the cost of a map.
#[derive(Default)]
struct Part {
    young: Generation,
    old: Generation,
    generation_bytes_max: usize,
}

#[derive(Default)]
struct Generation {
    entries: HashMap<Did, Entry>,
    bytes: usize,
}

impl Memory {
    /// Holds about `bytes_max` of entries.
    pub(super) fn new(bytes_max: usize) -> Memory {
        let part = |_| Mutex::new(Part { generation_bytes_max: bytes_max / PARTS / 2, ..Part::default() });
        Memory { hasher: RandomState::new(), parts: std::array::from_fn(part) }
    }

    /// What is known of a DID, good or no longer.
    pub(super) fn get(&self, did: &Did) -> Option<Entry> {
        let mut part = self.part(did);
        if let Some(entry) = part.young.entries.get(did) {
            return Some(entry.clone());
        }
        let entry = part.old.remove(did)?;
        part.insert(did.clone(), entry.clone());
        Some(entry)
    }

    pub(super) fn put(&self, did: &Did, entry: Entry) {
        let mut part = self.part(did);
        part.old.remove(did);
        part.insert(did.clone(), entry);
    }

    pub(super) fn remove(&self, did: &Did) {
        let mut part = self.part(did);
        part.old.remove(did);
        part.young.remove(did);
    }

    /// Bytes held, as counted.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(lock).map(|part| part.young.bytes + part.old.bytes).sum()
    }

    fn part(&self, did: &Did) -> MutexGuard<'_, Part> {
        let number = self.hasher.hash_one(did) as usize % PARTS;
        lock(&self.parts[number])
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    fn insert(&mut self, did: Did, entry: Entry) {
        self.young.insert(did, entry);
        if self.young.bytes > self.generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl Generation {
    fn insert(&mut self, did: Did, entry: Entry) {
        self.bytes += bytes_of(&did, &entry);
        if let Some(before) = self.entries.insert(did.clone(), entry) {
            self.bytes -= bytes_of(&did, &before);
        }
    }

    fn remove(&mut self, did: &Did) -> Option<Entry> {
        let entry = self.entries.remove(did)?;
        self.bytes -= bytes_of(did, &entry);
        Some(entry)
    }
}

fn bytes_of(did: &Did, entry: &Entry) -> usize {
    let identity = entry.identity.as_ref().map_or(0, |identity| {
        let pds = identity.pds.as_ref().map_or(0, |pds| pds.host.capacity());
        let handle = identity.handle.as_ref().map_or(0, String::capacity);
        ARC_BYTES + size_of::<Identity>() + pds + handle
    });
    ENTRY_BYTES + ARC_BYTES + did.as_str().len() + identity
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn did(number: usize) -> Did {
        Did::parse(&format!("did:web:host{number}.example.com")).unwrap()
    }

    fn entry(handle: usize) -> Entry {
        let identity = Identity { key: None, pds: None, handle: Some("x".repeat(handle)), fetched_at_ms: 0 };
        Entry { identity: Some(Arc::new(identity)), good_until_ms: 0 }
    }

    #[test]
    fn bytes_stay_within_the_bound_and_are_given_back() {
        let bytes_max = 256 << 10;
        let memory = Memory::new(bytes_max);
        for number in 0..10_000 {
            memory.put(&did(number), entry(number % 200));
            assert!(memory.bytes() <= bytes_max, "after {number} entries");
        }
        assert!(memory.bytes() > bytes_max / 3, "the room is used");
        for number in 0..10_000 {
            memory.remove(&did(number));
        }
        assert_eq!(memory.bytes(), 0);
    }

    #[test]
    fn an_entry_is_replaced_in_both_generations() {
        let memory = Memory::new(1 << 20);
        memory.put(&did(1), entry(10));
        let bytes = memory.bytes();
        memory.put(&did(1), entry(10));
        assert_eq!(memory.bytes(), bytes);
        let mut part = memory.part(&did(1));
        part.old = std::mem::take(&mut part.young);
        drop(part);
        memory.put(&did(1), Entry { good_until_ms: 7, ..entry(10) });
        assert_eq!(memory.bytes(), bytes);
        assert_eq!(memory.get(&did(1)).unwrap().good_until_ms, 7);
    }

    #[test]
    fn what_is_asked_for_stays() {
        let memory = Memory::new(256 << 10);
        memory.put(&did(0), entry(10));
        for number in 1..10_000 {
            memory.put(&did(number), entry(10));
            assert!(memory.get(&did(0)).is_some(), "after {number} others");
        }
        assert!(memory.get(&did(1)).is_none(), "the others make room");
    }
}
