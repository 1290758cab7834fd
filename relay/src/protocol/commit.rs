//! The signed object at the root of a repository (protocol 22).

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::cbor::{CborError, Reader};
use super::cid::Cid;
use super::key::{PublicKey, SignatureError};
use super::tid::{Tid, TidError};

/// Version of the repository format.
const VERSION: u64 = 3;
const SIGNATURE_BYTES: usize = 64;
/// The key `sig` in CBOR.
const SIG_KEY: &[u8] = b"\x63sig";
/// Most fields of a commit: those of which the map's head is one byte. There are six.
const FIELDS_MAX: u64 = 23;
/// Head of a map in CBOR, to which the number of pairs is added.
const MAP_HEAD: u8 = 0xa0;

/// A parsed commit object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The account, as written.
    pub did: &'a str,
    /// Revision that the commit makes.
    pub rev: Tid,
    /// Root of the MST.
    pub data: Cid,
    /// The commit before; null in all but old repositories.
    pub prev: Option<Cid>,
    /// The signature with what it is over.
    pub signature: CommitSignature,
}

/// A commit's signature and the digest of the bytes that it signs; [`CommitSignature::verify`] tells whether it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitSignature {
    digest: [u8; 32],
    signature: [u8; SIGNATURE_BYTES],
}

/// A block that is no commit object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Not DAG-CBOR, or not of the type that a field has.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// More than [`FIELDS_MAX`].
    #[error("{0} fields; the limit is {FIELDS_MAX}")]
    TooManyFields(u64),
    /// A field that every commit has.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// Another version than 3.
    #[error("repository version {0} is not {VERSION}")]
    Version(u64),
    /// Not 64 bytes, like one in DER.
    #[error("signature of {0} bytes is not {SIGNATURE_BYTES} bytes long")]
    SignatureLength(usize),
    /// A revision that is no TID.
    #[error("rev: {0}")]
    Rev(#[from] TidError),
}

impl<'a> Commit<'a> {
    /// Parses a commit object. The signed bytes are the object without `sig`; they are hashed in place, so that fields
    /// that this version does not know are signed content like any other.
    pub fn parse(block: &'a [u8]) -> Result<Commit<'a>, CommitError> {
        let (mut did, mut rev, mut data, mut prev, mut version) = (None, None, None, None, None);
        let mut signature = None;
        let mut reader = Reader::new(block);
        reader.map(|reader, key| {
            match key {
                "did" => did = Some(reader.text()?),
                "rev" => rev = Some(reader.text()?.parse()?),
                "sig" => {
                    let start = reader.position() - SIG_KEY.len();
                    signature = Some((reader.bytes()?, start..reader.position()));
                }
                "data" => data = Some(reader.cid()?),
                "prev" => prev = Some(reader.nullable(Reader::cid)?),
                "version" => version = Some(reader.uint()?),
                _ => reader.skip()?,
            }
            Ok::<_, CommitError>(())
        })?;
        reader.finish()?;
        let version = required(version, "version")?;
        if version != VERSION {
            return Err(CommitError::Version(version));
        }
        let (signature, span) = required(signature, "sig")?;
        let signature = signature.try_into().map_err(|_| CommitError::SignatureLength(signature.len()))?;
        let digest = digest_without(block, span)?;
        Ok(Commit {
            did: required(did, "did")?,
            rev: required(rev, "rev")?,
            data: required(data, "data")?,
            prev: required(prev, "prev")?,
            signature: CommitSignature { digest, signature },
        })
    }
}

impl CommitSignature {
    /// Checks the signature against an account's key.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        key.verify(&self.digest, &self.signature)
    }
}

/// SHA-256 of the map `block` without the pair at `pair`.
fn digest_without(block: &[u8], pair: Range<usize>) -> Result<[u8; 32], CommitError> {
    let mut reader = Reader::new(block);
    let pairs = reader.map_head()?;
    let pairs_left = match pairs {
        1..=FIELDS_MAX => pairs as u8 - 1,
        _ => return Err(CommitError::TooManyFields(pairs)),
    };
    let mut hasher = Sha256::new();
    hasher.update([MAP_HEAD | pairs_left]);
    hasher.update(&block[reader.position()..pair.start]);
    hasher.update(&block[pair.end..]);
    Ok(hasher.finalize().into())
}

fn required<T>(field: Option<T>, name: &'static str) -> Result<T, CommitError> {
    field.ok_or(CommitError::MissingField(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::cbor::{Problem, Writer};
    use crate::protocol::testing::{DID, commit_object};

    fn secret() -> secp256k1::SecretKey {
        secp256k1::SecretKey::from_secret_bytes([7; 32]).unwrap()
    }

    fn block() -> Vec<u8> {
        commit_object(DID, Tid::from_parts(1, 0), &Cid::of(b""), &secret())
    }

    #[test]
    fn signature_covers_all_but_itself() {
        let block = block();
        let key = PublicKey::K256(secp256k1::PublicKey::from_secret_key(&secret()));
        let commit = Commit::parse(&block).unwrap();
        assert_eq!(
            (commit.did, commit.rev, commit.data, commit.prev),
            (DID, Tid::from_parts(1, 0), Cid::of(b""), None)
        );
        assert_eq!(commit.signature.verify(&key), Ok(()));
        let other_did = commit_object("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", commit.rev, &commit.data, &secret());
        let mut forged = Commit::parse(&other_did).unwrap().signature;
        forged.signature = commit.signature.signature;
        assert_eq!(forged.verify(&key), Err(SignatureError::Mismatch), "signature of another object");
    }

    #[test]
    fn unknown_fields_are_signed_content() {
        let block = block();
        let mut extended = Vec::new();
        Writer::new(&mut extended).map(7).raw(&block[1..]).text("zzzzzzzz").uint(1);
        let (plain, extended) = (Commit::parse(&block).unwrap(), Commit::parse(&extended).unwrap());
        assert_ne!(plain.signature.digest, extended.signature.digest);
    }

    /// Protocol 22.
    #[test]
    fn malformed_objects_are_refused() {
        type Fields<'f> = &'f [(&'f str, &'f [u8])];
        let did = &b"\x60"[..];
        let rev = &b"\x6d2222222222222"[..];
        let sig = &[&b"\x58\x40"[..], &[1; 64]].concat()[..];
        let data = &[&b"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20"[..], &[0; 32]].concat()[..];
        let null = &b"\xf6"[..];
        let cases: [(Fields<'_>, CommitError, &str); 6] = [
            (
                &[("did", did), ("sig", sig), ("data", data), ("prev", null), ("version", b"\x03")],
                CommitError::MissingField("rev"),
                "no rev",
            ),
            (
                &[("did", did), ("rev", rev), ("sig", sig), ("data", data), ("version", b"\x03")],
                CommitError::MissingField("prev"),
                "prev left out, which changes what is signed",
            ),
            (
                &[("did", did), ("rev", rev), ("data", data), ("prev", null), ("version", b"\x03")],
                CommitError::MissingField("sig"),
                "unsigned",
            ),
            (&[("version", b"\x02")], CommitError::Version(2), "version 2"),
            (&[("sig", b"\x41\x00"), ("version", b"\x03")], CommitError::SignatureLength(1), "short signature"),
            (&[("rev", b"\x61a"), ("version", b"\x03")], CommitError::Rev(TidError), "rev that is no TID"),
        ];
        for (fields, error, what) in cases {
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes);
            writer.map(fields.len());
            for (key, value) in fields {
                writer.text(key).raw(value);
            }
            assert_eq!(Commit::parse(&bytes), Err(error), "{what}");
        }
        let mut trailing = block();
        trailing.push(0);
        let at = trailing.len() - 1;
        assert_eq!(Commit::parse(&trailing), Err(CborError { at, problem: Problem::Trailing }.into()));
    }
}
