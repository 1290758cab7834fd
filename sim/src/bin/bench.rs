//! Measures how fast one relay takes the backlog of one host: events per second, CPU time and memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rand::seq::IndexedMutRandom;
use rand::{SeedableRng, rngs::StdRng};
use sim::process::Setup;
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
    accounts.iter_mut().for_each(|account| drop(host.emit(account.post())));
    until_passed(&relay, arguments.accounts).await;

    host.down().await;
    let mut random = StdRng::seed_from_u64(1);
    let mut bytes = 0;
    for _ in 0..arguments.events {
        let account = accounts.choose_mut(&mut random).context("no accounts")?;
        bytes += host.emit(account.act()).frame.len() as u64;
    }
    let reading = read_along(&relay, arguments.consumers, arguments.accounts + arguments.events).await;
    let cpu_before = relay.cpu_seconds();
    host.up().await;
    relay.crawl(&host).await;
    let start = Instant::now();
    until_passed(&relay, arguments.accounts + arguments.events).await;
    let passed_after = start.elapsed().as_secs_f64();
    for reader in reading {
        reader.await?;
    }
    let delivered_after = start.elapsed().as_secs_f64();
    let cpu = relay.cpu_seconds() - cpu_before;

    let events = arguments.events as f64;
    println!(
        "events                    {:>10}   of {} accounts, {} bytes on average",
        events,
        accounts.len(),
        bytes / arguments.events
    );
    println!("events per second         {:>10.0}   until on disk", events / passed_after);
    println!(
        "                          {:>10.0}   until with {} consumers",
        events / delivered_after,
        arguments.consumers
    );
    println!("CPU seconds per 1,000     {:>10.4}   {:.2} cores in use", cpu / events * 1000.0, cpu / delivered_after);
    println!(
        "resident memory           {:>10} MiB now, {} MiB at most",
        relay.memory_bytes("VmRSS") >> 20,
        relay.memory_bytes("VmHWM") >> 20
    );
    anyhow::ensure!(relay.terminate().await.success(), "the relay did not stop well");
    Ok(())
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
