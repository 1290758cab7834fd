//! Measures the directory of collections by itself: import, size on disk, pages, and what an event costs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rand::{Rng, SeedableRng, rngs::StdRng};
use relay::account::Account;
use relay::collections::{Directory, Edit, Note, Touch};
use relay::protocol::did::Did;
use relay::protocol::nsid::Nsid;
use relay::store::{Column, Sizes, Store};

/// Measures the directory of collections: import, size on disk, pages, and what an event costs
#[derive(Parser)]
struct Arguments {
    /// Pairs of an account and a collection
    #[arg(long, default_value_t = 10_000_000)]
    pairs: usize,

    /// Accounts
    #[arg(long, default_value_t = 1_900_000)]
    accounts: usize,

    /// Collections; the n-th of them has an n-th of the accounts of the largest (Zipf)
    #[arg(long, default_value_t = 1000)]
    collections: usize,

    /// Block cache of the store, in MiB
    #[arg(long, default_value_t = 64)]
    cache: usize,

    /// Folder in which the directory is put for a while, about 1 GB of it [default: the system's folder for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Pairs in a page of an import, and accounts in a page that is read.
const PAGE: usize = 1000;
/// Pages that are read.
const READS: usize = 5000;
/// Events of which the cost is measured; the table of pairs seen lately holds more.
const EVENTS: usize = 200_000;
/// Events in one group commit.
const GROUP: usize = 512;
const MEMTABLES_BYTES: usize = 25 << 20;
const DIRECTORY_BYTES: usize = 8 << 20;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let dir = tempfile::tempdir_in(arguments.dir.clone().unwrap_or_else(std::env::temp_dir))
        .context("no folder for the data")?;
    let store = Store::open(dir.path(), Sizes { block_cache: arguments.cache << 20, memtables: MEMTABLES_BYTES })?;
    let directory = Directory::open(store.clone(), DIRECTORY_BYTES)?;
    let network = Network::new(&arguments);

    let pairs = import(&directory, &network)?;
    store.flush()?;
    until_merged(&store);
    sizes("merged in the background", &store, pairs);
    read_pages("merged in the background", &directory, &network)?;
    let start = Instant::now();
    for column in [Column::Collection, Column::Repo] {
        store.compact(column);
    }
    println!("all merged: {:.1} s", start.elapsed().as_secs_f64());
    sizes("all merged", &store, pairs);
    read_pages("all merged", &directory, &network)?;
    events(&directory, &network)?;
    println!("memory: directory {} KiB, store {} KiB", directory.memory_bytes() >> 10, store.memory_bytes() >> 10);
    Ok(())
}

/// Who has what.
struct Network {
    accounts: Vec<Did>,
    /// Each with the number of its accounts.
    collections: Vec<(Nsid, usize)>,
}

impl Network {
    fn new(arguments: &Arguments) -> Network {
        let mut random = StdRng::seed_from_u64(1);
        let accounts: Vec<_> = (0..arguments.accounts).map(|_| Did::of_plc_bytes(&random.random())).collect();
        let share: f64 = (1..=arguments.collections).map(|rank| 1.0 / rank as f64).sum();
        let size = |rank: usize| (arguments.pairs as f64 / share / rank as f64) as usize;
        let collections = (1..=arguments.collections).map(|rank| (collection(rank), size(rank).min(accounts.len())));
        let collections = collections.collect();
        Network { accounts, collections }
    }

    /// The accounts of a collection, each once and in no order.
    fn members(&self, rank: usize) -> impl Iterator<Item = &Did> {
        // A prime that divides no number of accounts that anybody asks for.
        const STEP: usize = 1_000_000_007;
        let offset = rank * 7919;
        (0..self.collections[rank].1).map(move |i| &self.accounts[(offset + i) * STEP % self.accounts.len()])
    }
}

fn collection(number: usize) -> Nsid {
    Nsid::parse(&format!("com.example.measured.record{number}")).expect("an NSID")
}

/// As jobs do it: in pages, each durable with a note of how far its source was read. Returns the pairs.
fn import(directory: &Directory, network: &Network) -> anyhow::Result<u64> {
    let mut times = Vec::new();
    let mut pairs = 0;
    let start = Instant::now();
    for (rank, (name, _)) in network.collections.iter().enumerate() {
        let members: Vec<_> = network.members(rank).collect();
        for page in members.chunks(PAGE) {
            let edits: Vec<_> = page.iter().map(|did| Edit::Add((*did).clone(), name.clone())).collect();
            let cursor = page.last().map(|did| did.as_str().as_bytes().to_vec());
            let start = Instant::now();
            let tally = directory.apply(&edits, |_| Some(Note { name: name.as_str().to_owned(), value: cursor }))?;
            times.push(start.elapsed());
            pairs += tally.added;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("import: {pairs} pairs in {seconds:.1} s, {:.0} pairs/s", pairs as f64 / seconds);
    print_times("import of a page, durable", times);
    Ok(pairs)
}

/// Waits for the store to have no more files to merge.
fn until_merged(store: &Store) {
    let database = store.database();
    let is_busy = || {
        ["rocksdb.num-running-compactions", "rocksdb.num-running-flushes"]
            .iter()
            .any(|name| database.property_int_value(*name).ok().flatten().unwrap_or(0) > 0)
    };
    let mut idle = 0;
    while idle < 10 {
        idle = if is_busy() { 0 } else { idle + 1 };
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn sizes(when: &str, store: &Store, pairs: u64) {
    let per_pair = |column| store.file_bytes(column) as f64 / pairs as f64;
    let [collection, repo] = [Column::Collection, Column::Repo].map(per_pair);
    println!("size, {when}: {collection:.1} + {repo:.1} bytes per pair (collection + repo)");
}

/// Pages from anywhere in collections that have more than one.
fn read_pages(when: &str, directory: &Directory, network: &Network) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(2);
    let large = network.collections.iter().take_while(|(_, size)| *size > 2 * PAGE).count();
    anyhow::ensure!(large > 0, "no collection has two pages; ask for more pairs");
    let mut times = Vec::new();
    for _ in 0..READS {
        let (name, _) = &network.collections[random.random_range(0..large)];
        // Few of them begin so late that the page is not full.
        let after = Did::of_plc_bytes(&random.random());
        let start = Instant::now();
        let page = directory.page(name, Some(&after), PAGE)?;
        let time = start.elapsed();
        if page.len() == PAGE {
            times.push(time);
        }
    }
    print_times(&format!("page of {PAGE}, {when}"), times);
    Ok(())
}

/// What an event costs the sequencer that names a new pair, and one that names it again.
fn events(directory: &Directory, network: &Network) -> anyhow::Result<()> {
    let account = Account::new(1);
    let mut seq = 0;
    let mut run = |what: &str, collection: Nsid| -> anyhow::Result<()> {
        let touches = [Touch { collection, is_there: true }];
        let start = Instant::now();
        for dids in network.accounts[..EVENTS.min(network.accounts.len())].chunks(GROUP) {
            let mut group = directory.group();
            for did in dids {
                group.event(did, Some(&account), &account, &touches)?;
            }
            seq += dids.len() as u64;
            group.write(seq)?;
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / EVENTS.min(network.accounts.len()) as f64;
        println!("event, {what}: {each:.3} µs");
        Ok(())
    };
    let [new, largest] = [collection(0), collection(1)];
    run("a new pair", new.clone())?;
    run("a pair of late", new)?;
    run("a pair of long ago, or new", largest.clone())?;
    run("a pair of late", largest)
}

fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0, Duration::as_micros);
    let longest = times.last().map_or(0, Duration::as_micros);
    println!("{what}: p50 {} µs, p99 {} µs, longest {longest} µs", at(50), at(99));
}
