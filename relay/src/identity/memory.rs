//! Identities in memory.

use std::sync::Arc;

use super::Identity;
use crate::memory::{Memo, allocated_bytes, arc_bytes};

/// What is known of a DID, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The identity; none when the DID is known to have none.
    pub(super) identity: Option<Arc<Identity>>,
    /// When it has to be asked for again, in milliseconds since 1970.
    pub(super) good_until_ms: i64,
}

impl Memo for Entry {
    fn bytes_outside(&self) -> usize {
        self.identity.as_ref().map_or(0, |identity| {
            let pds = identity.pds.as_ref().map_or(0, |pds| pds.host.capacity());
            let handle = identity.handle.as_ref().map_or(0, String::capacity);
            arc_bytes(size_of::<Identity>()) + allocated_bytes(pds) + allocated_bytes(handle)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Endpoint;
    use crate::memory::{Remembered, measured};
    use crate::protocol::did::Did;

    #[test]
    fn identities_are_counted_as_they_are_taken() {
        let (identities, measured) = measured::of(|| {
            let identities = Remembered::new(64 << 20, |_: &Entry| false);
            for number in 0..50_000 {
                let did = Did::parse(&format!("did:web:host{number}.example.com")).expect("a DID");
                let pds = Endpoint { host: format!("pds{}.example.com", number % 100), secure: true };
                let handle = (number % 3 > 0).then(|| "x".repeat(number % 100));
                let identity = Identity { key: None, pds: Some(pds), handle, fetched_at_ms: 0 };
                let identity = (number % 7 > 0).then(|| Arc::new(identity));
                identities.put(&did, Entry { identity, good_until_ms: 0 });
            }
            identities
        });
        measured::assert_near(identities.bytes(), measured, 1);
    }
}
