//! Events that wait for an identity, in order for each account and host.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{EVENT_BYTES, Inbound, Stats};
use crate::memory::{Piece, Share};
use crate::protocol::did::Did;

/// What it takes to look up the identity that events wait for: two tasks and their places in tables. Measured for those
/// that wait for their turn to ask; what is asked has a share of its own.
const LOOKUP_BYTES: usize = 3 << 10;

/// Whose events wait behind each other: those of one account from one host. A host that has no say in an account can so
/// hold up nothing but what it sent itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Waiting {
    pub(super) did: Did,
    pub(super) host: u32,
}

/// The shares of memory that waiting events are counted against; clones are the same.
#[derive(Clone)]
pub(super) struct Shares {
    /// Theirs.
    pub(super) parked: Share,
    /// That of all events on their way to the log.
    pub(super) ingest: Share,
}

/// The waiting events of one shard. Their bytes count against a bound of their own, so that an unreachable resolver
/// does not hold up the events of accounts that are known. Beyond it they keep their share of what is on its way to the
/// log: then the hosts are held back, as they must be when the relay meets the network for the first time.
pub(super) struct Parked {
    queues: HashMap<Waiting, Queue>,
    shares: Shares,
    stats: Arc<Stats>,
}

/// Events that wait for one look-up.
struct Queue {
    events: VecDeque<Inbound>,
    _lookup: Piece,
}

impl Parked {
    pub(super) fn new(shares: Shares, stats: Arc<Stats>) -> Parked {
        Parked { queues: HashMap::new(), shares, stats }
    }

    /// Whether events wait, behind which later ones must wait too.
    pub(super) fn is_waiting(&self, key: &Waiting) -> bool {
        self.queues.contains_key(key)
    }

    /// Lets an event wait behind the others.
    pub(super) fn push(&mut self, key: Waiting, mut event: Inbound) {
        let Shares { parked, ingest } = &self.shares;
        if let Some(bytes) = parked.try_take(EVENT_BYTES + event.frame.len()) {
            event.bytes = Some(bytes);
        }
        self.stats.parked(event.frame.len());
        let queue = self.queues.entry(key).or_insert_with(|| {
            let lookup = parked.try_take(LOOKUP_BYTES).unwrap_or_else(|| ingest.overdraw(LOOKUP_BYTES));
            Queue { events: VecDeque::with_capacity(1), _lookup: lookup }
        });
        queue.events.push_back(event);
    }

    /// Takes all that wait, in order.
    pub(super) fn take(&mut self, key: &Waiting) -> impl Iterator<Item = Inbound> + use<> {
        let events = self.queues.remove(key).map(|queue| queue.events).unwrap_or_default();
        events.iter().for_each(|event| self.stats.unparked(event.frame.len()));
        events.into_iter()
    }
}
