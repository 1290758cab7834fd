//! Who holds memory in a running relay, and what each can do without.

use std::sync::Arc;

use crate::backfill::{Jobs, Web};
use crate::collections::Directory;
use crate::firehose::Firehose;
use crate::host::{Bounds, Hosts};
use crate::identity::Resolver;
use crate::log;
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
    pub(super) web: Web,
    pub(super) log: log::Reader,
}

impl Holders {
    /// Who holds how much, and how each takes another share.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.enter_data_path(&mut ledger);
        self.enter_connections(&mut ledger);
        ledger
    }

    /// What events pass on their way from a host to the log, and what is remembered for it.
    fn enter_data_path(&self, ledger: &mut Ledger) {
        let intake = &self.intake;
        enter(ledger, Owner::Ingest, intake, Intake::ingest_bytes, Intake::set_ingest_bytes);
        enter(ledger, Owner::Parked, intake, Intake::parked_bytes, Intake::set_parked_bytes);
        enter(ledger, Owner::Accounts, intake, Intake::accounts_bytes, Intake::set_accounts_bytes);
        let resolver = &self.resolver;
        enter(ledger, Owner::Identities, resolver, |of| of.memory_bytes(), |of, bytes| of.set_memory_bytes(bytes));
        let store = &self.store;
        enter(ledger, Owner::BlockCache, store, Store::block_cache_bytes, Store::set_block_cache_bytes);
        enter(ledger, Owner::Memtables, store, Store::memtable_bytes, Store::set_memtable_bytes);
        enter(ledger, Owner::Directory, &self.directory, Directory::memory_bytes, Directory::set_memory_bytes);
        let readers = store.clone();
        // Bounded by the number of files that are open at once.
        ledger.count(Owner::TableReaders, move || readers.table_reader_bytes() as u64);
        let log = self.log.clone();
        // Bounded by the size of a group of events, and the number of segments.
        ledger.count(Owner::Log, move || log.memory_bytes() as u64);
        let (jobs, web, asked) = (self.jobs.clone(), self.web.clone(), self.web.clone());
        let count = move || (jobs.memory_bytes() + web.memory_bytes()) as u64;
        ledger.bound(Owner::Backfill, count, move |bytes| asked.set_memory_bytes(bytes as usize));
    }

    /// Connections with hosts and consumers, and the events that consumers share.
    fn enter_connections(&self, ledger: &mut Ledger) {
        let firehose = &self.firehose;
        enter(ledger, Owner::Ring, firehose, |of| of.ring_bytes(), |of, bytes| of.set_ring_bytes(bytes));
        enter(ledger, Owner::Replay, firehose, |of| of.replay_bytes(), |of, bytes| of.set_replay_bytes(bytes));
        let (held, firehose) = (Arc::clone(firehose), Arc::clone(firehose));
        ledger.count(Owner::Consumers, move || held.consumer_bytes());
        ledger.follow(move |plan| {
            firehose.set_consumer_bounds(plan.consumers_max as usize, plan.share(Owner::Consumers));
        });
        let (held, hosts) = (Arc::clone(&self.hosts), Arc::clone(&self.hosts));
        ledger.count(Owner::Hosts, move || held.stream_bytes());
        ledger.follow(move |plan| {
            hosts.set_bounds(Bounds { streams_max: plan.hosts_max, bytes_max: plan.share(Owner::Hosts) });
        });
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
}

/// Enters a part that counts the bytes of an owner and takes another share of them.
fn enter<P: Clone + Send + Sync + 'static>(
    ledger: &mut Ledger,
    owner: Owner,
    part: &P,
    count: fn(&P) -> usize,
    resize: fn(&P, usize),
) {
    let (counted, resized) = (part.clone(), part.clone());
    ledger.bound(owner, move || count(&counted) as u64, move |bytes| resize(&resized, bytes as usize));
}
