//! Keys of fixed length: DIDs in 16 bytes, names of collections in 4.

use sha2::{Digest, Sha256};

use crate::protocol::did::{Did, PLC_BYTES};

/// Bytes of a [`DidKey`].
pub(super) const DID_KEY_BYTES: usize = 1 + PLC_BYTES;
const ID_BYTES: usize = 4;
/// Bytes of a key of a pair, in either direction.
const PAIR_BYTES: usize = DID_KEY_BYTES + ID_BYTES;

/// A DID in 16 bytes: what it is, then the 15 bytes that the 24 characters of a `did:plc` stand for, or the first 15 of
/// the SHA-256 of any other. The full text of those lies beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DidKey(pub [u8; DID_KEY_BYTES]);

const PLC: u8 = 1;
const HASHED: u8 = 2;

impl DidKey {
    pub fn of(did: &Did) -> DidKey {
        let (kind, bytes) = match did.plc_bytes() {
            Some(bytes) => (PLC, bytes),
            None => (HASHED, first_bytes(&Sha256::digest(did.as_str().as_bytes()))),
        };
        let mut key = [kind; DID_KEY_BYTES];
        key[1..].copy_from_slice(&bytes);
        DidKey(key)
    }

    /// Whether the key does not say all of the DID.
    pub fn is_hashed(self) -> bool {
        self.0[0] != PLC
    }

    /// The DID, where the key says all of it.
    pub fn did(self) -> Option<Did> {
        (!self.is_hashed()).then(|| Did::of_plc_bytes(&first_bytes(&self.0[1..])))
    }
}

fn first_bytes(bytes: &[u8]) -> [u8; PLC_BYTES] {
    std::array::from_fn(|i| bytes[i])
}

/// Stands for the name of a collection; from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CollectionId(pub u32);

impl CollectionId {
    /// In the place of a collection: the row that holds the account's [`super::mark::Mark`].
    pub const MARK: CollectionId = CollectionId(0);
}

/// Key of a row of [`crate::store::Column::Repo`].
pub(super) fn repo_key(did: DidKey, id: CollectionId) -> [u8; PAIR_BYTES] {
    let mut key = [0; PAIR_BYTES];
    key[..DID_KEY_BYTES].copy_from_slice(&did.0);
    key[DID_KEY_BYTES..].copy_from_slice(&id.0.to_be_bytes());
    key
}

/// What a key of [`crate::store::Column::Repo`] says.
pub(super) fn read_repo_key(key: &[u8]) -> Option<(DidKey, CollectionId)> {
    let (did, id) = key.split_first_chunk()?;
    Some((DidKey(*did), CollectionId(u32::from_be_bytes(id.try_into().ok()?))))
}

/// Key of a row of [`crate::store::Column::Collection`].
pub(super) fn collection_key(id: CollectionId, did: DidKey) -> [u8; PAIR_BYTES] {
    let mut key = [0; PAIR_BYTES];
    key[..ID_BYTES].copy_from_slice(&id.0.to_be_bytes());
    key[ID_BYTES..].copy_from_slice(&did.0);
    key
}

/// The account of a key of [`crate::store::Column::Collection`].
pub(super) fn did_of_collection_key(key: &[u8]) -> Option<DidKey> {
    key.last_chunk().copied().map(DidKey)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_did_plc_is_read_back_from_its_key(bytes: [u8; PLC_BYTES]) {
            let did = Did::of_plc_bytes(&bytes);
            prop_assert_eq!(DidKey::of(&did).did(), Some(did));
        }

        #[test]
        fn a_pair_is_read_back_from_its_key_in_either_direction(did: [u8; DID_KEY_BYTES], id: u32) {
            let (did, id) = (DidKey(did), CollectionId(id));
            prop_assert_eq!(read_repo_key(&repo_key(did, id)), Some((did, id)));
            prop_assert_eq!(did_of_collection_key(&collection_key(id, did)), Some(did));
        }
    }

    #[test]
    fn any_other_did_has_a_key_that_does_not_say_it() {
        let key = DidKey::of(&Did::parse("did:web:example.com").expect("a DID"));
        assert!(key.is_hashed());
        assert_eq!(key.did(), None);
        assert_ne!(key, DidKey::of(&Did::parse("did:web:example.org").expect("a DID")));
    }
}
