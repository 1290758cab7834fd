//! Signing keys of accounts, of both curves.

use std::sync::Arc;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use relay::protocol::key::PublicKey;
use sha2::{Digest, Sha256};

/// A signature: R and S, 32 bytes each, big-endian.
pub type Signature = [u8; 64];

/// Order of secp256k1, big-endian.
const K256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc,
    0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];
/// Order of P-256, big-endian.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Multicodec of P-256 public keys, as a varint.
const P256_CODE: [u8; 2] = [0x80, 0x24];

/// A private key.
#[derive(Clone)]
pub enum SigningKey {
    /// On secp256k1. Its signatures are the same in every run.
    K256(secp256k1::SecretKey),
    /// On P-256. Its signatures have random parts.
    P256(Arc<EcdsaKeyPair>),
}

impl SigningKey {
    /// The K-256 key of 32 bytes that nobody chooses: any but a handful are a key.
    pub fn k256(secret: [u8; 32]) -> SigningKey {
        SigningKey::K256(secp256k1::SecretKey::from_secret_bytes(secret).expect("a number below the curve's order"))
    }

    /// The P-256 key of 32 bytes that nobody chooses: any but a handful are a key.
    pub fn p256(secret: [u8; 32]) -> SigningKey {
        let public = PrivateKey::from_private_key(&ECDH_P256, &secret).expect("a number below the curve's order");
        let public = public.compute_public_key().expect("every private key has a public one");
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, public.as_ref());
        SigningKey::P256(Arc::new(pair.expect("a pair that belongs together")))
    }

    /// The public key, as the relay reads it.
    pub fn public(&self) -> PublicKey {
        match self {
            SigningKey::K256(key) => PublicKey::K256(key.public_key()),
            SigningKey::P256(pair) => {
                let point = pair.public_key().as_ref();
                let sign = 2 + (point[64] & 1);
                let multikey = [&P256_CODE[..], &[sign], &point[1..33]].concat();
                PublicKey::from_bytes(&multikey).expect("a point of the curve")
            }
        }
    }

    /// Signs the SHA-256 of a message; S is low.
    pub fn sign(&self, message: &[u8]) -> Signature {
        match self {
            SigningKey::K256(key) => {
                let digest = secp256k1::Message::from_digest(Sha256::digest(message).into());
                secp256k1::ecdsa::sign(digest, key).serialize_compact()
            }
            SigningKey::P256(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message).expect("signing needs nothing but the key");
                let signature = signed.as_ref().try_into().expect("64 bytes");
                let other = self.with_other_s(&signature);
                if other[32..] < signature[32..] { other } else { signature }
            }
        }
    }

    /// The other signature that verifies for the same message: high S for low, low for high.
    pub fn with_other_s(&self, signature: &Signature) -> Signature {
        let order = match self {
            SigningKey::K256(_) => &K256_ORDER,
            SigningKey::P256(_) => &P256_ORDER,
        };
        let mut other = *signature;
        let mut borrow = 0;
        for place in (0..32).rev() {
            let difference = i16::from(order[place]) - i16::from(signature[32 + place]) - borrow;
            borrow = i16::from(difference < 0);
            other[32 + place] = difference.rem_euclid(256) as u8;
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::protocol::key::SignatureError;

    #[test]
    fn signatures_verify_and_only_with_low_s() {
        for (key, curve) in [(SigningKey::k256([7; 32]), "K-256"), (SigningKey::p256([7; 32]), "P-256")] {
            for number in 0..20u8 {
                let digest = Sha256::digest([number]).into();
                let signature = key.sign(&[number]);
                assert_eq!(key.public().verify(&digest, &signature), Ok(()), "{curve}, message {number}");
                let high = key.with_other_s(&signature);
                assert_eq!(key.public().verify(&digest, &high), Err(SignatureError::HighS), "{curve}, {number}");
                assert_eq!(key.with_other_s(&high), signature, "{curve}: n - (n - s) is s");
            }
        }
    }
}
