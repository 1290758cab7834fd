//! The commands of the `relay` program, one file for each.

mod backfill;
mod decisions;
mod log;
mod serve;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::memory;

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
    Serve(Box<serve::Serve>),
    /// Looks into the event log, and repairs it
    Log(log::Log),
    /// Fills the directory of collections from elsewhere, by jobs of a running relay
    Backfill(backfill::Backfill),
    /// Writes down what people have decided, and brings it into another database
    Decisions(decisions::Decisions),
}

/// All of the program but its allocator, which only a program can choose.
pub fn run() -> ExitCode {
    memory::set_decay();
    match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Log(log) => log.run(),
        Command::Backfill(backfill) => backfill.run(),
        Command::Decisions(decisions) => decisions.run(),
    }
}

/// Ends a command that writes to standard output.
fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        // Whoever reads the output has enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Our errors name their causes themselves.
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
