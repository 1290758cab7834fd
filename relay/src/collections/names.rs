//! The names of collections, all of them in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Error;
use super::key::CollectionId;
use crate::protocol::nsid::Nsid;
use crate::store::{Column, Store};

/// Names of collections that the directory takes. The network has some thousands; anybody can make more.
pub const COLLECTIONS_MAX: usize = 100_000;
/// What a name costs beside its text: its place in the map and in the list, and the head of its text.
const NAME_BYTES: usize = 112;

/// Names, ids and counts, as the rows in [`Column::Name`] hold them.
pub(super) struct Names {
    by_name: HashMap<Nsid, CollectionId>,
    /// By id, from 1.
    by_id: Vec<Named>,
    /// What they cost.
    bytes: usize,
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
        let mut names = Names { by_name: HashMap::new(), by_id: Vec::new(), bytes: 0, bytes_max };
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
        let bytes = self.bytes + cost(name) + others.map(cost).sum::<usize>();
        count <= COLLECTIONS_MAX && bytes <= self.bytes_max
    }

    /// Takes a name, which gets the next id.
    pub fn push(&mut self, name: Nsid, accounts: u64) {
        self.bytes += cost(&name);
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
        self.bytes
    }
}

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

fn cost(name: &Nsid) -> usize {
    NAME_BYTES + name.as_str().len()
}
