//! The `relay` program.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// One allocator for everything, RocksDB included: it gives memory back, and says what it holds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An AT Protocol relay
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the relay
    Serve(Box<cli::serve::Serve>),
    /// Looks into the event log, and repairs it
    Log(cli::log::Log),
    /// Fills the directory of collections from elsewhere, by jobs of a running relay
    Backfill(cli::backfill::Backfill),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Log(log) => log.run(),
        Command::Backfill(backfill) => backfill.run(),
    }
}
