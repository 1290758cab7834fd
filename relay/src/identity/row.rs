//! The bytes in which an identity is remembered.

use std::time::Duration;

use super::{Endpoint, Identity, millis, now_ms};
use crate::protocol::key::PublicKey;

/// An identity that is older is of no use: it is past its time however that is counted, and too old for an emergency.
const KEPT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

const VERSION: u8 = 1;
const HAS_KEY: u8 = 1;
const HAS_PDS: u8 = 2;
const IS_SECURE: u8 = 4;
const HAS_HANDLE: u8 = 8;

/// The row: version, flags, fetched at (i64, milliseconds), key; then the PDS's host behind its length (u16), and the
/// handle up to the end. Big-endian.
pub(super) fn encode(identity: &Identity) -> Vec<u8> {
    let Identity { key, pds, handle, fetched_at_ms } = identity;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(key.is_some(), HAS_KEY)
        | flag(pds.is_some(), HAS_PDS)
        | flag(pds.as_ref().is_some_and(|pds| pds.secure), IS_SECURE)
        | flag(handle.is_some(), HAS_HANDLE);
    let mut row = vec![VERSION, flags];
    row.extend(fetched_at_ms.to_be_bytes());
    row.extend(key.iter().flat_map(PublicKey::to_bytes));
    // A host name has 253 bytes at most, and a port.
    if let Some((pds, length)) = pds.as_ref().and_then(|pds| Some((pds, u16::try_from(pds.host.len()).ok()?))) {
        row.extend(length.to_be_bytes());
        row.extend(pds.host.as_bytes());
    }
    row.extend(handle.iter().flat_map(|handle| handle.as_bytes()));
    row
}

/// Reads a row back; `None` when it is malformed or of another version, and the identity has to be asked for again.
pub(super) fn decode(row: &[u8]) -> Option<Identity> {
    let (&[version, flags], rest) = row.split_first_chunk()?;
    if version != VERSION {
        return None;
    }
    let (fetched_at_ms, mut rest) = rest.split_first_chunk()?;
    let mut identity =
        Identity { key: None, pds: None, handle: None, fetched_at_ms: i64::from_be_bytes(*fetched_at_ms) };
    if flags & HAS_KEY != 0 {
        let (key, after) = rest.split_at_checked(PublicKey::BYTES)?;
        identity.key = Some(PublicKey::from_bytes(key).ok()?);
        rest = after;
    }
    if flags & HAS_PDS != 0 {
        let (length, after) = rest.split_first_chunk()?;
        let (host, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
        identity.pds = Some(Endpoint { host: str::from_utf8(host).ok()?.to_owned(), secure: flags & IS_SECURE != 0 });
        rest = after;
    }
    if flags & HAS_HANDLE != 0 {
        identity.handle = Some(str::from_utf8(rest).ok()?.to_owned());
        rest = &[];
    }
    rest.is_empty().then_some(identity)
}

/// Whether a row can go: the store asks for each when it tidies up. Keys that are not DIDs are not of identities.
pub fn is_worthless(key: &[u8], row: &[u8]) -> bool {
    let fetched_at_ms = || match row {
        [VERSION, _, rest @ ..] => Some(i64::from_be_bytes(*rest.first_chunk()?)),
        _ => None,
    };
    key.starts_with(b"did:") && fetched_at_ms().is_none_or(|at| at < now_ms() - millis(KEPT_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn identities() -> impl Strategy<Value = Identity> {
        let keys = prop::sample::select(vec![
            None,
            Some("zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc"),
            Some("zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo"),
        ]);
        let pds = prop::option::of(("[a-z.]{1,253}(:[0-9]{1,5})?", any::<bool>()));
        (keys, pds, prop::option::of("[a-z.]{0,253}"), any::<i64>()).prop_map(|(key, pds, handle, fetched_at_ms)| {
            Identity {
                key: key.map(|key| PublicKey::from_multikey(key).unwrap()),
                pds: pds.map(|(host, secure)| Endpoint { host, secure }),
                handle,
                fetched_at_ms,
            }
        })
    }

    proptest! {
        #[test]
        fn a_row_reads_back_as_it_was(identity in identities()) {
            prop_assert_eq!(decode(&encode(&identity)), Some(identity));
        }

        #[test]
        fn damaged_rows_are_no_identity_and_no_panic(identity in identities(), cut in any::<prop::sample::Index>()) {
            let row = encode(&identity);
            let cut = cut.index(row.len());
            // What is cut off a handle cannot be seen.
            let whole = row.len() - identity.handle.as_ref().map_or(0, String::len);
            prop_assert!(cut >= whole || decode(&row[..cut]).is_none());
            let mut other = row.clone();
            other[0] = VERSION + 1;
            prop_assert_eq!(decode(&other), None, "another version");
        }

        #[test]
        fn any_bytes_are_no_panic(row in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (decode(&row), is_worthless(b"did:plc:", &row));
        }
    }

    #[test]
    fn a_row_goes_when_it_is_of_no_use() {
        let row = |age: Duration| {
            let fetched_at_ms = now_ms() - millis(age);
            encode(&Identity { key: None, pds: None, handle: None, fetched_at_ms })
        };
        let day = Duration::from_secs(24 * 3600);
        assert!(!is_worthless(b"did:web:example.com", &row(29 * day)));
        assert!(is_worthless(b"did:web:example.com", &row(31 * day)));
        assert!(is_worthless(b"did:web:example.com", &row(day)[..9]), "it cannot be read");
        assert!(is_worthless(b"did:web:example.com", &[&[VERSION + 1], &row(day)[1..]].concat()), "another version");
        assert!(!is_worthless(b"export", &[]), "not an identity");
    }
}
