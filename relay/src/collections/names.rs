//! The names of collections, all of them in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;
use super::key::CollectionId;
use crate::memory::{allocated_bytes, arc_bytes, table_bytes};
use crate::protocol::nsid::Nsid;
use crate::store::{Column, Store};

/// Names of collections that the directory takes. The network has some thousands; anybody can make more.
pub const COLLECTIONS_MAX: usize = 100_000;

/// Names, ids and counts, as the rows in [`Column::Name`] hold them.
pub(super) struct Names {
    by_name: HashMap<Nsid, CollectionId>,
    /// By id, from 1.
    by_id: Vec<Named>,
    /// Bytes of their texts.
    text_bytes: usize,
    /// More of them are taken until they cost this.
    bytes_max: usize,
}

struct Named {
    name: Nsid,
    /// Visible accounts.
    accounts: AtomicU64,
}

impl Names {
    /// Reads all names. More of them are taken until they cost `bytes_max`.
    pub fn load(store: &Store, bytes_max: usize) -> Result<Names, Error> {
        let mut rows = Vec::new();
        let mut scan = store.scan(Column::Name, &[], &[FIRST_OF_A_NAME]);
        while let Some((key, value)) = scan.next_row()? {
            let name = str::from_utf8(key).ok().and_then(|name| Nsid::parse(name).ok()).ok_or(Error::Damaged)?;
            let (id, accounts) = decode(value).ok_or(Error::Damaged)?;
            rows.push((id, name, accounts));
        }
        rows.sort_unstable_by_key(|(id, _, _)| *id);
        let mut names = Names { by_name: HashMap::new(), by_id: Vec::new(), text_bytes: 0, bytes_max };
        for (id, name, accounts) in rows {
            if id != names.next(0) {
                return Err(Error::Damaged);
            }
            names.push(name, accounts);
        }
        Ok(names)
    }

    pub fn id(&self, name: &Nsid) -> Option<CollectionId> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, id: CollectionId) -> Option<&Nsid> {
        Some(&self.by_id.get(place(id)?)?.name)
    }

    /// Visible accounts of a collection.
    pub fn accounts(&self, id: CollectionId) -> u64 {
        let named = place(id).and_then(|place| self.by_id.get(place));
        named.map_or(0, |named| named.accounts.load(Ordering::Relaxed))
    }

    /// Notes how many they are.
    pub fn set_accounts(&self, id: CollectionId, accounts: u64) {
        if let Some(named) = place(id).and_then(|place| self.by_id.get(place)) {
            named.accounts.store(accounts, Ordering::Relaxed);
        }
    }

    /// The id of the next name but so many.
    pub fn next(&self, others: usize) -> CollectionId {
        CollectionId((self.by_id.len() + others + 1) as u32)
    }

    /// Whether there is room for a name beside others that are on their way.
    pub fn has_room<'a>(&self, name: &Nsid, others: impl ExactSizeIterator<Item = &'a Nsid>) -> bool {
        let count = self.by_id.len() + others.len() + 1;
        let text_bytes = self.text_bytes + text_bytes(name) + others.map(text_bytes).sum::<usize>();
        count <= COLLECTIONS_MAX && self.bytes_of(count, text_bytes) <= self.bytes_max
    }

    /// Takes a name, which gets the next id.
    pub fn push(&mut self, name: Nsid, accounts: u64) {
        self.text_bytes += text_bytes(&name);
        self.by_name.insert(name.clone(), self.next(0));
        self.by_id.push(Named { name, accounts: accounts.into() });
    }

    /// Every collection that has visible accounts, with their number.
    pub fn counts(&self) -> Vec<(Nsid, u64)> {
        let counts = self.by_id.iter().map(|named| (&named.name, named.accounts.load(Ordering::Relaxed)));
        counts.filter(|(_, accounts)| *accounts > 0).map(|(name, accounts)| (name.clone(), accounts)).collect()
    }

    /// What they cost in memory.
    pub fn bytes(&self) -> usize {
        self.bytes_of(self.by_id.len(), self.text_bytes)
    }

    /// Takes more names from now on. There is no way back: a name that is known stays, since rows are told apart by it, and
    /// one that is not taken is missing in the directory.
    pub fn raise_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = self.bytes_max.max(bytes_max);
    }

    /// What so many names cost: their places in the map and in the list, which both double when they are full, and their
    /// texts.
    fn bytes_of(&self, count: usize, text_bytes: usize) -> usize {
        let (mapped, listed) = (self.by_name.capacity(), self.by_id.capacity());
        let listed = if count > listed { count.max(2 * listed).max(LIST_MIN) } else { listed };
        table_bytes::<(Nsid, CollectionId)>(mapped.max(count))
            + allocated_bytes(listed * size_of::<Named>())
            + text_bytes
    }
}

/// The list has room for so many names at least, once it has one.
const LIST_MIN: usize = 4;

/// No name begins below; keys of DIDs, which are in the same column, do.
const FIRST_OF_A_NAME: u8 = b'0';

/// A name's row.
pub(super) fn encode(id: CollectionId, accounts: u64) -> Vec<u8> {
    [id.0.to_be_bytes().as_slice(), &accounts.to_be_bytes()].concat()
}

fn decode(row: &[u8]) -> Option<(CollectionId, u64)> {
    let (id, accounts) = row.split_first_chunk()?;
    Some((CollectionId(u32::from_be_bytes(*id)), u64::from_be_bytes(accounts.try_into().ok()?)))
}

fn place(id: CollectionId) -> Option<usize> {
    (id.0 as usize).checked_sub(1)
}

fn text_bytes(name: &Nsid) -> usize {
    arc_bytes(name.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::measured;

    #[test]
    fn names_are_counted_as_they_are_taken() {
        let nsid = |number: u32| Nsid::parse(&format!("com.example{number}.record")).expect("a name");
        for count in [1, 10, 1000, 1800, 50_000] {
            let (names, measured) = measured::of(|| {
                let mut names = Names { by_name: HashMap::new(), by_id: Vec::new(), text_bytes: 0, bytes_max: 8 << 20 };
                for number in 0..count {
                    let name = nsid(number);
                    assert!(names.has_room(&name, [].iter()));
                    names.push(name, 7);
                }
                names
            });
            measured::assert_near(names.bytes(), measured, 1);
        }
    }

    #[test]
    fn a_larger_bound_takes_more_names_and_a_smaller_one_no_fewer() {
        let nsid = |number: u32| Nsid::parse(&format!("com.example{number}.record")).expect("a name");
        let mut names = Names { by_name: HashMap::new(), by_id: Vec::new(), text_bytes: 0, bytes_max: 1 << 10 };
        let fill = |names: &mut Names| {
            let mut number = names.next(0).0;
            while names.has_room(&nsid(number), [].iter()) {
                names.push(nsid(number), 7);
                number += 1;
            }
            (number - 1, names.bytes())
        };
        let (few, bytes) = fill(&mut names);
        assert!(few > 0 && bytes <= 1 << 10, "{few} names in {bytes} bytes");
        names.raise_bytes_max(64 << 10);
        let (many, bytes) = fill(&mut names);
        assert!(many > 10 * few && bytes <= 64 << 10, "{many} names in {bytes} bytes");
        names.raise_bytes_max(1 << 10);
        assert!((1..=many).all(|number| names.id(&nsid(number)).is_some()));
        assert_eq!(fill(&mut names), (many, bytes));
    }
}
