//! Who holds memory in a running relay, and what each can do without.

use std::sync::Arc;

use crate::backfill::Jobs;
use crate::collections::Directory;
use crate::firehose::Firehose;
use crate::host::Hosts;
use crate::identity::Resolver;
use crate::memory::{Ledger, Owner, Relief, Step};
use crate::store::Store;
use crate::verify::Intake;

/// The parts that hold memory.
pub(super) struct Holders {
    pub(super) intake: Intake,
    pub(super) store: Store,
    pub(super) resolver: Arc<Resolver>,
    pub(super) directory: Directory,
    pub(super) hosts: Arc<Hosts>,
    pub(super) firehose: Arc<Firehose>,
    pub(super) jobs: Jobs,
}

impl Holders {
    /// Who holds how much, and how each takes another share.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        let intake = self.intake.clone();
        ledger.count(Owner::Ingest, move || intake.ingest_bytes() as u64);
        let firehose = Arc::clone(&self.firehose);
        ledger.count(Owner::Ring, move || firehose.ring_bytes() as u64);
        let resolver = Arc::clone(&self.resolver);
        ledger.count(Owner::Identities, move || resolver.memory_bytes() as u64);
        let store = self.store.clone();
        ledger.count(Owner::BlockCache, move || store.memory_bytes());
        let directory = self.directory.clone();
        ledger.count(Owner::Directory, move || directory.memory_bytes() as u64);
        ledger
    }

    /// What rests under pressure, besides the caches that the ledger shrinks.
    pub(super) fn relief(&self) -> Relief {
        let _ = &self.hosts;
        let mut relief = Relief::default();
        let jobs = self.jobs.clone();
        relief.at(Step::Backfill, move |on| if on { jobs.hold() } else { jobs.release() });
        relief
    }
}
