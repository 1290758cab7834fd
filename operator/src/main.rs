//! The `relay-operator` program. Under the name `kubectl-relay` it is a plugin of kubectl.

mod cli;

use std::process::ExitCode;

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
    #[command(flatten)]
    Plugin(cli::plugin::Command),
}

fn main() -> anyhow::Result<ExitCode> {
    if cli::plugin::is_asked_for() {
        return Ok(cli::plugin::Cli::parse().command.run());
    }
    match Cli::parse().command {
        Command::Run(args) => cli::run::run(args)?,
        Command::Crd => cli::crd::print()?,
        Command::Plugin(command) => return Ok(command.run()),
    }
    Ok(ExitCode::SUCCESS)
}
