//! What following the directory's export says about identities that were looked up before.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::{Identity, millis};
use crate::protocol::did::{Did, Method};

/// What is never read from the export again may be wrong in spite of it: a cache in front of the directory may have
/// answered the look-up with what was outdated already. So every identity is looked up anew in the end.
const VOUCHED_MAX: Duration = Duration::from_secs(21 * 24 * 3600);

const VERSION: u8 = 1;

/// How far an export has been followed. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Operations up to this time of the directory have been read.
    pub(super) after_ms: i64,
    /// None is missed from this time on.
    pub(super) since_ms: i64,
    /// When there was last nothing more to read.
    pub(super) until_ms: i64,
}

impl Position {
    /// The row in which it is remembered, with the address of the export that it belongs to.
    pub(super) fn encode(&self, url: &str) -> Vec<u8> {
        let times = [self.after_ms, self.since_ms, self.until_ms].map(i64::to_be_bytes);
        [&[VERSION], times.as_flattened(), url.as_bytes()].concat()
    }

    /// Reads the row back; `None` when it is malformed, or of another export.
    pub(super) fn decode(row: &[u8], url: &str) -> Option<Position> {
        let (&[version], rest) = row.split_first_chunk()?;
        let (times, of_url) = rest.split_first_chunk::<24>()?;
        if version != VERSION || of_url != url.as_bytes() {
            return None;
        }
        let mut times = times.chunks_exact(8).map(|time| time.try_into().map(i64::from_be_bytes).ok());
        Some(Position { after_ms: times.next()??, since_ms: times.next()??, until_ms: times.next()?? })
    }
}

/// What the follower of an export has told last; nothing unless one is followed.
pub(super) struct Coverage {
    since_ms: AtomicI64,
    until_ms: AtomicI64,
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage { since_ms: AtomicI64::new(i64::MAX), until_ms: AtomicI64::new(i64::MIN) }
    }
}

impl Coverage {
    pub(super) fn set(&self, position: &Position) {
        self.since_ms.store(position.since_ms, Ordering::Relaxed);
        self.until_ms.store(position.until_ms, Ordering::Relaxed);
    }

    /// Up to when an identity that is remembered is known to be right: the look-up, or later. A change would have been
    /// read, and the identity been forgotten.
    pub(super) fn right_until_ms(&self, did: &Did, identity: &Identity) -> i64 {
        let fetched_at_ms = identity.fetched_at_ms;
        if did.method() != Method::Plc || fetched_at_ms < self.since_ms.load(Ordering::Relaxed) {
            return fetched_at_ms;
        }
        let latest = fetched_at_ms.saturating_add(millis(VOUCHED_MAX));
        self.until_ms.load(Ordering::Relaxed).clamp(fetched_at_ms, latest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const URL: &str = "https://plc.example.com";

    #[test]
    fn a_position_reads_back_for_its_export_alone() {
        let position = Position { after_ms: 1, since_ms: -2, until_ms: i64::MAX };
        let row = position.encode(URL);
        assert_eq!(Position::decode(&row, URL), Some(position));
        assert_eq!(Position::decode(&row, "https://other.example.com"), None);
        assert_eq!(Position::decode(&row[..20], URL), None);
        assert_eq!(Position::decode(&[], URL), None);
        assert_eq!(Position::decode(&[&[VERSION + 1], &row[1..]].concat(), URL), None);
    }

    #[test]
    fn what_was_looked_up_while_the_export_was_followed_stays_right() {
        let coverage = Coverage::default();
        let [plc, web] =
            ["did:plc:7iza6de2dwap2sbkpav7c6c6", "did:web:example.com"].map(|did| Did::parse(did).unwrap());
        let right_until = |did: &Did, fetched_at_ms| {
            coverage.right_until_ms(did, &Identity { key: None, pds: None, handle: None, fetched_at_ms })
        };
        assert_eq!(right_until(&plc, 500), 500, "none is followed");
        coverage.set(&Position { after_ms: 0, since_ms: 100, until_ms: 1000 });
        assert_eq!(right_until(&plc, 99), 99, "from before");
        assert_eq!(right_until(&plc, 100), 1000);
        assert_eq!(right_until(&plc, 1500), 1500, "newer than what has been read");
        assert_eq!(right_until(&web, 500), 500, "not of the directory");
        let until_ms = 10 * millis(VOUCHED_MAX);
        coverage.set(&Position { after_ms: 0, since_ms: 100, until_ms });
        assert_eq!(right_until(&plc, 100), 100 + millis(VOUCHED_MAX), "not for ever");
    }
}
