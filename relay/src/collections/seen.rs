//! The pairs that events have named lately.

use std::hash::{BuildHasher, RandomState};

use super::key::{CollectionId, DidKey};

/// A table of fixed size of pairs that are in the directory, so that an event that names one of them costs no read:
/// about 99 in 100 do. Each pair has one place, and takes it from who was there.
///
/// A place holds 32 bits of a keyed hash. A pair that is not in the directory is taken for one that is once in four
/// billion times; then it comes with a later event, once the place is somebody else's.
pub(super) struct Seen {
    places: Box<[u32]>,
    hasher: RandomState,
}

/// Bytes of a place.
const PLACE_BYTES: usize = size_of::<u32>();
const EMPTY: u32 = 0;

impl Seen {
    /// An empty table of at most this size, in bytes.
    pub fn new(bytes: usize) -> Seen {
        Seen { places: vec![EMPTY; places_in(bytes)].into(), hasher: RandomState::new() }
    }

    /// Makes it another size, in bytes. A pair's place is then another: all are forgotten.
    pub fn set_bytes(&mut self, bytes: usize) {
        if self.places.len() != places_in(bytes) {
            *self = Seen::new(bytes);
        }
    }

    pub fn has(&self, did: DidKey, id: CollectionId) -> bool {
        let (place, print) = self.find(did, id);
        self.places[place] == print
    }

    pub fn insert(&mut self, did: DidKey, id: CollectionId) {
        let (place, print) = self.find(did, id);
        self.places[place] = print;
    }

    pub fn remove(&mut self, did: DidKey, id: CollectionId) {
        let (place, print) = self.find(did, id);
        if self.places[place] == print {
            self.places[place] = EMPTY;
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.places.fill(EMPTY);
    }

    pub fn bytes(&self) -> usize {
        self.places.len() * PLACE_BYTES
    }

    /// The place of a pair, and what is there if it is the pair's.
    fn find(&self, did: DidKey, id: CollectionId) -> (usize, u32) {
        let hash = self.hasher.hash_one((did, id));
        let place = ((hash >> 32) * self.places.len() as u64) >> 32;
        (place as usize, (hash as u32).max(EMPTY + 1))
    }
}

fn places_in(bytes: usize) -> usize {
    (bytes / PLACE_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: u32) -> (DidKey, CollectionId) {
        (DidKey([1; 16]), CollectionId(number))
    }

    #[test]
    fn a_pair_is_seen_until_it_goes() {
        let mut seen = Seen::new(1 << 16);
        let (did, id) = pair(7);
        assert!(!seen.has(did, id));
        seen.insert(did, id);
        assert!(seen.has(did, id));
        seen.remove(did, id);
        assert!(!seen.has(did, id));
        seen.insert(did, id);
        seen.clear();
        assert!(!seen.has(did, id));
    }

    #[test]
    fn a_pair_takes_the_place_of_another_and_does_not_free_it() {
        let mut seen = Seen::new(PLACE_BYTES);
        let ((did, one), (_, two)) = (pair(1), pair(2));
        seen.insert(did, one);
        seen.insert(did, two);
        assert!(!seen.has(did, one));
        seen.remove(did, one);
        assert!(seen.has(did, two));
    }

    #[test]
    fn another_size_is_taken_at_once_and_the_same_one_forgets_nothing() {
        let mut seen = Seen::new(1 << 16);
        let (did, id) = pair(7);
        seen.insert(did, id);
        seen.set_bytes(1 << 16);
        assert!(seen.has(did, id));
        seen.set_bytes(1 << 10);
        assert_eq!((seen.bytes(), seen.has(did, id)), (1 << 10, false));
        seen.insert(did, id);
        seen.set_bytes(1 << 18);
        assert_eq!((seen.bytes(), seen.has(did, id)), (1 << 18, false));
    }

    #[test]
    fn the_whole_table_is_used() {
        let mut seen = Seen::new(1000 * PLACE_BYTES);
        (0..100_000).map(pair).for_each(|(did, id)| seen.insert(did, id));
        assert!(seen.places.iter().all(|place| *place != EMPTY));
    }
}
