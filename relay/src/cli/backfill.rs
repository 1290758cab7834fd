//! `relay backfill`: the jobs of a running relay, over its admin API.

mod client;
mod import;
mod show;
mod start;
mod text;
mod wait;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use crate::backfill::{Job, State};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use client::{Admin, Body, Connection, Failure};

/// Fills the directory of collections from elsewhere, by jobs of a running relay
#[derive(Debug, Args)]
pub struct Backfill {
    #[command(flatten)]
    connection: Connection,

    /// Prints one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a job, or changes one that is there
    Start(Box<start::Start>),
    /// Lists the jobs
    List,
    /// Shows a job and its parts
    Show(Named),
    /// Stops a job until it is resumed
    Pause(Named),
    /// Lets a job that is paused go on
    Resume(Followed),
    /// Ends a job; what it has found stays
    Cancel(Named),
    /// Starts a job that has ended again from its start
    Run(Followed),
    /// Forgets a job; what it has found stays
    Delete(Named),
    /// Sends pairs of a DID and a collection to the relay, from a file or standard input
    Import(import::Import),
}

#[derive(Debug, Args)]
struct Named {
    /// Name of the job
    name: String,
}

#[derive(Debug, Args)]
struct Followed {
    /// Name of the job
    name: String,

    /// Waits until the job ends; Ctrl-C ends the waiting, not the job
    #[arg(long)]
    wait: bool,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
enum Format {
    Text,
    Json,
}

impl Backfill {
    /// Runs the command; the exit code is 0 when it did what was asked for, 1 when it could not, 2 when the arguments
    /// make no sense.
    pub fn run(self) -> ExitCode {
        let mut out = BufWriter::new(io::stdout().lock());
        let result = self.answer(&mut out).and_then(|code| out.flush().map(|()| code).map_err(anyhow::Error::from));
        let is_misuse =
            matches!(result.as_ref().map_err(|error| error.downcast_ref()), Err(Some(Failure::Misuse { .. })));
        let code = super::end(result);
        if is_misuse { ExitCode::from(2) } else { code }
    }

    #[tokio::main(flavor = "current_thread")]
    async fn answer(self, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        let admin = Admin::new(self.connection)?;
        let format = if self.json { Format::Json } else { Format::Text };
        match self.command {
            Command::Start(start) => start.run(&admin, format, out).await,
            Command::List => show::list(&admin, format, out).await,
            Command::Show(Named { name }) => show::show(&admin, &name, format, out).await,
            Command::Pause(Named { name }) => act(&admin, &name, "pause", false, format, out).await,
            Command::Resume(Followed { name, wait }) => act(&admin, &name, "resume", wait, format, out).await,
            Command::Cancel(Named { name }) => act(&admin, &name, "cancel", false, format, out).await,
            Command::Run(Followed { name, wait }) => act(&admin, &name, "run", wait, format, out).await,
            Command::Delete(Named { name }) => delete(&admin, &name, format, out).await,
            Command::Import(import) => import.run(&admin, format, out).await,
        }
    }
}

/// Asks for a change of a job's state.
async fn act(
    admin: &Admin,
    name: &str,
    action: &str,
    wait: bool,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let job: Value = admin.send(Method::POST, &["jobs", name, action], &[], Body::None).await?;
    tell(admin, job, wait, format, out).await
}

async fn delete(admin: &Admin, name: &str, format: Format, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer: Value = admin.send(Method::DELETE, &["jobs", name], &[], Body::None).await?;
    match format {
        Format::Json => writeln!(out, "{answer:#}")?,
        Format::Text => writeln!(out, "{name} is deleted; what it has found stays")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells of a job as it is, or as it has ended.
async fn tell(
    admin: &Admin,
    mut answer: Value,
    wait: bool,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut job: Job = client::understand(&answer)?;
    if wait {
        (answer, job) = wait::until_ended(admin, job).await?;
    }
    match format {
        Format::Json => writeln!(out, "{answer:#}")?,
        Format::Text => writeln!(out, "{}", text::sentence(&job))?,
    }
    let is_lost = matches!(job.state, State::Failed | State::Cancelled);
    Ok(if wait && is_lost { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
