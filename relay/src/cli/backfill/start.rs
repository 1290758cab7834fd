//! `relay backfill start`.

use std::io::Write;
use std::process::ExitCode;

use crate::backfill::{Collections, Kind, Spec};
use crate::protocol::nsid::Nsid;
use clap::ValueEnum;
use reqwest::Method;
use serde_json::Value;

use super::client::{Admin, Body, Failure};
use super::{Format, tell};

/// Starts a job, or changes one that is there
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relay backfill start likes --kind import --source https://relay.example.com --collection app.bsky.feed.like --wait
  relay backfill start everything --kind import --source https://relay.example.com --of-sources --schedule @weekly
  relay backfill start crawl --kind crawl --host pds.example.com
  relay backfill start verify --kind verify --schedule @monthly")]
pub(super) struct Start {
    /// Name of the job: up to 63 of a-z, 0-9 and -
    name: String,

    /// What it does: reads the directories of other services, asks PDS hosts, or looks whether ours is still right
    #[arg(long, value_enum)]
    kind: StartKind,

    /// import: service to read, like https://relay.example.com; repeatable
    #[arg(long = "source", value_name = "URL")]
    sources: Vec<String>,

    /// import: collection to read; repeatable
    #[arg(long = "collection", value_name = "NSID", value_parser = Nsid::parse)]
    collections: Vec<Nsid>,

    /// import: the collections in a text or Markdown list at a URL; repeatable
    #[arg(long = "list", value_name = "URL")]
    lists: Vec<String>,

    /// import: the collections that this relay has seen
    #[arg(long)]
    seen: bool,

    /// import: the collections that the services list themselves
    #[arg(long)]
    of_sources: bool,

    /// crawl: PDS host to ask; repeatable [default: all that the relay knows]
    #[arg(long = "host", value_name = "HOST[:PORT]")]
    hosts: Vec<String>,

    /// Requests per second to all hosts that share a limit
    #[arg(long, value_name = "N")]
    requests_per_second: Option<f64>,

    /// Services or groups of hosts that are asked at the same time
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,

    /// When it runs again after it is done: a cron expression, or @hourly, @daily, @weekly, @monthly; UTC
    #[arg(long, value_name = "WHEN")]
    schedule: Option<String>,

    /// Waits until the job ends; Ctrl-C ends the waiting, not the job
    #[arg(long)]
    wait: bool,
}

/// Kinds of jobs that are started; the one of pairs comes by `import`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StartKind {
    Import,
    Crawl,
    Verify,
}

impl Start {
    pub(super) async fn run(self, admin: &Admin, format: Format, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        self.check()?;
        let (name, wait) = (self.name.clone(), self.wait);
        let spec = serde_json::to_value(self.spec())?;
        let job: Value = admin.send(Method::PUT, &["jobs", &name], &[], Body::Json(&spec)).await?;
        tell(admin, job, wait, format, out).await
    }

    /// Whether the flags go together; the relay checks what they say.
    fn check(&self) -> Result<(), Failure> {
        let of_import = [
            ("--source", self.sources.is_empty()),
            ("--collection", self.collections.is_empty()),
            ("--list", self.lists.is_empty()),
            ("--seen", !self.seen),
            ("--of-sources", !self.of_sources),
        ];
        let given =
            |flags: &[(&'static str, bool)]| flags.iter().find(|(_, is_absent)| !is_absent).map(|(flag, _)| *flag);
        let of_others = match self.kind {
            StartKind::Import => given(&[("--host", self.hosts.is_empty())]),
            StartKind::Crawl => given(&of_import),
            StartKind::Verify => given(&of_import).or_else(|| given(&[("--host", self.hosts.is_empty())])),
        };
        let is_import = self.kind == StartKind::Import;
        let message = if let Some(flag) = of_others {
            format!("{flag} is not for jobs of this kind; `relay backfill start --help` says which is for which")
        } else if is_import && self.sources.is_empty() {
            "an import needs a service to read; name one by --source https://…".to_owned()
        } else if is_import && given(&of_import[1..]).is_none() {
            "an import needs to know which collections; give --collection, --list, --seen or --of-sources".to_owned()
        } else {
            return Ok(());
        };
        Err(Failure::Misuse { message })
    }

    fn spec(self) -> Spec {
        Spec {
            kind: match self.kind {
                StartKind::Import => Kind::Import,
                StartKind::Crawl => Kind::Crawl,
                StartKind::Verify => Kind::Verify,
            },
            sources: self.sources,
            collections: Collections {
                names: self.collections,
                lists: self.lists,
                seen: self.seen,
                of_sources: self.of_sources,
            },
            hosts: self.hosts,
            requests_per_second: self.requests_per_second,
            concurrency: self.concurrency,
            schedule: self.schedule,
            declared_by: None,
        }
    }
}
