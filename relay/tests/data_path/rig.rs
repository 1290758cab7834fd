//! The data path from a host to the log without its ends: events are put in by hand, and a stand-in for the sequencer
//! takes them out.

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "every test file uses a part")]

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use relay::account::Accounts;
use relay::config::HostLimits;
use relay::decisions::HostStatus;
use relay::host::{Arrival, Host, HostName, Progress, RepoStatuses};
use relay::identity::{self, Resolver};
use relay::protocol::frame::FRAME_BYTES_MAX;
use relay::store::{Column, Sizes, Store};
use relay::verify::{self, Inbound, Intake, Outlet, Source};
use rocksdb::WriteBatch;
use sim::{Account, Network};
use tokio::sync::Semaphore;

const HOST: &str = "127.0.0.1:2583";

/// Frames that came out, by account, in their order.
pub type Passed = Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>>;

pub struct Rig {
    pub network: Network,
    pub intake: Intake,
    pub resolver: Arc<Resolver>,
    pub store: Store,
    pub passed: Passed,
    host: Arc<Host>,
    in_flight: Arc<Semaphore>,
    sequencer: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// An event of an account.
pub struct Event {
    pub did: String,
    pub seq: u64,
    pub frame: Vec<u8>,
}

impl Rig {
    /// With shares as small as they become.
    pub async fn new(seed: u64) -> Rig {
        let network = Network::start(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Sizes { block_cache: 0, memtables: 0 }).unwrap();
        let resolver = Resolver::new(identity::Options {
            plc_url: network.plc.url(),
            export_url: None,
            allow_insecure: true,
            database: store.database(),
            column: Column::Identity.name(),
            memory_bytes: 0,
        });
        let resolver = resolver.unwrap();
        let parts = verify::Parts {
            resolver: Arc::clone(&resolver),
            accounts: Accounts::new(store.clone()),
            statuses: Arc::new(RepoStatuses::new(true).unwrap()),
            limits: verify::Limits { ingest_bytes: 0, parked_bytes: 0, accounts_bytes: 0 },
        };
        let (intake, outlet) = verify::start(parts, Arc::default()).unwrap();
        let passed = Passed::default();
        let sequencer = std::thread::spawn({
            let (store, passed) = (store.clone(), Arc::clone(&passed));
            move || sequence(outlet, &store, &passed)
        });
        let limits = HostLimits { accounts: None, events_per_second: None };
        let name = HostName::parse(HOST, true).unwrap();
        let host = Arc::new(Host::new(1, name, limits, HostStatus::Active, Progress::default(), 0));
        let in_flight = Arc::new(Semaphore::new(FRAME_BYTES_MAX * 100));
        Rig { network, intake, resolver, store, passed, host, in_flight, sequencer, _folder: folder }
    }

    /// So many accounts that nobody has looked up yet.
    pub fn accounts(&self, count: usize) -> Vec<Account> {
        let account = |_| {
            let account = self.network.unregistered_account();
            self.network.plc.register(&account, HOST);
            account
        };
        (0..count).map(account).collect()
    }

    /// So many posts of each account, in turns.
    pub fn posts(&self, accounts: &mut [Account], rounds: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..rounds {
            for account in accounts.iter_mut() {
                let seq = events.len() as u64 + 1;
                events.push(Event { did: account.did.clone(), seq, frame: account.post().encode(seq) });
            }
        }
        events
    }

    /// Puts an event in, once there is room for it.
    pub async fn put(&self, event: &Event) {
        let share = Arc::clone(&self.in_flight).acquire_owned().await.unwrap();
        let place = self.intake.reserve(&event.did, event.frame.len()).await.unwrap();
        assert!(matches!(self.host.begin(event.seq), Arrival::New));
        place.put(Inbound::new(Arc::clone(&self.host), event.seq, event.frame.as_slice().into(), share));
    }

    /// Bytes of events on their way, and of what they wait for.
    pub fn held(&self) -> usize {
        self.intake.ingest_bytes() + self.intake.parked_bytes()
    }

    /// How many have come out.
    pub fn count(&self) -> usize {
        self.passed.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Lets all that is in come out, and stops.
    pub async fn end(self) -> (Intake, Passed) {
        self.intake.drain().await;
        let sequencer = self.sequencer;
        tokio::task::spawn_blocking(move || sequencer.join()).await.unwrap().unwrap();
        (self.intake, self.passed)
    }
}

/// What the sequencer does of it: rows, and that they are applied, and that the event is finished.
fn sequence(mut outlet: Outlet, store: &Store, passed: &Passed) {
    let accounts = Accounts::new(store.clone());
    while let Some(event) = outlet.events.blocking_recv() {
        let mut rows = WriteBatch::default();
        if let Some(change) = &event.change {
            accounts.put(&mut rows, &event.did, change.before.as_ref(), &change.after);
        }
        store.write(&rows).unwrap();
        outlet.applied[event.shard].fetch_add(1, Ordering::Release);
        let frame = event.source.frame().to_vec();
        passed.lock().unwrap().entry(event.did.to_string()).or_default().push(frame);
        if let Source::Host(inbound) = event.source {
            inbound.host.finish(inbound.seq);
        }
    }
}

/// Fails unless exactly these events came out, those of each account in their order.
#[track_caller]
pub fn assert_passed(passed: &Passed, events: &[Event]) {
    let mut expected: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    events.iter().for_each(|event| expected.entry(&event.did).or_default().push(&event.frame));
    let passed = passed.lock().unwrap();
    assert_eq!(passed.len(), expected.len(), "accounts");
    for (did, frames) in expected {
        let came = passed.get(did).map(Vec::as_slice).unwrap_or_default();
        assert!(
            came.iter().eq(frames.iter()),
            "{did}: {} of {} events came, or in another order",
            came.len(),
            frames.len()
        );
    }
}
