//! A long run of the relay under a steady load with churn, and what becomes of its memory: a CSV of all that it says of
//! itself, and the slope of its working set.

mod consumers;
mod network;
mod record;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use sim::cgroup::Group;
use sim::process::{Relay, Setup};
use tokio::time::MissedTickBehavior;

use crate::consumers::Consumers;
use crate::network::{Churning, Plan};
use crate::record::{Recorder, Sample, Slope};

/// Runs the relay for hours at a steady rate, with accounts, hosts and consumers that come and go, and records its memory
#[derive(Parser)]
struct Arguments {
    /// The relay's program [default: `relay` beside this program]
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,

    /// How long
    #[arg(long, default_value_t = 2.0)]
    hours: f64,

    /// How much of it passes before the slope is measured
    #[arg(long, default_value_t = 30.0)]
    warm_up_minutes: f64,

    /// Events per second
    #[arg(long, default_value_t = 1000)]
    rate: u32,

    /// Hosts at a time
    #[arg(long, default_value_t = 40)]
    hosts: usize,

    /// Accounts on each at a time
    #[arg(long, default_value_t = 60)]
    accounts_per_host: usize,

    /// Memory limit of the relay, in MiB: that of a cgroup where one can be made, else the setting
    #[arg(long, default_value_t = 512)]
    limit_mib: u64,

    /// Where the CSV is written
    #[arg(long, value_name = "FILE", default_value = "soak.csv")]
    out: PathBuf,

    /// Folder in which the relay's data is put for a while, some GB [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Settings of the relay, like --durability=os
    #[arg(last = true)]
    settings: Vec<String>,
}

/// Between two lines of the CSV.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Between two lines of progress, in samples.
const TOLD_EVERY: u64 = 6;
/// Between two groups of events.
const TICK: Duration = Duration::from_millis(10);
/// A replay window that is full before the slope is measured, and what it may have on disk.
const LOG_SETTINGS: [&str; 2] = ["--replay-window=20m", "--replay-max-size=4Gi"];
/// The slope that is asked for, in MiB per hour and 100 MiB of working set.
const SLOPE_MAX: f64 = 1.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).context("cannot raise the limit of open files")?;
    let dir = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::tempdir_in(dir).context("no folder for the data")?;
    let program = match &arguments.relay {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("relay"),
    };
    let program = program.canonicalize().with_context(|| format!("no program {}", program.display()))?;

    let limit_bytes = arguments.limit_mib << 20;
    let group = Group::create(&format!("relay-soak-{}", std::process::id()), limit_bytes);
    let limit = format!("--memory-limit={}Mi", arguments.limit_mib);
    let mut settings: Vec<&str> = vec![&limit];
    settings.extend(LOG_SETTINGS);
    settings.extend(arguments.settings.iter().map(String::as_str));
    let mut network = Churning::start(Plan {
        hosts: arguments.hosts,
        accounts_per_host: arguments.accounts_per_host,
        rate: arguments.rate,
    })
    .await;
    let mut setup = Setup::new(program, &dir.path().join("data"), network.plc(), &settings);
    match &group {
        Some(group) => drop(setup.command.splice(0..0, group.enter())),
        None => eprintln!("no cgroup can be made here: the limit is the setting, and memory is the resident set"),
    }
    let mut relay = Relay::start(setup).await;
    network.announce(&relay).await;
    let consumers = Consumers::start(relay.public);
    let recorded = run(&arguments, &mut relay, &mut network, &consumers, group.as_ref()).await;

    // That they are cut by the end is not worth a word.
    let (summary, gaps) = (consumers.summary(), consumers.gaps());
    // The relay first: the group cannot go before it.
    let ended = relay.terminate().await;
    drop(relay);
    tell(&arguments, &recorded?, &summary)?;
    anyhow::ensure!(gaps == 0, "a consumer missed {gaps} seqs");
    anyhow::ensure!(ended.success(), "the relay did not stop well: {ended}");
    Ok(())
}

/// Sends, and samples, for as long as it takes.
async fn run(
    arguments: &Arguments,
    relay: &mut Relay,
    network: &mut Churning,
    consumers: &Consumers,
    group: Option<&Group>,
) -> anyhow::Result<Recorder> {
    let start = Instant::now();
    let end = Duration::from_secs_f64(arguments.hours * 3600.0);
    let mut recorder = Recorder::create(&arguments.out)?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut next_sample = SAMPLE_EVERY;
    let mut samples = 0;
    while start.elapsed() < end {
        ticks.tick().await;
        network.step(start.elapsed(), relay).await;
        if start.elapsed() < next_sample {
            continue;
        }
        next_sample += SAMPLE_EVERY;
        anyhow::ensure!(relay.is_alive(), "the relay has ended; {} has what was recorded", arguments.out.display());
        let sample = Sample::take(start.elapsed(), relay, group, consumers).await?;
        recorder.add(&sample)?;
        samples += 1;
        if samples % TOLD_EVERY == 0 {
            println!("{}", sample.line(network.sent(), network.accounts_made()));
        }
    }
    Ok(recorder)
}

/// Says what came of it.
fn tell(arguments: &Arguments, recorded: &Recorder, consumers: &str) -> anyhow::Result<()> {
    let warm_up = (arguments.warm_up_minutes * 60.0).min(arguments.hours * 3600.0 / 2.0);
    let Slope { per_hour, error, mean, samples } = recorded.slope(warm_up).context("too few samples for a slope")?;
    let mib = f64::from(1 << 20);
    let relative = per_hour / mean * 100.0;
    println!("{samples} samples after {:.0} minutes, in {}", warm_up / 60.0, arguments.out.display());
    println!("working set  {:.1} MiB on average", mean / mib);
    println!("slope        {:+.2} MiB per hour, standard error {:.2}", per_hour / mib, error / mib);
    println!("             {relative:+.2} MiB per hour and 100 MiB; {SLOPE_MAX} at most is asked for");
    println!("consumers    {consumers}");
    anyhow::ensure!(relative.abs() <= SLOPE_MAX, "the working set does not stay where it is");
    Ok(())
}
