//! Measures our relay and indigo's on the same simulated network, one after the other, and prints a table of both.

mod figures;
mod peer;
mod report;
mod scenario;
mod watcher;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::figures::Figures;
use crate::peer::{Lab, Which};
use crate::scenario::Scenario;

/// Measures our relay and indigo's on the same simulated network, one after the other, and prints a table of both
#[derive(Parser)]
struct Arguments {
    /// Our relay's program [default: `relay` beside this program]
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,

    /// indigo's
    #[arg(long, value_name = "FILE")]
    indigo: PathBuf,

    /// What to measure [default: everything]; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Scenario>,

    /// Whom to measure [default: both]
    #[arg(long, value_enum)]
    peer: Option<Which>,

    /// How often; the table shows medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,

    /// Share of the full size: numbers of events, and of hosts where there are many
    #[arg(long, default_value_t = 1.0)]
    scale: f64,

    /// Folder in which the relays' data is put for a while: its disk is part of what is measured [default: the
    /// system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Settings of our relay, like --durability=os
    #[arg(last = true)]
    settings: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    raise_file_limit()?;
    let ours = match arguments.relay {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("relay"),
    };
    let program = |path: PathBuf| path.canonicalize().with_context(|| format!("no program {}", path.display()));
    let lab = Lab {
        ours: program(ours)?,
        indigo: program(arguments.indigo)?,
        dir: arguments.dir.unwrap_or_else(std::env::temp_dir),
        settings: arguments.settings,
    };
    let both = [Which::Ours, Which::Indigo];
    let peers = arguments.peer.as_ref().map_or(&both[..], std::slice::from_ref);
    let scenarios = if arguments.only.is_empty() { Scenario::ALL.to_vec() } else { arguments.only };
    let machine = report::machine();

    let mut figures = Figures::default();
    for scenario in scenarios {
        eprintln!("{scenario:?}: making the events");
        let traffic = scenario.traffic(arguments.scale);
        for round in 1..=arguments.rounds {
            for &which in peers {
                eprintln!("{scenario:?}, round {round} of {}: {which:?}", arguments.rounds);
                let measured = scenario.run(&lab, which, &traffic, &mut figures).await;
                measured.with_context(|| format!("{scenario:?} with {which:?}"))?;
            }
        }
    }
    print!("{}", report::markdown(&figures, &machine, arguments.rounds, arguments.scale));
    Ok(())
}

/// Thousands of hosts need as many files as we may have; the relays inherit it.
fn raise_file_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
