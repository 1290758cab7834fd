//! DIDs as keys of fixed length.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

use crate::protocol::did::{Did, Method};

/// Bytes of a [`DidKey`].
pub(super) const DID_KEY_BYTES: usize = 16;
const PLC_BYTES: usize = 15;

/// A DID in 16 bytes: what it is, then the 15 bytes that the 24 characters of a `did:plc` stand for, or the first 15 of
/// the SHA-256 of any other. The full text of those lies beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DidKey(pub [u8; DID_KEY_BYTES]);

const PLC: u8 = 1;
const HASHED: u8 = 2;

impl DidKey {
    pub fn of(did: &Did) -> DidKey {
        let mut key = [0; DID_KEY_BYTES];
        if did.method() == Method::Plc
            && let Ok(bytes) = BASE32_NOPAD.decode(did.identifier().to_ascii_uppercase().as_bytes())
            && bytes.len() == PLC_BYTES
        {
            key[0] = PLC;
            key[1..].copy_from_slice(&bytes);
        } else {
            key[0] = HASHED;
            key[1..].copy_from_slice(&Sha256::digest(did.as_str().as_bytes())[..PLC_BYTES]);
        }
        DidKey(key)
    }

    /// The DID, where the key says all of it.
    pub fn did(self) -> Option<Did> {
        if self.0[0] != PLC {
            return None;
        }
        Did::parse(&format!("did:plc:{}", BASE32_NOPAD.encode(&self.0[1..]).to_ascii_lowercase())).ok()
    }
}
