//! Measures how fast one relay takes the backlog of one host: events per second, CPU time and memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rand::seq::IndexedMutRandom;
use rand::{SeedableRng, rngs::StdRng};
use relay::protocol::frame::OPS_MAX;
use sim::account::POSTS;
use sim::process::Setup;
use sim::repo::Write;
use sim::{Account, Host, Network, Relay};

/// Measures how fast one relay takes the backlog of one host
#[derive(Parser)]
struct Arguments {
    /// The relay's program [default: `relay` beside this program]
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,

    /// Accounts on the host
    #[arg(long, default_value_t = 500)]
    accounts: u64,

    /// Records that each account has before; how many it has decides how large its commits are
    #[arg(long, default_value_t = 400)]
    records: usize,

    /// Events in the backlog
    #[arg(long, default_value_t = 20_000)]
    events: u64,

    /// Consumers that read along
    #[arg(long, default_value_t = 1)]
    consumers: u64,

    /// Folder in which the relay's data is put for a while: its disk is part of what is measured [default: the
    /// system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Settings of the relay, like --durability=os
    #[arg(last = true)]
    settings: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let program = match arguments.relay {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("relay"),
    };
    let dir =
        tempfile::tempdir_in(arguments.dir.unwrap_or_else(std::env::temp_dir)).context("no folder for the data")?;
    let settings: Vec<&str> = arguments.settings.iter().map(String::as_str).collect();
    let network = Network::start(1).await;
    let mut host = Host::start().await;
    let mut relay = Relay::start(Setup::new(program, &dir.path().join("data"), &network.plc, &settings)).await;
    relay.crawl(&host).await;

    // The relay gets to know each account first: resolving identities is not what is measured.
    let mut accounts: Vec<Account> = (0..arguments.accounts).map(|_| network.account(&host)).collect();
    let known = accounts.iter_mut().map(|account| fill(&host, account, arguments.records)).sum();
    until_passed(&relay, known).await;

    host.down().await;
    let mut random = StdRng::seed_from_u64(1);
    let mut bytes = 0;
    for _ in 0..arguments.events {
        let account = accounts.choose_mut(&mut random).context("no accounts")?;
        bytes += host.emit(account.act()).frame.len() as u64;
    }
    let reading = read_along(&relay, arguments.consumers, known + arguments.events).await;
    let cpu_before = relay.cpu_seconds();
    host.up().await;
    relay.crawl(&host).await;
    let start = Instant::now();
    until_passed(&relay, known + arguments.events).await;
    let passed_after = start.elapsed().as_secs_f64();
    for reader in reading {
        reader.await?;
    }
    let delivered_after = start.elapsed().as_secs_f64();
    let cpu = relay.cpu_seconds() - cpu_before;

    let events = arguments.events as f64;
    let average = bytes / arguments.events;
    row("events", format!("{events}"), &format!("of {} accounts, {average} bytes on average", accounts.len()));
    row("events per second", format!("{:.0}", events / passed_after), "until on disk");
    let consumers = format!("until with {} consumers", arguments.consumers);
    row("", format!("{:.0}", events / delivered_after), &consumers);
    let cores = format!("{:.2} cores in use", cpu / delivered_after);
    row("CPU seconds per 1,000", format!("{:.4}", cpu / events * 1000.0), &cores);
    let peak = format!("{} MiB at most", relay.memory_bytes("VmHWM") >> 20);
    row("resident MiB", format!("{}", relay.memory_bytes("VmRSS") >> 20), &peak);
    anyhow::ensure!(relay.terminate().await.success(), "the relay did not stop well");
    Ok(())
}

fn row(name: &str, value: String, note: &str) {
    println!("{name:<24}{value:>8}   {note}");
}

/// Gives an account its records, in commits as large as they may be; returns the number of commits.
fn fill(host: &Host, account: &mut Account, records: usize) -> u64 {
    let mut commits = 0;
    for first in (0..records.max(1)).step_by(OPS_MAX) {
        let numbers = first..(first + OPS_MAX).min(records.max(1));
        let writes = numbers.map(|number| Write::Create { path: format!("{POSTS}/{number:013}"), record: vec![0xa0] });
        host.emit(account.commit(writes.collect()));
        commits += 1;
    }
    commits
}

async fn until_passed(relay: &Relay, events: u64) {
    while relay.count("/events/passed").await < events {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Consumers that read until they have a number of events.
async fn read_along(relay: &Relay, consumers: u64, events: u64) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for _ in 0..consumers {
        let mut consumer = relay.consumer(Some(0)).await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..events {
                consumer.event().await;
            }
        }));
    }
    tasks
}
