//! A job as people, the admin API and the database know it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::nsid::Nsid;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reads `listReposByCollection` of other services.
    Import,
    /// Asks PDS hosts for their accounts and each account's collections.
    Crawl,
    /// Looks whether the directory's accounts are still what it says, and mends it.
    Verify,
    /// Takes pairs of a DID and a collection that are sent to it.
    Pairs,
}

/// What is asked of a job. Absent fields have the defaults of their kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// What it does.
    pub kind: Kind,
    /// Import: base URLs of the services, like `https://relay.example.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Import: which collections.
    #[serde(default, skip_serializing_if = "Collections::is_empty")]
    pub collections: Collections,
    /// Crawl: names of the PDS hosts; empty for all that the relay knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Requests to one provider, per second; a provider is all hosts that share a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Providers that are asked at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// When it runs again after it is done: a cron expression, or `@hourly`, `@daily`, `@weekly`, `@monthly`; UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Who declares the job and may remove it, like `operator`; nobody for a job that a person has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_by: Option<String>,
}

impl Spec {
    /// A job of this kind, of which nothing else is said.
    pub fn of_kind(kind: Kind) -> Spec {
        Spec {
            kind,
            sources: Vec::new(),
            collections: Collections::default(),
            hosts: Vec::new(),
            requests_per_second: None,
            concurrency: None,
            schedule: None,
            declared_by: None,
        }
    }

    /// Whether both fill the directory with the same, be it at other times or speeds.
    pub(super) fn fills_as(&self, other: &Spec) -> bool {
        self.kind == other.kind
            && self.sources == other.sources
            && self.collections == other.collections
            && self.hosts == other.hosts
    }
}

/// Where the names of the collections to import come from: all of these together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collections {
    /// These.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Nsid>,
    /// URLs of lists, as plain text or Markdown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<String>,
    /// What this relay has seen on its firehose.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seen: bool,
    /// What each source lists itself (`/v1/listCollections`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_sources: bool,
}

impl Collections {
    /// Whether no name can come of it.
    pub fn is_empty(&self) -> bool {
        *self == Collections::default()
    }
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not begun.
    Queued,
    /// It works.
    Running,
    /// It waits for others: a source that asked for a pause, or does not answer; or until memory is less short.
    Waiting,
    /// A person has stopped it, for a time.
    Paused,
    /// It has done all that it could; parts that failed are named.
    Done,
    /// It cannot go on.
    Failed,
    /// A person has ended it.
    Cancelled,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its name, unique: up to 63 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// What is asked of it.
    pub spec: Spec,
    /// How it stands.
    pub state: State,
    /// Why it waits, failed, or is done with parts that failed; in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it goes on by itself (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_until: Option<String>,
    /// The last thing that went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
    /// How many times it has begun from the start.
    pub run: u64,
    /// How many times a start of the relay found it unfinished, and it went on.
    pub resumes: u64,
    /// Where it went on, the last time: source, collection and cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<String>,
    /// When (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<String>,
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// When this run began (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When this run ended (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// When its schedule starts it again (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<String>,
    /// How far this run is.
    pub progress: Progress,
}

/// How far a run of a job is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Parts: a source and a collection, a host, all accounts.
    pub parts: u64,
    /// Parts that are done.
    pub parts_done: u64,
    /// Parts that could not be done.
    pub parts_failed: u64,
    /// What it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// How far it is in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// When it last came further, since the relay started (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<String>,
    /// DIDs that sources have named: pairs in an import, accounts otherwise.
    pub seen: u64,
    /// Pairs that were new.
    pub added: u64,
    /// Pairs that went.
    pub removed: u64,
    /// Accounts that are to be asked again.
    pub retrying: u64,
    /// DIDs per second, lately.
    pub per_second: f64,
    /// Seconds until it is done, as far as can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Accounts by what a verification found: `active`, `gone`, `deactivated`, `takendown`, `suspended`, `migrated`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, u64>,
}
