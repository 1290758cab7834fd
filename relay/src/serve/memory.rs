//! Who holds memory in a running relay, and what each can do without.

use std::sync::Arc;

use crate::backfill::Jobs;
use crate::collections::Directory;
use crate::firehose::Firehose;
use crate::host::{Bounds, Hosts};
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
        self.firehose(&mut ledger);
        self.hosts(&mut ledger);
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
        let mut relief = Relief::default();
        let jobs = self.jobs.clone();
        relief.at(Step::Backfill, move |on| if on { jobs.hold() } else { jobs.release() });
        let firehose = Arc::clone(&self.firehose);
        relief.at(Step::CatchUp, move |on| firehose.slow_catch_up(on));
        let firehose = Arc::clone(&self.firehose);
        relief.at(Step::Consumers, move |on| firehose.refuse_consumers(on));
        relief
    }

    fn firehose(&self, ledger: &mut Ledger) {
        let (held, firehose) = (Arc::clone(&self.firehose), Arc::clone(&self.firehose));
        let resize = move |bytes| firehose.set_ring_bytes(bytes as usize);
        ledger.bound(Owner::Ring, move || held.ring_bytes() as u64, resize);
        let (held, firehose) = (Arc::clone(&self.firehose), Arc::clone(&self.firehose));
        ledger.bound(Owner::Replay, move || held.replay_bytes(), move |bytes| firehose.set_replay_bytes(bytes));
        let (held, firehose) = (Arc::clone(&self.firehose), Arc::clone(&self.firehose));
        ledger.count(Owner::Consumers, move || held.consumer_bytes());
        ledger.follow(move |plan| {
            firehose.set_consumer_bounds(plan.consumers_max as usize, plan.share(Owner::Consumers));
        });
    }

    fn hosts(&self, ledger: &mut Ledger) {
        let (held, hosts) = (Arc::clone(&self.hosts), Arc::clone(&self.hosts));
        ledger.count(Owner::Hosts, move || held.stream_bytes());
        ledger.follow(move |plan| {
            hosts.set_bounds(Bounds { streams_max: plan.hosts_max, bytes_max: plan.share(Owner::Hosts) });
        });
    }
}
