//! The relay's backfill jobs, as its admin API takes and shows them.

use serde::{Deserialize, Serialize};

/// What is asked of a job. Absent fields are the relay's to choose.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// What it does.
    pub kind: Kind,
    /// Import: base URLs of the services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Import: which collections.
    #[serde(skip_serializing_if = "Collections::is_empty")]
    pub collections: Collections,
    /// Crawl: names of the hosts; empty for all that the relay knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Requests to one provider, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Providers that are asked at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// When it runs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Who declares the job and may remove it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared_by: Option<String>,
}

/// What a job does.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reads `listReposByCollection` of a service.
    Import,
    /// Asks PDS hosts for their accounts and each account's collections.
    Crawl,
    /// Looks whether what the directory says is still so.
    Verify,
    /// Anything else, which the operator declares none of.
    #[default]
    #[serde(other)]
    Other,
}

/// Where the names of the collections to import come from: all of these together.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Collections {
    /// These.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// URLs of lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<String>,
    /// What the relay has seen on its firehose.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub seen: bool,
    /// What each source lists itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub of_sources: bool,
}

impl Collections {
    /// Whether no name can come of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A job as it stands; what the operator uses of it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its name.
    pub name: String,
    /// What is asked of it.
    pub spec: JobSpec,
    /// How it stands.
    pub state: State,
    /// Why it waits, failed, or is done with parts that failed.
    pub reason: Option<String>,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// How many times a start of the relay found it unfinished, and it went on.
    #[serde(default)]
    pub resumes: u64,
    /// Where it went on, the last time: source, collection and cursor.
    pub resumed_from: Option<String>,
    /// When this run began (RFC 3339).
    pub started_at: Option<String>,
    /// When this run ended (RFC 3339).
    pub finished_at: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub progress: Progress,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not begun.
    Queued,
    /// It works.
    Running,
    /// It waits for others.
    Waiting,
    /// A person has stopped it, for a time.
    Paused,
    /// It has done all that it could.
    Done,
    /// It cannot go on.
    Failed,
    /// A person has ended it.
    Cancelled,
    /// A state that this operator does not know.
    #[serde(other)]
    Other,
}

impl State {
    /// As the admin API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Other => "other",
        }
    }
}

/// How far a run of a job is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Parts: a source and a collection, a host, all accounts.
    pub parts: u64,
    /// Parts that are done.
    pub parts_done: u64,
    /// DIDs that sources have named.
    pub seen: u64,
    /// Pairs that were new.
    pub added: u64,
    /// DIDs per second, lately.
    pub per_second: f64,
    /// Seconds until it is done, as far as can be said.
    pub eta_seconds: Option<u64>,
}
