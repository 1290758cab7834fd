//! What is remembered of DIDs, within bytes that are counted as the allocator counts them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::size::{arc_bytes, table_bytes};
use crate::protocol::did::Did;

/// Parts with a lock of their own: threads do not wait for each other, and nothing that is done to a whole part takes
/// long.
const PARTS: usize = 16;

/// What can be remembered.
pub trait Memo: Clone {
    /// Bytes that it holds outside of itself.
    fn bytes_outside(&self) -> usize;
}

/// What is remembered, by DID. What was not asked for lately goes first; but for what is needed, which stays.
pub struct Remembered<V> {
    hasher: RandomState,
    parts: [Mutex<Part<V>>; PARTS],
    is_needed: Box<dyn Fn(&V) -> bool + Send + Sync>,
}

/// Two generations: when the young one is full, it becomes the old one, and the old one goes. What is asked for moves
/// to the young one. It is nearly a least-recently-used order, at the cost of a map.
struct Part<V> {
    young: Generation<V>,
    old: Generation<V>,
    /// For each generation.
    bytes_max: usize,
}

struct Generation<V> {
    entries: HashMap<Did, V>,
    /// The capacity that the table was made for; the map tells less of it after removals.
    capacity: usize,
    /// Bytes outside of the table.
    bytes_outside: usize,
}

impl<V: Memo> Remembered<V> {
    /// Remembers within `bytes_max`, and what `is_needed` beyond that.
    pub fn new(bytes_max: usize, is_needed: impl Fn(&V) -> bool + Send + Sync + 'static) -> Remembered<V> {
        let part = |_| {
            Mutex::new(Part { young: Generation::new(), old: Generation::new(), bytes_max: of_generation(bytes_max) })
        };
        Remembered { hasher: RandomState::new(), parts: std::array::from_fn(part), is_needed: Box::new(is_needed) }
    }

    /// What is remembered of a DID.
    pub fn get(&self, did: &Did) -> Option<V> {
        let mut part = self.part(did);
        if let Some(value) = part.young.entries.get(did) {
            return Some(value.clone());
        }
        let (did, value) = part.old.remove(did)?;
        part.insert(did, value.clone(), &self.is_needed);
        Some(value)
    }

    /// Remembers something of a DID, in the place of what was remembered before.
    pub fn put(&self, did: &Did, value: V) {
        let mut part = self.part(did);
        part.old.remove(did);
        part.insert(did.clone(), value, &self.is_needed);
    }

    /// Forgets a DID.
    pub fn remove(&self, did: &Did) {
        let mut part = self.part(did);
        part.old.remove(did);
        part.young.remove(did);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(lock).map(|part| part.young.bytes() + part.old.bytes()).sum()
    }

    /// Remembers within other bounds from now on. What is too much goes before this returns, a part at a time, so that
    /// nobody waits for long.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        for part in &self.parts {
            lock(part).fit(of_generation(bytes_max), &self.is_needed);
        }
    }

    fn part(&self, did: &Did) -> MutexGuard<'_, Part<V>> {
        let number = self.hasher.hash_one(did) as usize % PARTS;
        lock(&self.parts[number])
    }
}

fn of_generation(bytes_max: usize) -> usize {
    bytes_max / PARTS / 2
}

fn lock<V>(part: &Mutex<Part<V>>) -> MutexGuard<'_, Part<V>> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Memo> Part<V> {
    fn insert(&mut self, did: Did, value: V, is_needed: impl Fn(&V) -> bool) {
        if !self.young.has_room_for(&did, &value, self.bytes_max) {
            self.turn(is_needed);
        }
        self.young.insert(did, value);
    }

    /// The old generation goes, and its table becomes the young one's, with what is needed of it.
    fn turn(&mut self, is_needed: impl Fn(&V) -> bool) {
        let needed: Vec<_> = self.old.entries.drain().filter(|(_, value)| is_needed(value)).collect();
        self.old.bytes_outside = 0;
        std::mem::swap(&mut self.young, &mut self.old);
        for (did, value) in needed {
            self.young.insert(did, value);
        }
    }

    fn fit(&mut self, bytes_max: usize, is_needed: impl Fn(&V) -> bool) {
        self.bytes_max = bytes_max;
        self.old.fit(bytes_max, &is_needed);
        self.young.fit(bytes_max, &is_needed);
    }
}

impl<V: Memo> Generation<V> {
    fn new() -> Generation<V> {
        Generation { entries: HashMap::new(), capacity: 0, bytes_outside: 0 }
    }

    fn bytes(&self) -> usize {
        table_bytes::<(Did, V)>(self.capacity) + self.bytes_outside
    }

    /// Whether it stays within its bounds with an entry more. One that holds nothing takes an entry in any case.
    fn has_room_for(&self, did: &Did, value: &V, bytes_max: usize) -> bool {
        if self.entries.is_empty() || self.entries.contains_key(did) {
            return true;
        }
        let grows = self.entries.len() >= self.entries.capacity();
        let capacity = if grows { 2 * self.capacity } else { self.capacity };
        table_bytes::<(Did, V)>(capacity) + self.bytes_outside + bytes_outside(did, value) <= bytes_max
    }

    fn insert(&mut self, did: Did, value: V) {
        let bytes_of_did = bytes_of_did(&did);
        self.bytes_outside += value.bytes_outside();
        // The map keeps the key that it has.
        match self.entries.insert(did, value) {
            Some(before) => self.bytes_outside -= before.bytes_outside(),
            None => self.bytes_outside += bytes_of_did,
        }
        self.capacity = self.capacity.max(self.entries.capacity());
    }

    fn remove(&mut self, did: &Did) -> Option<(Did, V)> {
        let (did, value) = self.entries.remove_entry(did)?;
        self.bytes_outside -= bytes_outside(&did, &value);
        Some((did, value))
    }

    /// Forgets as many entries as it takes, and gives back the room.
    fn fit(&mut self, bytes_max: usize, is_needed: impl Fn(&V) -> bool) {
        if self.bytes() <= bytes_max {
            return;
        }
        let each = self.bytes_outside / self.entries.len().max(1);
        let mut kept_max = self.entries.len();
        while kept_max > 0 && table_bytes::<(Did, V)>(kept_max) + each * kept_max > bytes_max {
            kept_max /= 2;
        }
        let table = table_bytes::<(Did, V)>(kept_max);
        let (mut kept, mut kept_outside) = (0, 0);
        self.entries.retain(|did, value| {
            let outside = bytes_outside(did, value);
            let fits = kept < kept_max && table + kept_outside + outside <= bytes_max;
            let is_kept = fits || is_needed(value);
            if is_kept {
                kept += 1;
                kept_outside += outside;
            }
            is_kept
        });
        self.entries.shrink_to_fit();
        self.capacity = self.entries.capacity();
        self.bytes_outside = kept_outside;
    }
}

fn bytes_outside<V: Memo>(did: &Did, value: &V) -> usize {
    bytes_of_did(did) + value.bytes_outside()
}

/// A DID may share its text with others; it is counted for each.
fn bytes_of_did(did: &Did) -> usize {
    arc_bytes(did.as_str().len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::memory::size::{allocated_bytes, measured};

    /// A number, and text.
    #[derive(Debug, Clone, PartialEq)]
    struct Note(u64, String);

    impl Memo for Note {
        fn bytes_outside(&self) -> usize {
            allocated_bytes(self.1.capacity())
        }
    }

    fn did(number: u64) -> Did {
        Did::parse(&format!("did:web:host{number}.example.com")).expect("a DID")
    }

    fn note(number: u64) -> Note {
        Note(number, "x".repeat(number as usize % 200))
    }

    fn none(_: &Note) -> bool {
        false
    }

    #[test]
    fn bytes_stay_within_the_bound_and_the_room_is_used() {
        for bytes_max in [256 << 10, 1 << 20, 4 << 20] {
            let remembered = Remembered::new(bytes_max, none);
            for number in 0..50_000 {
                remembered.put(&did(number), note(number));
            }
            let bytes = remembered.bytes();
            assert!(bytes <= bytes_max && bytes > bytes_max / 3, "{bytes} of {bytes_max}");
        }
    }

    #[test]
    fn bytes_are_counted_as_the_allocator_does() {
        for entries in [10, 1000, 20_000, 100_000] {
            let ((remembered, counted), measured) = measured::of(|| {
                let remembered = Remembered::new(8 << 20, none);
                for number in 0..entries {
                    remembered.put(&did(number), note(number));
                    if number % 3 == 0 {
                        remembered.get(&did(number / 2));
                        remembered.remove(&did(number / 5));
                    }
                }
                let counted = remembered.bytes();
                (remembered, counted)
            });
            // The parts themselves, and the box of the rule.
            measured::assert_near(counted, measured, 2);
            drop(remembered);
        }
    }

    #[test]
    fn what_is_asked_for_stays() {
        let remembered = Remembered::new(256 << 10, none);
        remembered.put(&did(0), note(0));
        for number in 1..10_000 {
            remembered.put(&did(number), note(number));
            assert!(remembered.get(&did(0)).is_some(), "after {number} others");
        }
        assert!(remembered.get(&did(1)).is_none(), "the others make room");
    }

    #[test]
    fn a_smaller_bound_gives_memory_back_and_a_larger_one_is_used() {
        let remembered = Remembered::new(8 << 20, none);
        let fill = || (0..100_000).for_each(|number| remembered.put(&did(number), note(number)));
        fill();
        let before = remembered.bytes();
        let ((), given_back) = measured::of(|| remembered.set_bytes_max(1 << 20));
        let given_back = given_back.wrapping_neg();
        let after = remembered.bytes();
        assert!(after <= 1 << 20 && after > 1 << 17, "{after} bytes: some of it is kept");
        measured::assert_near(before - after, given_back, 1);
        fill();
        assert!(remembered.bytes() <= 1 << 20);
        remembered.set_bytes_max(8 << 20);
        fill();
        assert!(remembered.bytes() > 2 << 20, "{} bytes", remembered.bytes());
        remembered.set_bytes_max(0);
        assert_eq!(remembered.bytes(), 0);
        remembered.put(&did(7), note(7));
        assert_eq!(remembered.get(&did(7)), Some(note(7)), "the last one is always there");
    }

    #[test]
    fn what_is_needed_stays_whatever_the_bound() {
        let applied = Arc::new(AtomicU64::new(0));
        let is_needed = {
            let applied = Arc::clone(&applied);
            move |note: &Note| note.0 > applied.load(Ordering::Acquire)
        };
        let remembered = Remembered::new(64 << 10, is_needed);
        for number in 1..=5000 {
            remembered.put(&did(number), note(number));
        }
        remembered.set_bytes_max(0);
        for number in 1..=5000 {
            assert_eq!(remembered.get(&did(number)), Some(note(number)));
        }
        applied.store(4000, Ordering::Release);
        remembered.set_bytes_max(0);
        assert!((1..=4000).all(|number| remembered.get(&did(number)).is_none()));
        assert!((4001..=5000).all(|number| remembered.get(&did(number)).is_some()));
    }

    /// Bounds change while it is in use; whoever asks gets what was put last, or nothing.
    #[test]
    fn bounds_change_under_load() {
        let remembered = Arc::new(Remembered::new(1 << 20, none));
        let ends = Arc::new(AtomicBool::new(false));
        let resizes = std::thread::spawn({
            let (remembered, ends) = (Arc::clone(&remembered), Arc::clone(&ends));
            move || {
                for round in 0.. {
                    remembered.set_bytes_max(if round % 2 == 0 { 64 << 10 } else { 2 << 20 });
                    if ends.load(Ordering::Acquire) {
                        return;
                    }
                }
            }
        });
        for number in 0..50_000 {
            remembered.put(&did(number % 5000), note(number));
            let known = remembered.get(&did(number % 5000));
            assert!(known.is_none_or(|known| known == note(number)), "{number}");
        }
        ends.store(true, Ordering::Release);
        resizes.join().expect("no panic");
        remembered.set_bytes_max(64 << 10);
        assert!(remembered.bytes() <= 64 << 10);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Put(u64, u64),
        Get(u64),
        Remove(u64),
        Resize(usize),
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0u64..300, 0u64..1000).prop_map(|(key, value)| Act::Put(key, value)),
            2 => (0u64..300).prop_map(Act::Get),
            1 => (0u64..300).prop_map(Act::Remove),
            1 => (0usize..200_000).prop_map(Act::Resize),
        ]
    }

    proptest! {
        /// What it says was put last; what it counts is what is there.
        #[test]
        fn it_tells_the_truth_or_nothing(acts in prop::collection::vec(any_act(), 0..400)) {
            let remembered = Remembered::new(100_000, none);
            let mut last = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Put(key, value) => {
                        remembered.put(&did(key), note(value));
                        last.insert(key, note(value));
                        prop_assert_eq!(remembered.get(&did(key)), Some(note(value)));
                    }
                    Act::Get(key) => {
                        let known = remembered.get(&did(key));
                        prop_assert!(known.is_none() || known.as_ref() == last.get(&key));
                    }
                    Act::Remove(key) => {
                        remembered.remove(&did(key));
                        last.remove(&key);
                        prop_assert_eq!(remembered.get(&did(key)), None);
                    }
                    Act::Resize(bytes) => {
                        remembered.set_bytes_max(bytes);
                        prop_assert!(remembered.bytes() <= bytes);
                    }
                }
            }
            for part in &remembered.parts {
                let part = lock(part);
                for generation in [&part.young, &part.old] {
                    let outside = generation.entries.iter().map(|(did, note)| bytes_outside(did, note)).sum::<usize>();
                    prop_assert_eq!(generation.bytes_outside, outside);
                }
                prop_assert!(part.young.entries.keys().all(|did| !part.old.entries.contains_key(did)));
            }
        }
    }
}
