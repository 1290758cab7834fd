//! The parts of a relay that crawls and verifications work with, in a simulated network; and who runs their steps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use relay::account::{Account, Accounts, Repo};
use relay::backfill::{Context, Crawl, Part, Step, Trouble, Verify, Web, Work};
use relay::collections::{Directory, Edit};
use relay::config::{Config, Settings};
use relay::decisions::{Decisions, HostRow, HostStatus, OwnLimits};
use relay::host::{self, Hosts, HostsContext, RepoStatuses};
use relay::identity::{self, Resolver};
use relay::log::{self, Log};
use relay::protocol::cid::Cid;
use relay::protocol::did::Did;
use relay::protocol::nsid::Nsid;
use relay::protocol::tid::Tid;
use relay::store::{Column, Sizes, Store};
use relay::verify::{self, Intake, Outlet};
use rocksdb::WriteBatch;
use sim::{Host, Network};
use tokio::sync::watch;
use tokio::time::sleep;

/// Faster than any host of a test answers.
const REQUESTS_PER_SECOND: f64 = 10_000.0;
/// Rounds of a job that does not end.
const ROUNDS_MAX: usize = 10_000;

pub const POSTS: &str = "app.example.post";
pub const LIKES: &str = "app.example.like";
pub const LISTS: &str = "app.example.list";

/// A relay that knows some hosts.
pub struct Rig {
    pub network: Network,
    pub context: Context,
    store: Store,
    _parts: (Intake, Outlet, watch::Sender<bool>, Log, tempfile::TempDir),
}

impl Rig {
    /// It knows these hosts, by ids from 1 on.
    pub async fn new(seed: u64, hosts: &[&Host]) -> Rig {
        let rows = hosts.iter().map(|host| (host.name(), HostStatus::Active));
        Rig::with_hosts(seed, &rows.collect::<Vec<_>>()).await
    }

    /// It knows hosts of these names, by ids from 1 on.
    pub async fn with_hosts(seed: u64, hosts: &[(&str, HostStatus)]) -> Rig {
        let network = Network::start(seed).await;
        let folder = tempfile::tempdir().unwrap();
        let config = config(&network, &folder);
        let store =
            Store::open(&folder.path().join("store"), Sizes { block_cache: 1 << 20, memtables: 1 << 20 }).unwrap();
        let (log, reader) = Log::open(log::Options::new(folder.path().join("log"))).unwrap();
        let resolver = Resolver::new(identity::Options {
            plc_url: network.plc.url(),
            export_url: None,
            allow_insecure: true,
            database: store.database(),
            column: Column::Identity.name(),
            memory_bytes: 1 << 20,
        });
        let resolver = resolver.unwrap();
        let accounts = Accounts::new(store.clone());
        let limits = verify::Limits { ingest_bytes: 1 << 20, parked_bytes: 1 << 20, accounts_bytes: 1 << 20 };
        let statuses = Arc::new(RepoStatuses::new(true).unwrap());
        let parts = verify::Parts { resolver: Arc::clone(&resolver), accounts: accounts.clone(), statuses, limits };
        let (intake, outlet) = verify::start(parts, Arc::default()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let decisions = Decisions::open(&config.database_url).await.unwrap();
        let (intake_too, store_too) = (intake.clone(), store.clone());
        let bounds = host::Bounds { streams_max: 100, bytes_max: 0 };
        let parts =
            host::Parts { intake: intake_too, stop: stopping, decisions, store: store_too, log: reader, bounds };
        let rows = hosts.iter().zip(1..).map(|((name, status), id)| host_row(id, name, *status)).collect();
        let none = HashMap::new();
        let hosts = HostsContext::new(&config, parts).unwrap();
        let hosts = Arc::new(Hosts::new(hosts, config, rows, HashMap::new(), &none, &none));
        let web = Web::new(true).unwrap().at_rate(Some(REQUESTS_PER_SECOND));
        let directory = Directory::open(store.clone(), 1 << 20).unwrap();
        let context = Context { web, directory, accounts, hosts, resolver, allow_insecure: true };
        Rig { network, context, store, _parts: (intake, outlet, stop, log, folder) }
    }

    /// Accounts on a host, in the order in which it lists them, and with what it says that they have.
    pub fn accounts(&self, host: &Host, count: usize, collections: &[&str]) -> Vec<Did> {
        let mut dids: Vec<String> = (0..count).map(|_| self.network.account(host).did).collect();
        dids.sort_unstable();
        dids.iter().for_each(|did| host.set_account(did, collections, None));
        dids.iter().map(|text| did(text)).collect()
    }

    /// The relay has passed events of an account.
    pub fn remember(&self, did: &Did, account: &Account) {
        let mut rows = WriteBatch::default();
        self.context.accounts.put(&mut rows, did, None, account);
        self.store.write(&rows).unwrap();
    }

    /// The directory knows collections of an account.
    pub fn list(&self, did: &Did, collections: &[&str]) {
        let edits: Vec<Edit> = collections.iter().map(|name| Edit::Add(did.clone(), nsid(name))).collect();
        self.context.directory.apply(&edits, |_| None).unwrap();
    }

    pub fn crawl(&self, hosts: &[&Host]) -> Crawl {
        Crawl::new(self.context.clone(), hosts.iter().map(|host| host.name().to_owned()).collect())
    }

    pub fn verify(&self) -> Verify {
        Verify::new(self.context.clone())
    }
}

fn config(network: &Network, folder: &tempfile::TempDir) -> Config {
    let settings = Settings {
        data_dir: Some(folder.path().to_owned()),
        plc_url: Some(network.plc.url()),
        allow_insecure_hosts: Some(true),
        ..Settings::default()
    };
    settings.resolve().unwrap()
}

fn host_row(id: u32, name: &str, status: HostStatus) -> HostRow {
    HostRow {
        id,
        hostname: name.to_owned(),
        is_insecure: true,
        status,
        limits: OwnLimits::default(),
        validation: None,
        added_at_ms: 0,
        failures: 0,
        last_error: None,
        last_error_at_ms: None,
    }
}

/// An account on a host, by its id, of which this revision was passed.
pub fn row(host: u32, rev: Option<Tid>) -> Account {
    let repo = rev.map(|rev| Repo { rev, commit: Cid::of(b""), data: None });
    Account { repo, ..Account::new(host) }
}

pub fn did(text: &str) -> Did {
    Did::parse(text).unwrap()
}

pub fn nsid(text: &str) -> Nsid {
    Nsid::parse(text).unwrap()
}

/// A part at its begin.
pub fn begin(key: &str) -> Part {
    Part { key: key.to_owned(), cursor: None, seen: 0, steps: 0 }
}

/// What a whole job has found.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// What its edits have made of an empty directory: the collections of each account.
    pub pairs: BTreeMap<Did, BTreeSet<Nsid>>,
    pub edits: Vec<Edit>,
    pub classes: BTreeMap<String, u64>,
    pub seen: u64,
}

impl Found {
    fn take(&mut self, step: &Step) {
        self.seen += step.seen;
        self.edits.extend(step.edits.clone());
        for (class, count) in &step.classes {
            *self.classes.entry(class.clone()).or_default() += count;
        }
        for edit in &step.edits {
            match edit {
                Edit::Add(did, name) => drop(self.pairs.entry(did.clone()).or_default().insert(name.clone())),
                Edit::Replace { did, collections, .. } => {
                    self.pairs.insert(did.clone(), collections.iter().cloned().collect());
                }
                Edit::Forget(did) => drop(self.pairs.remove(did)),
                Edit::Hide(_) | Edit::Show(_) => {}
            }
        }
    }

    /// Counts of the classes, as a table.
    pub fn classes(&self) -> Vec<(&str, u64)> {
        self.classes.iter().map(|(class, count)| (class.as_str(), *count)).collect()
    }
}

/// Runs a part to its end as the runner of jobs does, without its patience: what waits is tried again as soon as it may
/// be, accounts that are put off at the end, until none is left.
pub async fn run(work: &dyn Work, mut part: Part) -> Result<Found, Trouble> {
    let (mut found, mut again) = (Found::default(), Vec::new());
    for _ in 0..ROUNDS_MAX {
        let step = match work.step(&part).await {
            Ok(step) => step,
            Err(Trouble::Wait { after, .. }) => {
                sleep(after.unwrap_or_default()).await;
                continue;
            }
            Err(trouble) => return Err(trouble),
        };
        found.take(&step);
        again.extend(step.again.iter().map(|(did, _)| did.clone()));
        part = Part { cursor: step.cursor.clone(), seen: part.seen + step.seen, steps: part.steps + 1, ..part };
        if part.cursor.is_none() {
            retry(work, &part, again, &mut found).await?;
            return Ok(found);
        }
    }
    panic!("no end after {ROUNDS_MAX} steps: {part:?}");
}

async fn retry(work: &dyn Work, part: &Part, mut again: Vec<Did>, found: &mut Found) -> Result<(), Trouble> {
    for _ in 0..ROUNDS_MAX {
        if again.is_empty() {
            return Ok(());
        }
        match work.retry(part, &again).await {
            Ok(step) => {
                found.take(&step);
                again = step.again.into_iter().map(|(did, _)| did).collect();
            }
            Err(Trouble::Wait { after, .. }) => sleep(after.unwrap_or_default()).await,
            Err(trouble) => return Err(trouble),
        }
    }
    panic!("{} accounts are put off for ever", again.len());
}
