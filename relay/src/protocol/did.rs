//! Decentralized identifiers of accounts.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::syntax;

/// The DID of an account, `did:plc:…` or `did:web:…`, in its normal form (protocol 16); cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(Arc<str>);

/// How a DID is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By the PLC directory.
    Plc,
    /// By its host.
    Web,
}

/// Text that is not the DID of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// Not a DID at all.
    #[error("malformed DID")]
    Syntax,
    /// Neither `plc` nor `web`.
    #[error("DID method is neither plc nor web")]
    Method,
    /// Not 24 characters of base32.
    #[error("did:plc needs 24 characters of a-z and 2-7")]
    Plc,
    /// Not a host name.
    #[error("did:web needs a host name alone, without a path; a port is only for localhost")]
    Web,
}

const PLC_PREFIX: &str = "did:plc:";
const WEB_PREFIX: &str = "did:web:";
const PLC_CHARS: usize = 24;
/// Bytes that the characters of a `did:plc` stand for.
pub const PLC_BYTES: usize = 15;
const PLC_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// A colon in a method-specific identifier.
const ESCAPED_COLON: &str = "%3A";

impl Did {
    /// Reads a DID and brings it to its normal form: lower-case, but for the escape in front of a port.
    pub fn parse(text: &str) -> Result<Did, DidError> {
        if !syntax::is_did(text) {
            return Err(DidError::Syntax);
        }
        if let Some(identifier) = text.strip_prefix(PLC_PREFIX) {
            if !is_plc_identifier(identifier) {
                return Err(DidError::Plc);
            }
        } else if let Some(identifier) = text.strip_prefix(WEB_PREFIX) {
            if !is_web_identifier(identifier) {
                return Err(DidError::Web);
            }
        } else {
            return Err(DidError::Method);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'%') {
            return Ok(Did(text.to_ascii_lowercase().replace("%3a", ESCAPED_COLON).into()));
        }
        Ok(Did(text.into()))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How it is resolved.
    pub fn method(&self) -> Method {
        if self.0.starts_with(PLC_PREFIX) { Method::Plc } else { Method::Web }
    }

    /// What follows the method: 24 characters of a `did:plc`, the escaped host of a `did:web`.
    pub fn identifier(&self) -> &str {
        &self.0[PLC_PREFIX.len()..]
    }

    /// The bytes of a `did:plc`: its characters are base32.
    pub fn plc_bytes(&self) -> Option<[u8; PLC_BYTES]> {
        if self.method() != Method::Plc {
            return None;
        }
        let mut bits = 0u128;
        for char in self.identifier().bytes() {
            let digit = match char {
                b'a'..=b'z' => char - b'a',
                b'2'..=b'7' => char - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u128::from(digit);
        }
        bits.to_be_bytes().last_chunk().copied()
    }

    /// The `did:plc` of these bytes.
    pub fn of_plc_bytes(bytes: &[u8; PLC_BYTES]) -> Did {
        let mut text = *b"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
        for (chars, bytes) in text[PLC_PREFIX.len()..].chunks_exact_mut(8).zip(bytes.chunks_exact(5)) {
            let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            for (place, char) in chars.iter_mut().rev().enumerate() {
                *char = PLC_ALPHABET[(bits >> (5 * place) & 31) as usize];
            }
        }
        Did(String::from_utf8_lossy(&text).into())
    }
}

fn is_plc_identifier(identifier: &str) -> bool {
    identifier.len() == PLC_CHARS
        && identifier.bytes().all(|byte| byte.is_ascii_alphabetic() || (b'2'..=b'7').contains(&byte))
}

fn is_web_identifier(identifier: &str) -> bool {
    let lower = identifier.to_ascii_lowercase();
    match lower.split_once("%3a") {
        Some((host, port)) => host == "localhost" && !port.starts_with('+') && port.parse::<u16>().is_ok(),
        None => lower == "localhost" || syntax::is_handle(&lower),
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Did {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Did {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE32_NOPAD;
    use proptest::prelude::*;

    use super::*;

    /// Protocol 16.
    #[test]
    fn dids_of_accounts_are_normalised() {
        let cases = [
            ("did:plc:7iza6de2dwap2sbkpav7c6c6", Method::Plc, "did:plc:7iza6de2dwap2sbkpav7c6c6"),
            ("did:plc:7IZA6de2dwap2sbkpav7c6c6", Method::Plc, "did:plc:7iza6de2dwap2sbkpav7c6c6"),
            ("did:web:Example.COM", Method::Web, "did:web:example.com"),
            ("did:web:localhost", Method::Web, "did:web:localhost"),
            ("did:web:localhost%3A2583", Method::Web, "did:web:localhost%3A2583"),
            ("did:web:localhost%3a2583", Method::Web, "did:web:localhost%3A2583"),
            ("did:web:LOCALHOST%3A2583", Method::Web, "did:web:localhost%3A2583"),
        ];
        for (text, method, normal) in cases {
            let did = Did::parse(text);
            assert_eq!(did.as_ref().map(Did::as_str), Ok(normal), "{text}");
            assert_eq!(did.map(|did| did.method()), Ok(method), "{text}");
        }
    }

    /// Protocol 16.
    #[test]
    fn other_dids_are_refused() {
        let cases = [
            ("did:plc:7iza6de2dwap2sbkpav7c6c", DidError::Plc),
            ("did:plc:7iza6de2dwap2sbkpav7c6c1", DidError::Plc),
            ("did:web:example.com:user", DidError::Web),
            ("did:web:example.com%3A8080", DidError::Web),
            ("did:web:localhost%3A", DidError::Web),
            ("did:web:localhost%3A99999", DidError::Web),
            ("did:web:127.0.0.1", DidError::Web),
            ("did:web:example", DidError::Web),
            ("did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N", DidError::Method),
            ("DID:plc:7iza6de2dwap2sbkpav7c6c6", DidError::Syntax),
            ("did:plc:", DidError::Syntax),
            ("", DidError::Syntax),
        ];
        for (text, error) in cases {
            assert_eq!(Did::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_did_plc_is_base32_of_its_bytes(bytes: [u8; PLC_BYTES]) {
            let did = Did::of_plc_bytes(&bytes);
            let text = format!("did:plc:{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase());
            prop_assert_eq!(Did::parse(&text), Ok(did.clone()));
            prop_assert_eq!(did.plc_bytes(), Some(bytes));
        }
    }
}
