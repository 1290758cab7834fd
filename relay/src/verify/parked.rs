//! Events that wait for an identity, in order for each account.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Inbound, Stats};
use crate::protocol::did::Did;

/// The waiting events of one shard. Their bytes count against a bound of their own, so that an unreachable resolver
/// does not hold up the events of accounts that are known. Beyond it they keep their share of what is on its way to the
/// log: then the hosts are held back, as they must be when the relay meets the network for the first time.
pub(super) struct Parked {
    queues: HashMap<Did, VecDeque<Inbound>>,
    bytes: Arc<Semaphore>,
    stats: Arc<Stats>,
}

impl Parked {
    pub(super) fn new(bytes: Arc<Semaphore>, stats: Arc<Stats>) -> Parked {
        Parked { queues: HashMap::new(), bytes, stats }
    }

    /// Whether events of `did` wait, behind which later ones must wait too.
    pub(super) fn is_waiting(&self, did: &Did) -> bool {
        self.queues.contains_key(did)
    }

    /// Lets an event wait behind those of its account.
    pub(super) fn push(&mut self, did: &Did, mut event: Inbound) {
        let wanted = u32::try_from(event.frame.len()).unwrap_or(u32::MAX);
        if let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(wanted) {
            event.bytes = Some(bytes);
        }
        self.stats.parked(event.frame.len());
        self.queues.entry(did.clone()).or_default().push_back(event);
    }

    /// Takes all that wait for `did`, in order.
    pub(super) fn take(&mut self, did: &Did) -> impl Iterator<Item = Inbound> + use<> {
        let events = self.queues.remove(did).unwrap_or_default();
        events.iter().for_each(|event| self.stats.unparked(event.frame.len()));
        events.into_iter()
    }
}
