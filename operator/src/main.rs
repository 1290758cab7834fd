//! The `relay-operator` program.

mod cli;

use clap::{Parser, Subcommand};

/// Kubernetes operator for AT Protocol relays.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the Relays of a cluster.
    Run(cli::run::Args),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => cli::run::run(args),
        Command::Crd => cli::crd::print(),
    }
}
