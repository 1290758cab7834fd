//! Public keys of accounts, and signatures by them (protocol 22).

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};
use secp256k1::ecdsa;

/// A signing key of an account, checked to be on its curve.
///
/// It is small, since the relay keeps many: 65 bytes and a tag, of which a verification needs no decompression.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// On secp256k1, also called K-256.
    K256(secp256k1::PublicKey),
    /// On NIST P-256.
    P256(P256Point),
}

/// A point on P-256 in the uncompressed form of SEC 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct P256Point([u8; P256_POINT_BYTES]);

/// Text or bytes that are no key of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not multibase base58btc.
    #[error("key is not multibase in base58btc, which starts with z")]
    Multibase,
    /// Neither curve of atproto.
    #[error("key is of another type than K-256 and P-256")]
    Type,
    /// Not a point of the curve.
    #[error("key is not a point on its curve")]
    Point,
}

/// A signature that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Valid ECDSA, in the form that atproto forbids: anyone could make it from a good one.
    #[error("signature is not in low-S form")]
    HighS,
    /// Not made by this key for this content.
    #[error("signature does not match the key and the content")]
    Mismatch,
}

/// Multicodec secp256k1-pub, as a varint.
const K256_CODE: [u8; 2] = [0xe7, 0x01];
/// Multicodec p256-pub, as a varint.
const P256_CODE: [u8; 2] = [0x80, 0x24];
const BASE58_BTC: char = 'z';
const DID_KEY_PREFIX: &str = "did:key:";
/// Longest multibase text that is decoded: twice what an uncompressed key takes. Base58 takes quadratic time.
const MULTIBASE_CHARS_MAX: usize = 200;
const COMPRESSED_BYTES: usize = 33;
const P256_POINT_BYTES: usize = 65;
const UNCOMPRESSED_TAG: u8 = 4;

/// Half the order of secp256k1, big-endian: the largest S that is low.
const K256_LOW_S_MAX: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];
/// Half the order of P-256, big-endian: the largest S that is low.
const P256_LOW_S_MAX: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d,
    0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

impl PublicKey {
    /// Length of [`PublicKey::to_bytes`].
    pub const BYTES: usize = K256_CODE.len() + COMPRESSED_BYTES;

    /// Reads a Multikey (`z…`), with or without `did:key:` in front.
    pub fn from_multikey(text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(&decode_multibase(text.strip_prefix(DID_KEY_PREFIX).unwrap_or(text))?)
    }

    /// Reads the `publicKeyMultibase` of a verification method of a DID document. The two old types hold a point of
    /// SEC 1, compressed or not, and say the curve in their name.
    pub fn from_verification_method(method_type: &str, multibase: &str) -> Result<PublicKey, KeyError> {
        match method_type {
            "Multikey" => PublicKey::from_bytes(&decode_multibase(multibase)?),
            "EcdsaSecp256k1VerificationKey2019" => PublicKey::k256(&decode_multibase(multibase)?),
            "EcdsaSecp256r1VerificationKey2019" => PublicKey::p256(&decode_multibase(multibase)?),
            _ => Err(KeyError::Type),
        }
    }

    /// Reads the binary form of a Multikey: multicodec of the curve, compressed point.
    pub fn from_bytes(bytes: &[u8]) -> Result<PublicKey, KeyError> {
        let (code, point) = bytes.split_first_chunk().ok_or(KeyError::Type)?;
        if point.len() != COMPRESSED_BYTES {
            return Err(KeyError::Point);
        }
        match *code {
            K256_CODE => PublicKey::k256(point),
            P256_CODE => PublicKey::p256(point),
            _ => Err(KeyError::Type),
        }
    }

    /// The binary form of the Multikey.
    pub fn to_bytes(&self) -> [u8; PublicKey::BYTES] {
        let (code, point) = match self {
            PublicKey::K256(key) => (K256_CODE, key.serialize()),
            PublicKey::P256(point) => (P256_CODE, point.compressed()),
        };
        let mut bytes = [0; PublicKey::BYTES];
        let (code_place, point_place) = bytes.split_at_mut(code.len());
        code_place.copy_from_slice(&code);
        point_place.copy_from_slice(&point);
        bytes
    }

    /// Checks a signature of 64 bytes, R and S, over the content with this SHA-256 digest. S must be low, on both
    /// curves; it is never made so.
    pub fn verify(&self, digest: &[u8; 32], signature: &[u8; 64]) -> Result<(), SignatureError> {
        let low_s_max = match self {
            PublicKey::K256(_) => &K256_LOW_S_MAX,
            PublicKey::P256(_) => &P256_LOW_S_MAX,
        };
        if signature[32..] > low_s_max[..] {
            return Err(SignatureError::HighS);
        }
        let is_valid = match self {
            PublicKey::K256(key) => verify_k256(key, digest, signature),
            PublicKey::P256(point) => point.verify(digest, signature),
        };
        if is_valid { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    fn k256(point: &[u8]) -> Result<PublicKey, KeyError> {
        secp256k1::PublicKey::from_slice(point).map(PublicKey::K256).map_err(|_| KeyError::Point)
    }

    fn p256(point: &[u8]) -> Result<PublicKey, KeyError> {
        P256Point::parse(point).map(PublicKey::P256).ok_or(KeyError::Point)
    }
}

impl P256Point {
    fn parse(point: &[u8]) -> Option<P256Point> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        // A SubjectPublicKeyInfo ends in the point, uncompressed.
        let info: PublicKeyX509Der<'_> = key.as_der().ok()?;
        let point =
            info.as_ref().last_chunk().filter(|point: &&[u8; P256_POINT_BYTES]| point[0] == UNCOMPRESSED_TAG)?;
        Some(P256Point(*point))
    }

    fn compressed(&self) -> [u8; COMPRESSED_BYTES] {
        let is_odd = self.0[P256_POINT_BYTES - 1] & 1;
        let mut compressed = [0; COMPRESSED_BYTES];
        compressed.copy_from_slice(&self.0[..COMPRESSED_BYTES]);
        compressed[0] = 2 + is_odd;
        compressed
    }

    fn verify(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let Ok(digest) = Digest::import_less_safe(digest, &SHA256) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0).verify_digest(&digest, signature).is_ok()
    }
}

fn verify_k256(key: &secp256k1::PublicKey, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let message = secp256k1::Message::from_digest(*digest);
    ecdsa::Signature::from_compact(signature).is_ok_and(|signature| ecdsa::verify(&signature, message, key).is_ok())
}

fn decode_multibase(text: &str) -> Result<Vec<u8>, KeyError> {
    let base58 = text.strip_prefix(BASE58_BTC).filter(|base58| base58.len() <= MULTIBASE_CHARS_MAX);
    bs58::decode(base58.ok_or(KeyError::Multibase)?).into_vec().map_err(|_| KeyError::Multibase)
}

impl fmt::Display for PublicKey {
    /// The `did:key` form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DID_KEY_PREFIX}{BASE58_BTC}{}", bs58::encode(self.to_bytes()).into_string())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K256_KEY: &str = "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";
    const P256_KEY: &str = "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo";

    #[test]
    fn keys_keep_their_forms() {
        for text in [K256_KEY, P256_KEY] {
            let key = PublicKey::from_multikey(text).expect(text);
            assert_eq!(key.to_string(), text);
            assert_eq!(PublicKey::from_bytes(&key.to_bytes()), Ok(key), "{text}: binary form");
            assert_eq!(PublicKey::from_multikey(&text[DID_KEY_PREFIX.len()..]), Ok(key), "{text}: without did:key:");
            let method = PublicKey::from_verification_method("Multikey", &text[DID_KEY_PREFIX.len()..]);
            assert_eq!(method, Ok(key), "{text}: verification method");
        }
        assert!(size_of::<PublicKey>() <= 72, "keys of all accounts in use are kept in memory");
    }

    #[test]
    fn old_verification_methods_take_both_forms_of_a_point() {
        for (text, method) in
            [(K256_KEY, "EcdsaSecp256k1VerificationKey2019"), (P256_KEY, "EcdsaSecp256r1VerificationKey2019")]
        {
            let key = PublicKey::from_multikey(text).expect(text);
            let uncompressed = match &key {
                PublicKey::K256(key) => key.serialize_uncompressed(),
                PublicKey::P256(point) => point.0,
            };
            for point in [&uncompressed[..], &key.to_bytes()[K256_CODE.len()..]] {
                let multibase = format!("z{}", bs58::encode(point).into_string());
                let bytes = point.len();
                assert_eq!(PublicKey::from_verification_method(method, &multibase), Ok(key), "{method}, {bytes} bytes");
            }
        }
    }

    #[test]
    fn other_keys_are_refused() {
        let multibase = |bytes: &[u8]| format!("z{}", bs58::encode(bytes).into_string());
        let off_curve = [&K256_CODE[..], &[2], &[0xff; 32]].concat();
        let ed25519 = [&[0xed, 0x01][..], &[1; 32]].concat();
        let uncompressed = [&P256_CODE[..], &[4], &[1; 64]].concat();
        let cases = [
            (String::new(), KeyError::Multibase, "empty"),
            ("z".into(), KeyError::Type, "multibase code alone"),
            ("mAAAA".into(), KeyError::Multibase, "base64"),
            ("z0OIl".into(), KeyError::Multibase, "not base58"),
            ("z".repeat(100_000), KeyError::Multibase, "very long"),
            (multibase(&off_curve), KeyError::Point, "not on the curve"),
            (multibase(&ed25519), KeyError::Point, "Ed25519"),
            (multibase(&uncompressed), KeyError::Point, "uncompressed Multikey"),
            (multibase(&[0x80, 0x25, 2].repeat(12)[..35]), KeyError::Type, "unknown multicodec"),
        ];
        for (text, error, what) in cases {
            assert_eq!(PublicKey::from_multikey(&text), Err(error), "{what}");
        }
        let method = PublicKey::from_verification_method("Multikey", K256_KEY);
        assert_eq!(method, Err(KeyError::Multibase), "did:key in a verification method");
        let method = PublicKey::from_verification_method("Ed25519VerificationKey2020", "z");
        assert_eq!(method, Err(KeyError::Type), "unknown verification method");
    }

    /// Protocol 22.
    #[test]
    fn signatures_that_are_out_of_range_are_refused() {
        for text in [K256_KEY, P256_KEY] {
            let key = PublicKey::from_multikey(text).expect(text);
            assert_eq!(key.verify(&[0; 32], &[0; 64]), Err(SignatureError::Mismatch), "{text}: zero");
            assert_eq!(key.verify(&[0; 32], &[0xff; 64]), Err(SignatureError::HighS), "{text}: above the order");
        }
    }
}
