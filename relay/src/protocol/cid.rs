//! Content identifiers of the one form that commits, tree nodes and records use.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// A CID of the "blessed" form: version 1, DAG-CBOR, SHA-256 (protocol 21).
///
/// All other parts of it being fixed, the digest is all there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cid([u8; 32]);

/// Text that is no blessed CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a CIDv1 of DAG-CBOR with SHA-256 in base32, like bafyrei…")]
pub struct CidError;

/// Version 1, codec dag-cbor, hash sha2-256, 32 bytes of digest.
const PREFIX: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
/// Multibase code of lower-case base32 without padding.
const BASE32_LOWER: char = 'b';
const BASE32_CHARS: usize = 58;

impl Cid {
    /// Length of the binary form.
    pub const BYTES: usize = PREFIX.len() + 32;

    /// The CID of a block.
    pub fn of(block: &[u8]) -> Cid {
        Cid(Sha256::digest(block).into())
    }

    /// The CID with this digest.
    pub const fn from_digest(digest: [u8; 32]) -> Cid {
        Cid(digest)
    }

    /// The digest.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the binary form; `None` when it is anything else than a blessed CID.
    pub fn from_bytes(bytes: &[u8]) -> Option<Cid> {
        let digest = bytes.strip_prefix(&PREFIX)?;
        Some(Cid(digest.try_into().ok()?))
    }

    /// The binary form, as links and CAR sections hold it.
    pub fn to_bytes(&self) -> [u8; Cid::BYTES] {
        let mut bytes = [0; Cid::BYTES];
        let (prefix, digest) = bytes.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(&PREFIX);
        digest.copy_from_slice(&self.0);
        bytes
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BASE32_LOWER}{}", BASE32_NOPAD.encode(&self.to_bytes()).to_ascii_lowercase())
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Cid, CidError> {
        let base32 = text.strip_prefix(BASE32_LOWER).ok_or(CidError)?;
        if base32.len() != BASE32_CHARS || base32.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(CidError);
        }
        let bytes = BASE32_NOPAD.decode(base32.to_ascii_uppercase().as_bytes()).map_err(|_| CidError)?;
        Cid::from_bytes(&bytes).ok_or(CidError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_MAP: &str = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua";

    #[test]
    fn text_and_binary_forms_agree() {
        let cid = Cid::of(&[0xa0]);
        assert_eq!(cid.to_string(), EMPTY_MAP, "CID of the empty map");
        assert_eq!(EMPTY_MAP.parse(), Ok(cid));
        assert_eq!(Cid::from_bytes(&cid.to_bytes()), Some(cid));
    }

    /// Protocol 21.
    #[test]
    fn other_forms_are_refused() {
        let cases = [
            ("", "empty"),
            ("b", "multibase code alone"),
            ("bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swu", "one character short"),
            ("bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swub", "bits after the last byte"),
            ("BAFYREIGBTJ4X7IP5LEGNFZNUFUOPL4SG4KNZC2COF6DUAS4B3Q2FY6SWUA", "upper-case multibase"),
            ("bAFYREIGBTJ4X7IP5LEGNFZNUFUOPL4SG4KNZC2COF6DUAS4B3Q2FY6SWUA", "upper-case digits"),
            ("bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity", "raw codec"),
            ("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR", "version 0"),
        ];
        for (text, what) in cases {
            assert_eq!(text.parse::<Cid>(), Err(CidError), "{what}");
        }
        assert_eq!(Cid::from_bytes(&Cid::of(&[]).to_bytes()[..35]), None, "short digest");
    }
}
